"""The drive itself: start everything, watch, end it in the order that loses nothing, and report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bordnetz.can.vehicle import Vehicle
from bordnetz.errors import BordnetzError
from bordnetz.laptop.drive.buses import SIMULATED, Choice, project_file, settle
from bordnetz.laptop.drive.cloud import Cloud
from bordnetz.laptop.drive.processes import Process, Usage
from bordnetz.laptop.drive.progress import BusLine, Progress
from bordnetz.laptop.drive.report import faults, report
from bordnetz.laptop.drive.signals import Signals
from bordnetz.laptop.drive.workplace import Workplace
from bordnetz.laptop.hub.control import Control, ControlError
from bordnetz.laptop.hub.places import NoHubError

MODULE = "telemetry"

STARTING = 60.0
"""Seconds until every process must be ready: a slow machine, with cold caches."""

SETTLING = 30.0
"""Seconds for what is on its way when the drive ends."""

LOOK = 0.5
"""Seconds between two looks at everything."""


class DriveError(BordnetzError):
    """The drive could not start or did not end as it should."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        choice: Buses and recordings.
        seconds: How long; None until interrupted, or until the recording is over.
        speed: Of the recording, as `bordnetz telemetry` takes it.
        load: Background frames/s a bus.
        seed: Of the simulated vehicle.
        folder: Where to keep everything; None keeps nothing.
        manifest: The deployment; None for the project's.
    """

    choice: Choice
    seconds: float | None = None
    speed: str = "1"
    load: int = 0
    seed: int = 1
    folder: Path | None = None
    manifest: Path | None = None


def drive(plan: Plan, show: Callable[[Progress], None]) -> tuple[dict[str, Any], list[str]]:
    """Drive.

    Args:
        plan: What to do.
        show: Gets the progress twice a second.

    Returns:
        The report, and what does not add up in it.

    Raises:
        BordnetzError: Something cannot start, or ended on its own.
    """
    with Workplace(plan.folder) as workplace, ExitStack() as running:
        trip = _Trip(plan, workplace, running)
        trip.start()
        # Ctrl-C ends the drive, not the report.
        with suppress(KeyboardInterrupt):
            trip.watch(show)
        return trip.end(show)


class _Trip:
    """One drive and its processes."""

    def __init__(self, plan: Plan, workplace: Workplace, running: ExitStack) -> None:
        self._plan = plan
        self._workplace = workplace
        self._running = running
        self._processes: dict[str, Process] = {}
        self._vehicle, self._vehicle_file = settle(plan.choice, workplace)
        self._signals = Signals()
        self._status: dict[str, Any] = {}

    # -- start

    def start(self) -> None:
        """Start hub, module and vehicle, each when the one before is ready."""
        manifest = self._plan.manifest or project_file("deployment.template.json")
        state = self._workplace.folder / "hub"
        hub = self._run("hub", ["hub", "run", "--manifest", str(manifest), "--state", str(state)])
        for _ in _patiently("the hub", hub):
            with suppress(NoHubError, ControlError):
                self._control = Control(state)
                environment = self._control.env(MODULE)
                break
        self._cloud = Cloud(self._control.upstream)
        environment |= {
            "BORDNETZ_VEHICLE": str(self._vehicle_file),
            "BORDNETZ_STATE": str(self._workplace.folder / MODULE),
            # Two drives have two hubs at two loopback addresses, so the port is free there.
            "BORDNETZ_METRICS_ADDRESS": f"{self._control.place.address}:9601",
        }
        arguments = [MODULE]
        if self._plan.choice.log is not None:
            arguments += ["--log", str(self._plan.choice.log), "--speed", self._plan.speed]
        module = self._run(MODULE, arguments, environment)
        for _ in _patiently("the telemetry module", module):
            with suppress(ControlError):
                self._ask_status()
                if self._status["collecting"]["signals"]:
                    break
        if self._simulated(self._vehicle):
            self._run("vehicle", self._simulation(), output=self._sent_file)
        self._began = time.monotonic()
        self._progress = Progress(
            planned=self._plan.seconds,
            buses={
                bus.name: BusLine(bus.name, self._channel(bus.channel))
                for bus in self._vehicle.buses
            },
        )

    def _run(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str] | None = None,
        output: Path | None = None,
    ) -> Process:
        log = self._workplace.folder / f"{name}.log"
        process = Process(name, arguments, log, environment, output)
        self._processes[name] = process
        self._running.callback(process.stop)
        return process

    def _simulated(self, vehicle: Vehicle) -> bool:
        choice = self._plan.choice
        if choice.log is not None or choice.databases:
            return False
        # Real adapters bring real traffic; the simulated car keeps off them.
        return all(
            bus.interface == "unix"
            or (bus.interface in SIMULATED and str(bus.channel).startswith("vcan"))
            for bus in vehicle.buses
        )

    def _simulation(self) -> list[str]:
        return [
            "simulate",
            *("--vehicle", str(self._vehicle_file)),
            *("--seed", str(self._plan.seed)),
            *("--load", str(self._plan.load)),
        ]

    @property
    def _sent_file(self) -> Path:
        return self._workplace.folder / "vehicle.json"

    def _channel(self, channel: str | int) -> str:
        if self._plan.choice.log is not None:
            return f"{self._plan.choice.log.name}: {channel}"
        return Path(str(channel)).name

    # -- on the way

    def watch(self, show: Callable[[Progress], None]) -> None:
        """Show what happens until it is over."""
        while not self._over():
            self._look()
            show(self._progress)
            time.sleep(LOOK)

    def _over(self) -> bool:
        for process in self._processes.values():
            process.check()
        elapsed = time.monotonic() - self._began
        if self._plan.seconds is not None and elapsed >= self._plan.seconds:
            return True
        return bool(self._status["source"]["ended"])

    def _look(self) -> None:
        """Bring the progress up to date."""
        before, progress = self._progress.elapsed, self._progress
        # A module that is stopped or busy for a moment answers next time.
        with suppress(ControlError):
            self._ask_status()
            self._signals.take(self._control.call(MODULE, "snapshot", {})[1])
        self._cloud.look()
        progress.elapsed = time.monotonic() - self._began
        for name, page in self._status["buses"].items():
            bus = progress.buses.setdefault(name, BusLine(name, "no bus of the vehicle file"))
            past = max(progress.elapsed - before, 1e-3)
            bus.rate += 0.5 * ((page["received"] - bus.frames) / past - bus.rate)
            bus.frames = page["received"]
            bus.dropped = sum(page["dropped"].values())
        progress.signals = self._signals.lines
        progress.cloud = self._cloud.totals
        progress.waiting = self._status["outbox"]["messages"]
        progress.acknowledged = self._status["outbox"]["acknowledged"]
        progress.connected = self._status["hub"]["connected"]
        progress.collected = self._status["collecting"]["signals"]

    def _ask_status(self) -> None:
        code, status = self._control.call(MODULE, "status")
        if code != 200 or "samples" not in status:
            raise ControlError(f"{MODULE} does not answer: {status}", code)
        self._status = status

    # -- end

    def end(self, show: Callable[[Progress], None]) -> tuple[dict[str, Any], list[str]]:
        """Let everything arrive, end the processes and add up."""
        elapsed = time.monotonic() - self._began
        sent = self._end_vehicle()
        self._settle(sent)
        self._look()
        show(self._progress)
        for process in reversed(self._processes.values()):
            process.stop()
        usage = {
            name: process.usage or Usage(0.0, 0.0) for name, process in self._processes.items()
        }
        wrong = faults(self._status, self._cloud.totals, sent)
        wrong += [
            f"{name} ended with exit code {process.exit_code}"
            for name, process in self._processes.items()
            if process.exit_code
        ]
        return report(elapsed, self._status, self._cloud.totals, sent, usage), wrong

    def _end_vehicle(self) -> int | None:
        """Stop the simulated vehicle; the frames that it put on the buses."""
        vehicle = self._processes.get("vehicle")
        if vehicle is None:
            return None
        vehicle.stop()
        lines = self._sent_file.read_text().splitlines()
        if not lines:
            vehicle.check()
        return int(json.loads(lines[-1])["sent"])

    def _settle(self, sent: int | None) -> None:
        """Wait until everything that was sent has arrived in the cloud, or patience ends."""
        deadline = time.monotonic() + SETTLING
        flushed = False
        while time.monotonic() < deadline:
            self._processes[MODULE].check()
            self._ask_status()
            self._cloud.look()
            if sent is None or self._status["frames"]["received"] >= sent:
                if not flushed:
                    self._control.call(MODULE, "flush")
                    flushed = True
                elif (
                    not self._status["outbox"]["messages"]
                    and self._cloud.totals.samples >= self._status["samples"]["stored"]
                ):
                    return
            time.sleep(0.1)


def _patiently(what: str, process: Process) -> Iterator[None]:
    """Try again and again until it works; ends with an error if the process does or takes long.

    Raises:
        ProcessError: The process has ended.
        DriveError: It takes too long.
    """
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline:
        process.check()
        yield
        time.sleep(0.05)
    raise DriveError(f"{what} was not ready within {STARTING:.0f} s; see {process.log}")
