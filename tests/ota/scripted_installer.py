"""A car in memory for the job engine: its disk outlives the engine, which may die at any moment.

`World` is what survives: installers' sides, payloads, the journal's database, the floor, the hub.
Every change of it goes through `World.tick`, which raises `Death` at the moment chosen.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bordnetz.edge.durable import DurableError
from bordnetz.ota import journal as journal_module
from bordnetz.ota.database import DatabaseError
from bordnetz.ota.engine import Engine
from bordnetz.ota.gate import Verdict
from bordnetz.ota.installers.installer import (
    Activation,
    Installed,
    Installer,
    InstallError,
    Job,
    UnhealthyError,
)
from bordnetz.ota.journal import Journal
from bordnetz.ota.surroundings import Surroundings
from bordnetz.uptane.custom import Campaign, Delivery
from bordnetz.uptane.target import Target, Verified

NOW = 1_767_225_600
DAY = 86_400


class Death(BaseException):
    """The process is gone."""


class Wrong(BaseException):
    """A promise is broken; no handler for errors may swallow it."""


def digest(ecu: str, version: int) -> str:
    return f"{ecu}-{version}".encode().hex().ljust(64, "0")


def installed(ecu: str, version: int) -> Installed:
    return Installed(f"{ecu}.bin", 100, digest(ecu, version), version)


def target(ecu: str, version: int, kind="file", counter=None, content=None) -> Target:
    sha256 = digest(ecu, content if content is not None else version)
    delivery = Delivery(name=f"{ecu}.bin", length=100, sha256=sha256, encoding="identity")
    counter = version if counter is None else counter
    return Target(ecu, "hw", f"{ecu}.bin", 100, {"sha256": sha256}, counter, kind, (delivery,))


def wanted(*targets: Target, **terms) -> Verified:
    terms = {"id": "autumn", "require": [], **terms}
    return Verified(Campaign(**terms), targets, 1, NOW + 10**6)


@dataclass
class Side:
    """What is on one target."""

    active: Installed | None
    next: Installed | None
    staged: Installed | None = None
    passive: Installed | str | None = None
    way_back: Installed | str | None = "none"


@dataclass
class World:
    """Everything that outlives the process."""

    sides: dict[str, Side]
    kinds: dict[str, str] = field(default_factory=dict)
    fails: dict[tuple[str, str], Exception] = field(default_factory=dict)
    times: dict[tuple[str, str], int] = field(default_factory=dict)
    fallback: set[str] = field(default_factory=set)
    boots: bool = True
    shut: tuple[str, ...] = ()
    closed: bool = False
    source: str = ""
    on: dict[tuple[str, str], Callable[[], None]] = field(default_factory=dict)
    room: dict[str, int] = field(default_factory=dict)
    payloads: set[str] = field(default_factory=set)
    obtains: list = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    reports: list[dict] = field(default_factory=list)
    states: list[dict] = field(default_factory=list)
    verbs: list[tuple[str, str, str]] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    boot: int = 1
    now: int = NOW
    mono: float = 0.0
    points: int = 0
    dies_at: int = -1
    disk_fails_at: set[int] = field(default_factory=set)
    drawn: int = 0
    rechecks: int = 0
    probes: int = 0
    asked: int = 0
    chunk: int = 60
    recheck: Exception | None = None
    deaf: int = 0
    floor: Exception | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.db.executescript(journal_module._SCHEMA)
        self.turn = threading.RLock()

    @classmethod
    def of(cls, **versions: int | None) -> World:
        sides = {}
        for ecu, version in versions.items():
            active = None if version is None else installed(ecu, version)
            sides[ecu] = Side(active, active)
        return cls(sides)

    def tick(self, disk: bool = False):
        self.points += 1
        if disk and self.points in self.disk_fails_at:
            raise DatabaseError("the disk is full")
        if self.points == self.dies_at:
            raise Death

    def power_cut(self):
        """The machine boots: what was to become active is so, if it can boot."""
        self.boot += 1
        for ecu, side in self.sides.items():
            if ecu in self.fallback and side.next != side.active:
                side.next = side.active
            side.active = side.next

    def engine(self) -> Engine:
        self.stop = threading.Event()
        installers = {
            ecu: {"reboot": Rebooting, "flash": Flashing}.get(self.kinds.get(ecu, ""), Scripted)(
                self, ecu
            )
            for ecu in self.sides
        }
        return Engine(
            Surroundings(
                journal=Journal(Memory(self)),
                installers=installers,
                payloads=Store(self),
                gate=ScriptedGate(self),
                reporter=Hub(self),
                clock=Time(self),
                raise_counters=self.raise_counters,
                recheck=self.rechecked,
                boot=f"boot {self.boot}",
                draw=self.draw,
                stop=self.stop,
            )
        )

    def raise_counters(self, counters):
        self.tick()
        if self.floor is not None:
            raise self.floor
        for ecu, counter in counters.items():
            self.counters[ecu] = max(counter, self.counters.get(ecu, 0))
        self.tick()

    def rechecked(self):
        self.rechecks += 1
        if self.recheck is not None:
            raise self.recheck

    def draw(self, bits: int) -> int:
        self.drawn += 1
        return self.drawn

    # -- driving it

    def drive(self, verified: Verified | None, most: int = 600) -> Engine:
        """A life of the process, until nothing goes on by itself any more."""
        engine = self.engine()
        rest = engine.resume()
        if verified is not None and not rest.reboot:
            rest = engine.offer(verified)
        for _ in range(most):
            if rest.reboot and not self.boots:
                self.mono += DAY
                self.now += DAY
                rest = engine.work()
            elif rest.reboot:
                self.power_cut()
                engine = self.engine()
                rest = engine.resume()
                if verified is not None and not rest.reboot:
                    rest = engine.offer(verified)
            elif rest.after is not None and not self.shut:
                self.mono += rest.after
                self.now += int(rest.after) + 1
                rest = engine.work()
            else:
                return engine
        raise Wrong(f"no end: {rest}, {self.verbs[-10:]}")


class Memory:
    """The database of a `Journal`, in memory that outlives the process."""

    set_aside = 0

    def __init__(self, world: World):
        self.world = world

    @contextmanager
    def transaction(self):
        db = self.world.db
        with self.world.turn:
            db.execute("BEGIN")
            before = db.total_changes
            try:
                yield db
                changed = db.total_changes != before
                if changed:
                    self.world.tick(disk=True)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            if changed:
                self.world.tick(disk=True)

    def close(self):
        pass


class Time:
    def __init__(self, world):
        self.world = world

    def now(self):
        return self.world.now

    def monotonic(self):
        return self.world.mono


class Hub:
    def __init__(self, world):
        self.world = world

    def state(self, status):
        self.world.states.append(dict(status))

    def final(self, report):
        self.world.tick()
        if self.world.deaf > 0:
            self.world.deaf -= 1
            raise DurableError("the outbox is full")
        self.world.reports.append(dict(report))
        self.world.tick()


class ScriptedGate:
    def __init__(self, world):
        self.world = world

    def ask(self, campaign):
        world = self.world
        source = "" if world.shut else world.source
        return Verdict(world.shut, closed=world.closed and bool(world.shut), source=source)

    def safe(self, campaign):
        return Verdict(self.world.shut)

    def never(self, campaign):
        return self.world.shut[0] if self.world.closed and self.world.shut else None


class Store:
    """Payloads; a script may have one come late or not at all."""

    def __init__(self, world):
        self.world = world

    def obtain(self, target, installer, budget, received):
        world = self.world
        world.obtains.append((target.ecu, budget))
        world.tick()
        error = world.fails.get((target.ecu, "obtain"))
        if (target.ecu, "obtain") in world.on:
            world.on[target.ecu, "obtain"]()
        received(world.chunk)
        if (target.ecu, "received") in world.on:
            world.on[target.ecu, "received"]()
        world.payloads.add(f".part-{target.sha256}")
        world.tick()
        if error is not None:
            times = world.times.get((target.ecu, "obtain"))
            if times is None:
                raise error
            if times > 0:
                world.times[target.ecu, "obtain"] = times - 1
                raise error
        received(40)
        world.payloads.discard(f".part-{target.sha256}")
        world.payloads.add(target.sha256)
        world.tick()
        return Path("/payloads", target.sha256)

    def discard(self, target):
        self.world.tick()
        self.world.payloads -= {target.sha256, f".part-{target.sha256}"}
        self.world.tick()

    def sweep(self, keep):
        self.world.tick()
        names = {one.sha256 for one in keep}
        self.world.payloads &= names | {f".part-{name}" for name in names}
        self.world.tick()


class Scripted(Installer):
    """Two sides and a switch; each verb takes two moments, between which it may be interrupted."""

    kinds = frozenset({"file", "tree"})
    irreversible = False

    def __init__(self, world: World, ecu: str):
        self.world = world
        self.ecu = ecu
        self.side = world.sides[ecu]

    def begin(self, verb: str, job: Job):
        self.world.tick()
        self.world.verbs.append((job.attempt, self.ecu, verb))
        if (self.ecu, verb) in self.world.on:
            self.world.on[self.ecu, verb]()
        if error := self.scripted(verb):
            self.half(verb, job)
            raise error

    def scripted(self, verb: str) -> Exception | None:
        """The failure that a verb has now, if it has one."""
        key = (self.ecu, verb)
        left = self.world.times.get(key)
        if key not in self.world.fails or left == 0:
            return None
        if left is not None:
            self.world.times[key] = left - 1
        return self.world.fails[key]

    def half(self, verb, job):
        if verb == "install":
            self.side.passive = "half"

    def probe(self):
        self.world.probes += 1
        if (self.ecu, "probe") in self.world.fails:
            raise self.world.fails[self.ecu, "probe"]
        return self.side.active

    def ready(self):
        self.world.asked += 1
        if error := self.scripted("ready"):
            raise error

    def room(self, job):
        if (self.ecu, "room") in self.world.fails:
            raise self.world.fails[self.ecu, "room"]
        return self.world.room.get(self.ecu, 0)

    def stage(self, job):
        self.begin("stage", job)
        if self.side.staged != job.new:
            if job.new.sha256 not in self.world.payloads:
                raise Wrong(f"{self.ecu}: staged without a payload")
            self.side.staged = job.new
        self.world.tick()

    def install(self, job):
        self.begin("install", job)
        if self.side.staged != job.new:
            raise Wrong(f"{self.ecu}: installed without being staged")
        self.side.passive = "half"
        self.world.tick()
        self.side.passive = job.new
        self.world.tick()

    def activate(self, job):
        self.begin("activate", job)
        self.may_activate(job)
        self.side.active = self.side.next = job.new
        self.world.tick()
        return Activation.DONE

    def may_activate(self, job):
        if self.world.shut:
            raise Wrong(f"{self.ecu}: activated while the gate is shut")
        if self.side.passive != job.new:
            raise Wrong(f"{self.ecu}: activated what is not complete")

    def verify(self, job):
        self.begin("verify", job)
        if self.side.active != job.new:
            raise InstallError("it is not the active one")
        self.world.tick()

    def commit(self, job):
        self.begin("commit", job)
        if self.side.active != job.new:
            raise Wrong(f"{self.ecu}: committed what is not active")
        self.world.tick()
        self.side.way_back = "given up"
        self.world.tick()

    def rollback(self, job):
        self.begin("rollback", job)
        if self.side.way_back == "given up":
            raise Wrong(f"{self.ecu}: rolled back after the commit")
        self.side.active = self.side.next = job.old
        self.world.tick()
        return Activation.DONE

    def clean_up(self, job):
        self.begin("clean_up", job)
        self.side.staged = None
        self.world.tick()
        self.side.passive = None
        self.side.way_back = "none"
        self.world.tick()


class Rebooting(Scripted):
    """The next boot takes the other side."""

    kinds = frozenset({"rauc"})

    def activate(self, job):
        self.begin("activate", job)
        self.may_activate(job)
        if self.side.active == job.new:
            return Activation.DONE
        self.side.next = job.new
        self.world.tick()
        return Activation.REBOOT

    def rollback(self, job):
        self.begin("rollback", job)
        if self.side.way_back == "given up":
            raise Wrong(f"{self.ecu}: rolled back after the commit")
        self.side.next = job.old
        self.world.tick()
        return Activation.DONE if self.side.active == job.old else Activation.REBOOT


class Flashing(Scripted):
    """One bank: installing writes over what is active."""

    irreversible = True

    def install(self, job):
        self.begin("install", job)
        if self.world.shut:
            raise Wrong(f"{self.ecu}: flashed while the gate is shut")
        if self.side.staged != job.new:
            raise Wrong(f"{self.ecu}: flashed without being staged")
        self.side.active = self.side.next = Installed("", 0, "", 0)
        self.world.tick()
        self.side.active = self.side.next = self.side.passive = job.new
        self.world.tick()

    def rollback(self, job):
        if self.world.shut and self.side.active != job.old:
            raise Wrong(f"{self.ecu}: flashed back while the gate is shut")
        return super().rollback(job)


ORDER = ["stage", "install", "activate", "verify", "commit", "clean_up"]


def check(world: World, groups: list[list[str]], verified: Verified, old: dict[str, int | None]):
    """All that must be true once nothing goes on any more."""
    fresh = {one.ecu: one for one in verified.targets}
    last: dict[str, dict] = {}
    for report in world.reports:
        if last.setdefault(report["attempt"], report) != report:
            raise Wrong(f"two reports: {report}, {last[report['attempt']]}")
    begun = {f"{number + 1:016x}" for number in range(world.drawn)}
    if begun - last.keys() and world.db.execute("SELECT count(*) FROM attempt").fetchone()[0]:
        raise Wrong("an attempt is not at its end")
    (known,) = world.db.execute("SELECT count(*) FROM report").fetchone()
    if known != len(last):
        raise Wrong(f"{known} attempts closed, {len(last)} reported")
    for group in groups:
        new = [world.sides[ecu].active == _as_installed(fresh[ecu]) for ecu in group]
        before = [
            world.sides[ecu].active == (None if old[ecu] is None else installed(ecu, old[ecu]))
            for ecu in group
        ]
        if not all(new) and not all(before):
            raise Wrong(f"mixed: {[(ecu, world.sides[ecu].active) for ecu in group]}")
        mine = [one for one in last.values() if set(one["targets"]) == set(group)]
        if any(not one["consistent"] for one in mine):
            # Reported when it was so, and mended since.
            continue
        succeeded = [one for one in mine if one["result"] == "succeeded"]
        if all(new) != bool(succeeded) or len(succeeded) > 1:
            raise Wrong(f"{group}: active {new}, reports {[one['result'] for one in mine]}")
        for ecu in group:
            counter = world.counters.get(ecu)
            if counter != (fresh[ecu].counter if all(new) else None):
                raise Wrong(f"{ecu}: counter {counter}, new {all(new)}")
    for ecu, side in world.sides.items():
        if (side.staged, side.passive, side.way_back) != (None, None, "none"):
            raise Wrong(f"{ecu}: left behind {side}")
    if world.payloads:
        raise Wrong(f"left behind: {world.payloads}")
    _check_order(world)


def _as_installed(one: Target) -> Installed:
    return Installed(one.name, one.length, one.sha256, one.counter)


def _check_order(world: World):
    by_attempt: dict[str, list[tuple[str, str]]] = {}
    for attempt, ecu, verb in world.verbs:
        if attempt != "unknown":
            by_attempt.setdefault(attempt, []).append((ecu, verb))
    for verbs in by_attempt.values():
        names = [verb for _, verb in verbs]
        if "commit" in names and "rollback" in names:
            raise Wrong(f"committed and rolled back: {verbs}")
        if "rollback" in names:
            back = names.index("rollback")
            if set(names[back:]) - {"rollback", "clean_up"}:
                raise Wrong(f"forward after the way back: {verbs}")
            names = names[:back]
        places = [ORDER.index(name) for name in names]
        if places != sorted(places):
            raise Wrong(f"order: {verbs}")


def counted(verbs) -> Counter:
    return Counter((ecu, verb) for _, ecu, verb in verbs)


__all__ = [
    "DAY",
    "NOW",
    "Death",
    "Hub",
    "InstallError",
    "Memory",
    "Scripted",
    "ScriptedGate",
    "UnhealthyError",
    "World",
    "Wrong",
    "check",
    "counted",
    "digest",
    "installed",
    "target",
    "wanted",
]
