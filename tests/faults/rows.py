"""What is run, cheapest first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .buses import bus_faults, kernel
from .calls import DISK, SPACE, fail_everywhere, kill_everywhere, kill_twice
from .campaign import Fate, Updating
from .clocks import clock_jumps
from .controls import Overwriting, Replacing
from .doors import DOORS
from .hostile import hostile
from .knobs import hub_knobs
from .metadata import Checking
from .outbox import Losing, Persisting, Sending
from .record import Places, Record, fresh, record
from .replay import Plan, replay, replay_twice
from .resources import (
    broken_disk,
    failing_disk,
    few_descriptors,
    read_only,
    short_files,
    small_disk,
)
from .scenario import Ended, Scenario
from .shares import Found
from .soak import soak
from .suites import suite
from .wear import SIZES, wear

Progress = Callable[[int], None]
Work = Callable[[Places, bool, Progress], Found]

_CRASH = ("/dev/fuse", "/dev/loop-control", "mkfs.ext4", "e2fsck")

_CALLS = ("strace", "/dev/loop-control", "mkfs.ext4")
_BRIEF = (Fate.FORGED.value, Fate.FIRST.value, Losing.name)
_BASIC = ("kill", "crash")
_FIRM = ("kill", "kill-twice", "crash", "crash-twice")


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of fault done to one kind of work.

    Attributes:
        name: To pick it by.
        what: In words.
        needs: Commands, and files by their paths, without which it cannot be run.
        work: Does it; with True few tries, to see that it works at all.
        short: Whether there is a short form; else these are tests of ``make test`` already.
    """

    name: str
    what: str
    needs: Sequence[str]
    work: Work
    short: bool = True

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
        return replay(scenario, taken, places, Plan(16 if short else limit, draws), progress)

    return work


def crash_twice(scenario: Scenario, outer: int, inner: int, *, size: int = 16) -> Work:
    """Power cuts at block level, and again during the recovery."""

    def work(places: Places, short: bool, progress: Progress) -> Found:
        taken = _whole(scenario, places, size)
        plan = Plan(2 if short else outer)
        return replay_twice(scenario, taken, places, plan, 4 if short else inner, progress)

    return work


def kill(scenario: Scenario) -> Work:
    """SIGKILL at every call."""
    return lambda places, short, progress: kill_everywhere(
        scenario, places, 6 if short else 1_000_000, progress
    )


def kill_again(scenario: Scenario, outer: int, inner: int) -> Work:
    """SIGKILL at a call of the work, then at one of the recovery."""
    return lambda places, short, progress: kill_twice(
        scenario, places, 3 if short else outer, 3 if short else inner, progress
    )


def fail(scenario: Scenario, calls: Sequence[str], error: str) -> Work:
    """An error at every call."""
    return lambda places, short, progress: fail_everywhere(
        scenario, places, calls, error, 6 if short else 1_000_000, progress
    )


def _kill_telemetry(places: Places, short: bool, progress: Progress) -> Found:
    # The helpers of telemetry's tests are on the path of `make faults` alone.
    from .killed import kill_telemetry

    return kill_telemetry(places, 8 if short else 320, progress)


def _cut_machine(places: Places, short: bool, progress: Progress) -> Found:
    from .machine import cut_power

    return cut_power(places, 2 if short else 54, progress)


def control(work: Work) -> Work:
    """Work that is wrong: the violation is to find nothing wrong."""

    def inverse(places: Places, short: bool, progress: Progress) -> Found:
        with TemporaryDirectory() as elsewhere, chdir(elsewhere):
            found = work(places, short, progress)
        words = [] if found.violations else ["nothing was found where something is wrong"]
        return Found(found.tried, len(words), words)

    return inverse


def _kinds(limit: int) -> list[tuple[str, str, Sequence[str], Callable[[Scenario], Work]]]:
    """Every kind of fault, cheapest first: name, words, needs, work.

    Args:
        limit: Power cuts to try.
    """
    return [
        (
            "read-only",
            "the disk cannot be written to",
            (),
            lambda scenario: lambda places, _short, _progress: read_only(scenario, places),
        ),
        (
            "descriptors",
            "few descriptors are left, from none to 20",
            (),
            lambda scenario: (
                lambda places, short, progress: few_descriptors(
                    scenario, places, 4 if short else 20, progress
                )
            ),
        ),
        (
            "full",
            "the disk is full, at every size",
            (),
            lambda scenario: (
                lambda places, short, progress: small_disk(
                    scenario, places, 2 if short else 80, progress
                )
            ),
        ),
        (
            "broken",
            "the disk takes nothing more from one write on",
            _CRASH,
            lambda scenario: (
                lambda places, short, progress: broken_disk(
                    scenario, places, 3 if short else 300, progress
                )
            ),
        ),
        (
            "no-space",
            "ENOSPC once, at every call that needs space",
            _CALLS,
            lambda scenario: fail(scenario, SPACE, "ENOSPC"),
        ),
        (
            "input-output",
            "EIO once, at every call that asks the disk",
            _CALLS,
            lambda scenario: fail(scenario, DISK, "EIO"),
        ),
        ("kill", "SIGKILL at every call that changes the disk", _CALLS, kill),
        (
            "kill-twice",
            "SIGKILL, then SIGKILL in the recovery",
            _CALLS,
            lambda scenario: kill_again(scenario, 40, 10),
        ),
        (
            "crash",
            "power cut, every disk that it may leave",
            _CRASH,
            lambda scenario: crash(scenario, limit),
        ),
        (
            "crash-twice",
            "power cut, then power cut in the recovery",
            _CRASH,
            lambda scenario: crash_twice(scenario, 40, 15),
        ),
    ]


def _rows() -> Iterator[Row]:
    yield Row(
        "attacks",
        "every attack of the Uptane threat list, with every set of keys that it must withstand",
        (),
        suite("tests/uptane/test_trust_attacks.py"),
        short=False,
    )
    yield Row(
        "hostile-server",
        "endless, slow, torn, changed, replayed, expired: servers and sticks that misbehave",
        (),
        suite(
            "tests/ota/test_source_http.py",
            "tests/ota/test_source_folder.py",
            "tests/ota/test_download.py",
            "tests/ota/test_payloads.py",
        ),
        short=False,
    )
    yield Row(
        "engine-deaths",
        "the job engine ends at every moment, with every kind of target failing at every verb",
        (),
        suite("tests/ota/test_engine_crashes.py"),
        short=False,
    )
    yield Row(
        "control-wrong",
        "control, rename without fsync: must be found wrong",
        _CRASH,
        control(crash(Replacing(synced=False), 10_000)),
    )
    yield Row(
        "control-kill",
        "control, a file overwritten in two pieces and killed: must be found wrong",
        _CALLS,
        control(kill(Overwriting())),
    )
    yield Row(
        "control-right",
        "control, fsync, rename, fsync of the folder: must be found right",
        _CRASH,
        crash(Replacing(synced=True), 10_000),
    )
    # Of each: what is done to a machine that works, and to one with a disk that does not.
    pairs: Sequence[tuple[Scenario, Scenario, str, int]] = (
        (sending := Sending(), sending, "the outbox", 1_200),
        (losing := Losing(), losing, "an outbox that is full", 400),
        (checking := Checking(), checking, "looking for updates", 1_000),
        (
            whole := Updating(Fate.WELL, again=False),
            well := Updating(Fate.WELL, again=True),
            "a campaign for two targets",
            2_400,
        ),
        (
            Updating(Fate.ILL, again=False),
            Updating(Fate.ILL, again=True),
            "a campaign whose second target fails",
            1_000,
        ),
        (
            Updating(Fate.FORGED, again=False),
            Updating(Fate.FORGED, again=True),
            "a campaign with a forged payload",
            400,
        ),
        (
            Updating(Fate.FIRST, again=False),
            Updating(Fate.FIRST, again=True),
            "the first start of a car, and its first campaign",
            800,
        ),
    )
    yield Row(
        "campaign-clock",
        "a campaign for two targets: SIGKILL, then the clock is off by years at the next start",
        _CALLS,
        lambda places, short, progress: clock_jumps(well, places, 2 if short else 30, progress),
    )
    yield Row(
        "outbox-wear",
        "bytes written to flash: 1.5 x payload and 10 KiB a commit at most",
        _CRASH,
        wear(SIZES),
    )
    yield Row(
        "outbox-short-files",
        "the outbox: files may not get longer, from 0 bytes on",
        (),
        lambda places, short, progress: short_files(sending, places, 6 if short else 60, progress),
    )
    yield Row(
        "outbox-failing",
        "the outbox: each write and flush of the disk fails once, stored again, then power cut",
        _CRASH,
        lambda places, short, progress: failing_disk(
            Persisting(), places, 4 if short else 1_000, progress
        ),
    )
    for name, calls, error, what in (
        ("outbox-persisting-no-space", SPACE, "ENOSPC", "that needs space"),
        ("outbox-persisting-input-output", DISK, "EIO", "that asks the disk"),
    ):
        yield Row(
            name,
            f"the outbox: {error} once, at every call {what}; stored again by the same process",
            _CALLS,
            fail(Persisting(), calls, error),
        )
    for number in range(len(_kinds(0))):
        for firm, patient, what, limit in pairs:
            name, words, needs, work = _kinds(limit)[number]
            scenario = firm if name in _FIRM else patient
            if scenario.name in _BRIEF and name not in _BASIC:
                continue
            short = name in _BASIC or scenario in (sending, whole, well)
            full = f"{scenario.name}-{name}"
            yield Row(full, f"{what}: {words}", needs, work(scenario), short=short)
    for door in DOORS:
        yield Row(
            f"hostile-{door.name}",
            f"{door.what}, made worse in every way: read, or refused with its error",
            (),
            hostile(door.name, 100_000),
        )
    yield Row(
        "telemetry-kill",
        "telemetry with a hub and a bus: SIGKILL at each commit, send, acknowledgement, at random",
        (),
        _kill_telemetry,
    )
    yield Row(
        "buses",
        "interfaces down and up, floods, bus-off, wrong bit rates, DBC files swapped under load",
        (kernel(),),
        bus_faults(
            {"down-up": 60, "flood": 10, "bus-off": 60, "wrong-bitrate": 30, "dbc-swap": 60}
        ),
    )
    yield Row(
        "machine-power-cut",
        "telemetry, a hub, a bus and their kernel: power cut at each step and at random",
        (kernel(), *_CRASH),
        _cut_machine,
    )
    yield Row(
        "soak",
        "three days of a car: drives, tunnels, nights, other keys; memory, disk and the books",
        (kernel(), "mkfs.ext4"),
        soak,
    )
    yield Row(
        "hub-knobs",
        "each fault of the hub, alone and in pairs, for up to an hour: nothing lost, all as before",
        (kernel(),),
        hub_knobs,
    )


ROWS: Sequence[Row] = tuple(_rows())
