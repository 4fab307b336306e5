"""Tells the cloud of batches that will not come, so that nobody takes their absence for silence."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from bordnetz.batch.errors import BatchError
from bordnetz.batch.losses import Loss, LossCause, add, encode_losses
from bordnetz.batch.reader import Envelope, decode_batch
from bordnetz.edge.message import Message
from bordnetz.telemetry.messages import BATCH, LOSS, kind, loss_message

EACH = 3600.0
"""Seconds between two messages about losses that do not wait for the backlog."""

SOON, LAST = 2, 9
"""Priorities: leaves past the backlog and its pace, and behind all of it."""

Known = dict[tuple[LossCause, str, int], Loss]


class Losses:
    """Adds up batches that were given up, and makes the message about them for the outbox.

    The first loss is told past the backlog, those after it once every `EACH` seconds: each message
    costs a block, and while more comes than leaves, each batch forces out another.

    Args:
        clock: Seconds from any fixed point.

    Attributes:
        samples: Those that were in the outbox and have gone, by reason, since this was made.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.samples: Counter[str] = Counter()
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: Known = {}
        # What a message tells that may not be on the disk yet.
        self._telling: Known = {}
        self._out: list[Message | None] = []
        self._priority = LAST
        self._soon = clock()

    def refused(self, message: Message, reason: str) -> None:
        """A message did not get into the outbox; from any thread.

        Args:
            message: Which.
            reason: The name of a `LossCause`, as for `give_up`.
        """
        self._count(_losses(message, reason))

    def give_up(self, message: Message | None, reason: str) -> None:
        """As `bordnetz.edge.losses.Losses`, as all that follows."""
        self._count(_losses(message, reason))
        self._book(message, reason)

    @property
    def pending(self) -> bool:
        """Whether something has gone that is not recorded yet."""
        return bool(self._pending or self._telling)

    def record(
        self, before: Message | None, out: Sequence[Message | None]
    ) -> tuple[Callable[[int, int], Message], int] | None:
        """What tells of all of it, and its priority."""
        with self._lock:
            pending, self._pending = self._pending, {}
        for loss in pending.values():
            add(self._telling, loss)
        self._out = [*out]
        leaving = [loss for message in out for loss in _losses(message, "budget")]
        if not self._telling and not leaving:
            return None
        together: Known = {}
        told = () if before is None else _losses(before, "damaged")
        for loss in (*told, *self._telling.values(), *leaving):
            add(together, loss)
        waits = before is not None and before.properties.get("priority") == str(SOON)
        self._priority = SOON if waits or self._clock() >= self._soon else LAST
        return loss_message(encode_losses([*together.values()]), self._priority), self._priority

    def recorded(self) -> None:
        """It is on the disk."""
        self._telling.clear()
        for message in self._out:
            self._book(message, "budget")
        self._out.clear()
        if self._priority == SOON:
            self._soon = self._clock() + EACH

    def _book(self, message: Message | None, reason: str) -> None:
        # One that tells of losses has none of its own.
        if message is not None and message.samples:
            self.samples[reason] += message.samples

    def _count(self, losses: Iterable[Loss]) -> None:
        with self._lock:
            for loss in losses:
                add(self._pending, loss)


def _losses(message: Message | None, reason: str) -> tuple[Loss, ...]:
    """What goes with a message: a batch, what it told of others, or something that comes again."""
    cause = LossCause[reason.upper()]
    if message is None:
        return (Loss(cause, campaign=""),)
    try:
        if kind(message) == LOSS:
            return decode_batch(message.body).losses
        if kind(message) != BATCH:
            return ()
        header = Envelope(message.body).header
    except BatchError:
        return (Loss(cause, campaign="", samples=message.samples),)
    stamp = header.stamp
    return (
        Loss(
            cause,
            stamp.campaign,
            stamp.boot,
            samples=message.samples,
            start=header.first,
            end=header.last,
            clock=stamp.clock,
            ahead=stamp.ahead,
        ),
    )
