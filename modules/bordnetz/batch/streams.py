"""The two bit strings of a coded column set: code words, and plain bits.

Everything is written and read in one order, so no lengths are stored but that of the code words.
"""

from __future__ import annotations

import numpy as np

from bordnetz.batch import codes
from bordnetz.batch.bits import I64, U64, bit_lengths, pack, unpack, words

_LIST_BITS = 5
"""A list of small numbers begins with its coding: a code, or plain bits of a width 0 to 8."""

_FLAT_WORD = codes.WORD.ravel()
_FLAT_LENGTH = codes.LENGTH.ravel()


class Sink:
    """Gathers code words and plain bits; `Source` reads them in the same order."""

    def __init__(self) -> None:
        self._words: list[tuple[U64, I64]] = []
        self._plain: list[tuple[U64, I64]] = []

    def small(self, numbers: I64) -> None:
        """Write a list of numbers below 256, most of them small."""
        if not len(numbers):
            return
        often = np.bincount(numbers, minlength=codes.ESCAPE + 1)
        width = int(numbers.max()).bit_length()
        coding = codes.COUNT + width
        if not often[codes.ESCAPE :].any():
            bits = codes.LENGTH @ often[: codes.ESCAPE + 1]
            code = int(bits.argmin())
            if bits[code] < width * len(numbers):
                coding = code
        self._plain.append((np.array([coding], np.uint64), np.array([_LIST_BITS])))
        if coding < codes.COUNT:
            self._words.append((codes.WORD[coding, numbers], codes.LENGTH[coding, numbers]))
        else:
            self._plain.append((numbers.view(np.uint64), np.full(len(numbers), width)))

    def numbers(self, numbers: U64) -> None:
        """Write a list of numbers of any size: the bits of each, then all but the highest."""
        lengths = bit_lengths(numbers)
        self.small(lengths)
        self._low(numbers, np.maximum(lengths - 1, 0))

    def coded(self, values: U64, shift: I64, coding: I64) -> None:
        """Write residuals.

        Args:
            values: uint64, shape (n,).
            shift: int64, shape (n,), how many low bits of each are plain.
            coding: int64, shape (m,), m <= n, the code of the first m values' other bits.
        """
        self._low(values, shift)
        high = values[: len(coding)] >> shift[: len(coding)].astype(np.uint64)
        symbol = np.minimum(high, np.uint64(codes.ESCAPE)).view(np.int64)
        cell = coding * (codes.ESCAPE + 1) + symbol
        self._words.append((_FLAT_WORD[cell], _FLAT_LENGTH[cell]))
        self.numbers(high[symbol == codes.ESCAPE] - np.uint64(codes.ESCAPE))

    def bytes(self) -> bytes:
        """All of it: the size of the code words, they themselves, the plain bits."""
        prefix, plain = (
            pack(*(np.concatenate(part) for part in zip(*fields, strict=True))) if fields else b""
            for fields in (self._words, self._plain)
        )
        size = len(prefix)
        head = bytearray()
        while size > 0x7F:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        head.append(size)
        return bytes(head) + prefix + plain

    def _low(self, values: U64, widths: I64) -> None:
        mask = (np.uint64(1) << widths.astype(np.uint64)) - np.uint64(1)
        self._plain.append((values & mask, widths))


class Source:
    """Reads what `Sink` wrote.

    Args:
        data: Untrusted.

    Raises:
        ValueError: As all methods, where the bytes cannot be what a `Sink` wrote.
    """

    def __init__(self, data: bytes) -> None:
        size = at = 0
        while True:
            if at == len(data) or at > 4:
                raise ValueError("the size of the code words is not readable")
            size |= (data[at] & 0x7F) << (7 * at)
            at += 1
            if data[at - 1] < 0x80:
                break
        if size > len(data) - at:
            raise ValueError("the code words end too early")
        self._prefix = codes.PrefixReader(data[at : at + size])
        self._plain = words(data[at + size :])
        self._bits = (len(data) - at - size) * 8
        self._next = 0

    def small(self, count: int) -> I64:
        """Read a list of ``count`` numbers below 256."""
        if not count:
            return np.empty(0, np.int64)
        coding = int(self._fields(np.array([_LIST_BITS]))[0])
        if coding < codes.COUNT:
            return self._prefix.read(coding, count)
        width = coding - codes.COUNT
        if width > 8:
            raise ValueError(f"coding {coding} is not known for a list")
        return self._fields(np.full(count, width)).view(np.int64)

    def numbers(self, count: int) -> U64:
        """Read a list of ``count`` numbers of any size."""
        lengths = self.small(count)
        if (lengths > 64).any():
            raise ValueError(f"a number of {int(lengths.max())} bits is too long")
        rest = np.maximum(lengths - 1, 0)
        top = (lengths > 0).astype(np.uint64) << rest.astype(np.uint64)
        return self._fields(rest) | top

    def coded(self, shift: I64, coding: I64, length: I64) -> U64:
        """Read residuals, column after column.

        Args:
            shift: int64, shape (columns,).
            coding: int64, shape (m,), m <= columns, ascending.
            length: int64, shape (columns,), residuals of each.
        """
        shifts = np.repeat(shift, length)
        value = np.zeros(len(shifts), np.uint64)
        some = shifts > 0
        low = self._fields(shifts[some])
        runs = [
            self._prefix.read(code, int(length[: len(coding)][coding == code].sum()))
            for code in np.unique(coding).tolist()
        ]
        high = np.concatenate(runs).view(np.uint64) if runs else np.empty(0, np.uint64)
        escaped = high == codes.ESCAPE
        high[escaped] += self.numbers(int(np.count_nonzero(escaped)))
        value[: len(high)] = high << shifts[: len(high)].astype(np.uint64)
        value[some] |= low
        return value

    def end(self) -> None:
        """Make sure that nothing is left over."""
        if self._prefix.left or (self._bits - self._next) >= 8:
            raise ValueError("there are more bytes than values")

    def _fields(self, widths: I64) -> U64:
        ends = np.cumsum(widths) + self._next
        end = int(ends[-1]) if len(ends) else self._next
        if end > self._bits:
            raise ValueError("the plain bits end too early")
        fields = unpack(self._plain, ends - widths, widths)
        self._next = end
        return fields
