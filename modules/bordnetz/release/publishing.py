"""The static files of a release, put where vehicles find them.

    image/                   1.root.json ... N.root.json, root.json, timestamp.json,
                             N.snapshot.json, N.targets.json
    director/<vehicle id>/   the same, and time.json
    targets/<sha256>.<name>  payloads and the ways they travel

What names another file comes after it: payloads first, then the image repository, then the
directors, and in each the timestamp last.  A reader that comes in between has the old state or
the new one.  What is on record as published is not sent again; of metadata that is not named any
more, the last version before stays, for who is reading it just now.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bordnetz.release import catalogue, roots
from bordnetz.release.destination import Destination
from bordnetz.release.errors import ReleaseError
from bordnetz.release.progress import Progress, silent
from bordnetz.release.release import Release

_BATCH = 1000


@dataclass(frozen=True)
class Published:
    """What was sent.

    Attributes:
        payloads: Files.
        files: Of metadata.
        vehicles: So many got something.
        due: So many have something assigned that is not signed yet.
    """

    payloads: int
    files: int
    vehicles: int
    due: int


@dataclass(frozen=True, slots=True)
class _Vehicle:
    """A vehicle whose metadata is to be published, and the versions that are there."""

    id: int
    name: str
    targets: int
    snapshot: int
    old_root: int
    old_targets: int | None
    old_snapshot: int | None
    older_targets: int | None
    older_snapshot: int | None


def publish(
    release: Release,
    destination: Destination,
    *,
    everything: bool = False,
    progress: Progress = silent,
) -> Published:
    """Send what is new.

    Args:
        release: The release.
        destination: Where to.
        everything: Send all, whatever the records say.
        progress: Is told how far it is.

    Raises:
        ReleaseError: What was signed is not whole, or the destination does not take something.
            What was sent is on record; the next call goes on from there.
    """
    run, finished, keys_changed = release.db.execute(
        "SELECT run, finished, keys_changed FROM state"
    ).fetchone()
    if run != finished or keys_changed:
        raise ReleaseError(
            f"{release.folder}: nothing is signed yet, or the last signing did not end; run: "
            f"bordnetz release sign {release.folder}"
        )
    again = everything or destination.empty
    number = _number(release, destination)
    known = set() if again else _known(release, number)
    payloads = _payloads(release, destination, number, known, progress)
    files = _images(release, destination, number, known)
    more, vehicles = _directors(release, destination, number, again, progress)
    (due,) = release.db.execute("SELECT count(*) FROM vehicle WHERE due > 0").fetchone()
    return Published(payloads, files + more, vehicles, due)


def _number(release: Release, destination: Destination) -> int:
    with release.transaction() as db:
        db.execute("INSERT OR IGNORE INTO destination (name) VALUES (?)", (destination.name,))
        number: int = db.execute(
            "SELECT id FROM destination WHERE name = ?", (destination.name,)
        ).fetchone()[0]
    return number


def _payloads(
    release: Release, destination: Destination, number: int, known: set[str], progress: Progress
) -> int:
    paths = [
        f"{delivery['sha256']}.{delivery['name']}"
        for entry in catalogue.entries(release).values()
        for delivery in entry["custom"]["deliveries"]
    ]
    new = [path for path in dict.fromkeys(paths) if f"targets/{path}" not in known]
    for done, path in enumerate(new):
        progress("payloads published", done, len(new))
        destination.put_file(f"targets/{path}", release.payloads / path)
        destination.sync()
        _record(release, number, [f"targets/{path}"])
    return len(new)


def _images(release: Release, destination: Destination, number: int, known: set[str]) -> int:
    files: dict[str, bytes] = {}
    chain = roots.chain(release, "image")
    for version, data in chain:
        files[f"image/{version}.root.json"] = data
    current = catalogue.current(release)
    for role in ("targets", "snapshot"):
        version, _, data = current[role]
        files[f"image/{version}.{role}.json"] = data
    new = {path: data for path, data in files.items() if path not in known}
    # What is replaced is on record with its version.
    version, _, timestamp = current["timestamp"]
    last = {"image/root.json": chain[-1], "image/timestamp.json": (version, timestamp)}
    marks = {path: f"{path}@{version}" for path, (version, _) in last.items()}
    new |= {path: data for path, (_, data) in last.items() if marks[path] not in known}
    for path, data in new.items():
        destination.put(path, data)
    destination.sync()
    _record(release, number, [marks.get(path, path) for path in new])
    for role in ("targets", "snapshot"):
        versions = sorted(
            int(path.removeprefix("image/").partition(".")[0])
            for path in _known(release, number)
            if path.startswith("image/") and path.endswith(f".{role}.json")
        )
        for version in versions[:-2]:
            path = f"image/{version}.{role}.json"
            destination.remove(path)
            release.db.execute(
                "DELETE FROM published WHERE destination = ? AND path = ?", (number, path)
            )
    return len(new)


def _directors(
    release: Release, destination: Destination, number: int, again: bool, progress: Progress
) -> tuple[int, int]:
    where = (
        "FROM vehicle LEFT JOIN published_vehicle AS p ON p.vehicle = vehicle.id AND "
        "p.destination = ? WHERE vehicle.snapshot IS NOT NULL AND vehicle.id > ? AND "
        "(p.snapshot IS NULL OR p.snapshot != vehicle.snapshot OR ?)"
    )
    (total,) = release.db.execute(f"SELECT count(*) {where}", (number, 0, again)).fetchone()
    sender = _Sender(release, destination, again)
    files = done = last = 0
    with ThreadPoolExecutor(destination.workers) as pool:
        while True:
            rows = release.db.execute(
                "SELECT vehicle.id, name, vehicle.targets, vehicle.snapshot, ifnull(p.root, 0), "
                f"p.targets, p.snapshot, p.old_targets, p.old_snapshot {where} "
                "ORDER BY vehicle.id LIMIT ?",
                (number, last, again, _BATCH),
            ).fetchall()
            if not rows:
                return files, done
            batch = [_Vehicle(*row) for row in rows]
            files += sum(pool.map(sender.send, batch))
            destination.sync()
            with release.transaction() as db:
                db.executemany(
                    "INSERT OR REPLACE INTO published_vehicle VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [(number, *sender.record(vehicle)) for vehicle in batch],
                )
            done += len(batch)
            last = batch[-1].id
            progress("vehicles published", done, total)


class _Sender:
    """Puts the files of one vehicle, in their order."""

    def __init__(self, release: Release, destination: Destination, again: bool) -> None:
        self._folder = release.directors
        self._chain = roots.chain(release, "director")
        self._destination = destination
        self._again = again

    def send(self, vehicle: _Vehicle) -> int:
        """Send what is new; returns how many files that were."""
        base = f"director/{vehicle.name}"
        put, again = self._destination.put, self._again
        files = [
            (f"{version}.root.json", data)
            for version, data in self._chain
            if again or version > vehicle.old_root
        ]
        if files:
            files.append(("root.json", self._chain[-1][1]))
        if again or vehicle.targets != vehicle.old_targets:
            files.append((f"{vehicle.targets}.targets.json", self._signed(vehicle, "targets")))
        files.append((f"{vehicle.snapshot}.snapshot.json", self._signed(vehicle, "snapshot")))
        files.append(("time.json", self._signed(vehicle, "time")))
        files.append(("timestamp.json", self._signed(vehicle, "timestamp")))
        for name, data in files:
            put(f"{base}/{name}", data)
        _, _, targets, snapshot, old_targets, old_snapshot = self.record(vehicle)
        for role, version, keep in (
            ("targets", vehicle.older_targets, (targets, old_targets)),
            ("snapshot", vehicle.older_snapshot, (snapshot, old_snapshot)),
        ):
            if version is not None and version not in keep:
                self._destination.remove(f"{base}/{version}.{role}.json")
        return len(files)

    def record(self, vehicle: _Vehicle) -> tuple[int, int, int, int, int | None, int | None]:
        """What is there after it was sent: vehicle, root, versions, and those before."""
        root = self._chain[-1][0]
        state = vehicle.targets, vehicle.snapshot, vehicle.old_targets, vehicle.old_snapshot
        return (vehicle.id, root, *state)

    def _signed(self, vehicle: _Vehicle, role: str) -> bytes:
        path = self._folder / vehicle.name / f"{role}.json"
        try:
            return path.read_bytes()
        except OSError as error:
            raise ReleaseError(
                f"{path}: cannot be read: {error.strerror}; sign again with: bordnetz release "
                "sign --all"
            ) from error


def _known(release: Release, number: int) -> set[str]:
    rows = release.db.execute("SELECT path FROM published WHERE destination = ?", (number,))
    return {path for (path,) in rows}


def _record(release: Release, number: int, paths: Sequence[str]) -> None:
    with release.transaction() as db:
        db.executemany(
            "INSERT OR REPLACE INTO published VALUES (?, ?)", [(number, path) for path in paths]
        )


def published_at(release: Release) -> dict[str, int]:
    """Destinations, and how many vehicles each has in their latest state."""
    rows = release.db.execute(
        "SELECT destination.name, count(vehicle.id) FROM destination "
        "LEFT JOIN published_vehicle AS p ON p.destination = destination.id "
        "LEFT JOIN vehicle ON vehicle.id = p.vehicle AND vehicle.snapshot = p.snapshot "
        "GROUP BY destination.id"
    )
    return dict(rows.fetchall())


__all__ = ["Published", "publish", "published_at"]
