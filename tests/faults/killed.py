"""Telemetry killed while it works, over and over on one state folder, with a hub and a bus."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hub_fixtures import RunningHub, template
from telemetry_help import ROUTES, Car, Cloud, Process, eventually

from bordnetz.can.errors import BusError
from bordnetz.edge.outbox import Outbox

from .record import Places
from .shares import Found, shared

POINTS = (
    "before-commit",
    "commit-written",
    "commit-synced",
    "before-send",
    "sent",
    "before-acknowledge",
    "acknowledged",
)
AT_RANDOM = "random"

BUS = "drive"

_BUDGET = 100_000_000
_TICK = 0.01
_FRAMES = 10
_MOST = 8
"""How often a point is passed before it is the last, at most."""
_LONGEST = 2.0
"""Seconds of life of those that are killed at random."""
_AGAIN = 2.0
"""Seconds of CPU in which a start has its buses open."""


class _Dying(Process):
    program = (sys.executable, str(Path(__file__).with_name("dying.py")))


@dataclass(frozen=True, slots=True)
class Kill:
    """When one life ends: the n-th time at a point, or after a time."""

    point: str
    number: int

    def __str__(self) -> str:
        return f"{self.point}:{self.number}"


def kills(count: int) -> list[Kill]:
    """So many, at every point and at random, in the same order each time."""
    every = itertools.cycle((*POINTS, AT_RANDOM))
    turns = [number // (len(POINTS) + 1) for number in range(count)]
    return [
        Kill(point, turn if point == AT_RANDOM else 1 + turn % _MOST)
        for turn, point in zip(turns, every, strict=False)
    ]


class _Bench:
    """A hub, a car, and telemetry on one folder."""

    def __init__(self, folder: Path) -> None:
        run = folder / "run"
        run.mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(run)
        (folder / "car").mkdir()
        self.car = Car(folder / "car")
        self.state = folder / "state"
        desired = {"collect": [{"match": "*"}], "batchWindow": 0.1, "priority": 2}
        manifest = template(folder / "deployment.json", {"telemetry": desired}, ROUTES)
        self.hub = RunningHub(manifest, folder / "hub", run)
        self.environment = self.hub.control.env("telemetry")
        self.stored: set[str] = set()
        self.last: dict[int, int] = {}
        self.starts: list[float] = []
        self._numbers = itertools.count()

    def live(self, kill: Kill) -> list[str]:
        """One life; what is wrong after it."""
        # Those killed at random live with the pauses between commits that vehicles have.
        pause = {} if kill.point == AT_RANDOM else {"BORDNETZ_COMMIT_SECONDS": "0"}
        variables = {**self.environment, **pause, "DIE_AT": str(kill)}
        module = _Dying(self.state, self.car.file, (), variables)
        over = threading.Event()
        driver = threading.Thread(target=self._drive, args=(over,))
        driver.start()
        wrong = []
        try:
            # Those that die at their first commit may do so before they say a word.
            with suppress(AssertionError, FileNotFoundError):
                module.collecting()
                self.starts.append(_cpu(module.process.pid))
                if self.starts[-1] > _AGAIN:
                    wrong.append(f"started with {self.starts[-1]:.1f} s of CPU")
            if kill.point == AT_RANDOM:
                time.sleep(random.Random(kill.number).uniform(0, _LONGEST))
                module.process.kill()
            if (code := module.wait()) != -signal.SIGKILL:
                wrong.append(f"ended with {code}")
        finally:
            over.set()
            driver.join()
            self.car.hang_up()
        return wrong + self._look()

    def _drive(self, over: threading.Event) -> None:
        while not over.wait(_TICK):
            with suppress(BusError):
                if BUS in self.car._senders or self.car._connect(BUS):
                    first = next(self._numbers) * _FRAMES
                    self.car.count(range(first, first + _FRAMES))

    def _look(self) -> list[str]:
        """What is wrong with the outbox that the process has left."""
        copy = self.state.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        if not (self.state / "outbox").exists():
            return []
        shutil.copytree(self.state / "outbox", copy)
        with Outbox(copy, _BUDGET) as outbox:
            entries = outbox.take(1_000_000)
            self.stored |= {entry.message.properties["batch"] for entry in entries}
            if outbox.last:
                self.last[outbox.id] = outbox.last
            if outbox.set_aside or outbox.damaged or outbox.dropped:
                return [f"{outbox.set_aside} {outbox.damaged} {outbox.dropped} in the outbox"]
        return []

    def arrived(self) -> list[str]:
        """Let it live; what has not come, or come twice."""
        wrong = []
        module = Process(self.state, self.car.file, (), self.environment).collecting()
        names = {f"{o:016x}-{n}" for o, last in self.last.items() for n in range(1, last + 1)}
        try:
            eventually(lambda: Cloud(self.hub).arrivals.keys(), lambda found: found >= names)
        except AssertionError:
            wrong.append(f"lost {sorted(names - Cloud(self.hub).arrivals.keys())[:10]}")
        finally:
            module.end()
        if len(self.last) != 1:
            wrong.append(f"{len(self.last)} outboxes")
        if missing := self.stored - names:
            wrong.append(f"names that nobody knows: {sorted(missing)[:10]}")
        counted = Counter(Cloud(self.hub).values("drive.Motor.Count")[0])
        if twice := [number for number, times in counted.items() if times > 1]:
            wrong.append(f"samples under two names: {twice[:10]}")
        return wrong

    def close(self) -> None:
        self.car.close()
        self.hub.kill()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def kill_telemetry(places: Places, count: int, progress: Callable[[int], None]) -> Found:
    """Kill it so many times, at every point of its way and at random; then all has to arrive."""
    found = Found()

    def work(some: Iterable[Kill], where: Places) -> Iterator[tuple[str, list[str]]]:
        bench = _Bench(where.memory)
        try:
            for kill in some:
                yield f"killed at {kill}", bench.live(kill)
            middle, worst = statistics.median(bench.starts), max(bench.starts)
            words = (
                f"after {len(bench.stored)} batches; CPU of a start {middle:.2f} to {worst:.2f} s"
            )
            yield words, bench.arrived()
        finally:
            bench.close()

    shared(found, kills(count), places, work, progress)
    return found
