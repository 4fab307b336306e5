"""The buses of a vehicle as they are: one thread drains them all into one block after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from bordnetz.can.datagram import Port, Receiver, open_can, open_unix
from bordnetz.can.frames import Block
from bordnetz.can.sources.adapter import Adapter
from bordnetz.can.sources.source import Source
from bordnetz.can.vehicle import Vehicle

_NAP = 0.010
"""Seconds between drains: few wake-ups, and a Unix socket's queue holds what comes meanwhile."""
_BLOCK = 2 * _NAP
"""Seconds between blocks: making one costs the same for few frames as for many."""
_SHORTEST_NAP = _NAP / 64
"""A Unix socket queues some ten frames; at this nap that is more than 20,000 a second."""
_SILENCE = 0.2
"""Seconds to sleep while all buses are silent; closing takes that long at most."""


def open_source(vehicle: Vehicle) -> Source:
    """All buses of ``vehicle``, live; they are opened when the source is entered."""
    return LiveSource(vehicle)


def next_nap(nap: float, fullest: float) -> float:
    """How long to sleep before the next drain.

    Args:
        nap: The last one, seconds.
        fullest: `Receiver.fullest` after it.  A queue that was full may have kept its sender
            waiting; one that was half full at most holds what comes in twice the time.
    """
    if fullest > 1:
        return max(nap / 2, _SHORTEST_NAP)
    return min(nap * 2, _NAP) if fullest <= 1 / 2 else nap


class LiveSource(Source):
    """Drains all buses every 10 ms, a block every 20 ms; frames of one bus stay in order."""

    def __init__(self, vehicle: Vehicle) -> None:
        super().__init__()
        self._buses = vehicle.buses
        self._adapters: list[Adapter] = []
        self._receiver = Receiver((), len(vehicle.buses))

    def _open(self, resources: ExitStack) -> None:
        ports: list[Port] = []
        for index, bus in enumerate(self._buses):
            if bus.interface == "socketcan":
                ports.append(open_can(index, bus.name, str(bus.channel)))
                resources.callback(ports[-1].close)
            elif bus.interface == "unix":
                ports.append(open_unix(index, bus.name, str(bus.channel)))
                resources.callback(ports[-1].close)
            else:
                self._adapters.append(Adapter(index, bus, len(self._buses)))
                resources.callback(self._adapters[-1].close)
        self._receiver = Receiver(ports, len(self._buses))

    def _read(self) -> Iterator[Block]:
        nap = _NAP
        due = 0.0
        last = False
        while not last:
            last = self._closing.is_set()
            more = self._receiver.fill()
            fullest = self._receiver.fullest
            now = time.monotonic()
            if more or last or now >= due:
                due = now + _BLOCK
                parts = [self._receiver.take()] if self._receiver.pending else []
                parts += [part for adapter in self._adapters if (part := adapter.drain())]
                if parts:
                    yield Block.concat(parts)
                elif not self._adapters and not last:
                    self._receiver.wait(_SILENCE)
            if more:
                continue
            nap = next_nap(nap, fullest)
            time.sleep(nap)
