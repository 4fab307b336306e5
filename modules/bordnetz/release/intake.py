"""Manifests that come back: what vehicles say they have, and which vehicles get nothing new.

Uptane Standard 2.1, "Directing installation of images on vehicles", step 2 and 3.  A manifest is
accepted if

1. it and each report in it is signed by the key of the vehicle's primary;
2. it has one report for every ECU of the vehicle, and none for another, with its hardware id;
3. its sequence is higher than that of every one before, and its time not lower;
4. no ECU's release counter has sunk, and a counter that is the same names the same image;
5. an image whose name is known here is that image.

A vehicle whose manifest is not accepted gets no new targets, only its old ones with fresh
signatures, until it sends one that is.  A manifest that was accepted before is passed over.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bordnetz.release.database import DUE_TARGETS
from bordnetz.release.errors import ReleaseError
from bordnetz.release.progress import Progress, silent
from bordnetz.release.release import Release
from bordnetz.uptane.errors import UptaneError
from bordnetz.uptane.keys import public_key
from bordnetz.uptane.manifest import MAX_BYTES, Manifest, claimed, verify

_BATCH = 500

_KEPT = 16
"""Accepted manifests by which old ones are known again, a vehicle."""


@dataclass(frozen=True)
class Result:
    """What became of a manifest.

    Attributes:
        path: Its file.
        vehicle: Whose it is; "": nobody's that is known.
        outcome: ``accepted``, ``known`` (accepted before) or ``refused``.
        reason: Why it is refused.
    """

    path: Path
    vehicle: str
    outcome: Literal["accepted", "known", "refused"]
    reason: str = ""


class _RefusedError(Exception):
    """The manifest is not accepted, for this reason."""


def intake(
    release: Release, paths: Iterable[Path], progress: Progress = silent
) -> Iterator[Result]:
    """Take in manifests.

    Args:
        release: The release.
        paths: Files, and folders whose files are taken; of one vehicle the lowest sequence first.
        progress: Is told how far it is.

    Yields:
        What became of each; it is on the disk by then.

    Raises:
        ReleaseError: A file cannot be read, or the disk does not take the outcome.
    """
    images = {
        name: (sha256, counter)
        for name, sha256, counter in release.db.execute("SELECT name, sha256, counter FROM image")
    }
    files = sorted(_files(paths), key=_order)
    for start in range(0, len(files), _BATCH):
        progress("manifests taken in", start, len(files))
        # A commit waits for the disk: one for many.
        with release.transaction() as db:
            results = [_take(db, path, images) for path in files[start : start + _BATCH]]
        yield from results


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in path.rglob("*") if file.is_file())
        else:
            yield path


def _order(path: Path) -> tuple[int, str]:
    """By sequence, where there is one: an old manifest must not come after a new one."""
    try:
        return claimed(_read(path))[1], str(path)
    except UptaneError:
        return -1, str(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read: {error.strerror}") from error


def _take(db: sqlite3.Connection, path: Path, images: dict[str, tuple[str, int]]) -> Result:
    data = _read(path)
    try:
        name, _ = claimed(data)
    except UptaneError as error:
        return Result(path, "", "refused", str(error))
    row = db.execute(
        "SELECT vehicle.id, key, primary_ecu, ecus, sequence, reported FROM vehicle "
        "JOIN model ON model.id = model WHERE name = ?",
        (name,),
    ).fetchone()
    if row is None:
        return Result(path, "", "refused", "the vehicle that it names is not known here")
    vehicle, key, primary, ecus, sequence, reported = row
    try:
        manifest = verify(data, [public_key(key)])
        known = _known(db, vehicle, manifest, data)
        if known:
            return Result(path, name, "known")
        if sequence is not None and manifest.sequence <= sequence:
            raise _RefusedError(
                f"sequence {manifest.sequence} after {sequence}: an old manifest, or the "
                "vehicle has lost its memory"
            )
        if reported is not None and manifest.time < reported:
            raise _RefusedError("its time went back")
        if manifest.primary != primary:
            raise _RefusedError(f"its primary is {manifest.primary}, not {primary}")
        _check_ecus(manifest, json.loads(ecus))
        _check_images(db, vehicle, manifest, images)
    except (UptaneError, _RefusedError) as error:
        db.execute("UPDATE vehicle SET refused = ? WHERE id = ?", (str(error), vehicle))
        return Result(path, name, "refused", str(error))
    _accept(db, vehicle, manifest, data)
    return Result(path, name, "accepted")


def _known(db: sqlite3.Connection, vehicle: int, manifest: Manifest, data: bytes) -> bool:
    """Whether it was accepted before."""
    row = db.execute(
        "SELECT sha256 FROM manifest WHERE vehicle = ? AND sequence = ?",
        (vehicle, manifest.sequence),
    ).fetchone()
    if row is not None:
        if row[0] != hashlib.sha256(data).digest():
            raise _RefusedError(f"another manifest had the sequence {manifest.sequence}, too")
        return True
    count, oldest = db.execute(
        "SELECT count(*), min(sequence) FROM manifest WHERE vehicle = ?", (vehicle,)
    ).fetchone()
    # Older than what is remembered: it may well have been accepted.
    return bool(count >= _KEPT and manifest.sequence < oldest)


def _check_ecus(manifest: Manifest, ecus: dict[str, str]) -> None:
    reports = {report.ecu: report for report in manifest.ecus}
    if missing := sorted(ecus.keys() - reports.keys()):
        raise _RefusedError(f"there is no report of ECU {missing[0]}")
    if unknown := sorted(reports.keys() - ecus.keys()):
        raise _RefusedError(f"ECU {unknown[0]} is none of this vehicle's")
    for ecu, hardware in sorted(ecus.items()):
        if reports[ecu].hardware_id != hardware:
            raise _RefusedError(f"ECU {ecu} is hardware {reports[ecu].hardware_id}, not {hardware}")


def _check_images(
    db: sqlite3.Connection,
    vehicle: int,
    manifest: Manifest,
    images: dict[str, tuple[str, int]],
) -> None:
    before = {
        ecu: (sha256, counter)
        for ecu, sha256, counter in db.execute(
            "SELECT ecu, sha256, counter FROM installed WHERE vehicle = ?", (vehicle,)
        )
    }
    for report in manifest.ecus:
        if report.installed is None:
            continue
        sha256, counter = report.installed.hashes.get("sha256"), report.installed.counter
        had, last = before.get(report.ecu, (None, None))
        if last is not None and counter < last:
            raise _RefusedError(
                f"ECU {report.ecu}: its release counter sank from {last} to {counter}"
            )
        if counter == last and sha256 != had:
            raise _RefusedError(
                f"ECU {report.ecu}: another image with the same release counter {last}"
            )
        known = images.get(report.installed.name)
        if known is not None and known != (sha256, counter):
            raise _RefusedError(
                f"ECU {report.ecu}: what it calls {report.installed.name} is not that image"
            )


def _accept(db: sqlite3.Connection, vehicle: int, manifest: Manifest, data: bytes) -> None:
    attacks = [
        {"ecu": ecu, **attack.model_dump(mode="json")}
        for ecu, found in [("", manifest.attacks), *((r.ecu, r.attacks) for r in manifest.ecus)]
        for attack in found
    ]
    db.execute(
        "UPDATE vehicle SET refused = NULL, sequence = ?, reported = ?, attacks = ?, "
        "due = iif(campaign IS signed_campaign, due, ?) WHERE id = ?",
        (
            manifest.sequence,
            manifest.time,
            json.dumps(attacks) if attacks else None,
            DUE_TARGETS,
            vehicle,
        ),
    )
    db.execute(
        "INSERT INTO manifest VALUES (?, ?, ?)",
        (vehicle, manifest.sequence, hashlib.sha256(data).digest()),
    )
    db.execute(
        "DELETE FROM manifest WHERE vehicle = ? AND sequence NOT IN (SELECT sequence FROM manifest "
        "WHERE vehicle = ? ORDER BY sequence DESC LIMIT ?)",
        (vehicle, vehicle, _KEPT),
    )
    for report in manifest.ecus:
        image = report.installed
        # What an ECU had is remembered while it says nothing, for its counter must not sink.
        if image is not None:
            db.execute(
                "INSERT OR REPLACE INTO installed VALUES (?, ?, ?, ?, ?)",
                (vehicle, report.ecu, image.name, image.hashes.get("sha256"), image.counter),
            )
