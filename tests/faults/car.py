"""A car of two targets, put together as its update module does it; everything in one folder.

store/       releases, as on a stick: <n>/director, <n>/image, targets/
state/       the module's: trust, journal, payloads, outbox
ecus/a       a file, and ecus/b a tree, both switched by their installers
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Outbox
from bordnetz.errors import BordnetzError
from bordnetz.ota.conditions import Conditions
from bordnetz.ota.consent import Consents
from bordnetz.ota.copier import Copier
from bordnetz.ota.download import Conduct, Downloader
from bordnetz.ota.engine import Engine, Rest, Surroundings
from bordnetz.ota.folder import FolderSource
from bordnetz.ota.gate import Gate
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.file import FileInstaller
from bordnetz.ota.installers.installer import Installer
from bordnetz.ota.journal import Journal
from bordnetz.ota.payloads import StagedPayloads
from bordnetz.ota.refresh import Refresh
from bordnetz.uptane.target import Verified
from bordnetz.uptane.time import TimeLimits, TrustedTime
from bordnetz.uptane.trust import Ecu, Roots, Vehicle

from .scenario import Tell

ECUS = ("a", "b")
VEHICLE = "vehicle-1"
LIMITS = TimeLimits()
_BUDGET = 1 << 20
_MOST = 200
"""Calls of the engine until it is said to have no end."""


class RestsError(BordnetzError):
    """The engine waits for what does not come, and has said for what."""


class _Hub:
    """Final reports go into the outbox; the engine's states go nowhere."""

    def __init__(self, outbox: Outbox, tell: Tell) -> None:
        self._outbox = outbox
        self._tell = tell

    def state(self, status: Mapping[str, Any]) -> None:
        pass

    def final(self, report: Mapping[str, Any]) -> None:
        body = json.dumps(report).encode()
        self._outbox.put(lambda *_: Message("events", body), 1, content=body)
        self._tell(f"final {report['attempt']}")


class _Clock:
    """The system's, which stands still, and a monotonic one that goes on by waiting.

    Attributes:
        wall: What the system clock says.
        trusted: What it is held against.
    """

    def __init__(self, wall: int) -> None:
        self.wall = wall
        self._passed = 0.0
        self.trusted: Callable[[], TrustedTime] = TrustedTime

    def now(self) -> int:
        return self.trusted().read(self.wall, LIMITS).now

    def monotonic(self) -> float:
        return self._passed

    def wait(self, seconds: float) -> None:
        self._passed += seconds

    def stale(self) -> str | None:
        reading = self.trusted().read(self.wall, LIMITS)
        return "the newest signed time is too old" if reading.stale else None


@dataclass(frozen=True)
class Car:
    """The module's life on a folder.

    Attributes:
        roots: What it left the factory with.
        ill: What content of b begins with that does not do its work.
        now: What the system clock says.
        stick: Whether payloads are copied, and not downloaded.
        tell: Hears of counters and final reports, once they are safe.
    """

    roots: Roots
    ill: str
    now: int
    stick: bool
    tell: Tell

    def live(self, folder: Path, release: int | None) -> None:
        """From the start until nothing goes on by itself any more.

        Args:
            folder: All there is.
            release: Where the director has got to; None: no network, no stick.
        """
        clock = _Clock(self.now)
        with self._open(folder, clock) as (engine, refresh, installers):
            rest = engine.resume()
            if release is not None:
                vehicle = _vehicle(installers)
                verified = self._check(folder, refresh, vehicle, release)
                rest = engine.offer(verified)
            self._work(engine, clock, rest)

    def _check(self, folder: Path, refresh: Refresh, vehicle: Vehicle, release: int) -> Verified:
        store = folder / "store" / str(release)
        director, image = FolderSource(store / "director"), FolderSource(store / "image")
        verified = refresh.check(director, image, vehicle, self.now)
        if verified is None:
            verified = refresh.recheck(vehicle, self.now, expired=True)
        self.tell(f"verified {release}")
        return verified

    def _work(self, engine: Engine, clock: _Clock, rest: Rest) -> None:
        for _ in range(_MOST):
            if rest.after is None:
                return
            clock.wait(rest.after)
            rest = engine.work()
        raise RestsError(f"it still waits: {'; '.join(rest.reasons)}")

    @contextmanager
    def _open(
        self, folder: Path, clock: _Clock
    ) -> Iterator[tuple[Engine, Refresh, Mapping[str, Installer]]]:
        state = folder / "state"
        installers = fitted(folder, self.ill)
        source = FolderSource(folder / "store" / "targets")
        fetcher = Copier(source) if self.stick else Downloader(source, Conduct(sleep=clock.wait))
        with (
            Outbox(state / "outbox", _BUDGET) as outbox,
            Refresh(state / "trust", self.roots, LIMITS) as refresh,
        ):
            clock.trusted = lambda: refresh.record.floor.trusted_time
            journal = Journal.open(state / "journal.db")
            stop = threading.Event()

            def counted(counters: Mapping[str, int]) -> None:
                refresh.record.raise_counters(counters)
                for ecu, counter in counters.items():
                    self.tell(f"counted {ecu} {counter}")

            def recheck() -> None:
                refresh.recheck(_vehicle(installers), self.now, expired=True)

            conditions = Conditions({}, clock.monotonic, lambda: clock.wall)
            try:
                yield (
                    Engine(
                        Surroundings(
                            journal=journal,
                            installers=installers,
                            payloads=StagedPayloads(state / "payloads", lambda: fetcher),
                            gate=Gate(
                                conditions, Consents(journal, clock.now), clock.now, clock.stale
                            ),
                            reporter=_Hub(outbox, self.tell),
                            clock=clock,
                            raise_counters=counted,
                            recheck=recheck,
                            boot="boot",
                            draw=_draw,
                            stop=stop,
                        )
                    ),
                    refresh,
                    installers,
                )
            finally:
                journal.close()


def fitted(folder: Path, ill: str) -> dict[str, FileInstaller]:
    """The installers, by ECU; what reads b is not well with content that says so."""
    first, second = folder / "ecus" / "a", folder / "ecus" / "b"
    unwell = f"! grep -q '{ill}' {second}/current/part/1"
    return {
        "a": FileInstaller(first, None),
        "b": FileInstaller(second, Command(("/bin/sh", "-c", unwell), 30)),
    }


def finals(folder: Path) -> list[dict[str, Any]]:
    """The final reports that wait for the hub."""
    with Outbox(folder / "state" / "outbox", _BUDGET) as outbox:
        return [json.loads(entry.message.body) for entry in outbox.take(10_000)]


def _draw(bits: int) -> int:
    return secrets.randbits(bits)


def _vehicle(installers: Mapping[str, Installer]) -> Vehicle:
    ecus = {}
    for ecu, installer in installers.items():
        found = installer.probe()
        sha256, counter = ("", 0) if found is None else (found.sha256, found.counter)
        ecus[ecu] = Ecu(f"hw-{ecu}", installer.kinds, sha256, counter)
    return Vehicle(VEHICLE, ecus)
