"""Sending bursts when they are due, to buses whose receivers come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from bordnetz.can.errors import BusError
from bordnetz.can.frames import Frames
from bordnetz.can.sender import FrameSender
from bordnetz.can.vehicle import Bus
from bordnetz.laptop.asked import Asked
from bordnetz.laptop.vehicle.traffic import Burst

PATIENCE = 30.0
"""Seconds to wait for receivers at the start."""

_RETRY_NS = 200_000_000
_LATEST_NS = 1_000_000_000
"""How far sending may fall behind before the car waits instead of hurrying."""


class Outlet:
    """One bus to send to.

    A receiver that is there is waited for when it is slow.  Without one, frames go unheard, as
    on a real bus, and are counted; a new receiver is found within a fifth of a second.

    Attributes:
        name: Of the bus.
        sent: Frames handed to a receiver.
        unheard: Frames for which there was none, and the whole burst in which one went.
    """

    def __init__(
        self,
        bus: Bus,
        say: Callable[[str], None],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            bus: With interface ``socketcan`` or ``unix``.
            say: Takes a line for the operator when a receiver is missing or comes back.
            clock: ns that never go back.

        Raises:
            BusError: The bus has another interface.
        """
        if bus.interface not in ("socketcan", "unix"):
            raise BusError(
                f"bus '{bus.name}': the simulated car sends to interface 'socketcan' or 'unix', "
                f"not '{bus.interface}'"
            )
        self.name = bus.name
        self.sent = self.unheard = 0
        self._channel = str(bus.channel)
        self._open = FrameSender.to_unix if bus.interface == "unix" else FrameSender.to_can
        self._say = say
        self._clock = clock
        self._sender: FrameSender | None = None
        self._retry = 0
        self._missing = self._closed = False

    def open(self) -> None:
        """Connect, unless that has been done.

        Raises:
            BusError: There is no such interface, or nobody listens.
        """
        if self._sender is None:
            self._sender = self._open(self._channel)

    def send(self, frames: Frames) -> None:
        """Send, or count what nobody hears."""
        try:
            if self._sender is None and not self._closed and self._clock() >= self._retry:
                self.open()
                if self._missing:
                    self.tell("heard again")
                self._missing = False
            if self._sender is not None:
                self._sender.send(frames)
                self.sent += len(frames)
                return
        except BusError as error:
            self._retry = self._clock() + _RETRY_NS
            if not self._missing and not self._closed:
                self.tell(f"{error}; its frames go unheard until it is back")
                self._missing = True
            if self._sender is not None:
                self._sender.close()
                self._sender = None
        self.unheard += len(frames)

    def tell(self, text: str) -> None:
        """Say something about this bus to the operator."""
        self._say(f"bus '{self.name}': {text}")

    def close(self) -> None:
        """Close; a `send` that waits in another thread ends."""
        self._closed = True
        if self._sender is not None:
            self._sender.close()


def open_all(outlets: Sequence[Outlet], stop: Asked, patience: float = PATIENCE) -> None:
    """Connect to all receivers, waiting for those that do not listen yet.

    Raises:
        BusError: One did not come within ``patience`` seconds.
    """
    end = time.monotonic() + patience
    for outlet in outlets:
        told = False
        while not stop.is_set():
            try:
                outlet.open()
                break
            except BusError as error:
                if time.monotonic() >= end:
                    raise
                if not told:
                    outlet.tell(f"{error}; waiting up to {patience:g} s")
                    told = True
                stop.wait(0.1)


class Pace:
    """Sends bursts on time.

    Attributes:
        elapsed: ns of the car's time that have passed.
        waited: ns that the car stood still, as a receiver or this machine was slow.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Go by ``clock``: ns that never go back."""
        self.elapsed = self.waited = 0
        self._clock = clock

    def run(
        self,
        bursts: Iterable[Burst],
        outlets: Sequence[Outlet],
        stop: Asked,
        seconds: float | None = None,
    ) -> None:
        """Send until ``stop`` is set, or until ``seconds`` of the car's time are over."""
        end = None if seconds is None else round(seconds * 1e9)
        start = self._clock()
        for burst in bursts:
            if end is not None and burst.due >= end:
                self._sleep(start + end, stop)
                self.elapsed = end
                return
            late = self._clock() - start - burst.due
            if late < 0:
                self._sleep(start + burst.due, stop)
            elif late > _LATEST_NS:
                start += late
                self.waited += late
            if stop.is_set():
                return
            self.elapsed = burst.due
            outlets[burst.bus].send(burst.frames)

    def _sleep(self, until: int, stop: Asked) -> None:
        stop.wait(max(0, until - self._clock()) / 1e9)
