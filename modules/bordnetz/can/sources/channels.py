"""Which channels a recording has, for who has no vehicle file that names them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from bordnetz.can.errors import RecordingError
from bordnetz.can.sources.candump import portions
from bordnetz.can.sources.recording import Reader

_CANDUMP = re.compile(rb"(?m)^\([\d.]{1,32}\) (\S{1,64}) ")
_MOST = 64


def channels_of(path: Path) -> list[str]:
    """The channels of a recording under the names that a vehicle file uses, in order of name.

    It reads to the end of the file, or to where it is broken.  A form without channels has one,
    ``None``, as python-can says.

    Raises:
        RecordingError: There is no such file, nothing here reads its form, or it names more
            channels than any vehicle has.
    """
    found: set[str] = set()
    is_candump = path.name.lower().endswith((".log", ".log.gz"))
    try:
        for name in _of_candump(path) if is_candump else _of_others(path):
            found.add(name)
            if len(found) > _MOST:
                raise RecordingError(f"{path}: over {_MOST} channels; is this a CAN recording?")
    except RecordingError:
        raise
    except Exception as error:
        # What can be read before is used; the source tells where it breaks.
        if isinstance(error, OSError) and not found:
            raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
        if not found:
            raise RecordingError(
                f"{path}: no recording that can be read ({type(error).__name__})"
            ) from error
    return sorted(found)


def _of_candump(path: Path) -> Iterator[str]:
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
        for lines, whole in portions(file):
            for name in set(_CANDUMP.findall(lines)) if whole else ():
                # A vehicle file, which is UTF-8, cannot name others.
                if (text := name.decode(errors="replace")).encode() == name:
                    yield text


def _of_others(path: Path) -> Iterator[str]:
    reader = Reader(path)
    try:
        for message in reader:
            yield str(message.channel)
    finally:
        reader.close()
