"""Sending frames onto a bus: what the simulated vehicle and tests put into a receiver's socket."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable
from types import TracebackType

import numpy as np

from bordnetz.can.errors import BusError
from bordnetz.can.frames import CLASSIC_BYTES, FD_BYTES, Frames
from bordnetz.can.mmsg import CAN_BYTES, CANFD_BYTES, MOST_A_CALL, Messages
from bordnetz.can.port import can_interfaces

_WAIT_MICROSECONDS = 100_000
"""How long the kernel waits for room before this end looks whether it has been closed."""
_MOST_A_CALL_CAN = 64
"""Between a network device and sockets wait 1,000 frames (net.core.netdev_max_backlog); beyond
that the kernel drops them and tells nobody.  With a pause after so many it comes to deliver them,
and 64 a millisecond is eight times what a bus of 1 Mbit/s carries."""
_PAUSE_SECONDS = 0.001
"""About eight frames at 1 Mbit/s: a CAN controller's queue drains no faster."""


class FrameSender:
    """Sends frames to one bus; a full queue makes it wait, so nothing is lost on the way.

    Not for use by several threads at once, except `close`, which ends a waiting `send`.
    """

    def __init__(
        self, connected: socket.socket, name: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Send through a socket that has been connected or bound; see `to_unix` and `to_can`.

        Args:
            connected: Closed by `close`.
            name: Of the bus, for messages.
            sleep: Waits so many seconds, when a CAN controller's queue is full or much is sent.
        """
        # The kernel does the waiting; struct timeval's two longs.
        wait = struct.pack("@ll", 0, _WAIT_MICROSECONDS)
        connected.setblocking(True)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        self._socket = connected
        self._name = name
        self._sleep = sleep
        self._messages = Messages(MOST_A_CALL)
        self._is_can = connected.family == socket.AF_CAN
        self._most = _MOST_A_CALL_CAN if self._is_can else MOST_A_CALL
        self._closed = False

    @classmethod
    def to_unix(cls, path: str) -> FrameSender:
        """Send to whoever has bound the Unix datagram socket at ``path``.

        Raises:
            BusError: Nobody listens there.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.connect(path)
        except (OSError, ValueError) as error:
            sock.close()
            raise BusError(
                f"unix {path}: nobody listens there ({error}); start the receiver first"
            ) from error
        return cls(sock, f"unix {path}")

    @classmethod
    def to_can(cls, interface: str, sleep: Callable[[float], None] = time.sleep) -> FrameSender:
        """Send to a SocketCAN interface.

        Raises:
            BusError: There is no such interface.
        """
        try:
            sock = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        except OSError as error:
            raise BusError(f"socketcan {interface}: this kernel has no CAN ({error})") from error
        try:
            sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
            # Nothing is read here: take no frames into a queue that nobody empties.
            sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"")
            sock.bind((interface,))
        except OSError as error:
            sock.close()
            raise BusError(
                f"socketcan {interface}: {error.strerror or error}; CAN interfaces here: "
                f"{', '.join(can_interfaces()) or 'none'}"
            ) from error
        return cls(sock, f"socketcan {interface}", sleep)

    def send(self, frames: Frames) -> None:
        """Send all of ``frames``, whatever their ``bus`` and ``time``; wait while there is no room.

        Raises:
            BusError: The other end is gone, the interface is down or takes no CAN FD, or `close`
                was called meanwhile.
        """
        width = frames.data.shape[1]
        size = {CLASSIC_BYTES: CAN_BYTES, FD_BYTES: CANFD_BYTES}[width]
        for start in range(0, len(frames), MOST_A_CALL):
            part = frames[start : start + MOST_A_CALL]
            rows = self._messages.frames[: len(part)]
            rows["id"] = part.id
            rows["length"] = part.length
            rows["flags"] = part.flags if size == CANFD_BYTES else 0
            self._messages.words[: len(part), 1 : 1 + width // 8] = np.ascontiguousarray(
                part.data
            ).view(np.uint64)
            self._send(len(part), size)

    def _send(self, count: int, size: int) -> None:
        sent = 0
        while sent < count:
            if self._closed:
                raise BusError(f"{self._name}: closed while {count - sent} frames waited")
            try:
                part = min(count - sent, self._most)
                sent += self._messages.send(self._socket.fileno(), sent, part, size)
                if self._is_can and part == self._most:
                    self._sleep(_PAUSE_SECONDS)
            except OSError as error:
                if error.errno == errno.ENOBUFS:  # No room in the CAN controller's queue.
                    self._sleep(_PAUSE_SECONDS)
                elif error.errno not in (errno.EAGAIN, errno.EINTR):
                    raise BusError(f"{self._name}: cannot be sent to: {error.strerror}") from error

    def close(self) -> None:
        """Close the socket; a `send` that waits in another thread ends with `BusError`."""
        self._closed = True
        self._socket.close()

    def __enter__(self) -> FrameSender:
        """Nothing to do; `close` follows at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()
