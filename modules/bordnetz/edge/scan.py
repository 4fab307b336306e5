"""What is on the disk of the outbox' log: its segments, and the commits in each of them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.edge.segment import (
    HEADER_BYTES,
    START,
    Commit,
    ForeignError,
    Header,
    decode,
    search,
    whole,
)

log = logging.getLogger(__name__)

SPARE = ".spare"
"""What the name of a file ends with that is to be used again."""

_NAME = re.compile(r"\d{8}\.log")


@dataclass(slots=True)
class Segment:
    """A file of the log.

    Attributes:
        path: Of it.
        header: What it says of itself.
        end: Where its commits end.
        index: Commits in it.
        live: Messages in it that are not gone.
        written: Up to where its blocks have been written once.
        sound: Whether it was begun by this process, and nothing has failed since.
    """

    path: Path
    header: Header
    end: int = START
    index: int = 0
    live: int = 0
    written: int = 0
    sound: bool = False


def name(number: int) -> str:
    """Of a segment's file."""
    return f"{number:08d}.log"


def find(folder: Path, *, changing: bool) -> tuple[list[Segment], int]:
    """The segments in a folder.

    Args:
        folder: Where they are.
        changing: Move aside what has the name of a segment and is none, and remove what is not
            needed.

    Returns:
        The segments in their order, and how many files were moved aside.

    Raises:
        OSError: The disk does not give it.
        NewerError: One is of a later version; nothing was changed.
    """
    found: list[Segment] = []
    foreign: list[tuple[Path, str]] = []
    needless: list[Path] = []
    unfinished: list[tuple[Path, Header | None]] = []
    for path in sorted(folder.iterdir()):
        if path.suffix == SPARE:
            needless.append(path)
        if not _NAME.fullmatch(path.name):
            continue
        with path.open("rb") as file:
            data = file.read(HEADER_BYTES)
        try:
            header = Header.unpack(data)
        except ForeignError as error:
            foreign.append((path, str(error)))
            continue
        if header is not None and path.name == name(header.number):
            found.append(Segment(path, header))
        else:
            unfinished.append((path, header))
    for segment in found[:-1]:
        if segment.header.outbox != found[-1].header.outbox:
            foreign.append((segment.path, "of another outbox"))
            found.remove(segment)
    for path, header in unfinished:
        if header is None and found and path.name < found[-1].path.name:
            foreign.append((path, "its header is gone"))
        else:
            # It was being made, out of one in which nothing was needed.
            needless.append(path)
    if changing:
        for path, reason in foreign:
            _move_aside(path, reason)
        for path in needless:
            path.unlink()
    return found, len(foreign)


def _move_aside(path: Path, reason: str) -> None:
    target = path.with_suffix(".foreign")
    path.replace(target)
    durable.sync_folder(path.parent)
    log.error("outbox %s: %s; moved to %s", path, reason, target.name)


def commits(segment: Segment, limit: int | None, *, last: bool) -> tuple[list[Commit], int]:
    """What is in a segment; where something is missing, what comes after it all the same.

    Args:
        segment: Which; is told where its commits end.
        limit: Where its commits end, if that is known.
        last: Whether it is the last segment, whose last sync may have failed or not been reached.

    Returns:
        The commits, and at how many places some are missing.

    Raises:
        OSError: The disk does not give it.
    """
    found: list[Commit] = []
    damaged = 0
    with opened(segment.path) as file:
        if last:
            # What the disk has not taken is in memory alone, and would be believed.
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        offset, end = START, limit or os.fstat(file).st_size
        while offset < end:
            commit = decode(file, segment.header, offset, end)
            if commit is None:
                commit = search(file, segment.header, offset, end)
                if commit is not None or limit is not None:
                    damaged += 1
                    log.error("outbox %s: damaged at byte %d", segment.path, offset)
                if commit is None:
                    break
            found.append(commit)
            offset = commit.end
        if last and found and not whole(file, found[-1]):
            offset = found.pop().offset
    segment.end = offset
    segment.index = found[-1].position + 1 if found else 0
    return found, damaged


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor to read from."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)
