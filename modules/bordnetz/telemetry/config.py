"""What the portal sets: the telemetry module's desired properties."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from bordnetz.edge.twin import WHOLE

SECOND = 1_000_000_000
"""ns."""

MOST_STATE = 50
"""Signals whose state is told: a message of them is small and made quickly."""

_HINTS = 3
"""Rules that are compared with all names; an acknowledgement has no room for more reasons."""


Glob = Annotated[str, Field(min_length=1, max_length=256)]
"""Over qualified names ``bus.message.signal``; ``*`` also spans dots."""


class Rule(BaseModel):
    """Which signals to collect, and how often at most.

    Attributes:
        match: Names of the signals.
        min_interval: Shortest time between two samples of a signal, s; 0 keeps every one.
        quality: Send with each sample what is to be said against it.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    match: Glob
    min_interval: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 0
    quality: bool = False

    def matcher(self) -> re.Pattern[str]:
        """The glob, compiled."""
        return re.compile(fnmatch.translate(self.match))


class Desired(BaseModel):
    """The desired properties; without any, nothing is collected.

    Attributes:
        collect: The first rule that matches a signal decides on it; none: it is not collected.
            A malformed rule refuses them all, or its signals would fall to a wider one.
        batch_window: How often batches are closed, s.  Priorities above 2 may wait for several
            windows until they fill a first block that IoT Hub meters.
        time_resolution: Of the samples' times.
        priority: Of the batches, 0 (highest) to 9, as in Edge hub's routes.
        dictionary_interval: The dictionary is sent again after this many seconds.
        state: Signals whose state other modules of the car are told, `MOST_STATE` in all; they
            need not be collected.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    collect: Annotated[list[Rule], Field(max_length=200), WHOLE] = []
    batch_window: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] = 10
    time_resolution: Literal["ms", "us"] = "ms"
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    dictionary_interval: Annotated[float, Field(ge=10, le=86_400, allow_inf_nan=False)] = 3600
    state: Annotated[list[Glob], Field(max_length=MOST_STATE)] = []

    def __eq__(self, other: object) -> bool:
        """Also which properties are set counts, for others may hold where one is not."""
        return (
            isinstance(other, Desired)
            and super().__eq__(other)
            and self.model_fields_set == other.model_fields_set
        )

    __hash__ = None  # type: ignore[assignment]  # lists cannot be hashed

    def over(self, defaults: Desired) -> Desired:
        """These properties where they are set, and ``defaults`` where they are not."""
        own = {name: getattr(self, name) for name in self.model_fields_set}
        return defaults.model_copy(update=own)


def wanted_signals(rules: Iterable[Rule], names: Sequence[str]) -> dict[str, int]:
    """The signals that the rules ask for, and the shortest interval of each, ns."""
    wanted: dict[str, int] = {}
    for rule in rules:
        matches = rule.matcher().match
        interval = round(rule.min_interval * SECOND)
        for name in names:
            if name not in wanted and matches(name):
                wanted[name] = interval
    return wanted


def quality_signals(rules: Iterable[Rule], names: Sequence[str]) -> set[str]:
    """The signals whose quality the rules ask for; the first rule that matches decides."""
    asked: dict[str, bool] = {}
    for rule in rules:
        matches = rule.matcher().match
        for name in names:
            if name not in asked and matches(name):
                asked[name] = rule.quality
    return {name for name, quality in asked.items() if quality}


def state_signals(globs: Iterable[str], names: Sequence[str]) -> list[str]:
    """The signals whose state is to be told, in the order of ``names``."""
    matchers = [Rule(match=glob).matcher().match for glob in globs]
    return [name for name in names if any(matches(name) for matches in matchers)]


def unmatched(rules: Iterable[Rule], names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Rules that are of no use in this vehicle: index, and why."""
    hints = _HINTS
    for index, rule in enumerate(rules):
        matches = rule.matcher().match
        if any(matches(name) for name in names):
            continue
        if not names:
            yield index, f"nothing matches {rule.match!r}: no DBC file of the vehicle has signals"
            continue
        near = difflib.get_close_matches(rule.match, names, n=3, cutoff=0.5) if hints else []
        hints = max(hints - 1, 0)
        hint = f"near it: {', '.join(near)}" if near else f"names look like {names[0]}"
        yield index, f"no signal of this vehicle matches {rule.match!r}; {hint}"
