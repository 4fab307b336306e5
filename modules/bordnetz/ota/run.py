"""One attempt on its way: the steps that `bordnetz.ota.steps` decides, taken one after the other.

Every verb is written down before it is called and after it has returned.  How often a verb may be
called is bounded, and a call counts from when it was written down, so that a verb in which the
process ends does not end it for ever.
"""

from __future__ import annotations

from bordnetz.ota import back, forward, waits
from bordnetz.ota.attempt import Attempt, Verb
from bordnetz.ota.ledger import Ledger
from bordnetz.ota.obtain import obtain
from bordnetz.ota.states import Result, State
from bordnetz.ota.steps import Act, Step, next_step
from bordnetz.ota.surroundings import Rest

__all__ = ["Run"]


class Run:
    """One attempt, until it is over or has to rest."""

    def __init__(self, ledger: Ledger) -> None:
        """Take it up where it is."""
        self._ledger = ledger
        self._discarded = False

    @property
    def attempt(self) -> Attempt:
        """As it is now."""
        return self._ledger.attempt

    def refuse(self, kind: str, words: str) -> None:
        """Give it up, if that is still possible."""
        if self.attempt.cancellable:
            self._ledger.fail(kind, words, result=Result.REFUSED)

    def obtain(self) -> Rest | None:
        """Have all payloads, as far as they come now.

        Returns:
            Why there is to be waited; None: none is missing, or the attempt has failed.
        """
        while (step := self._next()).verb is Verb.OBTAIN:
            if rest := self._take(step):
                return rest
        return None

    def go(self) -> Rest | None:
        """Take steps.

        Returns:
            Why there is to be waited; None: the attempt is over, and closed.
        """
        while (step := self._next()).act is not Act.CLOSE:
            if rest := self._take(step):
                return rest
        self._ledger.given.journal.close_attempt(self._ledger.attempt)
        return None

    def _next(self) -> Step:
        ledger = self._ledger
        cancel = ledger.shared.cancelled.get(ledger.attempt.id)
        if cancel is not None and ledger.attempt.cancellable:
            ledger.save(ledger.attempt.fail(cancel))
        return next_step(ledger.attempt, ledger.given.boot, discarded=self._discarded)

    def _take(self, step: Step) -> Rest | None:
        ledger = self._ledger
        if ledger.given.stop.is_set():
            return Rest(State.PAUSED, ("the module is being stopped",))
        match step.act:
            case Act.CALL:
                return self._call(step)
            case Act.REBOOT:
                return waits.reboot(ledger)
            case Act.RECORD:
                forward.record(ledger)
            case Act.DISCARD:
                back.discard(ledger)
                self._discarded = True
            case Act.REPORT:
                return back.report(ledger)
            case _:
                troubles = [
                    f"{one.ecu}: {one.trouble}" for one in ledger.attempt.members if one.gave_up
                ]
                return Rest(ledger.attempt.result.state, tuple(troubles))
        return None

    def _call(self, step: Step) -> Rest | None:
        ledger = self._ledger
        member = ledger.attempt.member(step.ecu)
        if step.verb is Verb.OBTAIN:
            rest = obtain(ledger, member)
            # Who waits for bytes can be cancelled at once.
            return None if ledger.attempt.id in ledger.shared.cancelled else rest
        if step.verb in (Verb.STAGE, Verb.INSTALL, Verb.ACTIVATE, Verb.VERIFY):
            return forward.forward(ledger, member, step.verb)
        if step.verb in (Verb.COMMIT, Verb.ROLLBACK, Verb.CLEAN_UP):
            return back.insist(ledger, member, step.verb)
        raise ValueError(f"no step calls {step.verb}")
