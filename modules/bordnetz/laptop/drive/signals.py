"""A handful of signals worth looking at, out of hundreds, with their curves."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bordnetz.laptop.drive.progress import SignalLine

SHOWN = 24
"""Signals to follow: the rows of a high terminal."""

CHOOSING = 12
"""Looks after which the choice stands: some seconds, until it is known what moves."""

_WORTH = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"vehicle.*speed$",
        r"(motor|engine)_?speed|rpm$",
        r"accel.*pedal|throttle",
        r"torque",
        r"gear(?!_?oil)",
        r"steering.*angle$|heading$",
        r"state_?of_?charge|soc$|fuel_?(level|rate)",
        r"pack_?power|battery_?power",
        r"(pack|battery).*current",
        r"(pack|battery).*(voltage|potential)",
        r"wheel_?speed",
        r"brake_?pressure|oil_?pressure",
        r"(stator|motor|engine|coolant).*temp",
        r"yaw",
        r"latitude",
        r"door",
    )
]
"""What people look for first; one signal of each kind, then whatever moves."""

_HOUSEKEEPING = re.compile(r"count|crc|check_?sum|alive|toggle|parity|quality", re.IGNORECASE)
"""Signals that only guard or qualify others."""


class Signals:
    """Chooses signals while it learns what moves, then follows its choice.

    Attributes:
        lines: What to show, the most interesting first.
    """

    def __init__(self) -> None:
        self.lines: list[SignalLine] = []
        self._chosen: dict[tuple[str, str], SignalLine] = {}
        self._kinds: set[re.Pattern[str]] = set()
        self._first: dict[tuple[str, str], Any] = {}
        self._looks = 0

    @property
    def wanted(self) -> Sequence[str]:
        """Globs for the next ``snapshot``: everything while choosing, later only what is shown."""
        if self._looks < CHOOSING or not self._chosen:
            return ["*"]
        return sorted({_literal(name) for name, _ in self._chosen})

    def take(self, snapshot: Mapping[str, Any]) -> None:
        """Take the answer of the direct method ``snapshot``."""
        readings = {(row["name"], row["id"]): row for row in snapshot.get("signals", ())}
        if readings and self._looks < CHOOSING:
            self._choose(readings)
        for series, line in self._chosen.items():
            reading = readings.get(series)
            if reading is None:
                continue
            line.text, line.value = reading["text"], float(reading["value"])
            if math.isfinite(line.value):
                line.history.append(line.value)

    def _choose(self, readings: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
        self._looks += 1
        last = self._looks == CHOOSING
        telling = {
            series: reading
            for series, reading in readings.items()
            if (reading["unit"] or reading["text"]) and not is_housekeeping(_last(series[0]))
        }
        for kind in _WORTH:
            fitting = [series for series in telling if kind.search(_last(series[0]))]
            if fitting and kind not in self._kinds:
                # The plainest of the fitting names is most often the one that people mean.
                self._kinds.add(kind)
                self._add(min(fitting, key=lambda series: len(_last(series[0]))), telling)
        for series, reading in telling.items():
            moves = self._first.setdefault(series, reading["value"]) != reading["value"]
            if last and moves:
                self._add(series, telling)
        if last:
            for series in [*telling, *readings]:
                self._add(series, readings)

    def _add(
        self, series: tuple[str, str], readings: Mapping[tuple[str, str], Mapping[str, Any]]
    ) -> None:
        if series in self._chosen or len(self._chosen) >= SHOWN:
            return
        name, sender = series
        several = any(other[0] == name and other[1] != sender for other in readings)
        shown = f"{name} ({sender})" if several else name
        self._chosen[series] = SignalLine(shown, readings[series]["unit"])
        self.lines = list(self._chosen.values())


def is_housekeeping(name: str) -> bool:
    """Whether a signal only guards its message, by the name that it has in the DBC file."""
    return bool(_HOUSEKEEPING.search(name))


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _literal(name: str) -> str:
    """A glob that matches just this name."""
    return re.sub(r"([*?[])", r"[\1]", name)
