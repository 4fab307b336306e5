"""The outbox: messages that survive a power cut until the hub has acknowledged them.

Promises, each with a test that attacks it:

1. When `Outbox.put` returns a sequence, the message is on the disk.
2. A message leaves for two reasons alone: `Outbox.acknowledge`, or the byte budget forced it
   out, and then it is counted.
3. The budget takes the oldest message of the lowest priority first and never touches one of a
   higher priority than the newcomer's; the newcomer itself is refused only where nothing else
   may go.  A message that others need (a dictionary) outlives them; messages being sent stay.
4. (id, sequence) names one message for ever: the id is drawn with the file, a sequence is never
   used again, not after deletion, failure or restart.
5. After a failed write everything is as before it, and the next `put` works as soon as the disk
   does.
6. A file that is damaged or not ours is moved aside, never written to.

Acknowledgements ride in the commit of the next message, for flash memory wears out by commits;
one that a power cut takes only sends its message a second time, under the same name.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bordnetz.edge.message import Message
from bordnetz.errors import BordnetzError

log = logging.getLogger(__name__)

PRIORITIES = range(10)
"""0 is the highest, as in the routes of Edge hub."""

_APPLICATION = 0x626F7864
_VERSION = 1
_PAGE = 4096
_SETTINGS = (
    # No shared-memory file beside it, and nobody else in the file.
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    # The log is synced by every commit: what `put` stored is on the disk.
    "PRAGMA synchronous = FULL",
    # Debian's SQLite zeroes what is deleted, which doubles the bytes written.
    "PRAGMA secure_delete = OFF",
    # A short log is overwritten in place, which spares the file system's journal.
    "PRAGMA wal_autocheckpoint = 100",
)

_SCHEMA = f"""
CREATE TABLE outbox (id BLOB NOT NULL, next INTEGER NOT NULL) STRICT;
CREATE TABLE message (
    sequence INTEGER PRIMARY KEY,
    priority INTEGER NOT NULL,
    content BLOB,
    needs BLOB,
    head TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
"""


class OutboxError(BordnetzError):
    """The outbox cannot write or read; nothing was lost, and trying again later is right."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message on its way out; (outbox, sequence) is its name."""

    outbox: int
    sequence: int
    priority: int
    message: Message


@dataclass(frozen=True, slots=True)
class _Row:
    size: int
    content: bytes | None
    needs: bytes | None


class _UnusableError(Exception):
    """The file is not an outbox that this version can use; ``kind`` names where it goes."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def _pages(length: int) -> int:
    """Bytes of the file that a row of ``length`` bytes takes: whole pages, unless it shares one."""
    return length + 64 if length < _PAGE // 2 else -(-(length + 64) // (_PAGE - 4)) * _PAGE


class Outbox:
    """A durable, bounded queue in one SQLite file.  Synchronous; use it from one thread at a time.

    Attributes:
        id: 64 random bits, drawn when the file was made.
        dropped: Messages that never went, by (reason, priority), since this object was made.
        set_aside: Files that could not be used and were moved aside, likewise.
    """

    def __init__(
        self, path: Path, budget: int, draw: Callable[[int], int] = secrets.randbits
    ) -> None:
        """Open the file, or make it.

        Args:
            path: Of the SQLite file, on storage that survives a reboot.
            budget: Bytes that waiting messages may take on the disk, in whole pages.  The file
                keeps its largest size; beside it lies a write-ahead log of up to a few messages.
            draw: Gives that many random bits, for the id of a new file.

        Raises:
            OutboxError: The disk does not take it, or another process has the file.
        """
        self._path = path
        self._budget = budget
        self._draw = draw
        self.id = 0
        self.dropped: Counter[tuple[str, int]] = Counter()
        self.set_aside = 0
        self._db: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._next = 1
        self._gone: set[int] = set()
        self._taken: set[int] = set()
        self._forget()
        with self._connected():
            pass

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
        with self._connected() as db:
            if content is not None and content in self._contents:
                return self._contents[content]
            sequence = self._next
            message = make(self.id, sequence)
            message.check()
            head = json.dumps(
                [
                    message.output,
                    message.content_type,
                    message.content_encoding,
                    dict(message.properties),
                ],
                separators=(",", ":"),
            )
            row = _Row(_pages(len(head.encode()) + len(message.body)), content, needs)
            # Used up from here on, whatever comes: a name that failed is no name for another.
            self._next += 1
            out = self._make_room(row, priority)
            if out is None:
                self.dropped["budget", priority] += 1
                return None
            try:
                with self._transaction(db):
                    self._delete(db, [*out, *self._gone])
                    db.execute("UPDATE outbox SET next = ?", (self._next,))
                    db.execute(
                        "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?)",
                        (sequence, priority, content, needs, head, message.body),
                    )
            except sqlite3.Error:
                # The caller will store it again under another name, so this one must not come
                # back if the commit reached the disk after all.
                self._gone.add(sequence)
                raise
            self._gone.clear()
            for gone, lost in out.items():
                self._remove(gone)
                self.dropped["budget", lost] += 1
            self._add(sequence, priority, row)
            return sequence

    def take(self, limit: int) -> list[Entry]:
        """Up to ``limit`` messages to send: highest priority first, in each the oldest first.

        They will not be taken again, nor given up for room, until `release`.
        """
        with self._connected() as db:
            entries: list[Entry] = []
            for sequence, priority in self._waiting():
                if len(entries) == limit:
                    break
                message = self._read(db, sequence)
                entries.append(Entry(self.id, sequence, priority, message))
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
        if not self._gone:
            return
        with self._connected() as db, self._transaction(db):
            self._delete(db, self._gone)
            db.execute("UPDATE outbox SET next = ?", (self._next,))
        self._gone.clear()

    def close(self) -> None:
        """Write what is outstanding, if the disk takes it, and close the file."""
        try:
            self.flush()
        except OutboxError as error:
            log.warning("acknowledged messages will be sent again: %s", error)
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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
    def used(self) -> int:
        """Bytes of the budget in use."""
        return self._used

    @property
    def ready(self) -> int:
        """Messages that `take` would give."""
        return len(self._priority) - len(self._taken)

    def counts(self) -> dict[int, int]:
        """Messages not acknowledged yet, by priority."""
        return {priority: len(rows) for priority, rows in self._rows.items() if rows}

    # -- the index in memory: a scan at the start is cheaper than an index on flash

    def _forget(self) -> None:
        self._rows: dict[int, OrderedDict[int, _Row]] = {p: OrderedDict() for p in PRIORITIES}
        self._priority: dict[int, int] = {}
        self._contents: dict[bytes, int] = {}
        self._needed: Counter[bytes] = Counter()
        self._used = 0

    def _add(self, sequence: int, priority: int, row: _Row) -> None:
        self._rows[priority][sequence] = row
        self._priority[sequence] = priority
        self._used += row.size
        if row.content is not None:
            self._contents[row.content] = sequence
        if row.needs is not None:
            self._needed[row.needs] += 1

    def _remove(self, sequence: int) -> None:
        row = self._rows[self._priority.pop(sequence)].pop(sequence)
        self._used -= row.size
        if row.content is not None:
            del self._contents[row.content]
        if row.needs is not None:
            self._needed[row.needs] -= 1

    def _waiting(self) -> Iterator[tuple[int, int]]:
        for priority, rows in self._rows.items():
            for sequence in rows:
                if sequence not in self._taken:
                    yield sequence, priority

    def _make_room(self, newcomer: _Row, priority: int) -> dict[int, int] | None:
        """Which messages must go for the newcomer, with their priorities; None if it must not come.

        A message that is needed becomes free with the last one that needs it, so those that were
        passed over are looked at again in the end.
        """
        out: dict[int, int] = {}
        excess = self._used + newcomer.size - self._budget
        if excess <= 0:
            return out
        if newcomer.size > self._budget:
            return None
        still_needed = self._needed.copy()
        if newcomer.needs is not None:
            still_needed[newcomer.needs] += 1
        candidates = (
            (sequence, lowest, row)
            for lowest in reversed(PRIORITIES[priority:])
            for sequence, row in self._rows[lowest].items()
            if sequence not in self._taken
        )
        needed = []
        for sequence, lowest, row in candidates:
            if row.content is not None and still_needed[row.content]:
                needed.append((sequence, lowest, row))
                continue
            out[sequence] = lowest
            excess -= row.size
            if row.needs is not None:
                still_needed[row.needs] -= 1
            if excess <= 0:
                return out
        for sequence, lowest, row in needed:
            if row.content is not None and not still_needed[row.content]:
                out[sequence] = lowest
                excess -= row.size
                if excess <= 0:
                    return out
        return None

    # -- the file

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Give the open file; afterwards turn every failure of the disk into an `OutboxError`."""
        try:
            yield self._db or self._connect()
        except _UnusableError as error:
            self._move_aside(error)
            raise OutboxError(f"outbox {self._path} is damaged ({error}); moved aside") from error
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                self._move_aside(_UnusableError("damaged", str(error)))
                what = "damaged, moved aside; the next message starts a new one"
            elif code == sqlite3.SQLITE_FULL:
                what = "the disk is full; free some space, the next message tries again"
            else:
                # After a failed read or sync nothing in memory is believed: the next call reads
                # the file again.
                self._disconnect()
                what = f"{error}; the next message tries again"
            raise OutboxError(f"outbox {self._path}: {what}") from error

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._open()
        except _UnusableError as error:
            self._move_aside(error)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            self._move_aside(_UnusableError("damaged", str(error)))
        return self._open()

    def _open(self) -> sqlite3.Connection:
        if self._lock is None:
            self._lock = _lock(self._path.with_name(self._path.name + ".lock"))
        if not self._path.exists():
            self._create()
        _check_header(self._path)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            for setting in _SETTINGS:
                db.execute(setting)
            self._load(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def _create(self) -> None:
        """Make the file under another name first, so that there is a whole one or none."""
        new = self._path.with_name(self._path.name + ".new")
        for leftover in _family(new):
            leftover.unlink(missing_ok=True)
        db = sqlite3.connect(new, isolation_level=None)
        try:
            db.execute(f"PRAGMA page_size = {_PAGE}")
            db.executescript(_SCHEMA)
            db.execute("INSERT INTO outbox VALUES (?, 1)", (self._draw(64).to_bytes(8, "big"),))
        finally:
            db.close()
        new.rename(self._path)
        _sync_directory(self._path.parent)

    def _load(self, db: sqlite3.Connection) -> None:
        state = db.execute("SELECT id, next FROM outbox").fetchone()
        if state is None:
            raise _UnusableError("damaged", "it has lost its id")
        identity = int.from_bytes(state[0], "big")
        if identity != self.id:
            self.id = identity
            self._gone.clear()
            self._taken.clear()
        self._forget()
        last = 0
        for last, priority, content, needs, length in db.execute(
            "SELECT sequence, priority, content, needs, length(CAST(head AS BLOB)) + length(body)"
            " FROM message ORDER BY sequence"
        ):
            if priority not in PRIORITIES:
                raise _UnusableError("damaged", f"message {last} has priority {priority}")
            if last not in self._gone:
                self._add(last, priority, _Row(_pages(length), content, needs))
        self._next = max(self._next, state[1], last + 1)
        self._taken &= self._priority.keys()

    def _read(self, db: sqlite3.Connection, sequence: int) -> Message:
        row = db.execute(
            "SELECT head, body FROM message WHERE sequence = ?", (sequence,)
        ).fetchone()
        try:
            output, content_type, content_encoding, properties = json.loads(row[0])
            return Message(output, row[1], content_type, content_encoding, properties)
        except (TypeError, ValueError) as error:
            raise _UnusableError("damaged", f"message {sequence} is unreadable") from error

    @contextmanager
    def _transaction(self, db: sqlite3.Connection) -> Iterator[None]:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    @staticmethod
    def _delete(db: sqlite3.Connection, sequences: Iterable[int]) -> None:
        db.executemany("DELETE FROM message WHERE sequence = ?", ((n,) for n in sequences))

    def _disconnect(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _move_aside(self, error: _UnusableError) -> None:
        """Keep what cannot be used for those who want to look; one of a kind, disks are small."""
        self._disconnect()
        self.set_aside += 1
        target = self._path.with_name(f"{self._path.name}.{error.kind}")
        for source, goal in zip(_family(self._path), _family(target), strict=True):
            if source.exists():
                source.replace(goal)
            else:
                goal.unlink(missing_ok=True)
        _sync_directory(self._path.parent)
        log.error(
            "outbox %s cannot be used (%s): moved to %s, %d waiting messages with it; "
            "starting a new one",
            self._path,
            error,
            target.name,
            len(self._priority),
        )
        self._forget()


def _family(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in ("", "-wal", "-journal", "-shm")]


def _check_header(path: Path) -> None:
    """Look at the file without SQLite, which would write into it (file format, section 1.3)."""
    with path.open("rb") as file:
        header = file.read(100)
    if header[:16] != b"SQLite format 3\0" or len(header) < 100:
        raise _UnusableError("foreign", "not an SQLite file")
    if int.from_bytes(header[68:72], "big") != _APPLICATION:
        raise _UnusableError("foreign", "an SQLite file of something else")
    version = int.from_bytes(header[60:64], "big")
    if version != _VERSION:
        raise _UnusableError(f"version-{version}", f"of version {version}, this is {_VERSION}")


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OutboxError(
            f"outbox {path.with_suffix('')} is in use by another process; "
            "every module needs a state folder of its own"
        ) from error
    return descriptor


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
