"""Which predictor suits which column: all are tried on all columns at once, the cheapest wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64, places
from bordnetz.batch.predict import MAX_LAG, MAX_MODULUS, RATIO_BITS, Predictor
from bordnetz.batch.take import F64, NARROW, Choice, differences, draw, follow, whole, wrapped

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
class _Best:
    """What is cheapest so far; arrays of shape (columns,)."""

    cost: F64
    predictor: I64
    factor: I64
    lag: I64


def fit(values: NDArray[Any], rows: I64, starts: I64, shift: int) -> Choice:
    """Choose each column's predictor.

    Args:
        values: int32 or int64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.
        starts: int64, shape (columns,), where they start.
        shift: `slope_shift` of all columns of the batch.
    """
    first = values.take(starts).astype(np.int64, copy=False)
    low = np.minimum.reduceat(values, starts).astype(np.int64, copy=False)
    high = np.maximum.reduceat(values, starts).astype(np.int64, copy=False)
    span = high - low
    word = np.int32 if int(span.view(np.uint64).max()) < NARROW else np.int64
    x: NDArray[Any] = values.astype(word)
    x -= first.astype(word).repeat(rows)

    tried = np.empty((2, len(values)), word)
    tried[0] = differences(x, starts)
    tried[1] = differences(tried[0], starts)
    cost = bits(tried, starts, rows)
    best = _Best(
        cost=np.minimum(cost[0], cost[1]),
        predictor=(cost[1] < cost[0]).astype(np.int64),
        factor=np.zeros_like(rows),
        lag=np.zeros_like(rows),
    )
    _draw_lines(best, x, starts, rows, shift)
    width = np.frexp(span)[1]
    floor_cost = np.where(width < _PLAIN_BITS, np.inf, (width - _PLAIN) * rows)
    floor = floor_cost < best.cost
    best.cost[floor] = floor_cost[floor]
    best.predictor[floor] = Predictor.FLOOR
    falls = np.minimum.reduceat(tried[0], starts)
    counter = (falls == -span) & (span > 1) & (low == 0) & (span < MAX_MODULUS)
    if counter.any():
        _count(best, tried[1], starts, rows, counter.nonzero()[0], span + 1)
    _follow(best, values, starts, rows)
    return Choice(best.predictor, best.factor, best.lag)


def _draw_lines(best: _Best, x: NDArray[Any], starts: I64, rows: I64, shift: int) -> None:
    """Take lines of least squares where they are cheaper."""
    sums = np.add.reduceat(x, starts, dtype=np.int64)
    middle = (rows - 1) / 2
    product = np.arange(len(x))
    product *= x
    moment = np.add.reduceat(product, starts) - starts * sums - sums * middle
    slope = moment / np.maximum(rows * (rows * rows - 1.0) / 12, 1)
    square: NDArray[Any] = x.astype(np.float32 if x.itemsize == 4 else np.float64)
    square *= square
    variance = (np.add.reduceat(square, starts) - sums * (sums / rows) - slope * moment) / rows
    least = np.log2(4 * np.maximum(variance, 0) + 1) * rows * (_LIKELY / 2) + _FACTOR_BITS
    some = (least < best.cost).nonzero()[0]
    if not len(some):
        return
    length = rows[some]
    _, factor, rest = draw(x[places(starts[some], length)], length, shift)
    cost = _with_factor(rest, factor, length)
    better = cost < best.cost[some]
    some = some[better]
    best.cost[some] = cost[better]
    best.predictor[some] = Predictor.LINE


def _count(
    best: _Best, second: NDArray[Any], starts: I64, rows: I64, some: I64, modulus: I64
) -> None:
    """Take some columns for counters that start again at 0 behind their highest value."""
    length, modulus = rows[some], modulus[some]
    rest = wrapped(second[places(starts[some], length)], modulus.repeat(length))
    cost = bits(rest, length.cumsum() - length, length)
    better = cost < best.cost[some]
    some = some[better]
    best.cost[some] = cost[better]
    best.predictor[some] = Predictor.COUNTER
    best.factor[some] = modulus[better]


def _follow(best: _Best, values: NDArray[Any], starts: I64, rows: I64) -> None:
    """Let columns follow an earlier column, in a straight relation, where that is cheaper."""
    some = ((best.cost > _WORTH_A_SISTER * rows) & (rows >= _LONG)).nonzero()[0]
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
    factor = whole(by[close] * 2.0**RATIO_BITS)
    own, other = some[close], some[other[close]]
    length = rows[own]
    y, sister = (values[places(starts[column], length)] for column in (own, other))
    _, rest = follow(y, sister, factor, length)
    cost = _with_factor(rest, factor, length)
    follows = np.zeros(len(rows), np.bool_)
    follows[own] = better = cost < best.cost[own]
    # A sister is read before the columns that follow it, so it follows none itself.
    better &= ~follows[other]
    own = own[better]
    best.predictor[own] = Predictor.SISTER
    best.factor[own] = factor[better]
    best.lag[own] = own - other[better]


def _with_factor(rest: NDArray[Any], factor: I64, rows: I64) -> F64:
    """What residuals cost together with their factors."""
    return bits(rest, rows.cumsum() - rows, rows) + np.frexp(factor)[1] + _FACTOR_BITS


def bits(signed: NDArray[Any], starts: I64, rows: I64) -> F64:
    """About the sum of log2(2 |x| + 1) of each column: the bits that it costs, but for a constant.

    The bits of a float are nearly its logarithm, so the sum of those of x^2 + 1/5 will do.
    """
    square = signed.astype(np.float32)
    square *= square
    square += _FIFTH
    bits: F64 = np.add.reduceat(square.view(np.int32), starts, axis=-1, dtype=np.int64) * _HALF_BIT
    bits -= rows * (_FIFTH_BITS * _HALF_BIT)
    return bits
