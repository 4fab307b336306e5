"""A delivery that is on its way: what has come of it outlives a power cut, but for a chunk.

Bytes are appended as they come, and whenever a chunk is full it is synced before the next byte is
written.  So the file's own length tells what can be relied upon after a power cut: every chunk that
another one was begun after.  The record beside it is written only when a download begins or ends in
good order; it says from which content of the source the bytes are, and how long the file was: if it
still is, nothing has to be repeated.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bordnetz.edge import durable
from bordnetz.edge.durable import DurableError
from bordnetz.ota.fetch import disk, write_all
from bordnetz.uptane.custom import Delivery

log = logging.getLogger(__name__)

CHUNK = 256 << 10
"""Bytes.  What a kill costs is up to one of these, and what had come but was not written yet."""

_MOST_RECORD = 4096
_READ = 1 << 20


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tag: Annotated[str, Field(max_length=256)] = ""
    length: Annotated[int, Field(ge=0)] = 0


def paths(folder: Path, sha256: str) -> tuple[Path, Path]:
    """Where a part of a delivery lies, and the record of it."""
    return folder / f"{sha256}.part", folder / f"{sha256}.record"


def length(folder: Path, sha256: str) -> int:
    """Bytes of a part that need not come again; 0 where there is none."""
    part, record = paths(folder, sha256)
    with disk(folder):
        return _reliable(part.stat().st_size, _read(record).length) if part.exists() else 0


class Part:
    """A part of a delivery; close it, whatever has happened.

    Attributes:
        length: Bytes of it.
        tag: Names the content that they are from; "" where that is not known.
    """

    def __init__(self, folder: Path, delivery: Delivery) -> None:
        """Open it, or make it, and see what of it can be relied upon.

        Raises:
            StagingError: The disk does not take it, or does not give it.
        """
        self._folder = folder
        self._delivery = delivery
        self._path, self._record = paths(folder, delivery.sha256)
        self._sha256 = hashlib.sha256()
        known = _read(self._record)
        self.tag = known.tag
        with disk(folder):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
            try:
                self.length = _reliable(os.fstat(self._descriptor).st_size, known.length)
                if self.length > delivery.length:
                    self.length = 0
                os.ftruncate(self._descriptor, self.length)
                self._read_again()
                durable.sync_folder(folder)
            except BaseException:
                os.close(self._descriptor)
                raise

    @property
    def room(self) -> int:
        """Bytes until its chunk is full, or it is whole."""
        return min(CHUNK - self.length % CHUNK, self.missing)

    @property
    def missing(self) -> int:
        """Bytes until it is whole."""
        return self._delivery.length - self.length

    @property
    def right(self) -> bool:
        """Whether all bytes are there, and those that the metadata names."""
        return not self.missing and self._sha256.hexdigest() == self._delivery.sha256

    def begin(self, tag: str) -> None:
        """What comes from now on is from the content that ``tag`` names.

        Raises:
            DurableError: The disk does not take it.
        """
        if tag != self.tag:
            self.tag = tag
            self._note()

    def append(self, piece: bytes) -> None:
        """The next bytes, up to `room`.

        Raises:
            StagingError: The disk does not take them.
        """
        with disk(self._folder):
            write_all(self._descriptor, piece)
            self.length += len(piece)
            self._sha256.update(piece)
            if not self.missing or self.length % CHUNK == 0:
                os.fdatasync(self._descriptor)

    def restart(self) -> None:
        """Forget all bytes.

        Raises:
            DurableError: The disk does not take it.
        """
        with disk(self._folder):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            # Before the record: bytes of one content must not stand under the tag of another.
            os.fsync(self._descriptor)
        self.length, self.tag = 0, ""
        self._sha256 = hashlib.sha256()
        self._note()

    def finish(self, path: Path) -> None:
        """Give what is whole and right its name.

        Raises:
            DurableError: The disk does not take it.
        """
        with disk(self._folder):
            os.fsync(self._descriptor)
        durable.rename(self._path, path)
        durable.remove(self._record)

    def close(self) -> None:
        """Have on the disk what there is, as far as that takes it."""
        try:
            if self._path.exists():
                os.fdatasync(self._descriptor)
                self._note()
        except (OSError, DurableError) as error:
            log.warning("up to a chunk of the download will come again: %s", error)
        finally:
            with suppress(OSError):
                os.close(self._descriptor)

    def _note(self) -> None:
        record = _Record(tag=self.tag, length=self.length)
        durable.write(self._record, record.model_dump_json().encode())

    def _read_again(self) -> None:
        left = self.length
        while left:
            piece = os.read(self._descriptor, min(left, _READ))
            if not piece:
                raise OSError(None, "the file became shorter")
            self._sha256.update(piece)
            left -= len(piece)


def _read(path: Path) -> _Record:
    try:
        return _Record.model_validate_json(durable.read(path, _MOST_RECORD) or b"{}")
    except (ValidationError, DurableError) as error:
        log.warning("%s is not used, so a chunk may come again: %s", path.name, error)
        return _Record()


def _reliable(size: int, noted: int) -> int:
    """Bytes of a part that were synced, of its size and what was noted in good order."""
    full = max(0, size - 1) // CHUNK * CHUNK
    return max(full, noted) if noted <= size else full
