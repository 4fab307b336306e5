"""A bus behind any interface that python-can knows."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import can
import numpy as np

from bordnetz.can.clock import Reception, Wall
from bordnetz.can.errors import BusError
from bordnetz.can.frames import Block
from bordnetz.can.sources.messages import to_block
from bordnetz.can.vehicle import Bus
from bordnetz.series import Cause

_MOST_A_DRAIN = 3072
_OTHER_CLOCK = 3600 * 1_000_000_000
"""ns: a first time stamp further off is not the host's clock but the adapter's own."""


def check_interface(bus: Bus) -> None:
    """Refuse an interface that python-can does not know.

    Raises:
        BusError: It is none; the text has those that are.
    """
    if bus.interface not in can.VALID_INTERFACES:
        known = ", ".join(sorted({"unix", *can.VALID_INTERFACES}))
        raise BusError(f"{_name(bus)}: there is no such interface; there are: {known}")


def _name(bus: Bus) -> str:
    return f"bus {bus.name!r} ({bus.interface} {bus.channel})"


class Adapter:
    """An opened python-can bus, drained as a whole."""

    def __init__(self, index: int, bus: Bus, buses: int, wall: Wall | None = None) -> None:
        """Open the bus.

        Args:
            index: Of the bus in the vehicle file.
            bus: What the vehicle file says of it.
            buses: How many buses the vehicle has.
            wall: The host's clock.

        Raises:
            BusError: python-can cannot open it.
        """
        self._index = index
        self._buses = buses
        self._wall = wall or Wall()
        self._reception = Reception(self._wall)
        # How far the boot clock is ahead of the adapter's own, ns; None: it stamps by the host's.
        self._own: int | None = None
        self._met = False
        self._name = _name(bus)
        settings: dict[str, Any] = {
            "bitrate": bus.bitrate,
            "data_bitrate": bus.data_bitrate,
            "fd": bus.fd or None,
        }
        settings = {key: value for key, value in settings.items() if value is not None}
        settings.update(bus.options)
        try:
            self._bus = can.Bus(bus.channel, bus.interface, ignore_config=True, **settings)
        except Exception as error:  # Drivers raise what they like.
            raise BusError(
                f"{self._name}: python-can cannot open it: {error or type(error).__name__}; check "
                "channel, bitrate, options, and that the adapter and its driver are there"
            ) from error

    def drain(self) -> Block | None:
        """Everything that waits, or None.

        Raises:
            BusError: The adapter can no longer be read.
        """
        messages: list[can.Message] = []
        try:
            while len(messages) < _MOST_A_DRAIN:
                message = self._bus.recv(timeout=0)
                if message is None:
                    break
                messages.append(message)
        except (can.CanError, OSError) as error:
            raise BusError(f"{self._name}: can no longer be read: {error}") from error
        if not messages:
            return None
        block = to_block(messages, np.full(len(messages), self._index), self._buses)
        return self._on_boot_clock(block)

    def _on_boot_clock(self, block: Block) -> Block:
        """The block with times of the boot clock."""
        time = np.concatenate((block.classic.time, block.fd.time))
        if not len(time):
            return block
        self._reception.drained(len(time))
        if not self._met:
            self._met = True
            ahead = self._wall.now + self._wall.ahead - int(time[0])
            if abs(ahead) > _OTHER_CLOCK:
                self._own = self._wall.now - int(time[0])
        # Each of the two is in order of reception, together they are not.
        kind = np.array([0, 1], np.uint8).repeat([len(block.classic), len(block.fd)])
        placed = self._reception.convert(time, kind)
        if self._own is not None:
            placed = time + self._own
        classic, fd = np.split(placed, [len(block.classic)])
        return replace(
            block,
            classic=replace(block.classic, time=classic),
            fd=replace(block.fd, time=fd),
        )

    def state(self) -> Cause | None:
        """None: whether frames can come, only reading tells."""
        return None

    def close(self) -> None:
        """Close the bus."""
        with suppress(Exception):  # Drivers raise what they like, all the more when unplugged.
            self._bus.shutdown()
