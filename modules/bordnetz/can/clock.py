"""Two clocks of a machine: the wall clock, which is set, and the boot clock, which nobody sets.

The kernel stamps frames by the wall clock, which may say 1970 until somebody knows better.  What a
vehicle records needs a clock that neither jumps nor goes back, so their times are put on
CLOCK_BOOTTIME (clock_gettime(2)): it counts from the start of the machine, sleep included.
Whatever slews the wall clock slews it, too, so the two are a constant apart until one is set: a
step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]

_NOISE = 10_000
"""ns: less is no step, but the error of reading two clocks one after the other."""

_TRIES = 3
"""Readings after a step; the quickest of them tells best how large it was."""

_LATE = 20_000_000
"""ns that may pass between a frame's stamp and its way into the queue of a socket."""


def boot_ns() -> int:
    """Nanoseconds since the start of the machine, sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_seconds() -> float:
    """The same in seconds: what ages are told by, for in a sleep everything grows older."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Wall:
    """How far the wall clock is ahead of the boot clock.

    Args:
        wall: ns since the Unix epoch.
        boot: ns of the boot clock.

    Attributes:
        ahead: Wall clock less boot clock, ns, when it was last looked.
        now: The boot clock then.
        steps: How often the wall clock has been set since it was first looked.
    """

    def __init__(
        self, wall: Callable[[], int] = time.time_ns, boot: Callable[[], int] = boot_ns
    ) -> None:
        self._wall = wall
        self._boot = boot
        self.steps = 0
        self._set()

    def look(self) -> bool:
        """Look at the clocks.

        Returns:
            Whether the wall clock has been set since it was last looked.
        """
        before, wall, after = self._boot(), self._wall(), self._boot()
        self.now = after
        if wall - after - _NOISE <= self.ahead <= wall - before + _NOISE:
            return False
        self.steps += 1
        self._set()
        return True

    def _set(self) -> None:
        quickest = None
        for _ in range(_TRIES):
            before, wall, after = self._boot(), self._wall(), self._boot()
            if quickest is None or after - before < quickest:
                quickest = after - before
                self.ahead = wall - (before + after) // 2
            self.now = after


@dataclass(frozen=True, slots=True)
class _Drain:
    """What was read at once: up to which row, when by the boot clock, and `Wall.ahead`."""

    rows: int
    since: int
    until: int
    before: int
    after: int


class Reception:
    """Puts times at which frames were received on the boot clock, drain by drain.

    A frame was received after the drain before, or it would have been in that.  So where the wall
    clock was set in between, it shows which frames were stamped before that and which after.

    Args:
        wall: Looked at in each drain.
    """

    def __init__(self, wall: Wall | None = None) -> None:
        self._wall = wall or Wall()
        self._drains: list[_Drain] = []
        self._rows = 0

    def drained(self, rows: int) -> None:
        """Take note of a drain that is over.

        Args:
            rows: Frames since the last `convert`.
        """
        wall = self._wall
        since, before = wall.now, wall.ahead
        wall.look()
        if rows > self._rows:
            self._drains.append(_Drain(rows, since, wall.now, before, wall.ahead))
            self._rows = rows

    def convert(self, times: Times, bus: NDArray[np.uint8]) -> Times:
        """Put the times of all frames since it was last called on the boot clock.

        Args:
            times: int64, shape (n,), ns since the Unix epoch, as the wall clock said.
            bus: uint8, shape (n,); frames of one are in order of reception.

        Returns:
            int64, shape (n,), ns of the boot clock.  Where the wall clock was set between two
            drains, none lies outside of them, and none of a bus before another that came earlier.
        """
        drains, self._drains, self._rows = self._drains, [], 0
        if not drains:
            return times
        ahead = drains[-1].after
        if all(drain.before == drain.after == ahead for drain in drains):
            placed = times - ahead
            if (
                int(placed.min()) >= drains[0].since - _LATE
                and int(placed.max()) <= drains[-1].until + _LATE
            ):
                return placed
        parts, begin = [], 0
        for drain in drains:
            rows = slice(begin, drain.rows)
            parts.append(_place(times[rows], bus[rows], drain))
            begin = drain.rows
        return np.concatenate(parts)


def _place(times: Times, bus: NDArray[np.uint8], drain: _Drain) -> Times:
    """Of a drain in which the wall clock may have been set."""
    placed = times - drain.after
    sooner = (placed < drain.since) | (placed > drain.until)
    placed[sooner] = times[sooner] - drain.before
    # What fits neither was stamped between two steps, or not at all.
    placed = placed.clip(drain.since, drain.until)
    for one in np.unique(bus).tolist():
        rows = bus == one
        placed[rows] = np.maximum.accumulate(placed[rows])
    return placed
