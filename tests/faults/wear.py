"""What the outbox writes to the disk: every byte that reaches the block device, by commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Outbox

from .fuse import Mark, Write
from .record import Places, fresh, record
from .scenario import Scenario, Tell
from .shares import Found

SIZES = (500, 2_000, 11_000, 13_000, 78_000, 240_000)
FIRST = "on new blocks"
_FEW, _MANY, _LARGE = 40, 100, 50_000
"""Commits in a phase: few of large messages."""
_SHARE, _EACH = 1.5, 10 << 10
"""Bytes that may be written for each of the payload, and for each commit."""
_NEW = 1.06
"""How much more may be written the first time that a block of the disk is used at all."""
_MIB = 64


class Wearing(Scenario):
    """One message a commit, with and without a hub."""

    def __init__(self, size: int) -> None:
        self.name = f"messages of {size} bytes"
        self._size = size
        self.commits = _FEW if size > _LARGE else _MANY

    def setup(self, folder: Path) -> None:
        pass

    def run(self, folder: Path, tell: Tell) -> None:
        with Outbox(folder / "outbox", _MIB << 19) as outbox:
            for phase, acknowledged in (
                (FIRST, 0),
                ("on the way to the hub", 9),
                ("with a hub", 1),
                ("without a hub", 0),
                ("after an outage", 3),
                ("in the next outage", 0),
            ):
                tell(phase)
                for _ in range(self.commits):
                    outbox.put(lambda *_: Message("o", os.urandom(self._size)), 5)
                    for entry in outbox.take(acknowledged):
                        outbox.acknowledge(entry)
            tell("the end")

    def recover(self, folder: Path, tell: Tell) -> None:
        pass

    def check(self, folder: Path, told: Sequence[str]) -> list[str]:
        return []


def written(size: int, where: Places) -> Iterator[tuple[str, float]]:
    """Bytes written for each commit, phase by phase."""
    scenario = Wearing(size)
    taken = record(scenario, where, fresh(scenario, where, _MIB), alone=True)
    if taken.ended.refused or taken.ended.crashed:
        raise RuntimeError(f"{scenario.name}: {taken.ended}")
    phase, count = "", 0
    for step in taken.steps[taken.start :]:
        if isinstance(step, Mark):
            if phase:
                yield phase, count / scenario.commits
            phase, count = step.text, 0
            if phase == "the end":
                return
        elif isinstance(step, Write):
            count += len(step.data)


def wear(sizes: Sequence[int]) -> Callable[[Places, bool, Callable[[int], None]], Found]:
    """As a row: tried is a phase with messages of one size."""

    def work(places: Places, short: bool, progress: Callable[[int], None]) -> Found:
        found = Found()
        for size in sizes[1:3] if short else sizes:
            for phase, count in written(size, places):
                most = (_SHARE * size + _EACH) * (_NEW if phase == FIRST else 1)
                what = f"{size} bytes a commit, {phase}"
                words = f"{count:.0f} written, {most:.0f} are the most"
                found.add(what, [words] if count > most else [])
                found.figures.append(f"{what}: {count / size:.2f} x payload, {count:.0f} bytes")
                progress(found.tried)
        return found

    return work
