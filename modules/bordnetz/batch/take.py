"""Residuals of columns whose predictors are chosen: the inverse of `predict.restore`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64, places
from bordnetz.batch.predict import COUNT, HAS_FACTOR, MAX_LAG, ORDER, RATIO_BITS, Predictor

F64 = NDArray[np.float64]

NARROW = 1 << 28
"""Residuals of values less far apart fit 32 bits, which halves the time."""

_SMALL = 4096
"""Values of which it takes longer to find out whether they are narrow than it saves."""

_LARGE = 2.0**62

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Choice:
    """Which predictor suits which column; all arrays int64, shape (columns,).

    Attributes:
        predictor: `Predictor`.
        factor: Ratio to a sister, modulus of a counter; of no meaning for others.
        lag: How many columns before is the sister, 1 to `MAX_LAG`; of no meaning for others.
    """

    predictor: I64
    factor: I64
    lag: I64

    @cached_property
    def where(self) -> list[I64]:
        """The columns of each predictor."""
        return [(self.predictor == kind).nonzero()[0] for kind in range(COUNT)]

    @cached_property
    def twice(self) -> NDArray[np.bool_] | None:
        """bool, shape (columns,), of which differences are taken twice; None where of none."""
        twice = ORDER[self.predictor] == 2
        return twice if twice.any() else None

    @cached_property
    def with_factor(self) -> I64:
        """The columns that have a factor in the batch."""
        return HAS_FACTOR[self.predictor].nonzero()[0]

    def part(self, begin: int, end: int) -> Choice:
        """That of some columns."""
        return Choice(self.predictor[begin:end], self.factor[begin:end], self.lag[begin:end])

    @classmethod
    def joined(cls, choices: Sequence[Choice]) -> Choice:
        """That of the columns of all."""
        return cls(
            np.concatenate([choice.predictor for choice in choices]),
            np.concatenate([choice.factor for choice in choices]),
            np.concatenate([choice.lag for choice in choices]),
        )


@dataclass(frozen=True, slots=True)
class Taken:
    """Predicted columns.

    Attributes:
        choice: The predictors.
        head: int64, shape (columns,), the values that predictions begin with.
        factor: int64, shape (columns,), as `predict.Model` has it.
        residuals: uint32 or uint64, folded, shape (sum of rows,).
    """

    choice: Choice
    head: I64
    factor: I64
    residuals: NDArray[Any]


def take(values: NDArray[Any], rows: I64, starts: I64, choice: Choice, shift: int) -> Taken:
    """Take residuals.

    Args:
        values: int32 or int64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,), each at least 1.
        starts: int64, shape (columns,), where they start.
        choice: What cannot be (a sister of another length, a value that is not below a counter's
            modulus) becomes a second difference.
        shift: `slope_shift` of all columns of the batch.
    """
    # Little is moved in 64 bits as soon as it is known to fit 32.
    near = len(values) > _SMALL and _is_narrow(int(values.min()), int(values.max()))
    x: NDArray[Any] = values.astype(np.int32 if near else np.int64, copy=False)
    choice = _possible(choice, x, rows, starts)
    _, _, line, floor, counter, sister = choice.where
    head = x[starts].astype(np.int64, copy=False)
    factor = np.zeros(len(rows), np.int64)
    signed = differences(x, starts)
    if choice.twice is not None:
        np.copyto(signed, differences(signed, starts), where=choice.twice.repeat(rows))
    if len(counter):
        length = rows[counter]
        at = places(starts[counter], length)
        factor[counter] = choice.factor[counter]
        wrap = wrapped(signed[at], factor[counter].repeat(length))
        signed[at] = wrap.astype(x.dtype, copy=False)
    if len(line):
        length = rows[line]
        at = places(starts[line], length)
        head[line], factor[line], rest = draw(x[at], length, shift)
        # To cast while scattering takes three times as long.
        signed[at] = rest.astype(x.dtype, copy=False)
    if len(sister):
        length = rows[sister]
        at = places(starts[sister], length)
        other = at - (starts[sister] - starts[sister - choice.lag[sister]]).repeat(length)
        factor[sister] = choice.factor[sister]
        head[sister], rest = follow(x[at], x[other], factor[sister], length)
        if near and max(int(rest.max()), -int(rest.min())) >= NARROW << 2:
            signed = signed.astype(np.int64)
        signed[at] = rest.astype(signed.dtype, copy=False)
    residuals = _fold(signed)
    if len(floor):
        length = rows[floor]
        at = places(starts[floor], length)
        y = x[at]
        low = np.minimum.reduceat(y, length.cumsum() - length)
        head[floor] = low
        residuals[at] = (y - low.repeat(length)).view(f"u{y.itemsize}")
    return Taken(choice, head, factor, residuals)


def _is_narrow(low: int, high: int) -> bool:
    """Whether 32 bits hold the values, and their residuals."""
    return high - low < NARROW and low >= _INT32.min and high <= _INT32.max


def _possible(choice: Choice, x: NDArray[Any], rows: I64, starts: I64) -> Choice:
    """Take second differences where the choice cannot be."""
    counter, sister = choice.where[Predictor.COUNTER], choice.where[Predictor.SISTER]
    wrong = []
    if len(counter):
        length = rows[counter]
        y, begin = x[places(starts[counter], length)], length.cumsum() - length
        modulus = choice.factor[counter]
        able = (np.minimum.reduceat(y, begin) >= 0) & (np.maximum.reduceat(y, begin) < modulus)
        wrong.append(counter[~able])
    if len(sister):
        lag = choice.lag[sister]
        other = sister - lag
        # A sister is read before the columns that follow it, so it follows none itself.
        follows = choice.predictor[other] == Predictor.SISTER
        able = (lag > 0) & (lag <= MAX_LAG) & (other >= 0) & (rows[other] == rows[sister])
        wrong.append(sister[~able | follows])
    if not any(map(len, wrong)):
        return choice
    predictor = choice.predictor.copy()
    predictor[np.concatenate(wrong)] = Predictor.DIFFERENCE_2
    return replace(choice, predictor=predictor)


def differences(x: NDArray[Any], starts: I64) -> NDArray[Any]:
    """From each row to the next of its column; 0 in the first."""
    steps = np.empty(len(x), x.dtype)
    np.subtract(x[1:], x[:-1], out=steps[1:])
    steps[starts] = 0
    return steps


def wrapped(second: NDArray[Any], modulus: NDArray[Any]) -> NDArray[Any]:
    """Second differences, as near to zero as the modulus lets them."""
    half = modulus >> 1
    rest: NDArray[Any] = (second + half) % modulus
    rest -= half
    return rest


def draw(y: NDArray[Any], rows: I64, shift: int) -> tuple[I64, I64, I64]:
    """Draw a line of least squares through each column.

    Args:
        y: int32 or int64, shape (sum of rows,), column after column.
        rows: int64, shape (columns,).
        shift: Fraction bits of the slopes.

    Returns:
        Heads and slopes, shape (columns,), and what the lines leave, shape (sum of rows,).
    """
    starts = rows.cumsum()
    starts -= rows
    row = np.arange(len(y))
    row -= starts.repeat(rows)
    first = y[starts].astype(np.int64, copy=False)
    rest = y - first.repeat(rows)
    mean = np.add.reduceat(rest, starts) / rows
    middle = (rows - 1) * 0.5
    # Covariance and variance, which is (n^2 - 1) / 12 of 0 to n - 1; a single row has no slope.
    slope = np.add.reduceat(rest * row, starts) / rows
    slope -= mean * middle
    slope /= np.maximum(middle * (middle + 1), 0.25) * (1 / 3)
    factor = whole(slope * (1 << shift))
    head = whole(mean - factor * (middle * 0.5**shift))
    row *= factor.repeat(rows)
    row >>= shift
    row += head.repeat(rows)
    rest -= row
    head += first
    return head, factor, rest


def follow(y: NDArray[Any], sister: NDArray[Any], factor: I64, rows: I64) -> tuple[I64, I64]:
    """Predict columns by others.

    Args:
        y: int32 or int64, shape (sum of rows,), column after column.
        sister: As ``y``, the columns that they follow.
        factor: int64, shape (columns,), the ratios, with `RATIO_BITS` of fraction.
        rows: int64, shape (columns,).

    Returns:
        Heads, shape (columns,), and what is left, shape (sum of rows,).
    """
    share = sister * factor.repeat(rows)
    share >>= RATIO_BITS
    rest = y - share
    head = whole(np.add.reduceat(rest, rows.cumsum() - rows, dtype=np.float64) / rows)
    rest -= head.repeat(rows)
    return head, rest


def whole(numbers: F64) -> I64:
    """Round; what no int64 holds becomes a bound, which predicts badly and breaks nothing."""
    return np.rint(numbers).clip(-_LARGE, _LARGE).astype(np.int64)


def _fold(signed: NDArray[Any]) -> NDArray[Any]:
    """As `predict.fold`, in place, for both widths."""
    sign = signed >> (8 * signed.itemsize - 1)
    signed <<= 1
    signed ^= sign
    return signed.view(np.uint64 if signed.itemsize == 8 else np.uint32)
