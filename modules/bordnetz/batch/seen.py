"""Which messages have come: what was sent twice is read once."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict

Name = tuple[str, int, int]
"""Who sent it (device and module, as the transport tells), the outbox' id, the sequence there."""

OUTBOXES = 10_000
RUNS = 1_000


class Seen:
    """Remembers names of messages, bounded.

    Sequences come nearly in order, so an outbox is a few runs of them.  What there is no room for
    is forgotten, the oldest first: then a message is read twice, and none is ever lost.

    Args:
        outboxes: Most outboxes remembered; the one not heard of for longest makes room.
        runs: Most runs of sequences of one outbox; those of the lowest sequences make room.

    Attributes:
        forgotten: Runs that made room.
    """

    def __init__(self, outboxes: int = OUTBOXES, runs: int = RUNS) -> None:
        self.forgotten = 0
        self._outboxes = outboxes
        self._most = runs
        # Of each run the first sequence and the one after the last, in order.
        self._runs: OrderedDict[tuple[str, int], tuple[list[int], list[int]]] = OrderedDict()

    def add(self, name: Name) -> bool:
        """Remember a message.

        Returns:
            Whether it has not come before.
        """
        outbox, sequence = name[:2], name[2]
        firsts, ends = self._runs.setdefault(outbox, ([], []))
        self._runs.move_to_end(outbox)
        if len(self._runs) > self._outboxes:
            _, (lost, _) = self._runs.popitem(last=False)
            self.forgotten += len(lost)
        place = bisect_right(firsts, sequence)
        if place and sequence < ends[place - 1]:
            return False
        before = bool(place) and ends[place - 1] == sequence
        after = place < len(firsts) and firsts[place] == sequence + 1
        if before and after:
            ends[place - 1] = ends.pop(place)
            del firsts[place]
        elif before:
            ends[place - 1] += 1
        elif after:
            firsts[place] = sequence
        else:
            firsts.insert(place, sequence)
            ends.insert(place, sequence + 1)
            if len(firsts) > self._most:
                del firsts[0], ends[0]
                self.forgotten += 1
        return True
