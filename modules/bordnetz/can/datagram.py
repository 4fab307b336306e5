"""Receiving from datagram sockets whose datagrams are CAN frames, all buses in one go.

SocketCAN and a Unix datagram socket carry the same `struct can_frame` and `struct canfd_frame`,
so one receiver serves both: on a machine without CAN the same code runs as in the vehicle.
"""

from __future__ import annotations

import select
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.clock import Reception, Wall
from bordnetz.can.frames import BRS, CLASSIC_BYTES, ERROR, ESI, FD_BYTES, FDF, REMOTE, Block, Frames
from bordnetz.can.health import Health
from bordnetz.can.mmsg import CAN_BYTES, CANFD_BYTES, MOST_A_CALL, Messages
from bordnetz.can.port import Port
from bordnetz.series import EXTENDED

ROWS = 3 * MOST_A_CALL
"""Frames in a block at most: more would leave the processor's caches while they are decoded."""

_STANDARD, _LARGEST, _EXTENDED = np.uint32(0x7FF), np.uint32(0x1FFF_FFFF), np.uint32(EXTENDED)
"""The largest ids of 11 and 29 bits, and the mark of the latter, as numpy's own numbers: it
compares them faster than Python's."""
_NOT_ONE = np.zeros(0, np.bool_)


def _masks(width: int) -> NDArray[np.uint64]:
    """For each length 0..width the mask that keeps that many of ``width`` bytes."""
    kept = np.arange(width) < np.arange(width + 1)[:, None]
    return (kept * np.uint8(0xFF)).astype(np.uint8).view(np.uint64)


_CLASSIC_MASKS = _masks(CLASSIC_BYTES)[:, 0]
_FD_MASKS = _masks(FD_BYTES)


class Receiver:
    """Reads the sockets of all buses into one memory and makes columns of it.

    Read with `fill` as often as the sockets need it, and `take` a block as often as somebody
    wants one; the work per block is the same for three frames and for three thousand.
    """

    def __init__(self, ports: Sequence[Port], buses: int, wall: Wall | None = None) -> None:
        """Receive from ``ports``, which stay the caller's to close.

        Args:
            ports: At most one a bus.
            buses: How many buses the vehicle has.
            wall: The clock that the kernel stamps frames by.
        """
        self.ports: tuple[Port, ...] = ()
        self._reception = Reception(wall)
        self._buses = buses
        self._messages = Messages(ROWS)
        # The rows of the memory in use: the bus and the number of each run of them.
        self._bus_of_run: list[int] = []
        self._run: list[int] = []
        self._rows = 0
        self._turn = 0
        self._dropped = np.zeros(buses, np.int64)
        self._lost_before = np.zeros(buses, np.int64)
        self._poll = select.poll()
        self.got = 0
        """Frames that the last `fill` read."""
        self.fullest = 0.0
        """How full the fullest queue was in the last `fill`; above 1, a sender may have waited."""
        self.failures: list[tuple[Port, OSError]] = []
        """What sockets reported instead of frames; whoever looks after them takes it out."""
        for port in ports:
            self.attach(port)

    def attach(self, port: Port) -> None:
        """Receive from one more; its bus has no other."""
        self.ports = (*self.ports, port)
        self._dropped[port.bus] = 0
        self.watch(port.socket.fileno())

    def detach(self, port: Port) -> None:
        """Receive from it no more; what it has dropped until now is told by the next `take`."""
        self._lost_before += self._lost()
        self.ports = tuple(other for other in self.ports if other is not port)
        self._turn = 0
        self._poll.unregister(port.socket)

    def watch(self, descriptor: int) -> None:
        """Let `wait` end when there is something to read from ``descriptor``, too."""
        self._poll.register(descriptor, select.POLLIN)

    @property
    def pending(self) -> bool:
        """Whether there is something to `take`."""
        return self._rows > 0 or bool(self._lost_before.any())

    def wait(self, seconds: float | None) -> None:
        """Sleep until a frame comes, but no longer than ``seconds``; None: however long."""
        self._poll.poll(None if seconds is None else seconds * 1000)

    def fill(self) -> bool:
        """Read what the sockets hold.

        Returns:
            Whether more is there: `take` a block and call again.
        """
        more = False
        before = rows = self._rows
        fullest = 0.0
        for _ in self.ports:
            if rows > ROWS - MOST_A_CALL:
                more = True
                break
            port = self.ports[self._turn]
            # The next call begins with the next bus, so that a flooded one starves no other.
            self._turn = (self._turn + 1) % len(self.ports)
            if not (got := self._receive(port, rows)):
                continue
            self._bus_of_run.append(port.bus)
            self._run.append(got)
            rows += got
            fullest = max(fullest, got / port.capacity)
            more |= got == MOST_A_CALL
        self._rows, self.got, self.fullest = rows, rows - before, fullest
        self._reception.drained(rows)
        return more

    def _receive(self, port: Port, row: int) -> int:
        try:
            return self._messages.receive(port.socket.fileno(), row, MOST_A_CALL)
        except OSError as error:
            self.failures.append((port, error))
        try:
            # An error is said once, before the frames that wait.
            return self._messages.receive(port.socket.fileno(), row, MOST_A_CALL)
        except OSError:
            return 0

    def take(self) -> Block:
        """Everything read since the last block."""
        count, self._rows = self._rows, 0
        bus = np.array(self._bus_of_run, np.uint8).repeat(self._run)
        self._bus_of_run.clear()
        self._run.clear()
        frames = self._messages.frames[:count]
        words = self._messages.words[:count]
        sizes = self._messages.sizes[:count]
        times = self._reception.convert(self._messages.times(count), bus)
        # Side by side, as eighty bytes apart every number costs a line of the cache.
        ids, length = frames["id"].copy(), frames["length"].copy()

        remote = error = broken = health = None
        # Ids of 29 bits with the two flags unset are one range, those of 11 bits another.
        data = (ids - _EXTENDED) <= _LARGEST
        data |= ids <= _STANDARD
        is_classic = data & (sizes == CAN_BYTES)
        is_classic &= length <= CLASSIC_BYTES
        is_fd = _NOT_ONE
        if not is_classic.all():
            is_fd = data & (sizes == CANFD_BYTES) & (length <= FD_BYTES)
        if len(is_fd) and not (is_classic | is_fd).all():
            other = (sizes == CAN_BYTES) & ~is_classic
            is_error = other & ((ids & ERROR) != 0)
            is_remote = other & ((ids & (REMOTE | ERROR)) == REMOTE)
            error, remote = self._count(bus, is_error), self._count(bus, is_remote)
            if is_error.any():
                told = frames["data"][is_error, :CLASSIC_BYTES]
                health = Health.of(bus[is_error], ids[is_error], told, self._buses)
            broken = self._count(bus, ~(is_classic | is_fd | is_error | is_remote))

        classic, fd = Frames.empty(CLASSIC_BYTES), Frames.empty(FD_BYTES)
        rows = _rows(is_classic)
        if rows is not None:
            kept = length[rows]
            classic = Frames(
                time=times[rows],
                bus=bus[rows],
                id=ids[rows],
                flags=np.zeros(len(kept), np.uint8),
                length=kept,
                data=_bytes(words[rows, 1] & _CLASSIC_MASKS[kept], CLASSIC_BYTES),
            )
        rows = _rows(is_fd)
        if rows is not None:
            kept = length[rows]
            fd = Frames(
                time=times[rows],
                bus=bus[rows],
                id=ids[rows],
                # Kernels before 6.1 do not set FDF, and a sender on a Unix socket need not.
                flags=(frames["flags"][rows] & np.uint8(BRS | ESI)) | np.uint8(FDF),
                length=kept,
                data=_bytes(words[rows, 1:9] & _FD_MASKS[kept], FD_BYTES),
            )
        lost = self._lost()
        if self._lost_before.any():
            lost += self._lost_before
            self._lost_before[:] = 0
        return Block.of(
            self._buses,
            classic,
            fd,
            remote=remote,
            error=error,
            broken=broken,
            lost=lost,
            health=health,
        )

    def _count(self, bus: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(bus[chosen], minlength=self._buses)

    def _lost(self) -> NDArray[np.int64]:
        lost = np.zeros(self._buses, np.int64)
        for port in self.ports:
            dropped = port.dropped()
            lost[port.bus] = (dropped - self._dropped[port.bus]) % (1 << 32)
            self._dropped[port.bus] = dropped
        return lost


def _rows(chosen: NDArray[np.bool_]) -> slice | NDArray[np.intp] | None:
    if chosen.all():
        return slice(None) if len(chosen) else None
    rows = np.flatnonzero(chosen)
    return rows if len(rows) else None


def _bytes(words: NDArray[np.uint64], width: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(words).view(np.uint8).reshape(-1, width)
