"""What is run, cheapest first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .calls import DISK, SPACE, fail_everywhere, kill_everywhere, kill_twice
from .controls import Replacing
from .metadata import Checking
from .outbox import Sending
from .record import Places, Record, fresh, record
from .replay import Plan, replay, replay_twice
from .resources import broken_disk, few_descriptors, read_only, small_disk
from .scenario import Ended, Scenario
from .shares import Found

Progress = Callable[[int], None]
Work = Callable[[Places, bool, Progress], Found]

_MOUNTS = ("/dev/loop-control",)
_CRASH = ("/dev/fuse", "/dev/loop-control", "mkfs.ext4", "e2fsck")


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of fault done to one kind of work.

    Attributes:
        name: To pick it by.
        what: In words.
        needs: Commands, and files by their paths, without which it cannot be run.
        work: Does it; with True few tries, to see that it works at all.
    """

    name: str
    what: str
    needs: Sequence[str]
    work: Work

    def missing(self) -> str | None:
        """Why it cannot be run here, or None."""
        if os.geteuid() != 0:
            return "only root may mount"
        for need in self.needs:
            if not (Path(need).exists() if need.startswith("/") else shutil.which(need)):
                return f"no {need} here"
        return None


def _whole(scenario: Scenario, places: Places, size: int) -> Record:
    """A record of the work in which nothing goes wrong."""
    taken = record(scenario, places, fresh(scenario, places, size))
    if taken.ended != Ended():
        raise RuntimeError(f"{scenario.name} does not do by itself: {taken.ended}")
    return taken


def crash(scenario: Scenario, limit: int, *, draws: int = 3, size: int = 16) -> Work:
    """Power cuts at block level."""

    def work(places: Places, short: bool, progress: Progress) -> Found:
        taken = _whole(scenario, places, size)
        return replay(scenario, taken, places, Plan(80 if short else limit, draws), progress)

    return work


def crash_twice(scenario: Scenario, outer: int, inner: int, *, size: int = 16) -> Work:
    """Power cuts at block level, and again during the recovery."""

    def work(places: Places, short: bool, progress: Progress) -> Found:
        taken = _whole(scenario, places, size)
        plan = Plan(4 if short else outer)
        return replay_twice(scenario, taken, places, plan, 6 if short else inner, progress)

    return work


def kill(scenario: Scenario) -> Work:
    """SIGKILL at every call."""
    return lambda places, short, progress: kill_everywhere(
        scenario, places, 30 if short else 1_000_000, progress
    )


def kill_again(scenario: Scenario, outer: int, inner: int) -> Work:
    """SIGKILL at a call of the work, then at one of the recovery."""
    return lambda places, short, progress: kill_twice(
        scenario, places, 4 if short else outer, 4 if short else inner, progress
    )


def fail(scenario: Scenario, calls: Sequence[str], error: str) -> Work:
    """An error at every call."""
    return lambda places, short, progress: fail_everywhere(
        scenario, places, calls, error, 20 if short else 1_000_000, progress
    )


def control(work: Work) -> Work:
    """Work that is wrong: the violation is to find nothing wrong."""

    def inverse(places: Places, short: bool, progress: Progress) -> Found:
        found = work(places, short, progress)
        words = [] if found.violations else ["nothing was found where something is wrong"]
        return Found(found.tried, len(words), words)

    return inverse


def rows_of(scenario: Scenario, what: str, limit: int) -> list[Row]:
    """Every kind of fault."""
    name = scenario.name
    return [
        Row(
            f"{name}-read-only",
            f"{what}: the disk cannot be written to",
            _MOUNTS,
            lambda places, _short, _progress: read_only(scenario, places),
        ),
        Row(
            f"{name}-descriptors",
            f"{what}: few descriptors are left, from none to 20",
            (),
            lambda places, short, progress: few_descriptors(
                scenario, places, 6 if short else 20, progress
            ),
        ),
        Row(
            f"{name}-full",
            f"{what}: the disk is full, at every size",
            _MOUNTS,
            lambda places, short, progress: small_disk(
                scenario, places, 8 if short else 200, progress
            ),
        ),
        Row(
            f"{name}-broken",
            f"{what}: the disk takes nothing more from one write on, at every write",
            _CRASH,
            lambda places, short, progress: broken_disk(
                scenario, places, 10 if short else 1_000_000, progress
            ),
        ),
        Row(
            f"{name}-no-space",
            f"{what}: ENOSPC once, at every call that needs space",
            ("strace",),
            fail(scenario, SPACE, "ENOSPC"),
        ),
        Row(
            f"{name}-input-output",
            f"{what}: EIO once, at every call that asks the disk",
            ("strace",),
            fail(scenario, DISK, "EIO"),
        ),
        Row(
            f"{name}-kill",
            f"{what}: SIGKILL at every call that changes the disk",
            ("strace",),
            kill(scenario),
        ),
        Row(
            f"{name}-kill-twice",
            f"{what}: SIGKILL, then SIGKILL in the recovery",
            ("strace",),
            kill_again(scenario, 40, 10),
        ),
        Row(
            f"{name}-crash",
            f"{what}: power cut, every disk that it may leave",
            _CRASH,
            crash(scenario, limit),
        ),
        Row(
            f"{name}-crash-twice",
            f"{what}: power cut, then power cut in the recovery",
            _CRASH,
            crash_twice(scenario, 40, 15),
        ),
    ]


ROWS: Sequence[Row] = (
    Row(
        "control-wrong",
        "control, rename without fsync: must be found wrong",
        _CRASH,
        control(crash(Replacing(synced=False), 10_000)),
    ),
    Row(
        "control-right",
        "control, fsync, rename, fsync of the folder: must be found right",
        _CRASH,
        crash(Replacing(synced=True), 10_000),
    ),
    *rows_of(Sending(), "the outbox", 1_000),
    *rows_of(Checking(), "looking for updates", 1_000),
)
