"""All frames of the simulated vehicle in the order in which they are due."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bordnetz.can.frames import CLASSIC_BYTES, Frames
from bordnetz.can.vehicle import Vehicle
from bordnetz.laptop.vehicle.car import Car
from bordnetz.laptop.vehicle.network import PERIOD, Message, NetworkError, load
from bordnetz.laptop.vehicle.packing import TICKS, Packer
from bordnetz.laptop.vehicle.signals import Signals

GRID = 5
"""Milliseconds between the times at which background frames are due."""

_PERIOD_NS = PERIOD * 1_000_000
_BACKGROUND_IDS = range(0x600, 0x700)
_IDS_A_BUS = 64


@dataclass(frozen=True, slots=True)
class Burst:
    """Frames of one bus that are due at the same time, all classic or all CAN FD.

    Attributes:
        due: ns since the traffic began.
        bus: Index of the bus in the vehicle file.
        frames: In order of sending.
    """

    due: int
    bus: int
    frames: Frames


class Traffic:
    """What a vehicle's buses carry, computed one second ahead."""

    def __init__(
        self,
        vehicle: Vehicle,
        seed: int,
        background: int = 0,
        trip: float | None = None,
        corrupt: float = 0.0,
    ) -> None:
        """Let a parked car stand on the road.

        Args:
            vehicle: Buses and their DBC files; their signals are the car's.
            seed: Equal seeds give equal frames, but for the time of day in them.
            background: Fill each bus up to so many frames a second with messages that are in
                none of the DBC files.
            trip: Seconds until the driver pulls over and parks for good; None: never.
            corrupt: Share of the frames with a checksum in which a bit is flipped on the way.

        Raises:
            NetworkError: The DBC files cannot be sent from, or have signals that the car lacks.
        """
        messages = load(vehicle)
        self._packer = Packer(messages)
        self._car = Car(seed, trip)
        self._signals = Signals(seed)
        self._background = _Background(messages, len(vehicle.buses), seed, background)
        self._noise = _Corruption(messages, seed, corrupt) if corrupt else None
        self._runs: list[tuple[int, int, int, slice]] = []
        self._refuse_unknown(vehicle, messages, seed)

    def _refuse_unknown(self, vehicle: Vehicle, messages: Sequence[Message], seed: int) -> None:
        state = Car(seed).advance(1)
        known = Signals(seed).columns(state, 0).keys()
        for message in messages:
            for signal in message.signals:
                if signal.name not in known:
                    bus = vehicle.buses[message.bus].name
                    raise NetworkError(
                        f"bus '{bus}': the simulated car has no signal "
                        f"'{message.name}.{signal.name}'; it drives the networks in dbc/ alone"
                    )

    @property
    def corrupted(self) -> int:
        """Frames in which a bit was flipped so far; they are made a second ahead."""
        return 0 if self._noise is None else self._noise.frames

    def bursts(self, start: int) -> Iterator[Burst]:
        """Bursts in the order of their time, without end.

        Args:
            start: When the first is due, ns since the Unix epoch.
        """
        base = 0
        while True:
            columns = self._signals.columns(self._car.advance(TICKS), start + base)
            classic, fd = self._packer.pack(self._packer.raw(columns), start + base)
            if self._noise is not None:
                self._noise.flip(classic)
                self._noise.flip(fd)
            kinds = (classic, fd, self._background.frames(start + base))
            if not self._runs:
                self._runs = _runs(kinds, start + base)
            for due, bus, kind, rows in self._runs:
                yield Burst(base + due, bus, kinds[kind][rows])
            base += _PERIOD_NS


def _runs(kinds: Sequence[Frames], start: int) -> list[tuple[int, int, int, slice]]:
    """Due time, bus, kind and rows of each burst of a block; the same for all blocks."""
    runs = []
    for kind, frames in enumerate(kinds):
        new = np.diff(frames.time, prepend=-1) != 0
        new |= np.diff(frames.bus, prepend=255) != 0
        edges = [*np.flatnonzero(new).tolist(), len(frames)]
        for first, end in itertools.pairwise(edges):
            due = int(frames.time[first]) - start
            runs.append((due, int(frames.bus[first]), kind, slice(first, end)))
    return sorted(runs, key=lambda run: run[:3])


class _Corruption:
    """Bits that are flipped in frames with a checksum, after it was made."""

    def __init__(self, messages: Sequence[Message], seed: int, share: float) -> None:
        self.frames = 0
        self._rng = np.random.default_rng([seed, 3])
        self._share = share
        protected = [message for message in messages if message.profile != "None"]
        self._keys = np.array([message.bus << 32 | message.id for message in protected], np.int64)

    def flip(self, frames: Frames) -> None:
        """Flip one bit in some of the frames, in place."""
        keys = frames.bus.astype(np.int64) << 32 | frames.id
        hit = np.isin(keys, self._keys) & (self._rng.random(len(frames)) < self._share)
        rows = hit.nonzero()[0]
        bit = self._rng.integers(0, 8 * frames.length[rows].astype(np.int64))
        frames.data[rows, bit >> 3] ^= (1 << (bit & 7)).astype(np.uint8)
        self.frames += len(rows)


class _Background:
    """Messages that no DBC file of the vehicle knows."""

    def __init__(self, messages: Sequence[Message], buses: int, seed: int, rate: int) -> None:
        rng = np.random.default_rng([seed, 2])
        parts = []
        for bus in range(buses):
            own = [message for message in messages if message.bus == bus]
            count = max(0, rate - sum(PERIOD // message.cycle for message in own))
            taken = {message.id for message in own}
            free = [one for one in _BACKGROUND_IDS if one not in taken][:_IDS_A_BUS]
            if count and not free:
                raise NetworkError("no id from 0x600 to 0x6FF is free for background messages")
            row = np.arange(count)
            due = row * PERIOD // max(count, 1) // GRID * GRID
            parts.append(
                Frames(
                    time=due * 1_000_000,
                    bus=np.full(count, bus, np.uint8),
                    id=np.array(free, np.uint32)[row % max(len(free), 1)],
                    flags=np.zeros(count, np.uint8),
                    length=np.full(count, CLASSIC_BYTES, np.uint8),
                    data=rng.integers(0, 256, (count, CLASSIC_BYTES), np.uint8),
                )
            )
        together = Frames.concat(parts)
        self._frames = together[np.lexsort((together.bus, together.time))]

    def frames(self, start: int) -> Frames:
        """The block's frames: the first byte of each counts up from block to block."""
        one = self._frames
        data = one.data.copy()
        data[:, 0] += np.uint8(start // _PERIOD_NS % 256)
        return Frames(one.time + start, one.bus, one.id, one.flags, one.length, data)
