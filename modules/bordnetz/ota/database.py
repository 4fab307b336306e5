"""An SQLite file of one process: what a transaction has written is on the disk when it is over.

A file that is damaged, not ours or of another version is moved aside and never written to.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.edge.sqlite_file import (
    UnusableError,
    check_header,
    family,
    move_aside,
    says_damaged,
)
from bordnetz.errors import BordnetzError

log = logging.getLogger(__name__)

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


class DatabaseError(BordnetzError):
    """The file takes or gives nothing; it is as before, and trying again later is right."""

    exit_code = 74


class DamagedError(Exception):
    """What was read makes no sense; within a transaction it has the file moved aside."""


class Database:
    """The file; any thread may use it, one at a time has a transaction.

    Attributes:
        set_aside: Files moved aside since this object was made.
    """

    def __init__(self, path: Path, application: int, version: int, schema: str) -> None:
        """Open the file, or make it.

        Args:
            path: Of the file, in a folder on storage that survives a reboot.
            application: Tells our files from others' (SQLite file format, 1.3.17).
            version: Of the schema.
            schema: What to run in a new file.

        Raises:
            DatabaseError: The disk does not take it.
            LockedError: Another process has it.
        """
        self.set_aside = 0
        self._path = path
        self._application = application
        self._version = version
        self._schema = schema
        self._db: sqlite3.Connection | None = None
        self._turn = threading.RLock()
        self._lock = durable.Lock(path.with_name(f"{path.name}.lock"))
        self._lock.__enter__()
        try:
            with self.transaction():
                pass
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Read and write within; all of it is on the disk afterwards, or nothing.

        Raises:
            DatabaseError: Nothing of it is; the next transaction tries again.
        """
        with self._turn:
            try:
                db = self._ready()
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        db.execute("ROLLBACK")
                    raise
            except (sqlite3.Error, UnicodeError, OSError, DamagedError, UnusableError) as error:
                raise self._told(error) from error

    def close(self) -> None:
        """Close the file and let others have it."""
        with self._turn:
            self._disconnect()
            self._lock.__exit__(None, None, None)

    def _told(self, error: Exception) -> DatabaseError:
        unusable = self._unusable(error)
        if unusable is not None:
            self._move_aside(unusable)
            what = f"{unusable}; moved aside, a new one is begun"
        elif getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            what = "the disk is full; free some space, then it goes on"
        else:
            # After a failed read or sync nothing in memory is believed.
            self._disconnect()
            what = f"{error}; check the disk and who owns {self._path.parent}, then it goes on"
        return DatabaseError(f"{self._path}: {what}")

    def _ready(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = self._open()
            except (sqlite3.Error, UnicodeError, UnusableError) as error:
                unusable = self._unusable(error)
                if unusable is None:
                    raise
                self._move_aside(unusable)
                self._db = self._open()
        return self._db

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            self._create()
        check_header(self._path, self._application, self._version)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        # What is no text any more is found out by who reads it.
        db.text_factory = _text
        try:
            for setting in _SETTINGS:
                db.execute(setting)
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            db.close()
            raise
        return db

    def _create(self) -> None:
        """Make the file under another name first, so that there is a whole one or none."""
        new = self._path.with_name(durable.NEW + self._path.name)
        for leftover in family(new):
            leftover.unlink(missing_ok=True)
        db = sqlite3.connect(new, isolation_level=None)
        try:
            # In one transaction: each has its own syncs, which are slow on a new vehicle's flash.
            db.executescript(
                f"BEGIN; {self._schema}; PRAGMA application_id = {self._application};"
                f"PRAGMA user_version = {self._version}; COMMIT"
            )
        finally:
            db.close()
        new.rename(self._path)
        durable.sync_folder(self._path.parent)

    def _disconnect(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _unusable(self, error: Exception) -> UnusableError | None:
        """What is wrong with the file, where that will not pass."""
        if isinstance(error, UnusableError):
            return error
        if isinstance(error, DamagedError) or (says_damaged(error) and self._is_damaged()):
            return UnusableError("damaged", str(error))
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
            return says_damaged(error)
        return found[0] != "ok"

    def _move_aside(self, error: UnusableError) -> None:
        self._disconnect()
        self.set_aside += 1
        target = move_aside(self._path, error.kind)
        log.error("%s: %s; moved to %s", self._path, error, target.name)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
