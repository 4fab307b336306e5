"""One bus of a live source, through all that may befall its interface.

A line is listened to, or it has a gap: since when, and why.  It is opened, and what failed is
opened again, with growing patience and for ever: an interface that is not there yet, that goes
down, is unplugged or gets another name costs its own frames, never those of other buses, and never
the module.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from bordnetz.can.errors import BusError
from bordnetz.series import Cause, Gap

FIRST_WAIT = 0.1
"""Seconds until the first other try."""
LONGEST_WAIT = 2.0
"""Seconds between tries at most: the longest an interface is there and not listened to."""
_FORGIVEN = 10.0
"""Seconds of listening after which patience begins anew."""


class End(Protocol):
    """What is open: a `bordnetz.can.port.Port` or a `bordnetz.can.sources.adapter.Adapter`."""

    def state(self) -> Cause | None:
        """Why no frames can come, None if they can."""

    def close(self) -> None:
        """Give it back."""


class Line:
    """A bus that is listened to whenever that is possible.

    Args:
        bus: The bus' name in the vehicle file.
        name: For messages: the bus and where it is.
        open_end: Opens it.
        dropped: Told of an end that is about to be closed.

    Attributes:
        gap: Since when it is not listened to; None while it is.
        gaps: How many there have been.
        due: When `tick` wants to be called next, by its own clock; None: no need.
    """

    def __init__(
        self,
        bus: str,
        name: str,
        open_end: Callable[[], End],
        dropped: Callable[[End], None] = lambda _: None,
    ) -> None:
        self.bus = bus
        self.name = name
        self.gap: Gap | None = None
        self.gaps = 0
        self.due: float | None = None
        self._open = open_end
        self._dropped = dropped
        self._end: End | None = None
        self._wait = FIRST_WAIT
        self._since = 0.0
        # What has changed and was not fetched yet.
        self._news: list[Gap] = []
        self._problems: list[str] = []

    def begin(self, now: float, time: int, *, patient: bool = True) -> None:
        """Open it.

        Args:
            now: Seconds of a steady clock.
            time: ns of the boot clock.
            patient: Whether to try again if that is not possible now.

        Raises:
            BusError: It cannot be opened, and that is not to be tried again.
        """
        self._since = now
        if not patient:
            self._end = self._open()
        self._try(now, time)

    def tick(self, now: float, time: int) -> None:
        """Look whether it can be listened to again; arguments as of `begin`."""
        if self._end is not None and self._end.state() is Cause.ABSENT:
            self._drop()
        self._try(now, time)

    def fail(self, error: OSError | BusError, now: float, time: int) -> None:
        """Take note that reading failed; other arguments as of `begin`."""
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.ENETDOWN:
            # The socket stays: it has frames again from the moment that the interface is up.
            self._lose(Cause.DOWN, "the interface is down", now, time)
            return
        cause = Cause.ABSENT if number == errno.ENODEV else Cause.FAILED
        self._drop()
        text = error.strerror if isinstance(error, OSError) else str(error)
        self._lose(cause, f"can no longer be read: {text}", now, time)

    def heard(self, first: int, now: float, time: int) -> None:
        """Take note that frames came though nobody thought they could.

        Args:
            first: When the first of them came, ns of the boot clock.
            now: Seconds of a steady clock.
            time: ns of the boot clock.
        """
        if self.gap is not None and self._end is not None and self._end.state() is None:
            self._recover(now, min(max(first, self.gap.start), time))

    def take(self) -> tuple[tuple[Gap, ...], tuple[str, ...]]:
        """Beginnings and ends of gaps since it was last asked, and a line about each."""
        news, self._news = tuple(self._news), []
        problems, self._problems = tuple(self._problems), []
        return news, problems

    def close(self) -> None:
        """Close what is open."""
        self._drop()

    def _try(self, now: float, time: int) -> None:
        if self._end is None:
            try:
                self._end = self._open()
            except BusError as error:
                self._lose(Cause.ABSENT, str(error), now, time)
                return
        if (cause := self._end.state()) is None:
            self._recover(now, time)
        else:
            self._lose(cause, "the interface is down", now, time)

    def _lose(self, cause: Cause, problem: str, now: float, time: int) -> None:
        if self.gap is None:
            if now - self._since >= _FORGIVEN:
                self._wait = FIRST_WAIT
            self.gaps += 1
            self.gap = Gap(self.bus, cause, time)
            self._news.append(self.gap)
            known = problem if problem.startswith(self.name) else f"{self.name}: {problem}"
            self._problems.append(known)
        self.due = now + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)

    def _recover(self, now: float, time: int) -> None:
        self.due = None
        if self.gap is None:
            return
        end = max(time, self.gap.start)
        self._news.append(Gap(self.bus, self.gap.cause, self.gap.start, end))
        seconds = (end - self.gap.start) / 1e9
        self._problems.append(f"{self.name}: is listened to again, after {seconds:.1f} s")
        self.gap = None
        self._since = now

    def _drop(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            self._dropped(end)
            end.close()
