"""What a column's next value is expected to be, so that only the surprise is written.

Residuals are lossless for all 64 bits: every sum and difference wraps around.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64, U64, bit_lengths, places

_EXCERPTS, _ROWS = 4, 32
"""A column's predictor is chosen by this many pieces of it, this many rows each."""


class Predictor(IntEnum):
    """How a column is predicted; the numbers are the format's."""

    DIFFERENCE_1 = 0
    """The value before; the first value is the head."""
    DIFFERENCE_2 = 1
    """The differences are taken of the differences again, the first of them from zero."""
    DIFFERENCE_3 = 2
    LEVEL = 3
    """The head, for every row."""
    LINE = 4
    """The head plus row x slope / 2**`slope_shift`, rounded down."""


COUNT = len(Predictor)


@dataclass(frozen=True, slots=True)
class Residuals:
    """Columns as the surprise that is left of them.

    Attributes:
        predictor: int64, shape (columns,), `Predictor`.
        head: int64, shape (columns,).
        slope: int64, shape (columns,), 0 where the predictor is not LINE.
        count: int64, shape (columns,), residuals of each column: its rows, one less where the
            head is the first value.
        folded: uint64, shape (sum of count,), column after column: 0, -1, 1, -2, 2, ... as
            0, 1, 2, 3, 4, ...
    """

    predictor: I64
    head: I64
    slope: I64
    count: I64
    folded: U64


def slope_shift(rows: I64) -> I64:
    """Fraction bits of a line's slope: enough that rounding it costs less than half a unit."""
    return bit_lengths(rows.view(np.uint64)) + 1


def residual_counts(predictor: I64, rows: I64) -> I64:
    """Residuals of each column: a first value that is the head leaves none."""
    return rows - (predictor <= Predictor.DIFFERENCE_3)


def fold(values: I64) -> U64:
    """0, -1, 1, -2, 2, ... become 0, 1, 2, 3, 4, ..."""
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def unfold(values: U64) -> I64:
    """The inverse of `fold`."""
    return (values >> np.uint64(1)).view(np.int64) ^ -(values & np.uint64(1)).view(np.int64)


def predict(values: I64, rows: I64) -> Residuals:
    """Choose each column's predictor and take its residuals.

    Args:
        values: int64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.
    """
    starts = np.cumsum(rows) - rows
    line_head, line_slope = _fit_lines(values, starts, rows)
    level = _means(values, starts, rows)
    predictor = _choose(values, starts, rows, level, line_head, line_slope)
    head = values[starts]
    head = np.where(predictor == Predictor.LEVEL, level, head)
    head = np.where(predictor == Predictor.LINE, line_head, head)
    slope = np.where(predictor == Predictor.LINE, line_slope, 0)

    residuals = np.empty_like(values)
    residuals[0] = 0
    np.subtract(values[1:], values[:-1], out=residuals[1:])
    first = np.zeros(len(values), np.bool_)
    for order in (Predictor.DIFFERENCE_2, Predictor.DIFFERENCE_3):
        again = (predictor >= order) & (predictor <= Predictor.DIFFERENCE_3) & (rows > 1)
        if again.any():
            at = places(starts[again] + 1, rows[again] - 1)
            once = residuals[at]
            length = rows[again] - 1
            twice = once.copy()
            twice[1:] -= once[:-1]
            begin = np.cumsum(length) - length
            twice[begin] = once[begin]
            residuals[at] = twice
    flat = predictor > Predictor.DIFFERENCE_3
    if flat.any():
        at = places(starts[flat], rows[flat])
        residuals[at] = values[at] - _lines(head[flat], slope[flat], rows[flat])
    first[starts[~flat]] = True
    return Residuals(
        predictor, head, slope, residual_counts(predictor, rows), fold(residuals[~first])
    )


def restore(residuals: Residuals, rows: I64) -> I64:
    """The inverse of `predict`.

    Args:
        residuals: As `predict` gave them.
        rows: int64, shape (columns,), each at least 1.

    Returns:
        int64, shape (sum of rows,).
    """
    predictor, head = residuals.predictor, residuals.head
    starts = np.cumsum(rows) - rows
    values = np.empty(int(rows.sum()), np.int64)
    difference = predictor <= Predictor.DIFFERENCE_3
    inner = np.ones(len(values), np.bool_)
    inner[starts[difference]] = False
    values[starts[difference]] = 0
    values[inner] = unfold(residuals.folded)
    for order in (Predictor.DIFFERENCE_3, Predictor.DIFFERENCE_2):
        again = difference & (predictor >= order) & (rows > 1)
        if again.any():
            length = rows[again] - 1
            at = places(starts[again] + 1, length)
            values[at] = _running_sums(values[at], length)
    values[starts[difference]] = head[difference]
    if difference.any():
        at = places(starts[difference], rows[difference])
        values[at] = _running_sums(values[at], rows[difference])
    flat = ~difference
    if flat.any():
        at = places(starts[flat], rows[flat])
        values[at] += _lines(head[flat], residuals.slope[flat], rows[flat])
    return values


def _running_sums(values: I64, lengths: I64) -> I64:
    """Sums from the start of each column, wrapping around."""
    begin = np.cumsum(lengths) - lengths
    sums: I64 = np.cumsum(values)
    sums -= np.repeat(sums[begin] - values[begin], lengths)
    return sums


def _lines(head: I64, slope: I64, rows: I64) -> I64:
    """Every row's place on its column's line; one behind the other."""
    row = places(np.zeros_like(rows), rows)
    shift = np.repeat(slope_shift(rows), rows)
    return np.repeat(head, rows) + ((row * np.repeat(slope, rows)) >> shift)


def _means(values: I64, starts: I64, rows: I64) -> I64:
    mean = np.add.reduceat(values.astype(np.float64), starts) / rows
    return _whole(mean)


def _whole(numbers: NDArray[np.float64]) -> I64:
    """Round; what no int64 holds becomes 0, which predicts badly and breaks nothing."""
    return np.where(np.abs(numbers) < 2.0**62, np.rint(numbers), 0).astype(np.int64)


def _fit_lines(values: I64, starts: I64, rows: I64) -> tuple[I64, I64]:
    """Lines through the mean of each column's first and last third."""
    third = np.maximum(rows // 3, 1)
    sums = np.concatenate((np.zeros(1), np.cumsum(values.astype(np.float64))))
    early = (sums[starts + third] - sums[starts]) / third
    ends = starts + rows
    late = (sums[ends] - sums[ends - third]) / third
    scale = np.exp2(slope_shift(rows))
    slope = _whole((late - early) / np.maximum(rows - third, 1) * scale)
    mean = (sums[ends] - sums[starts]) / rows
    return _whole(mean - slope / scale * (rows - 1) / 2), slope


def _choose(
    values: I64, starts: I64, rows: I64, level: I64, line_head: I64, line_slope: I64
) -> I64:
    """Guess from excerpts which predictor costs each column the fewest bits."""
    piece = np.arange(_EXCERPTS)
    stride = np.maximum((rows - _ROWS) // (_EXCERPTS - 1), _ROWS)
    row = (piece[None, :] * stride[:, None])[:, :, None] + np.arange(_ROWS)
    inside = row < rows[:, None, None]
    row = np.minimum(row, rows[:, None, None] - 1)
    x = values[starts[:, None, None] + row]
    used = inside[:, :, 3:]
    samples = used.sum(axis=(1, 2))

    def bits(residual: I64) -> NDArray[np.float64]:
        size = np.log2(np.abs(residual.astype(np.float32)) * np.float32(2) + np.float32(1))
        total: NDArray[np.float64] = (size * used).sum(axis=(1, 2), dtype=np.float64)
        total *= rows / np.maximum(samples, 1)
        return total

    cost = np.empty((COUNT, len(rows)))
    difference = x
    for order in range(3):
        difference = difference[:, :, 1:] - difference[:, :, :-1]
        cost[order] = bits(difference[:, :, 2 - order :]) + 3 * order
    cost[Predictor.LEVEL] = bits(x[:, :, 3:] - level[:, None, None]) + 3
    shift = slope_shift(rows)[:, None, None]
    line = line_head[:, None, None] + ((row * line_slope[:, None, None]) >> shift)
    slope_bits = bit_lengths(np.abs(line_slope).view(np.uint64)) + 4
    cost[Predictor.LINE] = bits(x[:, :, 3:] - line[:, :, 3:]) + slope_bits
    best: I64 = np.argmin(cost, axis=0)
    # Too short to judge: the plain difference has the cheapest head.
    return np.where(samples == 0, int(Predictor.DIFFERENCE_1), best)
