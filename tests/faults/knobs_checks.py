"""What must hold after each try with the faults of the hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bordnetz.edge.link import LinkLostError
from bordnetz.edge.sender import URGENT
from bordnetz.edge.session import Timing
from bordnetz.edge.suspects import LAST

from .knobs_order import misplaced
from .knobs_outcome import Outcome
from .knobs_plan import CAP, KILLED

PATIENCE, PROOF = 30, 10
"""Minutes that the module is given; less than the longest fault, so that the watchdog must act."""
SETTLED = 600.0
"""Seconds after the faults in which all has come, if no message is a suspect: those may wait for
`LAST` more."""
GROWTH = 8 << 20
"""Bytes of memory that a process may have gained."""
SPARE = 2
"""Threads and descriptors more than before."""
HUNG = 5
"""Clients of one process that may hang."""
HUNG_THREADS, HUNG_DESCRIPTORS = 6, 8
"""Of a client that never came back from closing: where a hub ends a connection that paho-mqtt is
writing to, its thread may end by that, and the SDK waits for it for ever (one in 300 cuts)."""
GARBAGE = 6
"""Descriptors more than these that wait for the garbage collector: those of the last session, not
of all that are over."""
AT_ONCE = 10.0
"""Seconds in which an urgent message has left though the pace is the slowest."""
BLOCKED = 180.0
"""Seconds in which a message has come though larger ones cut the link."""

_DENYING = ("go-silent", "refuse-auth", "lose-twin-reply", KILLED)
"""With these no session can prove itself."""
_ROUND = Timing().connect + Timing().call + 60.0
"""Seconds that one attempt to connect takes, with the wait before it, at most."""


def wrong(outcome: Outcome) -> list[str]:
    """All that is wrong."""
    if outcome.settling is None or outcome.after is None:
        left = f"{len(outcome.missing())} messages have not come, mark {outcome.mark}"
        return [f"not as before after {LAST + SETTLED:g} s: {left}, {outcome.status}"]
    checks = (_delivery, _order, _books, _watchdog, _resources, _bite)
    return [word for check in checks for word in check(outcome)]


def _delivery(outcome: Outcome) -> Iterator[str]:
    if lost := outcome.missing():
        yield f"{len(lost)} messages lost: {sorted(lost)[:5]}"
    if outcome.settling is not None and outcome.settling > SETTLED and not outcome.suspects:
        yield f"it took {outcome.settling:.0f} s until all had come"
    if torn := [one.sequence for one in (*outcome.arrivals, *outcome.again) if not one.whole]:
        yield f"messages that are not what was stored: {torn[:5]}"
    if len(outcome.outboxes) != 1:
        yield f"{len(outcome.outboxes)} outboxes"
    # What was stored last before the process ended may not have been told.
    untold = {one.sequence for one in outcome.arrivals} - outcome.puts.keys()
    if len(untold) > len(outcome.lives):
        yield f"messages that nobody has stored: {sorted(untold)[:5]}"
    struck, ends = outcome.struck, len(outcome.lives)
    times = Counter(one.sequence for one in outcome.again)
    if idle := [one for one, count in times.items() if count > struck[one] + ends]:
        yield f"messages sent again without a reason: {idle[:5]}"


def _order(outcome: Outcome) -> Iterator[str]:
    if found := misplaced(outcome.lines):
        yield f"messages passed over, and how often: {dict(list(found.items())[:5])}"


def _books(outcome: Outcome) -> Iterator[str]:
    status, outbox = outcome.status, outcome.status["outbox"]
    held = outbox["acknowledged"] + outbox["givenUp"] + outbox["messages"]
    if status["found"] + status["put"] != held:
        yield f"{status['found']} messages found and {status['put']} stored, but {outbox}"
    if outbox["givenUp"] or outbox["setAside"] or outbox["damaged"]:
        yield f"the outbox has lost something: {outbox}"
    if any(status["edgeHub"]["lost"].values()):
        yield f"the hub has dropped something: {status['edgeHub']}"


def _watchdog(outcome: Outcome) -> Iterator[str]:
    """A process ends when nothing has been proved for the patience, and then it does."""
    one, patience = outcome.one, PATIENCE * 60.0
    for life in outcome.lives:
        since = max(life.began, one.begin - PROOF * 60.0 - Timing().call)
        if life.code != LinkLostError.exit_code:
            yield f"a process ended with {life.code}"
        elif life.ended - since < patience or life.ended > one.end + _ROUND:
            yield f"a process ended after {life.ended:.0f} s, which is not its time"
    if len(one.faults) == 1 and one.faults[0].knob in _DENYING:
        lasts = one.end - one.begin
        least = int(lasts // (patience + _ROUND))
        if len(outcome.lives) < least:
            yield f"{len(outcome.lives)} processes have ended in {lasts:.0f} s without a hub"


def _resources(outcome: Outcome) -> Iterator[str]:
    before, after = outcome.before, outcome.after
    assert after is not None
    if after.memory - before.memory > GROWTH:
        yield f"{(after.memory - before.memory) / 2**20:.1f} MiB more than before"
    spare = SPARE + HUNG_THREADS * outcome.hung
    if after.threads - before.threads > spare:
        yield f"{after.threads} threads, before {before.threads}"
    spare = SPARE + HUNG_DESCRIPTORS * outcome.hung
    if after.descriptors - before.descriptors > spare:
        yield f"{after.descriptors} descriptors, before {before.descriptors}"
    if after.uncollected - before.descriptors > spare + GARBAGE:
        yield f"{after.uncollected} descriptors with those that are garbage"
    if outcome.hung > HUNG:
        yield f"{outcome.hung} clients hung"


def _bite(outcome: Outcome) -> Iterator[str]:
    """A fault that lasts is to be noticed, and what it must not spoil is to be seen."""
    one, delays, puts = outcome.one, outcome.delays, outcome.puts
    if len(one.faults) != 1 or one.end - one.begin < 600:
        return
    knob, begin, end = one.faults[0].knob, outcome.began + one.begin, outcome.began + one.end
    if not outcome.struck and not outcome.lives and max(delays.values()) < AT_ONCE:
        yield "the fault was not to be noticed"
    if knob == "upstream-offline":
        late = [s for s, delay in delays.items() if delay > AT_ONCE]
        if urgent := [s for s in late if puts[s].priority in URGENT]:
            yield f"urgent messages have waited for the pace: {urgent[:5]}"
    if knob == "cap-packets":
        when = {arrival.sequence: arrival.time for arrival in outcome.arrivals}
        large = [s for s, put in puts.items() if put.size > CAP]
        if passed := [s for s in large if begin + 1 < when[s] < end]:
            yield f"messages came that were too large: {passed[:5]}"
        small = puts.keys() - set(large)
        if late := sorted(s for s in small if delays[s] > BLOCKED):
            yield f"large messages have held up others: {late[:5]}"
