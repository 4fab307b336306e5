"""What waits in the outbox of another version: taken over under the names that it has.

An image may be rolled back from the portal, and later forward again.  A version that is older than
what it finds sets it aside (`store`) and begins anew; here the newer one, when it returns, takes up
its own again, and what the older one has left.  Only what is safe in the one log is removed from
the other, so a power cut in between costs nothing but a second copy under the same name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.edge.durable import DurableError
from bordnetz.edge.message import Message, MessageTooLargeError
from bordnetz.edge.segment import VERSION, Draft, Moment, NewerError
from bordnetz.edge.segments import Log

log = logging.getLogger(__name__)

_TOGETHER = 512 << 10
"""Bytes of messages that are committed at once."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message that waits in another log.

    Attributes:
        name: The id of the outbox that named it, and its sequence there.
        priority: 0 (highest) to 9.
        message: What is sent.
        content: A digest of what it says, if others may need it.
        needs: The ``content`` of the one that it needs.
    """

    name: tuple[int, int]
    priority: int
    message: Message
    content: bytes | None
    needs: bytes | None


def take_over(mine: Log, folder: Path, moment: Moment) -> int:
    """Take over what there is beside a log.

    What the disk does not give or take now waits for the next start, and is told.

    Args:
        mine: The log.
        folder: Its folder.
        moment: Now; messages of others count as stored now.

    Returns:
        How many files could not be used and were moved aside.
    """
    aside = 0
    try:
        old = folder.with_name(f"{folder.name}.db")
        if any(folder.parent.glob(f"{old.name}*")):
            aside = _earlier(mine, moment, old)
        name = f"{folder.name}.version-{VERSION}"
        for other in sorted([*folder.parent.glob(name), *folder.parent.glob(f"{name}-*")]):
            _adopt(mine, _messages(other), moment, other)
            durable.remove(other)
    except (OSError, DurableError, NewerError) as error:
        log.error("messages of another version wait for the next start: %s", error)
    return aside


def _earlier(mine: Log, moment: Moment, old: Path) -> int:
    # SQLite takes memory, and few modules ever find such a file.
    from bordnetz.edge import earlier
    from bordnetz.edge.sqlite_file import UnusableError

    aside = 0
    if old.exists():
        try:
            _adopt(mine, earlier.messages(old), moment, old)
        except UnusableError as error:
            earlier.put_aside(old, error)
            aside = 1
    earlier.remove(old)
    return aside


def _messages(folder: Path) -> Iterator[Stored]:
    """What waits in a log that was set aside, the oldest first."""
    other = Log(folder, 0)
    other.open(changing=False)
    for row in other.table.rows():
        place, data = other.read(row.number)
        message = place.message(data)
        if message is None:
            log.error("outbox %s: message %d is damaged and given up", folder, row.number)
            continue
        name = (row.outbox, row.sequence)
        yield Stored(name, row.priority, message, row.content, row.needs)


def _adopt(mine: Log, found: Iterator[Stored], moment: Moment, whence: Path) -> None:
    """Store messages of another log, but for those that are here already."""
    here = {(row.outbox, row.sequence) for row in mine.table.rows()}
    drafts: list[Draft] = []
    size = count = 0
    number = mine.following
    try:
        for one in found:
            if one.name in here:
                continue
            try:
                one.message.check()
            except MessageTooLargeError as error:
                log.error("given up: %s", error)
                continue
            digests = (one.content, one.needs)
            draft = Draft.of(one.message, number, one.name, moment.clock, one.priority, *digests)
            drafts.append(draft)
            number += 1
            count += 1
            size += draft.row.size
            if size >= _TOGETHER:
                mine.write(moment, (), drafts)
                drafts, size = [], 0
    finally:
        # Also what was readable of a file that is damaged further on.
        mine.write(moment, (), drafts)
        log.info("%d messages taken over from %s", count, whence)
