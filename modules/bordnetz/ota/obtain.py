"""The first step of an attempt: a payload comes, and every byte of it is counted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from bordnetz.edge.durable import DurableError
from bordnetz.errors import BordnetzError
from bordnetz.ota.attempt import Member, Verb
from bordnetz.ota.database import DatabaseError
from bordnetz.ota.journal import Failed
from bordnetz.ota.ledger import RETRY, Ledger
from bordnetz.ota.ports import HaltedError
from bordnetz.ota.source import NeedsUrlError, UnreachableError
from bordnetz.ota.states import State
from bordnetz.ota.surroundings import Rest

DEATHS = 8
"""How often the process may end in a download without having got any further."""

PAUSES = (30.0, 60.0, 120.0, 300.0, 900.0)
"""Seconds until a download is tried again."""

WRITTEN = 4 << 20
"""Bytes received after which their count is written down."""


FRESH = 600.0
"""Seconds for which a payload that was read back counts as being so."""


def obtain(ledger: Ledger, member: Member) -> Rest | None:
    """Have a member's payload, or know why it is not there.

    Returns:
        Why there is to be waited; None: it is there, or the attempt has failed.
    """
    what = (member.ecu, Verb.OBTAIN.value)
    rest = ledger.later(what, State.PAUSED, member.trouble)
    if rest is not None:
        return rest
    if member.under_way is None:
        # What counts is a row of tries in which the process ended.
        member = member.but(tries={**member.tries, Verb.OBTAIN: 0})
    elif member.tries[Verb.OBTAIN] >= DEATHS:
        words = f"the process has ended {DEATHS} times while it came; check the memory"
        ledger.fail("process", words, member, failed=Failed(member.target, words, RETRY))
        return None
    ledger.put(member.begin(Verb.OBTAIN))
    ledger.tell(State.DOWNLOADING)
    received = _Received(ledger, member.ecu)
    began = ledger.given.clock.monotonic()
    path: Path | None = None
    error: BordnetzError | OSError | None = None
    try:
        path = ledger.given.payloads.obtain(
            member.target, ledger.installer(member), _budget(ledger), received.add
        )
    except NeedsUrlError as found:
        rest = Rest(State.NEEDS_URL, (str(found),))
    except (UnreachableError, DurableError, DatabaseError) as found:
        rest = ledger.pause(what, State.PAUSED, str(found), PAUSES)
    except HaltedError as found:
        rest = Rest(State.PAUSED, (str(found),))
    except (BordnetzError, OSError) as found:
        error = found
    member = received.counted(ledger.attempt.member(member.ecu))
    if path is not None:
        now = ledger.given.clock.monotonic()
        seconds = now - began
        if look := _look(path):
            ledger.shared.read[ledger.attempt.id, member.ecu] = (now, look)
        member = member.but(payload=str(path)).end(Verb.OBTAIN, seconds)
    else:
        member = member.returned("; ".join(rest.reasons) if rest else str(error))
    ledger.save(ledger.attempt.put(member), received=received.unwritten)
    if error is not None:
        ledger.fail_by(error, member, Verb.OBTAIN)
    return rest


def fresh(ledger: Ledger, member: Member) -> bool:
    """Whether a payload was read back a short while ago, and has not been touched since."""
    read = ledger.shared.read.get((ledger.attempt.id, member.ecu))
    if read is None or ledger.given.clock.monotonic() - read[0] > FRESH:
        return False
    return _look(Path(member.payload)) == read[1]


def _look(path: Path) -> tuple[int, ...] | None:
    with suppress(OSError):
        status = path.stat()
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return None


def _budget(ledger: Ledger) -> int | None:
    campaign = ledger.attempt.campaign
    if campaign.most_bytes is None:
        return None
    return max(campaign.most_bytes - ledger.given.journal.received(campaign.id), 0)


class _Received:
    """Counts what comes, writes it down now and then, and says when it is enough."""

    def __init__(self, ledger: Ledger, ecu: str) -> None:
        self.unwritten = 0
        self._ledger = ledger
        self._ecu = ecu
        self._all = ledger.attempt.member(ecu).received

    def add(self, count: int) -> None:
        ledger = self._ledger
        self.unwritten += count
        self._all += count
        if self.unwritten >= WRITTEN:
            member = self.counted(ledger.attempt.member(self._ecu))
            # It gets ahead: a process that ends now has not come here in vain.
            tries = {**member.tries, Verb.OBTAIN: 1}
            ledger.save(ledger.attempt.put(member.but(tries=tries)), received=self.unwritten)
            self.unwritten = 0
        ledger.tell(State.DOWNLOADING, {"ecu": self._ecu, "received": self._all})
        if ledger.given.stop.is_set():
            raise HaltedError("the module is being stopped")
        if cancel := ledger.shared.cancelled.get(ledger.attempt.id):
            raise HaltedError(cancel.words)

    def counted(self, member: Member) -> Member:
        return member.but(received=member.received + self.unwritten)
