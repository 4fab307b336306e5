"""Receiving in bulk against python-can: CPU time a frame, without the sender's.

Both read `struct can_frame` from UDP sockets of this machine, which queue hundreds of frames where
a Unix socket queues ten; they use the code with which they read SocketCAN, that is, `Receiver` on
one side, and `SocketcanBus.recv` on the other.  Frames are queued before the clock runs.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import can
import numpy as np
from can.interfaces.socketcan import SocketcanBus, constants

from bench.row import Row, times_less
from bordnetz.can.datagram import Receiver
from bordnetz.can.frames import Frames
from bordnetz.can.mmsg import SO_TIMESTAMPNS
from bordnetz.can.port import Port
from bordnetz.can.sender import FrameSender

BUSES = 3
EACH: dict[int, float | None] = {40: None, 200: 6.0}
"""Frames that a bus has for a drain every 20 ms, at 2,000 and at 10,000 frames/s, to the times that
python-can needs at least; two drains make a block."""
FRAMES = 24_000
ROUNDS = 7


class _OverUdp(SocketcanBus):
    """python-can's SocketCAN bus on a socket that every machine has."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.channel = self.channel_info = "udp"
        self._bcm_sockets: dict[str, Any] = {}
        self._is_filtered = False
        self._periodic_tasks: list[Any] = []
        self._filters = None
        self._is_shutdown = True  # the socket is not its own
        self._can_protocol = can.CanProtocol.CAN_20


class _Line:
    """Sockets, and who fills them."""

    def __init__(self) -> None:
        self.ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(BUSES)]
        self._senders = []
        for end in self.ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            end.bind(("127.0.0.1", 0))
            connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            connected.connect(end.getsockname())
            self._senders.append(FrameSender(connected, "udp"))

    def stamp(self, option: int) -> None:
        """Let the kernel stamp frames in the form that ``option`` stands for."""
        for end in self.ends:
            end.setsockopt(socket.SOL_SOCKET, option, 1)

    def fill(self, frames: Frames) -> None:
        """Queue these in each socket."""
        for sender in self._senders:
            sender.send(frames)

    def close(self) -> None:
        for end in (*self.ends, *self._senders):
            end.close()


def _frames(count: int) -> Frames:
    return Frames(
        time=np.zeros(count, np.int64),
        bus=np.zeros(count, np.uint8),
        id=np.arange(count, dtype=np.uint32),
        flags=np.zeros(count, np.uint8),
        length=np.full(count, 8, np.uint8),
        data=np.ones((count, 8), np.uint8),
    )


def _cost(line: _Line, each: int, drain: Callable[[int], int]) -> float:
    """Microseconds of CPU time a frame, median of `ROUNDS`."""
    frames = _frames(each)
    costs = []
    for _ in range(ROUNDS):
        spent, got = 0.0, 0
        while got < FRAMES:
            line.fill(frames)
            before = time.process_time()
            came = drain(each)
            spent += time.process_time() - before
            if came != BUSES * each:
                raise RuntimeError(f"{came} of {BUSES * each} frames came")
            got += came
        costs.append(spent / got)
    return statistics.median(costs) * 1e6


def rows() -> list[Row]:
    """Microseconds a frame."""
    line = _Line()
    receiver = Receiver([Port(bus, "", end, 1000) for bus, end in enumerate(line.ends)], BUSES)
    buses = [_OverUdp(end) for end in line.ends]
    full = cycle((False, True))

    def ours(_: int) -> int:
        receiver.fill()
        if next(full):
            receiver.take()
        return receiver.got

    def theirs(each: int) -> int:
        return sum(bus.recv(0) is not None for bus in buses for _ in range(each))

    found = []
    try:
        for each, budget in EACH.items():
            line.stamp(SO_TIMESTAMPNS)
            cost = _cost(line, each, ours)
            line.stamp(constants.SO_TIMESTAMPNS)
            peer = _cost(line, each, theirs)
            name = f"receiving from {BUSES} buses, {each} frames of each at once"
            found.append(times_less(name, cost, "us/frame", budget, peer, "python-can"))
    finally:
        line.close()
    return found
