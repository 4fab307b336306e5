"""The last value of every series, for the direct method ``snapshot``."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bordnetz.series import Group, Samples, Signal
from bordnetz.telemetry.slots import Slots


@dataclass(frozen=True, slots=True)
class Reading:
    """The last value of one signal of one series.

    Attributes:
        name: Qualified name, ``bus.message.signal``.
        arbitration_id: The id that the frame came under, `EXTENDED` set for 29 bits.
        signal: How the value is read.
        value: Physical value.
        text: The value table's text for it, or None.
        seen: When the frame was decoded, on the clock given to `Latest.update`.
    """

    name: str
    arbitration_id: int
    signal: Signal
    value: float | int
    text: str | None
    seen: float


class Latest:
    """Remembers the last row of each series in two arrays.

    Args:
        groups: The decode table's groups.
    """

    def __init__(self, groups: tuple[Group, ...]) -> None:
        self._groups = groups
        self._width = max((len(group.signals) for group in groups), default=0)
        self._slots = Slots()
        self._group = np.empty(0, np.int32)
        self._id = np.empty(0, np.uint32)
        self._filled = np.empty(0, np.int32)
        self._seen = np.empty(0, np.float64)
        self._raw = np.empty((0, self._width), np.int64)

    def update(self, samples: Samples, now: float) -> None:
        """Take in a block of samples decoded at ``now`` (s, any steady clock)."""
        if not len(samples.group):
            return
        slot = self._slots.of(samples.group, samples.id)
        self._grow(len(self._slots))
        self._group[slot] = samples.group
        self._id[slot] = samples.id
        self._seen[slot] = now
        self._filled[slot] = samples.width
        # The last value of each signal closes its run of `count` values.
        runs = np.repeat(samples.count, samples.width)
        column = np.arange(len(runs)) - np.repeat(
            np.cumsum(samples.width) - samples.width, samples.width
        )
        self._raw[np.repeat(slot, samples.width), column] = samples.values[np.cumsum(runs) - 1]

    def readings(self) -> Iterator[Reading]:
        """The last value of every signal seen so far, in the order their series appeared."""
        for slot in range(len(self._slots)):
            group = self._groups[self._group[slot]]
            width = int(self._filled[slot])
            for name, signal, raw in zip(
                group.names()[:width], group.signals, self._raw[slot, :width], strict=False
            ):
                value = signal.physical(np.array([raw])).item()
                text = dict(signal.choices).get(int(raw))
                seen = float(self._seen[slot])
                yield Reading(name, int(self._id[slot]), signal, value, text, seen)

    def _grow(self, size: int) -> None:
        missing = size - len(self._seen)
        if missing > 0:
            self._group = np.append(self._group, np.zeros(missing, np.int32))
            self._id = np.append(self._id, np.zeros(missing, np.uint32))
            self._filled = np.append(self._filled, np.zeros(missing, np.int32))
            self._seen = np.append(self._seen, np.zeros(missing, np.float64))
            self._raw = np.vstack((self._raw, np.zeros((missing, self._width), np.int64)))
