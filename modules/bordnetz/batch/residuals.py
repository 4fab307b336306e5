"""How each column's residuals are coded: chosen by cost, for all columns at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch import codes
from bordnetz.batch.bits import I64, U64, bit_lengths, places
from bordnetz.batch.streams import Sink, Source

PLAIN = codes.COUNT
"""Coding: ``shift`` plain bits a residual."""

SPARSE = PLAIN + 1
"""Coding: in the first pool of sparse columns; the other pools follow."""

POOLS = 4
"""Pool p takes columns of which 4**-p to 4**-(p+1) is not zero, the last one all below."""

CODINGS = SPARSE + POOLS

_SAMPLE = 192
"""Residuals of a column by which its coding is chosen."""

_PLAIN_BONUS = 0.1
"""Bits by which a code must seem better than plain bits: the sample flatters it."""

_BINS = 2 * codes.ESCAPE + 2


def encode_residuals(sink: Sink, folded: U64, count: I64) -> None:
    """Choose codings and write residuals.

    Args:
        sink: Written to.
        folded: uint64, shape (sum of count,), column after column.
        count: int64, shape (columns,), may be 0.
    """
    coding, shift = _choose(folded, count)
    sink.small(coding)
    pooled_values: list[U64] = []
    pooled_counts: list[int] = []
    starts = np.cumsum(count) - count
    for pool in range(POOLS):
        members = coding == SPARSE + pool
        if members.any():
            laid = folded[places(starts[members], count[members])]
            at = np.flatnonzero(laid)
            gaps = at.copy()
            gaps[1:] -= at[:-1] + 1
            pooled_values += [gaps.view(np.uint64), laid[at] - np.uint64(1)]
            pooled_counts += [len(at)] * 2
    if pooled_counts:
        sink.numbers(np.array(pooled_counts[::2], np.uint64))
        pool_count = np.array(pooled_counts, np.int64)
        extra = np.concatenate(pooled_values)
        pool_coding, pool_shift = _choose(extra, pool_count, dense=True)
        sink.small(pool_coding)
        folded = np.concatenate((folded, extra))
        coding = np.concatenate((coding, pool_coding))
        shift = np.concatenate((shift, pool_shift))
        count = np.concatenate((count, pool_count))
    sink.small(shift[coding < SPARSE])
    order, stop = _coding_order(coding)
    length = count[order]
    at = places((np.cumsum(count) - count)[order], length)
    coded = np.repeat(coding[order[:stop]], length[:stop])
    sink.coded(folded[at], np.repeat(shift[order], length), coded)


def _coding_order(coding: I64) -> tuple[I64, int]:
    """The columns that have residuals of their own, by coding; and how many have code words."""
    order = np.argsort(coding, kind="stable")
    ranked = coding[order]
    return order[: int(np.searchsorted(ranked, SPARSE))], int(np.searchsorted(ranked, PLAIN))


def decode_residuals(source: Source, count: I64) -> U64:
    """The inverse of `encode_residuals`.

    Raises:
        ValueError: The source does not hold such residuals.
    """
    coding = source.small(len(count))
    if (coding >= CODINGS).any():
        raise ValueError(f"coding {int(coding.max())} is not known")
    columns = len(count)
    present = [p for p in range(POOLS) if (coding == SPARSE + p).any()]
    room = [int(count[coding == SPARSE + p].sum()) for p in present]
    full_coding, full_count = coding, count
    if present:
        filled = source.numbers(len(present))
        if (filled > np.array(room, np.uint64)).any():
            raise ValueError("a pool of sparse columns is fuller than it is long")
        pool_count = np.repeat(filled.astype(np.int64), 2)
        pool_coding = source.small(len(pool_count))
        if (pool_coding >= SPARSE).any():
            raise ValueError(f"coding {int(pool_coding.max())} is not known for a pool")
        full_coding = np.concatenate((coding, pool_coding))
        full_count = np.concatenate((count, pool_count))
    shift = np.zeros(len(full_coding), np.int64)
    dense = full_coding < SPARSE
    shift[dense] = source.small(int(np.count_nonzero(dense)))
    if (shift > 64).any():
        raise ValueError(f"a shift of {int(shift.max())} bits is more than a number has")
    order, stop = _coding_order(full_coding)
    length = full_count[order]
    starts = np.cumsum(full_count) - full_count
    folded = np.zeros(int(full_count.sum()), np.uint64)
    folded[places(starts[order], length)] = source.coded(
        shift[order], full_coding[order[:stop]], length
    )
    owner = np.repeat(coding, count) if present else coding
    for index, pool in enumerate(present):
        gaps = folded[starts[columns + 2 * index] :][: int(pool_count[2 * index])]
        numbers = folded[starts[columns + 2 * index + 1] :][: len(gaps)]
        if (gaps >= np.uint64(max(room[index], 1))).any():
            raise ValueError("a run of zeros is longer than its columns")
        at = np.cumsum(gaps.astype(np.int64) + 1) - 1
        if len(at) and at[-1] >= room[index]:
            raise ValueError("the runs of zeros are longer than their columns")
        laid = np.zeros(room[index], np.uint64)
        laid[at] = numbers + np.uint64(1)
        folded[: len(owner)][owner == SPARSE + pool] = laid
    return folded[: int(count.sum())]


def _choose(folded: U64, count: I64, *, dense: bool = False) -> tuple[I64, I64]:
    """Choose each column's coding and shift: exact costs of evenly spread residuals.

    Args:
        folded: uint64, shape (sum of count,).
        count: int64, shape (columns,), may be 0.
        dense: Leave the sparse codings out.
    """
    columns = len(count)
    some = count > 0
    starts = (np.cumsum(count) - count)[some]
    highest = np.zeros(columns, np.uint64)
    if some.any():
        highest[some] = np.maximum.reduceat(folded, starts)
    width = bit_lengths(highest)

    picks = min(_SAMPLE, int(count.max(initial=0)))
    step = np.maximum(count, picks)
    row = np.arange(picks) * step[:, None] // max(picks, 1)
    valid = row < count[:, None]
    taken = valid.sum(axis=1)
    where = np.minimum((np.cumsum(count) - count)[:, None] + row, max(len(folded) - 1, 0))
    sample = folded[where] if len(folded) else np.zeros((columns, 0), np.uint64)
    weight = 1.0 / np.maximum(taken, 1)

    logs = np.log2(sample.astype(np.float32) + np.float32(1))
    typical = (logs * valid).sum(axis=1) * weight
    shift = np.clip(np.floor(typical - 1.4), 0, 63).astype(np.int64)
    symbol = np.minimum(sample >> shift.astype(np.uint64)[:, None], np.uint64(_BINS - 1))
    cell = symbol.astype(np.int64) + (np.arange(columns) * _BINS)[:, None]
    shape = np.bincount(cell[valid], minlength=columns * _BINS).reshape(columns, _BINS)
    per_symbol = shape * weight[:, None]

    cost = np.empty((columns, 2 * codes.COUNT + 2))
    cost[:, : 2 * codes.COUNT] = per_symbol @ _COST
    cost[:, : codes.COUNT] += shift[:, None]
    cost[:, codes.COUNT : 2 * codes.COUNT] += shift[:, None] + 1
    cost[:, 2 * codes.COUNT] = width - _PLAIN_BONUS
    zeros = (sample == 0) & valid
    density = 1.0 - zeros.sum(axis=1) * weight
    cost[:, -1] = np.inf
    if not dense:
        low = shift == 0
        cost[low, -1] = _sparse_cost(per_symbol[low], density[low], width[low])
    best = np.argmin(cost, axis=1)
    coding = best % codes.COUNT
    shift = shift + (best >= codes.COUNT)
    plain = best == 2 * codes.COUNT
    coding[plain], shift[plain] = PLAIN, width[plain]
    sparse = best == 2 * codes.COUNT + 1
    pool = np.floor(-0.5 * np.log2(np.maximum(density, 1e-9)))
    coding[sparse] = SPARSE + np.clip(pool, 0, POOLS - 1).astype(np.int64)[sparse]
    if not dense:
        # Nothing but zeros: lengthens a run that is there anyway.
        coding[highest == 0] = SPARSE + POOLS - 1
    shift[coding >= SPARSE] = 0
    return coding, shift


def _sparse_cost(
    per_symbol: NDArray[np.float64], density: NDArray[np.float64], width: I64
) -> NDArray[np.float64]:
    """Bits a residual of a sparse column: the entropy of where, and the cost of what."""
    p = np.clip(density, 1e-9, 1 - 1e-9)
    # A run of zeros costs a bit at least, even where there are none.
    where: NDArray[np.float64] = np.maximum(-p * np.log2(p) - (1 - p) * np.log2(1 - p), p)
    what: NDArray[np.float64] = (per_symbol[:, 1:] @ _COST[:-1, : codes.COUNT]).min(axis=1)
    return where + np.minimum(what, p * width)


def _costs() -> NDArray[np.float64]:
    """Bits of residuals 0 to 63 in every code: as they are, then without their lowest bit."""
    bins = np.arange(_BINS)
    escaped = bins >= codes.ESCAPE
    direct = codes.LENGTH[:, np.minimum(bins, codes.ESCAPE)] + np.where(escaped, 9, 0)
    halved = codes.LENGTH[:, np.minimum(bins >> 1, codes.ESCAPE)] + np.where(
        bins >= 2 * codes.ESCAPE, 9, 0
    )
    return np.concatenate((direct, halved)).T.astype(np.float64)


_COST = _costs()
