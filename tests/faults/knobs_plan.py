"""Which faults of the hub are armed when: one alone or two at once, drawn the same in each run."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from bordnetz.laptop.hub.faults import AT_ONCE, KNOBS

KILLED = "hub-killed"
"""The fault that is no knob: the hub is killed, and started again at the end."""

FAULTS = (*KNOBS, KILLED)
SHORTEST, LONGEST = 10.0, 3600.0
CAP = 4096
"""Bytes of ``cap-packets``: more than what keeps a link going, less than the large messages."""

_SLOW = 10.0, 5000.0
_PAUSES = 1.0, 100.0
"""Seconds between two strikes of a fault that is over at once."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and its time, in seconds since the try began.

    Attributes:
        knob: One of `FAULTS`.
        begin: When it is armed.
        end: When it is off again.
        value: For a knob that takes one.
        strikes: For one that is over at once: when it strikes, again and again.
    """

    knob: str
    begin: float
    end: float
    value: int | None = None
    strikes: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Try:
    """What is done in one try.

    Attributes:
        name: Its knobs, with ``+`` between.
        faults: One, or two that overlap.
        change: When the desired properties are changed.
    """

    name: str
    faults: tuple[Fault, ...] = field(default=())
    change: float = 0.0

    @property
    def begin(self) -> float:
        """When the first fault begins."""
        return min(fault.begin for fault in self.faults)

    @property
    def end(self) -> float:
        """When the last fault is over."""
        return max(fault.end for fault in self.faults)


def names() -> list[str]:
    """Of all tries: each fault alone, then each pair."""
    return [*FAULTS, *("+".join(pair) for pair in combinations(FAULTS, 2))]


def draw(name: str, longest: float = LONGEST) -> Try:
    """The try of that name, the same each time: alone a fault is as long and bad as it may be.

    Args:
        name: One of `names`.
        longest: Seconds that a fault lasts at most.
    """
    source = random.Random(name)
    faults: list[Fault] = []
    alone = "+" not in name
    for knob in name.split("+"):
        lasts = longest if alone else _between(source, SHORTEST, longest)
        slow = _SLOW[1] if alone else _between(source, *_SLOW)
        begin = source.uniform(faults[0].begin, faults[0].end) if faults else source.uniform(1, 30)
        faults.append(
            Fault(
                knob,
                begin,
                begin + lasts,
                {"cap-packets": CAP, "slow": round(slow)}.get(knob),
                tuple(_strikes(source, begin, begin + lasts)) if knob in AT_ONCE else (),
            )
        )
    end = max(fault.end for fault in faults)
    return Try(name, tuple(faults), source.uniform(faults[0].begin, end))


def _strikes(source: random.Random, begin: float, end: float) -> Iterator[float]:
    at = begin
    while at < end:
        yield at
        at += _between(source, *_PAUSES)


def _between(source: random.Random, least: float, most: float) -> float:
    """Log-uniform: each order of magnitude is as likely."""
    return math.exp(source.uniform(math.log(least), math.log(most)))
