"""What waits in the outbox, in memory: a scan at the start is cheaper than an index on flash."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Container, Iterator

from bordnetz.edge.segment import PRIORITIES, Row
from bordnetz.edge.table import Table

_MANY = 1024
"""Numbers in front of a line from which on it pays to clear them away."""


class Index:
    """The messages that wait, those of each priority in a line.

    Attributes:
        gone: Numbers of messages in the log that do not wait any more, which has to be written.
        used: Bytes that those that wait take.
        content: The number of the message of each content that others may need.
        needed: How many need each content.
    """

    def __init__(self, table: Table, gone: set[int]) -> None:
        """All that is in the log and not gone.

        Args:
            table: Of the log, which keeps it up to date.
            gone: As above.
        """
        self.gone = gone
        self.used = 0
        self.content: dict[bytes, int] = {}
        self.needed: Counter[bytes] = Counter()
        self._table = table
        # Numbers, ascending; those that do not wait any more are cleared away at either end.
        self._lines = {priority: array("Q") for priority in PRIORITIES}
        self._heads = dict.fromkeys(PRIORITIES, 0)
        self._counts = dict.fromkeys(PRIORITIES, 0)
        for row in table.rows():
            if row.number not in gone:
                self.add(row)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __contains__(self, number: int) -> bool:
        return number in self._table and number not in self.gone

    def __iter__(self) -> Iterator[int]:
        """Numbers of the messages, ascending."""
        return (number for number in self._table if number not in self.gone)

    def __getitem__(self, number: int) -> Row:
        return self._table.row(number)

    def counts(self) -> dict[int, int]:
        """Messages by priority, zeros left out."""
        return {priority: count for priority, count in self._counts.items() if count}

    def add(self, row: Row) -> None:
        """A message is in the log, the newest of its priority."""
        self._lines[row.priority].append(row.number)
        self._counts[row.priority] += 1
        self.used += row.size
        if row.content is not None:
            self.content[row.content] = row.number
        if row.needs is not None:
            self.needed[row.needs] += 1

    def leave(self, number: int) -> None:
        """A message does not wait any more, and is still in the log."""
        self.remove(self[number])
        self.gone.add(number)

    def remove(self, row: Row) -> None:
        """A message does not wait any more, and is not in the log any more, or soon will not be."""
        self._counts[row.priority] -= 1
        self.used -= row.size
        if row.content is not None and self.content.get(row.content) == row.number:
            del self.content[row.content]
        if row.needs is not None:
            self.needed[row.needs] -= 1
            if not self.needed[row.needs]:
                del self.needed[row.needs]

    def waiting(
        self, priority: int, taken: Container[int], *, newest_first: bool = False
    ) -> Iterator[Row]:
        """Those of one priority that are not taken; nothing may be added or removed meanwhile."""
        line = self._lines[priority]
        self._trim(priority)
        places = range(self._heads[priority], len(line))
        for place in reversed(places) if newest_first else places:
            number = line[place]
            if number not in taken and number in self:
                yield self[number]

    def older(self, since: float, taken: Container[int]) -> list[Row]:
        """Those stored before a time that are neither taken nor needed by others."""
        found = []
        for priority in PRIORITIES:
            for row in self.waiting(priority, ()):
                if row.since >= since:
                    break
                needed = row.content is not None and self.needed[row.content]
                if not needed and row.number not in taken:
                    found.append(row)
        return found

    def room_for(self, newcomer: Row, budget: int, taken: Container[int]) -> list[Row] | None:
        """Which messages must go for the newcomer; None if it must not come itself."""
        out: list[Row] = []
        excess = self.used + newcomer.size - budget
        if excess <= 0:
            return out
        if newcomer.size > budget:
            return None
        needed = self.needed.copy()
        if newcomer.needs is not None:
            needed[newcomer.needs] += 1
        passed_over: list[Row] = []
        for priority in reversed(PRIORITIES[newcomer.priority :]):
            for row in self.waiting(priority, taken):
                if row.content is not None and needed[row.content]:
                    passed_over.append(row)
                    continue
                out.append(row)
                excess -= row.size
                if row.needs is not None:
                    needed[row.needs] -= 1
                if excess <= 0:
                    return out
        # What was needed may have become free with the last one that needed it.
        for row in passed_over:
            if row.content is not None and not needed[row.content]:
                out.append(row)
                excess -= row.size
                if excess <= 0:
                    return out
        return None

    def _trim(self, priority: int) -> None:
        """Let go of what does not wait any more at either end of a line."""
        line, head = self._lines[priority], self._heads[priority]
        while len(line) > head and line[-1] not in self:
            line.pop()
        while head < len(line) and line[head] not in self:
            head += 1
        if head >= _MANY or head == len(line):
            del line[:head]
            head = 0
        self._heads[priority] = head
