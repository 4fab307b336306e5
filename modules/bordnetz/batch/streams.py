"""The two bit strings of a coded column set: code words, and plain bits.

Everything is written and read in one order, so no lengths are stored but that of the code words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch import codes
from bordnetz.batch.bits import I64, U64, bit_lengths, join, pack, unpack, words

_FEW = 64
"""Lists up to here are written in fields of the width that any number may need."""

_LIST_BITS = 5
"""Longer ones begin with their coding: a code, or fields of a width 0 to 8."""

_ONE = np.uint64(1)

LENGTH_BITS = 7
"""Bits that the bit length of a number may need."""

_NOTHING = np.zeros(1, np.uint64)
_NO_WORDS = np.empty(0, np.uint32)

_MASKS: dict[int, NDArray[Any]] = {
    4: np.array([(1 << width) - 1 for width in range(33)], np.uint32),
    8: np.array([(1 << width) - 1 for width in range(65)], np.uint64),
}
"""The lowest bits of each width, by the bytes that values have."""

_WIDTHS = [np.full(_FEW, width, np.uint64) for width in range(LENGTH_BITS + 1)]


class Sink:
    """Gathers code words and plain bits; `Source` reads them in the same order."""

    def __init__(self) -> None:
        self._words: list[NDArray[np.uint32]] = []
        self._lengths: list[NDArray[np.uint32]] = []
        self._bits = 0
        self._plain: list[U64] = []
        self._widths: list[U64] = []
        self._later: list[tuple[int, U64]] = []

    def small(self, numbers: I64, most: int) -> None:
        """Write a list of small numbers, of at most ``most`` bits."""
        count = len(numbers)
        if count <= _FEW:
            self._plain.append(numbers.view(np.uint64))
            self._widths.append(_WIDTHS[most][:count])
            return
        often = np.bincount(numbers, minlength=codes.SYMBOLS)
        width = (len(often) - 1 if len(often) > codes.SYMBOLS else int(numbers.max())).bit_length()
        coding = codes.COUNT + width
        if len(often) == codes.SYMBOLS and not often[codes.ESCAPE]:
            bits = codes.LENGTH @ often
            code = int(bits.argmin())
            if bits[code] < width * count:
                coding = code
        self._plain.append(np.array([coding], np.uint64))
        self._widths.append(np.array([_LIST_BITS], np.uint64))
        if coding < codes.COUNT:
            self.words(numbers, codes.WORDS[coding], codes.WIDTHS[coding], int(bits[coding]))
        else:
            self._plain.append(numbers.view(np.uint64))
            self._widths.append(np.full(count, width, np.uint64))

    def numbers(self, numbers: U64) -> None:
        """Write a list of numbers of any size: the bits of each, then all but the highest."""
        if not len(numbers):
            return
        if len(numbers) <= _FEW:
            # All short lists are written together in the end: it takes as long as one of them.
            self._later.append((len(self._plain), numbers))
            self._plain += [numbers, numbers]
            self._widths += [numbers, numbers]
            return
        lengths, rest, widths = _parts(numbers)
        self.small(lengths.view(np.int64), LENGTH_BITS)
        self._plain.append(rest)
        self._widths.append(widths)

    def _fill_in(self) -> None:
        """Write the short lists of numbers."""
        if not self._later:
            return
        lengths, rest, widths = _parts(np.concatenate([numbers for _, numbers in self._later]))
        begin = 0
        for at, numbers in self._later:
            end = begin + len(numbers)
            self._plain[at] = lengths[begin:end]
            self._plain[at + 1] = rest[begin:end]
            self._widths[at] = _WIDTHS[LENGTH_BITS][: end - begin]
            self._widths[at + 1] = widths[begin:end]
            begin = end
        self._later.clear()

    def low(self, values: NDArray[Any], widths: NDArray[Any], most: int) -> None:
        """Write the lowest bits of each value, plain.

        Args:
            values: uint32 or uint64, shape (n,).
            widths: As ``values``.
            most: The largest width.
        """
        if most:
            values, fields = join(
                values & _MASKS[values.itemsize].take(widths, mode="clip"), widths, most
            )
            self._plain.append(values)
            self._widths.append(fields)

    def words(
        self, cells: I64, table: NDArray[np.uint32], width: NDArray[np.uint32], bits: int
    ) -> None:
        """Write code words.

        Args:
            cells: int64, shape (n,), where in the tables they are, as if these were flat.
            table: Words of codes, of any shape.
            width: As ``table``, how long they are.
            bits: How many they have together.
        """
        self._words.append(table.take(cells, mode="clip"))
        self._lengths.append(width.take(cells, mode="clip"))
        self._bits += bits

    def bytes(self) -> bytes:
        """All of it: the size of the code words, they themselves, the plain bits."""
        self._fill_in()
        size = (self._bits + 7) >> 3
        fill = 8 * size - self._bits
        words, widths = join(_joined(self._words), _joined(self._lengths), codes.LONGEST)
        packed = pack(
            np.concatenate((words, _NOTHING, *self._plain)),
            np.concatenate((widths, _WIDTHS[fill][:1], *self._widths)),
        )
        head = bytearray()
        while size > 0x7F:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        head.append(size)
        return bytes(head) + packed


def _joined(words: list[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    return words[0] if len(words) == 1 else np.concatenate((_NO_WORDS, *words))


def _parts(numbers: U64) -> tuple[U64, U64, U64]:
    """The bits that each number has, what is below the highest, and how many bits that takes."""
    lengths = bit_lengths(numbers).view(np.uint64)
    widths = lengths - np.minimum(lengths, _ONE)
    # The highest bit is the only one above; numpy shifts by 64 to zero.
    return lengths, numbers ^ (np.minimum(numbers, _ONE) << widths), widths


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

    def small(self, count: int, most: int) -> I64:
        """Read a list of ``count`` small numbers, of at most ``most`` bits."""
        if count <= _FEW:
            return self._fields(np.full(count, most)).view(np.int64)
        coding = int(self._fields(np.array([_LIST_BITS]))[0])
        if coding < codes.COUNT:
            return self._prefix.read(np.array([coding]), np.array([count]))
        width = coding - codes.COUNT
        if width > 8:
            raise ValueError(f"coding {coding} is not known for a list")
        return self._fields(np.full(count, width)).view(np.int64)

    def numbers(self, count: int) -> U64:
        """Read a list of ``count`` numbers of any size."""
        lengths = self.small(count, LENGTH_BITS)
        if not count:
            return lengths.view(np.uint64)
        if (lengths > 64).any():
            raise ValueError(f"a number of {int(lengths.max())} bits is too long")
        rest = np.maximum(lengths - 1, 0)
        top = (lengths > 0).astype(np.uint64) << rest.astype(np.uint64)
        return self._fields(rest) | top

    def low(self, widths: I64) -> U64:
        """Read plain fields."""
        return self._fields(widths)

    def words(self, code: I64, count: I64, size: U64) -> U64:
        """Read code words, code after code.

        Args:
            code: int64, shape (runs,).
            count: int64, shape (runs,), words of each code, at least 1.
            size: uint64, shape (runs,), bits of these.

        Returns:
            uint64, shape (sum of count,).
        """
        if not len(code):
            return np.empty(0, np.uint64)
        if size.max() > self._prefix.bits:
            raise ValueError("the code words end too early")
        return self._prefix.read(code, count, size.astype(np.int64)).view(np.uint64)

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
