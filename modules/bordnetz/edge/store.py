"""The outbox' file: rows in SQLite that are on the disk once `Store.write` returns.

A file that is damaged, not ours or of another version is moved aside and never written to; what
the disk refuses becomes an `OutboxError`, after which the next call tries again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bordnetz.edge.message import Message
from bordnetz.errors import BordnetzError

log = logging.getLogger(__name__)

_APPLICATION = 0x626F7864
_VERSION = 1
_PAGE = 4096
_OVERHEAD = 100
"""Bytes of a row beside head and body: numbers, two digests, headers (file format, 1.6 and 2.1)."""

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

_SETTINGS = (
    # No shared-memory file beside it, and nobody else in the file.
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    # The log is synced by every commit: what was written is on the disk.
    "PRAGMA synchronous = FULL",
    # Debian's SQLite zeroes what is deleted, which doubles the bytes written.
    "PRAGMA secure_delete = OFF",
    # A short log is overwritten in place, which spares the file system's journal.
    "PRAGMA wal_autocheckpoint = 100",
)

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class OutboxError(BordnetzError):
    """The outbox cannot write or read; it is as before, and trying again later is right."""

    exit_code = 74


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a stored message without reading its body.

    Attributes:
        sequence: Its name within the file.
        priority: 0 (highest) to 9.
        size: Bytes that it takes of the file.
        content: A digest of what it says, if others may need it.
        needs: The ``content`` of the one that it needs.
    """

    sequence: int
    priority: int
    size: int
    content: bytes | None
    needs: bytes | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A message in the form in which it is stored."""

    row: Row
    head: str
    body: bytes

    @classmethod
    def of(
        cls,
        message: Message,
        sequence: int,
        priority: int,
        content: bytes | None,
        needs: bytes | None,
    ) -> Draft:
        """Bring a message into the form in which it is stored."""
        fields = [message.output, message.content_type, message.content_encoding]
        head = json.dumps([*fields, dict(message.properties)], separators=(",", ":"))
        size = _pages(len(head.encode()) + len(message.body))
        return cls(Row(sequence, priority, size, content, needs), head, message.body)


@dataclass(frozen=True, slots=True)
class Contents:
    """What was found in the file: its id, the next sequence, and the rows in their order."""

    id: int
    next: int
    rows: list[Row]


class _UnusableError(Exception):
    """The file is not an outbox that this version can use; ``kind`` names where it goes."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Store:
    """The file of an outbox; one process has it at a time.

    Attributes:
        set_aside: Files moved aside since this object was made.
    """

    def __init__(self, path: Path, draw: Callable[[int], int]) -> None:
        """Name the file; it is opened by the first `ready`.

        Args:
            path: Of the SQLite file; its folder must exist.
            draw: Gives that many random bits, for the id of a new file.
        """
        self.set_aside = 0
        self._path = path
        self._draw = draw
        self._db: sqlite3.Connection | None = None
        self._lock: int | None = None

    @contextmanager
    def ready(self) -> Iterator[Contents | None]:
        """Have the file open within; gives its contents where it had to be opened anew.

        Raises:
            OutboxError: Whatever the disk refuses within, or another process has the file.
        """
        try:
            yield self._open_or_replace() if self._db is None else None
        except (sqlite3.Error, UnicodeError, OSError, _UnusableError) as error:
            unusable = self._unusable(error)
            if unusable is not None:
                self._move_aside(unusable)
                what = f"{unusable}; moved aside, the next message starts a new one"
            elif getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                what = "the disk is full; free some space, the next message tries again"
            else:
                # After a failed read or sync nothing in memory is believed: the next call reads
                # the file again.
                self._disconnect()
                what = f"{error}; {_closed(self._path, error) or 'the next message tries again'}"
            raise OutboxError(f"outbox {self._path}: {what}") from error

    def write(self, following: int, gone: Iterable[int], draft: Draft | None = None) -> None:
        """Delete and insert in one transaction; on the disk when this returns.  Within `ready`.

        Args:
            following: The next free sequence.
            gone: Sequences to delete; those that are not there are ignored.
            draft: A message to insert.
        """
        db = self._connection()
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("DELETE FROM message WHERE sequence = ?", ((n,) for n in gone))
            db.execute("UPDATE outbox SET next = ?", (following,))
            if draft is not None:
                row = draft.row
                values = (row.sequence, row.priority, row.content, row.needs)
                db.execute(
                    "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?)",
                    (*values, draft.head, draft.body),
                )
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    def read(self, sequence: int) -> Message:
        """One message with its body.  Within `ready`."""
        query = "SELECT head, body FROM message WHERE sequence = ?"
        row = self._connection().execute(query, (sequence,)).fetchone()
        try:
            output, content_type, content_encoding, properties = json.loads(row[0])
            return Message(output, row[1], content_type, content_encoding, properties)
        except (TypeError, ValueError) as error:
            raise _UnusableError("damaged", f"message {sequence} is unreadable") from error

    def close(self) -> None:
        """Close the file and let others have it."""
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise ValueError("the file is open within `ready` alone")
        return self._db

    def _open_or_replace(self) -> Contents:
        try:
            return self._open()
        except (sqlite3.Error, UnicodeError, _UnusableError) as error:
            unusable = self._unusable(error)
            if unusable is None:
                raise
            self._move_aside(unusable)
            return self._open()

    def _open(self) -> Contents:
        if self._lock is None:
            self._lock = _lock(self._path)
        if not self._path.exists():
            self._create()
        _check_header(self._path)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            for setting in _SETTINGS:
                db.execute(setting)
            contents = _contents(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        return contents

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

    def _disconnect(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _unusable(self, error: Exception) -> _UnusableError | None:
        """What is wrong with the file, where that will not pass."""
        if isinstance(error, _UnusableError):
            return error
        if _says_damaged(error) and self._is_damaged():
            return _UnusableError("damaged", str(error))
        return None

    def _is_damaged(self) -> bool:
        """Look again: SQLite calls a file damaged, too, that the disk did not give just now.

        See SQLITE_IOERR_CORRUPTFS in its os_unix.c; applications are told SQLITE_CORRUPT.
        """
        self._disconnect()
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None)) as db:
                for setting in _SETTINGS:
                    db.execute(setting)
                found: tuple[str] = db.execute("PRAGMA quick_check(1)").fetchone()
        except (sqlite3.Error, UnicodeError) as error:
            return _says_damaged(error)
        return found[0] != "ok"

    def _move_aside(self, error: _UnusableError) -> None:
        """Keep what cannot be used for who wants to look; one of a kind, for disks are small."""
        self._disconnect()
        self.set_aside += 1
        target = self._path.with_name(f"{self._path.name}.{error.kind}")
        for source, goal in zip(_family(self._path), _family(target), strict=True):
            if source.exists():
                source.replace(goal)
            else:
                goal.unlink(missing_ok=True)
        _sync_directory(self._path.parent)
        log.error("outbox %s: %s; moved to %s", self._path, error, target.name)


def _says_damaged(error: Exception) -> bool:
    if isinstance(error, UnicodeError):
        # SQLite's words quote a name in the schema that is no text any more.
        return True
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _closed(path: Path, error: Exception) -> str | None:
    """What to do if the folder or a file in it is not ours to write, else None."""
    if not isinstance(error, PermissionError | sqlite3.Error):
        return None
    needed = os.R_OK | os.W_OK
    for one in (path.parent, _lock_file(path), *_family(path)):
        access = needed | os.X_OK if one == path.parent else needed
        with suppress(OSError):
            owner = one.stat().st_uid
            if os.access(one, access, effective_ids=True):
                continue
            user, group = os.geteuid(), os.getegid()
            if owner == user:
                return f"allow its owner to write: chmod -R u+rwX {path.parent}"
            return (
                f"{one} belongs to uid {owner}, and this process runs as uid {user}; make it the "
                f"owner of what is mounted there: chown -R {user}:{group} {path.parent}"
            )
    return None


def _contents(db: sqlite3.Connection) -> Contents:
    state = db.execute("SELECT id, next FROM outbox").fetchone()
    if state is None:
        raise _UnusableError("damaged", "it has lost its id")
    # length() of the body reads the record's header alone, so this never touches the bodies.
    found = db.execute(
        "SELECT sequence, priority, length(CAST(head AS BLOB)) + length(body), content, needs"
        " FROM message ORDER BY sequence"
    )
    rows = [Row(number, level, _pages(size), *digests) for number, level, size, *digests in found]
    for row in rows:
        if not 0 <= row.priority <= 9:
            raise _UnusableError("damaged", f"message {row.sequence} has priority {row.priority}")
    last = rows[-1].sequence if rows else 0
    return Contents(int.from_bytes(state[0], "big"), max(state[1], last + 1), rows)


def _pages(length: int) -> int:
    """Bytes of the file that a row takes: whole pages, or its share of one it has to share."""
    row = length + _OVERHEAD
    if row > _PAGE:
        return -(-row // (_PAGE - 4)) * _PAGE
    return -(-_PAGE // (_PAGE // row))


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


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path) -> int:
    descriptor = os.open(_lock_file(path), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OutboxError(
            f"outbox {path} is in use by another process; every module needs its own state folder"
        ) from error
    return descriptor


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
