"""A handful of signals worth looking at, out of hundreds, with their curves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bordnetz.laptop.drive.progress import SignalLine

SHOWN = 14

_WORTH = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"vehicle_?speed$|speed$",
        r"torque",
        r"pedal|throttle",
        r"gear",
        r"steering.*angle",
        r"soc$|state_?of_?charge|fuel",
        r"current$",
        r"voltage$",
        r"wheel",
        r"temp",
        r"brake|pressure",
        r"yaw|accel",
        r"latitude",
        r"door|light|indicator",
    )
]
"""What people look for first; one signal of each kind, then whatever moves."""


class Signals:
    """Chooses signals once there are enough to choose from, and follows them.

    Attributes:
        lines: What to show.
    """

    def __init__(self) -> None:
        self.lines: list[SignalLine] = []
        self._chosen: dict[str, SignalLine] = {}

    def take(self, snapshot: Mapping[str, Any]) -> None:
        """Take the answer of the direct method ``snapshot``."""
        readings = {_name(reading): reading for reading in snapshot.get("signals", ())}
        if len(self._chosen) < SHOWN:
            self._choose(readings)
        for name, line in self._chosen.items():
            reading = readings.get(name)
            if reading is None:
                continue
            line.text = reading["text"]
            if isinstance(reading["value"], (int, float)):
                line.value = float(reading["value"])
                line.history.append(line.value)

    def _choose(self, readings: Mapping[str, Mapping[str, Any]]) -> None:
        for pattern in _WORTH:
            if any(pattern.search(_last(name)) for name in self._chosen):
                continue
            fitting = [name for name in readings if pattern.search(_last(name))]
            # The plainest of the fitting names is most often the one that people mean.
            for name in sorted(fitting, key=lambda name: len(_last(name)))[:1]:
                self._add(name, readings[name])
        for name in readings:
            if name not in self._chosen:
                self._add(name, readings[name])

    def _add(self, name: str, reading: Mapping[str, Any]) -> None:
        if len(self._chosen) < SHOWN:
            self._chosen[name] = SignalLine(name, reading["unit"])
            self.lines = list(self._chosen.values())


def _name(reading: Mapping[str, Any]) -> str:
    return str(reading["name"])


def _last(name: str) -> str:
    return name.rpartition(".")[2]
