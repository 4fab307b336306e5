"""The drive itself: start everything, watch, end it in the order that loses nothing, and report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bordnetz.laptop.asked import Asked
from bordnetz.laptop.drive.agent import Agent
from bordnetz.laptop.drive.buses import Choice, is_simulated, project_file, settle
from bordnetz.laptop.drive.cloud import MODULE, Cloud
from bordnetz.laptop.drive.ending import ending
from bordnetz.laptop.drive.errors import ChoiceError, DriveError, StoppedError
from bordnetz.laptop.drive.progress import BusLine, Progress
from bordnetz.laptop.drive.report import Account
from bordnetz.laptop.drive.signals import Signals
from bordnetz.laptop.drive.workplace import Workplace
from bordnetz.laptop.hub.control import Control, ControlError
from bordnetz.laptop.hub.places import NoHubError
from bordnetz.laptop.update.story import MODULE as OTA
from bordnetz.laptop.update.story import Story

STARTING = 60.0
"""Seconds until every process must be ready: a slow machine, with cold caches."""

SETTLING = 30.0
"""Seconds for what is on its way when the drive ends."""

LOOK = 0.5
"""Seconds between two looks at everything."""

ANSWER = 5.0
"""Seconds that the module has for an answer; it may be busy, or stopped in a debugger."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        choice: Buses and recordings.
        seconds: How long; None until asked to end, or until the recording is over.
        speed: Of the recording, as `bordnetz telemetry` takes it.
        load: Background frames/s a bus; None for none.
        seed: Of the simulated vehicle; None for the first.
        folder: Where to keep everything; None keeps nothing.
        manifest: The deployment; None for the project's.
        follow: Whether to follow some signals for a view.
        update: Whether the car gets an update on the way.
        attack: What is done to that update; "" for nothing.
        tell: Gets a line when something happens to the update.
    """

    choice: Choice = field(default_factory=Choice)
    seconds: float | None = None
    speed: str = "1"
    load: int | None = None
    seed: int | None = None
    folder: Path | None = None
    manifest: Path | None = None
    follow: bool = False
    update: bool = False
    attack: str = ""
    tell: Callable[[str], None] = print


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a drive came to.

    Attributes:
        report: For JSON.
        wrong: What makes it a failure, a line each.
        complaints: Warnings and errors that the module wrote into its log.
    """

    report: dict[str, Any]
    wrong: list[str]
    complaints: list[str]


def drive(plan: Plan, show: Callable[[Progress], None]) -> Outcome:
    """Drive, until it is over or SIGINT, SIGTERM or SIGHUP ask for its end.

    Args:
        plan: What to do.
        show: Gets the progress twice a second.

    Raises:
        BordnetzError: Something cannot start, or ended on its own.
        KeyboardInterrupt: The second signal; everything has been ended without a report.
    """
    with (
        ending() as asked,
        Workplace(plan.folder) as workplace,
        Agent(workplace.folder) as agent,
    ):
        trip = _Trip(plan, workplace, agent, asked)
        trip.start()
        trip.watch(show)
        return trip.end(show)


class _Trip:
    """One drive and its processes."""

    def __init__(self, plan: Plan, workplace: Workplace, agent: Agent, asked: Asked) -> None:
        self._plan = plan
        self._workplace = workplace
        self._agent = agent
        self._asked = asked
        self._vehicle, self._vehicle_file = settle(plan.choice, workplace)
        self._simulated = is_simulated(plan.choice, self._vehicle)
        if not self._simulated and (plan.load is not None or plan.seed is not None):
            raise ChoiceError("--load and --seed are the simulated car's, which does not drive now")
        if plan.update and not self._simulated:
            raise ChoiceError("--ota is for the simulated car, which does not drive now")
        self._story: Story | None = None
        if plan.update:
            place = workplace.folder / "update"
            place.mkdir()
            self._story = Story(place, self._vehicle, self._vehicle_file, plan.attack, plan.tell)
        self._signals = Signals()
        self._status: dict[str, Any] = {}

    # -- start

    def start(self) -> None:
        """Start hub, module and vehicle, each when the one before is ready."""
        folder, log = self._workplace.folder, self._plan.choice.log
        manifest = self._plan.manifest or project_file("deployment.template.json")
        state = folder / "hub"
        if self._story is not None:
            self._story.prepare()
            self._agent.start("store", self._story.store_command)
        self._agent.start("hub", ["hub", "run", "--manifest", str(manifest), "--state", str(state)])
        for _ in self._patiently("hub"):
            with suppress(NoHubError, ControlError):
                self._control = Control(state)
                environment = self._control.env(MODULE)
                break
        self._cloud = Cloud(self._control.upstream)
        environment |= {
            "BORDNETZ_VEHICLE": str(self._vehicle_file),
            "BORDNETZ_STATE": str(folder / MODULE),
            "BORDNETZ_BUNDLES": str(folder / "update" / "bundles"),
            # Two drives have two hubs at two loopback addresses, so the port is free there.
            "BORDNETZ_METRICS_ADDRESS": f"{self._control.place.address}:9601",
        }
        arguments = [MODULE]
        if log is not None:
            arguments += ["--log", str(log), "--speed", self._plan.speed]
        # A recording that is read a second time would arrive a second time.
        self._agent.start(MODULE, arguments, environment, always=log is None)
        if self._story is not None:
            self._start_ota()
        # A recording is read from the moment that the module knows what to collect: some time
        # after it last did not.
        self._began = time.monotonic()
        for _ in self._patiently(MODULE):
            if self._ask_status() and self._status["desiredVersion"]:
                break
            self._began = time.monotonic()
        self._require_signals()
        self._progress = Progress(
            planned=self._plan.seconds,
            buses={
                bus.name: BusLine(bus.name, self._channel(bus.channel))
                for bus in self._vehicle.buses
            },
            hub=self._control.place.address,
        )
        self._sent_file = folder / "vehicle.json"
        if self._simulated:
            simulation = ["simulate", "--vehicle", str(self._vehicle_file)]
            simulation += ["--seed", str(1 if self._plan.seed is None else self._plan.seed)]
            simulation += ["--load", str(self._plan.load or 0)]
            if self._story is not None:
                simulation += ["--trip", str(self._story.trip)]
            self._agent.start("vehicle", simulation, output=self._sent_file)
            # A slow machine takes seconds to start it, which are no seconds of the drive.
            for _ in self._patiently("vehicle"):
                if self._ask_status() and self._status["frames"]["received"]:
                    break
            self._began = time.monotonic()

    def _start_ota(self) -> None:
        folder = self._workplace.folder
        environment = self._control.env(OTA) | {
            "BORDNETZ_VEHICLE": str(self._vehicle_file),
            "BORDNETZ_STATE": str(folder / OTA),
            "BORDNETZ_BUNDLES": str(folder / "update" / "bundles"),
            "BORDNETZ_METRICS_ADDRESS": f"{self._control.place.address}:9602",
        }
        self._agent.start(OTA, [OTA], environment)

    def _require_signals(self) -> None:
        if not self._status["vehicle"]["signals"]:
            complaints = [f"\n  {text}" for text in self._agent[MODULE].complaints()]
            raise DriveError(
                f"no DBC file has a signal that can be used; name others{''.join(complaints)}"
            )

    def _channel(self, channel: str | int) -> str:
        if self._plan.choice.log is not None:
            return f"{self._plan.choice.log.name}: {channel}"
        return Path(str(channel)).name

    def _patiently(self, name: str) -> Iterator[None]:
        """Try again and again until it works.

        Raises:
            ProcessError: A process has ended.
            DriveError: It takes too long, or the end was asked for.
        """
        deadline = time.monotonic() + STARTING
        while time.monotonic() < deadline:
            self._agent.check()
            yield
            if self._asked.wait(0.05):
                raise StoppedError("ended before the drive began")
        tail = self._agent[name].tail()
        raise DriveError(f"{name} was not ready within {STARTING:.0f} s; it said last:\n{tail}")

    # -- on the way

    def watch(self, show: Callable[[Progress], None]) -> None:
        """Show what happens until it is over, or the end is asked for."""
        while True:
            self._agent.check()
            self._look()
            show(self._progress)
            left = self._left()
            if left <= 0 or self._asked.wait(min(LOOK, left)):
                return

    def _left(self) -> float:
        """Seconds until the drive is over."""
        if self._status["source"]["ended"] or (self._story is not None and self._story.over):
            return 0.0
        if self._plan.seconds is None:
            return LOOK
        return self._began + self._plan.seconds - time.monotonic()

    def _look(self) -> None:
        """Bring the progress up to date."""
        progress = self._progress
        if self._ask_status():
            now = time.monotonic() - self._began
            for name, page in self._status["buses"].items():
                progress.bus(name).update(page["received"], sum(page["dropped"].values()), now)
            progress.waiting = self._status["outbox"]["messages"]
            progress.connected = self._status["hub"]["connected"]
            progress.collected = self._status["collecting"]["signals"]
            if self._plan.follow:
                with suppress(ControlError):
                    wanted = {"signals": self._signals.wanted}
                    answer = self._control.call(MODULE, "snapshot", wanted, timeout=ANSWER)
                    self._signals.take(answer[1])
        else:
            progress.connected = False
        self._cloud.look()
        if self._story is not None:
            self._story.look(self._control, self._cloud.signals)
        progress.elapsed = time.monotonic() - self._began
        progress.signals = self._signals.lines
        progress.cloud = self._cloud.totals
        progress.restarts = len(self._agent.exits)

    def _ask_status(self) -> bool:
        """Ask the module; False if it does not answer, for it may be starting, busy or stopped."""
        with suppress(ControlError):
            code, status = self._control.call(MODULE, "status", timeout=ANSWER)
            if code == 200 and "samples" in status:
                self._status = status
                self._agent.proven(MODULE)
                return True
        return False

    # -- end

    def end(self, show: Callable[[Progress], None]) -> Outcome:
        """Let everything arrive, end the processes and add up."""
        elapsed = time.monotonic() - self._began
        account = self._settle(self._end_vehicle())
        for name, page in account.status["buses"].items():
            self._progress.bus(name).frames = page["received"]
        self._progress.cloud = self._cloud.totals
        self._progress.waiting = account.status["outbox"]["messages"]
        show(self._progress)
        self._agent.stop_all()
        report = account.report(elapsed, self._progress.collected, self._agent.usage())
        wrong = [*account.unsettled(), *account.faults(), *self._agent.failures()]
        if self._story is not None:
            wrong += self._story.end()
            report["update"] = self._story.report()
        return Outcome(report, wrong, self._agent[MODULE].complaints())

    def _end_vehicle(self) -> int | None:
        """Stop the simulated vehicle; the frames that it put on the buses."""
        if not self._simulated:
            return None
        vehicle = self._agent["vehicle"]
        vehicle.check()
        self._agent.stop("vehicle")
        lines = self._sent_file.read_text().splitlines()
        if not lines:
            vehicle.check()
        return int(json.loads(lines[-1])["sent"])

    def _settle(self, sent: int | None) -> Account:
        """Stop collecting and wait until everything has arrived, or patience ends."""
        deadline = time.monotonic() + SETTLING
        told = False
        while True:
            self._agent.check()
            answered = self._ask_status()
            self._cloud.look()
            account = Account(
                self._status, self._cloud.totals, self._cloud.missing(), sent, self._agent.exits
            )
            received = self._status["frames"]["received"]
            if not told and (sent is None or received >= sent or self._agent.exits):
                # As an operator would: what has come is sent, what comes now is not asked for.
                with suppress(ControlError):
                    self._control.set(MODULE, {"collect": []})
                    told = True
            elif answered and not account.unsettled():
                return account
            if time.monotonic() >= deadline:
                return account
            time.sleep(0.1)
