"""Where a release is published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final


class Destination(ABC):
    """A place for static files.  Files are replaced whole: no reader sees a part of one.

    Attributes:
        name: In the release's records; without any key or token.
        workers: So many threads may put files at once.
        empty: Whether it is certain that nothing is there.
    """

    name: str
    workers: int = 1
    empty: bool = False

    @abstractmethod
    def put(self, path: str, data: bytes) -> None:
        """Put a file.

        Args:
            path: Segments with ``/`` between them.
            data: All of it.

        Raises:
            ReleaseError: It is not taken.
        """

    @abstractmethod
    def put_file(self, path: str, source: Path) -> None:
        """Put a copy of a file.

        Raises:
            ReleaseError: It is not taken.
        """

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file, if it is there.

        Raises:
            ReleaseError: That is refused.
        """

    @abstractmethod
    def sync(self) -> None:
        """Return when all that was put will outlast a power cut."""


METADATA: Final = "application/json"
OTHER: Final = "application/octet-stream"


def is_immutable(path: str) -> bool:
    """Whether a path never gets other content: payloads by their hash, metadata by version."""
    folder, _, name = path.rpartition("/")
    return folder == "targets" or name[:1].isdigit()
