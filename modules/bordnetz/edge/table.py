"""What is known of each stored message, in columns: a log may hold hundreds of thousands.

An object for each would take a kilobyte, here it is some 60 bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import compress
from typing import Any

from bordnetz.edge.segment import Place, Row, stored_size

_DEAD = 255
"""In the place of the priority of a message that is no more."""

_MANY = 1024
"""Dead rows from which on it pays to clear them away."""


class Table:
    """Rows and places of messages by their numbers, which ascend as messages come."""

    def __init__(self) -> None:
        self._number = array("Q")
        self._outbox = array("Q")
        self._sequence = array("Q")
        self._since = array("d")
        self._priority = array("B")
        self._content = array("I")
        self._needs = array("I")
        self._segment = array("Q")
        self._offset = array("Q")
        self._text = array("I")
        self._length = array("I")
        self._check = array("I")
        self._columns: tuple[array[Any], ...] = (
            self._number,
            self._outbox,
            self._sequence,
            self._since,
            self._priority,
            self._content,
            self._needs,
            self._segment,
            self._offset,
            self._text,
            self._length,
            self._check,
        )
        self._appends: list[Callable[[Any], None]] = [column.append for column in self._columns]
        # Of few different ones; 0 is none.
        self._digests: list[bytes | None] = [None]
        self._known: dict[bytes | None, int] = {None: 0}
        # Those that came behind others of higher numbers, until `settle`.
        self._strays: dict[int, tuple[Row, Place]] = {}
        self._dead = 0

    def __len__(self) -> int:
        return len(self._number) - self._dead + len(self._strays)

    def __contains__(self, number: int) -> bool:
        return self._find(number) is not None or number in self._strays

    def __iter__(self) -> Iterator[int]:
        """Numbers, ascending; nothing may be added or removed meanwhile."""
        self.settle()
        return (
            number
            for number, priority in zip(self._number, self._priority, strict=True)
            if priority != _DEAD
        )

    def rows(self) -> Iterator[Row]:
        """All of them, as `__iter__`."""
        self.settle()
        for number, outbox, sequence, since, priority, content, needs, length in zip(
            self._number,
            self._outbox,
            self._sequence,
            self._since,
            self._priority,
            map(self._digests.__getitem__, self._content),
            map(self._digests.__getitem__, self._needs),
            self._length,
            strict=True,
        ):
            if priority != _DEAD:
                size = stored_size(length, content, needs)
                yield Row(number, outbox, sequence, since, priority, size, content, needs)

    def row(self, number: int) -> Row:
        """What is known of a message.

        Raises:
            KeyError: There is none of that number.
        """
        at = self._find(number)
        if at is None:
            return self._strays[number][0]
        content, needs = self._digests[self._content[at]], self._digests[self._needs[at]]
        return Row(
            number,
            self._outbox[at],
            self._sequence[at],
            self._since[at],
            self._priority[at],
            stored_size(self._length[at], content, needs),
            content,
            needs,
        )

    def place(self, number: int) -> Place:
        """Where a message lies.

        Raises:
            KeyError: There is none of that number.
        """
        at = self._find(number)
        if at is None:
            return self._strays[number][1]
        where = (self._segment[at], self._offset[at])
        return Place(*where, self._text[at], self._length[at], self._check[at])

    def inside(self, segment: int) -> list[int]:
        """Numbers of the messages in a segment, ascending."""
        return [number for number in self if self.place(number).segment == segment]

    def add(self, row: Row, place: Place) -> None:
        """Add a message, or one that was removed and lies elsewhere now; it must not be there."""
        number = row.number
        if self._number and number <= self._number[-1]:
            at = bisect_left(self._number, number)
            if self._number[at] == number:
                self._dead -= 1
                for column, value in zip(self._columns, self._cells(row, place), strict=True):
                    column[at] = value
            else:
                self._strays[number] = row, place
            return
        self._append(row, place)

    def remove(self, number: int) -> Place | None:
        """Remove a message; where it was, None if it was not there."""
        at = self._find(number)
        if at is None:
            _, place = self._strays.pop(number, (None, None))
            return place
        place = self.place(number)
        self._priority[at] = _DEAD
        self._dead += 1
        if self._dead >= _MANY and 2 * self._dead >= len(self._number):
            self._clear()
        return place

    def settle(self) -> None:
        """Bring those that came late to where they belong."""
        if not self._strays:
            return
        for row, place in self._strays.values():
            self._append(row, place)
        self._strays.clear()
        order = sorted(range(len(self._number)), key=self._number.__getitem__)
        for column in self._columns:
            column[:] = array(column.typecode, map(column.__getitem__, order))

    def _append(self, row: Row, place: Place) -> None:
        for append, value in zip(self._appends, self._cells(row, place), strict=True):
            append(value)

    def _find(self, number: int) -> int | None:
        at = bisect_left(self._number, number)
        if at == len(self._number) or self._number[at] != number:
            return None
        return at if self._priority[at] != _DEAD else None

    def _clear(self) -> None:
        """Keep only what is there, with the digests that are needed."""
        alive = [priority != _DEAD for priority in self._priority]
        for column in self._columns:
            column[:] = array(column.typecode, compress(column, alive))
        self._dead = 0
        used = sorted({*self._content, *self._needs} - {0})
        digests, self._digests = self._digests, [None, *(self._digests[one] for one in used)]
        self._known = {digest: place for place, digest in enumerate(self._digests)}
        moved = [self._known.get(digest, 0) for digest in digests]
        for column in (self._content, self._needs):
            column[:] = array(column.typecode, map(moved.__getitem__, column))

    def _digest(self, digest: bytes | None) -> int:
        place = self._known.get(digest)
        if place is None:
            place = self._known[digest] = len(self._digests)
            self._digests.append(digest)
        return place

    def _cells(self, row: Row, place: Place) -> tuple[float, ...]:
        """What stands in each column."""
        number, outbox, sequence, since, priority, _, content, needs = row
        name = (number, outbox, sequence, since, priority)
        return (*name, self._digest(content), self._digest(needs), *place)
