"""The outbox: messages that survive a power cut until the hub has acknowledged them.

Promises, each with a test that attacks it:

1. When `Outbox.put` returns a sequence, the message is on the disk.
2. A message leaves for two reasons alone: `Outbox.acknowledge`, or the byte budget forced it
   out, and then it is counted.
3. The budget takes the oldest message of the lowest priority first and never one of a higher
   priority than the newcomer's; the newcomer itself is refused only where nothing else may go.
   A message that others need (a dictionary) outlives them; messages being sent stay.
4. (id, sequence) names one message for ever: the id is drawn with the file, a sequence is never
   used again, not after deletion, failure or restart.
5. After a failed write everything is as before it, and the next `put` works as soon as the disk
   does.
6. A file that is damaged or not ours is moved aside, never written to.

Acknowledgements ride in the commit of the next message, for flash memory wears out by commits;
one that a power cut takes only sends its message a second time, under the same name.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bordnetz.edge.message import Message
from bordnetz.edge.store import Draft, OutboxError, Row, Store

__all__ = ["PRIORITIES", "Entry", "Outbox", "OutboxError"]

log = logging.getLogger(__name__)

PRIORITIES = range(10)
"""0 is the highest, as in the routes of Edge hub."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message on its way out; (outbox, sequence) is its name."""

    outbox: int
    sequence: int
    priority: int
    message: Message


class Outbox:
    """A durable, bounded queue in one SQLite file.

    Synchronous; call it from one thread at a time.  Attributes and properties may be read from
    any thread.

    Attributes:
        id: 64 random bits, drawn when the file was made.
        dropped: Messages that never went, by (reason, priority), since this object was made.
    """

    def __init__(
        self, path: Path, budget: int, draw: Callable[[int], int] = secrets.randbits
    ) -> None:
        """Open the file, or make it.

        Args:
            path: Of the SQLite file, in a folder on storage that survives a reboot.
            budget: Bytes that waiting messages may take on the disk, in whole pages.  The file
                keeps its largest size; beside it lies a write-ahead log of up to a few messages.
            draw: Gives that many random bits, for the id of a new file.

        Raises:
            OutboxError: The disk does not take it, or another process has the file.
        """
        self.id = 0
        self.dropped: Counter[tuple[str, int]] = Counter()
        self._store = Store(path, draw)
        self._budget = budget
        self._next = 1
        self._gone: set[int] = set()
        self._taken: set[int] = set()
        # The index is in memory: a scan at the start is cheaper than an index on flash.
        self._rows: dict[int, OrderedDict[int, Row]] = {p: OrderedDict() for p in PRIORITIES}
        self._priority: dict[int, int] = {}
        self._contents: dict[bytes, int] = {}
        self._needed: Counter[bytes] = Counter()
        self._used = 0
        try:
            with self._ready():
                pass
        except OutboxError:
            self._store.close()
            raise

    # -- in and out

    def put(
        self,
        make: Callable[[int, int], Message],
        priority: int,
        *,
        content: bytes | None = None,
        needs: bytes | None = None,
    ) -> int | None:
        """Store a message; it is on the disk when this returns.

        Args:
            make: Gets the outbox' id and the message's sequence, returns the message.
            priority: 0 (highest) to 9.
            content: A digest of what the message says, for one that others need.  While a message
                of the same content waits, no second one is stored.
            needs: The ``content`` of a message that must not be given up before this one.

        Returns:
            The sequence, that of the waiting message where there is one of this ``content``, or
            None if the budget had no room (counted in ``dropped``).

        Raises:
            OutboxError: The disk did not take it; the outbox is as it was before.
            MessageTooLargeError: The hub would not take it.
        """
        if priority not in PRIORITIES:
            raise ValueError(f"priority {priority} is not one of 0 to 9")
        with self._ready():
            if content is not None and content in self._contents:
                return self._contents[content]
            sequence = self._next
            message = make(self.id, sequence)
            message.check()
            draft = Draft.of(message, sequence, priority, content, needs)
            # Used up from here on, whatever comes: a name that failed is no name for another.
            self._next += 1
            out = self._make_room(draft.row)
            if out is None:
                self.dropped["budget", priority] += 1
                return None
            # Should the commit fail and have reached the disk all the same, the message must not
            # come back: the caller will store it again under another name.
            gone, self._gone = self._gone, self._gone | {sequence}
            self._store.write(self._next, [*gone, *(row.sequence for row in out)], draft)
            self._gone.clear()
            for row in out:
                self._remove(row.sequence)
                self.dropped["budget", row.priority] += 1
            self._add(draft.row)
            return sequence

    def take(self, limit: int) -> list[Entry]:
        """Up to ``limit`` messages to send: highest priority first, in each the oldest first.

        They will not be taken again, nor given up for room, until `release`.

        Raises:
            OutboxError: They cannot be read.
        """
        with self._ready():
            entries: list[Entry] = []
            for row in self._waiting(PRIORITIES):
                if len(entries) >= limit:
                    break
                message = self._store.read(row.sequence)
                entries.append(Entry(self.id, row.sequence, row.priority, message))
            self._taken.update(entry.sequence for entry in entries)
            return entries

    def release(self, entry: Entry) -> None:
        """Let a message be taken again: whether the hub has it is not known."""
        if entry.outbox == self.id:
            self._taken.discard(entry.sequence)

    def acknowledge(self, entry: Entry) -> None:
        """Forget a message: the hub has it.  Reaches the disk with the next `put` or `flush`."""
        if entry.outbox == self.id and entry.sequence in self._priority:
            self._taken.discard(entry.sequence)
            self._remove(entry.sequence)
            self._gone.add(entry.sequence)

    def flush(self) -> None:
        """Write outstanding acknowledgements, if there are any.

        Raises:
            OutboxError: The disk did not take them; they are still outstanding.
        """
        if self._gone:
            with self._ready():
                self._store.write(self._next, self._gone)
                self._gone.clear()

    def close(self) -> None:
        """Write what is outstanding, if the disk takes it, and close the file."""
        try:
            self.flush()
        except OutboxError as error:
            log.warning("acknowledged messages will be sent again: %s", error)
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- what is in it

    def __len__(self) -> int:
        """Messages not acknowledged yet."""
        return len(self._priority)

    @property
    def last(self) -> int:
        """The last sequence given away."""
        return self._next - 1

    @property
    def used(self) -> int:
        """Bytes of the budget in use."""
        return self._used

    @property
    def room(self) -> int:
        """Bytes of the budget left."""
        return self._budget - self.used

    @property
    def ready(self) -> int:
        """Messages that `take` would give."""
        return len(self._priority) - len(self._taken)

    @property
    def set_aside(self) -> int:
        """Files that could not be used and were moved aside since this object was made."""
        return self._store.set_aside

    def counts(self) -> dict[int, int]:
        """Messages not acknowledged yet, by priority."""
        return {priority: len(rows) for priority, rows in self._rows.items() if rows}

    # -- the index

    @contextmanager
    def _ready(self) -> Iterator[None]:
        with self._store.ready() as contents:
            if contents is not None:
                if contents.id != self.id:
                    self.id = contents.id
                    self._gone.clear()
                    self._taken.clear()
                for sequence in list(self._priority):
                    self._remove(sequence)
                for row in contents.rows:
                    if row.sequence not in self._gone:
                        self._add(row)
                self._next = max(self._next, contents.next)
                self._taken &= self._priority.keys()
            yield

    def _add(self, row: Row) -> None:
        self._rows[row.priority][row.sequence] = row
        self._priority[row.sequence] = row.priority
        self._used += row.size
        if row.content is not None:
            self._contents[row.content] = row.sequence
        if row.needs is not None:
            self._needed[row.needs] += 1

    def _remove(self, sequence: int) -> None:
        row = self._rows[self._priority.pop(sequence)].pop(sequence)
        self._used -= row.size
        if row.content is not None and self._contents.get(row.content) == sequence:
            del self._contents[row.content]
        if row.needs is not None:
            self._needed[row.needs] -= 1
            if not self._needed[row.needs]:
                del self._needed[row.needs]

    def _waiting(self, priorities: range) -> Iterator[Row]:
        for priority in priorities:
            for sequence, row in self._rows[priority].items():
                if sequence not in self._taken:
                    yield row

    def _make_room(self, newcomer: Row) -> list[Row] | None:
        """Which messages must go for the newcomer; None if it must not come itself."""
        out: list[Row] = []
        excess = self._used + newcomer.size - self._budget
        if excess <= 0:
            return out
        if newcomer.size > self._budget:
            return None
        needed = self._needed.copy()
        if newcomer.needs is not None:
            needed[newcomer.needs] += 1
        passed_over: list[Row] = []
        for row in self._waiting(PRIORITIES[newcomer.priority :][::-1]):
            if row.content is not None and needed[row.content]:
                passed_over.append(row)
                continue
            out.append(row)
            excess -= row.size
            if row.needs is not None:
                needed[row.needs] -= 1
            if excess <= 0:
                return out
        # What was needed may have become free with the last one that needed it.
        for row in passed_over:
            if row.content is not None and not needed[row.content]:
                out.append(row)
                excess -= row.size
                if excess <= 0:
                    return out
        return None
