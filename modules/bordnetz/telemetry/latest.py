"""The last value of every series, for the direct method ``snapshot``."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.slots import Slots
from bordnetz.series import Group, Quality, Samples, Signal


@dataclass(frozen=True, slots=True)
class Reading:
    """The last value of one signal of one series.

    Attributes:
        name: Qualified name, ``bus.message.signal``.
        arbitration_id: The id that the frame came under, `EXTENDED` set for 29 bits.
        signal: How the value is read.
        value: Physical value.
        text: The value table's text for it, or None.
        quality: What is to be said against it; None where nobody asked.
        seen: When the frame was decoded, on the clock given to `Latest.update`.
    """

    name: str
    arbitration_id: int
    signal: Signal
    value: float | int
    text: str | None
    quality: Quality | None
    seen: float


class Latest:
    """Remembers the last row of each series, in arrays.

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
        self._quality = np.empty((0, self._width), np.uint8)

    def update(self, samples: Samples, now: float) -> None:
        """Take in a block of samples decoded at ``now`` (s, any steady clock)."""
        if not len(samples.group):
            return
        # Where a series came at two widths, the row that came last has the last word.
        turn = samples.order[np.cumsum(samples.count) - 1].argsort()
        slot = self._slots.of(samples.group, samples.id)
        self._grow(len(self._slots))
        self._seen[slot] = now
        self._group[slot[turn]] = samples.group[turn]
        self._id[slot[turn]] = samples.id[turn]
        self._filled[slot[turn]] = samples.width[turn]
        # The last value of each signal closes its run of `count` values.
        runs = np.repeat(samples.count, samples.width)
        column = np.arange(len(runs)) - np.repeat(
            np.cumsum(samples.width) - samples.width, samples.width
        )
        last = np.cumsum(runs) - 1
        order = np.argsort(np.repeat(turn.argsort(), samples.width), kind="stable")
        place = np.repeat(slot, samples.width)[order], column[order]
        self._raw[place] = samples.values[last][order]
        if samples.quality is not None:
            self._quality[place] = samples.quality[last][order]

    def readings(self, wanted: Callable[[str], object], most: int) -> tuple[list[Reading], int]:
        """The last values of signals, in the order their series appeared.

        Args:
            wanted: Says of a qualified name whether it is; asked once for each signal.
            most: No more readings than these.

        Returns:
            The readings, and how many more there are.
        """
        columns: dict[int, list[int]] = {}
        found: list[Reading] = []
        more = 0
        for slot in range(len(self._slots)):
            number = int(self._group[slot])
            group = self._groups[number]
            if number not in columns:
                names = group.names()
                columns[number] = [column for column in range(len(names)) if wanted(names[column])]
            carried = bisect_left(columns[number], int(self._filled[slot]))
            shown = min(carried, most - len(found))
            found += [self._reading(slot, group, n) for n in columns[number][:shown]]
            more += carried - shown
        return found, more

    def _reading(self, slot: int, group: Group, column: int) -> Reading:
        signal = group.signals[column]
        value, text = read(signal, self._raw[slot, column : column + 1])
        return Reading(
            name=f"{group.bus}.{group.message}.{signal.name}",
            arbitration_id=int(self._id[slot]),
            signal=signal,
            value=value,
            text=text,
            quality=Quality(int(self._quality[slot, column])) if group.quality else None,
            seen=float(self._seen[slot]),
        )

    def _grow(self, size: int) -> None:
        missing = size - len(self._seen)
        if missing > 0:
            self._group = np.append(self._group, np.zeros(missing, np.int32))
            self._id = np.append(self._id, np.zeros(missing, np.uint32))
            self._filled = np.append(self._filled, np.zeros(missing, np.int32))
            self._seen = np.append(self._seen, np.zeros(missing, np.float64))
            more = missing, self._width
            self._raw = np.vstack((self._raw, np.zeros(more, np.int64)))
            self._quality = np.vstack((self._quality, np.zeros(more, np.uint8)))


def read(signal: Signal, raw: NDArray[np.int64]) -> tuple[float | int, str | None]:
    """Read one raw value.

    Args:
        signal: How.
        raw: int64, shape (1,).

    Returns:
        The physical value, and the value table's text for it, or None.
    """
    bare = Signal(signal.name, kind=signal.kind).physical(raw).item()
    return signal.physical(raw).item(), dict(signal.choices).get(bare)
