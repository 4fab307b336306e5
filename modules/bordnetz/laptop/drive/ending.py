"""How a drive is asked to end: Ctrl-C, SIGTERM, or the terminal being closed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bordnetz.laptop.asked import Asked

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending() -> Iterator[Asked]:
    """An event that is set by the first such signal; the second raises `KeyboardInterrupt`.

    The first must not break into what is being done: half a message counted is a wrong sum.
    From the second on nothing interrupts any more, so that all is cleaned up.
    """
    asked = Asked()

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        if not asked.is_set():
            asked.set()
            return
        for each in _ASKING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in _ASKING}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
