"""The outbox' file of version 1, an SQLite data base: read once, then removed."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.edge.message import Message
from bordnetz.edge.segment import PRIORITIES

log = logging.getLogger(__name__)

_APPLICATION = 0x626F7864
_VERSION = 1


class UnusableError(Exception):
    """The file is no outbox of version 1, or damaged; ``kind`` names where it goes."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


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


def messages(path: Path) -> Iterator[Stored]:
    """What waits in it, the oldest first.

    Raises:
        UnusableError: It is none; or something in it is damaged, after all that can be read.
        OSError: The disk does not give it.
    """
    _check_header(path)
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
    code = getattr(error, "sqlite_errorcode", unknown) & 0xFF
    # Also without a table, or with a name that is no text any more (the general error).
    if code in (unknown, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return UnusableError("damaged", str(error))
    raise OSError(f"{path}: {error}") from error


def move_aside(path: Path, kind: str) -> Path:
    """Keep what cannot be used for who wants to look.

    Raises:
        DurableError: The disk does not take it.
    """
    target = path.with_name(f"{path.name}.{kind}")
    for source, goal in zip(_family(path), _family(target), strict=True):
        if source.exists():
            durable.rename(source, goal)
    return target


def exists(path: Path) -> bool:
    """Whether there is one, or what is left of one."""
    return any(part.exists() for part in _family(path))


def remove(path: Path) -> None:
    """Remove it.

    Raises:
        DurableError: The disk does not take it.
    """
    # SQLite's log after the file: without it the file is an older one, or a damaged one.
    for part in (*_family(path), path.with_name(f"{path.name}.lock")):
        if part.exists():
            durable.remove(part)


def _check_header(path: Path) -> None:
    """Look at the file without SQLite, which would write into it (file format, section 1.3)."""
    with path.open("rb") as file:
        header = file.read(100)
    if header[:16] != b"SQLite format 3\0" or len(header) < 100:
        raise UnusableError("foreign", "not an SQLite file")
    if int.from_bytes(header[68:72], "big") != _APPLICATION:
        raise UnusableError("foreign", "an SQLite file of something else")
    version = int.from_bytes(header[60:64], "big")
    if version != _VERSION:
        raise UnusableError(f"version-{version}", f"an SQLite file of version {version}")


def _family(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in ("", "-wal", "-journal", "-shm")]
