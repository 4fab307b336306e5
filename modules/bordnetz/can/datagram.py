"""Receiving from datagram sockets whose datagrams are CAN frames, all buses in one go.

SocketCAN and a Unix datagram socket carry the same `struct can_frame` and `struct canfd_frame`,
so one receiver serves both: on a machine without CAN the same code runs as in the vehicle.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.errors import BusError
from bordnetz.can.filters import ALL, Filters
from bordnetz.can.frames import BRS, CLASSIC_BYTES, ERROR, ESI, FD_BYTES, FDF, REMOTE, Block, Frames
from bordnetz.can.health import Health
from bordnetz.can.mmsg import CAN_BYTES, CANFD_BYTES, MOST_A_CALL, SO_TIMESTAMPNS, Messages
from bordnetz.series import EXTENDED, Cause

ROWS = 3 * MOST_A_CALL
"""Frames in a block at most: more would leave the processor's caches while they are decoded."""

_STANDARD, _LARGEST, _EXTENDED = np.uint32(0x7FF), np.uint32(0x1FFF_FFFF), np.uint32(EXTENDED)
"""The largest ids of 11 and 29 bits, and the mark of the latter, as numpy's own numbers: it
compares them faster than Python's."""
_NOT_ONE = np.zeros(0, np.bool_)
_CAN_RAW_ERR_FILTER = 2
"""linux/can/raw.h; Python 3.11's socket module lacks it."""
_CAN_ERR_MASK = 0x1FFF_FFFF
"""All classes of error messages (linux/can.h)."""
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO_WORDS = 9
_MEMINFO_DROPS = 8
"""asm-generic/socket.h and ``SK_MEMINFO_DROPS`` of linux/sock_diag.h."""
_RECEIVE_BUFFER = 8 << 20
"""Bytes asked for; a queued frame is charged with some 768, so this is seconds of a busy bus."""
_CHARGE = 1024
_ARPHRD_CAN = "280"
_SIOCGIFFLAGS = 0x8913
_IFF_UP = 1
"""linux/sockios.h and linux/if.h, netdevice(7)."""


def _masks(width: int) -> NDArray[np.uint64]:
    """For each length 0..width the mask that keeps that many of ``width`` bytes."""
    kept = np.arange(width) < np.arange(width + 1)[:, None]
    return (kept * np.uint8(0xFF)).astype(np.uint8).view(np.uint64)


_CLASSIC_MASKS = _masks(CLASSIC_BYTES)[:, 0]
_FD_MASKS = _masks(FD_BYTES)


@dataclass(frozen=True, slots=True)
class Port:
    """An open socket of one bus.

    Attributes:
        bus: Index of the bus in the vehicle file.
        name: For messages: the bus and where it is.
        socket: Bound; its datagrams are frames.
        capacity: Frames that the kernel queues before it drops them or lets the sender wait.
        path: Of a Unix socket.
        interface: Of a SocketCAN socket.
        index: The interface's number, which outlives a new name.
    """

    bus: int
    name: str
    socket: socket.socket
    capacity: int
    path: Path | None = None
    interface: str | None = None
    index: int = 0

    def close(self) -> None:
        """Close the socket and remove its file."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self.socket.close()

    def dropped(self) -> int:
        """Frames that the kernel has dropped so far as its queue was full, modulo 2**32.

        From the socket's own account, which is right at any moment; the control message
        ``SO_RXQ_OVFL`` comes only with the next frame that is received.
        """
        words = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_WORDS)
        return int(np.frombuffer(words, np.uint32)[_MEMINFO_DROPS])

    def let_through(self, filters: Filters) -> None:
        """Set what the kernel hands over; a Unix socket's sender is not filtered.

        The kernel sets up the new filters before it takes away the old ones, so that a frame that
        passes both is never missed.

        Raises:
            OSError: The interface is gone.
        """
        if self.interface is not None:
            self.socket.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, filters.packed())

    def buffer(self) -> tuple[int, int] | None:
        """Bytes asked for to queue frames in, and those that the kernel gave; None: it is fixed.

        The kernel doubles what is asked for, since it charges for its own records, too.
        """
        if self.interface is None:
            return None
        return _RECEIVE_BUFFER, self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def state(self) -> Cause | None:
        """Why no frames can come, or None: the interface is up, and is still the one named."""
        if self.interface is None:
            return None
        request = struct.pack("16sH14x", self.interface.encode(), 0)
        try:
            if socket.if_nametoindex(self.interface) != self.index:
                return Cause.ABSENT
            flags = struct.unpack("16sH14x", fcntl.ioctl(self.socket, _SIOCGIFFLAGS, request))[1]
        except OSError:
            return Cause.ABSENT
        return None if flags & _IFF_UP else Cause.DOWN


def can_interfaces() -> list[str]:
    """The CAN network interfaces that this machine has."""
    found = []
    for kind in Path("/sys/class/net").glob("*/type"):
        with contextlib.suppress(OSError):
            if kind.read_text().strip() == _ARPHRD_CAN:
                found.append(kind.parent.name)
    return sorted(found)


def open_can(bus: int, name: str, interface: str, filters: Filters = ALL) -> Port:
    """Open a SocketCAN interface for data frames, CAN FD frames and error frames.

    Args:
        bus: Index of the bus in the vehicle file.
        name: Of the bus.
        interface: Of the network.
        filters: What the kernel hands over from the first frame on.

    Raises:
        BusError: There is no such interface, or the kernel has no CAN.
    """
    where = f"bus {name!r} (socketcan {interface})"
    try:
        sock = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    except OSError as error:
        raise BusError(
            f"{where}: this kernel has no CAN ({error.strerror}); load its modules (modprobe "
            "can-raw) or use interface 'unix'"
        ) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
        sock.setsockopt(socket.SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, _CAN_ERR_MASK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:  # Without CAP_NET_ADMIN net.core.rmem_max is the limit.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, filters.packed())
        sock.bind((interface,))
        index = socket.if_nametoindex(interface)
    except OSError as error:
        sock.close()
        raise BusError(
            f"{where}: {error.strerror or error}; CAN interfaces here: "
            f"{', '.join(can_interfaces()) or 'none'}"
        ) from error
    capacity = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _CHARGE
    return Port(bus, where, sock, capacity, interface=interface, index=index)


def open_unix(bus: int, name: str, path: str) -> Port:
    """Bind a Unix datagram socket; the file of one that nobody listens to any more is replaced.

    Raises:
        BusError: The path cannot be bound, or another process listens there.
    """
    where = f"bus {name!r} (unix {path})"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        _remove_stale(path)
        sock.bind(path)
    except (OSError, ValueError) as error:
        sock.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise BusError(
            f"{where}: cannot be bound: {reason}; the channel should be a path of up to 107 "
            "bytes in a folder that exists, where no other process listens"
        ) from error
    return Port(bus, where, sock, _unix_queue(), Path(path))


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116 (Path() would alter the path)
            raise FileExistsError(errno.EEXIST, "a file that is no socket lies there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "another process listens there")


def _unix_queue() -> int:
    """How many datagrams wait in a Unix socket before the sender does (unix(7))."""
    try:
        return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    except (OSError, ValueError):
        return 10


class Receiver:
    """Reads the sockets of all buses into one memory and makes columns of it.

    Read with `fill` as often as the sockets need it, and `take` a block as often as somebody
    wants one; the work per block is the same for three frames and for three thousand.
    """

    def __init__(self, ports: Sequence[Port], buses: int) -> None:
        """Receive from ``ports``, which stay the caller's to close.

        Args:
            ports: At most one a bus.
            buses: How many buses the vehicle has.
        """
        self.ports: tuple[Port, ...] = ()
        self._buses = buses
        self._messages = Messages(ROWS)
        self._bus = np.zeros(ROWS, np.uint8)
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
        before = self._rows
        self.got, self.fullest = 0, 0.0
        for _ in self.ports:
            if self._rows > ROWS - MOST_A_CALL:
                more = True
                break
            port = self.ports[self._turn]
            # The next call begins with the next bus, so that a flooded one starves no other.
            self._turn = (self._turn + 1) % len(self.ports)
            got = self._receive(port)
            self._bus[self._rows : self._rows + got] = port.bus
            self._rows += got
            self.fullest = max(self.fullest, got / port.capacity)
            more |= got == MOST_A_CALL
        self.got = self._rows - before
        return more

    def _receive(self, port: Port) -> int:
        try:
            return self._messages.receive(port.socket.fileno(), self._rows, MOST_A_CALL)
        except OSError as error:
            self.failures.append((port, error))
        try:
            # An error is said once, before the frames that wait.
            return self._messages.receive(port.socket.fileno(), self._rows, MOST_A_CALL)
        except OSError:
            return 0

    def take(self) -> Block:
        """Everything read since the last block."""
        count, self._rows = self._rows, 0
        bus = self._bus[:count].copy()
        frames = self._messages.frames[:count]
        words = self._messages.words[:count]
        sizes = self._messages.sizes[:count]
        times = self._messages.times(count)
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
