"""SQLite files as files: whose they are, whether they are damaged, and how to put one aside."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bordnetz.edge import durable

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class UnusableError(Exception):
    """The file cannot be used by this version; ``kind`` names where it goes."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def family(path: Path) -> list[Path]:
    """The file and what SQLite may have beside it."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-journal", "-shm")]


def check_header(path: Path, application: int, version: int) -> None:
    """Look at the file without SQLite, which would write into it (file format, section 1.3).

    Args:
        path: Of the file.
        application: Tells our files from others' (file format, 1.3.17).
        version: Of the schema.

    Raises:
        UnusableError: It is another's, or of another version.
        OSError: The disk does not give it.
    """
    with path.open("rb") as file:
        header = file.read(100)
    if header[:16] != b"SQLite format 3\0" or len(header) < 100:
        raise UnusableError("foreign", "not an SQLite file")
    if int.from_bytes(header[68:72], "big") != application:
        raise UnusableError("foreign", "an SQLite file of something else")
    found = int.from_bytes(header[60:64], "big")
    if found != version:
        raise UnusableError(f"version-{found}", f"of version {found}, this is {version}")


def says_damaged(error: Exception) -> bool:
    """Whether SQLite calls the file damaged; it does so, too, where the disk did not give it."""
    if isinstance(error, UnicodeError):
        # Its words quote a name of a table that is none.
        return True
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def move_aside(path: Path, kind: str) -> Path:
    """Keep what cannot be used for who wants to look; one of a kind, for disks are small.

    Raises:
        OSError, DurableError: The disk does not take it.
    """
    target = path.with_name(f"{path.name}.{kind}")
    for source, goal in zip(family(path), family(target), strict=True):
        if source.exists():
            source.replace(goal)
        else:
            goal.unlink(missing_ok=True)
    durable.sync_folder(path.parent)
    return target
