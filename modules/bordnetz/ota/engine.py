"""The job engine: brings a vehicle's targets to what verified metadata asks for, or leaves them.

Promises, each with a test that attacks it:

1. The targets of a group get their new versions all together or not at all, whatever fails and
   whenever the process, the machine or the power ends, also during recovery and on the way back.
2. Nothing is activated while the gate is shut or does not know.
3. Each attempt has exactly one final report (handed over again, if at all, with the same content).
4. A version that has failed is not tried on its target again until the director raises its counter.
5. Release counters are raised when an attempt is committed, and never before.
6. Nothing fails, or ends the process, without an end to the tries.

It is synchronous.  One thread calls `resume`, then `offer` with what was verified, and `work`
whenever the `Rest` it got says so or something has changed (consent, conditions, a new address, a
cancellation).  `cancel`, `status` and `history` may be called by any thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from bordnetz.errors import BordnetzError
from bordnetz.ota.attempt import Attempt, Failure, shown
from bordnetz.ota.campaign import Ability, Plan, plan
from bordnetz.ota.forward import count
from bordnetz.ota.ledger import Ledger
from bordnetz.ota.recovery import clean, recover
from bordnetz.ota.report import line, standing
from bordnetz.ota.run import Run
from bordnetz.ota.states import Result, State
from bordnetz.ota.surroundings import Rest, Shared, Surroundings
from bordnetz.uptane.custom import Campaign
from bordnetz.uptane.target import Target, Verified

__all__ = ["Engine", "Rest", "Surroundings"]

log = logging.getLogger(__name__)

_SHOWN = 20
"""Reports in `Engine.history`."""


class Engine:
    """One vehicle's; see above."""

    def __init__(self, surroundings: Surroundings) -> None:
        """Do nothing yet; call `resume` first.

        Args:
            surroundings: What to work with.
        """
        self._given = surroundings
        self._shared = Shared()
        self._pending: Verified | None = None
        self._refused: tuple[str, ...] = ()
        self._blockers: set[tuple[str, bool]] = set()
        self._status: dict[str, Any] = {"state": State.IDLE.value}

    # -- for the one thread

    def resume(self) -> Rest:
        """Pick up what the last end of the process has left behind, and work.

        Raises:
            DatabaseError: The journal does not take it; call it again later.
        """
        recover(self._given, self._shared)
        return self.work()

    def offer(self, verified: Verified) -> Rest:
        """Take what the director asks for now, and work.

        What is under way and not asked for any more is given up, where that is still possible;
        else it is brought to its end first.

        Args:
            verified: Metadata that was verified in full.

        Raises:
            DatabaseError: The journal does not take it; call it again later.
        """
        self._pending = verified
        self._blockers = set()
        return self.work()

    def work(self) -> Rest:
        """Do what can be done now.

        Raises:
            DatabaseError: The journal does not take it; call it again later.
        """
        count(self._given, self._shared)
        clean(self._given, self._shared)
        if self._pending is not None:
            self._plan(self._pending)
        rest = self._work()
        if self._pending is not None and not self._given.stop.is_set():
            # What was in the way may have come to its end.
            self._plan(self._pending)
            rest = self._work()
        return rest

    # -- for any thread

    def cancel(self, words: str = "cancelled by request") -> str:
        """Give up what is under way, and do not begin its campaign again.

        Afterwards `work` has to be called.

        Returns:
            What becomes of it, in words.

        Raises:
            DatabaseError: The journal does not take it; nothing is cancelled.
        """
        with self._shared.turn:
            attempts = self._given.journal.attempts()
            able = [attempt for attempt in attempts if attempt.cancellable]
            for campaign in {attempt.campaign.id for attempt in able}:
                self._given.journal.dismiss(campaign, words)
            for attempt in able:
                self._cancel(attempt, words)
        if able:
            return "it is given up; assign it under another campaign id to try again"
        if any(attempt.committed for attempt in attempts):
            return "it cannot be cancelled: the new versions are installed and valid"
        if any(attempt.failure for attempt in attempts):
            return "it is on its way back already"
        if attempts:
            return "it cannot be cancelled: a new version is active already; wait for its end"
        return "nothing is under way"

    def campaign(self) -> Campaign | None:
        """The one under way, which a driver's answer can be to; None: none is.

        Raises:
            DatabaseError: The journal cannot be read.
        """
        for attempt in self._given.journal.attempts():
            if attempt.cancellable:
                return attempt.campaign
        return None

    def status(self) -> dict[str, Any]:
        """State, campaign, reasons and progress; small."""
        return dict(self._status)

    def history(self) -> list[dict[str, Any]]:
        """What has become of the last attempts, the newest first.

        Raises:
            DatabaseError: The journal cannot be read.
        """
        return [line(report) for report in self._given.journal.reports(_SHOWN)]

    # -- planning

    def _plan(self, verified: Verified) -> None:
        """Begin attempts; what is asked for stays pending while others are in the way."""
        journal = self._given.journal
        attempts = journal.attempts()
        blockers = {(attempt.id, attempt.stuck and attempt.handed) for attempt in attempts}
        if blockers and blockers == self._blockers:
            return
        wanted = self._wanted(verified, attempts)
        self._refused = wanted.refused
        kept: dict[int, Attempt] = {}
        self._blockers = set()
        for attempt in attempts:
            place = _same(attempt, wanted)
            if not attempt.cancellable:
                if not _gives_way(attempt, verified):
                    self._blockers = blockers
            elif place is None:
                self._supersede(attempt, wanted)
                self._blockers = blockers
            else:
                kept[place] = _renewed(attempt, wanted.attempts[place])
                if kept[place] != attempt:
                    journal.save(kept[place])
        if self._blockers:
            return
        self._pending = None
        ids = [
            kept[place].id if place in kept else f"{self._given.draw(64):016x}"
            for place in range(len(wanted.attempts))
        ]
        new = [
            attempt.but(id=ids[place], needs=tuple(ids[one] for one in wanted.needs[place]))
            for place, attempt in enumerate(wanted.attempts)
            if place not in kept
        ]
        ecus = {member.ecu for attempt in new for member in attempt.members}
        for attempt in attempts:
            if attempt.stuck and ecus & {member.ecu for member in attempt.members}:
                log.warning("attempt %s gives way to a campaign for its targets", attempt.id)
                journal.close_attempt(attempt)
        journal.add(new)

    def _supersede(self, attempt: Attempt, wanted: Plan) -> None:
        if wanted.refused:
            failure = Failure(
                result=Result.REFUSED, kind="refused", words="; ".join(wanted.refused)
            )
        else:
            words = "the director does not ask for it any more"
            failure = Failure(result=Result.CANCELLED, kind="superseded", words=words)
        self._shared.cancelled.setdefault(attempt.id, failure)

    def _wanted(self, verified: Verified, attempts: Sequence[Attempt]) -> Plan:
        campaign, journal, now = verified.campaign, self._given.journal, self._given.clock.now()
        refuses = None
        if campaign is not None:
            refuses = journal.dismissed(campaign.id) or self._given.gate.never(campaign)

        def failed(target: Target) -> str | None:
            return journal.failed(target, now)

        abilities = self._abilities(attempts)
        wanted = plan(verified, abilities, refuses=refuses, failed=failed, began=now)
        for words in wanted.refused:
            log.warning("not installed: %s", words)
        return wanted

    def _abilities(self, attempts: Sequence[Attempt]) -> dict[str, Ability]:
        waiting = [attempt for attempt in attempts if attempt.cancellable]
        members = {member.ecu: member for attempt in waiting for member in attempt.members}
        abilities = {}
        for ecu, installer in self._given.installers.items():
            installed, trouble = None, ""
            try:
                installed = installer.probe()
            except (BordnetzError, OSError) as error:
                if ecu in members:
                    # Nothing of the attempt is active yet, so it is what it was at its beginning.
                    installed = members[ecu].old
                else:
                    trouble = str(error)
            abilities[ecu] = Ability(
                installer.kinds, installer.irreversible, installed, shown(trouble)
            )
        return abilities

    def _cancel(self, attempt: Attempt, words: str) -> None:
        failure = Failure(result=Result.CANCELLED, kind="cancelled", words=words)
        self._shared.cancelled.setdefault(attempt.id, failure)

    # -- working

    def _work(self) -> Rest:
        journal = self._given.journal
        runs = [Run(self._ledger(attempt)) for attempt in journal.attempts()]
        for run in runs:
            words = journal.dismissed(run.attempt.campaign.id)
            if words is not None:
                self._cancel(run.attempt, words)
        # What has begun to change the vehicle does not wait for anybody's bytes.
        begun = [run for run in runs if not run.attempt.cancellable]
        fresh = [run for run in runs if run.attempt.cancellable]
        rests = [(run.attempt, run.go()) for run in begun]
        waits = [(run, run.obtain()) for run in fresh]
        rests += [(run.attempt, wait or self._go(run)) for run, wait in waits]
        return self._together([(attempt, rest) for attempt, rest in rests if rest is not None])

    def _go(self, run: Run) -> Rest | None:
        """Take an attempt further, once those have succeeded that come before."""
        journal = self._given.journal
        waiting = {one.id for one in journal.attempts() if not one.handed}
        if run.attempt.cancellable and waiting & set(run.attempt.needs):
            return Rest(State.WAITING, ("another group of the campaign comes first",))
        reports = [journal.report(needed) or {} for needed in run.attempt.needs]
        if any(report.get("result") != Result.SUCCEEDED.value for report in reports):
            run.refuse("dependency", "a group of the campaign that comes first has not succeeded")
        return run.go()

    def _ledger(self, attempt: Attempt) -> Ledger:
        about = {"campaign": attempt.campaign.id, "attempt": attempt.id}

        def told(state: State, progress: Mapping[str, Any]) -> None:
            self._show(state, (), about, progress)

        return Ledger(self._given, self._shared, attempt, told)

    def _together(self, rests: Sequence[tuple[Attempt, Rest]]) -> Rest:
        """Rest for all reasons that there are, and show the one that matters most."""
        if not rests:
            return self._idle()
        booting = [pair for pair in rests if pair[1].state is State.WAITING_FOR_REBOOT]
        attempt, first = (booting or rests)[0]
        afters = [rest.after for _, rest in rests if rest.after is not None]
        reasons = dict.fromkeys(reason for _, rest in rests for reason in rest.reasons)
        together = Rest(
            first.state,
            tuple(reasons),
            min(afters) if afters else None,
            any(rest.reboot for _, rest in rests),
        )
        about = {"campaign": attempt.campaign.id, "attempt": attempt.id}
        self._show(together.state, together.reasons, about, {})
        return together

    def _idle(self) -> Rest:
        campaign, state = standing(self._given.journal.reports(_SHOWN))
        about = {"campaign": campaign} if campaign else {}
        rest = Rest(State.REFUSED, self._refused) if self._refused else Rest(state)
        self._show(rest.state, rest.reasons, {} if self._refused else about, {})
        return rest

    def _show(
        self,
        state: State,
        reasons: Sequence[str],
        about: Mapping[str, str],
        progress: Mapping[str, Any],
    ) -> None:
        status: dict[str, Any] = {"state": state.value, **about}
        if reasons:
            status["reasons"] = [shown(reason) for reason in reasons[:10]]
        if progress:
            status["progress"] = dict(progress)
        if status != self._status:
            self._status = status
            self._given.reporter.state(status)


def _same(attempt: Attempt, wanted: Plan) -> int | None:
    """Which of the attempts wanted is this one."""
    mine = _versions(attempt)
    for place, other in enumerate(wanted.attempts):
        if other.campaign.id == attempt.campaign.id and _versions(other) == mine:
            return place
    return None


def _versions(attempt: Attempt) -> set[tuple[str, str, int]]:
    return {(one.ecu, one.target.sha256, one.target.counter) for one in attempt.members}


def _renewed(attempt: Attempt, wanted: Attempt) -> Attempt:
    """An attempt under the campaign's terms as they are now."""
    members = tuple(attempt.member(one.ecu).but(target=one.target) for one in wanted.members)
    return attempt.but(campaign=wanted.campaign, members=members)


def _gives_way(attempt: Attempt, verified: Verified) -> bool:
    """Whether a stuck attempt lets others begin: one that mends it does, if it is to be mended."""
    if not (attempt.stuck and attempt.handed):
        return False
    asked = {target.ecu for target in verified.targets}
    return not attempt.inconsistent or asked >= {member.ecu for member in attempt.members}
