"""Sockets whose datagrams are CAN frames: SocketCAN's, and Unix datagram sockets with the same."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bordnetz.can.errors import BusError
from bordnetz.can.filters import ALL, Filters
from bordnetz.can.mmsg import SO_TIMESTAMPNS
from bordnetz.series import Cause

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
