"""What the kernel says of network interfaces by rtnetlink(7): a controller's state, and changes."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from bordnetz.can.health import ErrorState

_GET_LINK, _NEW_LINK = 18, 16
"""``RTM_GETLINK``, ``RTM_NEWLINK`` of linux/rtnetlink.h."""
_REQUEST = 1
"""``NLM_F_REQUEST`` of linux/netlink.h."""
_GROUP_LINK = 1
"""``RTMGRP_LINK``: who is bound to it hears of every interface that comes, goes or changes."""
_HEADER, _INTERFACE, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), "=HH"
"""``struct nlmsghdr``, ``ifinfomsg`` and ``rtattr``; all are padded to four bytes."""
_LINK_INFO, _KIND, _DATA, _CAN_STATE = 18, 1, 2, 4
"""``IFLA_LINKINFO``, and in it ``IFLA_INFO_KIND`` and ``IFLA_INFO_DATA`` of linux/if_link.h, and in
that of a CAN controller ``IFLA_CAN_STATE`` of linux/can/netlink.h, an ``enum can_state``."""
_MOST = 1 << 16
"""Bytes of a message; the kernel's stay below 32 KiB."""


class Links:
    """Hears when network interfaces change; its descriptor is readable then.

    Raises:
        OSError: The kernel does not let us.
    """

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        try:
            self._socket.bind((0, _GROUP_LINK))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The descriptor."""
        return self._socket.fileno()

    def changed(self) -> bool:
        """Whether something has changed since it was last asked; what, is to be looked up."""
        changed = False
        try:
            while True:
                self._socket.recv(1)
                changed = True
        except BlockingIOError:
            return changed
        except OSError:  # ENOBUFS: more has changed than its queue takes.
            return True

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


def controller_state(index: int) -> ErrorState:
    """The error state of a CAN controller, as its driver tells it.

    Args:
        index: The interface's number.

    Returns:
        Unknown where the interface is gone, is down, or is no controller, as vcan is none.
    """
    request = _HEADER.pack(_HEADER.size + _INTERFACE.size, _GET_LINK, _REQUEST, 0, 0)
    request += _INTERFACE.pack(socket.AF_UNSPEC, 0, index, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.send(request)
            # The answer is there when the request has been sent.
            return state_in(kernel.recv(_MOST, socket.MSG_DONTWAIT))
    except OSError:
        return ErrorState.UNKNOWN


def state_in(answer: bytes) -> ErrorState:
    """The error state in the answer about an interface."""
    if len(answer) < _HEADER.size + _INTERFACE.size:
        return ErrorState.UNKNOWN
    size, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _NEW_LINK:
        return ErrorState.UNKNOWN
    info = dict(_attributes(answer[_HEADER.size + _INTERFACE.size : size])).get(_LINK_INFO, b"")
    about = dict(_attributes(info))
    if about.get(_KIND) != b"can\0":
        return ErrorState.UNKNOWN
    state = dict(_attributes(about.get(_DATA, b""))).get(_CAN_STATE, b"")
    number = int.from_bytes(state, "little" if struct.pack("=H", 1)[0] else "big")
    known = len(state) == 4 and number <= ErrorState.BUS_OFF  # beyond: stopped, sleeping
    return ErrorState(number) if known else ErrorState.UNKNOWN


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each attribute, up to one that is cut off."""
    at = 0
    while at + 4 <= len(content):
        size, number = struct.unpack_from(_ATTRIBUTE, content, at)
        if size < 4 or at + size > len(content):
            return
        yield number & 0x3FFF, content[at + 4 : at + size]
        at += -(-size // 4) * 4
