"""What other modules of the car may ask of it: the last values of a few signals, told as hints.

A message tells everything that is known: a signal that is not in it is unknown, and each one that
is in it comes with its age.  Nothing old may look fresh, whatever waited where: an age counts from
the reception of the frame, and a signal without a frame for `STALE` seconds is left out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bordnetz.can.clock import boot_ns
from bordnetz.can.frames import Frames
from bordnetz.can.table import DecodeTable
from bordnetz.series import Signal
from bordnetz.telemetry.config import SECOND
from bordnetz.telemetry.latest import read

EACH = 1.0
"""Seconds between two looks at what has changed, and so between two messages at least."""

PERIOD = 10.0
"""Seconds without a change after which all is told again, at the latest."""

STALE = 10.0
"""Seconds without a frame after which a signal is unknown: what is told is never older."""


class State:
    """Remembers the last raw value of every signal of a decode table in arrays.

    Where a signal comes under several arbitration ids, the one that came last counts.

    Args:
        table: Decodes the signals and nothing else.
        recorded: Whether the frames' times come from a recording: what waited how long between
            reception and decoding cannot be told then.
        clock: Seconds since the Unix epoch, for who is told.
        boot: ns, the clock of the frames' times.
    """

    def __init__(
        self,
        table: DecodeTable,
        *,
        recorded: bool,
        clock: Callable[[], float] = time.time,
        boot: Callable[[], int] = boot_ns,
    ) -> None:
        self.table = table
        self._recorded = recorded
        self._clock = clock
        self._boot = boot
        self._names = tuple(name for group in table.groups for name in group.names())
        self._signals = tuple(signal for group in table.groups for signal in group.signals)
        size = np.array([len(group.signals) for group in table.groups], np.int64)
        self._first = size.cumsum() - size
        # By signal: raw value and reception by the steady clock; then what was told of it.
        self._raw = np.zeros(len(self._names), np.int64)
        self._seen = np.full(len(self._names), -math.inf)
        self._told_raw = self._raw.copy()
        self._told_known = np.zeros(len(self._names), bool)
        self._told = -math.inf

    def take(self, frames: Frames, now: float) -> None:
        """Take in frames that are decoded at ``now``, seconds of a steady clock."""
        samples = self.table.decode(frames)
        if not len(samples):
            return
        # The last value of each signal closes its run of `count` values; see `Samples`.
        count = samples.count.repeat(samples.width)
        start = samples.width.cumsum() - samples.width
        column = np.arange(len(count)) - start.repeat(samples.width)
        field = self._first[samples.group].repeat(samples.width) + column
        last = samples.values[count.cumsum() - 1]
        row = (samples.count.cumsum() - 1).repeat(samples.width)
        seen = np.full(len(row), now)
        if not self._recorded:
            seen -= np.maximum(self._boot() - samples.time[row], 0) / SECOND
        turn = samples.order[row].argsort(kind="stable")
        self._raw[field[turn]] = last[turn]
        self._seen[field[turn]] = seen[turn]

    def tell(self, now: float) -> dict[str, Any] | None:
        """What is to be told, as JSON takes it; to be asked every `EACH` seconds.

        Returns:
            ``time``, Unix seconds; ``signals``, qualified name to physical value or the value
            table's text for it; ``ages``, qualified name to seconds since reception.  None if
            nothing has changed and all was told less than `PERIOD` ago.
        """
        age = now - self._seen
        known = age <= STALE
        news = (known != self._told_known) | (known & (self._raw != self._told_raw))
        if not news.any() and now - self._told <= PERIOD - EACH:
            return None
        self._told_raw, self._told_known, self._told = self._raw.copy(), known, now
        signals: dict[str, float | int | str] = {}
        ages: dict[str, float] = {}
        for place in np.flatnonzero(known).tolist():
            value = _value(self._signals[place], self._raw[place : place + 1])
            if value is not None:
                signals[self._names[place]] = value
                ages[self._names[place]] = math.ceil(10 * age[place]) / 10
        return {"time": round(self._clock(), 3), "signals": signals, "ages": ages}

    def untold(self) -> None:
        """Take note that what `tell` gave last was not delivered: it is to be told again."""
        self._told = -math.inf


def _value(signal: Signal, raw: np.ndarray[Any, np.dtype[np.int64]]) -> float | int | str | None:
    """A value for JSON; None for one that is no number and has no text."""
    value, text = read(signal, raw)
    if text is not None or isinstance(value, int):
        return value if text is None else text
    # 5012 x 0.01 is 50.12 to whoever reads it, not 50.120000000000005.
    return float(f"{value:.15g}") if math.isfinite(value) else None
