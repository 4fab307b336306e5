"""How each column's residuals are coded: chosen by cost, for all columns at once.

Columns of few residuals other than zero are sparse: laid end to end, they become two columns
for each `POOLS`, the gaps between what is not zero and how much that is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch import codes
from bordnetz.batch.bits import I64, U64, bit_lengths, places
from bordnetz.batch.streams import Sink, Source

PLAIN = codes.COUNT
"""Coding: ``shift`` plain bits a residual."""

POOLS = 4
"""Sparse columns are gathered by how sparse they are, in pools 1 to so many."""

_EDGES = np.array((1 / 256, 1 / 64, 1 / 16, 1 / 5))
"""Shares of what is not zero that pools take at most, from the last pool to the first."""

_POOL_BITS, _CODING_BITS, _SHIFT_BITS = 3, 5, 7

_ESCAPED = 9
"""About the bits of an escaped residual besides its code word."""

_SHARE = 0.15
"""Shifts make the mean of a column 0.5 to 1 times the inverse of this, or leave it smaller."""

_BLOCK = 256
"""Columns of which costs are taken in one product."""

_COST = codes.LENGTH.T.astype(np.float32)
_COST[codes.ESCAPE] += _ESCAPED


def encode_residuals(sink: Sink, folded: NDArray[Any], rows: I64) -> None:
    """Choose codings and write residuals.

    Args:
        sink: Written to.
        folded: uint32 or uint64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.
    """
    starts = rows.cumsum() - rows
    full = (folded != 0).nonzero()[0]
    first = full.searchsorted(starts)
    filled = np.append(first[1:], len(full)) - first
    # Where all is zero, the longest run of zeros becomes longer.
    pool = POOLS - _EDGES.searchsorted(filled / rows)
    sink.small(pool, _POOL_BITS)
    sparse = pool.nonzero()[0]
    if len(sparse):
        sparse = sparse[pool[sparse].argsort(kind="stable")]
        length, count = rows[sparse], filled[sparse]
        found = full[places(first[sparse], count)]
        at = found + (length.cumsum() - length - starts[sparse]).repeat(count)
        gaps = at.copy()
        gaps[1:] -= at[:-1] + 1
        entries = np.bincount(pool[sparse], count, POOLS + 1)[1:].astype(np.int64)
        sink.numbers(entries.view(np.uint64))
        entries = entries[entries > 0]
        dense = pool == 0
        folded = np.concatenate(
            (folded[dense.repeat(rows)], gaps.astype(folded.dtype), folded[found] - 1)
        )
        rows = np.concatenate((rows[dense], entries, entries))
    if len(rows):
        _encode_dense(sink, folded, rows)


def _encode_dense(sink: Sink, folded: NDArray[Any], rows: I64) -> None:
    coding, shift, symbol, sizes = _choose(folded, rows)
    sink.small(coding, _CODING_BITS)
    sink.small(shift, _SHIFT_BITS)
    coded = coding < PLAIN
    used = np.bincount(coding[coded], sizes[coded], PLAIN).astype(np.uint64)
    sink.numbers(used[used > 0])
    shifts = shift.astype(np.uint8).repeat(rows)
    low = shifts > 0
    sink.low(folded[low], shifts[low])
    entry = (coding * codes.SYMBOLS).astype(np.int16).repeat(rows)
    entry += symbol
    starts = rows.cumsum() - rows
    order = coding.argsort(kind="stable")[: int(np.count_nonzero(coded))]
    at = places(starts[order], rows[order])
    sink.words(entry[at])
    escaped = (symbol == codes.ESCAPE).nonzero()[0]
    escaped = escaped[entry[escaped] < PLAIN * codes.SYMBOLS]
    more = folded[escaped].astype(np.uint64) >> shifts[escaped].astype(np.uint64)
    sink.numbers(more - np.uint64(codes.ESCAPE))


def _choose(folded: NDArray[Any], rows: I64) -> tuple[I64, I64, I64, I64]:
    """Choose each column's coding and shift by the exact cost.

    Returns:
        Coding and shift of the columns, the symbols of the residuals, and the bits of all code
        words of each column.
    """
    columns = np.arange(len(rows))
    starts = rows.cumsum() - rows
    mean = np.add.reduceat(folded, starts, dtype=np.float64) / rows
    shift = np.maximum(np.frexp(mean * _SHARE)[1], 0).astype(np.int64)
    width = bit_lengths(np.maximum.reduceat(folded, starts))
    high = folded >> shift.astype(folded.dtype).repeat(rows)
    symbol = np.minimum(high, codes.ESCAPE).astype(np.uint8)
    cell = (columns * codes.SYMBOLS).repeat(rows)
    cell += symbol
    # In one product for all, BLAS would start threads, which cost more than they save.
    block = min(len(rows), _BLOCK)
    padded = -(-len(rows) // block) * block
    often = np.bincount(cell, minlength=padded * codes.SYMBOLS).reshape(padded, codes.SYMBOLS)
    cost = often.astype(np.float32).reshape(-1, block, codes.SYMBOLS) @ _COST
    cost = cost.reshape(padded, codes.COUNT)[: len(rows)]
    coding = cost.argmin(axis=1)
    least = cost[columns, coding]
    sizes = np.einsum("cs,cs->c", often[: len(rows)], codes.LENGTH[coding])
    plain = (width - shift) * rows <= least
    coding[plain] = PLAIN
    shift = np.where(plain, width, shift)
    return coding, shift, symbol, sizes


def decode_residuals(source: Source, rows: I64) -> U64:
    """The inverse of `encode_residuals`.

    Raises:
        ValueError: The source does not hold such residuals.
    """
    pool = source.small(len(rows), _POOL_BITS)
    if (pool > POOLS).any():
        raise ValueError(f"pool {int(pool.max())} is not known")
    sparse = np.flatnonzero(pool)
    if not len(sparse):
        return _decode_dense(source, rows)
    sparse = sparse[np.argsort(pool[sparse], kind="stable")]
    room = int(rows[sparse].sum())
    counts = source.numbers(POOLS)
    if counts.max() > room or counts.sum() > room:
        raise ValueError("the pools of sparse columns are fuller than they are long")
    entries = counts[counts > 0].astype(np.int64)
    total = int(entries.sum())
    dense = pool == 0
    coded = _decode_dense(source, np.concatenate((rows[dense], entries, entries)))
    here = len(coded) - 2 * total
    gaps = coded[here : here + total]
    if (gaps >= np.uint64(room)).any():
        raise ValueError("a run of zeros is longer than its columns")
    at = np.cumsum(gaps.astype(np.int64) + 1) - 1
    if len(at) and at[-1] >= room:
        raise ValueError("the runs of zeros are longer than their columns")
    laid = np.zeros(room, np.uint64)
    laid[at] = coded[here + total :] + np.uint64(1)
    starts = np.cumsum(rows) - rows
    folded = np.empty(int(rows.sum()), np.uint64)
    folded[places(starts[dense], rows[dense])] = coded[:here]
    folded[places(starts[sparse], rows[sparse])] = laid
    return folded


def _decode_dense(source: Source, rows: I64) -> U64:
    if not len(rows):
        return np.empty(0, np.uint64)
    coding = source.small(len(rows), _CODING_BITS)
    if (coding > PLAIN).any():
        raise ValueError(f"coding {int(coding.max())} is not known")
    shift = source.small(len(rows), _SHIFT_BITS)
    if (shift > 64).any():
        raise ValueError(f"a shift of {int(shift.max())} bits is more than a number has")
    lengths = np.bincount(coding, rows, PLAIN + 1)[:PLAIN].astype(np.int64)
    used = np.flatnonzero(lengths)
    sizes = source.numbers(len(used))
    shifts = np.repeat(shift, rows)
    value = np.zeros(len(shifts), np.uint64)
    low = shifts > 0
    value[low] = source.low(shifts[low])
    order = np.argsort(coding, kind="stable")[: int(np.count_nonzero(coding < PLAIN))]
    symbols = source.words(used, lengths[used], sizes)
    at = places((np.cumsum(rows) - rows)[order], rows[order])
    high = np.zeros(len(value), np.uint64)
    high[at] = symbols
    escaped = np.flatnonzero(high == codes.ESCAPE)
    high[escaped] += source.numbers(len(escaped))
    value |= high << shifts.astype(np.uint64)
    return value
