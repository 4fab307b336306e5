"""Which message a frame carries, for all frames of a block at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.frames import Frames
from bordnetz.can.j1939 import Match
from bordnetz.series import EXTENDED

# As numpy scalars, which numpy compares faster than Python's numbers.
_STANDARD = np.uint32(2048)
"""The number of 11-bit ids."""
_EXTENDED = np.uint32(EXTENDED)


class Index:
    """From a frame's bus and arbitration id to a number.

    What no message claims is found as the index of its bus.  11-bit ids are looked up in a
    dense table; 29-bit ids by bisection, the whole id first, then what J1939 takes of it.
    """

    def __init__(self, buses: int, entries: Iterable[tuple[int, int, Match, int]]) -> None:
        """Compile the index.

        Args:
            buses: How many there are.
            entries: Index of the bus, id (`EXTENDED` set for 29 bits), what of the id is to be
                matched, and the number to be found, not below ``buses``.
        """
        # One place more than ids, which all 29-bit ids share.
        size = int(_STANDARD) + 1
        self._standard = np.arange(buses).repeat(size)
        self._start = np.arange(buses) * size
        numbers: dict[Match, dict[int, int]] = {match: {} for match in Match}
        for bus, frame_id, match, number in entries:
            if not frame_id & EXTENDED:
                self._standard[self._start[bus] + frame_id] = number
            else:
                key = match.key(np.array([frame_id], np.uint32))[0]
                numbers[match][bus << 32 | int(key)] = number
        self._exact = _Sorted(numbers[Match.ID])
        self._masked = [
            (match, _Sorted(numbers[match]))
            for match in (Match.ADDRESSES, Match.PGN)
            if numbers[match]
        ]

    def find(self, frames: Frames) -> NDArray[np.intp]:
        """The number of each frame, intp, shape (n,)."""
        place = self._start.take(frames.bus)
        place += np.minimum(frames.id, _STANDARD)
        found = self._standard.take(place)
        extended = (frames.id >= _EXTENDED).nonzero()[0]
        if len(extended):
            ids = frames.id.take(extended)
            none = found.take(extended)
            bus = none << 32
            numbers = self._exact.find(bus | ids)
            for match, known in self._masked:
                rest = (numbers == 0).nonzero()[0]
                numbers[rest] = known.find(bus.take(rest) | match.key(ids.take(rest)))
            found[extended] = np.where(numbers, numbers, none)
        return found


class _Sorted:
    """Keys to numbers, 0 for a key that is not there."""

    def __init__(self, numbers: dict[int, int]) -> None:
        # Above every key stands a guard, so that bisection always ends on an entry.
        keys = [*sorted(numbers), np.iinfo(np.int64).max]
        self._keys = np.array(keys, np.int64)
        self._numbers = np.array([numbers.get(key, 0) for key in keys], np.intp)

    def find(self, keys: NDArray[np.int64]) -> NDArray[np.intp]:
        place = self._keys.searchsorted(keys)
        return np.where(self._keys.take(place) == keys, self._numbers.take(place), 0)
