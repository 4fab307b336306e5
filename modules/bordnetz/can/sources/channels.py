"""Which channels a recording has, for who has no vehicle file that names them."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import can

from bordnetz.can.errors import RecordingError

_CANDUMP = re.compile(rb"^\([\d.]{1,32}\) (\S{1,64}) ", re.MULTILINE)
_CHUNK = 1 << 20
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
    try:
        if path.name.lower().endswith((".log", ".log.gz")):
            opener = gzip.open if path.suffix.lower() == ".gz" else open
            with opener(path, "rb") as file:
                rest = b""
                # A line may be cut in two by a chunk's end: the rest goes before the next one.
                while chunk := file.read1(_CHUNK):
                    lines, _, rest = (rest + chunk).rpartition(b"\n")
                    found |= {name.decode(errors="replace") for name in _CANDUMP.findall(lines)}
                    if len(found) > _MOST or len(rest) > _CHUNK:
                        raise RecordingError(f"{path}: this is no recording in candump's form")
        else:
            with can.LogReader(path) as reader:
                for message in reader:
                    found.add(str(message.channel))
    except RecordingError:
        raise
    except EOFError:
        pass  # What can be read is used; the source tells where it ends.
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        if not found:
            raise RecordingError(
                f"{path}: no recording that can be read ({type(error).__name__})"
            ) from error
    return sorted(found)
