"""An attempt's way out, to either side: commit or roll back, clean up, report."""

from __future__ import annotations

import logging

from bordnetz.errors import BordnetzError
from bordnetz.ota import waits
from bordnetz.ota.attempt import Member, Verb
from bordnetz.ota.forward import BACKOFF, LIMIT
from bordnetz.ota.installers.installer import Activation
from bordnetz.ota.installers.trouble import UnavailableError
from bordnetz.ota.ledger import Ledger
from bordnetz.ota.report import final_report
from bordnetz.ota.states import State
from bordnetz.ota.surroundings import Rest
from bordnetz.ota.waits import POLL

log = logging.getLogger(__name__)

PAUSES = (5.0, 30.0, 60.0)
"""Seconds until a report is handed over again that could not be kept."""


def insist(ledger: Ledger, member: Member, verb: Verb) -> Rest | None:
    """Take one verb of one member; where it does not work again and again, go on without it.

    Returns:
        Why there is to be waited; None: it is done, or given up until the next start.
    """
    state = State.ROLLING_BACK if ledger.attempt.failure else State.COMMITTING
    what = (member.ecu, verb.value)
    if rest := ledger.later(what, state, f"{member.ecu}: {member.trouble}"):
        return rest
    if member.tries.get(verb, 0) >= LIMIT:
        trouble = member.trouble or f"the process has ended {LIMIT} times in it"
        ledger.put(member.but(trouble=trouble).give_up(verb))
        return None
    if verb is Verb.ROLLBACK and member.irreversible and Verb.INSTALL in member.begun:
        verdict = ledger.given.gate.safe(ledger.attempt.campaign)
        if not verdict.open:
            return Rest(State.WAITING, verdict.reasons, POLL)
    ledger.put(member.begin(verb))
    ledger.tell(state)
    began = ledger.given.clock.monotonic()
    try:
        activation = _call(ledger, member, verb)
    except (BordnetzError, OSError) as error:
        if ledger.given.stop.is_set():
            return ledger.interrupted(member, verb)
        log.error("attempt %s: %s: %s: %s", ledger.attempt.id, member.ecu, verb.value, error)
        if isinstance(error, UnavailableError):
            spent = ledger.given.clock.monotonic() - began
            if rest := waits.way_out(ledger, member, verb, error, spent):
                return rest
        ledger.put(ledger.attempt.member(member.ecu).returned(str(error)))
        return ledger.pause(what, state, f"{member.ecu}: {error}", BACKOFF)
    seconds = ledger.given.clock.monotonic() - began
    boot = ledger.given.boot if activation is Activation.REBOOT else ""
    ledger.put(ledger.attempt.member(member.ecu).but(trouble="").end(verb, seconds, boot))
    return None


def discard(ledger: Ledger) -> None:
    """Remove the payloads; what stays is swept at the next start."""
    for member in ledger.attempt.members:
        try:
            ledger.given.payloads.discard(member.target)
        except (BordnetzError, OSError) as error:
            log.warning("the payload of %s stays until the next start: %s", member.ecu, error)


def report(ledger: Ledger) -> Rest | None:
    """Hand over the final report.

    Returns:
        Why there is to be waited; None: it is handed over.
    """
    what = ("", "report")
    state = ledger.attempt.result.state
    if rest := ledger.later(what, state, "the final report is not kept yet"):
        return rest
    if ledger.attempt.report is None:
        made = final_report(ledger.attempt, ledger.given.clock.now())
        ledger.save(ledger.attempt.but(report=made))
    assert ledger.attempt.report is not None  # noqa: S101 - for the type checker
    try:
        ledger.given.reporter.final(ledger.attempt.report)
    except (BordnetzError, OSError) as error:
        return ledger.pause(what, state, f"the final report is not kept yet: {error}", PAUSES)
    ledger.save(ledger.attempt.but(handed=True))
    return None


def _call(ledger: Ledger, member: Member, verb: Verb) -> Activation:
    installer = ledger.installer(member)
    job = ledger.attempt.job(member)
    if verb is Verb.ROLLBACK:
        return installer.rollback(job)
    if verb is Verb.COMMIT:
        installer.commit(job)
    else:
        installer.clean_up(job)
    return Activation.DONE
