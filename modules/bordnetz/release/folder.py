"""A folder, for any web server or a USB stick."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from bordnetz.release.destination import Destination
from bordnetz.release.errors import ReleaseError

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


class FolderDestination(Destination):
    """Publishes into a folder."""

    def __init__(self, folder: Path) -> None:
        """Take a folder, which is made when something is put into it."""
        self._folder = folder
        self._root = os.fspath(folder)
        self._made = ""
        """The folder in which the last file was put."""
        self.name = f"folder:{folder.resolve()}"
        self.empty = not folder.exists()

    def put(self, path: str, data: bytes) -> None:
        """Put a file."""
        target, new = self._places(path)
        try:
            # Five of these a vehicle: without a file object, which costs as much as the write.
            descriptor = os.open(new, _FLAGS, 0o644)
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
            os.rename(new, target)  # noqa: PTH104 (as above)
        except OSError as error:
            raise _refused(target, error) from error

    def put_file(self, path: str, source: Path) -> None:
        """Put a copy of a file."""
        target, new = self._places(path)
        try:
            shutil.copyfile(source, new)
            os.rename(new, target)  # noqa: PTH104 (strings)
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

    def _places(self, path: str) -> tuple[str, str]:
        """Where a file belongs, and where it is until it is whole."""
        parent, _, name = path.rpartition("/")
        folder = f"{self._root}/{parent}"
        if parent != self._made:
            try:
                Path(folder).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _refused(folder, error) from error
            self._made = parent
        return f"{folder}/{name}", f"{folder}/.new-{name}"


def _refused(path: str | Path, error: OSError) -> ReleaseError:
    return ReleaseError(
        f"{path}: cannot be published: {error.strerror}; once that is mended, publish again: what "
        "is there already is not sent twice"
    )
