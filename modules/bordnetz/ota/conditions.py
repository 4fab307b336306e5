"""What has to hold in the vehicle before something irreversible is done: parked, ignition, charge.

The vehicle file names the conditions, each a test of one signal; telemetry's `state` messages
carry the signals.  What is not known, or was known too long ago, does not hold.

    {"time": 1767225600.5,
     "signals": {"powertrain.VCU_Speed_01.RoadSpeed": 0.0},
     "ages": {"powertrain.VCU_Speed_01.RoadSpeed": 1}}

Each message says all that is known, and how long ago, s, it was seen on the bus.

Routes may delay messages and change their order, so that a message's age counts from its own time,
on the system clock that both ends share, and again from when it got here, on a clock that nobody
sets.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from bordnetz.errors import BordnetzError
from bordnetz.ota.vehicle import ConditionSpec

__all__ = ["OLD", "Conditions", "ConditionsError"]

OLD = 30.0
"""Seconds after which a signal is unknown; telemetry sends every 10 s, changed or not."""

MOST_BYTES = 65_536
"""Of a message."""


class ConditionsError(BordnetzError):
    """A state message cannot be used; what was known before is still known, for a while."""


@dataclass(frozen=True, slots=True)
class _Seen:
    value: float | str
    time: float
    age: float
    at: float


class Conditions:
    """The vehicle's conditions and what is known of their signals.  Any thread may call it."""

    def __init__(
        self,
        specs: Mapping[str, ConditionSpec],
        steady: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """Begin without knowing anything.

        Args:
            specs: The conditions by their names.
            steady: Seconds since some moment, never set, sleep included.
            wall: The system clock, seconds since 1970 UTC, as those have it who send messages.
        """
        self._specs = dict(specs)
        self._signals = {spec.signal for spec in specs.values()}
        self._steady = steady
        self._wall = wall
        self._began = steady()
        self._seen: dict[str, _Seen] = {}
        self._turn = threading.Lock()

    def take(self, body: bytes) -> None:
        """Take a state message.

        Raises:
            ConditionsError: It is none, or so old that it says nothing any more.
        """
        time, signals, ages = _parse(body)
        now, age = self._steady(), self._wall() - time
        if not -OLD <= age <= OLD:
            raise ConditionsError(
                f"a state message is {abs(age):.0f} s {'old' if age > 0 else 'ahead'}; if this "
                "goes on, check the route from telemetry's output state, and the system clock"
            )
        with self._turn:
            for name in self._signals:
                before = self._seen.get(name)
                if before is not None and time < before.time and now - before.at <= OLD:
                    continue
                if name in signals:
                    seen = max(age, 0.0) + ages.get(name, 0.0)
                    self._seen[name] = _Seen(signals[name], time, seen, now)
                else:
                    # Each message says all that is known: this is not, any more.
                    self._seen.pop(name, None)

    def unnamed(self, names: Sequence[str]) -> list[str]:
        """Those that this vehicle has no condition for."""
        return [name for name in names if name not in self._specs]

    def unmet(self, names: Sequence[str]) -> list[str]:
        """Why a set of conditions does not hold, in words; empty: all of them hold.

        Args:
            names: Of the conditions.
        """
        now = self._steady()
        with self._turn:
            reasons = [self._why_not(name, now) for name in names]
        return [reason for reason in reasons if reason]

    def _why_not(self, name: str, now: float) -> str:
        spec = self._specs.get(name)
        if spec is None:
            return f"not {name}: this vehicle has no condition of that name"
        seen = self._seen.get(spec.signal)
        since = self._began if seen is None else seen.at - seen.age
        if seen is None or now - since > OLD:
            return f"not {name}: {spec.signal} is unknown for {now - since:.0f} s"
        if why := _fault(spec, seen.value):
            return f"not {name}: {spec.signal} {why}"
        return ""


def _fault(spec: ConditionSpec, value: float | str) -> str:
    """What is wrong with a value, without saying it."""
    if spec.equals is not None and not _equal(spec.equals, value):
        return f"is not {spec.equals}"
    if spec.min is None and spec.max is None:
        return ""
    if isinstance(value, str):
        return "is no number"
    if spec.min is not None and not value >= spec.min:
        return f"is below {spec.min:g}"
    if spec.max is not None and not value <= spec.max:
        return f"is above {spec.max:g}"
    return ""


def _equal(wanted: float | str, value: float | str) -> bool:
    return isinstance(wanted, str) == isinstance(value, str) and wanted == value


def _parse(body: bytes) -> tuple[float, dict[str, float | str], dict[str, float]]:
    if len(body) > MOST_BYTES:
        raise ConditionsError(f"a state message has over {MOST_BYTES} bytes; check who sends it")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise ConditionsError("a state message is no JSON; check who sends it") from None
    time = content.get("time") if isinstance(content, dict) else None
    signals = content.get("signals") if isinstance(content, dict) else None
    if not _number(time) or not isinstance(signals, dict):
        raise ConditionsError("a state message lacks time or signals; check who sends it")
    ages = content.get("ages")
    known = ages.items() if isinstance(ages, dict) else ()
    return (
        time,
        {
            name: value
            for name, value in signals.items()
            if isinstance(value, str) or _number(value)
        },
        {name: value for name, value in known if _number(value) and value >= 0},
    )


def _number(value: Any) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
