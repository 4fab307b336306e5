"""A system clock that jumps by years, between a kill and the next start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product

from .calls import CHANGING, SIZE, Point, Stage, killed, points_of, sample, unexpected
from .campaign import Updating
from .record import Places, fresh
from .shares import Found, shared

_YEAR = 365 * 86_400
JUMPS = (-50 * _YEAR, -10 * _YEAR, -86_400, 86_400, 10 * _YEAR, 80 * _YEAR)
"""Seconds; the first are those of a clock that has forgotten everything."""


def clock_jumps(
    scenario: Updating, where: Places, limit: int, progress: Callable[[int], None]
) -> Found:
    """Kill the work, start with a clock that is wrong, then with one that is right; check."""
    found = Found()
    image = fresh(scenario, where, SIZE)
    points = sample(points_of(scenario, where, image, CHANGING), limit, 4)

    def work(some: Iterable[tuple[Point, int]], places: Places) -> Iterator[tuple[str, list[str]]]:
        stage = Stage(scenario, places, image)
        for point, seconds in some:
            with stage.laid():
                stage.run(CHANGING, killed(point))
                ended = stage.other(partial(scenario.jump, seconds=seconds))
                wrong = unexpected(ended, "the start with a wrong clock") + stage.aftermath()
            yield f"killed at {point}, then the clock is off by {seconds} s", wrong

    shared(found, list(product(points, JUMPS)), where, work, progress)
    return found
