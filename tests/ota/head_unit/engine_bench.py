"""The real job engine on a bench: a head unit and a folder of maps, updated as a group.

`Car` is one life of our process, here or in a child that is killed; `Lab` is what outlives it:
the head unit, the disk, the boot that the machine is in.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bordnetz.ota.copier import Copier
from bordnetz.ota.engine import Engine, Rest
from bordnetz.ota.floor import FloorRecord
from bordnetz.ota.folder import FolderSource
from bordnetz.ota.gate import Verdict
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.file import FileInstaller
from bordnetz.ota.installers.installer import Installer
from bordnetz.ota.installers.rauc import RaucInstaller
from bordnetz.ota.installers.swupdate import SwupdateInstaller
from bordnetz.ota.journal import Journal
from bordnetz.ota.payloads import StagedPayloads
from bordnetz.ota.states import State
from bordnetz.ota.surroundings import Surroundings
from bordnetz.uptane.custom import Campaign, Delivery, PayloadKind
from bordnetz.uptane.target import Target, Verified

NOW = 1_767_225_600
GROUP = ["head-unit", "maps"]

HEALTH = """#!/bin/sh
touch {folder}/reached.health
while [ -e {folder}/hold.health ]; do sleep 0.02; done
test ! -e {folder}/unwell
"""

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import engine_bench
engine_bench.child(sys.argv[2])
"""


def nothing() -> None:
    """What happens at a moment in which nobody is killed."""


@dataclass(frozen=True)
class Life:
    """What a process finds when it starts."""

    state: Path
    targets: Path
    installer: type[Installer]
    arguments: Mapping[str, object]
    boot: str
    shut: tuple[str, ...] = ()


class Car:
    """One life of the process; `moment` is called wherever the engine asks or tells something."""

    def __init__(self, life: Life, moment: Callable[[], None] = nothing) -> None:
        self.life = life
        self.shut = life.shut
        self.moment = moment
        self.skipped = 0.0
        self.journal = Journal.open(life.state / "journal.db")
        self.installers = {
            "head-unit": life.installer(**life.arguments),
            "maps": FileInstaller(life.state / "maps", None),
        }
        source = Copier(FolderSource(life.targets))
        self.engine = Engine(
            Surroundings(
                journal=self.journal,
                installers=self.installers,
                payloads=StagedPayloads(life.state / "payloads", lambda: source),
                gate=self,
                reporter=self,
                clock=self,
                raise_counters=FloorRecord(life.state).raise_counters,
                recheck=moment,
                boot=life.boot,
                draw=random.SystemRandom().getrandbits,
                stop=threading.Event(),
            )
        )

    def live(self, verified: Verified) -> Rest:
        """Until something from outside is waited for."""
        rest = self.engine.resume()
        if not rest.reboot:
            rest = self.engine.offer(verified)
        while rest.after is not None and not rest.reboot and not self.shut:
            if rest.state is State.WAITING:
                # For the head unit's program, whose own time cannot be skipped.
                time.sleep(0.05)
            self.skipped += rest.after
            rest = self.engine.work()
        return rest

    # -- gate, reporter, clock

    def ask(self, campaign: Campaign) -> Verdict:
        self.moment()
        return Verdict(self.shut)

    safe = ask

    def never(self, campaign: Campaign) -> None:
        return None

    def state(self, status: Mapping[str, Any]) -> None:
        self.moment()

    def final(self, report: Mapping[str, Any]) -> None:
        self.moment()
        with (self.life.state / "reports").open("a") as file:
            file.write(json.dumps(report) + "\n")
        self.moment()

    def now(self) -> int:
        self.moment()
        return NOW

    def monotonic(self) -> float:
        self.moment()
        return time.monotonic() + self.skipped


def child(path: str) -> None:
    """A life in a process of its own, which kills itself at the moment that the file names."""
    life, verified, dies_at = pickle.loads(Path(path).read_bytes())
    moments = 0
    fsync = os.fsync

    def moment() -> None:
        nonlocal moments
        moments += 1
        if moments == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(descriptor: int) -> None:
        moment()
        fsync(descriptor)

    os.fsync = counted
    Car(life, moment).live(verified)


class Lab:
    """The car as it lies on the bench."""

    installer: type[Installer]
    kind: PayloadKind
    factory: str

    def __init__(self, unit: Any, images: Mapping[Path, bytes]) -> None:
        """Take a head unit that runs, and images by what the new side has of them afterwards."""
        self.unit = unit
        self.images = images
        self.state = unit.folder / "state"
        self.targets = unit.folder / "targets"
        self.targets.mkdir()
        self.boots = 1
        health = unit.folder / "health"
        health.write_text(HEALTH.format(folder=unit.folder))
        health.chmod(0o755)
        self.life = Life(
            self.state,
            self.targets,
            self.installer,
            unit.arguments() | {"health": Command((str(health),), 60)},
            "boot 1",
        )

    # -- what the director asks for

    def asked(self, image: Path, version: int) -> Verified:
        """An image and a file together."""
        maps = self.targets / "maps.db"
        maps.write_bytes(f"maps {version};".encode() * 1000)
        targets = (
            self._target("head-unit", self.kind, image, version),
            self._target("maps", "file", maps, version),
        )
        return Verified(_campaign(version), targets, version, NOW + 10**6)

    def maps_alone(self, version: int) -> Verified:
        """The file alone."""
        maps = self.targets / "maps.db"
        maps.write_bytes(f"maps {version};".encode() * 1000)
        target = self._target("maps", "file", maps, version)
        return Verified(_campaign(version), (target,), version, NOW + 10**6)

    def _target(self, ecu: str, kind: PayloadKind, path: Path, version: int) -> Target:
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        delivery = Delivery(name=path.name, length=len(data), sha256=sha256, encoding="identity")
        shutil.copy(path, self.targets / delivery.path)
        hashes = {"sha256": sha256}
        return Target(ecu, "hw", path.name, len(data), hashes, version, kind, (delivery,))

    # -- lives

    @contextmanager
    def car(self, shut: tuple[str, ...] = ()) -> Iterator[Car]:
        """A process that ends in good order."""
        car = Car(replace(self.life, shut=shut))
        try:
            yield car
        finally:
            car.journal.close()

    def child(self, verified: Verified, dies_at: int = 0) -> subprocess.Popen[bytes]:
        """A process to be killed, or that kills itself."""
        path = self.unit.folder / "life.pickle"
        path.write_bytes(pickle.dumps((self.life, verified, dies_at)))
        here = Path(__file__).parent
        return subprocess.Popen([sys.executable, "-c", CHILD, here, path])

    def killed(self, verified: Verified, when: str) -> None:
        """A process is killed at one of the bench's places; what it has begun goes on there."""
        self.unit.hold(when)
        process = self.child(verified)
        self.unit.reached(when)
        process.kill()
        process.wait()

    def live(self, verified: Verified, *, fall_back: bool = False, most: int = 6) -> Rest:
        """Processes and boots, until nothing goes on by itself any more."""
        for _ in range(most):
            with self.car() as car:
                rest = car.live(verified)
            if not rest.reboot:
                return rest
            self.reboot(fall_back=fall_back)
        raise AssertionError(f"it boots and boots: {rest}")

    def reboot(self, *, fall_back: bool = False) -> None:
        """The machine boots; a new side does not come up, if it is to fall back."""
        self.boots += 1
        self.life = replace(self.life, boot=f"boot {self.boots}")
        if fall_back and self.primary != self.running:
            self.give_up(self.primary)
        self.unit.reboot()

    @property
    def unwell(self) -> bool:
        """Whether the health command fails."""
        return (self.unit.folder / "unwell").exists()

    @unwell.setter
    def unwell(self, value: bool) -> None:
        path = self.unit.folder / "unwell"
        if value:
            path.touch()
        else:
            path.unlink(missing_ok=True)

    # -- the programs that install images

    def stop_program(self) -> None:
        raise NotImplementedError

    def start_program(self) -> None:
        raise NotImplementedError

    # -- looked at from outside

    @property
    def running(self) -> str:
        raise NotImplementedError

    @property
    def primary(self) -> str:
        raise NotImplementedError

    def mark(self, side: str) -> str:
        """What the boot loader thinks of a side."""
        raise NotImplementedError

    def give_up(self, side: str) -> None:
        """The boot loader has tried a side often enough."""
        raise NotImplementedError

    def content(self, side: str) -> bytes:
        raise NotImplementedError

    def maps(self) -> bytes | None:
        path = self.state / "maps" / "current" / "maps.db"
        return path.read_bytes() if path.exists() else None

    def active(self) -> tuple[bytes, bytes | None]:
        """What the driver has: the system that runs, and the maps."""
        return self.content(self.running), self.maps()

    def results(self) -> list[str]:
        """Of all attempts, in their order; each has one report, however often it is handed over."""
        reports: dict[str, dict[str, Any]] = {}
        path = self.state / "reports"
        for line in path.read_text().splitlines() if path.exists() else ():
            report = json.loads(line)
            assert reports.setdefault(report["attempt"], report) == report
        with self.car() as car:
            assert car.journal.attempts() == []
            closed = [report["attempt"] for report in car.journal.reports(1000)]
        assert closed[::-1] == list(reports)
        assert all(report["consistent"] for report in reports.values())
        return [report["result"] for report in reports.values()]

    def check_tidy(self) -> None:
        """Nothing of an attempt is left, and the side that runs is the one that will run."""
        assert self.primary == self.running
        assert self.mark(self.running) == "good"
        side = (self.state / "maps" / "current").readlink()
        wanted = {self.life.arguments["record"].name, "reports", "floor-was-kept"}
        wanted |= {"floor/floor.json", f"maps/{side}.json", f"maps/{side}/maps.db"}
        left = [path for path in self.state.rglob("*") if path.is_file()]
        names = {str(path.relative_to(self.state)) for path in left}
        assert {name for name in names if not name.startswith("journal.db")} == wanted
        record = json.loads((self.state / self.life.arguments["record"].name).read_text())
        assert record["begun"] is None


class RaucLab(Lab):
    """With RAUC."""

    installer = RaucInstaller
    kind = "rauc"
    factory = "A"

    def stop_program(self) -> None:
        self.unit.kill_service()

    def start_program(self) -> None:
        self.unit.start_service()

    @property
    def running(self) -> str:
        return self.unit.booted

    @property
    def primary(self) -> str:
        return self.unit.primary

    def mark(self, side: str) -> str:
        return self.unit.state(side)

    def give_up(self, side: str) -> None:
        self.unit.set_state(side, "bad")

    def content(self, side: str) -> bytes:
        return self.unit.content(side, max(map(len, self.images.values())))


class SwupdateLab(Lab):
    """With SWUpdate."""

    installer = SwupdateInstaller
    kind = "swupdate"
    factory = "a"

    def stop_program(self) -> None:
        self.unit.kill()

    def start_program(self) -> None:
        self.unit.start()

    @property
    def running(self) -> str:
        return self.unit.get("current")

    @property
    def primary(self) -> str:
        return self.unit.get("primary")

    def mark(self, side: str) -> str:
        return self.unit.get(f"state.{side}")

    def give_up(self, side: str) -> None:
        self.unit.set(f"state.{side}", "bad")

    def content(self, side: str) -> bytes:
        return self.unit.content(side)


def _campaign(version: int) -> Campaign:
    return Campaign(id=f"campaign-{version}", groups=[GROUP], require=[])
