"""What it is to fetch a delivery: into a staging folder, verified, read back, and within bounds.

In the staging folder lie, named by the delivery's SHA-256: the delivery itself once it is whole and
right, before that a part of it (``.part``), and what is known about the part (``.record``).
"""

from __future__ import annotations

import errno
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.edge.durable import DurableError
from bordnetz.errors import BordnetzError
from bordnetz.ota.ports import HaltedError
from bordnetz.uptane.custom import Delivery

_PIECE = 1 << 20


class StagingError(DurableError):
    """The disk does not take what comes; what is there is kept."""


class CorruptError(BordnetzError):
    """The disk gives back other bytes than it was given."""

    exit_code = 74


class BudgetError(BordnetzError):
    """It would cost more bytes over the air than are left for it; what has come of it is kept."""

    exit_code = 75


class PausedError(HaltedError):
    """The link must not be used for it now; what has come of it is kept."""


class Fetcher(ABC):
    """Fetches deliveries from one place."""

    @abstractmethod
    def cost(self, delivery: Delivery, folder: Path) -> int:
        """Bytes that would have to come over the air for it, as far as that can be foreseen."""

    @abstractmethod
    def fetch(
        self,
        delivery: Delivery,
        folder: Path,
        budget: int | None,
        received: Callable[[int], None],
    ) -> Path:
        """Fetch a delivery, or what is missing of it.

        Args:
            delivery: As the metadata names it.
            folder: The staging folder; it is there.
            budget: Bytes that may still come over the air; None: as many as it takes.
            received: Told of bytes that have come over the air, useful or not, as they come; now
                and then of 0.  What it raises is let through.

        Returns:
            The file in ``folder``.  Its bytes are on the disk, were read back from there, and have
            the delivery's length and hash.

        Raises:
            BudgetError: It would cost more.
            PausedError: Not now.
            SourceError: The source does not give it.
            DurableError: The disk does not take it.
            CorruptError: The disk takes it, but does not keep it.
            UptaneError: It is not what the metadata says, or an attack.
        """


def there(delivery: Delivery, folder: Path) -> Path | None:
    """A delivery that is in the staging folder already, whole and right.

    Raises:
        StagingError: It cannot be read.
    """
    path = folder / delivery.sha256
    with disk(folder):
        if not path.exists():
            return None
        if path.stat().st_size == delivery.length and read_back(path) == delivery.sha256:
            return path
    durable.remove(path)
    return None


def read_back(path: Path, algorithm: str = "sha256") -> str:
    """Digest (hexadecimal) of a file's bytes, from the disk and not from memory.

    What is in memory only because it was just written is dropped before; it must have been synced.

    Raises:
        OSError: It cannot be read.
        ValueError: There is no such algorithm.
    """
    digest = hashlib.new(algorithm)
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        # In larger pieces than hashlib.file_digest takes, which then waits longer for the disk.
        piece = memoryview(bytearray(_PIECE))
        while count := file.readinto(piece):
            digest.update(piece[:count])
    return digest.hexdigest()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it.

    Raises:
        OSError: The disk does not take it.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Say in words what the disk does not do.

    Raises:
        StagingError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StagingError(
                f"{folder}: the disk is full; free some space, it goes on where it is"
            ) from error
        raise StagingError(
            f"{folder}: cannot be written or read: {error.strerror}; check owner and disk"
        ) from error
