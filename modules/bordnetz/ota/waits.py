"""Waits for what nobody here can hurry: another program of the vehicle, and a reboot.

Both have an end, are told in words, and keep all that has come so far.  How long one has lasted is
in the journal, so that a crash neither ends nor renews it: a wait for a program is counted before
it begins, and one for a reboot is measured by the machine's own clock, which the boot that it waits
for begins anew.
"""

from __future__ import annotations

import time

from bordnetz.errors import BordnetzError
from bordnetz.ota.attempt import Member, Verb, Wait
from bordnetz.ota.installers.trouble import UnavailableError
from bordnetz.ota.journal import Failed
from bordnetz.ota.ledger import RETRY, Ledger
from bordnetz.ota.states import State
from bordnetz.ota.surroundings import Rest

POLL = 5.0
"""Seconds until the gate is asked again, if nobody says before that something has changed."""

PATIENCE = 60.0
"""Seconds that a group is kept active in part, or perhaps so; then it goes back."""

PROGRAM = 86_400.0
"""Seconds that a program is waited for, in one attempt and before one verb of one target."""

WAY_OUT = 3600.0
"""Seconds that a program is waited for where an attempt cannot come to its end without it."""

PAUSES = (5.0, 15.0, 60.0, 300.0)
"""Seconds until a program is looked for again."""

REBOOT = 7 * 86_400
"""Seconds that a reboot is waited for."""


def program(ledger: Ledger, member: Member, verb: Verb) -> Rest | None:
    """See whether the programs are there that a verb needs, before it is begun.

    Returns:
        Why there is to be waited; None: they are there, or the attempt has failed.
    """
    began = ledger.given.clock.monotonic()
    try:
        ledger.installer(member).ready()
    except UnavailableError as error:
        most = PATIENCE if ledger.attempt.partial else PROGRAM
        spent = ledger.given.clock.monotonic() - began
        waited = member.waited.get(verb, 0.0) + spent
        if waited >= most:
            words = f"{error}; it was waited for, {_span(most)} in all"
            ledger.fail_by(UnavailableError(words), member, verb)
            return None
        member = member.but(trouble=f"{error}; it is waited for, {_span(most)} at most")
        rest = ledger.pause(
            (member.ecu, verb.value),
            State.WAITING,
            f"{member.ecu}: {member.trouble}",
            [min(pause, most - waited) for pause in PAUSES],
        )
        ledger.put(member.but(waited={**member.waited, verb: waited + (rest.after or 0.0)}))
        return rest
    except (BordnetzError, OSError) as error:
        ledger.fail_by(error, member, verb)
    return None


def way_out(
    ledger: Ledger, member: Member, verb: Verb, error: UnavailableError, spent: float
) -> Rest | None:
    """Wait for a program without which a verb of the way out could not be done.

    There it is not asked for before: some of these verbs can do without it.

    Args:
        ledger: Of the attempt.
        member: As it was before the verb was called, which does not count as a try.
        verb: Which.
        error: What it said.
        spent: Seconds that it took.

    Returns:
        Why there is to be waited; None: it was waited for long enough.
    """
    waited = member.waited.get(verb, 0.0) + spent
    if waited >= WAY_OUT:
        return None
    state = State.ROLLING_BACK if ledger.attempt.failure else State.COMMITTING
    member = member.but(trouble=f"{error}; it is waited for, {_span(WAY_OUT)} at most")
    words = f"{member.ecu}: {member.trouble}"
    rest = ledger.pause((member.ecu, verb.value), state, words, PAUSES)
    member = member.but(begun=member.begun | {verb}, under_way=None)
    ledger.put(member.but(waited={**member.waited, verb: waited + (rest.after or 0.0)}))
    return rest


def reboot(ledger: Ledger) -> Rest | None:
    """Wait for it, and say whether the vehicle is in a state for it.

    Returns:
        Why there is to be waited; None: it has not come, and is not waited for any more.
    """
    given, back = ledger.given, ledger.attempt.failure is not None
    wait = ledger.attempt.reboot
    if wait is None or (wait.boot, wait.back) != (given.boot, back):
        now, at = given.clock.now(), given.clock.monotonic()
        wait = Wait(boot=given.boot, back=back, since=now, at=at)
        ledger.save(ledger.attempt.but(reboot=wait))
    if given.clock.monotonic() - wait.at >= REBOOT:
        _no_reboot(ledger, wait)
        return None
    end = "it counts as failed" if back else "the old versions become active again"
    words = (
        f"a reboot is waited for since {_moment(wait.since)}; without one until "
        f"{_moment(wait.since + REBOOT)} {end}"
    )
    verdict = given.gate.safe(ledger.attempt.campaign)
    return Rest(State.WAITING_FOR_REBOOT, (words, *verdict.reasons), POLL, reboot=verdict.open)


def _no_reboot(ledger: Ledger, wait: Wait) -> None:
    verb = Verb.ROLLBACK if wait.back else Verb.ACTIVATE
    waiting = [one for one in ledger.attempt.members if one.boots.get(verb) == wait.boot]
    if wait.back:
        words = f"the old version needs a reboot, which has not come for {_span(REBOOT)}"
        for member in waiting:
            ledger.put(member.but(trouble=words).give_up(Verb.ROLLBACK))
    else:
        words = f"the reboot that the new version needs has not come for {_span(REBOOT)}"
        failed = Failed(waiting[0].target, words, RETRY)
        ledger.fail("reboot", words, waiting[0], failed=failed)


def _span(seconds: float) -> str:
    if seconds >= 2 * PROGRAM:
        return f"{seconds / 86_400:g} days"
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
