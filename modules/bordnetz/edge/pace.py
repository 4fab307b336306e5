"""How fast messages may leave: two token buckets, of bytes and of messages.

A message may leave while neither bucket is in debt, and then takes its tokens, so that the largest
one passes, too, and whoever comes after it waits.  At the ceiling an outbox of days is emptied in
minutes, and a fleet that comes back from an outage does not arrive all at once.  At the floor flows
what costs little to keep: Edge hub's store has no limit of its own, so while it cannot get rid of
what it has, messages wait in our outbox, which has one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

BURST = 20.0
"""Seconds of the rate in force that an idle link saves up."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes and messages a second."""

    bytes: float
    messages: float


CEILING = Rate(512 * 1024, 20)
"""A busy vehicle makes 50 kB and two messages a second."""

FLOOR = Rate(512, 0.1)
"""In three days 133 MB and 26,000 messages."""


class Pace:
    """The rate in force, and what may leave at it.

    Attributes:
        rate: In force; at first the ceiling.
        changed: Called when it has changed.
    """

    def __init__(
        self,
        floor: Rate = FLOOR,
        ceiling: Rate = CEILING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at the ceiling, with full buckets.

        Args:
            floor: The least rate.
            ceiling: The largest one.
            clock: Seconds from any fixed point.
        """
        self.rate = ceiling
        self.changed: Callable[[], None] = lambda: None
        self._floor = floor
        self._ceiling = ceiling
        self._clock = clock
        self._bytes = self._messages = math.inf
        self._then = clock()
        self._refill()

    @property
    def slowed(self) -> bool:
        """Whether the rate is less than the ceiling."""
        return self.rate != self._ceiling

    def delay(self) -> float:
        """Seconds until the next message may leave, 0 for at once."""
        self._refill()
        return max(0.0, -self._bytes / self.rate.bytes, -self._messages / self.rate.messages)

    def spend(self, size: int) -> None:
        """A message of so many bytes leaves."""
        self._refill()
        self._bytes -= size
        self._messages -= 1

    def empty(self) -> None:
        """Save nothing up: what has gathered behind an outage leaves at the rate from the start."""
        self._refill()
        self._bytes, self._messages = min(self._bytes, 0.0), min(self._messages, 0.0)

    def slow(self) -> None:
        """Down to the floor."""
        self.empty()
        self._change(self._floor)

    def faster(self) -> None:
        """Twice as fast, up to the ceiling."""
        twice = Rate(2 * self.rate.bytes, 2 * self.rate.messages)
        self._change(
            Rate(min(twice.bytes, self._ceiling.bytes), min(twice.messages, self._ceiling.messages))
        )

    def _change(self, rate: Rate) -> None:
        if rate != self.rate:
            self._refill()
            self.rate = rate
            self.changed()

    def _refill(self) -> None:
        now = self._clock()
        passed, self._then = now - self._then, now
        self._bytes = min(self.rate.bytes * BURST, self._bytes + passed * self.rate.bytes)
        messages = self._messages + passed * self.rate.messages
        self._messages = min(max(1.0, self.rate.messages * BURST), messages)
