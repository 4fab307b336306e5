"""The fixed prefix codes of the batch format.

A code gives each of 32 symbols a bit string: 0 to 30 stand for themselves, 31 (`ESCAPE`) says
that the value is larger and follows elsewhere.  The codes are constants of the format, so a
batch of a few hundred samples pays for no table.  Each is the best prefix code of at most 12
bits for one distribution of residuals; their scales grow by the square root of two:

* 0 to 6: normal, standard deviation 0.5 to 4, of whole numbers folded as 0, -1, 1, -2, 2, ...
* 7 to 13: two-sided geometric (Laplace), mean magnitude 0.5 to 4, folded in the same way
* 14 to 20: one-sided geometric, mean 0.5 to 4

The bit strings are canonical: shorter ones first, equal lengths in order of the symbol, counted
up from zero, most significant bit sent first (as in RFC 1951, 3.2.2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64, U64

ESCAPE = 31
"""The last symbol of every code: the value is this or larger."""

SYMBOLS = ESCAPE + 1

LONGEST = 12
"""Bits of the longest code word."""

LENGTHS: tuple[str, ...] = (
    "13255aaaaaaaaaaaaaaaaaaaa9999995",
    "1324599bbbbbbbbbbbbbbbbbbbbbbbb6",
    "1325476cccccccccccccccccccccccc9",
    "222345688aacccccccccccccccccccca",
    "2333344547788aacccccccccccccccc9",
    "33333444455667788a9cccccccccccc9",
    "33344444454556666778899aaccccccb",
    "132547788bbcccccccccccccccccccc9",
    "13255667788bacccccccccccccccccc9",
    "1334455667788aabacccccccccccccca",
    "23333445566779899babbcccccccccca",
    "233434455656677878899a9aabbcccca",
    "233444455556666777788889999aaaa8",
    "33344445555556666667677778888886",
    "12345689bcccccccccccccccccccccc8",
    "123456899bbcccccccccccccccccccc9",
    "12345688abbcccccccccccccccccccca",
    "123457788aabbccccccccccccccccccb",
    "223344556677899aabbcccccccccccc9",
    "22334455667888999aabbccccccccccb",
    "2333444555666777888999aaabbcccca",
)
"""Code word lengths in bits, one hexadecimal digit a symbol, one line a code."""

COUNT = len(LENGTHS)

LENGTH: NDArray[np.int64] = np.array([[int(digit, 16) for digit in line] for line in LENGTHS])
"""int64, shape (codes, 32): bits of each symbol's code word."""


def _build() -> tuple[U64, NDArray[np.uint8], NDArray[np.uint8]]:
    """Make the code words, last-sent bit highest, and what each 12-bit window begins with."""
    word = np.zeros(LENGTH.shape, np.uint64)
    symbol = np.zeros((COUNT, 1 << LONGEST), np.uint8)
    length = np.zeros((COUNT, 1 << LONGEST), np.uint8)
    for code in range(COUNT):
        value = before = 0
        for bits, index in sorted((int(n), i) for i, n in enumerate(LENGTH[code])):
            value <<= bits - before
            before = bits
            reversed_word = int(f"{value:0{bits}b}"[::-1], 2)
            word[code, index] = reversed_word
            symbol[code, reversed_word :: 1 << bits] = index
            length[code, reversed_word :: 1 << bits] = bits
            value += 1
    return word, symbol, length


WORD, _SYMBOL_OF, _LENGTH_OF = _build()

_NONE = np.zeros((1, SYMBOLS), np.uint32)

WORDS: NDArray[np.uint32] = np.append(WORD.astype(np.uint32), _NONE, axis=0)
"""uint32, shape (codes + 1, 32): the word of each symbol of each code, in the end no words.

So a column without code words need not be left out.
"""

WIDTHS: NDArray[np.uint32] = np.append(LENGTH.astype(np.uint32), _NONE, axis=0)
"""As `WORDS`, how long each is."""

_CODE = np.arange(COUNT) << LONGEST
_SYMBOL_OF, _LENGTH_OF = _SYMBOL_OF.ravel(), _LENGTH_OF.ravel()


class PrefixReader:
    """Reads runs of code words from a bit string, each run in one code.

    Where a code word starts is known only once the one before it is read.  So the reader looks
    at a window of the string, notes for every bit where the next code word would start if one
    started here, and follows these notes by doubling: from the notes for one step come those
    for 2, 4, ... 16 steps.  Only every 16th start is then walked to one by one.

    Args:
        data: The bit string.

    Attributes:
        bits: Its length.
    """

    _WINDOW = 1 << 15
    _DOUBLINGS = 4

    def __init__(self, data: bytes) -> None:
        self.bits = len(data) * 8
        self._data = np.frombuffer(data + bytes(8), np.uint8).astype(np.uint32)
        self._next = 0

    @property
    def left(self) -> int:
        """Whole bytes not yet touched."""
        return (self.bits - self._next) // 8

    def read(self, code: I64, count: I64, size: I64 | None = None) -> I64:
        """Read symbols, run after run.

        Args:
            code: int64, shape (runs,), the code of each run.
            count: int64, shape (runs,), its symbols, at least 1.
            size: int64, shape (runs,), its bits; None if there is one run of unknown size.

        Returns:
            int64, shape (sum of count,), 0 to 31.

        Raises:
            ValueError: The bit string ends before, or a run has another size.
        """
        begin, total = self._next, int(count.sum())
        ends = np.array([self.bits]) if size is None else np.cumsum(size) + begin
        if ends[-1] > self.bits or total > self.bits - begin:
            raise ValueError("the code words end too early")
        starts: list[I64] = []
        symbols: list[NDArray[np.uint8]] = []
        while total:
            at, found = self._window(_CODE[code], ends, total)
            starts.append(at)
            symbols.append(found)
            total -= len(found)
        if size is not None:
            first = np.concatenate([*starts, np.array([self._next])])[np.cumsum(count)]
            if (first != ends).any():
                raise ValueError("a run of code words has not the size it says")
        return np.concatenate(symbols).astype(np.int64)

    def _window(self, code: I64, ends: I64, count: int) -> tuple[I64, NDArray[np.uint8]]:
        size = min(count * LONGEST, self._WINDOW, int(ends[-1]) - self._next)
        if size <= 0:
            raise ValueError("the code words end too early")
        byte, skip = divmod(self._next, 8)
        taken = self._data[byte : byte + (skip + size + 7) // 8 + 2]
        pair = taken[:-2] | taken[1:-1] << 8 | taken[2:] << 16
        window = ((pair[:, None] >> np.arange(8, dtype=np.uint32)) & 0xFFF).ravel()
        inside = np.clip(ends - self._next, 0, size)
        run = inside.copy()
        run[1:] -= inside[:-1]
        look = window[skip : skip + size] + np.repeat(code, run)
        step = np.arange(size + 1, dtype=np.int32)
        step[:-1] += _LENGTH_OF[look]
        jumps = [np.minimum(step, size)]
        for _ in range(self._DOUBLINGS):
            jumps.append(jumps[-1][jumps[-1]])
        leap = jumps.pop().tolist()
        anchors: list[int] = []
        at = 0
        while at < size and len(anchors) << self._DOUBLINGS < count:
            anchors.append(at)
            at = leap[at]
        starts = np.array(anchors)
        for jump in reversed(jumps):
            starts = np.column_stack((starts, jump[starts])).ravel()
        starts = starts[starts < size][:count]
        begin, self._next = self._next, self._next + int(step[starts[-1]])
        if self._next > self.bits:
            raise ValueError("the code words end too early")
        return starts + begin, _SYMBOL_OF[look[starts]]
