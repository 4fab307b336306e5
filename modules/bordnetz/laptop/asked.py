"""An event that the handler of a signal may set."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue


class Asked:
    """As `threading.Event`, for one thread that waits.

    A signal's handler runs in the main thread, between any two of its steps.  Where that thread is
    just inside `threading.Event.wait`, it holds the lock that `threading.Event.set` takes, and the
    handler waits for it for ever.  `SimpleQueue.put` may break into anything.
    """

    def __init__(self) -> None:
        self._set = False
        self._bell: SimpleQueue[None] = SimpleQueue()

    def is_set(self) -> bool:
        """Whether somebody has set it."""
        return self._set

    def set(self) -> None:
        """Set it for good; from any thread and any handler."""
        self._set = True
        self._bell.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, but no longer than ``seconds``; whether it is."""
        if not self._set:
            with suppress(Empty):
                self._bell.get(timeout=seconds)
        return self._set
