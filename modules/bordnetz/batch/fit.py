"""Which predictor suits which column: all are tried on all columns at once, the cheapest wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64, places
from bordnetz.batch.predict import (
    MAX_LAG,
    MAX_MODULUS,
    RATIO_BITS,
    Model,
    Predictor,
    slope_shift,
)

F64 = NDArray[np.float64]

_NARROW = 1 << 28
"""Up to here second differences, folded, fit 32 bits, which halves the time."""

_TRIED = Predictor.LINE + 1
"""These are tried on every column, the others where they have a chance."""

_FACTOR_BITS = 4.0
"""Bits that a factor costs, besides its own."""

_PLAIN = 1.9
"""Bits by which a residual costs more than its log2(folded + 1), on average."""

_PLAIN_BITS = 4
"""Bits of a range from which values may be spread evenly enough for `Predictor.FLOOR`."""

_LONG = 128
"""Rows from which a column may gain more by a sister than the search costs."""

_WORTH_A_SISTER = 1.0
"""Bits a row, in the same measure as costs, from which that is so."""

_PICKS = 48
"""Rows of a column by which a sister is looked for."""


@dataclass(slots=True)
class _Fit:
    """What is chosen so far; arrays of shape (columns,) but for the last, (sum of rows,)."""

    cost: F64
    predictor: I64
    head: I64
    factor: I64
    lag: I64
    residuals: NDArray[Any]


def fit(values: I64, rows: I64) -> tuple[Model, NDArray[Any]]:
    """Choose each column's predictor and take its residuals.

    Args:
        values: int64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.

    Returns:
        The model, and the residuals: uint32 or uint64, folded, shape (sum of rows,).
    """
    size = len(values)
    starts = rows.cumsum() - rows
    first = values[starts]
    x: NDArray[Any] = values - first.repeat(rows)
    low, high = np.minimum.reduceat(x, starts), np.maximum.reduceat(x, starts)
    # The moment of a line has to fit 64 bits, for a wrong line may leave more than 32.
    narrow = min(_NARROW, (1 << 62) // int(rows.max()) ** 2)
    if int(low.min()) > -narrow and int(high.max()) < narrow:
        x = x.astype(np.int32)
    begin, slope, line = _lines(x, starts, rows)

    tried = np.empty((_TRIED, size), x.dtype)
    steps, second = tried[Predictor.DIFFERENCE_1], tried[Predictor.DIFFERENCE_2]
    np.subtract(x[1:], x[:-1], out=steps[1:])
    steps[starts] = 0
    np.subtract(steps[1:], steps[:-1], out=second[1:])
    second[starts] = 0
    np.subtract(x, line, out=tried[Predictor.LINE], casting="unsafe")
    falls = np.minimum.reduceat(steps, starts)
    folded = _fold(tried)

    cost = np.empty((_TRIED + 1, len(rows)))
    cost[:_TRIED] = _bits(folded, starts)
    cost[Predictor.LINE] += np.frexp(slope)[1] + _FACTOR_BITS
    span = high - low
    width = np.frexp(span)[1]
    cost[Predictor.FLOOR] = np.where(width < _PLAIN_BITS, np.inf, (width - _PLAIN) * rows)
    best = cost.argmin(axis=0)
    is_line, is_floor = best == Predictor.LINE, best == Predictor.FLOOR
    at = (best % _TRIED * size).repeat(rows)
    at += np.arange(size)
    chosen = _Fit(
        cost=cost[best, np.arange(len(rows))],
        predictor=best,
        head=first + begin * is_line + low * is_floor,
        factor=slope * is_line,
        lag=np.zeros_like(rows),
        residuals=folded.ravel()[at],
    )
    if is_floor.any():
        at = places(starts[is_floor], rows[is_floor])
        chosen.residuals[at] = x[at] - low[is_floor].repeat(rows[is_floor])
    counter = (falls == -span) & (span > 1) & (first + low == 0) & (span < MAX_MODULUS)
    if counter.any():
        _count(chosen, values, starts, rows, counter, span + 1)
    _follow(chosen, values, starts, rows)
    return Model(chosen.predictor, chosen.head, chosen.factor, chosen.lag), chosen.residuals


def _lines(x: NDArray[Any], starts: I64, rows: I64) -> tuple[I64, I64, I64]:
    """Begins and slopes of the lines of least squares, and the lines; what overflows is lost."""
    row = np.arange(len(x))
    row -= starts.repeat(rows)
    mean = np.add.reduceat(x, starts, dtype=np.int64) / rows
    moment = np.add.reduceat(row * x, starts)
    middle = (rows - 1) / 2
    shift = slope_shift(rows)
    # Variance of 0 to rows - 1, times rows; a single row has no slope.
    spread = np.maximum(rows * (rows * rows - 1.0) / 12, 1)
    slope = _whole((moment - mean * middle * rows) * ((1 << shift) / spread))
    begin = _whole(mean - slope * (middle / (1 << shift)))
    row *= slope.repeat(rows)
    row >>= shift
    row += begin.repeat(rows)
    return begin, slope, row


def _count(
    chosen: _Fit, values: I64, starts: I64, rows: I64, some: NDArray[np.bool_], modulus: I64
) -> None:
    """Take some columns for counters that start again at 0 behind their highest value."""
    starts, rows = starts[some], rows[some]
    at = places(starts, rows)
    begin = rows.cumsum() - rows
    rest = np.zeros((2, len(at)), np.int64)
    for step, before in zip(rest, (values[at], rest[0]), strict=True):
        np.subtract(before[1:], before[:-1], out=step[1:])
        step[begin] = 0
    modulus = modulus[some]
    half = (modulus >> 1).repeat(rows)
    wrapped = _fold((rest[1] + half) % modulus.repeat(rows) - half)
    better = _bits(wrapped, begin) < chosen.cost[some]
    _replace(chosen, at, wrapped, better, rows)
    counter = np.flatnonzero(some)[better]
    chosen.predictor[counter] = Predictor.COUNTER
    chosen.head[counter] = values[starts[better]]
    chosen.factor[counter] = modulus[better]


def _follow(chosen: _Fit, values: I64, starts: I64, rows: I64) -> None:
    """Let columns follow an earlier column, in a straight relation, where that is cheaper."""
    some = np.flatnonzero((chosen.cost > _WORTH_A_SISTER * rows) & (rows >= _LONG))
    if len(some) < 2:
        return
    picks = starts[some, None] + (np.arange(_PICKS) * rows[some, None]) // _PICKS
    y = values[picks].astype(np.float64)
    mean = y.mean(axis=1)
    y -= mean[:, None]
    power = np.einsum("cr,cr->c", y, y)
    lags = min(MAX_LAG, len(some) - 1)
    shared = np.zeros((lags, len(some)))
    for step in range(1, lags + 1):
        np.einsum("cr,cr->c", y[step:], y[:-step], out=shared[step - 1, step:])
    column = np.arange(len(some))
    before = np.maximum(column - np.arange(1, lags + 1)[:, None], 0)
    ratio = shared / np.maximum(power[before], 1e-9)
    possible = (rows[some[before]] == rows[some]) & (some - some[before] <= MAX_LAG)
    explained = shared * ratio * possible
    nearest = explained.argmax(axis=0)
    other, by = before[nearest, column], ratio[nearest, column]
    # A relation that explains less than half of the spread saves half a bit at most.
    close = (explained[nearest, column] > 0.5 * power) & (np.abs(by) < 2.0**31)
    if not close.any():
        return
    factor = _whole(by[close] * 2.0**RATIO_BITS)
    head = _whole(mean[close] - factor * (mean[other[close]] / 2.0**RATIO_BITS))
    own, other = some[close], some[other[close]]
    length = rows[own]
    at = places(starts[own], length)
    share = values[places(starts[other], length)] * factor.repeat(length)
    share >>= RATIO_BITS
    rest = _fold(values[at] - share - head.repeat(length))
    bits = _bits(rest, length.cumsum() - length) + np.frexp(factor)[1] + _FACTOR_BITS
    follows = np.zeros(len(rows), np.bool_)
    follows[own] = better = bits < chosen.cost[own]
    # A sister is read before the columns that follow it, so it follows none itself.
    better &= ~follows[other]
    _replace(chosen, at, rest, better, length)
    own = own[better]
    chosen.predictor[own] = Predictor.SISTER
    chosen.head[own] = head[better]
    chosen.factor[own] = factor[better]
    chosen.lag[own] = own - other[better]


def _replace(
    chosen: _Fit, at: I64, residuals: NDArray[Any], better: NDArray[np.bool_], rows: I64
) -> None:
    """Take other residuals for the better ones of some columns."""
    keep = better.repeat(rows)
    residuals, at = residuals[keep], at[keep]
    if len(residuals) and int(residuals.max()) >> 8 * chosen.residuals.itemsize:
        chosen.residuals = chosen.residuals.astype(np.uint64)
    chosen.residuals[at] = residuals


def _fold(signed: NDArray[Any]) -> NDArray[Any]:
    """0, -1, 1, -2, 2, ... become 0, 1, 2, 3, 4, ..., in place."""
    sign = signed >> (8 * signed.itemsize - 1)
    signed <<= 1
    signed ^= sign
    return signed.view(f"u{signed.itemsize}")


def _bits(folded: NDArray[Any], starts: I64) -> F64:
    """Sum of log2(folded + 1) of each column: the bits that it costs, but for a constant."""
    logs = np.log1p(folded.astype(np.float32))
    bits: F64 = np.add.reduceat(logs, starts, axis=-1) * (1 / np.log(2))
    return bits


def _whole(numbers: F64) -> I64:
    """Round; what no int64 holds becomes 0, which predicts badly and breaks nothing."""
    whole = np.rint(numbers)
    whole[np.abs(whole) >= 2.0**62] = 0
    return whole.astype(np.int64)
