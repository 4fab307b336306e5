"""Cyclic messages against the cycle times that the DBC files declare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MILLISECOND = 1_000_000
PAUSE = 20
"""Cycles of silence after which a message has paused and no single cycle is missed."""

_NEVER = np.iinfo(np.int64).min
_FOREVER = 1 << 61
_NONE = np.empty(0, np.intp)
_NO_CYCLES = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Deviations:
    """Frames that came at another time than their cycle says; all others came in time.

    Attributes:
        late: intp, index of frames that came three quarters of a cycle late, or more.
        missed: int64, as ``late``: how many cycles are missed before them.
        paused: intp, index of frames before which there was a pause.
        duplicate: intp, index of frames that came within a quarter of a cycle after another.
    """

    late: NDArray[np.intp]
    missed: NDArray[np.int64]
    paused: NDArray[np.intp]
    duplicate: NDArray[np.intp]


class Cycles:
    """When the frames of some messages came last.

    A cycle is missed where the next frame comes three quarters of a cycle late, two are where it
    comes one and three quarters late, and so on.  A frame within a quarter of a cycle after
    another is a duplicate, so that one which is only very late counts as missed and its successor
    as a duplicate.  After `PAUSE` cycles of silence the sender slept, or was off, or the clock was
    set: that is one pause.  A clock that was set back says nothing.

    Args:
        cycles: Milliseconds of each message, 0 for one that has none.
    """

    def __init__(self, cycles: Sequence[int]) -> None:
        cycle = np.array(cycles, np.int64) * _MILLISECOND
        self._cycle = np.where(cycle > 0, cycle, _FOREVER)
        self._quarter = cycle // 4
        self._late = self._cycle * 2 - self._quarter
        self._pause = np.where(cycle > 0, cycle * PAUSE, _FOREVER)
        self._last = np.full(len(cycles), _NEVER, np.int64)

    def grow(self, slots: int) -> None:
        """Make room for the state of ``slots`` senders."""
        missing = slots - len(self._last)
        if missing > 0:
            self._last = np.append(self._last, np.full(missing, _NEVER, np.int64))

    def look(
        self,
        time: NDArray[np.int64],
        message: NDArray[np.intp],
        slot: NDArray[np.int64],
        edges: NDArray[np.intp],
    ) -> Deviations:
        """Compare reception times.

        Args:
            time: int64, shape (n,), reception, ns: sender after sender, and in order of arrival
                for each.
            message: intp, shape (n,), the message, in the order given at first.
            slot: int64, shape (senders,), where each sender's state is kept.
            edges: intp, shape (senders + 1,), where each sender's frames begin; last n.
        """
        first = edges[:-1]
        gap = np.empty(len(time), np.int64)
        np.subtract(time[1:], time[:-1], out=gap[1:])
        known = self._last.take(slot)
        quarter = self._quarter.take(message)
        gap[first] = np.where(known == _NEVER, quarter.take(first), time.take(first) - known)
        self._last[slot] = time.take(edges[1:] - 1)
        duplicate = ((gap < quarter) & (gap >= 0)).nonzero()[0]
        late = (gap >= self._late.take(message)).nonzero()[0]
        if not len(late):
            return Deviations(_NONE, _NO_CYCLES, _NONE, duplicate)
        which = message.take(late)
        paused = gap.take(late) > self._pause.take(which)
        pauses, late, which = late[paused], late[~paused], which[~paused]
        missed = (gap.take(late) + self._quarter.take(which)) // self._cycle.take(which) - 1
        return Deviations(late, missed, pauses, duplicate)

    def silent(self, message: NDArray[np.intp], bus: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which senders have been silent for a pause while their bus went on.

        Args:
            message: intp, shape (slots,), the message of each slot.
            bus: intp, shape (slots,), its bus.
        """
        last = self._last[: len(message)]
        heard = last != _NEVER
        newest = np.full(int(bus.max(initial=0)) + 1, _NEVER, np.int64)
        np.maximum.at(newest, bus, last)
        silent = np.zeros(len(message), bool)
        at = heard.nonzero()[0]
        silent[at] = newest[bus[at]] - last[at] > self._pause[message[at]]
        return silent
