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


class PrefixReader:
    """Reads runs of code words from a bit string, each run in one code.

    Where a code word starts is known only once the one before it is read.  So the reader looks
    at a window of the string, notes for every bit where the next code word would start if one
    started here, and follows these notes by doubling: from the notes for one step come those
    for 2, 4, ... 64 steps.  Only every 64th start is then walked to one by one.

    Args:
        data: The bit string.
    """

    _WINDOW = 1 << 15
    _DOUBLINGS = 6

    def __init__(self, data: bytes) -> None:
        self._bits = len(data) * 8
        self._data = np.frombuffer(data + bytes(8), np.uint8).astype(np.uint32)
        self._next = 0

    @property
    def left(self) -> int:
        """Whole bytes not yet touched."""
        return (self._bits - self._next) // 8

    def read(self, code: int, count: int) -> I64:
        """Read ``count`` symbols in one code.

        Returns:
            int64, shape (count,), 0 to 31.

        Raises:
            ValueError: The bit string ends before.
        """
        parts: list[NDArray[np.uint8]] = []
        while count:
            if count > self._bits - self._next:
                raise ValueError("the code words end too early")
            symbols = self._window(code, count)
            parts.append(symbols)
            count -= len(symbols)
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    def _window(self, code: int, count: int) -> NDArray[np.uint8]:
        size = min(count * 5 + 64, self._WINDOW, self._bits - self._next)
        byte, skip = divmod(self._next, 8)
        taken = self._data[byte : byte + (skip + size + 7) // 8 + 2]
        pair = taken[:-2] | taken[1:-1] << 8 | taken[2:] << 16
        window = ((pair[:, None] >> np.arange(8, dtype=np.uint32)) & 0xFFF).ravel()
        window = window[skip : skip + size]
        step = np.arange(size + 1, dtype=np.int32)
        step[:-1] += _LENGTH_OF[code][window]
        last = step[:-1]
        jumps = [np.minimum(step, size)]
        for _ in range(self._DOUBLINGS):
            jumps.append(jumps[-1][jumps[-1]])
        anchors: list[int] = []
        leap = jumps.pop()
        at = 0
        while at < size and len(anchors) << self._DOUBLINGS < count:
            anchors.append(at)
            at = int(leap[at])
        starts = np.array(anchors, np.int32)
        for jump in reversed(jumps):
            starts = np.column_stack((starts, jump[starts])).ravel()
        starts = starts[starts < size][:count]
        self._next += int(last[starts[-1]])
        if self._next > self._bits:
            raise ValueError("the code words end too early")
        symbols: NDArray[np.uint8] = _SYMBOL_OF[code][window[starts]]
        return symbols
