"""Campaigns: which vehicle gets which images, and how they are to be installed there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from bordnetz.release import catalogue
from bordnetz.release.database import DUE_TARGETS
from bordnetz.release.director import assign as assign_ecus
from bordnetz.release.errors import ReleaseError
from bordnetz.release.release import Release
from bordnetz.uptane.custom import Campaign


@dataclass(frozen=True)
class Assigned:
    """What an assignment came to.

    Attributes:
        vehicles: So many get the campaign.
        unfit: So many of those chosen have no ECU that it is for; they keep what they had.
        refused: So many of those that get it will, but not before a manifest of theirs is
            accepted.
    """

    vehicles: int
    unfit: int
    refused: int


def assign(
    release: Release,
    campaign: Campaign,
    targets: Sequence[tuple[str, str | None]],
    *,
    vehicles: Iterable[str] = (),
    tags: Iterable[str] = (),
    everyone: bool = False,
) -> Assigned:
    """Give vehicles a campaign, instead of the one they had.

    Args:
        release: The release.
        campaign: How to install; its id names it.
        targets: Images, each with the ECU that it is for, or None for every ECU of its hardware.
        vehicles: Ids of vehicles.
        tags: All vehicles with one of these tags.
        everyone: All vehicles.

    Raises:
        ReleaseError: An image, vehicle, tag or ECU is not known, an ECU would get two images, or
            the campaign's id was used for something else.
    """
    _check_order(campaign)
    images = catalogue.entries(release)
    for name, _ in targets:
        if name not in images:
            raise ReleaseError(
                f"there is no image {name}; add it with: bordnetz release add, or see: bordnetz "
                "release status"
            )
    with release.transaction() as db:
        db.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (vehicle INTEGER PRIMARY KEY)")
        db.execute("DELETE FROM chosen")
        _choose(release, vehicles, tags, everyone=everyone)
        models = db.execute(
            "SELECT model.id, ecus, count(*), min(name) FROM chosen "
            "JOIN vehicle ON vehicle.id = chosen.vehicle JOIN model ON model.id = model "
            "GROUP BY model.id"
        ).fetchall()
        unfit = 0
        known: set[str] = set()
        used: set[str] = set()
        for model, ecus, count, example in models:
            its: dict[str, str] = json.loads(ecus)
            known |= its.keys()
            found = assign_ecus(targets, its, images)
            used |= found.keys()
            _check_once(found, example)
            if not found:
                unfit += count
                db.execute(
                    "DELETE FROM chosen WHERE vehicle IN (SELECT id FROM vehicle WHERE model = ?)",
                    (model,),
                )
        _check_ecus(campaign, targets, known)
        if idle := sorted({name for name, _ in targets} - used):
            raise ReleaseError(
                f"{idle[0]} is for none of the vehicles chosen (it is for "
                f"{', '.join(images[idle[0]]['custom']['hardwareIds'])}); compare the hardware ids "
                "of their ECUs"
            )
        (total,) = db.execute("SELECT count(*) FROM chosen").fetchone()
        number = _store(release, campaign, targets)
        db.execute(
            "UPDATE vehicle SET campaign = ?, due = ? WHERE id IN (SELECT vehicle FROM chosen) "
            "AND campaign IS NOT ?",
            (number, DUE_TARGETS, number),
        )
        (refused,) = db.execute(
            "SELECT count(*) FROM chosen JOIN vehicle ON vehicle.id = chosen.vehicle "
            "WHERE refused IS NOT NULL"
        ).fetchone()
    return Assigned(total, unfit, refused)


def _choose(
    release: Release, vehicles: Iterable[str], tags: Iterable[str], *, everyone: bool
) -> None:
    db = release.db
    for vehicle in vehicles:
        found = db.execute("SELECT id FROM vehicle WHERE name = ?", (vehicle,)).fetchone()
        if found is None:
            raise ReleaseError(
                f"there is no vehicle {vehicle}; add it with: bordnetz release vehicle add"
            )
        db.execute("INSERT OR IGNORE INTO chosen VALUES (?)", found)
    for tag in tags:
        cursor = db.execute(
            "INSERT OR IGNORE INTO chosen SELECT vehicle FROM tag WHERE tag = ?", (tag,)
        )
        if (
            not cursor.rowcount
            and not db.execute("SELECT 1 FROM tag WHERE tag = ?", (tag,)).fetchone()
        ):
            raise ReleaseError(f"no vehicle has the tag {tag}")
    if everyone:
        db.execute("INSERT OR IGNORE INTO chosen SELECT id FROM vehicle")
    if not db.execute("SELECT 1 FROM chosen").fetchone():
        raise ReleaseError("no vehicle is chosen; name some with --vehicle, --tag or --all")


def _check_order(campaign: Campaign) -> None:
    """Whether there is an order, of the ECUs and of the groups, as `after` asks for."""
    group = {ecu: f"group {number}" for number, its in enumerate(campaign.groups) for ecu in its}
    groups: dict[str, set[str]] = {}
    for ecu, before in campaign.after.items():
        own = group.get(ecu, ecu)
        groups.setdefault(own, set()).update({group.get(one, one) for one in before} - {own})
    try:
        TopologicalSorter(campaign.after).prepare()
        TopologicalSorter(groups).prepare()
    except CycleError as error:
        raise ReleaseError(
            f"campaign {campaign.id}: after: these wait for each other: {', '.join(error.args[1])}"
        ) from None


def _check_once(found: dict[str, list[str]], example: str) -> None:
    taken: dict[str, str] = {}
    for name, ecus in found.items():
        for ecu in ecus:
            first = taken.setdefault(ecu, name)
            if first != name:
                raise ReleaseError(
                    f"ECU {ecu} (of vehicle {example}) would get both {first} and {name}; say "
                    f"which ECU is meant: --target {ecu}={name}"
                )


def _check_ecus(
    campaign: Campaign, targets: Sequence[tuple[str, str | None]], known: set[str]
) -> None:
    named = {ecu for group in campaign.groups for ecu in group}
    named |= campaign.after.keys() | {ecu for before in campaign.after.values() for ecu in before}
    named |= {ecu for _, ecu in targets if ecu is not None}
    if unknown := sorted(named - known):
        raise ReleaseError(
            f"none of the vehicles chosen has an ECU {unknown[0]}; theirs are: "
            + ", ".join(sorted(known)[:20])
        )


def _store(release: Release, campaign: Campaign, targets: Sequence[tuple[str, str | None]]) -> int:
    settings = json.dumps(
        campaign.model_dump(by_alias=True, mode="json", exclude_none=True), sort_keys=True
    )
    wanted = json.dumps(sorted(targets, key=str))
    found = release.db.execute(
        "SELECT id, settings, targets FROM campaign WHERE name = ?", (campaign.id,)
    ).fetchone()
    if found is None:
        release.db.execute(
            "INSERT INTO campaign (name, settings, targets) VALUES (?, ?, ?)",
            (campaign.id, settings, wanted),
        )
        number: int = release.db.execute("SELECT last_insert_rowid()").fetchone()[0]
        return number
    if found[1:] != (settings, wanted):
        raise ReleaseError(
            f"campaign {campaign.id} is there already, with other targets or settings; vehicles "
            "may hold it already, so take another id"
        )
    return int(found[0])
