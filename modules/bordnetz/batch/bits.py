"""Bit fields of any width in one pass: the ground the column codec stands on.

A bit string fills each byte from its least significant bit, fields from their least
significant bit, without gaps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


def pack(values: U64, widths: I64) -> bytes:
    """Write fields one behind the other.

    Args:
        values: uint64, shape (n,); bits above the field's width must be zero.
        widths: int64, shape (n,), 0 to 64.

    Returns:
        The bit string, filled up to a whole byte with zeros.
    """
    if not len(values):
        return b""
    widest = int(widths.max())
    while len(values) > 1 and widest <= 32:
        # Neighbours that fit one word become one field: the work below is for each field.
        if len(values) % 2:
            values, widths = np.append(values, np.uint64(0)), np.append(widths, 0)
        values = values[::2] | values[1::2] << widths[::2].astype(np.uint64)
        widths = widths[::2] + widths[1::2]
        widest *= 2
    ends = np.cumsum(widths)
    bits = int(ends[-1])
    starts = ends - widths
    word = starts >> 6
    shift = (starts & 63).astype(np.uint64)
    first = np.flatnonzero(word[1:] != word[:-1]) + 1
    first = np.concatenate((np.zeros(1, np.int64), first))
    out = np.zeros((bits >> 6) + 2, np.uint64)
    out[word[first]] = np.bitwise_or.reduceat(values << shift, first)
    # Only the last field that starts in a word can reach into the next; numpy shifts by 64 to 0.
    last = np.append(first[1:], len(values)) - 1
    out[word[last] + 1] |= values[last] >> (np.uint64(64) - shift[last])
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


def bit_lengths(values: U64) -> I64:
    """Bits that each value needs: 0 for 0, 64 from 2**63 on; int64, shape as ``values``."""
    # frexp is exact below 2**53; halving the width keeps every value there.
    if not (values >> np.uint64(53)).any():
        return np.frexp(values.astype(np.float64))[1].astype(np.int64)
    high = values >> np.uint64(32)
    upper = high > 0
    part = np.where(upper, high, values).astype(np.float64)
    exponent = np.frexp(part)[1].astype(np.int64)
    return np.where(upper, exponent + 32, exponent)


def places(starts: I64, lengths: I64) -> I64:
    """The indices of many ranges, one behind the other."""
    begin = np.cumsum(lengths) - lengths
    at: I64 = np.arange(int(lengths.sum())) + np.repeat(starts - begin, lengths)
    return at
