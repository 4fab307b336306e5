"""The outbox' file of version 1, an SQLite data base: read once, then removed."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.edge.message import Message
from bordnetz.edge.segment import PRIORITIES
from bordnetz.edge.sqlite_file import (
    UnusableError,
    check_header,
    family,
    move_aside,
    says_damaged,
)
from bordnetz.edge.takeover import Stored

log = logging.getLogger(__name__)

_APPLICATION = 0x626F7864
_VERSION = 1


def put_aside(path: Path, error: UnusableError) -> None:
    """Keep what cannot be used for who wants to look.

    Raises:
        OSError, DurableError: The disk does not take it.
    """
    target = move_aside(path, error.kind)
    log.error("outbox %s: %s; moved to %s", path, error, target.name)


def messages(path: Path) -> Iterator[Stored]:
    """What waits in it, the oldest first.

    Raises:
        UnusableError: It is none; or something in it is damaged, after all that can be read.
        OSError: The disk does not give it.
    """
    check_header(path, _APPLICATION, _VERSION)
    damage: UnusableError | None = None
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            (identity,) = db.execute("SELECT id FROM outbox").fetchone()
            numbers = [number for (number,) in db.execute("SELECT sequence FROM message")]
            for number in sorted(numbers):
                try:
                    yield _message(db, int.from_bytes(identity, "big"), number)
                except (sqlite3.Error, TypeError, ValueError) as error:
                    damage = _judged(path, error)
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise _judged(path, error) from error
    if damage is not None:
        raise damage


def _message(db: sqlite3.Connection, outbox: int, number: int) -> Stored:
    query = "SELECT priority, content, needs, head, body FROM message WHERE sequence = ?"
    priority, content, needs, head, body = db.execute(query, (number,)).fetchone()
    if priority not in PRIORITIES:
        raise ValueError(f"message {number} has priority {priority}")
    output, kind, encoding, properties = json.loads(head)
    message = Message(output, body, kind, encoding, properties)
    return Stored((outbox, number), priority, message, content, needs)


def _judged(path: Path, error: Exception) -> UnusableError:
    """That the file is damaged.

    Raises:
        OSError: It is the disk.
    """
    unknown = sqlite3.SQLITE_ERROR
    # Also without a table, or with a name that is no text any more (the general error).
    if says_damaged(error) or getattr(error, "sqlite_errorcode", unknown) & 0xFF == unknown:
        return UnusableError("damaged", str(error))
    raise OSError(f"{path}: {error}") from error


def remove(path: Path) -> None:
    """Remove it.

    Raises:
        DurableError: The disk does not take it.
    """
    # SQLite's log after the file: without it the file is an older one, or a damaged one.
    for part in (*family(path), path.with_name(f"{path.name}.lock")):
        if part.exists():
            durable.remove(part)
