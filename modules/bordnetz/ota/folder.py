"""A source in a folder: a USB stick, or a copy of a store.

A stick is as foreign as a server: no link on it is followed, nothing but regular files is read,
and it may be pulled out at any moment.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from bordnetz.ota.source import (
    ChangedError,
    MissingError,
    PayloadSource,
    RefusedError,
    Stream,
    UnreachableError,
    endless,
    segments,
)

_PIECE = 1 << 20


class FolderSource(PayloadSource):
    """Files below a folder."""

    def __init__(self, path: Path) -> None:
        """Name the folder; it need not be there yet."""
        self._path = path

    def open(self, name: str, limit: int, offset: int = 0, tag: str = "") -> Stream:
        """Begin to read a file; see `PayloadSource.open`."""
        descriptor = self._descriptor(name, segments(name))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise RefusedError(f"{self._path}: {name} is not a file; copy the release anew")
            if status.st_size > limit:
                raise endless(f"{self._path}: {name}", limit)
            stream = _FolderStream(f"{self._path}: {name}", descriptor, offset, limit, status)
            if tag and tag != stream.tag:
                raise ChangedError(f"{self._path}: {name} is not the file that was begun")
            os.lseek(descriptor, offset, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return stream

    def _descriptor(self, name: str, parts: list[str]) -> int:
        """Open a file, one folder after the other, so that a link is met and not followed."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            here = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unreachable(error) from error
        try:
            for part in parts[:-1]:
                inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = inner
            return os.open(parts[-1], flags, dir_fd=here)
        except FileNotFoundError as error:
            raise MissingError(f"{self._path}: {name} is not there") from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                raise RefusedError(
                    f"{self._path}: {name} is a link or no file; copy the release anew, with files "
                    "in place of links"
                ) from error
            if error.errno == errno.ENAMETOOLONG:
                raise MissingError(f"{self._path}: {name} is not there") from error
            raise self._unreachable(error) from error
        finally:
            os.close(here)

    def _unreachable(self, error: OSError) -> UnreachableError:
        return UnreachableError(
            f"{self._path}: cannot be read: {error.strerror}; is it plugged in and mounted?"
        )

    def __repr__(self) -> str:
        return f"FolderSource({str(self._path)!r})"


class _FolderStream(Stream):
    def __init__(
        self, where: str, descriptor: int, offset: int, limit: int, status: os.stat_result
    ) -> None:
        self.offset = offset
        self.length = status.st_size
        self.tag = f"{status.st_dev}-{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
        self._where = where
        self._descriptor: int | None = descriptor
        self._at = offset
        self._limit = limit

    def read(self, size: int) -> bytes:
        if self._descriptor is None:
            raise ValueError("the stream is closed")
        try:
            piece = os.read(self._descriptor, min(size, _PIECE))
        except OSError as error:
            raise UnreachableError(
                f"{self._where}: reading ends after {self._at} bytes: {error.strerror}; is the "
                "stick still plugged in?"
            ) from error
        self._at += len(piece)
        if self._at > self._limit:
            raise endless(self._where, self._limit)
        if size and not piece and self._at != self.length:
            raise UnreachableError(
                f"{self._where}: has {self._at} bytes where it had {self.length}; was it replaced?"
            )
        return piece

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
