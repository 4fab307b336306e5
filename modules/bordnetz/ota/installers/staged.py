"""A payload that waits on the disk for another program to take it."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.ota.installers.installer import Installed
from bordnetz.ota.installers.trouble import TroubleError


def check(path: Path, payload: Installed) -> None:
    """Read it once more, for it may have lain there for days.

    Raises:
        TroubleError: It is not there, or not what was verified.
    """
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TroubleError(f"{path}: the payload cannot be read: {error}") from error
    if (length, sha256) != (payload.length, payload.sha256):
        raise TroubleError(f"{path}: the payload has changed since it was verified; not installed")


def same_device(one: Path, other: Path) -> bool:
    """Whether a file can be moved there by a new name; False where one of them is missing."""
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False


def copy(source: Path, place: Path) -> None:
    """Copy it; it is on the disk under its name, as a whole, when this returns.

    Raises:
        TroubleError: It cannot be read, or the disk does not take it.
    """
    new = place.with_name(durable.NEW + place.name)
    try:
        with source.open("rb") as reader, new.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        durable.rename(new, place)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise TroubleError(f"{source}: cannot be copied to {place}: {error}") from error
