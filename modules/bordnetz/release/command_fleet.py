"""``bordnetz release vehicle`` and ``intake``: the vehicles, and what they report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
from pydantic import ValidationError

from bordnetz.release import fleet, terminal
from bordnetz.release.errors import ReleaseError
from bordnetz.release.intake import intake as take_in
from bordnetz.release.release import Release

_MOST_KEY = 16384


@click.group()
def vehicle() -> None:
    """The vehicles that get metadata of their own."""


@vehicle.command()
@terminal.folder_argument
@click.argument("name", metavar="VEHICLE")
@click.option(
    "--ecu",
    "ecus",
    multiple=True,
    required=True,
    metavar="ID:HARDWARE[:SERIAL]",
    help="An ECU that can be updated; again for each.",
)
@click.option("--primary", help="The ECU that signs the vehicle's manifests [default: the first].")
@click.option(
    "--public-key",
    required=True,
    metavar="FILE|HEX",
    help="Of the primary: a file (PEM, 64 hexadecimal digits, or a key of TUF metadata), or the "
    "digits themselves.",
)
@click.option("--tag", "tags", multiple=True, help="A word to assign by; again for more.")
@click.option("--replace", is_flag=True, help="Replace what is known of this vehicle.")
def add(
    folder: Path,
    name: str,
    ecus: tuple[str, ...],
    primary: str | None,
    public_key: str,
    tags: tuple[str, ...],
    replace: bool,
) -> None:
    """Add one VEHICLE, under the id that it goes by in the hub.

    The public part of a vehicle's key: openssl pkey -in KEY.pem -pubout
    """
    try:
        known = [fleet.parse_ecu(text) for text in ecus]
        found = fleet.Vehicle(
            vehicle=name,
            primary=primary or known[0].id,
            public_key=_key(public_key),
            ecus=known,
            tags=list(tags),
        )
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in detail["loc"])
        text = detail["msg"].removeprefix("Value error, ")
        raise ReleaseError(f"{place}: {text}" if place else text) from None
    except ValueError as error:
        raise ReleaseError(str(error)) from None
    with Release(folder) as release:
        fleet.store(release, [(0, fleet.Row.of(found))], replace=replace)
    click.echo(f"{name}: stored; ECUs: {len(known)}")


def _key(text: str) -> str:
    path = Path(text)
    if len(text) == 64 and not path.exists():
        return text
    try:
        with path.open("rb") as file:
            return file.read(_MOST_KEY).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ReleaseError(f"{text}: the public key cannot be read: {reason}") from None


_EPILOG = """\b
CSV:
  vehicle,primary,public_key,ecus,tags
  car-1,head-unit,6f0a...,head-unit:hu-2026:SN17;dbc:dbc-ev1,pilot;berlin

\b
JSON, each on one line:
  {"vehicle": "car-1", "primary": "head-unit", "publicKey": "6f0a...",
   "ecus": [{"id": "head-unit", "hardwareId": "hu-2026", "serial": "SN17"}],
   "tags": ["pilot"]}
"""


@vehicle.command(name="import", epilog=_EPILOG)
@terminal.folder_argument
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Replace what is known of vehicles already there.")
@terminal.json_option
def import_(folder: Path, file: Path, replace: bool, as_json: bool) -> None:
    """Add many vehicles from FILE, all or none.

    FILE is CSV, if its name ends so, or else JSON lines. Lines that cannot be used are named with
    their numbers.
    """
    with Release(folder) as release, terminal.Progress() as progress:
        stored = fleet.store(release, fleet.read_file(file), replace=replace, progress=progress)
    terminal.show(
        {"added": stored.added, "replaced": stored.replaced},
        [f"vehicles added: {stored.added}, replaced: {stored.replaced}"],
        as_json=as_json,
    )


@click.command()
@terminal.folder_argument
@click.argument(
    "paths", nargs=-1, required=True, metavar="MANIFEST...", type=click.Path(path_type=Path)
)
@terminal.json_option
@click.pass_context
def intake(context: click.Context, folder: Path, paths: tuple[Path, ...], as_json: bool) -> None:
    """Take in what vehicles report: files, or folders of files.

    A vehicle version manifest must be signed by its vehicle, report every ECU once and no other,
    and go forward: sequence, time and release counters. A vehicle whose manifest does not keeps
    its old targets until it sends one that does; `status` lists it. The exit code is 1 if there is
    one.
    """
    with Release(folder) as release, terminal.Progress() as progress:
        results = list(take_in(release, paths, progress))
    counts = Counter(result.outcome for result in results)
    refused = [result for result in results if result.outcome == "refused"]
    terminal.show(
        {
            **{outcome: counts[outcome] for outcome in ("accepted", "known", "refused")},
            "refusals": [
                {"file": str(one.path), "vehicle": one.vehicle, "reason": one.reason}
                for one in refused
            ],
        },
        [
            ", ".join(f"{one}: {counts[one]}" for one in ("accepted", "known", "refused")),
            *(f"{one.vehicle or one.path}: {one.reason}" for one in refused),
        ],
        as_json=as_json,
    )
    if refused:
        context.exit(1)
