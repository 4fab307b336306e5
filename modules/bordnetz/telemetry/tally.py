"""The tally of the checks: what was found of each message's frames since the module has started."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.validity import Count, Validity

FINDINGS = {
    "wrongCrc": Count.WRONG_CRC,
    "repeated": Count.REPEATED,
    "missing": Count.MISSING,
    "outOfSequence": Count.OUT_OF_SEQUENCE,
    "missedCycles": Count.MISSED,
    "duplicates": Count.DUPLICATE,
    "pauses": Count.PAUSE,
}
"""What is found, by the name under which it is told."""

SHOWN = 20
"""Messages that `Tally.page` names."""


class Tally:
    """Counts by message; outlives configurations and bundles, in which messages come and go."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        # Of those that have looked before; who looks now counts for itself.
        self._before = np.zeros((len(Count), 0), np.int64)
        self._now: tuple[list[int], Validity] | None = None

    def follow(self, validity: Validity | None) -> None:
        """Count what is found by this one from here on; None: nothing is checked any more."""
        self._before = self._counts()
        self._now = None
        if validity is not None:
            rows = [self._rows.setdefault(one.name, len(self._rows)) for one in validity.messages]
            new = np.zeros((len(Count), len(self._rows) - self._before.shape[1]), np.int64)
            self._before = np.concatenate((self._before, new), axis=1)
            self._now = rows, validity

    def _counts(self) -> NDArray[np.int64]:
        """int64, shape (`Count`, messages), from the start on."""
        counts = self._before.copy()
        if self._now is not None:
            rows, validity = self._now
            counts[:, rows] += validity.counts
        return counts

    def by_message(self) -> dict[str, dict[str, int]]:
        """Frames of each message, and what was found of it where that is more than nothing."""
        counts = self._counts()
        return {name: self._line(counts[:, row]) for name, row in self._rows.items()}

    def page(self) -> dict[str, Any]:
        """All messages together, those of which most was found, and those that are silent now."""
        lines = sorted(self.by_message().items(), key=lambda line: -_trouble(line[1]))
        total = self._counts().sum(axis=1)
        now = None if self._now is None else self._now[1]
        return {
            "messages": 0 if now is None else len(now.messages),
            "frames": int(total[Count.FRAMES]),
            **{name: int(total[count]) for name, count in FINDINGS.items()},
            "worst": {name: line for name, line in lines[:SHOWN] if _trouble(line)},
            "silent": [] if now is None else now.silent()[:SHOWN],
        }

    @staticmethod
    def _line(counts: NDArray[np.int64]) -> dict[str, int]:
        found = {name: int(counts[count]) for name, count in FINDINGS.items() if counts[count]}
        return {"frames": int(counts[Count.FRAMES]), **found}


def _trouble(line: dict[str, int]) -> int:
    return sum(line.values()) - line["frames"]
