"""Files on their way into the payload folder: whole and on the disk before they get their names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bordnetz.release.errors import ReleaseError


@dataclass(frozen=True)
class Made:
    """A file that has no name yet.

    Attributes:
        path: Where it is.
        length: Bytes.
        sha256: In hexadecimal.
    """

    path: Path
    length: int
    sha256: str


class Workspace:
    """Makes files in a folder.

    When it is left, what was not kept is gone, and what an earlier, broken work has left, too.
    """

    def __init__(self, folder: Path) -> None:
        """Work in a folder."""
        self._folder = folder
        self._count = 0

    def make(self, pieces: Iterable[bytes], progress: Callable[[int], None]) -> Made:
        """Write a file.

        Args:
            pieces: Its content.
            progress: Is told how many bytes are written.

        Raises:
            ReleaseError: The disk does not take it.
        """
        path = self.path()
        digest, length = hashlib.sha256(), 0
        try:
            with path.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                    digest.update(piece)
                    length += len(piece)
                    progress(length)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ReleaseError(f"{path}: cannot be written: {error.strerror}") from error
        return Made(path, length, digest.hexdigest())

    def path(self) -> Path:
        """Where a file may be made that `take` then takes."""
        self._count += 1
        return self._folder / f".new-{self._count}"

    def take(self, path: Path) -> Made:
        """Take a file that was made elsewhere.

        Raises:
            ReleaseError: It cannot be read, or the disk does not take it.
        """
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
                return Made(path, os.fstat(file.fileno()).st_size, digest)
        except OSError as error:
            raise ReleaseError(f"{path}: cannot be read: {error.strerror}") from error

    def keep(self, names: Iterable[tuple[Made, str]]) -> None:
        """Give files their names, for good.

        Raises:
            ReleaseError: The disk does not take it.
        """
        try:
            for made, name in names:
                made.path.replace(self._folder / name)
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ReleaseError(f"{self._folder}: cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for left in self._folder.glob(".new-*"):
            left.unlink(missing_ok=True)
