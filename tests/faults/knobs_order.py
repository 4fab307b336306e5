"""Whether the sender chose right: "whatever is more urgent goes first", in one priority the oldest.

Replays what a module has told (`knobs_module`).  A message that could leave may be passed over by
those that had been chosen already, which are no more than the window; a suspect, one that is not
smaller than a suspect, and one whose process has ended while it was under way, may leave at any
time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from bordnetz.edge.sender import WINDOW
from bordnetz.edge.suspects import STRIKES


def passed_over(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Messages that could have left, and how many left before them that should not have.

    Args:
        lines: All that the module has told, in order.

    Yields:
        Sequence and count, each time that a message leaves for which it is not 0.
    """
    priority: dict[int, int] = {}
    strikes: Counter[int] = Counter()
    ready: dict[int, int] = {}
    size: dict[int, int] = {}
    suspects: set[int] = set()
    least = math.inf
    """Bytes of the smallest suspect of this process: its size may be why."""
    early: set[int] = set()
    """Sent before it was told that they are stored."""
    for line in lines:
        kind, *words = line.split()
        if kind == "begins":
            # A new process suspects nobody.
            ready.update(dict.fromkeys(suspects, 0))
            suspects.clear()
            strikes.clear()
            least = math.inf
        if not words:
            continue
        sequence = int(words[0].rpartition("-")[2])
        if kind == "put":
            if sequence not in early:
                ready[sequence] = 0
            priority[sequence], size[sequence] = int(words[1]), int(words[2])
        elif kind == "sends":
            suspects.discard(sequence)
            if (count := ready.pop(sequence, 0)) and size[sequence] < least:
                yield sequence, count
            if sequence not in priority:
                early.add(sequence)
                continue
            for other in ready:
                ready[other] += (priority[other], other) < (priority[sequence], sequence)
        elif kind in {"tried", "struck"} and sequence in priority:
            strikes[sequence] += kind == "struck"
            if strikes[sequence] < STRIKES:
                ready[sequence] = 0
            else:
                suspects.add(sequence)
                least = min(least, size[sequence])


def misplaced(lines: Iterable[str]) -> dict[int, int]:
    """Messages passed over by more than the window, and by how many."""
    return {one: count for one, count in passed_over(lines) if count > WINDOW}
