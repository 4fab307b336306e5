"""Where the bits of a message lie: a drawing of bytes and bits, most significant bit first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bordnetz.can.stated import StatedSignal

_BITS = 8
_INDENT = 6
_NARROWEST, _WIDEST = 3, 13
"""Columns of a bit."""
_JOINTS = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"
"""By the lines that meet: 1 up, 2 right, 4 down, 8 left."""
_FEWEST_FOLDED = 4
"""Rows of unused bytes that are drawn as one."""

Cells = list[list[tuple[str, ...]]]
"""By byte and bit, most significant bit first, the letters of the signals that lie there."""


def places(signal: StatedSignal) -> list[tuple[int, int]]:
    """Byte and bit of each bit of a signal, most significant first; bit 7 is a byte's highest."""
    if signal.big_endian:
        bits = range(signal.first, signal.first + signal.length)
        return [(bit // 8, 7 - bit % 8) for bit in bits]
    bits = range(signal.start + signal.length - 1, signal.start - 1, -1)
    return [(bit // 8, bit % 8) for bit in bits]


def draw(signals: Mapping[str, StatedSignal], rows: Sequence[int], width: int) -> Iterator[str]:
    """Draw some bytes.

    Args:
        signals: Those to show, by their letters.
        rows: Numbers of the bytes, ascending, one at least; where some are missing, there is a gap.
        width: Columns that there are.
    """
    cell = min(max((width - _INDENT - 1) // _BITS - 1, _NARROWEST), _WIDEST)
    cells = _cells(signals, rows)
    labels = _labels(signals, rows, cells, cell)
    yield (" " * (_INDENT + 1) + " ".join(f"{bit:^{cell}}" for bit in range(7, -1, -1))).rstrip()
    blank: list[tuple[str, ...] | None] = [None] * _BITS
    above, next_ = blank, rows[0]
    for first, last in _folded(rows, cells):
        if rows[first] != next_:
            yield " " * _INDENT + _border(above, blank, cell)
            above = blank
        here: list[tuple[str, ...] | None] = list(cells[first])
        yield " " * _INDENT + _border(above, here, cell)
        number = f"{rows[first]}" if first == last else f"{rows[first]}-{rows[last]}"
        yield f"{number:>{_INDENT - 1}} " + _row(cells[first], labels[first], cell)
        above, next_ = list(cells[last]), rows[last] + 1
    yield " " * _INDENT + _border(above, blank, cell)


def _cells(signals: Mapping[str, StatedSignal], rows: Sequence[int]) -> Cells:
    at = {row: index for index, row in enumerate(rows)}
    cells: Cells = [[() for _ in range(_BITS)] for _ in rows]
    for letter, signal in signals.items():
        for row, bit in places(signal):
            if row in at:
                cells[at[row]][7 - bit] += (letter,)
    return cells


def _runs(row: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, int]]:
    """First and behind the last column of cells that belong together."""
    first = 0
    for column in range(1, _BITS + 1):
        if column == _BITS or row[column] != row[first]:
            yield first, column
            first = column


def _labels(
    signals: Mapping[str, StatedSignal], rows: Sequence[int], cells: Cells, cell: int
) -> list[dict[int, str]]:
    """What is written where, by row and first column of a run."""
    labels: list[dict[int, str]] = [{} for _ in rows]
    named: set[str] = set()
    ends = {letter: (places(signal)[0], places(signal)[-1]) for letter, signal in signals.items()}
    for index, row in enumerate(cells):
        for first, behind in _runs(row):
            room = (behind - first) * (cell + 1) - 1
            here = row[first]
            text = "+".join(here)
            if len(here) == 1 and here[0] in signals:
                text = _label(here[0], signals[here[0]], room, named)
                most, least = ends[here[0]]
                several = most[0] != least[0]
                if several and (rows[index], 7 - first) == most and room >= len(text) + 6:
                    text = f"msb {text}"
                if several and (rows[index], 8 - behind) == least and room >= len(text) + 6:
                    text = f"{text:<{room - 6}} lsb"
            labels[index][first] = text[: room - 1] if len(text) > room - 1 else text
    return labels


def _label(letter: str, signal: StatedSignal, room: int, named: set[str]) -> str:
    """The letter, and where it stands first with room enough the name."""
    whole = f"{letter} {signal.name}"
    if letter in named:
        return letter
    # Half a name says little where names begin alike; its row of the table has it in full.
    if len(whole) <= room - 2:
        named.add(letter)
        return whole
    return letter


def _row(row: Sequence[tuple[str, ...]], labels: Mapping[int, str], cell: int) -> str:
    text = "│"
    for first, behind in _runs(row):
        room = (behind - first) * (cell + 1) - 1
        text += f" {labels[first]}"[:room].ljust(room) + "│"
    return text


def _border(
    above: Sequence[tuple[str, ...] | None], below: Sequence[tuple[str, ...] | None], cell: int
) -> str:
    """The line between two rows: nothing where a signal, or an empty place, goes on."""
    text = ""
    for column in range(_BITS + 1):
        left = column > 0 and above[column - 1] != below[column - 1]
        right = column < _BITS and above[column] != below[column]
        up = _stands(above, column)
        down = _stands(below, column)
        text += _JOINTS[up + 2 * right + 4 * down + 8 * left]
        if column < _BITS:
            text += ("─" if right else " ") * cell
    return text.rstrip()


def _stands(row: Sequence[tuple[str, ...] | None], column: int) -> bool:
    """Whether a row has a line before a column."""
    if row[0] is None:
        return False
    return column in (0, _BITS) or row[column - 1] != row[column]


def _folded(rows: Sequence[int], cells: Cells) -> Iterator[tuple[int, int]]:
    """First and last index of rows that are drawn as one: unused bytes that follow each other."""
    index = 0
    while index < len(rows):
        last = index
        while (
            last + 1 < len(rows)
            and rows[last + 1] == rows[last] + 1
            and not any(cells[index])
            and not any(cells[last + 1])
        ):
            last += 1
        if last - index + 1 < _FEWEST_FOLDED:
            last = index
        yield index, last
        index = last + 1
