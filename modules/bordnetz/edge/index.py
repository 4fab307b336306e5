"""What waits in the outbox, in memory: a scan at the start is cheaper than an index on flash."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Container, Iterable, Iterator

from bordnetz.edge.segment import PRIORITIES, Row


class Index:
    """The rows of all messages that wait.

    Attributes:
        used: Bytes that they take.
        content: The number of the message of each content that others may need.
        needed: How many need each content.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.used = 0
        self.content: dict[bytes, int] = {}
        self.needed: Counter[bytes] = Counter()
        self._rows: dict[int, OrderedDict[int, Row]] = {p: OrderedDict() for p in PRIORITIES}
        self._priority: dict[int, int] = {}
        for row in rows:
            self.add(row)

    def __len__(self) -> int:
        return len(self._priority)

    def __contains__(self, number: int) -> bool:
        return number in self._priority

    def __iter__(self) -> Iterator[int]:
        """Numbers of the messages, in no order."""
        return iter(self._priority)

    def __getitem__(self, number: int) -> Row:
        return self._rows[self._priority[number]][number]

    def counts(self) -> dict[int, int]:
        """Messages by priority, zeros left out."""
        return {priority: len(rows) for priority, rows in self._rows.items() if rows}

    def add(self, row: Row) -> None:
        """Add a message, the newest of its priority."""
        self._rows[row.priority][row.number] = row
        self._priority[row.number] = row.priority
        self.used += row.size
        if row.content is not None:
            self.content[row.content] = row.number
        if row.needs is not None:
            self.needed[row.needs] += 1

    def remove(self, number: int) -> Row:
        """Remove a message; it must be there."""
        row = self._rows[self._priority.pop(number)].pop(number)
        self.used -= row.size
        if row.content is not None and self.content.get(row.content) == number:
            del self.content[row.content]
        if row.needs is not None:
            self.needed[row.needs] -= 1
            if not self.needed[row.needs]:
                del self.needed[row.needs]
        return row

    def waiting(
        self, priority: int, taken: Container[int], *, newest_first: bool = False
    ) -> Iterator[Row]:
        """Those of one priority that are not taken; nothing may be added or removed meanwhile."""
        rows = self._rows[priority]
        for number in reversed(rows) if newest_first else rows:
            if number not in taken:
                yield rows[number]

    def older(self, since: float, taken: Container[int]) -> list[Row]:
        """Those stored before a time that are neither taken nor needed by others."""
        found = []
        for rows in self._rows.values():
            for row in rows.values():
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
