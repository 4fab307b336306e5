"""Integer columns to bytes and back, all columns in one pass.

The way there: predict each column (`fit.py`, `predict.py`), choose for each how its residuals
are coded (`residuals.py`), write all code words as one bit string and all plain bits as another
(`streams.py`, `codes.py`, `bits.py`).  `docs/batch.md` has the layout byte by byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64
from bordnetz.batch.fit import fit
from bordnetz.batch.predict import COUNT as PREDICTORS
from bordnetz.batch.predict import (
    HAS_FACTOR,
    MAX_LAG,
    MAX_MODULUS,
    Model,
    Predictor,
    fold,
    restore,
    slope_shift,
    unfold,
)
from bordnetz.batch.residuals import decode_residuals, encode_residuals
from bordnetz.batch.streams import Sink, Source
from bordnetz.batch.take import Choice, Taken, take

_PREDICTOR_BITS, _LAG_BITS = 3, 4

_PART = 1 << 16
"""Values, about, for which predictors are chosen at once."""


def encode(values: NDArray[Any], rows: I64, choice: Choice | None = None) -> tuple[bytes, Choice]:
    """Encode columns.

    Args:
        values: int32 or int64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), at least one, each at least 1.
        choice: How they are to be predicted; None looks for what suits them.

    Returns:
        Bytes that `decode` understands together with ``rows``, and how they are predicted.
    """
    starts = rows.cumsum()
    starts -= rows
    taken = _take(values, rows, starts, choice)
    del values  # Nobody else may need them any more, and what follows takes as much memory.
    choice = taken.choice
    sink = Sink()
    sink.small(choice.predictor, _PREDICTOR_BITS)
    sink.numbers(fold(np.concatenate((taken.head, taken.factor[choice.with_factor]))))
    if len(sister := choice.where[Predictor.SISTER]):
        sink.small(choice.lag[sister], _LAG_BITS)
    encode_residuals(sink, taken.residuals, rows, starts)
    return sink.bytes(), choice


def _take(values: NDArray[Any], rows: I64, starts: I64, choice: Choice | None) -> Taken:
    """Predict columns in parts that stay in the processor's caches, and need little memory."""
    shift = slope_shift(rows)
    if len(values) <= _PART:
        return take(values, rows, starts, choice or fit(values, rows, starts, shift), shift)
    residuals: NDArray[Any] = np.empty(len(values), np.uint32)
    parts = []
    column = 0
    while column < len(rows):
        begin = int(starts[column])
        last = max(int(starts.searchsorted(begin + _PART, side="right")) - 1, column + 1)
        end = int(starts[last]) if last < len(rows) else len(values)
        part, length, first = values[begin:end], rows[column:last], starts[column:last] - begin
        chosen = choice.part(column, last) if choice else fit(part, length, first, shift)
        taken = take(part, length, first, chosen, shift)
        if taken.residuals.itemsize > residuals.itemsize:
            residuals = residuals.astype(taken.residuals.dtype)
        residuals[begin:end] = taken.residuals
        parts.append(taken)
        column = last
    return Taken(
        Choice.joined([part.choice for part in parts]),
        np.concatenate([part.head for part in parts]),
        np.concatenate([part.factor for part in parts]),
        residuals,
    )


def decode(data: bytes, rows: I64) -> I64:
    """The inverse of `encode`.

    Args:
        data: Untrusted.
        rows: int64, shape (columns,), each at least 1; their sum bounds the memory used.

    Returns:
        int64, shape (sum of rows,).

    Raises:
        ValueError: ``data`` is not what `encode` makes for such columns.
    """
    if not len(rows):
        if data:
            raise ValueError("there are column bytes, but no columns")
        return np.empty(0, np.int64)
    source = Source(data)
    model = _read_model(source, rows)
    folded = decode_residuals(source, rows)
    source.end()
    return restore(folded, rows, model)


def _read_model(source: Source, rows: I64) -> Model:
    columns = len(rows)
    predictor = source.small(columns, _PREDICTOR_BITS)
    if (predictor >= PREDICTORS).any():
        raise ValueError(f"predictor {int(predictor.max())} is not known")
    with_factor = HAS_FACTOR[predictor]
    numbers = unfold(source.numbers(columns + int(np.count_nonzero(with_factor))))
    head = numbers[:columns]
    factor = np.zeros(columns, np.int64)
    factor[with_factor] = numbers[columns:]
    modulus = factor[predictor == Predictor.COUNTER]
    if ((modulus < 1) | (modulus > MAX_MODULUS)).any():
        raise ValueError("a counter has no possible modulus")
    sister = predictor == Predictor.SISTER
    lag = np.zeros(columns, np.int64)
    lag[sister] = source.small(int(np.count_nonzero(sister)), _LAG_BITS)
    other = np.arange(columns) - lag
    if (
        (lag[sister] < 1).any()
        or (lag > MAX_LAG).any()
        or (other < 0).any()
        or sister[other[sister]].any()
        or (rows != rows[other]).any()
    ):
        raise ValueError("a column follows one that it cannot follow")
    return Model(predictor, head, factor, lag)
