"""An attempt's way to the new versions: stage, install, activate, verify, and the commit record."""

from __future__ import annotations

import logging
from dataclasses import replace

from bordnetz.errors import BordnetzError
from bordnetz.ota import waits
from bordnetz.ota.attempt import Member, Verb
from bordnetz.ota.gate import Verdict
from bordnetz.ota.installers.installer import Activation, Installer, InstallError
from bordnetz.ota.installers.trouble import UnavailableError
from bordnetz.ota.journal import Failed
from bordnetz.ota.ledger import Ledger
from bordnetz.ota.obtain import fresh
from bordnetz.ota.states import Result, State
from bordnetz.ota.surroundings import Rest, Shared, Surroundings
from bordnetz.ota.waits import PATIENCE, POLL

log = logging.getLogger(__name__)

LIMIT = 5
"""How often a verb is called in one attempt before it counts as failed."""

BACKOFF = (2.0, 10.0, 30.0, 60.0)
"""Seconds between two calls of a verb that has to be tried again."""

_STATES = {
    Verb.STAGE: State.INSTALLING,
    Verb.INSTALL: State.INSTALLING,
    Verb.ACTIVATE: State.ACTIVATING,
    Verb.VERIFY: State.VERIFYING,
}


def forward(ledger: Ledger, member: Member, verb: Verb) -> Rest | None:
    """Take one verb of one member.

    Returns:
        Why there is to be waited; None: it is done, or the attempt has failed.
    """
    if member.tries.get(verb, 0) >= LIMIT:
        words = f"{verb.value}: the process has ended {LIMIT} times in it"
        ledger.fail("process", words, member, failed=Failed(member.target, words))
        return None
    what = (member.ecu, verb.value)
    waiting = State.VERIFYING if verb is Verb.VERIFY else State.WAITING
    if rest := ledger.later(what, waiting, f"{member.ecu}: {member.trouble}"):
        return rest
    if verb is not Verb.VERIFY:
        try:
            verdict = _ask(ledger, member, verb)
            if verdict.open:
                ledger.shared.due.pop(_shut(ledger), None)
                rest = waits.program(ledger, member, verb)
                if rest or ledger.attempt.failure:
                    return rest
                if verb is not Verb.STAGE:
                    ledger.given.recheck()
        except (BordnetzError, OSError) as error:
            ledger.fail_on_the_way(error, member, verb)
            return None
        if not verdict.open:
            return _held(ledger, verdict)
        if not ledger.attempt.source:
            ledger.attempt = ledger.attempt.but(source=verdict.source)
    with ledger.shared.turn:
        if ledger.attempt.id in ledger.shared.cancelled and ledger.attempt.cancellable:
            return None
        ledger.put(member.begin(verb))
    ledger.tell(_STATES[verb])
    began = ledger.given.clock.monotonic()
    boot = ""
    try:
        if _call(ledger, member, verb) is Activation.REBOOT:
            boot = ledger.given.boot
    except (BordnetzError, OSError) as error:
        if ledger.given.stop.is_set():
            return ledger.interrupted(member, verb)
        member = ledger.attempt.member(member.ecu).returned(str(error))
        ledger.put(member)
        # After a boot, what is to be asked may not be up yet.
        passes = verb is Verb.VERIFY and not isinstance(error, InstallError)
        passes = passes or isinstance(error, UnavailableError)
        if passes and member.tries[verb] < LIMIT:
            return ledger.pause(what, waiting, f"{member.ecu}: {error}", BACKOFF)
        ledger.fail_by(error, member, verb)
        return None
    seconds = ledger.given.clock.monotonic() - began
    ledger.put(ledger.attempt.member(member.ecu).end(verb, seconds, boot))
    return None


def record(ledger: Ledger) -> None:
    """Have the new versions be the valid set."""
    counters = {one.ecu: one.target.counter for one in ledger.attempt.members}
    ledger.save(ledger.attempt.but(committed=True), counters=counters)
    ledger.shared.counted = False
    count(ledger.given, ledger.shared)


def count(given: Surroundings, shared: Shared) -> None:
    """Have the floor record know the release counters of all that was ever committed."""
    if shared.counted:
        return
    try:
        given.raise_counters(given.journal.counters())
    except (BordnetzError, OSError) as error:
        log.error("the release counters are not in the floor record yet: %s", error)
    else:
        shared.counted = True


def _call(ledger: Ledger, member: Member, verb: Verb) -> Activation:
    installer = ledger.installer(member)
    job = ledger.attempt.job(member)
    if verb is Verb.ACTIVATE:
        return installer.activate(job)
    if verb is Verb.STAGE:
        installer.stage(replace(job, fresh=fresh(ledger, member)))
    elif verb is Verb.INSTALL:
        installer.install(job)
    else:
        installer.verify(job)
        _compare(installer, member)
    return Activation.DONE


def _compare(installer: Installer, member: Member) -> None:
    """Look whether what is active is what was to be; else it would be installed for ever.

    Raises:
        InstallError: It is not.
    """
    found = installer.probe()
    if found is None or found.sha256 != member.target.sha256:
        raise InstallError("what is active after the installation is not what was to be")


def _ask(ledger: Ledger, member: Member, verb: Verb) -> Verdict:
    verdict = ledger.given.gate.ask(ledger.attempt.campaign)
    if verb is not Verb.STAGE or verdict.closed:
        return verdict
    installer = ledger.installer(member)
    try:
        missing = installer.room(ledger.attempt.job(member))
    except (BordnetzError, OSError) as error:
        words = f"{member.ecu}: how much room there is cannot be told: {error}"
    else:
        words = f"{member.ecu}: {missing} more bytes of disk are needed; free some space"
        if missing <= 0:
            return verdict
    return Verdict((*verdict.reasons, words))


def _held(ledger: Ledger, verdict: Verdict) -> Rest | None:
    """The gate is shut: wait, or go back where waiting is worse."""
    words = "; ".join(verdict.reasons)
    if verdict.closed:
        ledger.fail("window", words, result=Result.REFUSED)
        return None
    if ledger.attempt.partial:
        now = ledger.given.clock.monotonic()
        since = ledger.shared.due.setdefault(_shut(ledger), now)
        if now - since >= PATIENCE:
            ledger.fail("conditions", words, result=Result.REFUSED)
            return None
    return Rest(State.WAITING, verdict.reasons, POLL)


def _shut(ledger: Ledger) -> tuple[str, str, str]:
    return (ledger.attempt.id, "", "gate")
