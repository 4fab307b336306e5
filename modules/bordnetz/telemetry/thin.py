"""Thins matched frames to the shortest interval that the configuration allows a group."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.slots import Slots
from bordnetz.series import Group


class Thinner:
    """Keeps, of each series, frames that are at least its group's interval apart.

    The clock of the frames may step.  A step back ends the interval, so that a corrected clock
    never silences a signal for as long as the step was; a step forward ends it as any gap does.

    Args:
        groups: The decode table's groups.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self._interval = np.array([group.interval for group in groups], np.int64)
        self._slots = Slots()
        # By slot: reception of the last frame, and the time from the last kept frame to it; a
        # series that was never kept has waited for ever.
        self._last = np.empty(0, np.int64)
        self._waited = np.empty(0, np.int64)

    def keep(
        self,
        group: NDArray[np.integer],
        arbitration_id: NDArray[np.uint32],
        time: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Which of these frames are kept.

        Args:
            group: integer, shape (n,), ascending: frames of one group and arbitration id stand
                together in order of arrival.
            arbitration_id: uint32, shape (n,).
            time: int64, shape (n,), reception in ns.

        Returns:
            bool, shape (n,).
        """
        kept = np.ones(len(group), bool)
        limited = np.flatnonzero(self._interval[group])
        if len(limited):
            kept[limited] = self._thin(group[limited], arbitration_id[limited], time[limited])
        return kept

    def _thin(
        self,
        group: NDArray[np.integer],
        arbitration_id: NDArray[np.uint32],
        time: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        n = len(group)
        first = np.ones(n, bool)
        first[1:] = (group[1:] != group[:-1]) | (arbitration_id[1:] != arbitration_id[:-1])
        starts = np.flatnonzero(first)
        ends = np.append(starts[1:], n)
        slot = self._slots.of(group[starts], arbitration_id[starts])
        self._grow(len(self._slots))
        interval = self._interval[group]

        # What each frame adds to its series' wait since the last kept one: at most an interval,
        # and a whole one where the clock stepped back.
        gap = np.empty(n, np.int64)
        gap[1:] = time[1:] - time[:-1]
        gap[starts] = time[starts] - self._last[slot]
        gap = np.where(gap < 0, interval, np.minimum(gap, interval))
        gap[starts] = np.minimum(gap[starts] + self._waited[slot], interval[starts])

        # All series one after the other on one ascending axis, each beginning at its last kept
        # frame, so that one search finds for every frame the next that may be kept; n is "none".
        axis = np.cumsum(gap)
        origin = axis[starts] - gap[starts]
        opening = np.searchsorted(axis, origin + interval[starts])
        following = np.searchsorted(axis, axis + interval)
        opening = np.where(opening < ends, opening, n)
        following = np.where(following < np.repeat(ends, ends - starts), following, n)

        kept = _reachable(opening, np.append(following, n))
        last_kept = np.maximum.reduceat(np.where(kept, np.arange(n), -1), starts)
        since = np.where(last_kept < 0, origin, axis[last_kept])
        self._waited[slot] = np.minimum(axis[ends - 1] - since, interval[starts])
        self._last[slot] = time[ends - 1]
        return kept

    def _grow(self, size: int) -> None:
        missing = size - len(self._last)
        if missing > 0:
            forever = self._interval.max(initial=0)
            self._last = np.append(self._last, np.zeros(missing, np.int64))
            self._waited = np.append(self._waited, np.full(missing, forever, np.int64))


def _reachable(opening: NDArray[np.int64], following: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows on the chains that start at ``opening`` and go on by ``following``; the last is "none".

    Each pass doubles the length of the chains marked so far, so that their number grows with the
    logarithm of the rows.
    """
    none = len(following) - 1
    marked = np.zeros(len(following), bool)
    marked[opening] = True
    while True:
        marked[following[marked]] = True
        if (following == none).all():
            return marked[:none]
        following = following[following]
