"""What must hold after each try with the faults of the hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bordnetz.edge.link import LinkLostError
from bordnetz.edge.sender import URGENT
from bordnetz.edge.session import Timing
from bordnetz.edge.suspects import LAST, STRIKES

from .knobs_order import misplaced
from .knobs_plan import CAP, KILLED, Try

PATIENCE, PROOF = 30, 10
"""Minutes that the module is given; less than the longest fault, so that the watchdog must act."""
SETTLED = 600.0
"""Seconds after the faults in which all has come, if no message is a suspect: those may wait for
`LAST` more."""
GROWTH = 12 << 20
"""Bytes of memory that a process may have gained."""
SPARE = 2
"""Threads and descriptors more than before."""
GARBAGE = 64
"""Descriptors more than before, those included that wait for the garbage collector: two for each
session that is over."""
AT_ONCE = 10.0
"""Seconds in which an urgent message has left though the pace is the slowest."""
BLOCKED = 180.0
"""Seconds in which a message has come though those of another priority cut the link."""

_DENYING = ("go-silent", "refuse-auth", "lose-twin-reply", KILLED)
"""With these no session can prove itself."""
_ROUND = Timing().connect + Timing().call + 60.0
"""Seconds that one attempt to connect takes, with the wait before it, at most."""


@dataclass(frozen=True, slots=True)
class Put:
    """A message that the outbox has taken."""

    priority: int
    size: int
    time: float


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that reached the cloud: when the hub got it, and whether it is what was stored."""

    sequence: int
    time: float
    whole: bool


@dataclass(frozen=True, slots=True)
class Life:
    """A process of the module that ended by itself; in seconds since the try began."""

    began: float
    ended: float
    code: int


@dataclass(frozen=True, slots=True)
class Process:
    """What a process of the module has, before and after a collection of garbage."""

    memory: int
    threads: int
    descriptors: int
    uncollected: int


@dataclass(slots=True)
class Outcome:
    """What was seen of one try, and of the module before it and after it.

    Attributes:
        one: The try.
        began: When it began, by the wall clock.
        lines: What the module has told.
        puts: Of those the messages stored, by sequence.
        outboxes: Ids of the outboxes that they were stored in.
        arrivals: Each message when it came first, in their order.
        again: Those that came again.
        lives: Processes that ended.
        settling: Seconds until all had come, None if that did not happen.
        status: What the method of that name says at last.
        mark: The last change of desired properties, and what is reported of it.
        before: Of the first process, before any fault.
        after: Of the process at the end.
    """

    one: Try
    before: Process
    began: float = 0.0
    lines: list[str] = field(default_factory=list)
    puts: dict[int, Put] = field(default_factory=dict)
    outboxes: set[int] = field(default_factory=set)
    arrivals: list[Arrived] = field(default_factory=list)
    again: list[Arrived] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    settling: float | None = None
    status: dict[str, Any] = field(default_factory=dict)
    mark: tuple[int, int] = (0, 0)
    after: Process | None = None

    def missing(self) -> set[int]:
        """Sequences that have not come."""
        return self.puts.keys() - {arrived.sequence for arrived in self.arrivals}

    def quiet(self) -> bool:
        """Whether the module has nothing to do and has reported the last change."""
        wanted, reported = self.mark
        return not self.status["outbox"]["messages"] and reported == wanted

    @property
    def struck(self) -> Counter[int]:
        """How often the connection broke while a message was under way, by sequence."""
        return Counter(int(line.split()[1]) for line in self.lines if line.startswith("struck"))

    @property
    def suspects(self) -> set[int]:
        """Messages that went to the back."""
        return {sequence for sequence, times in self.struck.items() if times >= STRIKES}

    @property
    def delays(self) -> dict[int, float]:
        """Seconds from its storing until the hub first had it, by sequence."""
        return {
            one.sequence: one.time - self.puts[one.sequence].time
            for one in self.arrivals
            if one.sequence in self.puts
        }


def wrong(outcome: Outcome) -> list[str]:
    """All that is wrong."""
    if outcome.settling is None:
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
    if after.threads - before.threads > SPARE:
        yield f"{after.threads} threads, before {before.threads}"
    if after.descriptors - before.descriptors > SPARE:
        yield f"{after.descriptors} descriptors, before {before.descriptors}"
    if after.uncollected - before.descriptors > GARBAGE:
        yield f"{after.uncollected} descriptors with those that are garbage"


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
        small = [s for s in puts if puts[s].size < CAP]
        same = {puts[s].priority for s in large}
        if late := [s for s in small if delays[s] > BLOCKED and puts[s].priority not in same]:
            yield f"large messages have held up others: {late[:5]}"
        # Those of the same priority find the link cut again and again, but not for ever.
        came = sum(when[s] < end for s in small)
        if came < len(small) / 3:
            yield f"large messages have blocked others: {came} of {len(small)} have come"


@dataclass(frozen=True, slots=True)
class Figures:
    """What is worth telling of tries; `joined` over all of them."""

    hours: float = 0.0
    messages: int = 0
    again: int = 0
    ends: int = 0
    suspects: int = 0
    late: float = 0.0
    settling: float = 0.0
    growth: int = 0
    garbage: int = 0

    @classmethod
    def of(cls, outcome: Outcome) -> Figures:
        """Of one try."""
        after, settling = outcome.after, outcome.settling or 0.0
        assert after is not None
        return cls(
            (outcome.one.end + settling) / 3600,
            len(outcome.puts),
            len(outcome.again),
            len(outcome.lives),
            len(outcome.suspects),
            max(outcome.delays.values(), default=0.0),
            settling,
            after.memory - outcome.before.memory,
            after.uncollected - outcome.before.descriptors,
        )

    @classmethod
    def joined(cls, some: Sequence[Figures]) -> Figures:
        """Sums, and the largest of what has no sum."""
        return cls(
            *(sum(getattr(one, name) for one in some) for name in cls.__slots__[:5]),
            *(max(getattr(one, name) for one in some) for name in cls.__slots__[5:]),
        )

    def __str__(self) -> str:
        return (
            f"{self.hours:.1f} simulated hours, {self.messages} messages, {self.again} came again; "
            f"{self.ends} processes ended by the watchdog; {self.suspects} messages went to the "
            f"back; the longest wait {self.late:.0f} s, all there {self.settling:.0f} s after the "
            f"faults; at most {self.growth / 2**20:.1f} MiB and {self.garbage} descriptors more"
        )
