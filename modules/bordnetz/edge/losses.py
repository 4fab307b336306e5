"""What an outbox needs to have the cloud told of the messages that it gives up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from bordnetz.edge.message import Message

CONTENT = b"losses"
"""Marks the message that tells of losses, of which one waits at a time."""

ROOM = 16 << 10
"""Bytes that the outbox keeps free for it."""


class Losses(Protocol):
    """Adds up what is given up, and makes a message of it.

    The outbox stores that message with the very commit that lets the others go, and puts it in the
    place of the one before as long as that waits: nothing is lost without a word, whenever the
    power goes, and an outage is told once.  Called on the outbox' thread.
    """

    @property
    def pending(self) -> bool:
        """Whether something has gone that is not recorded yet."""

    def give_up(self, message: Message | None, reason: str) -> None:
        """A message has gone for good.

        Args:
            message: Which; None: nobody can read it any more.
            reason: As in `Outbox.dropped`.
        """

    def record(
        self, before: Message | None, out: Sequence[Message | None]
    ) -> tuple[Callable[[int, int], Message], int] | None:
        """What tells of all that has gone and is not recorded yet.

        Args:
            before: What was recorded before and is to be told with it.
            out: Messages that go for want of room with the commit that is about to be made.

        Returns:
            What makes the message of the outbox' id and a sequence, and its priority; None where
            none of it is worth a word.
        """

    def recorded(self) -> None:
        """What `record` gave is on the disk."""
