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
)

F64 = NDArray[np.float64]

_NARROW = 1 << 28
"""Up to here second differences, folded, fit 32 bits, which halves the time."""

_FACTOR_BITS = 4.0
"""Bits that a factor costs, besides its own."""

_LIKELY = 0.7
"""The least share of what their deviation lets expect that residuals of a line cost."""

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

_FIFTH = np.float32(0.2)
_FIFTH_BITS = int(_FIFTH.view(np.int32))

_HALF_BIT = 2.0**-24
"""Of the lowest bit of a float32's exponent, half."""


@dataclass(slots=True)
class _Fit:
    """What is chosen so far; arrays of shape (columns,) but for the last, (sum of rows,)."""

    cost: F64
    predictor: I64
    head: I64
    factor: I64
    lag: I64
    residuals: NDArray[Any]


def fit(values: NDArray[Any], rows: I64, shift: int) -> tuple[Model, NDArray[Any]]:
    """Choose each column's predictor and take its residuals.

    Args:
        values: int32 or int64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.
        shift: `slope_shift` of all columns of the batch.

    Returns:
        The model, and the residuals: uint32 or uint64, folded, shape (sum of rows,).
    """
    size = len(values)
    starts = rows.cumsum() - rows
    first = values.take(starts).astype(np.int64, copy=False)
    low = np.minimum.reduceat(values, starts).astype(np.int64, copy=False)
    high = np.maximum.reduceat(values, starts).astype(np.int64, copy=False)
    span = high - low
    # A column's sum of row x value has to fit 64 bits.
    narrow = min(_NARROW, (1 << 62) // (size * size))
    word = np.int32 if int(span.view(np.uint64).max()) < narrow else np.int64
    x: NDArray[Any] = values.astype(word)
    x -= first.astype(word).repeat(rows)

    tried = np.empty((2, size), word)
    steps, second = tried
    np.subtract(x[1:], x[:-1], out=steps[1:])
    steps[starts] = 0
    np.subtract(steps[1:], steps[:-1], out=second[1:])
    second[starts] = 0
    falls = np.minimum.reduceat(steps, starts)
    cost = _bits(tried, starts, rows)
    twice = cost[1] < cost[0]
    np.copyto(steps, second, where=twice.repeat(rows))
    chosen = _Fit(
        cost=np.minimum(cost[0], cost[1]),
        predictor=twice.astype(np.int64),
        head=first.copy(),
        factor=np.zeros_like(rows),
        lag=np.zeros_like(rows),
        residuals=_fold(steps),
    )
    _draw_lines(chosen, x, starts, rows, shift)
    width = np.frexp(span)[1]
    floor_cost = np.where(width < _PLAIN_BITS, np.inf, (width - _PLAIN) * rows)
    floor = (floor_cost < chosen.cost).nonzero()[0]
    if len(floor):
        at = places(starts[floor], rows[floor])
        chosen.residuals[at] = x[at] - (low - first)[floor].repeat(rows[floor])
        chosen.cost[floor] = floor_cost[floor]
        chosen.predictor[floor] = Predictor.FLOOR
        chosen.head[floor] = low[floor]
        chosen.factor[floor] = 0
    counter = (falls == -span) & (span > 1) & (low == 0) & (span < MAX_MODULUS)
    if counter.any():
        _count(chosen, values, starts, rows, counter, span + 1)
    _follow(chosen, values, starts, rows)
    return Model(chosen.predictor, chosen.head, chosen.factor, chosen.lag), chosen.residuals


def _draw_lines(chosen: _Fit, x: NDArray[Any], starts: I64, rows: I64, shift: int) -> None:
    """Take lines of least squares where they are cheaper; what overflows is lost."""
    sums = np.add.reduceat(x, starts, dtype=np.int64)
    mean = sums / rows
    middle = (rows - 1) / 2
    product = np.arange(len(x))
    product *= x
    moment = np.add.reduceat(product, starts) - starts * sums - sums * middle
    # Variance of 0 to rows - 1, times rows; a single row has no slope.
    slope = moment / np.maximum(rows * (rows * rows - 1.0) / 12, 1)
    square: NDArray[Any] = x.astype(np.float32 if x.itemsize == 4 else np.float64)
    square *= square
    variance = (np.add.reduceat(square, starts) - sums * mean - slope * moment) / rows
    least = np.log2(4 * np.maximum(variance, 0) + 1) * rows * (_LIKELY / 2) + _FACTOR_BITS
    some = (least < chosen.cost).nonzero()[0]
    if not len(some):
        return
    length = rows[some]
    at = places(starts[some], length)
    factor = _whole(slope[some] * (1 << shift))
    begin = _whole(mean[some] - factor * (middle[some] / (1 << shift)))
    line = at - starts[some].repeat(length)
    line *= factor.repeat(length)
    line >>= shift
    line += begin.repeat(length)
    rest = x[at] - line
    bits = _bits(rest, length.cumsum() - length, length) + np.frexp(factor)[1] + _FACTOR_BITS
    better = bits < chosen.cost[some]
    _replace(chosen, at, _fold(rest), better, length)
    some = some[better]
    chosen.cost[some] = bits[better]
    chosen.predictor[some] = Predictor.LINE
    chosen.head[some] += begin[better]
    chosen.factor[some] = factor[better]


def _count(
    chosen: _Fit,
    values: NDArray[Any],
    starts: I64,
    rows: I64,
    some: NDArray[np.bool_],
    modulus: I64,
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
    wrapped = (rest[1] + half) % modulus.repeat(rows) - half
    better = _bits(wrapped, begin, rows) < chosen.cost[some]
    _replace(chosen, at, _fold(wrapped), better, rows)
    counter = some.nonzero()[0][better]
    chosen.predictor[counter] = Predictor.COUNTER
    chosen.head[counter] = values[starts[better]]
    chosen.factor[counter] = modulus[better]


def _follow(chosen: _Fit, values: NDArray[Any], starts: I64, rows: I64) -> None:
    """Let columns follow an earlier column, in a straight relation, where that is cheaper."""
    some = ((chosen.cost > _WORTH_A_SISTER * rows) & (rows >= _LONG)).nonzero()[0]
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
    rest = values[at] - share - head.repeat(length)
    bits = _bits(rest, length.cumsum() - length, length) + np.frexp(factor)[1] + _FACTOR_BITS
    follows = np.zeros(len(rows), np.bool_)
    follows[own] = better = bits < chosen.cost[own]
    # A sister is read before the columns that follow it, so it follows none itself.
    better &= ~follows[other]
    _replace(chosen, at, _fold(rest), better, length)
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


def _bits(signed: NDArray[Any], starts: I64, rows: I64) -> F64:
    """About the sum of log2(2 |x| + 1) of each column: the bits that it costs, but for a constant.

    The bits of a float are nearly its logarithm, so the sum of those of x^2 + 1/5 will do.
    """
    square = signed.astype(np.float32)
    square *= square
    square += _FIFTH
    bits: F64 = np.add.reduceat(square.view(np.int32), starts, axis=-1, dtype=np.int64) * _HALF_BIT
    bits -= rows * (_FIFTH_BITS * _HALF_BIT)
    return bits


def _whole(numbers: F64) -> I64:
    """Round; what no int64 holds becomes 0, which predicts badly and breaks nothing."""
    whole = np.rint(numbers)
    whole[np.abs(whole) >= 2.0**62] = 0
    return whole.astype(np.int64)
