"""Integer columns to bytes and back, all columns in one pass.

The way there: predict (`predict.py`), choose for each column how its residuals are coded, write
all code words as one bit string and all plain bits as another.  A column's residuals, folded to
unsigned numbers, are coded in one of three ways:

* **prefix code**: the residual without its lowest ``shift`` bits is a symbol of one of the fixed
  codes (`codes.py`), the low bits are plain;
* **plain**: ``shift`` bits each, for what has no shape, such as checksums;
* **sparse**: mostly zero.  Columns of like density are laid end to end, and only the length of
  each run of zeros and the number behind it are coded, as two columns of the pool.

`docs/batch.md` has the layout byte by byte.
"""

from __future__ import annotations

import numpy as np

from bordnetz.batch.bits import I64
from bordnetz.batch.predict import COUNT as PREDICTORS
from bordnetz.batch.predict import (
    Predictor,
    Residuals,
    fold,
    predict,
    residual_counts,
    restore,
    unfold,
)
from bordnetz.batch.residuals import decode_residuals, encode_residuals
from bordnetz.batch.streams import Sink, Source


def encode(values: I64, rows: I64) -> bytes:
    """Encode columns.

    Args:
        values: int64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.

    Returns:
        Bytes that `decode` understands together with ``rows``.
    """
    if not len(rows):
        return b""
    residuals = predict(values, rows)
    sink = Sink()
    sink.small(residuals.predictor)
    sink.numbers(fold(residuals.head))
    sink.numbers(fold(residuals.slope[residuals.predictor == Predictor.LINE]))
    encode_residuals(sink, residuals.folded, residuals.count)
    return sink.bytes()


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
    predictor = source.small(len(rows))
    if (predictor >= PREDICTORS).any():
        raise ValueError(f"predictor {int(predictor.max())} is not known")
    head = unfold(source.numbers(len(rows)))
    lines = predictor == Predictor.LINE
    slope = np.zeros(len(rows), np.int64)
    slope[lines] = unfold(source.numbers(int(np.count_nonzero(lines))))
    count = residual_counts(predictor, rows)
    folded = decode_residuals(source, count)
    source.end()
    return restore(Residuals(predictor, head, slope, count, folded), rows)
