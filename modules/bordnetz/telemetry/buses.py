"""The condition of the buses: whether they are listened to, and the health of their controllers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bordnetz.can.frames import Block
from bordnetz.can.health import KINDS, ErrorState
from bordnetz.can.sources.listening import Listening

log = logging.getLogger(__name__)

SHOWN = 40
"""Buses in the reported property and in ``status``: both are of bounded size."""

EACH = 5.0
"""Seconds between two reports and log lines: a bad cable changes its bus' state many times more
often, and the counters have all of it."""

NAMES = {
    ErrorState.UNKNOWN: "unknown",
    ErrorState.ACTIVE: "active",
    ErrorState.WARNING: "warning",
    ErrorState.PASSIVE: "passive",
    ErrorState.BUS_OFF: "busOff",
}
"""Error states as they are told."""


class Buses:
    """Follows the condition of every bus.

    Args:
        names: Of the buses, in the order of the vehicle file.
        listening: How they are listened to; () where that is no question.
    """

    def __init__(
        self, names: Sequence[str], listening: Callable[[], Sequence[Listening]] = tuple
    ) -> None:
        self._names = tuple(names)
        self._listening = listening
        self._state = np.full(len(names), ErrorState.UNKNOWN, np.int8)
        self._counts = np.zeros((len(names), len(KINDS)), np.int64)
        self._deaf: set[str] = set()
        # What was logged and reported last.
        self._told = self._state.copy()
        self._told_counts = self._counts.copy()
        self._changed = asyncio.Event()
        self._changed.set()

    def take(self, block: Block) -> None:
        """Take note of a block as it came from the source."""
        before = self._state
        heard = block.received > block.error
        if (heard & (self._state == ErrorState.UNKNOWN)).any():
            # A controller that receives is not off, and says so if it is not well.
            self._state = np.where(
                heard & (self._state == ErrorState.UNKNOWN), ErrorState.ACTIVE, self._state
            ).astype(np.int8)
        if block.health is not None:
            told = block.health.state
            self._state = np.where(told == ErrorState.UNKNOWN, self._state, told)
            self._counts = self._counts + block.health.counts
        for gap in block.gaps:
            (self._deaf.discard if gap.end is not None else self._deaf.add)(gap.bus)
        if block.gaps or self._state is not before:
            self._changed.set()

    async def tell(self, report: Callable[[str, Any], None]) -> None:
        """Log and report changes, for ever; many in a short time as one."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._log()
            report("capture", {"buses": self.reported()})
            await asyncio.sleep(EACH)

    def reported(self) -> dict[str, dict[str, Any]]:
        """By bus, those with trouble first: is it listened to, and its controller's state."""
        by_trouble = sorted(
            range(len(self._names)),
            key=lambda bus: (self._names[bus] not in self._deaf, -int(self._state[bus])),
        )
        return {self._names[bus]: self._condition(bus) for bus in sorted(by_trouble[:SHOWN])}

    def page(self) -> dict[str, dict[str, Any]]:
        """By bus, everything that is known; nothing of a recording."""
        pages = {}
        for bus, one in enumerate(self._listening()[:SHOWN]):
            pages[self._names[bus]] = {
                **self._condition(bus),
                "gaps": one.gaps,
                "filter": one.filter,
                "filters": one.filters,
                "bufferAsked": one.buffer_asked,
                "bufferGot": one.buffer_got,
                "bufferFrames": one.buffer_frames,
                "interfaceDropped": one.interface_dropped,
                "interfaceOverrun": one.interface_overrun,
                **dict(zip(KINDS, self._counts[bus].tolist(), strict=True)),
            }
        return pages

    def _condition(self, bus: int) -> dict[str, Any]:
        return {
            "listening": self._names[bus] not in self._deaf,
            "state": NAMES[ErrorState(self._state[bus])],
        }

    def _log(self) -> None:
        for bus in np.flatnonzero(self._state != self._told).tolist():
            state = ErrorState(self._state[bus])
            new = dict(zip(KINDS, (self._counts - self._told_counts)[bus].tolist(), strict=True))
            seen = ", ".join(f"{count} {kind}" for kind, count in new.items() if count)
            level = logging.INFO if state is ErrorState.ACTIVE else logging.WARNING
            text = "the controller of bus '%s' is in error state %s%s"
            log.log(level, text, self._names[bus], NAMES[state], seen and f" ({seen})")
        self._told, self._told_counts = self._state, self._counts
