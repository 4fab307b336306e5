"""The outbox: messages that survive a power cut until the hub has acknowledged them.

Promises, each with a test that attacks it:

1. When `Outbox.put` returns a sequence, the message is on the disk.
2. A message leaves by `Outbox.acknowledge`; or it is given up and counted with the reason: the
   byte budget forced it out, it is too old, no hub takes it, the disk gives other bytes than it
   took.  Where there are `Losses`, a message that tells so is stored with the same commit.
3. The budget takes the oldest message of the lowest priority first and never one of a higher
   priority than the newcomer's; the newcomer itself is refused only where nothing else may go.
   A message that others need (a dictionary) outlives them; messages being sent stay.
4. (id, sequence) names one message for ever: the id is drawn with the log, a sequence is never
   used again, not after deletion, failure or restart.
5. After a failed write everything is as before it, and the next `put` works as soon as the disk
   does.
6. A file that is damaged or not ours costs what is in it and nothing else.

Acknowledgements ride in the commit of the next message, for flash memory wears out by commits;
one that a power cut takes only sends its message a second time, under the same name.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from bordnetz.edge import losses as told
from bordnetz.edge.index import Index
from bordnetz.edge.losses import Losses
from bordnetz.edge.message import Entry, Letter, Message, MessageTooLargeError
from bordnetz.edge.segment import PRIORITIES, SIZE, Draft, Row
from bordnetz.edge.store import DamagedMessageError, OutboxError, Store, Uptime
from bordnetz.edge.table import Table

__all__ = ["PRIORITIES", "Entry", "Letter", "Outbox", "OutboxError", "Uptime"]

log = logging.getLogger(__name__)


class Outbox:
    """A durable, bounded queue in one folder.

    Synchronous; call it from one thread at a time.  Attributes and properties may be read from
    any thread.

    Attributes:
        id: 64 random bits, drawn when the log was made.
        dropped: Messages that never went, by (reason, priority), since this object was made:
            "budget", "age", "size", "damaged".
    """

    def __init__(
        self,
        folder: Path,
        budget: int,
        *,
        age: float | None = None,
        newest_first: frozenset[int] = frozenset(),
        losses: Losses | None = None,
        draw: Callable[[int], int] = secrets.randbits,
        uptime: Uptime | None = None,
        segment: int = SIZE,
    ) -> None:
        """Open the log, or make it.

        Args:
            folder: Of the log, in a folder on storage that survives a reboot.
            budget: Bytes that waiting messages may take.  The log gets up to a quarter longer,
                and up to four segments of 1 MiB.
            age: Seconds after which a message is given up; None: never.  Only those count in which
                the machine is on: no clock that is wrong makes a message old.
            newest_first: Priorities of which the newest message leaves first.
            losses: Makes the message that tells of those that were given up; None: nobody does.
            draw: Gives that many random bits, for the id of a new log.
            uptime: The steady clock; None: the machine's.
            segment: Bytes of a segment of the log; twice the largest message, at least.

        Raises:
            OutboxError: Another process has it, or it is not ours to write.  A disk that is full
                or fails is no reason: the next call tries again.
        """
        self.id = 0
        self.dropped: Counter[tuple[str, int]] = Counter()
        self._store = Store(folder, budget, draw, uptime or Uptime.of_the_machine(), segment)
        self._budget = budget if losses is None else budget - told.ROOM
        self._losses = losses
        self._age = age
        self._newest_first = newest_first
        self._next = 1
        self._taken: set[int] = set()
        self._index = Index(Table(), set())
        try:
            with self._ready():
                pass
        except OutboxError as error:
            if error.lasts:
                self._store.close()
                raise
            log.error("%s", error)

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
        (result,) = self.put_all([Letter(make, priority, content, needs)])
        if isinstance(result, Exception):
            raise result
        return result

    def put_all(self, letters: Sequence[Letter]) -> list[int | Exception | None]:
        """Store messages with as few commits as the budget allows.

        Returns:
            For each what `put` would have returned or raised.
        """
        results: list[int | Exception | None] = []
        group: list[Draft] = []
        safe = 0
        try:
            with self._ready():
                self._expire()
                for letter in letters:
                    try:
                        found = self._draft(letter, group)
                    except Exception as error:  # noqa: BLE001 - for who asked for this one alone
                        results.append(error)
                        continue
                    if not isinstance(found, Draft):
                        results.append(found)
                        continue
                    if (
                        self._index.used + sum(one.row.size for one in (*group, found))
                        > self._budget
                    ):
                        self._commit(group)
                        safe = len(results)
                        stay = {*self._taken, *self._told()}
                        out = self._index.room_for(found.row, self._budget, stay)
                        if out is None:
                            self.dropped["budget", letter.priority] += 1
                            results.append(None)
                            safe = len(results)
                            continue
                        group = [found]
                        results.append(found.row.sequence)
                        self._commit(group, out)
                        safe = len(results)
                    else:
                        group.append(found)
                        results.append(found.row.sequence)
                self._commit(group)
        except OutboxError as failed:
            left = [one if isinstance(one, Exception) else failed for one in results[safe:]]
            results[safe:] = left + [failed] * (len(letters) - safe - len(left))
        return results

    def take(
        self, limit: int, priorities: Sequence[int] = PRIORITIES, below: float = math.inf
    ) -> list[Entry]:
        """Up to ``limit`` messages to send: highest priority first, in each the oldest first.

        Where the priority is one of ``newest_first``, the newest.  They will not be taken again,
        nor given up for room, until `release`.  Those that can never be sent are given up.

        Args:
            limit: So many at most.
            priorities: Only of these, the highest first.
            below: Only smaller ones, in bytes.

        Raises:
            OutboxError: They cannot be read.
        """
        with self._ready():
            self._expire()
            entries: list[Entry] = []
            try:
                for priority in priorities:
                    while rows := self._first(priority, limit - len(entries), below):
                        for row in rows:
                            entry = self._sendable(row)
                            if entry is not None:
                                self._taken.add(row.number)
                                entries.append(entry)
            except BaseException:
                self._taken -= {entry.number for entry in entries}
                raise
            return entries

    def release(self, entry: Entry) -> None:
        """Let a message be taken again: whether the hub has it is not known."""
        if self._has(entry):
            self._taken.discard(entry.number)

    def acknowledge(self, entry: Entry) -> None:
        """Forget a message: the hub has it.  Reaches the disk with the next `put` or `flush`."""
        if self._has(entry):
            self._leave(entry.number)

    def flush(self) -> None:
        """Write outstanding acknowledgements, if there are any.

        Raises:
            OutboxError: The disk did not take them; they are still outstanding.
        """
        with self._ready():
            self._expire()
            self._write([])

    def close(self) -> None:
        """Write what is outstanding, if the disk takes it, and close the log."""
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
        return len(self._index)

    @property
    def last(self) -> int:
        """The last sequence given away."""
        return self._next - 1

    @property
    def used(self) -> int:
        """Bytes of the budget in use."""
        return self._index.used

    @property
    def room(self) -> int:
        """Bytes of the budget left."""
        return self._budget - self._index.used

    @property
    def ready(self) -> int:
        """Messages that `take` would give."""
        return len(self._index) - len(self._taken)

    @property
    def set_aside(self) -> int:
        """Files and folders that could not be used and were moved aside, since this was made."""
        return self._store.set_aside

    @property
    def damaged(self) -> int:
        """Places at which something is missing, found since this object was made."""
        return self._store.damaged

    def counts(self) -> dict[int, int]:
        """Messages not acknowledged yet, by priority."""
        return self._index.counts()

    # -- storing

    def _draft(self, letter: Letter, group: Sequence[Draft]) -> Draft | int:
        """Make a message, or find the sequence of the one that says the same."""
        if letter.priority not in PRIORITIES:
            raise ValueError(f"priority {letter.priority} is not one of 0 to 9")
        if letter.content is not None:
            if letter.content in self._index.content:
                return self._index[self._index.content[letter.content]].sequence
            for draft in group:
                if draft.row.content == letter.content:
                    return draft.row.sequence
        return self._new(letter)

    def _new(self, letter: Letter) -> Draft:
        sequence = self._next
        message = letter.make(self.id, sequence)
        message.check()
        # Used up from here on, whatever comes: a name that failed is no name for another.
        self._next += 1
        name, digests = (self.id, sequence), (letter.content, letter.needs)
        return Draft.of(message, sequence, name, self._store.clock, letter.priority, *digests)

    def _commit(self, group: list[Draft], out: Sequence[Row] = ()) -> None:
        """Store messages, let others go for them; leaves the group empty."""
        if group:
            self._write(group, out)
            group.clear()

    def _write(self, group: Sequence[Draft], out: Sequence[Row] = ()) -> None:
        """One commit of all there is to write; none where that is nothing."""
        index = self._index
        record, replaced = self._record(out)
        drafts = [*group, *record]
        if not drafts and not index.gone:
            return
        # Should the commit fail and have reached the disk all the same, the messages must not
        # come back: the caller will store them again under other names.
        gone = [*index.gone]
        index.gone.update(draft.row.number for draft in drafts)
        leaving = [*replaced, *out]
        self._store.write([*gone, *(row.number for row in leaving)], drafts)
        index.gone.clear()
        for row in out:
            self.dropped["budget", row.priority] += 1
        for row in leaving:
            index.remove(row)
        for draft in drafts:
            index.add(draft.row)
        if record and self._losses is not None:
            self._losses.recorded()

    def _told(self) -> list[int]:
        """The number of the message that tells of losses, if one waits that is not being sent."""
        number = self._index.content.get(told.CONTENT)
        return [] if number is None or number in self._taken else [number]

    def _record(self, out: Sequence[Row]) -> tuple[list[Draft], list[Row]]:
        """What tells of all that was given up, and the message that had told of some of it."""
        if self._losses is None or not (out or self._losses.pending):
            return [], []
        # One that cannot be read stays, to be given up when it is to be sent.
        before = {n: message for n in self._told() if (message := self._read(n)) is not None}
        found = self._losses.record(
            next(iter(before.values()), None), [self._read(row.number) for row in out]
        )
        if found is None:
            return [], []
        record = self._new(Letter(*found, content=told.CONTENT))
        return [record], [self._index[number] for number in before]

    # -- sending

    def _first(self, priority: int, limit: int, below: float) -> list[Row]:
        newest = priority in self._newest_first
        waiting = self._index.waiting(priority, self._taken, newest_first=newest)
        return list(islice((row for row in waiting if row.size < below), limit))

    def _read(self, number: int) -> Message | None:
        """A message that goes anyway; None where the disk does not give it."""
        try:
            return self._store.read(number)
        except (DamagedMessageError, OSError):
            return None

    def _sendable(self, row: Row) -> Entry | None:
        """What is to be sent, or None where it had to be given up."""
        message = None
        try:
            message = self._store.read(row.number)
            message.check()
        except DamagedMessageError as error:
            self._give_up(row, "damaged", str(error), None)
        except MessageTooLargeError as error:
            self._give_up(row, "size", str(error), message)
        else:
            name = (row.outbox, row.sequence)
            return Entry(*name, row.priority, message, row.number, row.size)
        return None

    def _expire(self) -> None:
        """Give up what is too old, but not what others need that are not."""
        if self._age is None:
            return
        for row in self._index.older(self._store.clock - self._age, self._taken):
            message = None if self._losses is None else self._read(row.number)
            self._give_up(row, "age", f"older than {self._age:g} s", message)

    def _give_up(self, row: Row, reason: str, words: str, message: Message | None) -> None:
        if not self.dropped[reason, row.priority]:
            log.warning("message %d of the outbox is given up: %s", row.sequence, words)
        self.dropped[reason, row.priority] += 1
        if self._losses is not None:
            self._losses.give_up(message, reason)
        self._leave(row.number)

    def _leave(self, number: int) -> None:
        """Remove a message; the next commit says so."""
        self._taken.discard(number)
        self._index.leave(number)

    def _has(self, entry: Entry) -> bool:
        """Whether this is an entry of a message that waits here."""
        if entry.number not in self._index:
            return False
        row = self._index[entry.number]
        return (row.outbox, row.sequence) == (entry.outbox, entry.sequence)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        with self._store.ready() as contents:
            if contents is not None:
                gone = self._index.gone
                if contents.id != self.id:
                    self.id = contents.id
                    gone.clear()
                    self._taken.clear()
                self._index = Index(contents.table, gone)
                self._next = max(self._next, contents.next)
                self._taken = {number for number in self._taken if number in self._index}
            yield
