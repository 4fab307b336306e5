"""Messages during which the connection broke, and what they say of the hub.

It may have broken for any reason, or because of the message: a hub that takes less than we believe
cuts the link on what is larger, every time.  Rules, so that such a one is found and blocks nobody:

1. A message during which the connection broke goes alone the next time.
2. One during which it broke `STRIKES` times in a row is suspect.  It is not given up, but goes to
   the back: it may be sent again after a while that doubles.
3. Two suspects have their size in common.  For a while that doubles, too, nothing of the size of
   the smaller one or more is sent, then one such message, alone, and another one before the
   suspects.  When the hub has taken one, size is no reason to wait any more.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from bordnetz.edge.message import Entry

log = logging.getLogger(__name__)

STRIKES = 3
"""So many times in a row make a message suspect."""

FIRST, LAST = 60.0, 3600.0
"""Seconds that a suspect waits, after the last strike that made it one and at most."""

LONGEST = 600.0
"""Seconds in which nothing of a size is sent, at most: who raises a limit does not wait long
for what it has held up."""

_REMEMBERED = 4096
"""Messages; of more, the one struck longest ago is forgotten: it may have left the outbox."""


class Suspects:
    """Counts strikes; an `Entry` is known by its name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Suspect nobody.

        Args:
            clock: Seconds from any fixed point.
        """
        self._clock = clock
        self._strikes: dict[tuple[int, int], int] = {}
        # Of suspects whose size may be why.
        self._sizes: dict[tuple[int, int], int] = {}
        self._holds = 0
        self._until = -math.inf

    def __len__(self) -> int:
        return sum(strikes >= STRIKES for strikes in self._strikes.values())

    @property
    def ceiling(self) -> float:
        """The size that the hub may not take, and what is larger; infinite where there is none."""
        return min(self._sizes.values()) if len(self._sizes) > 1 else math.inf

    @property
    def hold(self) -> float:
        """Seconds in which nothing of the ceiling's size or more is to be sent; 0 for none."""
        return max(0.0, self._until - self._clock()) if len(self._sizes) > 1 else 0.0

    def alone(self, entry: Entry) -> bool:
        """Whether this one is to be sent while nothing else is under way."""
        return (entry.outbox, entry.sequence) in self._strikes or entry.size >= self.ceiling

    def strike(self, entry: Entry) -> None:
        """The connection broke while it was under way."""
        name, ceiling = (entry.outbox, entry.sequence), self.ceiling
        before = self._strikes.pop(name, 0)
        # One of that size needs no strikes of its own.
        strikes = max(before + 1, STRIKES if entry.size >= ceiling else 0)
        self._strikes[name] = strikes
        if before < STRIKES <= strikes:
            self._sizes[name] = entry.size
        if len(self._strikes) > _REMEMBERED:
            oldest = next(iter(self._strikes))
            del self._strikes[oldest]
            self._sizes.pop(oldest, None)
        if strikes >= STRIKES and entry.size >= self.ceiling:
            self._until = self._clock() + _doubled(self._holds, LONGEST)
            self._holds += 1
            log.warning(
                "the hub has cut the link on messages of %.0f bytes and more: "
                "none is sent for %.0f s",
                self.ceiling,
                self.hold,
            )

    def clear(self, entry: Entry) -> bool:
        """The hub has it.

        Returns:
            Whether it has taken more than was believed, so that nobody need wait any longer.
        """
        self._strikes.pop((entry.outbox, entry.sequence), None)
        if not self._sizes:
            return False
        ceiling = self.ceiling
        # That of those that are no larger is not why.
        self._sizes = {name: size for name, size in self._sizes.items() if size > entry.size}
        if len(self._sizes) < 2:
            self._holds = 0
        return self.ceiling > ceiling

    def wait(self, entry: Entry) -> float:
        """Seconds before it may be sent again; 0 for at once."""
        beyond = self._strikes.get((entry.outbox, entry.sequence), 0) - STRIKES
        return 0.0 if beyond < 0 else self.hold + _doubled(beyond, LAST)


def _doubled(times: int, most: float) -> float:
    return float(min(most, FIRST * 2 ** min(times, 32)))
