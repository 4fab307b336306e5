"""The power of the whole machine is cut while telemetry works, over and over on one disk.

Telemetry, its hub, the bus and ext4 live in a machine of their own (`machine_life`), whose disk is
a file that keeps a record of writes and flushes (`fuse`).  At the cut all of them die, the kernel
included, and of what the disk has not flushed any part may be missing (`states`).  After each cut
the disk is looked at, and telemetry is started on a copy of it; the next life begins on the disk
as the cut has left it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hub_fixtures import RunningHub, template
from telemetry_help import ROUTES, Car, Process, call, eventually

from bordnetz.edge.outbox import Outbox
from bordnetz.laptop.hub.upstream import Upstream

from .balance import unbalanced
from .fuse import DISK, Flush, Served, Write
from .killed import AT_RANDOM, _cpu
from .machine_cloud import FRAMES, Received
from .machine_cuts import Cut, cuts
from .machine_life import Life
from .machine_told import Told
from .record import OPTIONS, Places
from .shares import Found, shared
from .states import Builder, Kept
from .states import Cut as Loss
from .system import loop, mount, unmount

_WITH_VCAN = Path(__file__).parents[1] / "with-vcan"
_TELEMETRY = Path(__file__).with_name("machine_telemetry.py")
_BUDGET = 100_000_000
_SIZE = 32 << 20
_POWER_CUT = 137
_PATIENCE = 120
_LONGEST = 9.0
"""Seconds of life of those whose power is cut at random, starts of the programs included."""
_AGAIN = 2.0
"""Seconds of CPU in which a start has its buses open."""
_AT_LAST = 500
"""Frames of the last life, which nothing cuts."""


class _Bench:
    """A vehicle's disk, and what survives beside it."""

    def __init__(self, where: Places) -> None:
        self.where = where
        self.state = where.mount / "telemetry"
        self.outside = where.memory / "outside"
        self.disk = where.memory / "image"
        where.memory.chmod(0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(where.memory)
        (where.memory / "car").mkdir()
        self.car = Car(where.memory / "car")
        shutil.copytree(self.car.folder, self.outside / "car")
        text = self.car.file.read_text().replace('"unix"', '"socketcan"')
        for number, name in enumerate(("drive", "truck")):
            text = text.replace(f"{self.car.folder}/{name}", f"vcan{number}")
        (self.outside / "car" / "vehicle.toml").write_text(text)
        desired = {"collect": [{"match": "*"}], "batchWindow": 0.1, "priority": 2}
        self.manifest = template(self.outside / "deployment.json", {"telemetry": desired}, ROUTES)
        self.told = Told()
        self.last: dict[int, int] = {}
        self.starts: list[float] = []
        self.unflushed = self.twice = 0
        self.image = self._prepared()

    def _prepared(self) -> bytes:
        """A disk with telemetry's configuration on it, and nothing else."""
        with self.disk.open("wb") as file:
            file.truncate(_SIZE)
        lazy = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", lazy, self.disk], check=True)
        with self._mounted(), self._hub() as hub:
            self.variables: dict[str, str] = hub.control.env("telemetry")
            self._telemetry().collecting().remembering().end()
            shutil.rmtree(self.state / "outbox")
        return self.disk.read_bytes()

    @contextmanager
    def _mounted(self) -> Iterator[None]:
        with loop(self.disk) as device:
            mount(device, self.where.mount, "ext4", OPTIONS)
        try:
            yield
        finally:
            unmount(self.where.mount)

    @contextmanager
    def _hub(self) -> Iterator[RunningHub]:
        hub = RunningHub(self.manifest, self.outside / "hub", self.where.memory)
        try:
            yield hub
        finally:
            hub.stop()

    def _telemetry(self) -> Process:
        return Process(self.state, self.car.file, (), self.variables)

    def live(self, cut: Cut) -> list[str]:
        """One life; what is wrong after it."""
        served = Served(self.image, self.where.fuse)
        try:
            wrong = self._run(cut)
        finally:
            unmount(self.where.fuse, lazily=True)
            _, steps = served.finish()
        unsafe = itertools.takewhile(lambda step: not isinstance(step, Flush), reversed(steps))
        # Of no writes none is torn.
        kept = cut.kept if any(isinstance(step, Write) for step in unsafe) else Kept.ALL
        self.unflushed += kept is not Kept.ALL
        self.image = bytes(Builder(self.image, steps).build(Loss(len(steps), kept, cut.turn)))
        return wrong + self.told.read(self.outside / "told") + self._look()

    def _run(self, cut: Cut) -> list[str]:
        """The machine, until its power goes."""
        hub = [sys.executable, "-m", "bordnetz", "hub", "run"]
        hub += ["--manifest", str(self.manifest), "--state", str(self.outside / "hub")]
        own = {
            "DIE_AT": f"{cut.point}:{cut.number}",
            "TOLD": str(self.outside / "told"),
            "BORDNETZ_VEHICLE": str(self.outside / "car" / "vehicle.toml"),
            "BORDNETZ_STATE": str(self.state),
            "BORDNETZ_METRICS_ADDRESS": "127.0.0.1:0",
        }
        seconds = 0.0
        if cut.point == AT_RANDOM:
            # They live with the pauses between commits that vehicles have.
            seconds = random.Random(cut.turn).uniform(0.1, _LONGEST)
        else:
            own["BORDNETZ_COMMIT_SECONDS"] = "0"
        life = Life(
            outside=str(self.outside),
            mount=("-o", f"{OPTIONS},loop", str(self.where.fuse / DISK), str(self.where.mount)),
            neighbour=str(self.where.mount / "neighbour"),
            hub=hub if cut.hub else None,
            telemetry=[sys.executable, str(_TELEMETRY)],
            variables=self.variables | own,
            first=(cut.turn + 1) * FRAMES,
        )
        command = [_WITH_VCAN, "--engine", "uml", "--mem", "512M", "--timeout", _PATIENCE]
        command += ["--power-cut", seconds, "--out", self.outside, "--out", self.where.fuse]
        run = subprocess.run(
            [*map(str, command), "--", *life.command()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if run.returncode == _POWER_CUT:
            return []
        return [f"no power cut, but exit code {run.returncode}: {run.stdout[-2000:]}"]

    def _look(self) -> list[str]:
        """What is wrong with the disk, which stays as it is, and with a start on it."""
        self.disk.write_bytes(self.image)
        try:
            with self._mounted():
                wrong = self._outbox() + self._start()
        except OSError as error:
            return [f"the disk cannot be mounted: {error}"]
        return wrong + self._file_system()

    def _outbox(self) -> list[str]:
        """What is wrong with the outbox, seen together with what the hub has."""
        copy = self.where.memory / "outbox"
        shutil.rmtree(copy, ignore_errors=True)
        if not (self.state / "outbox").exists():
            return self.told.compare([], self._taken())
        shutil.copytree(self.state / "outbox", copy)
        with Outbox(copy, _BUDGET) as outbox:
            wrong = self.told.compare(outbox.take(1_000_000), self._taken())
            if outbox.last:
                self.last[outbox.id] = outbox.last
            if outbox.set_aside or outbox.damaged or outbox.dropped:
                wrong.append(f"{outbox.set_aside} {outbox.damaged} {outbox.dropped} in the outbox")
        return wrong

    def _taken(self) -> dict[str, bytes]:
        """What the hub has or had, by name."""
        state = self.outside / "hub"
        upstream = Upstream(state / "upstream")
        found = {
            name: upstream.body(arrival)
            for arrival in upstream.messages()
            if (name := arrival.properties.get("batch"))
        }
        copy = self.where.memory / "store"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in state.glob("hub.db*"):
            shutil.copy(file, copy)
        with closing(sqlite3.connect(copy / "hub.db")) as store:
            for properties, body in store.execute("SELECT properties, body FROM message"):
                if name := json.loads(properties).get("batch"):
                    found[name] = body
        return found

    def _start(self) -> list[str]:
        """Start telemetry without a hub; what is wrong."""
        module = self._telemetry()
        try:
            self.starts.append(_cpu(module.collecting().process.pid))
        except AssertionError as error:
            return [f"telemetry does not start: {error}"]
        finally:
            module.end(signal.SIGKILL)
        if self.starts[-1] > _AGAIN:
            return [f"started with {self.starts[-1]:.1f} s of CPU"]
        return []

    def arrived(self) -> list[str]:
        """Let it live with a hub; what has not come, or came twice, or is in no book."""
        wrong = []
        self.disk.write_bytes(self.image)
        with self._mounted(), self._hub() as hub:
            module = self._telemetry()
            try:
                module.collecting()
                self.car.count(range(_AT_LAST))
                wrong += self._balance(hub)
            except AssertionError as error:
                wrong.append(f"not all comes: {error}")
            finally:
                module.end()
                self.car.close()
            wrong += self._outbox()
            received = Received(hub, self.last)
        self.twice = received.twice
        if len(self.last) != 1:
            wrong.append(f"{len(self.last)} outboxes")
        return wrong + received.wrong + self._file_system()

    def _file_system(self) -> list[str]:
        command = ["e2fsck", "-fn", str(self.disk)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        return [f"e2fsck says: {run.stdout.strip()}"] if run.returncode else []

    def sum_up(self, path: Path) -> None:
        """Write what was measured to a file."""
        told, middle, worst = self.told, statistics.median(self.starts), max(self.starts)
        path.write_text(
            f"{len(told.bodies)} messages stored, {len(told.sent)} acknowledged before a cut, "
            f"{self.twice} came twice; {self.unflushed} cuts with writes not flushed; "
            f"CPU of {len(self.starts)} starts {middle:.2f} to {worst:.2f} s"
        )

    @staticmethod
    def _balance(hub: RunningHub) -> list[str]:
        """Wait until all is with the hub; what of the last life's books does not add up."""

        def over() -> Any:
            call(hub, "flush")
            status = call(hub, "status")
            done = status["frames"]["received"] >= _AT_LAST and not status["samples"]["held"]
            return status if done and not status["outbox"]["messages"] else None

        status = eventually(over, bool)
        return unbalanced(status["buses"], status["samples"], {"drive": _AT_LAST, "truck": 0})


def cut_power(places: Places, count: int, progress: Callable[[int], None]) -> Found:
    """Cut it so many times; then all has to arrive."""
    found = Found()

    def work(some: Iterable[Cut], where: Places) -> Iterator[tuple[str, list[str]]]:
        bench = _Bench(where)
        for cut in some:
            yield str(cut), bench.live(cut)
        yield "after all of them", bench.arrived()
        bench.sum_up(where.memory.with_name(f"figures-{os.getpid()}"))

    shared(found, cuts(count), places, work, progress)
    found.figures += [path.read_text() for path in places.memory.parent.glob("figures-*")]
    return found
