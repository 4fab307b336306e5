"""Reported properties: the last value wins, and the hub hears only of changes, not too often."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bordnetz.edge.link import HubLink, LinkError
from bordnetz.edge.twin import json_size

log = logging.getLogger(__name__)

ROOM = 10_000
"""Bytes for all that is not an acknowledgement of desired properties."""

DEPTH = 10
"""Levels of a reported property (IoT Hub)."""

FORBIDDEN = set(".$# ")
"""What the name of a twin property must not contain (IoT Hub)."""


class Reporter:
    """What we want the hub to show, and what it shows."""

    def __init__(self, interval: float) -> None:
        """Begin with nothing to show.

        Args:
            interval: Seconds between two patches.
        """
        self._interval = interval
        self._state: dict[str, Any] = {}
        self._acknowledgements: Mapping[str, Any] = {}
        self._shown: dict[str, Any] | None = None
        self._due = asyncio.Event()

    def set(self, name: str, value: Any) -> None:
        """Report a property; None takes it away.

        Raises:
            ValueError: A twin cannot hold it.
        """
        state = {**self._state, name: copy.deepcopy(value)}
        if value is None:
            del state[name]
        _check(name, value, 1)
        if json_size(state) > ROOM:
            raise ValueError(f"reported properties need more than {ROOM} bytes with '{name}'")
        self._state = state
        self._due.set()

    def acknowledge(self, acknowledgements: Mapping[str, Any]) -> None:
        """Report the answers to the desired properties."""
        self._acknowledgements = acknowledgements
        self._due.set()

    def shown(self, reported: Mapping[str, Any]) -> None:
        """Take note of what the hub shows."""
        self._shown = {k: v for k, v in reported.items() if not k.startswith("$")}
        self._due.set()

    async def run(self, link: HubLink, settled: Callable[[], Awaitable[None]]) -> None:
        """Bring the hub up to date, for ever.

        Args:
            link: To the hub.
            settled: Waits until what the hub has said is answered, so that the answer is not too
                late for a patch that is about to leave.
        """
        while True:
            await self._due.wait()
            await link.up()
            await settled()
            self._due.clear()
            wanted = {**self._acknowledgements, **self._state}
            patch = difference(self._shown or {}, wanted)
            if patch:
                try:
                    await link.report(patch)
                except LinkError as error:
                    # The next session begins with reading the twin, which tells what got there.
                    log.debug("reported properties are sent again: %s", error)
                else:
                    self._shown = copy.deepcopy(wanted)
            await asyncio.sleep(self._interval)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The twin patch that makes ``new`` out of ``old``: null removes, objects merge (RFC 7386)."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := difference(before, value):
                patch[name] = inner
        elif (
            name not in old
            or before != value
            or isinstance(before, bool) != isinstance(value, bool)
        ):
            patch[name] = value
    return patch


def _check(name: str, value: Any, depth: int) -> None:
    if not name or FORBIDDEN & set(name):
        raise ValueError(f"'{name}' cannot name a twin property: no '.', '$', '#' or space")
    if depth > DEPTH:
        raise ValueError(f"'{name}' lies deeper than {DEPTH} levels")
    if isinstance(value, Mapping):
        for inner, part in value.items():
            _check(inner, part, depth + 1)
