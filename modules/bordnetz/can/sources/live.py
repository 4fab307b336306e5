"""The buses of a vehicle as they are: one thread drains them all into one block after the other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bordnetz.can.clock import boot_ns
from bordnetz.can.datagram import Receiver
from bordnetz.can.errors import BusError
from bordnetz.can.filters import ALL, Filters, Interest, by_bus
from bordnetz.can.frames import Block
from bordnetz.can.health import ErrorState, Health
from bordnetz.can.link import Links, controller_state
from bordnetz.can.port import Port, open_can, open_unix
from bordnetz.can.sources.line import End, Line
from bordnetz.can.sources.listening import Listening
from bordnetz.can.sources.source import Source
from bordnetz.can.vehicle import Bus, Vehicle

if TYPE_CHECKING:
    from bordnetz.can.sources.adapter import Adapter

_NAP = 0.020
"""Seconds between drains where queues are short."""
_LONGEST_NAP = 0.050
"""Seconds between drains where queues are long: each costs the same for few frames as for many."""
_BUSIEST = 20_000
"""Frames/s that no bus exceeds: the shortest ones at 1 Mbit/s."""
_BLOCK = 0.250
"""Seconds between blocks: making and decoding one costs the same for few frames as for many."""
_SHORTEST_NAP = _NAP / 128
"""A Unix socket queues some ten frames; at this nap that is more than 20,000 a second."""

_FAREWELL = 1.0
"""Seconds for reading what waits in full queues at the end."""


def open_source(vehicle: Vehicle) -> Source:
    """All buses of ``vehicle``, live; they are opened when the source is entered."""
    return LiveSource(vehicle)


def longest_nap(capacities: Iterable[int]) -> float:
    """How long to sleep between drains at most, seconds.

    Args:
        capacities: Frames that the queues hold; where a bus has such a queue that even a burst
            fills it only later, the nap is longer.
    """
    return min(max(min(capacities, default=0) / _BUSIEST, _NAP), _LONGEST_NAP)


def next_nap(nap: float, fullest: float, longest: float = _NAP) -> float:
    """How long to sleep before the next drain.

    Args:
        nap: The last one, seconds.
        fullest: `Receiver.fullest` after it.  A queue that was full may have kept its sender
            waiting; one that was half full at most holds what comes in twice the time.
        longest: See `longest_nap`.
    """
    if fullest > 1:
        return max(nap / 2, _SHORTEST_NAP)
    return min(nap * 2 if fullest <= 1 / 2 else nap, longest)


class LiveSource(Source):
    """Drains all buses every 20 to 50 ms, a block every 250 ms; frames of one bus stay in order.

    While no bus has frames, its thread sleeps until one has.
    """

    def __init__(self, vehicle: Vehicle) -> None:
        super().__init__()
        self._buses = vehicle.buses
        self._receiver = Receiver((), len(vehicle.buses))
        self._lines: list[Line] = []
        self._ports: list[Port | None] = [None] * len(vehicle.buses)
        self._adapters: list[Adapter | None] = [None] * len(vehicle.buses)
        self._filters: Sequence[Filters] = [ALL] * len(vehicle.buses)
        # Who opens, closes or filters a port has it.
        self._turn = threading.Lock()
        self._longest_nap = _NAP
        self._bell = -1
        self._links: Links | None = None
        self._moved = False
        # Buses of which the controller's state is not known.
        self._unknown: set[int] = set()

    # -- for the consumer, from any thread

    def want(self, interests: Iterable[Interest] | None) -> None:
        """Let the kernel hand over these frames and no others; None: all, as in the beginning.

        It holds when this returns.  Unix sockets and adapters bring all frames whatever is wanted.
        """
        filters = by_bus(interests, len(self._buses))
        with self._turn:
            self._filters = filters
            for port, one in zip(self._ports, filters, strict=True):
                if port is not None:
                    with suppress(OSError):  # The interface is gone; the next one gets them.
                        port.let_through(one)

    def listening(self) -> Sequence[Listening]:
        """How each bus is listened to."""
        with self._turn:
            return [self._listening(index) for index in range(len(self._lines))]

    def _listening(self, index: int) -> Listening:
        line, port = self._lines[index], self._ports[index]
        filters = self._filters[index] if self._buses[index].interface == "socketcan" else ALL
        buffer = port.buffer() if port is not None else None
        interface = port.interface if port is not None else None
        return Listening(
            gap=line.gap,
            gaps=line.gaps,
            filter=filters.kind,
            filters=0 if filters is ALL else len(filters.pairs),
            buffer_asked=buffer[0] if buffer else 0,
            buffer_got=buffer[1] if buffer else 0,
            buffer_frames=port.capacity if port is not None else 0,
            interface_dropped=_statistic(interface, "rx_dropped"),
            interface_overrun=_statistic(interface, "rx_over_errors"),
        )

    # -- the thread

    def _open(self, resources: ExitStack) -> None:
        self._bell = os.eventfd(0)
        resources.callback(self._take_bell_down)
        self._receiver.watch(self._bell)
        if any(bus.interface == "socketcan" for bus in self._buses):
            with suppress(OSError):  # Who is not let will still find out by trying.
                self._links = resources.enter_context(closing(Links()))
                self._receiver.watch(self._links.fileno())
        for index, bus in enumerate(self._buses):
            if bus.interface not in ("socketcan", "unix"):
                # It loads python-can, for which other buses need no memory.
                from bordnetz.can.sources.adapter import check_interface

                check_interface(bus)
            where = f"bus {bus.name!r} ({bus.interface} {bus.channel})"
            line = Line(bus.name, where, partial(self._open_end, index, bus), self._closed)
            resources.callback(line.close)
            # A Unix socket's path is a matter of the vehicle file, not of what is plugged in.
            patient = bus.interface != "unix"
            line.begin(time.monotonic(), boot_ns(), patient=patient)
            self._lines.append(line)

    def _open_end(self, index: int, bus: Bus) -> End:
        if bus.interface not in ("socketcan", "unix"):
            from bordnetz.can.sources.adapter import Adapter

            adapter = self._adapters[index] = Adapter(index, bus, len(self._buses))
            self._rest()
            return adapter
        with self._turn:
            if bus.interface == "socketcan":
                port = open_can(index, bus.name, str(bus.channel), self._filters[index])
                self._unknown.add(index)
            else:
                port = open_unix(index, bus.name, str(bus.channel))
            self._ports[index] = port
        self._receiver.attach(port)
        self._rest()
        return port

    def _closed(self, end: End) -> None:
        with self._turn:
            for index, port in enumerate(self._ports):
                if port is end:
                    self._ports[index] = None
                    self._receiver.detach(port)
            for index, adapter in enumerate(self._adapters):
                if adapter is end:
                    self._adapters[index] = None
        self._rest()

    def _rest(self) -> None:
        """Find how long naps may be now."""
        capacities = [port.capacity for port in self._receiver.ports]
        # What an adapter's driver queues is not known.
        self._longest_nap = _NAP if any(self._adapters) else longest_nap(capacities)

    def _read(self) -> Iterator[Block]:
        nap = _NAP
        due = 0.0
        last = False
        end = None
        while not last:
            ending = self._closing.is_set()
            more = self._receiver.fill()
            got, fullest = self._receiver.got, self._receiver.fullest
            now = time.monotonic()
            if ending:
                # What waits is read, too; a flood that does not end is left.
                end = now + _FAREWELL if end is None else end
                last = not more or now >= end
            restless = self._is_restless(now)
            if restless or more or last or not got or now >= due:
                parts = [self._receiver.take()] if self._receiver.pending else []
                parts += self._drain(now)
                if parts:
                    self._hear(parts, now)
                # Not before: frames of an interface that is back end its gap when they came.
                self._tend(now)
                parts += self._changes()
                if parts:
                    due = now + _BLOCK
                    yield Block.concat(parts)
                elif not (got or last):
                    self._sleep(now)
                    continue
            if more:
                continue
            nap = next_nap(nap, fullest, self._longest_nap)
            time.sleep(nap)

    def _is_restless(self, now: float) -> bool:
        """Whether there are lines that need to be looked after."""
        if self._links is not None and self._links.changed():
            self._moved = True
        return (
            self._moved
            or bool(self._receiver.failures)
            or any(line.due is not None and now >= line.due for line in self._lines)
        )

    def _tend(self, now: float) -> None:
        """Look after the lines that need it."""
        failures, self._receiver.failures = self._receiver.failures, []
        for port, error in failures:
            self._lines[port.bus].fail(error, now, boot_ns())
        moved, self._moved = self._moved, False
        for index, line in enumerate(self._lines):
            concerned = moved and self._buses[index].interface == "socketcan"
            if concerned:
                self._unknown.add(index)
            if concerned or (line.due is not None and now >= line.due):
                line.tick(now, boot_ns())

    def _drain(self, now: float) -> Iterator[Block]:
        for index, adapter in enumerate(self._adapters):
            if adapter is None:
                continue
            try:
                block = adapter.drain()
            except BusError as error:
                self._lines[index].fail(error, now, boot_ns())
                continue
            if block is not None:
                yield block

    def _hear(self, parts: Iterable[Block], now: float) -> None:
        """End the gaps of lines from which frames come."""
        for index, line in enumerate(self._lines):
            if line.gap is None:
                continue
            for part in parts:
                for frames in (part.classic, part.fd):
                    times = frames.time[frames.bus == index]
                    if len(times := times[times >= line.gap.start]):
                        line.heard(int(times.min()), now, boot_ns())
                        break
                if line.gap is None:
                    break

    def _changes(self) -> list[Block]:
        news = []
        for line in self._lines:
            gaps, problems = line.take()
            if gaps:
                news.append(Block.of(len(self._buses), problems=problems, gaps=gaps))
        if states := self._controllers():
            health = Health.known(states, len(self._buses))
            news.append(Block.of(len(self._buses), health=health))
        return news

    def _controllers(self) -> dict[int, ErrorState]:
        """The states of controllers that were not known, by bus, as far as drivers tell them."""
        states = {}
        while self._unknown:
            port = self._ports[index := self._unknown.pop()]
            if port is not None:
                states[index] = controller_state(port.index)
        return {bus: state for bus, state in states.items() if state is not ErrorState.UNKNOWN}

    def _sleep(self, now: float) -> None:
        """Until a frame comes, a line is to be looked after, or somebody rings."""
        waits = [line.due - now for line in self._lines if line.due is not None]
        if any(self._adapters):
            waits.append(_NAP)  # Not every driver has something to wait for.
        self._receiver.wait(max(min(waits), 0) if waits else None)

    def _wake(self) -> None:
        with self._turn:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _take_bell_down(self) -> None:
        with self._turn:
            os.close(self._bell)
            self._bell = -1


def _statistic(interface: str | None, name: str) -> int:
    """A counter of a network interface; 0 where there is none such."""
    if interface is None:
        return 0
    try:
        return int(Path("/sys/class/net", interface, "statistics", name).read_text())
    except (OSError, ValueError):
        return 0
