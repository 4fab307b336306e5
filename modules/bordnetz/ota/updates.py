"""The thread of updates: looks, verifies, has installed and tells, one thing after the other.

    wait -> look at each origin -> what is verified goes to the engine -> tell -> wait

It waits until the engine wants to go on, the next look is due, or `wake` says that something has
changed: desired properties, conditions, an answer of the driver's, a call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bordnetz.errors import BordnetzError
from bordnetz.ota.config import Desired
from bordnetz.ota.engine import Engine, Rest, Surroundings
from bordnetz.ota.figures import Figures
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.installer import Installed, Installer, InstallError
from bordnetz.ota.manifests import Manifests
from bordnetz.ota.origins import Origin, Origins
from bordnetz.ota.outgoing import Outgoing
from bordnetz.ota.reference import odds
from bordnetz.ota.refresh import Refresh
from bordnetz.ota.source import NeedsUrlError
from bordnetz.ota.states import Result, State
from bordnetz.uptane.director import Ecu, Vehicle
from bordnetz.uptane.errors import UptaneError
from bordnetz.uptane.target import Verified

log = logging.getLogger(__name__)

RETRY = 60.0
"""Seconds until an origin that could not be reached is looked at again; doubled each time."""

STICK = 5.0
"""Seconds between two looks whether a stick is plugged in."""

DISK = 10.0
"""Seconds until a disk that refused is asked again."""

REBOOT = 120.0
"""Seconds that a reboot may take to begin before it is asked for again."""

DAY = 86_400.0

_RESTING = frozenset({State.IDLE, State.SUCCEEDED, State.FAILED, State.REFUSED, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class Place:
    """Where and as what an update is looked for.

    Attributes:
        vehicle_id: Of the vehicle.
        hardware: Hardware ids, by ECU.
        origins: Where to look.
        reboot: What reboots the head unit; None: somebody else does, and is waited for.
    """

    vehicle_id: str
    hardware: Mapping[str, str]
    origins: Origins
    reboot: Command | None


class Updates:
    """All of it.  `run` is the thread; everything else may be called by any thread."""

    def __init__(
        self,
        place: Place,
        refresh: Refresh,
        surroundings: Surroundings,
        manifests: Manifests,
        outgoing: Outgoing,
        figures: Figures,
        config: Callable[[], Desired],
        chance: Callable[[], float],
    ) -> None:
        """Put it together.

        Args:
            place: Where to look.
            refresh: Open; the verification and what it remembers.
            surroundings: Of the engine.
            manifests: What the car tells of itself.
            outgoing: The way to the hub.
            figures: Where is counted.
            config: The desired properties in effect.
            chance: From 0 to 1, for waits that are not to be the same in all cars.
        """
        self.engine = Engine(surroundings)
        self._place = place
        self._refresh = refresh
        self._given = surroundings
        self._manifests = manifests
        self._outgoing = outgoing
        self._figures = figures
        self._config = config
        self._chance = chance
        self._stop = surroundings.stop
        self._turn = threading.Condition()
        self._woken = False
        self._due = 0.0
        self._failures = 0
        self._plugged = False
        self._reference: Desired | None = None
        self._verified: Verified | None = None
        self._odds: str | None = None
        self._told: dict[str, Installed | None] | None = None
        self._told_at = 0.0
        self._rebooted = float("-inf")
        self._server = "none"

    # -- for any thread

    def wake(self, *, look: bool = False) -> None:
        """Say that something has changed.

        Args:
            look: Whether to look for updates at once.
        """
        with self._turn:
            self._woken = True
            if look:
                self._due, self._failures = 0.0, 0
            self._turn.notify_all()

    def stop(self) -> None:
        """Have `run` return soon."""
        self._stop.set()
        self.wake()

    def installed(self) -> dict[str, Installed | None]:
        """What is active now, by ECU; None where nothing is, or nobody can tell."""
        found = {}
        for ecu, installer in self._given.installers.items():
            found[ecu] = _probed(ecu, installer)
        return found

    def manifest(self) -> bytes:
        """A manifest of now.

        Raises:
            DurableError: The disk does not take its sequence.
            SigningKeyError: The key cannot be used.
        """
        with self._turn:
            return self._manifests.make(self.installed())

    # -- the thread

    def run(self) -> None:
        """Until `stop`."""
        resumed = False
        shown: State | None = None
        while not self._stop.is_set():
            try:
                if not resumed:
                    rest, resumed = self.engine.resume(), True
                elif self._look_due():
                    rest, shown = self._look(), None
                else:
                    rest = self.engine.work()
                if rest.state is not shown:
                    self._tell()
                shown = rest.state
            except BordnetzError as error:
                # Of what is not dealt with below this, the disk is the usual cause, and passes.
                log.error("updates rest for %g s: %s", DISK, error)
                rest, shown = Rest(State.PAUSED, (str(error),)), None
                self._due = max(self._due, self._given.clock.monotonic() + DISK)
            self._reboot(rest)
            self._wait(rest)

    def _look_due(self) -> bool:
        config = self._config()
        changed = self._reference is None or (config.campaign, config.proxy) != (
            self._reference.campaign,
            self._reference.proxy,
        )
        plugged = self._place.origins.stick is not None
        if changed or (plugged and not self._plugged):
            self._due, self._failures = 0.0, 0
        self._reference, self._plugged = config, plugged
        return self._given.clock.monotonic() >= self._due

    def _look(self) -> Rest:
        config = self._config()
        problems: list[tuple[State, str]] = []
        verified: Verified | None = None
        for origin in self._place.origins.now(config):
            try:
                verified = self._check(origin)
                self._compare(origin, verified)
                self._figures.looked()
                break
            except UptaneError as error:
                self._figures.looked(error)
                self._refuse(error)
                problems.append((State.REFUSED, str(error)))
            except NeedsUrlError as error:
                self._figures.looked(error)
                problems.append((State.NEEDS_URL, str(error)))
            except BordnetzError as error:
                self._figures.looked(error)
                log.warning("updates cannot be looked for: %s", error)
                problems.append((State.PAUSED, str(error)))
        self._schedule(config, failed=bool(problems) and verified is None)
        self._outgoing.show("trust", self._trust())
        rest = self.engine.work() if verified is None else self.engine.offer(verified)
        told = self.engine.status()
        if problems and verified is None and rest.state in _RESTING:
            # Nothing is under way that would be worth more words than this.
            state, words = problems[0]
            told = {"state": state.value, "reasons": [words]}
            rest = Rest(state, (words,), rest.after)
        self._given.reporter.state(told)
        return rest

    def _check(self, origin: Origin) -> Verified:
        """What the director wants, whether it is new or not."""
        vehicle, clock = self._vehicle(), int(time.time())
        with origin.director() as director, origin.image() as image, origin.time() as server:
            try:
                verified = self._refresh.check(director, image, vehicle, clock, server)
            finally:
                if server is None:
                    self._server = "none"
                elif self._refresh.answered:
                    self._server = "answers"
                elif self._refresh.silence is not None:
                    self._server = "silent"
                    self._figures.silent()
        if verified is None:
            # Nothing is new; but what was asked for before may not be installed yet.
            verified = self._verified or self._refresh.recheck(vehicle, clock, expired=True)
        self._verified = verified
        return verified

    def _compare(self, origin: Origin, verified: Verified) -> None:
        """Say so, once, where the reference and what is signed do not speak of the same."""
        reference = origin.reference
        words = odds(reference.id, verified.campaign) if reference else None
        if words is not None and words != self._odds:
            log.warning("%s", words)
        self._odds = words

    def recheck(self) -> None:
        """Verify once more what is about to be installed; for the engine, on this thread.

        Raises:
            UptaneError: It does not hold any more.
        """
        campaign = self.engine.campaign() or (self._verified and self._verified.campaign)
        expired = campaign.expired_install if campaign else True
        self._refresh.recheck(self._vehicle(), int(time.time()), expired=expired)

    def _schedule(self, config: Desired, *, failed: bool) -> None:
        wait = config.check_interval
        if failed:
            wait = min(wait, RETRY * 2**self._failures * (0.5 + self._chance()))
            self._failures = min(self._failures + 1, 10)
        else:
            # A fleet that was switched on together must not look together for ever.
            wait *= 0.9 + 0.2 * self._chance()
            self._failures = 0
        self._due = self._given.clock.monotonic() + wait

    def _refuse(self, error: UptaneError) -> None:
        log.error("metadata refused (%s): %s", error.kind.value, error)
        if self._saw(error.kind.value, error.repository, error.role):
            self._outgoing.refused(error)

    def attempted(self, report: Mapping[str, Any]) -> None:
        """Remember why an attempt has failed; for its final report, on this thread."""
        self._figures.attempted(report)
        error = report.get("error")
        if error and report["result"] in (Result.FAILED, Result.ROLLED_BACK):
            self._saw(error["kind"], error.get("repository", ""), error.get("role", ""))

    def _saw(self, kind: str, repository: str, role: str) -> bool:
        with self._turn:
            new = self._manifests.saw(kind, repository, role)
        if new:
            # The next manifest tells of it, and is not to wait for another version.
            self._told = None
        return new

    def _vehicle(self) -> Vehicle:
        ecus = {}
        for ecu, found in self.installed().items():
            hardware, kinds = self._place.hardware[ecu], self._given.installers[ecu].kinds
            if found is None:
                ecus[ecu] = Ecu(hardware, kinds)
            else:
                ecus[ecu] = Ecu(hardware, kinds, found.sha256, found.counter)
        return Vehicle(self._place.vehicle_id, ecus)

    def _trust(self) -> dict[str, Any]:
        floor, reading = self._refresh.record.floor, self._refresh.reading
        campaign = self._verified.campaign if self._verified else None
        return {
            **({"campaign": campaign.id} if campaign else {}),
            **({"warning": self._odds} if self._odds else {}),
            "time": floor.time,
            "clock": reading.clock.value if reading else "unknown",
            "timeServer": self._server,
            "director": floor.versions.get("director", {}).get("targets", 0),
            "image": floor.versions.get("image", {}).get("targets", 0),
        }

    # -- telling

    def _tell(self) -> None:
        """Send a manifest where something has changed, and once a day."""
        installed, now = self.installed(), self._given.clock.monotonic()
        if installed == self._told and now - self._told_at < DAY:
            return
        self._outgoing.show(
            "targets",
            {
                ecu: found
                and {"name": found.name, "counter": found.counter, "sha256": found.sha256}
                for ecu, found in installed.items()
            },
        )
        with self._turn:
            body = self._manifests.make(installed)
        self._outgoing.manifest(body)
        self._told, self._told_at = installed, now

    # -- waiting

    def _reboot(self, rest: Rest) -> None:
        now = self._given.clock.monotonic()
        command = self._place.reboot
        if not rest.reboot or command is None or now - self._rebooted < REBOOT:
            return
        self._rebooted = now
        log.warning("the head unit reboots for an update")
        try:
            command.run()
        except InstallError as error:
            log.error("the reboot failed: %s", error)

    def _wait(self, rest: Rest) -> None:
        waits = [self._due - self._given.clock.monotonic(), DAY]
        if rest.after is not None:
            waits.append(rest.after)
        if self._place.origins.offline:
            waits.append(STICK)
        with self._turn:
            self._turn.wait_for(lambda: self._woken or self._stop.is_set(), max(min(waits), 0.0))
            self._woken = False


def _probed(ecu: str, installer: Installer) -> Installed | None:
    try:
        return installer.probe()
    except (BordnetzError, OSError) as error:
        log.warning("%s: what is installed cannot be told: %s", ecu, error)
        return None
