"""The work on ext4 on a disk that keeps a record."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .fuse import Mark, Served, Step
from .scenario import Ended, Scenario, Tell, in_child
from .states import OURS, marks
from .system import end_with_parent, loop, mount, unmount

# Without auto_da_alloc ext4 does what POSIX promises, and nothing out of kindness.
OPTIONS = "noauto_da_alloc"
_BEGIN = f"{OURS}the work begins"
ENDED = f"{OURS}the work has ended"
_PAUSE = 0.004


class Places:
    """The paths that a row works with; the same in every process, whatever is mounted there."""

    def __init__(self, root: Path) -> None:
        """Make them.

        Args:
            root: An empty folder.
        """
        self.fuse = root / "fuse"
        self.mount = root / "disk"
        self.memory = root / "memory"
        for folder in (self.fuse, self.mount, self.memory):
            folder.mkdir()

    @property
    def work(self) -> Path:
        """The scenario's folder."""
        return self.mount / "work"


@dataclass(frozen=True, slots=True)
class Record:
    """What was done to a disk.

    Attributes:
        image: The disk before it.
        steps: All that was done.
        start: The steps before this one are not the work's.
        last: The disk after it.
        ended: How the work ended.
    """

    image: bytes
    steps: Sequence[Step]
    start: int
    last: bytes
    ended: Ended

    @property
    def told(self) -> list[str]:
        """All that the work has told."""
        return marks(self.steps, len(self.steps))


def fresh(scenario: Scenario, places: Places, size: int) -> bytes:
    """A disk of that many MiB on which the scenario is set up."""
    path = places.memory / "fresh"
    path.touch()
    os.truncate(path, size << 20)
    options = ["-b", "4096", "-m", "0", "-O", "^resize_inode"]
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    command = ["mkfs.ext4", "-q", "-F", *options, "-E", lazy, str(path)]
    subprocess.run(command, check=True)
    with loop(path) as device:
        mount(device, places.mount, "ext4", OPTIONS)
    places.work.mkdir()
    ended = in_child(lambda: scenario.setup(places.work))
    unmount(places.mount)
    if ended != Ended():
        raise RuntimeError(f"{scenario.name} cannot be set up: {ended}")
    image = path.read_bytes()
    path.unlink()
    return image


def record(
    scenario: Scenario,
    places: Places,
    image: bytes,
    *,
    recovery: bool = False,
    broken: int | None = None,
    glitch: int | None = None,
    alone: bool = False,
) -> Record:
    """Do the work, or the recovery, on a disk that keeps a record.

    A neighbour on the same disk has the file system's journal committed all the while, as the
    rest of a vehicle does: what was renamed becomes safe without what was written.

    On a disk that breaks there is none.  Linux tells of a failed commit the one alone who waits
    for it: a folder's fsync just after it is said to have been done (jbd2_complete_transaction,
    seen on 6.18), and nobody who works on the folder can find out.

    Args:
        scenario: Whose work.
        places: Where.
        image: The disk before it.
        recovery: Do the recovery, and not the work.
        broken: The first write that the disk does not take, nor any after it.
        glitch: The write or flush that fails, once.
        alone: Without the neighbour also on a disk that does not break.
    """
    alone = alone or broken is not None or glitch is not None
    served = Served(image, places.fuse, broken, glitch)
    with loop(served.file) as device:
        mount(device, places.mount, "ext4", OPTIONS)
    descriptor = os.open(served.marks, os.O_WRONLY | os.O_CLOEXEC)
    tell: Tell = lambda text: (os.pwritev(descriptor, [text.encode()], 0), None)[1]  # noqa: E731
    neighbour = None if alone else _neighbour(places.mount / "neighbour")
    tell(_BEGIN)
    work = scenario.recover if recovery else scenario.run
    ended = in_child(lambda: work(places.work, tell))
    if neighbour is not None:
        os.kill(neighbour, signal.SIGKILL)
        os.waitpid(neighbour, 0)
    # Once more when the work is over: what it has forgotten to make safe is still not safe.
    if not alone:
        _commit(places.mount / "neighbour", 0)
    tell(ENDED)
    os.close(descriptor)
    unmount(places.mount)
    unmount(places.fuse, lazily=True)
    last, steps = served.finish()
    start = next(i for i, step in enumerate(steps) if step == Mark(_BEGIN))
    del steps[start]
    return Record(image, steps, start, last, ended)


def _neighbour(path: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            end_with_parent()
            for number in itertools.count(1):
                _commit(path, number)
                time.sleep(_PAUSE)
        finally:
            os._exit(0)
    return pid


def _commit(path: Path, number: int) -> None:
    # A disk that is broken on purpose does not take it.
    with suppress(OSError), path.open("wb", buffering=0) as file:
        file.write(b"%d" % number)
        os.fsync(file.fileno())
