"""When the power of a machine is cut, and what its disk loses."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .killed import AT_RANDOM, POINTS
from .states import Kept

UNFLUSHED = "commit-unflushed"
"""On the disk, which has not been asked to flush it (`machine_telemetry`)."""
_ALONE = (UNFLUSHED, *POINTS[:3])
"""What is passed without a hub."""
_MOST = 12
"""How often a point is passed before it is the last, at most; those of a commit three times it."""
_LOSSES = (Kept.SOME, Kept.NONE, Kept.TORN, Kept.ALL)


@dataclass(frozen=True, slots=True)
class Cut:
    """One of them.

    Attributes:
        turn: Which of all it is.
        hub: Whether there is a hub in this life.
        point: Where telemetry is at that moment, or at random.
        number: It is there for that time.
        kept: Of what the disk has not flushed.
    """

    turn: int
    hub: bool
    point: str
    number: int
    kept: Kept

    def __str__(self) -> str:
        hub = "a hub" if self.hub else "no hub"
        where = f"{self.point}:{self.number}"
        return f"cut {self.turn} at {where}, {hub}, unflushed kept: {self.kept.value}"


def cuts(count: int) -> list[Cut]:
    """So many, with a hub and without in turn, at every point and at random, with any loss."""
    found = []
    for turn in range(count):
        hub = turn % 2 == 0
        points = (UNFLUSHED, *POINTS, AT_RANDOM) if hub else (*_ALONE, AT_RANDOM)
        tour, place = divmod(turn // 2, len(points))
        # Commits go on until some is acknowledged, or much waits.
        most = _MOST * (3 if points[place] in _ALONE else 1)
        number = random.Random(turn).randint(1, most)
        kept = _LOSSES[(tour + place) % len(_LOSSES)]
        found.append(Cut(turn, hub, points[place], number, kept))
    return found
