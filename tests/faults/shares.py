"""Many tries, shared among all cores; what they found, as it comes in."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

from .record import Places
from .system import end_with_parent, mount, own_mounts, unmount

T = TypeVar("T")

_KEPT = 20
"""Violations that are kept in words; all are counted."""


@dataclass(slots=True)
class Found:
    """What came of tries.

    Attributes:
        tried: How many.
        violations: How many of them found something wrong.
        words: What, of the first of them.
        figures: What was measured, in words.
    """

    tried: int = 0
    violations: int = 0
    words: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    def add(self, what: str, wrong: Sequence[str]) -> None:
        """Count one try.

        Args:
            what: Tells it from all others.
            wrong: What it found.
        """
        self.tried += 1
        if wrong:
            self.violations += 1
            if len(self.words) < _KEPT:
                self.words.append(f"{what}: {'; '.join(wrong)}")

    def join(self, other: Found) -> None:
        """Count another's tries as one's own."""
        self.tried += other.tried
        self.violations += other.violations
        self.words = (self.words + other.words)[:_KEPT]
        self.figures += other.figures


@contextmanager
def places() -> Iterator[Places]:
    """Paths to work with, and memory that is a folder; for a process with mounts of its own."""
    with tempfile.TemporaryDirectory(prefix="bordnetz-faults-", ignore_cleanup_errors=True) as name:
        found = Places(Path(name))
        mount("tmpfs", found.memory, "tmpfs", "size=75%")
        try:
            yield found
        finally:
            unmount(found.memory, lazily=True)


def shared(
    found: Found,
    items: Sequence[T],
    where: Places,
    work: Callable[[Iterable[T], Places], Iterator[tuple[str, list[str]]]],
    progress: Callable[[int], None],
) -> None:
    """Do the work on all items with a process a core, each with mounts of its own.

    Args:
        found: Where it is counted.
        items: What to try; each process gets some of them in their order.
        where: The same paths for all; the memory is each one's own.
        work: Yields for every try what it was and what is wrong.
        progress: Hears how many have been tried.

    Raises:
        RuntimeError: A process has ended before its work was done.
    """
    cores = max(1, len(os.sched_getaffinity(0)))
    # Neighbours share what they have in common, so each process gets a run of items.
    size = max(1, -(-len(items) // cores))
    running: dict[Connection, int] = {}
    for first in range(0, len(items), size):
        ours, theirs = Pipe(duplex=False)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                end_with_parent()
                ours.close()
                _serve(items[first : first + size], where, work, theirs)
                status = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        theirs.close()
        running[ours] = pid
    failed = False
    while running:
        for ready in wait(list(running)):
            try:
                found.add(*ready.recv())
                progress(found.tried)
            except EOFError:
                failed |= os.waitpid(running.pop(ready), 0)[1] != 0
    if failed:
        raise RuntimeError("a process of the harness has failed; what it said is above")


def _serve(
    items: Sequence[T],
    where: Places,
    work: Callable[[Iterable[T], Places], Iterator[tuple[str, list[str]]]],
    out: Connection,
) -> None:
    own_mounts()
    mount("tmpfs", where.memory, "tmpfs", "size=75%")
    for tried in work(items, where):
        out.send(tried)
