"""An attempt under way and all that is written down of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bordnetz.errors import BordnetzError
from bordnetz.ota.attempt import Attempt, Failure, Member, Verb
from bordnetz.ota.installers.installer import Installer, InstallError, UnhealthyError
from bordnetz.ota.journal import Failed
from bordnetz.ota.states import Result, State
from bordnetz.ota.surroundings import Rest, Shared, Surroundings
from bordnetz.uptane.errors import UptaneError

log = logging.getLogger(__name__)

RETRY = 3600
"""Seconds after which is tried again, for the first time, what is not the version's fault."""

Told = Callable[[State, Mapping[str, Any]], None]


class Ledger:
    """One attempt as it is now; every change is on the disk before it is believed.

    Attributes:
        given: What to work with.
        shared: What all attempts share.
        attempt: As the journal has it.
    """

    def __init__(self, given: Surroundings, shared: Shared, attempt: Attempt, told: Told) -> None:
        """Open it.

        Args:
            given: What to work with.
            shared: What all attempts share.
            attempt: As the journal has it.
            told: Gets state and progress as they change.
        """
        self.given = given
        self.shared = shared
        self.attempt = attempt
        self._told = told

    def put(self, member: Member) -> None:
        """Write down what has become of a member."""
        self.save(self.attempt.put(member))

    def save(
        self,
        attempt: Attempt,
        *,
        failed: Failed | None = None,
        counters: Mapping[str, int] | None = None,
        received: int = 0,
    ) -> None:
        """Write down what has become of the attempt; see `Journal.save`."""
        self.given.journal.save(
            attempt,
            failed=failed,
            counters=counters,
            received=received,
            now=self.given.clock.now(),
        )
        self.attempt = attempt

    def installer(self, member: Member) -> Installer:
        """The one of a member.

        Raises:
            InstallError: There is none any more.
        """
        installer = self.given.installers.get(member.ecu)
        if installer is None:
            raise InstallError("the vehicle file has no installer for it any more; put it back")
        return installer

    def tell(self, state: State, progress: Mapping[str, Any] | None = None) -> None:
        """Show state and progress."""
        self._told(state, progress or {})

    # -- failing

    def fail(
        self,
        kind: str,
        words: str,
        member: Member | None = None,
        result: Result = Result.FAILED,
        failed: Failed | None = None,
    ) -> None:
        """Go back from here on.

        Args:
            kind: A word for the report.
            words: For an operator.
            member: On which target it happened.
            result: How the attempt ends if nothing new has become active.
            failed: What is not to be tried again.
        """
        ecu = member.ecu if member else ""
        self._fail(Failure(result=result, kind=kind, words=words, ecu=ecu), failed)

    def fail_by(self, error: BordnetzError | OSError, member: Member, verb: Verb) -> None:
        """Go back, for a verb could not be done; an installer's error is the version's fault."""
        kind = "download" if verb is Verb.OBTAIN else verb.value
        if isinstance(error, UnhealthyError):
            kind = "unhealthy"
        wait = None if isinstance(error, InstallError) and verb is not Verb.OBTAIN else RETRY
        self._fail(_failure(error, kind, member.ecu), Failed(member.target, str(error), wait))

    def fail_on_the_way(self, error: BordnetzError | OSError, member: Member, verb: Verb) -> None:
        """Go back, for a verb could not even be begun."""
        self._fail(_failure(error, verb.value, member.ecu), None)

    def _fail(self, failure: Failure, failed: Failed | None) -> None:
        where = f"{failure.ecu}: " if failure.ecu else ""
        log.error("attempt %s fails: %s%s", self.attempt.id, where, failure.words)
        self.save(self.attempt.fail(failure), failed=failed)

    # -- trying again

    def interrupted(self, member: Member, verb: Verb) -> Rest:
        """A verb could not be done while everything is being stopped: the next start calls it.

        Args:
            member: As it was before.
            verb: Which.
        """
        self.put(member.but(begun=member.begun | {verb}, under_way=None))
        return Rest(State.PAUSED, ("the module is being stopped",))

    def later(self, what: tuple[str, str], state: State, why: str) -> Rest | None:
        """Whether it is too early to try something again.

        Args:
            what: ECU and verb.
            state: What to show meanwhile.
            why: Likewise.
        """
        due = self.shared.due.get((self.attempt.id, *what))
        left = 0.0 if due is None else due - self.given.clock.monotonic()
        return Rest(state, (why,), left) if left > 0 else None

    def pause(self, what: tuple[str, str], state: State, why: str, waits: Sequence[float]) -> Rest:
        """Have something tried again later, and each time a little later.

        Args:
            what: ECU and verb.
            state: What to show meanwhile.
            why: Likewise.
            waits: Seconds, for the first time, the second and so on; the last for all others.
        """
        key = (self.attempt.id, *what)
        count = self.shared.times.get(key, 0)
        self.shared.times[key] = count + 1
        wait = waits[min(count, len(waits) - 1)]
        self.shared.due[key] = self.given.clock.monotonic() + wait
        return Rest(state, (why,), wait)


def _failure(error: BordnetzError | OSError, kind: str, ecu: str) -> Failure:
    repository = role = ""
    if isinstance(error, UptaneError):
        kind, repository, role = error.kind.value, error.repository, error.role
    return Failure(
        result=Result.FAILED,
        kind=kind,
        words=str(error),
        ecu=ecu,
        repository=repository,
        role=role,
    )
