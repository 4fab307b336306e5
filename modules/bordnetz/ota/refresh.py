"""Looking for what the director wants: the verification, driven from sources and the disk.

State, all in one folder under one lock:

    lock             held as long as a `Refresh` is open
    floor/           the floor record (`bordnetz.ota.floor`), with the mark floor-was-kept beside it
    metadata/        stored metadata (`bordnetz.ota.cache`)

After a verification, also a failed one, first the floor is on the disk, then what was accepted is
stored: of one that ended well all of it, of a failed one the root metadata alone.  So what is
stored below root always was verified together, and it can be verified again without a network
before it is installed.

What a time server has answered holds as long as this program runs, by a clock that nobody sets and
that goes on while the head unit sleeps (CLOCK_BOOTTIME).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from bordnetz.edge import durable
from bordnetz.ota.cache import Cache
from bordnetz.ota.floor import FloorRecord
from bordnetz.ota.source import MissingError, Source, SourceError
from bordnetz.uptane.errors import UptaneError
from bordnetz.uptane.steps import Need, drive
from bordnetz.uptane.target import Verified
from bordnetz.uptane.time import Reading, TimeLimits
from bordnetz.uptane.trust import Roots, Trust, Vehicle

__all__ = ["Refresh"]

log = logging.getLogger(__name__)


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Refresh:
    """What this vehicle believes, kept over restarts; a context manager.

    Synchronous; call it from one thread at a time.

    Attributes:
        record: The floor; the job engine raises its release counters.
        reading: What time it was at the last verification; None: that was not known, or there was
            none yet.
        answered: Whether the time server has answered at the last check.
        silence: Why it did not; None: it did, or was not asked.
    """

    record: FloorRecord
    reading: Reading | None
    answered: bool
    silence: str | None

    def __init__(
        self,
        state: Path,
        roots: Roots,
        limits: TimeLimits,
        boottime: Callable[[], float] = _boottime,
    ) -> None:
        """Name it; it is opened by ``with``.

        Args:
            state: The folder for all that has to last, for this vehicle and these roots alone.
            roots: The root metadata that the vehicle left the factory with.
            limits: How far the system clock is believed.
            boottime: Seconds since the head unit was started.
        """
        self._state = state
        self._roots = roots
        self._limits = limits
        self._boottime = boottime
        self._lock = durable.Lock(state / "lock")

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            LockedError: Another process has it.
            FloorError: The floor record is lost or damaged.
            DurableError: The disk cannot be read, or does not take what has to be there.
        """
        durable.make_folder(self._state)
        self._lock.__enter__()
        try:
            self.record = FloorRecord(self._state)
            self._cache = Cache(self._state / "metadata")
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        self.reading = None
        self.answered = False
        self.silence = None
        self._answer: tuple[int, float] | None = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.__exit__(kind, error, trace)

    def read(self, clock: int) -> Reading:
        """What time it is now, from any thread.

        Args:
            clock: What the system clock says, seconds since 1970 UTC.
        """
        return self.record.floor.trusted_time.read(clock, self._limits, self._known())

    def check(
        self,
        director: Source,
        image: Source,
        vehicle: Vehicle,
        clock: int,
        server: Source | None = None,
    ) -> Verified | None:
        """Look for what the director wants.

        Args:
            director: This vehicle's director repository.
            image: The image repository.
            vehicle: This vehicle, with what is installed on it.
            clock: What the system clock says, seconds since 1970 UTC.
            server: Answers the question that a file's name is with the time; where it is silent,
                the director's time.json has to do.

        Returns:
            What it wants; None where nothing is new since the last verification that ended well.
            What that one ended with, `recheck` tells.

        Raises:
            UptaneError: Something is refused.
            SourceError: A source does not give what is needed.
            DurableError: The disk does not take what has to be kept.
        """
        sources = {"director": director, "image": image}
        known = self._known()
        self.answered, self.silence = False, None
        at = 0.0

        def answer(need: Need) -> bytes | None:
            if need.stored:
                if need.role == "snapshot" and self._cache.damaged:
                    # Whoever knows this one takes all that hangs on it for stored.
                    return None
                return self._cache.read(need.repository, need.role, need.limit)
            if need.repository == "time" and server is not None:
                nonlocal at
                data = self._ask(server, need)
                self.answered, at = data is not None, self._boottime()
                return data
            try:
                return sources[need.repository].fetch(need.name, need.limit)
            except MissingError:
                return None
            except UptaneError as error:
                # The source does not know whose file it was.
                raise UptaneError(error.kind, str(error), need.repository, need.role) from None

        nonce = None if server is None else secrets.token_urlsafe(16)
        trust = self._trust(vehicle, clock, known, nonce)
        complete = False
        try:
            verified = drive(trust.check(), answer)
            complete = True
        finally:
            self.reading = trust.reading
            if trust.known is None:
                self._answer = None
            elif trust.known != known:
                self._answer = trust.known, at
            self._keep(trust, complete=complete)
        return verified

    def recheck(self, vehicle: Vehicle, clock: int, *, expired: bool = False) -> Verified:
        """Verify once more, without a network, what the last verification ended with.

        Args:
            vehicle: This vehicle, with what is installed on it.
            clock: What the system clock says, seconds since 1970 UTC.
            expired: Whether the metadata may have expired meanwhile, as the campaign says.

        Raises:
            UptaneError: Something is refused; or it is not stored (any more), of the kind
                `Kind.MISSING`; the next check then goes through all of it again.
        """

        def answer(need: Need) -> bytes | None:
            if need.stored or need.role != "root":
                return self._cache.read(need.repository, need.role, need.limit)
            return None

        trust = self._trust(vehicle, clock, self._known())
        try:
            return drive(trust.recheck(expired=expired), answer)
        finally:
            self.reading = trust.reading

    def _trust(
        self, vehicle: Vehicle, clock: int, known: int | None, nonce: str | None = None
    ) -> Trust:
        return Trust(
            vehicle,
            self._roots,
            self.record.floor,
            clock,
            self._limits,
            nonce=nonce,
            known=known,
        )

    def _known(self) -> int | None:
        answer = self._answer
        return None if answer is None else answer[0] + int(self._boottime() - answer[1])

    def _ask(self, server: Source, need: Need) -> bytes | None:
        try:
            return server.fetch(need.name, need.limit)
        except SourceError as error:
            self.silence = str(error)
            log.warning("the time server is silent, time.json has to do: %s", error)
            return None
        except UptaneError as error:
            raise UptaneError(error.kind, str(error), "director", need.role) from None

    def _keep(self, trust: Trust, *, complete: bool) -> None:
        self.record.keep(trust.floor)
        files: dict[str, dict[str, bytes]] = {}
        instead: set[str] = set()
        for repository in (trust.director, trust.image):
            accepted = repository.accepted
            if not complete:
                accepted = {role: accepted[role] for role in accepted.keys() & {"root"}}
            if accepted:
                files[repository.name] = accepted
            if repository.rotated or "targets" in accepted:
                instead.add(repository.name)
        self._cache.store(files, instead)
        if instead:
            self._cache.damaged = False
