"""``bordnetz release add`` and ``assign``: the images, and who gets them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import ValidationError

from bordnetz.release import terminal
from bordnetz.release.campaigns import assign as assign_campaign
from bordnetz.release.errors import ReleaseError
from bordnetz.release.images import MOST_FOR_DELTAS
from bordnetz.release.images import add as add_image
from bordnetz.release.release import Release
from bordnetz.uptane.custom import Campaign, PayloadKind


class _Time(click.ParamType):  # type: ignore[type-arg] # generic in newer versions alone
    """A time in ISO 8601, to seconds since 1970 UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            time = datetime.fromisoformat(value)
            if time.tzinfo is None:
                time = time.replace(tzinfo=UTC)
            seconds = int(time.timestamp())
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time like 2027-03-01T22:00Z", param, ctx)
        return seconds


_TIME = _Time()


@click.command()
@terminal.folder_argument
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--name", required=True, help="Of the image, with its version; it is never used again."
)
@click.option(
    "--hardware", multiple=True, required=True, help="Hardware id that it is for; again for more."
)
@click.option(
    "--counter",
    type=click.IntRange(0, 2**31 - 1),
    help="Release counter; vehicles never go back to a lower one [default: one more than the last "
    "of this hardware].",
)
@click.option(
    "--kind",
    type=click.Choice(get_args(PayloadKind)),
    help="What it is: a file, a tree (folder), a telemetry bundle (folder), or what RAUC or "
    "SWUpdate installs [default: file or tree].",
)
@click.option(
    "--deltas",
    type=click.IntRange(0, 16),
    default=3,
    show_default=True,
    help="Make deltas from so many older images of this hardware, where they are smaller; that "
    f"takes a second a megabyte each, and ends at {MOST_FOR_DELTAS >> 20} MiB.",
)
@terminal.json_option
def add(
    folder: Path,
    source: Path,
    name: str,
    hardware: tuple[str, ...],
    counter: int | None,
    kind: PayloadKind | None,
    deltas: int,
    as_json: bool,
) -> None:
    """Take in a payload: SOURCE, a file or a folder.

    A folder becomes a tar that is the same wherever it is made. Beside the payload lie, where they
    are smaller, the payload compressed (zstd) and deltas from older payloads; the vehicle takes
    whichever costs it least, and verifies that the payload comes out of it.
    """
    with Release(folder) as release, terminal.Progress() as progress:
        try:
            added = add_image(
                release,
                source,
                name=name,
                hardware=list(dict.fromkeys(hardware)),
                counter=counter,
                kind=kind,
                deltas=deltas,
                progress=progress,
            )
        except ValidationError as error:
            raise _said(error) from None
    custom = added.custom
    lines = [f"{name}: {custom.kind}, {added.length:,} bytes, counter {custom.release_counter}"]
    lines += [
        f"  {delivery.encoding:<8} {delivery.length:>15,} bytes  {delivery.name}"
        for delivery in custom.deliveries
    ]
    if added.without_deltas:
        lines.append(
            f"  no deltas: it, or what they start from, has over {MOST_FOR_DELTAS:,} bytes"
        )
    content = {
        "name": name,
        "sha256": added.sha256,
        "length": added.length,
        **custom.model_dump(by_alias=True, mode="json", exclude_none=True),
    }
    terminal.show(content, lines, as_json=as_json)


@click.command()
@terminal.folder_argument
@click.argument("targets", nargs=-1, required=True, metavar="[ECU=]IMAGE...")
@click.option("--campaign", "identity", required=True, help="Id of the campaign, as in the twin.")
@click.option("--vehicle", "vehicles", multiple=True, help="A vehicle; again for more.")
@click.option("--tag", "tags", multiple=True, help="All vehicles with this tag; again for more.")
@click.option("--all", "everyone", is_flag=True, help="All vehicles.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="ECU,ECU",
    help="ECUs that get their new versions all together or not at all; again for more groups.",
)
@click.option(
    "--after",
    multiple=True,
    metavar="ECU=ECU,ECU",
    help="An ECU that is activated after others; again for more.",
)
@click.option("--start", type=_TIME, default=0, help="Not installed before, as 2027-03-01T22:00Z.")
@click.option("--end", type=_TIME, help="Not installed after.")
@click.option(
    "--require",
    multiple=True,
    default=["parked"],
    show_default=True,
    metavar="CONDITION",
    help="What must hold, by its name in the vehicle file; again for more.",
)
@click.option("--no-require", is_flag=True, help="Install whatever the vehicle does.")
@click.option("--consent", is_flag=True, help="Ask the driver.")
@click.option(
    "--postpone",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="With --consent: so often the driver may postpone.",
)
@click.option("--deadline", type=_TIME, help="With --consent: from then on without asking.")
@click.option(
    "--most-bytes", type=click.IntRange(0), help="Over the air, for all images of a vehicle."
)
@click.option(
    "--no-expired-install",
    is_flag=True,
    help="Do not install what has expired since it was downloaded.",
)
@terminal.json_option
def assign(
    folder: Path,
    targets: tuple[str, ...],
    identity: str,
    vehicles: tuple[str, ...],
    tags: tuple[str, ...],
    everyone: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Give vehicles IMAGEs to install.

    An image goes to every ECU whose hardware it is for, or to the one that is named before it:
    head-unit=os-12. A vehicle has one campaign: a new one takes the place of the last, so name
    all that it is to have. It reaches the vehicles with `sign` and `publish`.
    """
    if not settings["consent"] and settings["deadline"] is not None:
        raise click.UsageError("--deadline needs --consent")
    content: dict[str, Any] = {
        "id": identity,
        "groups": [_list(group) for group in settings["groups"]],
        "after": {},
        "window": {"start": settings["start"], "end": settings["end"]},
        "require": [] if settings["no_require"] else list(settings["require"]),
        "consent": {"postpone": settings["postpone"], "deadline": settings["deadline"]}
        if settings["consent"]
        else None,
        "mostBytes": settings["most_bytes"],
        "expiredInstall": not settings["no_expired_install"],
    }
    for one in settings["after"]:
        ecu, sign, before = one.partition("=")
        if not sign:
            raise click.UsageError(f"--after {one}: is not ECU=ECU,ECU")
        content["after"].setdefault(ecu, []).extend(_list(before))
    try:
        campaign = Campaign.model_validate(content)
    except ValidationError as error:
        raise _said(error) from None
    chosen = []
    for target in targets:
        ecu, sign, name = target.rpartition("=")
        chosen.append((name, ecu if sign else None))
    with Release(folder) as release:
        assigned = assign_campaign(
            release, campaign, chosen, vehicles=vehicles, tags=tags, everyone=everyone
        )
    lines = [f"{identity}: assigned to vehicles: {assigned.vehicles}; now sign and publish"]
    if assigned.unfit:
        lines.append(f"chosen, but without an ECU that it is for: {assigned.unfit}")
    if assigned.refused:
        lines.append(
            f"held back until they send a manifest that is accepted: {assigned.refused}; see: "
            "bordnetz release status"
        )
    terminal.show(
        {
            "campaign": identity,
            "vehicles": assigned.vehicles,
            "unfit": assigned.unfit,
            "refused": assigned.refused,
        },
        lines,
        as_json=as_json,
    )


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _said(error: ValidationError) -> ReleaseError:
    detail = error.errors(include_url=False)[0]
    place = ".".join(str(step) for step in detail["loc"])
    return ReleaseError(f"{place}: {detail['msg'].removeprefix('Value error, ')}")
