"""Columns as the surprise that a prediction leaves of them, and back.

Residuals are lossless for all 64 bits: every sum, product and difference wraps around.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64, U64, places
from bordnetz.batch.fit import RATIO_BITS, Model, Predictor, slope_shift, wrap

_TWICE = np.isin(
    list(Predictor), (Predictor.DIFFERENCE_2, Predictor.DIFFERENCE_3, Predictor.COUNTER)
)


def fold(values: I64) -> U64:
    """0, -1, 1, -2, 2, ... become 0, 1, 2, 3, 4, ..."""
    folded = values << 1
    folded ^= values >> 63
    return folded.view(np.uint64)


def unfold(values: U64) -> I64:
    """The inverse of `fold`."""
    return (values >> np.uint64(1)).view(np.int64) ^ -(values & np.uint64(1)).view(np.int64)


def predict(values: I64, rows: I64, model: Model) -> U64:
    """Take the residuals.

    Args:
        values: int64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.
        model: How to predict them.

    Returns:
        uint64, folded, column after column; a column has as many as it has rows, one less
        where the head is the first value.
    """
    starts = np.cumsum(rows) - rows
    residuals = np.empty_like(values)
    residuals[0] = 0
    np.subtract(values[1:], values[:-1], out=residuals[1:])
    for again in (_TWICE[model.predictor], model.predictor == Predictor.DIFFERENCE_3):
        at, first = _inner(starts, rows, again & (rows > 1))
        once = residuals[at]
        residuals[at[1:]] -= once[:-1]
        residuals[at[first]] = once[first]
    counter = model.predictor == Predictor.COUNTER
    if counter.any():
        at = places(starts[counter], rows[counter])
        residuals[at] = wrap(residuals[at], np.repeat(model.factor[counter], rows[counter]))
    for predictor in (Predictor.LEVEL, Predictor.LINE, Predictor.SISTER):
        chosen = model.predictor == predictor
        if chosen.any():
            at = places(starts[chosen], rows[chosen])
            residuals[at] = values[at] - _expected(predictor, chosen, values, starts, rows, model)
    inner = np.ones(len(values), np.bool_)
    inner[starts[model.has_first]] = False
    return fold(residuals[inner])


def restore(folded: U64, rows: I64, model: Model) -> I64:
    """The inverse of `predict`.

    Args:
        folded: As `predict` gave them.
        rows: int64, shape (columns,), each at least 1.
        model: That they were taken with; sisters must be earlier columns of as many rows that
            have no sister themselves, moduli positive.

    Returns:
        int64, shape (sum of rows,).
    """
    starts = np.cumsum(rows) - rows
    values = np.empty(int(rows.sum()), np.int64)
    first = model.has_first
    inner = np.ones(len(values), np.bool_)
    inner[starts[first]] = False
    values[inner] = unfold(folded)
    values[starts[first]] = model.head[first]
    for again in (model.predictor == Predictor.DIFFERENCE_3, _TWICE[model.predictor]):
        again = again & (rows > 1)
        at, _ = _inner(starts, rows, again)
        values[at] = _running_sums(values[at], rows[again] - 1)
    at = places(starts[first], rows[first])
    values[at] = _running_sums(values[at], rows[first])
    counter = model.predictor == Predictor.COUNTER
    if counter.any():
        at = places(starts[counter], rows[counter])
        values[at] %= np.repeat(model.factor[counter], rows[counter])
    for predictor in (Predictor.LEVEL, Predictor.LINE, Predictor.SISTER):
        chosen = model.predictor == predictor
        if chosen.any():
            at = places(starts[chosen], rows[chosen])
            values[at] += _expected(predictor, chosen, values, starts, rows, model)
    return values


def _inner(starts: I64, rows: I64, chosen: NDArray[np.bool_]) -> tuple[I64, I64]:
    """Where the chosen columns' rows but the first are, and which of these are each's first."""
    length = rows[chosen] - 1
    return places(starts[chosen] + 1, length), np.cumsum(length) - length


def _running_sums(values: I64, lengths: I64) -> I64:
    """Sums from the start of each column, wrapping around."""
    begin = np.cumsum(lengths) - lengths
    sums: I64 = np.cumsum(values)
    sums -= np.repeat(sums[begin] - values[begin], lengths)
    return sums


def _expected(
    predictor: Predictor,
    chosen: NDArray[np.bool_],
    values: I64,
    starts: I64,
    rows: I64,
    model: Model,
) -> I64:
    """What the chosen columns are without their residuals."""
    length = rows[chosen]
    expected: I64 = np.repeat(model.head[chosen], length)
    if predictor is Predictor.LEVEL:
        return expected
    factor = np.repeat(model.factor[chosen], length)
    if predictor is Predictor.LINE:
        row = places(np.zeros_like(length), length)
        return expected + ((row * factor) >> np.repeat(slope_shift(length), length))
    sister = (np.arange(len(rows)) - model.lag)[chosen]
    return expected + ((values[places(starts[sister], length)] * factor) >> RATIO_BITS)
