"""Files and folders that a power cut leaves as they were before or as they were meant to be.

What a function here has done is on the disk when it returns (fsync of the file and of the folder
that names it; POSIX.1-2017, fsync and rename).  New content gets a name beginning with `NEW` first
and takes its real name in one step, so that under a real name there is never half of anything.
What a crash leaves under such names is found by `sweep`.

One process, and one thread of it at a time, changes a folder: `Lock` sees to the processes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bordnetz.errors import BordnetzError

__all__ = [
    "NEW",
    "DurableError",
    "Lock",
    "LockedError",
    "make_folder",
    "read",
    "remove",
    "rename",
    "sweep",
    "symlink",
    "sync_folder",
    "write",
]

NEW = ".new-"
"""What the names of unfinished things begin with."""


class DurableError(BordnetzError):
    """The disk does not take it, or does not give it; what was there before is still there."""

    exit_code = 74


class LockedError(DurableError):
    """Another process works in this folder."""


def write(path: Path, data: bytes) -> None:
    """Make a file with this content, or replace the one of this name.

    Raises:
        DurableError: The disk does not take it; an older file is as it was.
    """
    new = _new(path)
    with _told("write", path):
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            new.rename(path)
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise
        _sync(path.parent)


def read(path: Path, limit: int) -> bytes | None:
    """What is in a file; None where there is none.

    Args:
        path: Of the file.
        limit: Bytes that it may have.

    Raises:
        DurableError: It cannot be read, or is longer.
    """
    with _told("read", path):
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
    if len(data) > limit:
        raise DurableError(f"{path} has more than {limit} bytes, so it is not ours; remove it")
    return data


def make_folder(path: Path) -> None:
    """Make a folder with those above it, where they are not there.

    Raises:
        DurableError: The disk does not take it, or a file has the name.
    """
    with _told("make the folder", path):
        missing = [path]
        while not missing[-1].parent.is_dir() and missing[-1].parent != missing[-1]:
            missing.append(missing[-1].parent)
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            # Also of one that was there: who made it may have been killed before this.
            _sync(folder.parent)


def rename(old: Path, new: Path) -> None:
    """Give a file, a link or a folder another name, in place of a file or link that has it.

    Raises:
        DurableError: It is not there, or the disk does not take it.
    """
    with _told("rename", old):
        old.rename(new)
        _sync(new.parent)
        if old.parent != new.parent:
            _sync(old.parent)


def symlink(target: str | Path, path: Path) -> None:
    """Make a symbolic link, or have the one of this name point elsewhere, in one step.

    Args:
        target: What it points to, as it is to be written into it.
        path: Of the link.

    Raises:
        DurableError: The disk does not take it, or a folder has the name.
    """
    new = _new(path)
    with _told("link", path):
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.rename(path)
        _sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; no matter if it is not there.

    A folder loses its name before its content, so that half of it is never seen.

    Raises:
        DurableError: It cannot be removed.
    """
    with _told("remove", path):
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif path.name.startswith(NEW):
            shutil.rmtree(path)
        else:
            new = _new(path)
            if new.is_dir() and not new.is_symlink():
                shutil.rmtree(new)
            else:
                new.unlink(missing_ok=True)
            path.rename(new)
            _sync(path.parent)
            shutil.rmtree(new)
        if path.parent.is_dir():
            _sync(path.parent)


def sweep(folder: Path) -> int:
    """Remove what a crash has left unfinished in a folder; not in the folders within it.

    Returns:
        How many there were.

    Raises:
        DurableError: The folder cannot be read, or one of them cannot be removed.
    """
    with _told("look into", folder):
        found = [path for path in sorted(folder.iterdir()) if path.name.startswith(NEW)]
    for path in found:
        remove(path)
    return len(found)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk.

    Raises:
        DurableError: The disk does not take them.
    """
    with _told("sync", path):
        _sync(path)


class Lock:
    """That nobody else works in a folder, for as long as one is within ``with``.

    It goes with the process, however that ends.
    """

    def __init__(self, path: Path) -> None:
        """Name it.

        Args:
            path: Of the lock's file, in the folder that it guards; it is made, and stays.
        """
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Take it, at once or not at all.

        Raises:
            LockedError: Another has it.
            DurableError: The file cannot be made.
        """
        if self._descriptor is not None:
            raise LockedError(f"{self._path} is held already, by this very process")
        with _told("lock", self._path):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(descriptor)
                raise LockedError(
                    f"{self._path.parent} is in use by another process; end that one, or give each "
                    "its own state folder"
                ) from error
            except OSError:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _new(path: Path) -> Path:
    """The same name for every attempt: a crash leaves one of them at most."""
    return path.with_name(NEW + path.name)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DurableError(f"cannot {verb} {path}: {_said(error, path)}") from error


def _said(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space, the next attempt goes on"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"not allowed; make uid {os.geteuid()} the owner of {path.parent} and what is in it"
    if error.errno == errno.EROFS:
        return "mounted read-only; mount it read-write, and check the file system"
    return f"{error.strerror or error}"
