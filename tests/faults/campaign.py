"""A campaign for two targets, from the check to the final report."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from uptane_repos import DAY, Pair

from bordnetz.edge import durable
from bordnetz.ota.journal import Journal
from bordnetz.payload import tree
from bordnetz.uptane.floor import Floor

from .car import ECUS, Car, finals
from .scenario import Scenario, Tell

_FLOOR = Path("state/trust/floor/floor.json")
_SIZE = 40_000
_LARGE = 600_000
"""More than a chunk of a download."""


def _bytes(ecu: str, number: int, size: int) -> bytes:
    """Content that tells what it is, every block another."""
    head = b"%s version %d\n" % (ecu.encode(), number)
    return head + b"".join(hashlib.sha256(head + b"%d" % i).digest() for i in range(size // 32))


def _payload(ecu: str, number: int) -> bytes:
    """A file for a, the tar of a tree for b."""
    if ecu == "a":
        return _bytes(ecu, number, _SIZE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "part").mkdir()
        for index, size in enumerate((0, _SIZE, _LARGE)):
            (folder / "part" / f"{index}").write_bytes(_bytes(f"b{index}", number, size))
        (folder / "link").symlink_to("part/1")
        return b"".join(tree.pack(folder))


class _Releases:
    """Two releases: files of repositories and payloads."""

    def __init__(self) -> None:
        pair = Pair()
        self.roots = pair.roots
        self.payloads = {number: {ecu: _payload(ecu, number) for ecu in ECUS} for number in (1, 2)}
        self.files: dict[str, bytes] = {}
        self.lowest: dict[int, Floor] = {}
        for number, payloads in self.payloads.items():
            pair.director.targets.targets.clear()
            pair.custom()["campaign"] = {
                "id": f"campaign-{number}",
                "groups": [list(ECUS)],
                "after": {"b": ["a"]},
                "require": [],
            }
            for ecu, payload in payloads.items():
                kind = "file" if ecu == "a" else "tree"
                name = f"{ecu}-{number}"
                pair.add(name, payload, {ecu: f"hw-{ecu}"}, counter=number, kind=kind)
                digest = hashlib.sha256(payload).hexdigest()
                self.files[f"targets/{digest}.{name}"] = payload
            pair.publish(DAY)
            for repository, repo in (("director", pair.director), ("image", pair.image)):
                for file, data in repo.files.items():
                    self.files[f"{number}/{repository}/{file}"] = data
            versions = {
                "director": {"targets": pair.director.targets.version},
                "image": {"targets": pair.image.targets.version},
            }
            self.lowest[number] = Floor(versions, {}, pair.time, pair.sequence)
        self.now = pair.time

    def digest(self, ecu: str, number: int) -> str:
        return hashlib.sha256(self.payloads[number][ecu]).hexdigest()


class Fate(Enum):
    """What becomes of version 2."""

    WELL = "campaign"
    ILL = "failing-campaign"
    """It is not well on the second target."""
    FORGED = "forged-campaign"
    """Other bytes than the metadata name lie in the store for the second target."""
    FIRST = "first-campaign"
    """There is none: the car starts for the first time, and version 1 comes."""


_NOTHING = "nothing"
_RESULTS = {Fate.WELL: "succeeded", Fate.ILL: "rolledBack", Fate.FORGED: "failed"}


class Updating(Scenario):
    """Version 1 is installed on both; version 2 comes."""

    def __init__(self, fate: Fate, *, again: bool) -> None:
        """Choose.

        Args:
            fate: What becomes of version 2.
            again: Whether an attempt may fail because of the fault, to be made again by itself
                later; else what is begun has to be brought to its end, whatever happens.
        """
        self.name = fate.value
        self._fate = fate
        self._last = 2 if fate is Fate.WELL else 1
        self._release = 1 if fate is Fate.FIRST else 2
        self._again = again
        # Here, for the keys must be the same in all children.
        self._releases = _Releases()

    def setup(self, folder: Path) -> None:
        for name, data in self._releases.files.items():
            path = folder / "store" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            if self._fate is Fate.FORGED and name.endswith(".b-2"):
                path.write_bytes(data[:-1] + b"?")
        for name in ("state", "ecus/a", "ecus/b"):
            (folder / name).mkdir(parents=True)
        if self._fate is not Fate.FIRST:
            self._car(lambda _: None).live(folder, 1)

    def run(self, folder: Path, tell: Tell) -> None:
        self._car(tell).live(folder, self._release)

    def jump(self, folder: Path, tell: Tell, seconds: int) -> None:
        """A life with a system clock that is so far ahead."""
        self._car(tell, later=seconds).live(folder, self._release)

    def recover(self, folder: Path, tell: Tell) -> None:
        for ecu, version in self._active(folder).items():
            tell(f"active {ecu} {version}")
        floor = folder / _FLOOR
        if floor.exists():
            tell(f"floor {floor.read_text()}")
        self._car(tell).live(folder, self._release)
        if self._again:
            self._car(tell, later=2 * DAY).live(folder, self._release)

    def check(self, folder: Path, told: Sequence[str]) -> list[str]:
        wrong = [
            f"{ecu} has {version} active, and not {self._last}"
            for ecu, version in self._active(folder).items()
            if version != str(self._last)
        ]
        wrong += [f"once was {line}" for line in told if line.startswith("active") and "?" in line]
        return wrong + self._floors(folder, told) + self._reports(folder, told) + _left(folder)

    def _car(self, tell: Tell, later: int = 0) -> Car:
        releases = self._releases
        ill = "b1 version 2" if self._fate is Fate.ILL else "another version"
        return Car(releases.roots, ill, releases.now + later, self._fate is Fate.ILL, tell)

    def _active(self, folder: Path) -> dict[str, str]:
        """The versions by what lies there, looked at without the installers."""
        found = {}
        for ecu in ECUS:
            current = folder / "ecus" / ecu / "current"
            if self._fate is Fate.FIRST and not current.is_symlink():
                found[ecu] = _NOTHING
                continue
            try:
                if ecu == "a":
                    files = [path for path in current.rglob("*") if path.is_file()]
                    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
                else:
                    _, digest = tree.digest(current)
            except (OSError, IndexError, tree.TreeError) as error:
                found[ecu] = f"? {error}"
                continue
            known = {self._releases.digest(ecu, n): str(n) for n in self._releases.payloads}
            found[ecu] = known.get(digest, f"? {digest}")
        return found

    def _floors(self, folder: Path, told: Sequence[str]) -> list[str]:
        wrong = []
        last = (folder / _FLOOR).read_text()
        lowest, counters = self._releases.lowest[1], dict.fromkeys(ECUS, 1)
        if self._fate is Fate.FIRST:
            lowest, counters = Floor(), {}
        for line in [*told, f"floor {last}"]:
            what, _, rest = line.partition(" ")
            if what == "verified":
                lowest = self._releases.lowest[int(rest)]
            elif what == "counted":
                ecu, counter = rest.split()
                counters[ecu] = int(counter)
            elif what == "floor":
                floor = Floor.from_json(rest.encode())
                for name, roles in lowest.versions.items():
                    if floor.versions[name]["targets"] < roles["targets"]:
                        wrong.append(f"the floor of {name} has sunk")
                if floor.time < lowest.time or floor.sequence < lowest.sequence:
                    wrong.append("the floor of the time has sunk")
                for ecu, counter in counters.items():
                    if floor.counters.get(ecu, 0) < counter:
                        wrong.append(f"the counter of {ecu} has sunk below {counter}")
        expected = dict.fromkeys(ECUS, self._last)
        if dict(Floor.from_json(last.encode()).counters) != expected:
            wrong.append(f"the counters are not {expected}")
        return wrong

    def _reports(self, folder: Path, told: Sequence[str]) -> list[str]:
        wrong = []
        found = finals(folder)
        attempts = [report["attempt"] for report in found]
        if len(set(attempts)) != len(attempts):
            wrong.append(f"several final reports of one attempt: {attempts}")
        missing = {line.split()[1] for line in told if line.startswith("final ")} - {*attempts}
        if missing:
            wrong.append(f"lost final reports: {missing}")
        journal = Journal.open(folder / "state" / "journal.db")
        try:
            if journal.set_aside:
                wrong.append("the journal was moved aside")
            if under_way := journal.attempts():
                wrong.append(f"still under way: {[one.id for one in under_way]}")
            known = [report["attempt"] for report in journal.reports(1000)]
        finally:
            journal.close()
        if sorted(known) != sorted(attempts):
            wrong.append(f"the journal knows {known}, reported are {attempts}")
        results = [(report["campaign"], report["result"]) for report in found]
        expected = [("campaign-1", "succeeded")]
        if self._fate in _RESULTS:
            expected.append(("campaign-2", _RESULTS[self._fate]))
        if self._again:
            results = [one for one in results if one[1] not in ("failed", "rolledBack")]
            expected = expected[: self._last]
        if results != expected:
            words = [report.get("error", {}).get("words") for report in found]
            wrong.append(f"reported are {results}: {words}")
        return wrong


def _left(folder: Path) -> list[str]:
    """What should not lie there any more."""
    left = [str(path.relative_to(folder)) for path in folder.rglob(f"{durable.NEW}*")]
    left += [str(path.relative_to(folder)) for path in (folder / "state" / "payloads").iterdir()]
    for ecu in ECUS:
        place = folder / "ecus" / ecu
        side = (place / "current").resolve().name
        for path in place.iterdir():
            if path.name not in ("current", side, f"{side}.json"):
                left.append(str(path.relative_to(folder)))
    return [f"left behind: {sorted(left)}"] if left else []
