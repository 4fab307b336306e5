"""How columns are predicted: what the predictors mean, and columns made again from residuals.

Residuals are lossless for all 64 bits: every sum, product and difference wraps around.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from bordnetz.batch.bits import I64, U64, places

MAX_LAG = 8
"""How many columns back a sister is looked for."""

MAX_MODULUS = 1 << 16
"""Largest modulus of a counter; sums of 2**20 residuals below it do not overflow."""

RATIO_BITS = 16
"""Fraction bits of the ratio to a sister."""


class Predictor(IntEnum):
    """How a column is predicted; the numbers are the format's."""

    DIFFERENCE_1 = 0
    """The head plus the sum of all residuals so far."""
    DIFFERENCE_2 = 1
    """As DIFFERENCE_1, of the sums of the residuals."""
    LINE = 2
    """The head plus row x factor / 2**`slope_shift`, rounded down."""
    FLOOR = 3
    """The head; residuals are not folded, since it is the least value."""
    COUNTER = 4
    """As DIFFERENCE_2, all of it modulo the factor."""
    SISTER = 5
    """The head plus the same row of an earlier column x factor / 2**`RATIO_BITS`, rounded down."""


COUNT = len(Predictor)

HAS_FACTOR = np.isin(list(Predictor), (Predictor.LINE, Predictor.COUNTER, Predictor.SISTER))

ORDER = np.array([1, 2, 0, 0, 2, 0])
"""How often each predictor sums its residuals up."""


@dataclass(frozen=True, slots=True)
class Model:
    """How columns are predicted; all arrays int64, shape (columns,).

    Attributes:
        predictor: `Predictor`.
        head: The value that the prediction begins with.
        factor: Slope of a line, ratio to a sister, modulus of a counter; 0 for others.
        lag: How many columns before is the sister, 1 to `MAX_LAG`; 0 for others.
    """

    predictor: I64
    head: I64
    factor: I64
    lag: I64


def slope_shift(rows: I64) -> int:
    """Fraction bits of slopes: enough that rounding costs less than half a unit."""
    return int(rows.max()).bit_length() + 1


def fold(values: I64) -> U64:
    """0, -1, 1, -2, 2, ... become 0, 1, 2, 3, 4, ..."""
    folded = values << 1
    folded ^= values >> 63
    return folded.view(np.uint64)


def unfold(values: U64) -> I64:
    """The inverse of `fold`."""
    return (values >> np.uint64(1)).view(np.int64) ^ -(values & np.uint64(1)).view(np.int64)


def restore(folded: U64, rows: I64, model: Model) -> I64:
    """Make columns of their residuals.

    Args:
        folded: uint64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.
        model: That they were taken with; sisters must be earlier columns of as many rows that
            have no sister themselves, moduli positive.

    Returns:
        int64, shape (sum of rows,).
    """
    starts = np.cumsum(rows) - rows
    values = unfold(folded)
    predictor = model.predictor
    floor = predictor == Predictor.FLOOR
    if floor.any():
        at = places(starts[floor], rows[floor])
        values[at] = folded[at].view(np.int64)
    order = ORDER[predictor]
    for times in range(int(order.max()), 0, -1):
        chosen = order >= times
        if chosen.all():
            values = _running_sums(values, rows)
        else:
            at = places(starts[chosen], rows[chosen])
            values[at] = _running_sums(values[at], rows[chosen])
    values += np.repeat(model.head, rows)
    line = predictor == Predictor.LINE
    if line.any():
        length = rows[line]
        row = places(np.zeros_like(length), length)
        rise = (row * np.repeat(model.factor[line], length)) >> slope_shift(rows)
        values[places(starts[line], length)] += rise
    counter = predictor == Predictor.COUNTER
    if counter.any():
        at = places(starts[counter], rows[counter])
        values[at] %= np.repeat(model.factor[counter], rows[counter])
    sister = np.flatnonzero(predictor == Predictor.SISTER)
    if len(sister):
        other = places(starts[sister - model.lag[sister]], rows[sister])
        share = (values[other] * np.repeat(model.factor[sister], rows[sister])) >> RATIO_BITS
        values[places(starts[sister], rows[sister])] += share
    return values


def _running_sums(values: I64, lengths: I64) -> I64:
    """Sums from the start of each column, wrapping around."""
    begin = np.cumsum(lengths) - lengths
    sums: I64 = np.cumsum(values)
    sums -= np.repeat(sums[begin] - values[begin], lengths)
    return sums
