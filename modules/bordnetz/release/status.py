"""Who has what: of the whole fleet in figures, and of one vehicle in full."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bordnetz.release import catalogue, roots
from bordnetz.release.canonical import expiry
from bordnetz.release.errors import ReleaseError
from bordnetz.release.publishing import published_at
from bordnetz.release.release import Release
from bordnetz.release.settings import ROLES

_MOST = 100
"""Vehicles that are named one by one."""

_SOON = 60 * roots.DAY


def fleet(release: Release, now: int) -> dict[str, Any]:
    """The state of the release and of its vehicles, for JSON.

    Args:
        release: The release.
        now: Seconds since 1970 UTC.
    """
    db = release.db
    run, finished, keys_changed = db.execute(
        "SELECT run, finished, keys_changed FROM state"
    ).fetchone()
    vehicles, due, refused, reported, attacked = db.execute(
        "SELECT count(*), count(iif(due > 0, 1, NULL)), count(refused), count(sequence), "
        "count(attacks) FROM vehicle"
    ).fetchone()
    return {
        "vehicles": vehicles,
        "due": due,
        "reported": reported,
        "refused": refused,
        "refusals": _named(release, "refused"),
        "attacked": attacked,
        "attacks": {name: json.loads(found) for name, found in _named(release, "attacks").items()},
        "version": finished,
        "unfinished": bool(run != finished or keys_changed),
        "expires": _expiries(release, now),
        "images": _images(release),
        "campaigns": _campaigns(release),
        "published": published_at(release),
    }


def vehicle(release: Release, name: str) -> dict[str, Any]:
    """All that is known of a vehicle, for JSON.

    Raises:
        ReleaseError: There is none of this id.
    """
    db = release.db
    row = db.execute(
        "SELECT vehicle.id, ecus, primary_ecu, serials, campaign.name, signed.name, due, "
        "vehicle.targets, snapshot, sequence, reported, attacks, refused FROM vehicle "
        "JOIN model ON model.id = model "
        "LEFT JOIN campaign ON campaign.id = vehicle.campaign "
        "LEFT JOIN campaign AS signed ON signed.id = vehicle.signed_campaign "
        "WHERE vehicle.name = ?",
        (name,),
    ).fetchone()
    if row is None:
        raise ReleaseError(f"there is no vehicle {name}")
    number, ecus, primary, serials, campaign, signed, due, targets, snapshot, *rest = row
    sequence, reported, attacks, refused = rest
    installed = {
        ecu: {"name": image, "sha256": sha256, "releaseCounter": counter}
        for ecu, image, sha256, counter in db.execute(
            "SELECT ecu, name, sha256, counter FROM installed WHERE vehicle = ?", (number,)
        )
    }
    known = json.loads(serials)
    tags = db.execute("SELECT tag FROM tag WHERE vehicle = ? ORDER BY tag", (number,)).fetchall()
    return {
        "vehicle": name,
        "primary": primary,
        "tags": [tag for (tag,) in tags],
        "ecus": {
            ecu: {
                "hardwareId": hardware,
                "serial": known.get(ecu, ""),
                "installed": installed.get(ecu),
            }
            for ecu, hardware in json.loads(ecus).items()
        },
        "campaign": campaign,
        "signedCampaign": signed,
        "due": bool(due),
        "targetsVersion": targets,
        "snapshotVersion": snapshot,
        "sequence": sequence,
        "reported": None if reported is None else expiry(reported),
        "attacks": json.loads(attacks) if attacks else [],
        "refused": refused,
    }


def _named(release: Release, column: str) -> dict[str, str]:
    rows = release.db.execute(
        f"SELECT name, {column} FROM vehicle WHERE {column} IS NOT NULL ORDER BY id LIMIT ?",  # noqa: S608
        (_MOST,),
    )
    return dict(rows.fetchall())


def _expiries(release: Release, now: int) -> dict[str, dict[str, Any]]:
    times: dict[str, int] = {}
    for repository in ROLES:
        times[f"{repository}/root"] = roots.latest(release, repository)[1]
    for role, (_, expires, _) in catalogue.current(release).items():
        times[f"image/{role}"] = expires
    # The oldest that any vehicle has.
    row = release.db.execute(
        "SELECT (SELECT targets_expire FROM run WHERE id = (SELECT min(targets) FROM vehicle)), "
        "(SELECT timestamp_expire FROM run WHERE id = (SELECT min(snapshot) FROM vehicle))"
    ).fetchone()
    oldest = zip(("director/targets", "director/timestamp"), row, strict=True)
    times |= {role: expires for role, expires in oldest if expires is not None}
    return {
        role: {
            "expires": expiry(time),
            "days": (time - now) // roots.DAY,
            "soon": time - now < (_SOON if role.endswith("root") else 7 * roots.DAY),
        }
        for role, time in times.items()
    }


def _images(release: Release) -> list[dict[str, Any]]:
    rows = release.db.execute(
        "SELECT image.name, image.counter, image.length, custom, count(vehicle) FROM image "
        "LEFT JOIN installed ON installed.sha256 = image.sha256 GROUP BY image.id "
        "ORDER BY image.id"
    )
    images = []
    for name, counter, length, custom, installed in rows:
        its = json.loads(custom)
        images.append(
            {
                "name": name,
                "releaseCounter": counter,
                "length": length,
                "kind": its["kind"],
                "hardwareIds": its["hardwareIds"],
                "deliveries": {
                    delivery["name"]: delivery["length"] for delivery in its["deliveries"]
                },
                "installedOn": installed,
            }
        )
    return images


def _campaigns(release: Release) -> list[dict[str, Any]]:
    rows = release.db.execute(
        "SELECT campaign.name, campaign.targets, count(vehicle.id), "
        "count(iif(vehicle.signed_campaign IS vehicle.campaign, 1, NULL)), "
        "count(vehicle.refused) FROM campaign "
        "LEFT JOIN vehicle ON vehicle.campaign = campaign.id GROUP BY campaign.id "
        "ORDER BY campaign.id"
    ).fetchall()
    return [
        {
            "campaign": name,
            "targets": [target for target, _ in json.loads(targets)],
            "vehicles": vehicles,
            "signed": signed,
            "refused": refused,
            "installed": {
                target: release.db.execute(
                    "SELECT count(DISTINCT vehicle.id) FROM campaign "
                    "JOIN vehicle ON vehicle.campaign = campaign.id "
                    "JOIN installed ON installed.vehicle = vehicle.id "
                    "JOIN image ON image.sha256 = installed.sha256 "
                    "WHERE campaign.name = ? AND image.name = ?",
                    (name, target),
                ).fetchone()[0]
                for target, _ in json.loads(targets)
            },
        }
        for name, targets, vehicles, signed, refused in rows
    ]


def fleet_lines(found: dict[str, Any]) -> list[str]:
    """`fleet`, for a person."""
    lines = [
        "vehicles: {vehicles}, of which reported: {reported}, to be signed: {due}".format(**found)
    ]
    if found["unfinished"]:
        lines.append("the last signing did not end: run `bordnetz release sign`")
    for image in found["images"]:
        hardware = ", ".join(image["hardwareIds"])
        lines.append(
            f"image {image['name']} (counter {image['releaseCounter']}, for {hardware}): "
            f"installed on ECUs: {image['installedOn']}"
        )
    for campaign in found["campaigns"]:
        installed = ", ".join(f"{name}: {count}" for name, count in campaign["installed"].items())
        lines.append(
            f"campaign {campaign['campaign']}: vehicles: {campaign['vehicles']}, signed: "
            f"{campaign['signed']}, installed: {installed}"
        )
    for place, vehicles in found["published"].items():
        lines.append(f"published at {place}: vehicles in their latest state: {vehicles}")
    for role, its in found["expires"].items():
        mark = "  SOON" if its["soon"] else ""
        lines.append(f"{role} expires {its['expires']}, in {its['days']} days{mark}")
    lines += _first("refused", found["refused"], found["refusals"].items())
    lines += _first(
        "attacked",
        found["attacked"],
        (
            (name, ", ".join(sorted({one["kind"] for one in of})))
            for name, of in found["attacks"].items()
        ),
    )
    return lines


def _first(what: str, total: int, named: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f"{what}: {name}: {text}" for name, text in named]
    if total > len(lines):
        lines.append(f"{what}: ... and {total - len(lines)} more")
    return lines


def vehicle_lines(found: dict[str, Any]) -> list[str]:
    """`vehicle`, for a person."""
    lines = [f"{found['vehicle']}: campaign {found['campaign'] or 'none'}"]
    if found["campaign"] != found["signedCampaign"]:
        lines.append(f"  but signed: {found['signedCampaign'] or 'none'}")
    if found["tags"]:
        lines.append(f"  tags: {', '.join(found['tags'])}")
    for ecu, its in found["ecus"].items():
        image = its["installed"]
        has = f"{image['name']} (counter {image['releaseCounter']})" if image else "not reported"
        lines.append(f"  {ecu} ({its['hardwareId']}): {has}")
    if found["reported"]:
        lines.append(f"  last manifest: {found['sequence']}, time {found['reported']}")
    if found["refused"]:
        lines.append(f"  refused: {found['refused']}")
    lines += [
        f"  attack: {one['kind']} {one['repository']} {one['role']}" for one in found["attacks"]
    ]
    return lines
