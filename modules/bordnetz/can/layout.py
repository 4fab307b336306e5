"""Where signals lie, and the reading of any number of them from any number of frames at once.

A frame's data is taken as 64-bit words, each in both byte orders.  In the word of its own byte
order every signal is one run of bits, so that a shift and a mask read it; signed ones get their
sign where there are any.  Signals of longer frames that cross from one word into the next are
joined first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.dbc import Field

_AT_ONCE = 1 << 15
"""Values read in one go: with their parameters they stay in the second-level cache."""


def words(data: NDArray[np.uint8], rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """The data of some frames as 64-bit words.

    Args:
        data: uint8, shape (n, 8 k), C-contiguous.
        rows: intp, shape (m,), which rows of ``data``, in which order.

    Returns:
        int64, shape (2 k, m): the words in little-endian, then in big-endian byte order.
    """
    little = data.view("<i8").take(rows, axis=0)
    return np.concatenate((little.T, little.byteswap().T))


class Layout:
    """The places of a list of fields, compiled for `read`."""

    def __init__(self, fields: Sequence[Field]) -> None:
        start = np.array([field.start for field in fields], np.int64)
        length = np.array([field.length for field in fields], np.int64)
        big = np.array([field.big_endian for field in fields], bool)
        signed = np.array([field.signed for field in fields], bool) & (length < 64)
        word, first = start // 64, start % 64
        crosses = first + length > 64
        below = np.where(big, 64 - first - length, first)
        below[crosses] = 0
        mask = np.full(len(fields), -1, np.int64)
        mask[length < 64] = (1 << length[length < 64]) - 1
        self._word = word
        self._plane: dict[int, NDArray[np.int64]] = {}
        self._shift = below
        self._mask = mask
        self._sign = np.where(signed, 1 << length - 1, 0)
        self._signed = bool(signed.any())
        self._crosses = crosses
        self._any_crosses = bool(crosses.any())
        self._first = first.astype(np.uint64)
        self._length = length.astype(np.uint64)
        self._big = big

    def read(
        self,
        planes: NDArray[np.int64],
        field: NDArray[np.intp],
        row: NDArray[np.int64],
        count: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Raw values of runs of frames: run i is ``count[i]`` frames from row ``row[i]`` on.

        Args:
            planes: int64, shape (2 k, m), from `words`.
            field: intp, shape (runs,), which field to read in each run.
            row: int64, shape (runs,).
            count: int64, shape (runs,), at least 1; None where each run is one frame.

        Returns:
            int64, shape (sum of count,), one run after the other.  Signed values with their
            sign, all others as their bits.
        """
        k, rows = len(planes) // 2, planes.shape[1]
        plane = self._plane.get(k)
        at = (self._planes(k) if plane is None else plane).take(field)
        at *= rows
        at += row
        crosses = k > 1 and self._any_crosses
        if count is None:
            values = planes.take(at)
            if crosses:
                self._join(planes, at, field, values)
            values >>= self._shift.take(field)
            values &= self._mask.take(field)
            if self._signed:
                sign = self._sign.take(field)
                values ^= sign
                values -= sign
            return values
        end = count.cumsum()
        total = int(end[-1]) if len(end) else 0
        at -= end
        at += count  # now: index of the run's first word in planes - index of its first value
        values = np.empty(total, np.int64)
        done = 0
        for runs in _portions(end, total):
            some, repeats = field[runs], count[runs]
            each = at[runs].repeat(repeats)
            stop = done + len(each)
            each += np.arange(done, stop)
            part = values[done:stop]
            planes.take(each, None, part, "clip")  # never clips; it spares numpy a copy
            if crosses:
                self._join(planes, each, some.repeat(repeats), part)
            part >>= self._shift.take(some).repeat(repeats)
            part &= self._mask.take(some).repeat(repeats)
            if self._signed:
                sign = self._sign.take(some).repeat(repeats)
                part ^= sign
                part -= sign
            done = stop
        return values

    def _planes(self, k: int) -> NDArray[np.int64]:
        """The plane, that is row of `words`, of each field in frames of ``k`` words.

        What lies beyond their last word is never read there.
        """
        self._plane[k] = self._big * k + np.minimum(self._word, k - 1)
        return self._plane[k]

    def _join(
        self,
        planes: NDArray[np.int64],
        at: NDArray[np.int64],
        field: NDArray[np.intp],
        values: NDArray[np.int64],
    ) -> None:
        """Move signals that cross into the next word into one, down to its lowest bit.

        Args:
            planes: As in `read`.
            at: int64, shape (n,), index in all of ``planes``.
            field: intp, shape (n,).
            values: int64, shape (n,), the words there; corrected.
        """
        crossing = self._crosses.take(field).nonzero()[0]
        at, field = at.take(crossing) + planes.shape[1], field.take(crossing)
        word = values.take(crossing).view(np.uint64)
        following = planes.take(at).view(np.uint64)
        first = self._first.take(field)
        rest = np.uint64(64) - first
        values[crossing] = np.where(
            self._big.take(field),
            (word << first | following >> rest) >> np.uint64(64) - self._length.take(field),
            word >> first | following << rest,
        ).view(np.int64)


def _portions(end: NDArray[np.int64], total: int) -> list[slice]:
    """Slices of runs with about `_AT_ONCE` values each."""
    if total <= _AT_ONCE:
        return [slice(0, len(end))]
    cuts = end.searchsorted(np.arange(_AT_ONCE, total, _AT_ONCE)) + 1
    edges = sorted({0, *cuts.tolist(), len(end)})
    return [slice(a, b) for a, b in pairwise(edges)]
