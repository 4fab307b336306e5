"""Bit fields of any width in one pass: the ground the column codec stands on.

A bit string fills each byte from its least significant bit, fields from their least
significant bit, without gaps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_SIX, _REST, _WORD = np.uint64(6), np.uint64(63), np.uint64(64)

_FEW = 512
"""Fields up to here are packed sooner than joined."""

_AT_ONCE = 1 << 16
"""Values that are moved at once, if there are many."""


def join(values: NDArray[Any], widths: NDArray[Any], most: int) -> tuple[U64, U64]:
    """Make one field of neighbours as long as they fit one, since `pack` works by the field.

    Args:
        values: uint32 or uint64, shape (n,); bits above the field's width must be zero.
        widths: As ``values``.
        most: No width is larger.

    Returns:
        Values and widths of fewer fields.
    """
    if len(values) > _FEW and most <= 32:
        times = (64 // most).bit_length() - 1
        if missing := -len(values) % (1 << times):
            none = np.zeros(missing, values.dtype)
            values, widths = np.concatenate((values, none)), np.concatenate((widths, none))
        for _ in range(times):
            if most > 16:
                values = values.astype(np.uint64, copy=False)
                widths = widths.astype(np.uint64, copy=False)
            values = values[::2] | values[1::2] << widths[::2]
            widths = widths[::2] + widths[1::2]
            most *= 2
    return values.astype(np.uint64, copy=False), widths.astype(np.uint64, copy=False)


def pack(values: U64, widths: U64) -> bytes:
    """Write fields one behind the other.

    Args:
        values: uint64, shape (n,); bits above the field's width must be zero.
        widths: uint64, shape (n,), 0 to 64.

    Returns:
        The bit string, filled up to a whole byte with zeros.
    """
    if not len(values):
        return b""
    starts = widths.cumsum()
    bits = int(starts[-1])
    starts -= widths
    word = starts >> _SIX
    starts &= _REST
    # The last field that starts in each word; no field is so long that there is none.
    new = np.empty(len(word), np.bool_)
    np.not_equal(word[1:], word[:-1], out=new[:-1])
    new[-1] = True
    last = new.nonzero()[0]
    # No two fields share a bit, so adding them up is as good, and sums need no loop over words.
    sums = (values << starts).cumsum()[last]
    out = np.zeros(len(last) + 1, np.uint64)
    out[:-1] = sums
    out[1:-1] -= sums[:-1]
    # Only the last one can reach into the next word; numpy shifts by 64 to 0.
    out[1:] |= values[last] >> (_WORD - starts[last])
    return out.astype("<u8", copy=False).tobytes()[: (bits + 7) >> 3]


def words(data: bytes) -> U64:
    """Make a bit string ready for `unpack`: 64-bit words, zeros behind the end."""
    return np.frombuffer(data + bytes(16 - len(data) % 8), "<u8").astype(np.uint64, copy=False)


def unpack(source: U64, starts: I64, widths: I64) -> U64:
    """Read fields.

    Args:
        source: From `words`.
        starts: int64, shape (n,), the fields' first bits; the fields must end within the string.
        widths: int64, shape (n,), 0 to 64.

    Returns:
        uint64, shape (n,).
    """
    word = np.minimum(starts >> 6, len(source) - 2)
    shift = (starts & 63).astype(np.uint64)
    value: U64 = (source[word] >> shift) | (source[word + 1] << (np.uint64(64) - shift))
    return value & ((np.uint64(1) << widths.astype(np.uint64)) - np.uint64(1))


def bit_lengths(values: NDArray[Any]) -> I64:
    """Bits that each value needs: 0 for 0, 64 from 2**63 on.

    Args:
        values: uint32 or uint64, shape (n,).

    Returns:
        int64, shape (n,).
    """
    # frexp is exact below 2**53; halving the width keeps every value there.
    if values.itemsize == 4 or not len(values) or not int(values.max()) >> 53:
        return np.frexp(values.astype(np.float64))[1].astype(np.int64)
    high = values >> np.uint64(32)
    upper = high > 0
    part = np.where(upper, high, values).astype(np.float64)
    exponent = np.frexp(part)[1].astype(np.int64)
    return np.where(upper, exponent + 32, exponent)


def places(starts: I64, lengths: I64) -> I64:
    """The indices of many ranges, one behind the other."""
    at: I64 = (starts - lengths.cumsum() + lengths).repeat(lengths)
    at += np.arange(len(at))
    return at


def gather(values: NDArray[Any], starts: I64, lengths: I64) -> NDArray[Any]:
    """The values of many ranges, one behind the other, with little memory besides."""
    total = int(lengths.sum())
    if total <= _AT_ONCE:
        return values.take(places(starts, lengths), mode="clip")
    gathered = np.empty(total, values.dtype)
    ends = lengths.cumsum()
    first = begin = 0
    while begin < total:
        last = max(int(ends.searchsorted(begin + _AT_ONCE, side="right")), first + 1)
        end = int(ends[last - 1])
        at = places(starts[first:last], lengths[first:last])
        values.take(at, out=gathered[begin:end], mode="clip")
        first, begin = last, end
    return gathered
