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

F32 = NDArray[np.float32]

PLAIN = codes.COUNT
"""Coding: ``shift`` plain bits a residual."""

POOLS = 4
"""Sparse columns are gathered by how sparse they are, in pools 1 to so many."""

_EDGES = np.array((1 / 256, 1 / 64, 1 / 16, 1 / 5))
"""Shares of what is not zero that pools take at most, from the last pool to the first."""

_WORTH_POOLS = 64
"""Residuals of a batch from which pools may pay for their own columns."""

_POOL_BITS, _CODING_BITS, _SHIFT_BITS = 3, 5, 7

_ESCAPED = np.float32(9)
"""About the bits of an escaped residual besides its code word."""

_SHARE = 0.15
"""Shifts make the mean of a column 0.5 to 1 times the inverse of this, or leave it smaller."""

_BLOCK = 256
"""Columns of which costs are taken in one product."""

_COST = codes.LENGTH.T.astype(np.float32)
_COST[codes.ESCAPE] += _ESCAPED


def encode_residuals(sink: Sink, folded: NDArray[Any], rows: I64, starts: I64) -> None:
    """Choose codings and write residuals.

    Args:
        sink: Written to.
        folded: uint32 or uint64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.
        starts: int64, shape (columns,), where they start.
    """
    if len(folded) < _WORTH_POOLS:
        sink.small(np.zeros(len(rows), np.int64), _POOL_BITS)
    else:
        folded, rows, starts = _pool(sink, folded, rows, starts)
    if len(rows):
        _encode_dense(sink, folded, rows, starts)


def _pool(
    sink: Sink, folded: NDArray[Any], rows: I64, starts: I64
) -> tuple[NDArray[Any], I64, I64]:
    """Gather sparse columns in pools, which become the last columns."""
    full = (folded != 0).nonzero()[0]
    first = full.searchsorted(starts)
    filled = np.empty(len(rows), np.int64)
    np.subtract(first[1:], first[:-1], out=filled[:-1])
    filled[-1] = len(full) - first[-1]
    # Where all is zero, the longest run of zeros becomes longer.
    pool = POOLS - _EDGES.searchsorted(filled / rows)
    sink.small(pool, _POOL_BITS)
    sparse = pool.nonzero()[0]
    if not len(sparse):
        return folded, rows, starts
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
    return folded, rows, rows.cumsum() - rows


def _encode_dense(sink: Sink, folded: NDArray[Any], rows: I64, starts: I64) -> None:
    coding, shift, cell, sizes = _choose(folded, rows, starts)
    sink.small(coding, _CODING_BITS)
    sink.small(shift, _SHIFT_BITS)
    used = np.bincount(coding, sizes, PLAIN + 1)[:PLAIN]
    used = used[used > 0]
    sink.numbers(used.astype(np.uint64))
    low = shift.nonzero()[0]
    if len(low):
        length = rows[low]
        widths = shift[low].astype(folded.dtype).repeat(length)
        sink.low(folded.take(places(starts[low], length)), widths, int(shift.max()))
    if not len(used):
        return
    order = coding.argsort(kind="stable")
    at = places(starts[order], rows[order])
    sink.words(cell.take(at), codes.WORDS[coding], codes.WIDTHS[coding], int(used.sum()))
    escaped = (cell & codes.ESCAPE == codes.ESCAPE).nonzero()[0]
    if len(escaped):
        column = cell[escaped] // codes.SYMBOLS
        coded = coding[column] < PLAIN
        escaped, column = escaped[coded], column[coded]
        more = folded[escaped] >> shift[column].astype(folded.dtype)
        sink.numbers(more.astype(np.uint64) - np.uint64(codes.ESCAPE))


def _choose(folded: NDArray[Any], rows: I64, starts: I64) -> tuple[I64, I64, I64, F32]:
    """Choose each column's coding and shift by the exact cost.

    Returns:
        Coding and shift of the columns, the symbols of the residuals plus `codes.SYMBOLS` x their
        column, and the bits of all code words of each column.
    """
    narrow = folded.itemsize == 4
    sums = np.add.reduceat(folded, starts, dtype=np.int64 if narrow else np.float64)
    shift = np.maximum(np.frexp(sums / rows * _SHARE)[1], 0).astype(np.int64)
    width = bit_lengths(np.maximum.reduceat(folded, starts))
    high = folded >> shift.astype(folded.dtype).repeat(rows)
    cell = np.minimum(high, codes.ESCAPE, out=high).astype(np.int64)
    cell += np.arange(0, len(rows) * codes.SYMBOLS, codes.SYMBOLS).repeat(rows)
    often = np.bincount(cell, minlength=len(rows) * codes.SYMBOLS)
    share = often.astype(np.float32).reshape(-1, codes.SYMBOLS)
    # In one product for all, BLAS would start threads, which cost more than they save.
    blocks = [share[at : at + _BLOCK] @ _COST for at in range(0, len(rows), _BLOCK)]
    cost = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    coding = cost.argmin(axis=1)
    least = cost.min(axis=1)
    plain = (width - shift) * rows <= least
    coding[plain] = PLAIN
    shift[plain] = width[plain]
    return coding, shift, cell, least - share[:, codes.ESCAPE] * _ESCAPED


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
