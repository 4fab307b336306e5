"""A disk too small, not writable, or broken; no more descriptors."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .calls import unexpected
from .fuse import Flush, Mark, Write
from .record import ENDED, Places, fresh, record
from .replay import tried
from .scenario import Ended, Scenario, Tell, aftermath, in_child, telling, told
from .shares import Found, shared
from .states import Builder, Cut, Kept, marks
from .system import MS_RDONLY, MS_REMOUNT, mount, unmount

_ROOMY = "size=256m"
_MOST = 200 << 20
_NEVER = 1 << 60
_LONGEST = 120_000
"""Bytes of a file that all of the work gets by with."""


@contextmanager
def _laid(scenario: Scenario, places: Places) -> Iterator[Path]:
    """The scenario set up on a file system in memory; gives the file of what is told."""
    lines = places.memory / "told"
    lines.unlink(missing_ok=True)
    mount("tmpfs", places.mount, "tmpfs", _ROOMY)
    try:
        places.work.mkdir()
        ended = in_child(lambda: scenario.setup(places.work))
        if ended != Ended():
            raise RuntimeError(f"{scenario.name} cannot be set up: {ended}")
        yield lines
    finally:
        unmount(places.mount, lazily=True)


def _run(scenario: Scenario, places: Places, lines: Path) -> Ended:
    with telling(lines) as tell:
        return in_child(lambda: scenario.run(places.work, tell))


def _with_room(scenario: Scenario, places: Places, free: int) -> tuple[Ended, list[str]]:
    """How the work ends with so many bytes free, and what is wrong once there is room again."""
    with _laid(scenario, places) as lines:
        room = os.statvfs(places.mount)
        used = (room.f_blocks - room.f_bfree) * room.f_frsize
        mount("tmpfs", places.mount, "tmpfs", f"size={used + free}", MS_REMOUNT)
        ended = _run(scenario, places, lines)
        mount("tmpfs", places.mount, "tmpfs", _ROOMY, MS_REMOUNT)
        return ended, aftermath(scenario, places.work, told(lines))


def small_disk(
    scenario: Scenario, where: Places, steps: int, progress: Callable[[int], None]
) -> Found:
    """The work on a disk of every size up to where it fits; then there is room again."""
    found = Found()
    page = resource.getpagesize()

    def work(some: Iterable[int], places: Places) -> Iterator[tuple[str, list[str]]]:
        for free in some:
            ended, wrong = _with_room(scenario, places, free)
            yield f"{free} bytes free", unexpected(ended, "the work") + wrong

    need = page
    while _with_room(scenario, where, need)[0] != Ended():
        need *= 2
        if need > _MOST:
            raise RuntimeError(f"{scenario.name} is not done with {need} bytes free either")
    sizes = sorted(
        {size // page * page for size in range(0, need + page, max(page, need // steps))}
    )
    shared(found, sizes, where, work, progress)
    return found


def read_only(scenario: Scenario, where: Places) -> Found:
    """The work on a disk that was mounted for reading; then it may be written to again."""
    found = Found()
    with _laid(scenario, where) as lines:
        mount("tmpfs", where.mount, "tmpfs", _ROOMY, MS_REMOUNT | MS_RDONLY)
        ended = _run(scenario, where, lines)
        mount("tmpfs", where.mount, "tmpfs", _ROOMY, MS_REMOUNT)
        wrong = unexpected(ended, "the work")
        if ended == Ended():
            wrong.append("the work is done on a disk that cannot be written to")
        found.add("read only", wrong + aftermath(scenario, where.work, told(lines)))
    return found


def few_descriptors(
    scenario: Scenario, where: Places, most: int, progress: Callable[[int], None]
) -> Found:
    """The work with one descriptor to spare, two, and so on; then with as many as it likes."""
    found = Found()

    def work(some: Iterable[int], places: Places) -> Iterator[tuple[str, list[str]]]:
        for spare in some:
            with _laid(scenario, places) as lines, telling(lines) as tell:

                def limited(spare: int = spare, tell: Tell = tell) -> None:
                    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
                    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + spare, hard))
                    scenario.run(places.work, tell)

                wrong = unexpected(in_child(limited), "the work")
                wrong += aftermath(scenario, places.work, told(lines))
            yield f"{spare} descriptors", wrong

    shared(found, range(most), where, work, progress)
    return found


def short_files(
    scenario: Scenario, where: Places, steps: int, progress: Callable[[int], None]
) -> Found:
    """The work with files that may have so many bytes at most; then with as many as they like."""
    found = Found()

    def work(some: Iterable[int], places: Places) -> Iterator[tuple[str, list[str]]]:
        for most in some:
            with _laid(scenario, places) as lines, telling(lines) as tell:

                def limited(most: int = most, tell: Tell = tell) -> None:
                    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
                    scenario.run(places.work, tell)

                wrong = unexpected(in_child(limited), "the work")
                wrong += aftermath(scenario, places.work, told(lines))
            yield f"{most} bytes a file", wrong

    shared(found, range(0, _LONGEST, _LONGEST // steps), where, work, progress)
    return found


def broken_disk(
    scenario: Scenario, where: Places, limit: int, progress: Callable[[int], None]
) -> Found:
    """The work on ext4 on a disk that takes no more writes from one on; then it works again."""
    found = Found()
    image = fresh(scenario, where, 16)
    whole = record(scenario, where, image, broken=_NEVER)
    first = sum(isinstance(step, Write) for step in whole.steps[: whole.start])
    last = sum(isinstance(step, Write) for step in whole.steps)
    every = range(first + 1, last + 1, max(1, (last - first) // limit))

    def work(some: Iterable[int], places: Places) -> Iterator[tuple[str, list[str]]]:
        for number in some:
            taken = record(scenario, places, image, broken=number)
            wrong = unexpected(taken.ended, "the work")
            wrong += tried(scenario, taken.last, marks(taken.steps, len(taken.steps)), places)
            yield f"broken from write {number} on", wrong

    shared(found, every, where, work, progress)
    return found


def failing_disk(
    scenario: Scenario, where: Places, limit: int, progress: Callable[[int], None]
) -> Found:
    """The work on ext4 on a disk on which one write or flush fails, then a power cut at its end.

    What a sync has said to have failed stays in memory and passes for written; only what the disk
    was told to keep is there after the cut.
    """
    found = Found()
    image = fresh(scenario, where, 16)
    whole = record(scenario, where, image, alone=True)
    asked = [isinstance(step, Write | Flush) for step in whole.steps]
    first, last = sum(asked[: whole.start]), sum(asked)
    every = range(first + 1, last + 1, max(1, (last - first) // limit))

    def work(some: Iterable[int], places: Places) -> Iterator[tuple[str, list[str]]]:
        for number in some:
            taken = record(scenario, places, image, glitch=number)
            wrong = unexpected(taken.ended, "the work")
            end = taken.steps.index(Mark(ENDED))
            for kept in (Kept.NONE, Kept.ALL):
                state = Builder(taken.image, taken.steps).build(Cut(end, kept, 0))
                wrong += tried(scenario, state, marks(taken.steps, end), places)
            yield f"failing at {number}", wrong

    shared(found, every, where, work, progress)
    return found
