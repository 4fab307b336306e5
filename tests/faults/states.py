"""The disks that a power cut may leave behind, of a record of writes and flushes.

A disk keeps what was written before the last flush.  Of what came after it, it keeps what it likes:
all (as in the record), nothing, any blocks of any of the writes, and of the last write some of its
sectors.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from .fuse import Flush, Mark, Step, Write

OURS = "-- "
"""What marks begin with that are not the work's."""

SECTOR = 512
BLOCK = 4096


class Kept(Enum):
    """Which of the writes after the last flush the disk has kept."""

    ALL = "all"
    NONE = "none"
    SOME = "some"
    TORN = "torn"


@dataclass(frozen=True, slots=True)
class Cut:
    """A power cut.

    Attributes:
        position: So many steps of the record had been done.
        kept: Of the writes after the last flush.
        seed: For what is drawn.
    """

    position: int
    kept: Kept
    seed: int

    def __str__(self) -> str:
        return f"{self.position}/{self.kept.value}/{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Cut:
        """The inverse of `str`."""
        position, kept, seed = text.split("/")
        return cls(int(position), Kept(kept), int(seed))


def cuts(steps: Sequence[Step], start: int, draws: int) -> list[Cut]:
    """All cuts from a position on, with so many random losses at each."""
    found = []
    open_writes = any(isinstance(step, Write) for step in _unsafe(steps, start))
    for position in range(start, len(steps) + 1):
        last = steps[position - 1] if position > start else None
        if isinstance(last, Flush):
            open_writes = False
            continue
        open_writes = open_writes or isinstance(last, Write)
        found.append(Cut(position, Kept.ALL, 0))
        if open_writes:
            found.append(Cut(position, Kept.NONE, 0))
            found += [Cut(position, Kept.SOME, seed) for seed in range(draws)]
        if isinstance(last, Write):
            found.append(Cut(position, Kept.TORN, position))
    return found


def sample(all_cuts: Sequence[Cut], limit: int, seed: int) -> list[Cut]:
    """So many of them at most, in the order of their positions."""
    if len(all_cuts) <= limit:
        return list(all_cuts)
    chosen = random.Random(seed).sample(range(len(all_cuts)), limit)
    return [all_cuts[index] for index in sorted(chosen)]


def marks(steps: Sequence[Step], position: int) -> list[str]:
    """What the work had told by then."""
    told = [step.text for step in steps[:position] if isinstance(step, Mark)]
    return [text for text in told if not text.startswith(OURS)]


class Builder:
    """The disk's bytes after one cut after another, in the order of their positions."""

    def __init__(self, image: bytes, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._safe = bytearray(image)
        self._flushed = 0

    def build(self, cut: Cut) -> bytearray:
        """The disk after the cut, which may not lie before the one asked for last."""
        steps = self._steps
        for position in range(cut.position, self._flushed, -1):
            if isinstance(steps[position - 1], Flush):
                for step in steps[self._flushed : position]:
                    if isinstance(step, Write):
                        _put(self._safe, step)
                self._flushed = position
                break
        image = bytearray(self._safe)
        writes = [step for step in steps[self._flushed : cut.position] if isinstance(step, Write)]
        for write in _kept(writes, cut):
            _put(image, write)
        return image


def _unsafe(steps: Sequence[Step], position: int) -> list[Step]:
    """The steps after the last flush before the position."""
    for index in range(position, 0, -1):
        if isinstance(steps[index - 1], Flush):
            return list(steps[index:position])
    return list(steps[:position])


def _kept(writes: Sequence[Write], cut: Cut) -> Iterator[Write]:
    if cut.kept is Kept.ALL:
        yield from writes
    elif cut.kept is Kept.TORN:
        yield from writes[:-1]
        yield from _some([writes[-1]], SECTOR, 0.5, random.Random(cut.seed))
    elif cut.kept is Kept.SOME:
        pick = random.Random(f"{cut.position} {cut.seed}")
        yield from _some(writes, BLOCK, pick.choice([0.1, 0.5, 0.9]), pick)


def _some(writes: Sequence[Write], size: int, share: float, pick: random.Random) -> Iterator[Write]:
    """Pieces of that size of the writes, each kept with that probability."""
    for write in writes:
        offset = 0
        while offset < len(write.data):
            # ext4 writes its superblock in place and trusts the disk to take it as a whole.
            length = size if write.offset + offset else BLOCK
            if pick.random() < share:
                yield Write(write.offset + offset, write.data[offset : offset + length])
            offset += length


def _put(image: bytearray, write: Write) -> None:
    image[write.offset : write.offset + len(write.data)] = write.data
