"""How much comes from a server, and how fast: what makes slow and endless answers end.

A time-out between two bytes does not help against a server that sends one byte just before it;
so what is measured is how far the bytes lag behind a floor rate.  Every second of waiting adds to
the lag, every byte takes from it what it may take at the floor; early speed saves nothing up for
later.  It counts whatever comes off the connection, headers and framing too: none of it can be
dripped, and none of it can go on for ever (Uptane Standard 2.1, "Slow retrieval" and "Endless
data" among its attacks).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from bordnetz.uptane.errors import Kind, UptaneError

FLOOR = 4096
"""Bytes a second.  GPRS, the slowest link of a car, gives more."""

PATIENCE = 60.0
"""Seconds that the bytes may lag behind the floor: a tunnel, or a change of cells."""


class Meter:
    """Counts what one source receives, and ends it where it is too slow or does not end.

    Attributes:
        received: Bytes since it was made.
    """

    def __init__(self, clock: Callable[[], float], floor: float, patience: float) -> None:
        """Begin.

        Args:
            clock: Seconds, monotonic.
            floor: Bytes a second that must come on average.
            patience: Seconds that they may lag behind.
        """
        self.received = 0
        self.clock = clock
        self._floor = floor
        self._patience = patience
        self._lag = 0.0
        self._room = 0

    def begin(self, room: int) -> None:
        """A new answer begins, of up to ``room`` bytes."""
        self._lag = 0.0
        self._room = room

    def allow(self, room: int) -> None:
        """The answer may have so many bytes more."""
        self._room += room

    def count(self, size: int, seconds: float) -> None:
        """So many bytes have come after so many seconds of waiting.

        Raises:
            UptaneError: That is too slow, or too much.
        """
        self.received += size
        self._room -= size
        if self._room < 0:
            raise UptaneError(
                Kind.ENDLESS_DATA,
                "an answer goes on after all that it may contain; check who answers",
            )
        self._lag = max(0.0, self._lag + seconds - size / self._floor)
        if self._lag > self._patience:
            raise UptaneError(
                Kind.SLOW_RETRIEVAL,
                f"an answer comes more than {self._patience:g} s later than at {self._floor:g} "
                "bytes a second; check the link and who answers",
            )


class Metered(io.RawIOBase):
    """A connection's bytes as they come, counted."""

    def __init__(self, raw: io.RawIOBase, meter: Meter) -> None:
        """Read from ``raw`` from now on, and close it in the end."""
        self._raw = raw
        self._meter = meter

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """The next bytes; see `io.RawIOBase.readinto`.

        Raises:
            UptaneError: They are too slow, or too many.
        """
        before = self._meter.clock()
        size = self._raw.readinto(buffer)
        self._meter.count(size or 0, self._meter.clock() - before)
        return size

    def close(self) -> None:
        """Close the connection's end, too."""
        try:
            self._raw.close()
        finally:
            super().close()
