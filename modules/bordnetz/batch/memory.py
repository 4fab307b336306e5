"""What a writer remembers of the batches before.

Most batches have the same series as the one before, and what suits a signal changes slowly.  What
follows from the series alone is worked out once.  Predictors are looked for, which takes longer
than all the rest, only in every `_ANEW`-th batch, where a column is new, and where a batch is
larger than expected.  Of some hundred numbers, though, a look is worth a tenth of the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64, places
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.predict import Predictor
from bordnetz.batch.take import Choice
from bordnetz.series import Samples

_ANEW = 16
"""Batches until all predictors are looked for again."""

_SURPRISE = 1.08
"""Times the bytes of the last look that are not yet a reason for another."""

_FEW, _MANY = 64, 1024
"""Fewer numbers cost the same whatever predicts them, more are like those before."""

_MOST = 64
"""Sets of series that are remembered."""

_UNKNOWN = -1


@dataclass(slots=True)
class Series:
    """What of a batch depends on its series alone.

    Attributes:
        group: Of each series, less that of the series before.
        id: Of each series; none where all are those of their groups.
        missing: How many of its group's last signals each series lacks; none where none does.
        having: bool, shape (series,), which have quality; None where none has.
        source: int64, shape (columns,), which series each column is of, times first.
        columns: int64, shape (columns,), which columns of the dictionary they are.
        choice: How they are predicted; None where that is not known.
    """

    group: list[int]
    id: list[int]
    missing: list[int]
    having: NDArray[np.bool_] | None
    source: I64
    columns: I64
    choice: Choice | None = None


class Memory:
    """What is known of a dictionary's columns.

    Each group has a column of times, each of its signals a column of values; the times of all
    groups come first.

    Args:
        dictionary: Of all batches.

    Attributes:
        repeats: Whether zstandard may make coded columns smaller.
    """

    def __init__(self, dictionary: Dictionary) -> None:
        self._dictionary = dictionary
        widths = dictionary.widths
        self._first = len(widths) + widths.cumsum() - widths
        columns = len(widths) + int(widths.sum())
        self._predictor = np.full(columns, _UNKNOWN)
        self._factor = np.zeros(columns, np.int64)
        self._sister = np.zeros(columns, np.int64)
        self._known: dict[bytes, Series] = {}
        self._left = 0
        self._each = 0.0
        self.repeats = False

    def series(self, samples: Samples) -> Series | None:
        """What is remembered of a batch's series; None where nothing is."""
        return self._known.get(_key(samples))

    def meet(self, samples: Samples) -> Series:
        """Work out what depends on the series.

        Args:
            samples: Each series once, ascending.
        """
        dictionary = self._dictionary
        group, width = samples.group, samples.width.astype(np.int64)
        missing = dictionary.widths[group] - width
        having = dictionary.has_quality[group]
        number = np.arange(len(group))
        series = Series(
            group=np.diff(group, prepend=0).tolist(),
            id=samples.id.tolist() if (samples.id != dictionary.ids[group]).any() else [],
            missing=missing.tolist() if missing.any() else [],
            having=having if having.any() else None,
            source=np.concatenate((number, number.repeat(width))),
            columns=np.concatenate((group, places(self._first[group], width))),
        )
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[_key(samples)] = series
        return series

    def recall(self, series: Series, numbers: int) -> Choice | None:
        """How the columns of so many numbers were predicted last; None where to look for it."""
        if not self._left or _FEW <= numbers < _MANY:
            return None
        self._left -= 1
        if series.choice is None:
            columns = series.columns
            predictor = self._predictor[columns]
            if int(predictor.min()) == _UNKNOWN:
                return None
            number = np.arange(len(columns))
            where = np.zeros(len(self._predictor), np.int64)
            where[columns] = number
            sister = predictor == Predictor.SISTER
            lag = np.where(sister, number - where[self._sister[columns]], 0)
            series.choice = Choice(predictor, self._factor[columns], lag)
        return series.choice

    def is_surprised(self, size: int, numbers: int) -> bool:
        """Whether a batch's columns took more bytes than the last ones, which is worth a look."""
        return numbers >= _MANY and size > self._each * numbers * _SURPRISE

    def learn(self, series: Series, choice: Choice, size: int, numbers: int) -> None:
        """Remember how columns are predicted, and that so many numbers took so many bytes."""
        self._each = size / numbers
        columns = series.columns
        self._predictor[columns] = choice.predictor
        self._factor[columns] = choice.factor
        self._sister[columns] = columns[np.arange(len(columns)) - choice.lag]
        for known in self._known.values():
            known.choice = None
        self._left = _ANEW - 1


def _key(samples: Samples) -> bytes:
    return samples.group.tobytes() + samples.id.tobytes() + samples.width.tobytes()
