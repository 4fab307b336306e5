"""A DBC file as a person reads it: messages, their signals under their multiplexers, their bits."""

from __future__ import annotations

import difflib
import itertools
import string
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from bordnetz.can.dbc import Branch, Field, Message, show_id
from bordnetz.can.errors import CatalogueError
from bordnetz.can.grid import draw, places
from bordnetz.can.j1939 import Match, parameter_group
from bordnetz.can.problem import Problem
from bordnetz.can.stated import StatedMessage, StatedSignal
from bordnetz.series import EXTENDED, Kind

_MOST_DRAWN = 64
"""Bytes of a message that are drawn, as many as a frame has."""
_MOST_BRANCHES = 256
"""Of a message, that are drawn."""
_MOST_SHARING = 8
"""Signals of which it is told that another one lies on the same bit."""
_LONGEST_UNIT = 16
"""Characters of one in the table."""
_MOST_TEXTS = 400
"""Texts of a signal that are listed."""
_KINDS = {Kind.FLOAT16: "float", Kind.FLOAT32: "float", Kind.FLOAT64: "float"}
_TITLES = ("", "signal", "start", "type", "scale", "unit", "range", "texts", "read by")
_ALWAYS = 4
"""Columns that are there however narrow the terminal is."""


@dataclass(frozen=True)
class Shown:
    """A message to show.

    Attributes:
        stated: What the file says of it.
        message: What is made of that.
        problems: What is wrong with it and with its signals.
    """

    stated: StatedMessage
    message: Message
    problems: Sequence[Problem]

    @cached_property
    def used(self) -> list[tuple[StatedSignal, Field]]:
        """Its signals that are used, by their first bits, with what is made of them."""
        fields = {field.signal.name: field for field in self.message.fields}
        # Of two of one name the first is used.
        return [
            (signal, fields.pop(signal.name))
            for signal in self.stated.signals
            if signal.name in fields
        ]


class _Line(NamedTuple):
    """A signal's place in the tree."""

    depth: int
    signal: StatedSignal
    field: Field


class _Branch(NamedTuple):
    """What is above the signals of a branch in the tree."""

    depth: int
    branch: Branch


def select(all_: Sequence[Shown], wanted: Sequence[str]) -> list[Shown]:
    """The messages that are asked for, by name, glob or id; all for no wish.

    Raises:
        CatalogueError: There is none of that name or id.
    """
    if not wanted:
        return list(all_)
    found: dict[int, Shown] = {}
    for wish in wanted:
        hits = [shown for shown in all_ if _is_meant(shown.message, wish)]
        if not hits:
            near = difflib.get_close_matches(wish, [s.message.name for s in all_], n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise CatalogueError(f"there is no message '{wish}'; name, glob or id are taken{hint}")
        found |= {shown.message.id: shown for shown in hits}
    return list(found.values())


def _is_meant(message: Message, wish: str) -> bool:
    try:
        number = int(wish, 0)
    except ValueError:
        return fnmatchcase(message.name, wish)
    return message.name == wish or number in (message.id, message.id & ~EXTENDED)


def tree(shown: Shown, width: int) -> Iterator[str]:
    """A message and its signals, a line each."""
    yield headline(shown)
    yield from _table(shown, {}, width)
    yield from _left_out(shown)


def details(shown: Shown, width: int) -> Iterator[str]:
    """A message with its bits, comments and texts of values."""
    signals = [entry for entry in _walk(shown) if isinstance(entry, _Line)]
    letters = dict(zip((line.signal.name for line in signals), _letters(), strict=False))
    yield headline(shown)
    yield from _wrapped(shown.stated.comment, width, "  ", "  ")
    yield ""
    yield from _drawings(shown, letters, width)
    yield from _table(shown, letters, width)
    yield from _overlaps(shown, letters)
    yield from _left_out(shown)
    if any(line.signal.comment or line.field.signal.choices for line in signals):
        yield ""
    for line in signals:
        first = f"  {line.signal.name}: "
        for text in (line.signal.comment, _choices(line.field)):
            if text:
                yield from _wrapped(text, width, first, "    ")
                first = "    "


def headline(shown: Shown) -> str:
    """What there is to say of a message, without its signals."""
    message, stated = shown.message, shown.stated
    words = [
        show_id(message.id),
        message.name,
        f"{message.length} byte{'s' * (message.length != 1)}",
        *([f"every {message.cycle} ms"] if message.cycle else []),
        *([f"J1939 PGN {_pgn(message)}"] if message.match is not Match.ID else []),
        *([f"sent by {stated.sender}"] if _is_node(stated.sender) else []),
    ]
    return "  ".join(words)


def document(shown: Shown) -> dict[str, Any]:
    """A message for JSON."""
    message, stated = shown.message, shown.stated
    return {
        "name": message.name,
        "id": message.id & ~EXTENDED,
        "extended": bool(message.id & EXTENDED),
        "pgn": _pgn(message) if message.match is not Match.ID else None,
        "length": message.length,
        "cycleMs": message.cycle or None,
        "sender": stated.sender if _is_node(stated.sender) else None,
        "comment": stated.comment or None,
        "line": stated.line,
        "signals": [_signal_document(signal, field) for signal, field in shown.used],
        "leftOut": [
            {"signal": problem.signal or None, "line": problem.line, "reason": problem.reason}
            for problem in shown.problems
            if not problem.mended
        ],
    }


def _signal_document(signal: StatedSignal, field: Field) -> dict[str, Any]:
    about = field.signal
    return {
        "name": about.name,
        "start": signal.start,
        "length": signal.length,
        "byteOrder": "big" if signal.big_endian else "little",
        "type": _type(field),
        "factor": about.factor,
        "offset": about.offset,
        "unit": about.unit or None,
        "minimum": field.limits[0] if field.limits else None,
        "maximum": field.limits[1] if field.limits else None,
        "choices": [{"raw": raw, "text": text} for raw, text in about.choices],
        "multiplexer": signal.selects,
        "branch": [{"signal": name, "values": list(values)} for name, values in field.branch],
        "receivers": _receivers(signal),
        "comment": signal.comment or None,
        "line": signal.line,
    }


def _letters() -> Iterator[str]:
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_uppercase, repeat=length))


def _pgn(message: Message) -> int:
    return int(parameter_group(np.array([message.id], np.uint32))[0])


def _is_node(name: str) -> bool:
    return name not in ("", "Vector__XXX")


def _receivers(signal: StatedSignal) -> list[str]:
    return [name for name in signal.receivers.replace(",", " ").split() if _is_node(name)]


def _type(field: Field) -> str:
    name = _KINDS.get(field.signal.kind) or ("int" if field.signed else "uint")
    return f"{name}{field.length}"


def _number(value: float) -> str:
    return f"{value:.10g}"


def _scale(field: Field) -> str:
    factor, offset = field.signal.factor, field.signal.offset
    text = "" if factor == 1 else f"x {_number(factor)}"
    if offset:
        text += f"{' ' if text else ''}{'-' if offset < 0 else '+'} {_number(abs(offset))}"
    return text


def _cut(unit: str) -> str:
    return unit if len(unit) <= _LONGEST_UNIT else unit[: _LONGEST_UNIT - 1] + "…"


def _values(values: Sequence[int]) -> str:
    """Values as ranges."""
    ranges: list[list[int]] = []
    for value in values:
        if ranges and value == ranges[-1][1] + 1:
            ranges[-1][1] = value
        else:
            ranges.append([value, value])
    texts = [f"{low}" if low == high else f"{low} to {high}" for low, high in ranges]
    return ", ".join(texts if len(texts) <= 12 else [*texts[:10], "...", texts[-1]])


def _choices(field: Field) -> str:
    choices = [f"{raw} {text}" for raw, text in field.signal.choices]
    more = len(choices) - _MOST_TEXTS
    return ", ".join(choices[:_MOST_TEXTS]) + (f", and {more} more" if more > 0 else "")


def _table(shown: Shown, letters: dict[str, str], width: int) -> Iterator[str]:
    """The signals as a table, as many of its columns as there is room for."""
    rows = [_row(entry, letters) for entry in _walk(shown)]
    if not rows:
        yield "  no signal of it is used" if shown.stated.signals else "  it has no signals"
        return
    cells = [row for row in [_TITLES, *rows] if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    filled = [any(row[n] for row in cells[1:]) for n in range(len(widths))]
    columns, used = [], 0
    for n, wide in enumerate(widths):
        if filled[n] and (n < _ALWAYS or used + wide + 2 <= width):
            columns.append(n)
            used += wide + 2
    for row in [_TITLES, *rows]:
        if len(row) == 1:
            yield row[0]
        else:
            yield "  " + "  ".join(row[n].ljust(widths[n]) for n in columns).rstrip()


def _walk(shown: Shown) -> Iterator[_Line | _Branch]:
    """The tree: signals by their first bits, those under a multiplexer behind it."""
    members: dict[Branch, list[tuple[StatedSignal, Field]]] = {}
    below: dict[tuple[Branch, str], dict[Branch, None]] = {}
    for signal, field in shown.used:
        members.setdefault(field.branch, []).append((signal, field))
        for depth, (selector, _) in enumerate(field.branch):
            path = field.branch[:depth], selector
            below.setdefault(path, {})[field.branch[: depth + 1]] = None

    def walk(at: Branch, depth: int) -> Iterator[_Line | _Branch]:
        for signal, field in members.get(at, ()):
            yield _Line(depth, signal, field)
            for branch in sorted(below.get((at, signal.name), ())):
                yield _Branch(depth + 1, branch)
                yield from walk(branch, depth + 2)

    return walk((), 0)


def _row(entry: _Line | _Branch, letters: dict[str, str]) -> tuple[str, ...]:
    """The cells of a signal; of a branch one, which may be wider than a column."""
    if isinstance(entry, _Branch):
        letter = " " * (max(map(len, letters.values())) + 2) if letters else ""
        name, values = entry.branch[-1]
        return (f"  {letter}{'  ' * entry.depth}{name} = {_values(values)}",)
    signal, field = entry.signal, entry.field
    limits = field.limits
    return (
        letters.get(signal.name, ""),
        "  " * entry.depth + signal.name + (" (multiplexer)" if signal.selects else ""),
        str(signal.start),
        _type(field) + (" big" if signal.big_endian and signal.length > 1 else ""),
        _scale(field),
        _cut(field.signal.unit),
        f"{_number(limits[0])} .. {_number(limits[1])}" if limits else "",
        str(len(field.signal.choices) or ""),
        ", ".join(_receivers(signal)),
    )


def _drawings(shown: Shown, letters: dict[str, str], width: int) -> Iterator[str]:
    """The bits of what is always there, then those of each branch, beside what leads to it."""
    length = min(shown.message.length, _MOST_DRAWN)
    branches = [entry.branch for entry in _walk(shown) if isinstance(entry, _Branch)]
    for branch in [(), *branches[:_MOST_BRANCHES]]:
        there = {
            letters[signal.name]: signal
            for signal, field in shown.used
            if field.branch == branch[: len(field.branch)]
        }
        rows: Sequence[int] = range(length)
        if branch:
            own = [signal for signal, field in shown.used if field.branch == branch]
            rows = sorted({row for signal in own for row, _ in places(signal) if row < length})
            if rows:
                way = " and ".join(f"{name} = {_values(values)}" for name, values in branch)
                yield from _wrapped(f"When {way}:", width, "  ", "    ")
        if rows:
            yield from draw(there, rows, width)
            yield ""
    if len(branches) > _MOST_BRANCHES:
        yield f"  of {len(branches)} branches the first {_MOST_BRANCHES} are drawn"
        yield ""
    if shown.message.length > _MOST_DRAWN:
        yield f"  of {shown.message.length} bytes the first {_MOST_DRAWN} are drawn"
        yield ""


def _overlaps(shown: Shown, letters: dict[str, str]) -> Iterator[str]:
    """Signals that are there together and share bits."""
    taken: dict[tuple[int, int], list[tuple[str, Branch]]] = {}
    pairs: dict[tuple[str, str], None] = {}
    for signal, field in shown.used:
        for place in places(signal):
            others = taken.setdefault(place, [])
            for other, branch in others[:_MOST_SHARING]:
                if all(a == b for a, b in zip(branch, field.branch, strict=False)):
                    pairs[letters[other], letters[signal.name]] = None
            others.append((signal.name, field.branch))
    for one, other in pairs:
        yield f"  {one} and {other} overlap"


def _left_out(shown: Shown) -> Iterator[str]:
    for problem in shown.problems:
        if not problem.mended:
            name = f"{problem.signal} " if problem.signal else ""
            yield f"  ! {name}(line {problem.line}): {problem.reason}"


def _wrapped(text: str, width: int, first: str, later: str) -> Iterator[str]:
    for paragraph in text.split("\n"):
        if paragraph.strip():
            yield from textwrap.wrap(
                " ".join(paragraph.split()), width, initial_indent=first, subsequent_indent=later
            )
            first = later
