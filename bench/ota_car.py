"""A car's update module without its hub, in a process of its own, so that it can be measured.

Put together as `bordnetz.ota.module` does it; started by `bench.ota_process`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

# What the process `bordnetz ota` has loaded, whether it is used here or not.
import bordnetz.cli
import bordnetz.edge.run
import bordnetz.ota.command
import bordnetz.ota.module
import bordnetz.uptane.keys
from bordnetz.can.vehicle import Vehicle as VehicleFile
from bordnetz.ota.conditions import Conditions
from bordnetz.ota.config import Desired, Reference
from bordnetz.ota.consent import Consents
from bordnetz.ota.copier import Copier
from bordnetz.ota.download import Conduct, Downloader
from bordnetz.ota.engine import Engine, Surroundings
from bordnetz.ota.fetch import Fetcher
from bordnetz.ota.gate import Gate
from bordnetz.ota.installers.file import FileInstaller
from bordnetz.ota.journal import Journal
from bordnetz.ota.origins import Origin, Origins
from bordnetz.ota.payloads import StagedPayloads
from bordnetz.ota.refresh import Refresh
from bordnetz.uptane.custom import Delivery
from bordnetz.uptane.target import Verified
from bordnetz.uptane.time import TimeLimits
from bordnetz.uptane.trust import Ecu, Roots, Vehicle

CAR, ECU, HARDWARE = "car", "maps", "maps-1"
_LIMITS = TimeLimits()
_PIECE = 1 << 20

Spent = tuple[float, float]
"""Seconds on the wall, and of CPU."""


class Car:
    """One car, with one ECU, in a folder.

    Attributes:
        folder: All that it has.
        stick: The folder of a stick that is plugged in.
        final_report: Of its last update.
    """

    def __init__(
        self, folder: Path, roots: Path, reference: dict[str, str] | None, ca: str | None
    ) -> None:
        """Name it.

        Args:
            folder: See above.
            roots: Where what it left the factory with lies.
            reference: The addresses of a store; None: there is a stick.
            ca: Whom it trusts.
        """
        self.folder = folder
        self.stick: Path | None = None
        self._roots = Roots(
            (roots / "director-root.json").read_bytes(), (roots / "image-root.json").read_bytes()
        )
        self._config = Desired(campaign=None if reference is None else Reference(**reference))
        self._ca = None if ca is None else Path(ca)
        self._installer = FileInstaller(folder / ECU, None)
        self.final_report: Mapping[str, Any] = {}

    def update(self) -> Spent:
        """Look, and install what is asked for; what that costs after the look."""
        with self._open() as refresh, self._engine(refresh) as engine:
            engine.resume()
            verified = self._look(refresh)
            if verified is None:
                raise ValueError("there is nothing new")
            cost = spent(partial(engine.offer, verified))
        if self.final_report.get("result") != "succeeded":
            raise ValueError(f"not installed: {self.final_report}")
        return cost

    def fetch(self, delivery: Delivery) -> None:
        """Download, and say with a dot on standard output that something has come."""

        def received(count: int) -> None:
            if count:
                os.write(1, b".")

        with self._fetcher() as fetcher:
            fetcher.fetch(delivery, self.folder, None, received)

    def checks(self, count: int) -> list[float]:
        """Seconds of CPU of so many looks that find nothing new."""
        with self._open() as refresh:
            self._look(refresh)
            spent = []
            for _ in range(count):
                start = time.process_time()
                found = self._look(refresh)
                spent.append(time.process_time() - start)
                if found is not None:
                    raise ValueError("there is something new")
        return spent

    # -- the state of the Reporter and of the Clock that the engine knows

    def state(self, status: Mapping[str, Any]) -> None:
        """Nobody is told."""

    def final(self, report: Mapping[str, Any]) -> None:
        """Keep it."""
        self.final_report = report

    def now(self) -> int:
        """Seconds since 1970 UTC."""
        return int(time.time())

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic()

    # -- what it is made of

    def _open(self) -> Refresh:
        return Refresh(self.folder / "trust", self._roots, _LIMITS)

    @property
    def _origin(self) -> Origin:
        return Origins(CAR, self.stick, self._ca).now(self._config)[0]

    @contextmanager
    def _fetcher(self) -> Iterator[Fetcher]:
        with self._origin.targets() as source:
            yield Copier(source) if self.stick else Downloader(source, Conduct())

    def _look(self, refresh: Refresh) -> Verified | None:
        with self._origin.director() as director, self._origin.image() as image:
            return refresh.check(director, image, self._vehicle(), self.now())

    def _vehicle(self) -> Vehicle:
        found = self._installer.probe()
        sha256, counter = ("", 0) if found is None else (found.sha256, found.counter)
        return Vehicle(CAR, {ECU: Ecu(HARDWARE, self._installer.kinds, sha256, counter)})

    @contextmanager
    def _engine(self, refresh: Refresh) -> Iterator[Engine]:
        def recheck() -> None:
            refresh.recheck(self._vehicle(), self.now(), expired=True)

        journal = Journal.open(self.folder / "journal.db")
        with closing(journal), self._fetcher() as fetcher:
            yield Engine(
                Surroundings(
                    journal=journal,
                    installers={ECU: self._installer},
                    payloads=StagedPayloads(self.folder / "payloads", lambda: fetcher),
                    gate=Gate(
                        Conditions({}, time.monotonic, time.time),
                        Consents(journal, self.now),
                        self.now,
                        lambda: None,
                    ),
                    reporter=self,
                    clock=self,
                    raise_counters=refresh.record.raise_counters,
                    recheck=recheck,
                    boot="boot",
                    draw=secrets.randbits,
                    stop=threading.Event(),
                )
            )


# -- what is asked of it


def rounds(place: str, roots: str, sticks: list[str], payload: str, count: int) -> dict[str, Any]:
    """Install the payload from the last folder, in cars that have what is in the first.

    What it is compared with is done before and after each.
    """
    memory = Memory()
    measured = []
    peer = partial(compared, Path(payload), Path(place, "copy"))
    for number in range(count):
        car = Car(Path(place, f"car-{number}"), Path(roots), None, None)
        car.folder.mkdir()
        car.stick = Path(sticks[0])
        car.update()
        car.stick = Path(sticks[1])
        before, ours, after = spent(peer), car.update(), spent(peer)
        both = [sum(parts) / 2 for parts in zip(before, after, strict=True)]
        measured.append({"ours": ours, "peer": both})
        if number + 1 < count:
            shutil.rmtree(car.folder)
    return {**memory.grown(), "rounds": measured, "car": str(car.folder)}


def update(place: str, roots: str, reference: dict[str, str], ca: str) -> dict[str, Any]:
    """Install over the network, once."""
    car = Car(Path(place), Path(roots), reference, ca)
    memory = Memory()
    _, cpu = car.update()
    return {**memory.grown(), "cpu": cpu, "received": car.final_report["received"]}


def check(
    place: str, roots: str, stick: str | None, reference: dict[str, str] | None, ca: str | None
) -> dict[str, Any]:
    """Look for updates where nothing is new."""
    car = Car(Path(place), Path(roots), reference, ca)
    car.stick = None if stick is None else Path(stick)
    return {"cpu": statistics.median(car.checks(11))}


def fetch(place: str, roots: str, reference: dict[str, str], ca: str, delivery: str) -> str:
    """Download what is missing of a delivery."""
    Car(Path(place), Path(roots), reference, ca).fetch(Delivery.model_validate_json(delivery))
    print()
    return "whole"


def spent(work: Callable[[], object]) -> Spent:
    """What it costs."""
    os.sync()
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def compared(payload: Path, copy: Path) -> None:
    """The SHA-256 of a file, and a copy of it that is synced."""
    with payload.open("rb", buffering=0) as reader:
        hashlib.file_digest(reader, "sha256")
    with payload.open("rb", buffering=0) as reader, copy.open("wb", buffering=0) as writer:
        while piece := reader.read(_PIECE):
            writer.write(piece)
        os.fsync(writer.fileno())
    copy.unlink()


class Memory:
    """Resident memory from now on.

    Not by getrusage, whose peak is that of the parent, too, until the program was executed.
    """

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self.before = _resident("VmRSS")

    def grown(self) -> dict[str, float]:
        """MiB before, and at most since then."""
        return {"before": self.before, "peak": _resident("VmHWM")}


def _resident(what: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) / 1024


def main() -> None:
    """Do what the arguments say; the answer goes to standard output as JSON."""
    work: dict[str, Callable[..., object]]
    work = {"rounds": rounds, "update": update, "check": check, "fetch": fetch}
    print(json.dumps(work[sys.argv[1]](**json.loads(sys.argv[2]))))


LOADED = (bordnetz.cli, bordnetz.edge.run, bordnetz.ota.command, bordnetz.ota.module, VehicleFile)
