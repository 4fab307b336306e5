"""Looking for updates: the floor never sinks, and what is stored is one whole verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from uptane_repos import DAY, VEHICLE, Pair, ecu

from bordnetz.edge import durable
from bordnetz.ota.refresh import Refresh
from bordnetz.ota.source import MissingError, Source
from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.floor import Floor
from bordnetz.uptane.time import TimeLimits
from bordnetz.uptane.trust import Vehicle

from .scenario import Scenario, Tell

_RELEASES = 6
_ECU = "ecu-1"


class _Memory(Source):
    """A repository as it was at one release."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def fetch(self, name: str, limit: int) -> bytes:
        if name not in self._files:
            raise MissingError(name)
        return self._files[name]


def _payload(number: int) -> bytes:
    return b"release %d" % number


class Checking(Scenario):
    """Release after release verified and taken for installed, with checks that fail between."""

    name = "metadata"

    def __init__(self) -> None:
        pair = Pair()
        self._roots = pair.roots
        self._stores: list[tuple[_Memory, _Memory]] = []
        self._broken: list[tuple[_Memory, _Memory]] = []
        self._lowest: list[Floor] = []
        for number in range(1, _RELEASES + 1):
            pair.director.targets.targets.clear()
            pair.add(f"app-{number}", _payload(number), {_ECU: "hw-1"}, counter=number)
            if number == 4:
                pair.director.rotate("targets")
            pair.publish(DAY)
            director, image = dict(pair.director.files), dict(pair.image.files)
            self._stores.append((_Memory(director), _Memory(image)))
            half = dict(image)
            del half[f"{pair.image.targets.version}.targets.json"]
            self._broken.append((_Memory(director), _Memory(half)))
            versions = {
                name: {
                    role: repo.signed(role).version for role in ("timestamp", "snapshot", "targets")
                }
                for name, repo in (("director", pair.director), ("image", pair.image))
            }
            self._lowest.append(Floor(versions, {}, pair.time, pair.sequence))
        self._now = pair.time

    def setup(self, folder: Path) -> None:
        with self._open(folder) as refresh:
            self._check(refresh, folder, 1)

    def run(self, folder: Path, tell: Tell) -> None:
        with self._open(folder) as refresh:
            for number in range(1, _RELEASES):
                self._check(refresh, folder, number)
                tell(f"verified {number}")
                durable.write(folder / "installed", b"%d" % number)
                refresh.record.raise_counters({_ECU: number})
                tell(f"counted {number}")
                try:
                    self._check(refresh, folder, number + 1, broken=True)
                except UptaneError as error:
                    if error.kind not in (Kind.MISSING, Kind.MIX_AND_MATCH):
                        raise
                tell(f"seen {number + 1}")

    def recover(self, folder: Path, tell: Tell) -> None:
        durable.sweep(folder)
        with self._open(folder) as refresh:
            tell(f"floor {refresh.record.floor.to_json().decode()}")
            refresh.record.raise_counters({_ECU: self._installed(folder)})
            try:
                refresh.recheck(self._vehicle(folder), self._now)
            except UptaneError as error:
                # A check is needed: the last one did not end well, or came to a new root, which
                # took a key away.
                if error.kind not in (Kind.MISSING, Kind.ROLLBACK, Kind.BAD_SIGNATURE):
                    raise
            self._check(refresh, folder, _RELEASES)
            tell(f"verified {_RELEASES}")
            refresh.recheck(self._vehicle(folder), self._now)

    def check(self, folder: Path, told: Sequence[str]) -> list[str]:
        wrong = []
        lowest, counter = self._lowest[0], 0
        for line in told:
            what, _, value = line.partition(" ")
            if what == "floor":
                wrong += _sunk(Floor.from_json(value.encode()), lowest, counter)
            elif what == "counted":
                counter = int(value)
            elif what == "verified":
                lowest = self._lowest[int(value) - 1]
            else:
                # Of a check that failed, what it had verified by then.
                director = {"director": self._lowest[int(value) - 1].versions["director"]}
                lowest = Floor({**lowest.versions, **director}, {}, lowest.time, lowest.sequence)
        with self._open(folder) as refresh:
            wrong += _sunk(refresh.record.floor, lowest, counter)
            for number in range(_RELEASES - 1):
                try:
                    refresh.check(*self._stores[number], self._vehicle(folder), self._now)
                except UptaneError as error:
                    if error.kind is not Kind.ROLLBACK:
                        wrong.append(f"release {number + 1}: {error}")
                else:
                    wrong.append(f"release {number + 1} was taken after {_RELEASES}")
        left = [path.name for path in folder.rglob(f"{durable.NEW}*")]
        return wrong + ([f"left behind: {left}"] if left else [])

    def _open(self, folder: Path) -> Refresh:
        return Refresh(folder / "state", self._roots, TimeLimits())

    def _check(self, refresh: Refresh, folder: Path, number: int, *, broken: bool = False) -> None:
        store = (self._broken if broken else self._stores)[number - 1]
        refresh.check(*store, self._vehicle(folder), self._now)

    def _installed(self, folder: Path) -> int:
        return int(durable.read(folder / "installed", 10) or b"0")

    def _vehicle(self, folder: Path) -> Vehicle:
        number = self._installed(folder)
        return Vehicle(VEHICLE, {_ECU: ecu(_payload(number) if number else b"", counter=number)})


def _sunk(floor: Floor, lowest: Floor, counter: int) -> list[str]:
    """In what a floor is below what it had to be."""
    found = []
    for name, roles in lowest.versions.items():
        for role, version in roles.items():
            here = floor.versions.get(name, {}).get(role, 0)
            if here < version:
                found.append(f"{name} {role} {here} instead of {version}")
    if floor.time < lowest.time or floor.sequence < lowest.sequence:
        found.append(f"time {floor.time} instead of {lowest.time}")
    if floor.counters.get(_ECU, 0) < counter:
        found.append(f"counter {floor.counters.get(_ECU, 0)} instead of {counter}")
    return [f"the floor has sunk: {', '.join(found)}"] if found else []
