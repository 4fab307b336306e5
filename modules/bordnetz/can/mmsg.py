"""Memory and calls for moving many datagrams, each one CAN frame, in one system call.

The layouts are those of Linux' socket interface: `struct mmsghdr` (recvmmsg(2), sendmmsg(2)),
`struct iovec`, `struct cmsghdr` (cmsg(3)), `struct can_frame` and `struct canfd_frame`
(linux/can.h).  Pointers and sizes are as wide as the machine's, so they hold on 32 bits too.
"""

from __future__ import annotations

import ctypes
import errno
import os

import numpy as np
from numpy.typing import NDArray

CAN_BYTES = 16
"""Size of `struct can_frame` (``CAN_MTU``)."""
CANFD_BYTES = 72
"""Size of `struct canfd_frame` (``CANFD_MTU``)."""
MOST_A_CALL = 1024
"""Datagrams in one system call (``UIO_MAXIOV``)."""
SO_TIMESTAMPNS = 64
"""``SO_TIMESTAMPNS_NEW`` of asm-generic/socket.h: two 64-bit numbers on every machine."""

_STRIDE = 80
_ROOM = CANFD_BYTES + 1
"""One byte more than the longest frame: a longer datagram then shows by its size."""

FRAME = np.dtype(
    {
        "names": ["id", "length", "flags", "data"],
        "formats": [np.uint32, np.uint8, np.uint8, (np.uint8, 64)],
        "offsets": [0, 4, 5, 8],
        "itemsize": _STRIDE,
    }
)
"""`struct canfd_frame`; `struct can_frame` is its beginning, with the flags reserved."""

_STAMP = np.dtype(
    [
        ("size", np.uintp),
        ("level", np.int32),
        ("type", np.int32),
        ("seconds", np.int64),
        ("nanoseconds", np.int64),
    ]
)
"""`struct cmsghdr` with a `struct __kernel_timespec`; unaligned on 32 bits, so it is packed."""


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_size_t), ("size", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_size_t),
        ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.c_size_t),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_size_t),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    _fields_ = [("header", _Header), ("size", ctypes.c_uint)]


_HEADER_BYTES = ctypes.sizeof(_Message)

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
_MSG_DONTWAIT = 0x40
_MSG_NOSIGNAL = 0x4000


class Messages:
    """Rows of memory, one datagram each, that the kernel fills or empties: one or the other.

    Attributes:
        frames: `FRAME`, shape (rows,).
        words: uint64, shape (rows, 10), the same memory; data begin at word 1.
        sizes: uint32, shape (rows,), the datagram's size as received; over 72 if it was longer.
    """

    def __init__(self, rows: int) -> None:
        self.words = np.zeros((rows, _STRIDE // 8), np.uint64)
        self.frames: NDArray[np.void] = self.words.view(FRAME)[:, 0]
        self._vectors = np.zeros(rows, np.dtype(_Vector))
        self._stamps = np.zeros(rows, _STAMP)
        self._headers = np.zeros(rows, np.dtype(_Message))
        self.sizes: NDArray[np.uint32] = self._headers["size"]
        header = self._headers["header"]
        self._room: NDArray[np.uintp] = header["control_size"]
        self._room[:] = _STAMP.itemsize
        row = np.arange(rows, dtype=np.uintp)
        self._vectors["base"] = self.words.ctypes.data + row * _STRIDE
        self._vectors["size"] = _ROOM
        header["vectors"] = self._vectors.ctypes.data + row * self._vectors.itemsize
        header["vector_count"] = 1
        header["control"] = self._stamps.ctypes.data + row * _STAMP.itemsize
        self._address: int = self._headers.ctypes.data
        self._used = 0

    def receive(self, descriptor: int, start: int, count: int) -> int:
        """Take up to ``count`` waiting datagrams into the rows from ``start`` on.

        The room for control messages fits the time stamp alone: file descriptors that a sender
        attaches are closed by the kernel.  Rows are filled from the first on, one behind the
        other, and again from the first on.

        Returns:
            How many there were; 0 if none waits.

        Raises:
            OSError: The socket reports an error, for instance that its interface went down.
        """
        if not start:
            # The kernel has written there how much of the room a datagram has needed.
            self._room[: self._used] = _STAMP.itemsize
        address = self._address + start * _HEADER_BYTES
        received: int = _recvmmsg(descriptor, address, count, _MSG_DONTWAIT, None)
        if received < 0:
            code = ctypes.get_errno()
            if code in (errno.EAGAIN, errno.EINTR):
                return 0
            raise OSError(code, os.strerror(code))
        self._used = start + received
        return received

    def send(self, descriptor: int, start: int, count: int, size: int) -> int:
        """Send ``count`` rows from ``start`` on as datagrams of ``size`` bytes.

        Returns:
            How many were sent before the socket refused one; at least 1.

        Raises:
            OSError: The first was refused already.
        """
        self._vectors["size"][start : start + count] = size
        self._room[start : start + count] = 0
        address = self._address + start * _HEADER_BYTES
        sent: int = _sendmmsg(descriptor, address, count, _MSG_NOSIGNAL)
        if sent < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return sent

    def times(self, count: int) -> NDArray[np.int64]:
        """When the kernel received the first ``count`` rows: int64, ns since the Unix epoch."""
        stamps = self._stamps[:count]
        times: NDArray[np.int64] = stamps["seconds"] * 1_000_000_000 + stamps["nanoseconds"]
        return times
