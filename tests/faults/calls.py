"""The work under strace: the process is killed at its n-th call of a kind, or the call fails."""

from __future__ import annotations

import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .record import Places, fresh
from .scenario import Child, Ended, Scenario, Tell, aftermath, in_child, telling, told
from .shares import Found, shared
from .system import loop, mount, unmount

CHANGING = (
    "write",
    "pwrite64",
    "writev",
    "copy_file_range",
    "sendfile",
    "fallocate",
    "ftruncate",
    "truncate",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "chmod",
    "fchmod",
    "fchmodat",
    "utimensat",
)
"""Calls after each of which the disk is another one."""

SPACE = (
    "write",
    "pwrite64",
    "writev",
    "copy_file_range",
    "fallocate",
    "mkdir",
    "symlink",
    "rename",
)
DISK = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "unlink",
    "openat",
    "pread64",
)

SIZE = 16
"""MiB of the disk."""

_LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")


@dataclass(frozen=True, slots=True)
class Point:
    """The n-th call of one kind by one thread, from 1.

    Attributes:
        call: Its name.
        number: n.
        text: Its arguments, as strace shows them.
    """

    call: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.call} {self.number} ({self.text})"


def traced(
    work: Callable[[], None], calls: Iterable[str], output: Path, injection: str | None = None
) -> Ended:
    """Run it in a child under strace, from its first step on.

    Args:
        work: What to do.
        calls: The calls that are written down.
        output: Where to.
        injection: What is done at which call, as strace takes it.
    """
    child = Child(work, held=True)
    command = ["strace", "-f", "-o", str(output), "-s", "24", "-e", f"trace={','.join(calls)}"]
    # Programs that it starts are let go: each has a count of its own, so that a fault would strike
    # twice, and one that strikes a health check is that check's verdict.
    command += ["-e", "signal=none", "-b", "execve"]
    if injection is not None:
        command += ["-e", f"inject={injection}"]
    with subprocess.Popen([*command, "-p", str(child.pid)], stderr=subprocess.PIPE) as strace:
        assert strace.stderr is not None
        first = strace.stderr.readline()
        child.go()
        ended = child.wait()
        strace.stderr.read()
    if b"attached" not in first:
        raise RuntimeError(f"strace does not trace: {first.decode()}")
    return ended


def kill_points(work: Callable[[], None], calls: Sequence[str], scratch: Path) -> list[Point]:
    """Every call of those kinds that the work makes."""
    ended = traced(work, calls, scratch)
    if ended != Ended():
        raise RuntimeError(f"the work does not do by itself: {ended}")
    counts: Counter[tuple[str, str]] = Counter()
    points: dict[tuple[str, int], Point] = {}
    for line in scratch.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        thread, call, text = match.groups()
        counts[thread, call] += 1
        number = counts[thread, call]
        points.setdefault((call, number), Point(call, number, text.rpartition(") = ")[0][:90]))
    return list(points.values())


class Stage:
    """The scenario's folder on ext4, laid anew for every try, to the last inode."""

    def __init__(self, scenario: Scenario, places: Places, image: bytes) -> None:
        """Nothing is mounted yet.

        Args:
            scenario: What is done.
            places: Where.
            image: The disk on which it is set up.
        """
        self._scenario = scenario
        self._places = places
        self._image = image
        self._lines = places.memory / "told"
        self._trace = places.memory / "trace"

    @contextmanager
    def laid(self) -> Iterator[None]:
        """Everything as it was set up, and nothing told."""
        path = self._places.memory / "stage"
        with path.open("wb", buffering=0) as file:
            file.write(self._image)
        self._lines.unlink(missing_ok=True)
        with loop(path) as device:
            mount(device, self._places.mount, "ext4")
        try:
            yield
        finally:
            unmount(self._places.mount)

    def run(self, calls: Sequence[str], injection: str | None, *, recovery: bool = False) -> Ended:
        """The work, or the recovery, under strace."""
        with self._work(recovery=recovery) as work:
            return traced(work, calls, self._trace, injection)

    def points(self, calls: Sequence[str], *, recovery: bool = False) -> list[Point]:
        """Every call that the work makes, or the recovery."""
        with self._work(recovery=recovery) as work:
            return kill_points(work, calls, self._trace)

    def other(self, work: Callable[[Path, Tell], None]) -> Ended:
        """Something else on the same folder, without strace."""
        with telling(self._lines) as tell:
            return in_child(lambda: work(self._places.work, tell))

    def aftermath(self) -> list[str]:
        """What is wrong after recovery."""
        return aftermath(self._scenario, self._places.work, told(self._lines))

    @contextmanager
    def _work(self, *, recovery: bool) -> Iterator[Callable[[], None]]:
        work = self._scenario.recover if recovery else self._scenario.run
        with telling(self._lines) as tell:
            yield lambda: work(self._places.work, tell)


def points_of(scenario: Scenario, where: Places, image: bytes, calls: Sequence[str]) -> list[Point]:
    stage = Stage(scenario, where, image)
    with stage.laid():
        return stage.points(calls)


def killed(point: Point) -> str:
    """For strace: the process ends there."""
    return f"{point.call}:signal=SIGKILL:when={point.number}"


def sample(points: list[Point], limit: int, seed: int) -> list[Point]:
    """So many of them at most."""
    if len(points) <= limit:
        return points
    return random.Random(seed).sample(points, limit)


def kill_everywhere(
    scenario: Scenario, where: Places, limit: int, progress: Callable[[int], None]
) -> Found:
    """Kill the work at every call that changes the disk; recover, check."""
    found = Found()
    image = fresh(scenario, where, SIZE)
    points = sample(points_of(scenario, where, image, CHANGING), limit, 1)

    def work(some: Iterable[Point], places: Places) -> Iterator[tuple[str, list[str]]]:
        stage = Stage(scenario, places, image)
        for point in some:
            with stage.laid():
                ended = stage.run(CHANGING, killed(point))
                wrong = unexpected(ended, "the work", killed=True)
                wrong += stage.aftermath()
            yield f"killed at {point}", wrong

    shared(found, points, where, work, progress)
    return found


def kill_twice(
    scenario: Scenario,
    where: Places,
    limit: int,
    inner: int,
    progress: Callable[[int], None],
) -> Found:
    """Kill the work, then the recovery: so many times for each of the first kills."""
    found = Found()
    image = fresh(scenario, where, SIZE)
    points = sample(points_of(scenario, where, image, CHANGING), limit, 2)

    def work(some: Iterable[Point], places: Places) -> Iterator[tuple[str, list[str]]]:
        stage = Stage(scenario, places, image)
        for point in some:
            with stage.laid():
                stage.run(CHANGING, killed(point))
                every = stage.points(CHANGING, recovery=True)
            for second in sample(every, inner, point.number):
                with stage.laid():
                    stage.run(CHANGING, killed(point))
                    ended = stage.run(CHANGING, killed(second), recovery=True)
                    wrong = unexpected(ended, "the recovery", killed=True)
                    wrong += stage.aftermath()
                yield f"killed at {point} then {second}", wrong

    shared(found, points, where, work, progress)
    return found


def fail_everywhere(
    scenario: Scenario,
    where: Places,
    calls: Sequence[str],
    error: str,
    limit: int,
    progress: Callable[[int], None],
) -> Found:
    """Let every call of those kinds on the disk fail once; recover, check."""
    found = Found()
    image = fresh(scenario, where, SIZE)
    points = [
        point
        for point in points_of(scenario, where, image, calls)
        if point.call != "openat" or str(where.work) in point.text
    ]
    points = sample(points, limit, 3)

    def work(some: Iterable[Point], places: Places) -> Iterator[tuple[str, list[str]]]:
        stage = Stage(scenario, places, image)
        for point in some:
            with stage.laid():
                ended = stage.run(calls, f"{point.call}:error={error}:when={point.number}")
                wrong = unexpected(ended, "the work") + stage.aftermath()
            yield f"{error} at {point}", wrong

    shared(found, points, where, work, progress)
    return found


def unexpected(ended: Ended, what: str, *, killed: bool = False) -> list[str]:
    """What is wrong with the way it ended: done or refused in words is right, a crash is not."""
    if ended.crashed is not None:
        return [f"{what} crashes: {ended.crashed}"]
    if ended.signal not in (0, 9 if killed else 0):
        return [f"{what} dies of signal {ended.signal}"]
    return []
