"""The tally of the checks: what was found of each message's frames since the module has started."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.frames import Frames
from bordnetz.can.validity import Count, Findings, Validity

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
        self._counts = np.zeros((0, len(Count)), np.int64)

    def rows(self, names: Iterable[str]) -> NDArray[np.intp]:
        """Where messages are counted, by qualified name; new ones get a row."""
        rows = [self._rows.setdefault(name, len(self._rows)) for name in names]
        new = np.zeros((len(self._rows) - len(self._counts), len(Count)), np.int64)
        self._counts = np.concatenate((self._counts, new))
        return np.array(rows, np.intp)

    def add(self, rows: NDArray[np.intp], counts: NDArray[np.int64]) -> None:
        """Count findings: ``counts`` as in `Findings`, ``rows`` from `rows`."""
        self._counts[rows] += counts

    def by_message(self) -> dict[str, dict[str, int]]:
        """Frames of each message, and what was found of it where that is more than nothing."""
        return {name: self._line(self._counts[row]) for name, row in self._rows.items()}

    def page(self, messages: int, silent: Iterable[str]) -> dict[str, Any]:
        """All messages together, and those of which most was found.

        Args:
            messages: How many are looked at now.
            silent: Those of them that have fallen silent while their bus goes on.
        """
        lines = sorted(self.by_message().items(), key=lambda line: -_trouble(line[1]))
        total = self._counts.sum(axis=0)
        return {
            "messages": messages,
            "frames": int(total[Count.FRAMES]),
            **{name: int(total[count]) for name, count in FINDINGS.items()},
            "worst": {name: line for name, line in lines[:SHOWN] if _trouble(line)},
            "silent": sorted(silent)[:SHOWN],
        }

    @staticmethod
    def _line(counts: NDArray[np.int64]) -> dict[str, int]:
        found = {name: int(counts[count]) for name, count in FINDINGS.items() if counts[count]}
        return {"frames": int(counts[Count.FRAMES]), **found}


def _trouble(line: dict[str, int]) -> int:
    return sum(line.values()) - line["frames"]


class Inspection:
    """The checks of one configuration at work.

    Args:
        validity: Looks at the frames.
        tally: Counts what it finds.
    """

    def __init__(self, validity: Validity, tally: Tally) -> None:
        self._validity = validity
        self._tally = tally
        self._rows = tally.rows(one.name for one in validity.messages)

    def take(self, frames: Frames) -> Findings:
        """Look at a block of frames and count what is found."""
        findings = self._validity.look(frames)
        self._tally.add(self._rows, findings.counts)
        return findings

    @property
    def messages(self) -> int:
        """How many messages are looked at."""
        return len(self._validity.messages)

    def silent(self) -> list[str]:
        """Messages that have fallen silent while their bus goes on."""
        quiet = self._validity.silent().tolist()
        return [
            one.name
            for one, is_quiet in zip(self._validity.messages, quiet, strict=True)
            if is_quiet
        ]
