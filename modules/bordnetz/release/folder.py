"""A folder, for any web server or a USB stick."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bordnetz.release.destination import Destination
from bordnetz.release.errors import ReleaseError


class FolderDestination(Destination):
    """Publishes into a folder."""

    def __init__(self, folder: Path) -> None:
        """Take a folder, which is made when something is put into it."""
        self._folder = folder
        self._made: set[Path] = set()
        self.name = f"folder:{folder.resolve()}"
        self.empty = not folder.exists()

    def put(self, path: str, data: bytes) -> None:
        """Put a file."""
        target, new = self._places(path)
        try:
            new.write_bytes(data)
            new.replace(target)
        except OSError as error:
            raise _refused(target, error) from error

    def put_file(self, path: str, source: Path) -> None:
        """Put a copy of a file."""
        target, new = self._places(path)
        try:
            shutil.copyfile(source, new)
            new.replace(target)
        except OSError as error:
            raise _refused(target, error) from error

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        target = self._folder / path
        try:
            target.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(target, error) from error

    def sync(self) -> None:
        """Return when all that was put will outlast a power cut."""
        os.sync()

    def _places(self, path: str) -> tuple[Path, Path]:
        target = self._folder / path
        if target.parent not in self._made:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _refused(target.parent, error) from error
            self._made.add(target.parent)
        return target, target.parent / f".new-{target.name}"


def _refused(path: Path, error: OSError) -> ReleaseError:
    return ReleaseError(
        f"{path}: cannot be published: {error.strerror}; once that is mended, publish again: what "
        "is there already is not sent twice"
    )
