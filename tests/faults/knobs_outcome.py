"""What was seen of one try, and what of it is worth telling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bordnetz.edge.suspects import STRIKES

from .knobs_plan import Try


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
        hung: Clients of the SDK that never came back from closing, in the process at the end.
        settling: Seconds until all had come, None if that did not happen.
        status: What the method of that name says at last.
        mark: The last change of desired properties, and what is reported of it.
        before: Of the first process, before any fault.
        after: Of the process at the end; None if it does not answer.
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
    hung: int = 0
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


@dataclass(frozen=True, slots=True)
class Figures:
    """What is worth telling of tries; `joined` over all of them."""

    hours: float = 0.0
    messages: int = 0
    again: int = 0
    ends: int = 0
    suspects: int = 0
    hung: int = 0
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
            outcome.lines.count("hung"),
            max(outcome.delays.values(), default=0.0),
            settling,
            after.memory - outcome.before.memory,
            after.uncollected - outcome.before.descriptors,
        )

    @classmethod
    def joined(cls, some: Sequence[Figures]) -> Figures:
        """Sums, and the largest of what has no sum."""
        return cls(
            *(sum(getattr(one, name) for one in some) for name in cls.__slots__[:6]),
            *(max(getattr(one, name) for one in some) for name in cls.__slots__[6:]),
        )

    def __str__(self) -> str:
        return (
            f"{self.hours:.1f} simulated hours, {self.messages} messages, {self.again} came again; "
            f"{self.ends} processes ended by the watchdog, {self.hung} clients of the SDK hung; "
            f"{self.suspects} messages went to the back; the longest wait {self.late:.0f} s, all "
            f"there {self.settling:.0f} s after the faults; at most {self.growth / 2**20:.1f} MiB "
            f"and {self.garbage} descriptors more"
        )
