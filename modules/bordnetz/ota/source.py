"""Where metadata and payloads come from: what every source answers to, and what can go wrong.

A source hands out what lies below one place: an address on the network (`bordnetz.ota.http`) or a
folder, as on a USB stick (`bordnetz.ota.folder`).  It vouches for nothing but sizes and speed;
whether the bytes are right is decided by those who read them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from bordnetz.errors import BordnetzError
from bordnetz.uptane.errors import Kind, UptaneError

LONGEST_NAME = 1024
"""Bytes of a file's name."""


class SourceError(BordnetzError):
    """A file did not come."""

    exit_code = 69  # EX_UNAVAILABLE of sysexits.h


class MissingError(SourceError):
    """There is no such file.  For the root metadata after the newest this is as it should be."""


class NeedsUrlError(SourceError):
    """The address does not open the store any more; whoever gave it has to give a new one."""


class UnreachableError(SourceError):
    """The source cannot be reached now; trying again later is right."""


class RefusedError(SourceError):
    """The source answers in a way that will not change by asking again."""


class Source(ABC):
    """Files below one place, by name."""

    @abstractmethod
    def fetch(self, name: str, limit: int) -> bytes:
        """Read a small file as a whole.

        Args:
            name: Of the file, as it is called there, relative; segments are parted by ``/``.
            limit: Bytes that it may have.

        Raises:
            MissingError: There is none.
            NeedsUrlError: A new address is needed.
            UnreachableError: Try again later.
            RefusedError: Trying again does not help.
            UptaneError: It is longer than ``limit``, or comes too slowly.
        """


class Stream(ABC):
    """A file on its way; close it, or use it in a ``with``.

    Attributes:
        offset: Of the first byte that `read` gives, within the file.  0 although another was asked
            for: the source cannot start in the middle.
        length: Bytes of the whole file; None where the source does not say.
        tag: Names this content of the file; "" where the source has no such name.
    """

    offset: int
    length: int | None
    tag: str

    @abstractmethod
    def read(self, size: int) -> bytes:
        """The next bytes, as soon as there are any.

        Args:
            size: How many at most.

        Returns:
            At least one byte; none at the end of the file.

        Raises:
            UnreachableError: The rest does not come now.
            UptaneError: It comes too slowly, or there is more of it than was announced.
        """

    @abstractmethod
    def close(self) -> None:
        """Let it go, whether it was read to its end or not."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class PayloadSource(Source):
    """A source of large files, too, which are read as they come and from any byte on."""

    @abstractmethod
    def open(self, name: str, limit: int, offset: int = 0, tag: str = "") -> Stream:
        """Begin to read a file.

        Args:
            name: As in `fetch`.
            limit: Bytes that the whole file may have.
            offset: The first byte wanted.
            tag: What the stream said that the first bytes came from; "" where that is not known.

        Raises:
            ChangedError: The file is no longer the one that ``tag`` names.
            MissingError: There is none.
            NeedsUrlError: A new address is needed.
            UnreachableError: Try again later.
            RefusedError: Trying again does not help.
            UptaneError: It is longer than ``limit``, or its beginning comes too slowly.
        """

    def fetch(self, name: str, limit: int) -> bytes:
        """Read a small file as a whole; see `Source.fetch`."""
        data = bytearray()
        with self.open(name, limit) as stream:
            # One byte more than it may have tells a file that is too long from one that is not.
            while piece := stream.read(limit + 1 - len(data)):
                data += piece
                if len(data) > limit:
                    raise endless(name, limit)
        return bytes(data)


class ChangedError(SourceError):
    """What can be read is not the rest of what was begun; it has to be read from its beginning."""


def segments(name: str) -> list[str]:
    """Take a name apart.

    Raises:
        MissingError: Nothing can be called that: it leads upwards, is hidden from one kind of
            source or too long.
    """
    parts = name.split("/")
    if (
        len(name.encode("utf-8", "replace")) > LONGEST_NAME
        or any(part in ("", ".", "..") for part in parts)
        or any(ord(character) < 32 or ord(character) == 127 for character in name)
        or "\\" in name
    ):
        raise MissingError("no file can have the name that the metadata gives; check the metadata")
    return parts


def endless(name: str, limit: int) -> UptaneError:
    """What to raise of a file that goes on after its limit."""
    return UptaneError(
        Kind.ENDLESS_DATA,
        f"{name} has more than the {limit} bytes that it may have; check who serves it",
    )
