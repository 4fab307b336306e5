"""Where signals lie, and the reading of any number of them from any number of frames at once.

A frame's data is taken as 64-bit words, each in both byte orders.  In the word of its own byte
order every signal is one run of bits, so that two shifts and a mask read it: the left shift
drops what stands above, the arithmetic right shift what stands below and spreads the sign, the
mask takes the sign away from unsigned ones.  Signals of CAN FD that cross from one word into the
next are joined first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.dbc import Field
from bordnetz.can.frames import CLASSIC_BYTES, FD_BYTES

_AT_ONCE = 1 << 15
"""Values read in one go: with their parameters they stay in the second-level cache."""


def words(data: NDArray[np.uint8], rows: NDArray[np.intp]) -> NDArray[np.uint64]:
    """The data of some frames as 64-bit words.

    Args:
        data: uint8, shape (n, 8 k), C-contiguous.
        rows: intp, shape (m,), which rows of ``data``, in which order.

    Returns:
        uint64, shape (2 k, m): the words in little-endian, then in big-endian byte order.
    """
    little = data.view("<u8").take(rows, axis=0)
    return np.concatenate((little.T, little.byteswap().T))


class Layout:
    """The places of a list of fields, compiled for `read`."""

    def __init__(self, fields: Sequence[Field]) -> None:
        start = np.array([field.start for field in fields], np.int64)
        length = np.array([field.length for field in fields], np.int64)
        big = np.array([field.big_endian for field in fields], bool)
        unsigned = np.array([not field.signed for field in fields], bool) & (length < 64)
        word, first = start // 64, start % 64
        crosses = first + length > 64
        above = np.where(big, first, 64 - first - length)
        above[crosses] = np.where(big, 0, 64 - length)[crosses]
        mask = np.full(len(fields), -1, np.int64)
        mask[unsigned] = (1 << length[unsigned]) - 1
        # By words a frame: plane (row of `words`), left shift, right shift, mask.  What lies
        # beyond the first word of a classic frame is never read there.
        self._places = {
            k: np.stack([big * k + np.minimum(word, k - 1), above, 64 - length, mask], axis=1)
            for k in (CLASSIC_BYTES // 8, FD_BYTES // 8)
        }
        self._crosses = crosses
        self._any_crosses = bool(crosses.any())
        self._first = first.astype(np.uint64)
        self._big = big

    def read(
        self,
        planes: NDArray[np.uint64],
        field: NDArray[np.intp],
        row: NDArray[np.int64],
        count: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Raw values of runs of frames: run i is ``count[i]`` frames from row ``row[i]`` on.

        Args:
            planes: uint64, shape (2 k, m), from `words`.
            field: intp, shape (runs,), which field to read in each run.
            row: int64, shape (runs,).
            count: int64, shape (runs,), at least 1.

        Returns:
            int64, shape (sum of count,), one run after the other.  Signed values with their
            sign, all others as their bits.
        """
        k, rows = len(planes) // 2, planes.shape[1]
        flat = planes.ravel()
        end = count.cumsum()
        total = int(end[-1]) if len(end) else 0
        place = self._places[k].take(field, axis=0)
        begin = place[:, 0]
        begin *= rows
        begin += row
        begin -= end
        begin += count  # now: index of the run's first word in flat - index of its first value
        crosses = self._crosses[field] if k > 1 and self._any_crosses else None
        values = np.empty(total, np.int64)
        done = 0
        for runs in _portions(end, total):
            stop = int(end[runs][-1])
            at, left, right, mask = place[runs].repeat(count[runs], axis=0).T
            at = at + np.arange(done, stop)
            part = values[done:stop]
            bits = part.view(np.uint64)
            flat.take(at, out=bits, mode="clip")  # never clips; it spares numpy a copy
            if crosses is not None and crosses[runs].any():
                crossing = np.flatnonzero(np.repeat(crosses[runs], count[runs]))
                which = np.repeat(field[runs], count[runs])[crossing]
                bits[crossing] = self._join(bits[crossing], flat.take(at[crossing] + rows), which)
            bits <<= left.view(np.uint64)
            part >>= right
            part &= mask
            done = stop
        return values

    def _join(
        self, word: NDArray[np.uint64], following: NDArray[np.uint64], field: NDArray[np.intp]
    ) -> NDArray[np.uint64]:
        """Signals that cross into the next word, moved into one, where ``left`` expects them."""
        first = self._first[field]
        rest = np.uint64(64) - first
        return np.where(
            self._big[field],
            word << first | following >> rest,
            word >> first | following << rest,
        )


def _portions(end: NDArray[np.int64], total: int) -> list[slice]:
    """Slices of runs with about `_AT_ONCE` values each."""
    if total <= _AT_ONCE:
        return [slice(0, len(end))] if total else []
    cuts = np.searchsorted(end, np.arange(_AT_ONCE, total, _AT_ONCE)) + 1
    edges = np.unique(np.concatenate(([0], cuts, [len(end)]))).tolist()
    return [slice(a, b) for a, b in pairwise(edges)]
