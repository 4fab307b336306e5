"""Which predictor suits which column: guessed from excerpts, for all columns at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64, bit_lengths

_EXCERPTS, _ROWS = 4, 32
"""A column is judged by this many pieces of it, this many rows each."""

_SKIP = 3
"""The first rows of a piece have no differences of all orders."""

MAX_LAG = 8
"""How many columns back a sister is looked for."""

MAX_MODULUS = 1 << 16
"""Largest modulus of a counter; sums of 2**20 residuals below it do not overflow."""

RATIO_BITS = 16
"""Fraction bits of the ratio to a sister."""

_UNIFORM = 1.9
"""Bits by which a bell-shaped column costs more than the mean of log2(1 + 2 |residual|)."""

_UNIFORM_BITS = 4
"""Below so many bits that is not true, and evenly spread values are no worse off elsewhere."""


class Predictor(IntEnum):
    """How a column is predicted; the numbers are the format's."""

    DIFFERENCE_1 = 0
    """The value before; the first value is the head."""
    DIFFERENCE_2 = 1
    """The differences are taken of the differences again, the first of them from zero."""
    DIFFERENCE_3 = 2
    COUNTER = 3
    """As DIFFERENCE_2, all of it modulo the factor."""
    LEVEL = 4
    """The head, for every row."""
    LINE = 5
    """The head plus row x factor / 2**`slope_shift`, rounded down."""
    SISTER = 6
    """The head plus the same row of an earlier column x factor / 2**`RATIO_BITS`, rounded down."""


COUNT = len(Predictor)


@dataclass(frozen=True, slots=True)
class Model:
    """How columns are predicted; all arrays int64, shape (columns,).

    Attributes:
        predictor: `Predictor`.
        head: The first value, the level, or where a line or the distance to a sister begins.
        factor: Slope of a line, ratio to a sister, modulus of a counter; 0 for others.
        lag: How many columns before is the sister, 1 to `MAX_LAG`; 0 for others.
    """

    predictor: I64
    head: I64
    factor: I64
    lag: I64

    @property
    def has_first(self) -> NDArray[np.bool_]:
        """Whether the head is the first value, so that there is one residual less."""
        return self.predictor < Predictor.LEVEL


def slope_shift(rows: I64) -> I64:
    """Fraction bits of a line's slope: enough that rounding it costs less than half a unit."""
    return bit_lengths(rows.view(np.uint64)) + 1


def fit(values: I64, rows: I64) -> Model:
    """Choose each column's predictor.

    Args:
        values: int64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.
    """
    starts = np.cumsum(rows) - rows
    excerpts = _Excerpts(values, starts, rows)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    sums = _sums(values)
    mean = (sums[starts + rows] - sums[starts]) / rows

    cost = np.empty((COUNT, len(rows)))
    head = np.empty((COUNT, len(rows)), np.int64)
    factor = np.zeros((COUNT, len(rows)), np.int64)
    head[: Predictor.LEVEL] = values[starts]
    second = _differences(excerpts, cost)
    _counters(excerpts, second, low, high, cost, factor)
    _levels(excerpts, mean, low, high, cost, head)
    _lines(excerpts, sums, mean, cost, head, factor)
    lag = _sisters(excerpts, cost, head, factor)

    best = np.argmin(cost, axis=0)
    # Too short to judge: the plain difference has the cheapest head.
    best[excerpts.samples == 0] = Predictor.DIFFERENCE_1
    sister = best == Predictor.SISTER
    column = np.arange(len(rows))
    # A sister is read before the columns that follow it, so it follows none itself.
    chained = sister & sister[column - lag]
    if chained.any():
        cost[Predictor.SISTER, chained] = np.inf
        best[chained] = np.argmin(cost[:, chained], axis=0)
    lag[best != Predictor.SISTER] = 0
    return Model(best, head[best, column], factor[best, column], lag)


class _Excerpts:
    """Pieces of all columns, as a block: columns x pieces x rows."""

    def __init__(self, values: I64, starts: I64, rows: I64) -> None:
        stride = np.maximum((rows - _ROWS) // (_EXCERPTS - 1), _ROWS)
        pieces = min(_EXCERPTS, -(-int(rows.max()) // _ROWS))
        row = (np.arange(pieces) * stride[:, None])[:, :, None] + np.arange(_ROWS)
        inside = row < rows[:, None, None]
        self.rows = rows
        self.row = np.minimum(row, rows[:, None, None] - 1)
        self.values = values[starts[:, None, None] + self.row]
        self.used = inside[:, :, _SKIP:].astype(np.float32)
        self.samples = self.used.sum(axis=(1, 2))
        self._weight = rows / np.maximum(self.samples, 1)

    def cost(self, residual: I64) -> NDArray[np.float64]:
        """Guess the bits that residuals cost, of the rows behind the first ones of a piece."""
        size = np.abs(residual.astype(np.float32))
        size *= 2
        size += 1
        np.log2(size, out=size)
        total: NDArray[np.float64] = np.einsum("cpr,cpr->c", size, self.used) * self._weight
        return total


def _differences(excerpts: _Excerpts, cost: NDArray[np.float64]) -> I64:
    """Costs of the differences; returns those of the second order."""
    first = excerpts.values[:, :, 1:] - excerpts.values[:, :, :-1]
    second: I64 = first[:, :, 1:] - first[:, :, :-1]
    third = second[:, :, 1:] - second[:, :, :-1]
    cost[Predictor.DIFFERENCE_1] = excerpts.cost(first[:, :, 2:])
    cost[Predictor.DIFFERENCE_2] = excerpts.cost(second[:, :, 1:]) + 3
    cost[Predictor.DIFFERENCE_3] = excerpts.cost(third) + 6
    return second[:, :, 1:]


def _counters(
    excerpts: _Excerpts, second: I64, low: I64, high: I64, cost: NDArray[np.float64], factor: I64
) -> None:
    """Costs of counters that start again at 0 behind the highest value."""
    cost[Predictor.COUNTER] = np.inf
    some = (low == 0) & (high > 1) & (high < MAX_MODULUS)
    if some.any():
        modulus = high[some] + 1
        rest = wrap(second[some], modulus[:, None, None])
        whole = np.zeros_like(second)
        whole[some] = rest
        cost[Predictor.COUNTER, some] = excerpts.cost(whole)[some] + 8
        factor[Predictor.COUNTER, some] = modulus


def wrap(values: I64, modulus: I64) -> I64:
    """The numbers nearest to zero that are the same modulo ``modulus``."""
    half = modulus >> 1
    wrapped: I64 = (values + half) % modulus - half
    return wrapped


def _levels(
    excerpts: _Excerpts,
    mean: NDArray[np.float64],
    low: I64,
    high: I64,
    cost: NDArray[np.float64],
    head: I64,
) -> None:
    """Costs of a level: the mean, or the middle where the values are spread evenly."""
    level = _whole(mean)
    bits = excerpts.cost(excerpts.values[:, :, _SKIP:] - level[:, None, None])
    width, middle, spread = _middle(low, high)
    flat = (width - _UNIFORM) * excerpts.rows
    # Plain bits suit a range that makes use of them all.
    evenly = spread & (flat <= bits)
    head[Predictor.LEVEL] = np.where(evenly, middle, level)
    cost[Predictor.LEVEL] = np.where(evenly, flat, bits) + 3


def _lines(
    excerpts: _Excerpts,
    sums: NDArray[np.float64],
    mean: NDArray[np.float64],
    cost: NDArray[np.float64],
    head: I64,
    factor: I64,
) -> None:
    """Costs of lines."""
    begin, slope = _line(sums, mean, excerpts.rows)
    row = excerpts.row[:, :, _SKIP:]
    shift = slope_shift(excerpts.rows)[:, None, None]
    line = begin[:, None, None] + ((row * slope[:, None, None]) >> shift)
    cost[Predictor.LINE] = excerpts.cost(excerpts.values[:, :, _SKIP:] - line)
    cost[Predictor.LINE] += bit_lengths(np.abs(slope).view(np.uint64)) + 4
    head[Predictor.LINE], factor[Predictor.LINE] = begin, slope


def _line(sums: NDArray[np.float64], mean: NDArray[np.float64], rows: I64) -> tuple[I64, I64]:
    """Head and slope of lines through the means of each column's first and last third."""
    ends = np.cumsum(rows)
    starts = ends - rows
    third = np.maximum(rows // 3, 1)
    early = (sums[starts + third] - sums[starts]) / third
    late = (sums[ends] - sums[ends - third]) / third
    scale = np.exp2(slope_shift(rows))
    slope = _whole((late - early) / np.maximum(rows - third, 1) * scale)
    return _whole(mean - slope / scale * (rows - 1) / 2), slope


def _sisters(excerpts: _Excerpts, cost: NDArray[np.float64], head: I64, factor: I64) -> I64:
    """Costs of the best straight relation to one of the columns before; returns its lag."""
    columns = len(excerpts.rows)
    used = excerpts.used.reshape(columns, -1)
    x = excerpts.values[:, :, _SKIP:].reshape(columns, -1).astype(np.float64)
    average = np.einsum("cr,cr->c", x, used) / np.maximum(excerpts.samples, 1)
    x -= average[:, None]
    x *= used
    power = np.einsum("cr,cr->c", x, x)
    # What each of the MAX_LAG columns before explains, where it has as many rows.
    explained = np.zeros((columns, MAX_LAG))
    ratios = np.zeros((columns, MAX_LAG))
    floor = np.maximum(power, 1e-9)
    for step in range(1, min(MAX_LAG, columns - 1) + 1):
        shared = np.einsum("cr,cr->c", x[step:], x[:-step])
        ratios[step:, step - 1] = shared / floor[:-step]
        alike = excerpts.rows[step:] == excerpts.rows[:-step]
        explained[step:, step - 1] = alike * shared * ratios[step:, step - 1]
    nearest = explained.argmax(axis=1)
    column = np.arange(columns)
    best, slope = explained[column, nearest], ratios[column, nearest]
    lag: I64 = nearest + 1
    cost[Predictor.SISTER] = np.inf
    # A relation that explains less than half of the spread saves half a bit at most.
    close = (best > 0.5 * power) & (np.abs(slope) < 2.0**31)
    lag[~close] = 0
    some = np.flatnonzero(close)
    if len(some):
        ratio = _whole(slope * 2.0**RATIO_BITS)
        begin = _whole(average - ratio / 2.0**RATIO_BITS * average[column - lag])
        ref = excerpts.values[some - lag[some]][:, :, _SKIP:]
        guess = begin[some, None, None] + ((ref * ratio[some, None, None]) >> RATIO_BITS)
        residual = np.zeros(excerpts.used.shape, np.int64)
        residual[some] = excerpts.values[some][:, :, _SKIP:] - guess
        bits = excerpts.cost(residual) + bit_lengths(np.abs(ratio).view(np.uint64)) + 4
        cost[Predictor.SISTER, some] = bits[some]
        head[Predictor.SISTER], factor[Predictor.SISTER] = begin, ratio
    return lag


def _middle(low: I64, high: I64) -> tuple[I64, I64, NDArray[np.bool_]]:
    """Bits of each range, its middle, and whether it makes use of all of these bits."""
    extent = (high - low).view(np.uint64)
    width = bit_lengths(extent)
    middle = low + np.where(width > 0, np.int64(1) << np.maximum(width - 1, 0), 0)
    top = extent >> np.maximum(width - 2, 0).astype(np.uint64)
    return width, middle, (width >= _UNIFORM_BITS) & (top == 3)


def _sums(values: I64) -> NDArray[np.float64]:
    """Sums of all values before each, and of all."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, dtype=np.float64, out=sums[1:])
    return sums


def _whole(numbers: NDArray[np.float64]) -> I64:
    """Round; what no int64 holds becomes 0, which predicts badly and breaks nothing."""
    whole: I64 = np.where(np.abs(numbers) < 2.0**62, np.rint(numbers), 0).astype(np.int64)
    return whole
