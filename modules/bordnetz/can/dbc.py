"""One DBC file: from its bytes to messages whose signals can be read, each checked for itself.

A signal that cannot be read is left out and reported, its neighbours stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bordnetz.can.errors import CatalogueError
from bordnetz.can.j1939 import Match
from bordnetz.can.problem import Problem
from bordnetz.can.stated import StatedMessage, StatedSignal
from bordnetz.series import EXTENDED, Kind, Signal

_MOST_BYTES = 8 << 20
"""Ten times the largest that is public; parsing takes 350 MB and ten seconds for it at worst."""
_MOST_SELECTOR_VALUES = 1 << 20
"""On the ways to all branches of a file together: every value of a range is listed."""
_NO_ROOM = f"a file has room for {_MOST_SELECTOR_VALUES} multiplexer values"
_DEEPEST = 8
"""Multiplexers on the way to a signal; databases nest two or three."""
_LONGEST = 4096
"""Bytes of a message, if it comes in many frames: the longest of ISO-TP, and its length."""
_FLOATS = {16: Kind.FLOAT16, 32: Kind.FLOAT32, 64: Kind.FLOAT64}

Branch = tuple[tuple[str, tuple[int, ...]], ...]
"""The way to a branch of a multiplexer, as in `bordnetz.series.Group.branch`."""

_Fault = tuple[StatedSignal, str]
"""A signal, and why it is not used, or not as it is stated."""


@dataclass(frozen=True, slots=True)
class Field:
    """Where a signal lies in its message's data.

    Attributes:
        signal: How its raw value is read.
        start: Its first bit, counted from the frame's first byte: for little endian the least
            significant one, bits of a byte counted from the least significant; for big endian
            the most significant one, bits of a byte counted from the most significant.
        length: Bits, 1 to 64; the others follow upwards.
        big_endian: Byte order.
        signed: Two's complement.
        branch: When it is there.
        selects: The raw values, ascending and below 2**63, under which a multiplexer knows a
            branch (even one without signals); () for a signal that is no multiplexer.
        limits: The smallest and the largest physical value that the file allows, None where it
            sets no limits.
    """

    signal: Signal
    start: int
    length: int
    big_endian: bool
    signed: bool
    branch: Branch
    selects: tuple[int, ...] = ()
    limits: tuple[float, float] | None = None

    @property
    def need(self) -> int:
        """How many bytes a frame must have to carry it."""
        return (self.start + self.length + 7) // 8


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a DBC file.

    Attributes:
        file: Where it is defined.
        name: Of the message.
        id: Arbitration id, `EXTENDED` set for 29 bits.
        match: What of a frame's id tells that it is this message.
        fields: Its readable signals, ordered by the last byte that they need.
        length: Bytes of data.
        cycle: Milliseconds between two frames, 0 where the file declares no cycle.
        line: Where in the file.
    """

    file: Path
    name: str
    id: int
    match: Match
    fields: tuple[Field, ...]
    length: int
    cycle: int
    line: int

    def __str__(self) -> str:
        return f"message '{self.name}' (id {show_id(self.id)}) of {self.file}"


def show_id(frame_id: int) -> str:
    """An arbitration id as people write it: three hexadecimal digits, or eight for 29 bits."""
    return f"0x{frame_id & ~EXTENDED:08X}" if frame_id & EXTENDED else f"0x{frame_id:03X}"


def read(path: Path) -> bytes:
    """The bytes of a DBC file.

    Raises:
        CatalogueError: There is no such file, or it is too large to be one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise CatalogueError(
            f"{path}: the DBC file cannot be read: {error.strerror}; "
            "correct 'dbc' of the bus in the vehicle file"
        ) from error
    if len(content) > _MOST_BYTES:
        raise CatalogueError(f"{path}: over {_MOST_BYTES >> 20} MiB; is this a DBC file?")
    return content


def parse(content: bytes, path: Path) -> tuple[list[Message], list[Problem]]:
    """The messages of a DBC file, and what in it cannot be used.

    Args:
        content: The file's bytes, UTF-8 or, as the format's usual editors write, cp1252.
        path: The file's name for messages to people.

    Raises:
        CatalogueError: The file is no DBC file, with line and column; or its multiplexers know
            more values than there is room for.
    """
    pairs, problems = parse_as_stated(content, path)
    return [message for _, message in pairs], problems


def parse_as_stated(
    content: bytes, path: Path
) -> tuple[list[tuple[StatedMessage, Message]], list[Problem]]:
    """As `parse`, each message beside all that the file says of it."""
    # A start with kept files needs no parser, and its patterns take a while to compile.
    from bordnetz.can.statements import Statements

    statements = Statements(_decode(content), path)
    pairs = []
    room = _MOST_SELECTOR_VALUES
    for stated in statements.messages:
        fields, reasons = _fields(stated, room)
        room -= sum(len(values) for field in fields for _, values in field.branch)
        for signal, why in reasons:
            statements.problems.tell(why, stated.number, signal.name, signal.line)
        message = Message(
            file=path,
            name=stated.name,
            id=stated.id,
            match=Match.PGN if stated.is_j1939 else Match.ID,
            fields=tuple(sorted(fields, key=lambda field: field.need)),
            length=stated.length,
            cycle=stated.cycle,
            line=stated.line,
        )
        pairs.append((stated, message))
    return pairs, statements.problems.all()


def _decode(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n")


def _fields(message: StatedMessage, room: int) -> tuple[list[Field], list[_Fault]]:
    """The readable signals of a message; the others, and why they are not.

    Args:
        message: As its file states it.
        room: For how many selector values there is room on the ways to all branches together.
    """
    problems: list[_Fault] = []
    good: dict[str, StatedSignal] = {}
    names: set[str] = set()
    for signal in message.signals:
        if signal.name in names:
            problems.append((signal, "is there twice; only the first one is used"))
        elif reason := _unreadable(signal, message.length):
            problems.append((signal, f"{reason}; it is left out"))
        else:
            names.add(signal.name)
            good[signal.key] = signal
    selection, reasons = _selection(message.signals, good, room)
    problems += reasons
    known: dict[str, set[int]] = {}
    for signal in message.signals:
        if signal.selector is not None:
            known.setdefault(signal.selector, set()).update(selection.get(signal.key, ()))
        # A branch without signals is known by the value table alone.
        if signal.selects and good.get(signal.key) is signal:
            low, high = _bounds(signal)
            named = (value for value in signal.choices if low <= value <= high)
            known.setdefault(signal.key, set()).update(named)
    fields = []
    for signal in good.values():
        branch = _branch(signal, good, selection)
        if isinstance(branch, str):
            problems.append((signal, f"{branch}; it is left out"))
        elif (room := room - sum(len(values) for _, values in branch)) < 0:
            problems.append((signal, f"{_NO_ROOM}; it is left out"))
        else:
            selects = tuple(sorted(known[signal.key])) if signal.selects else ()
            fields.append(_field(signal, branch, selects))
    return fields, problems


def _unreadable(signal: StatedSignal, message_length: int) -> str:
    if not 0 < signal.length <= 64:
        return f"has {signal.length} bits, not 1 to 64"
    if signal.is_float and signal.length not in _FLOATS:
        return f"is a floating-point number of {signal.length} bits, not of 16, 32 or 64"
    if signal.start < 0:
        return f"starts at bit {signal.start}"
    last = signal.first + signal.length
    if last > 8 * message_length:
        beyond = last - 8 * message_length
        return f"ends {beyond} bit{'s' * (beyond > 1)} after the message's {message_length} bytes"
    if last > 8 * _LONGEST:
        return f"lies beyond byte {_LONGEST}, where no message reaches"
    try:
        finite = math.isfinite(float(signal.factor)) and math.isfinite(float(signal.offset))
    except OverflowError:
        finite = False
    return "" if finite else "has a factor or offset that no 64-bit number can hold"


def _bounds(selector: StatedSignal) -> tuple[int, int]:
    """The lowest and the highest value of a multiplexer that its bits, and an int64, can hold."""
    bits = min(selector.length, 64 if selector.signed else 63)
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if selector.signed else (0, (1 << bits) - 1)


def _selection(
    signals: Sequence[StatedSignal], good: Mapping[str, StatedSignal], room: int
) -> tuple[dict[str, tuple[int, ...]], list[_Fault]]:
    """By which values of its multiplexer each signal is selected, ascending; what is left out."""
    selection = {}
    problems = []
    for signal in signals:
        selector = good.get(signal.selector or "")
        if selector is None:
            continue
        low, high = _bounds(selector)
        ranges = [range(max(first, low), min(last, high) + 1) for first, last in signal.ranges]
        if any(first < low or last > high for first, last in signal.ranges):
            reason = f"is selected by values that '{selector.name}' cannot have; they are left out"
            problems.append((signal, reason))
        if sum(map(len, ranges)) > room:
            problems.append((signal, f"{_NO_ROOM}; they are left out"))
            continue
        selection[signal.key] = tuple(sorted(set().union(*ranges)))
        room -= len(selection[signal.key])
    return selection, problems


def _branch(
    signal: StatedSignal,
    good: Mapping[str, StatedSignal],
    selection: Mapping[str, tuple[int, ...]],
) -> Branch | str:
    """The way to the branch in which a signal is there, or why there is none."""
    branch: list[tuple[str, tuple[int, ...]]] = []
    while signal.selector is not None:
        selector = good.get(signal.selector)
        if selector is None:
            return f"its multiplexer '{signal.selector}' cannot be read"
        if not selector.selects:
            return f"its multiplexer '{selector.name}' is not marked as one (M)"
        if selector.is_float:
            return f"its multiplexer '{selector.name}' is a floating-point number"
        if not selection.get(signal.key):
            return f"no value of its multiplexer '{selector.name}' selects it"
        if len(branch) == _DEEPEST:
            return f"it lies under more than {_DEEPEST} multiplexers, or under itself"
        branch.append((selector.name, selection[signal.key]))
        signal = selector
    return tuple(reversed(branch))


def _field(signal: StatedSignal, branch: Branch, selects: tuple[int, ...]) -> Field:
    signed = signal.signed and not signal.is_float
    if signal.is_float:
        kind = _FLOATS[signal.length]
    elif signal.length == 64 and not signed:
        kind = Kind.UINT64
    else:
        kind = Kind.INT
    factor, offset = _scaling(signal, signed)
    return Field(
        signal=Signal(
            name=signal.name,
            unit=signal.unit,
            kind=kind,
            factor=factor,
            offset=offset,
            choices=tuple(_choices(signal)),
        ),
        start=signal.first,
        length=signal.length,
        big_endian=signal.big_endian,
        signed=signed,
        branch=branch,
        selects=selects,
        limits=_limits(signal),
    )


def _limits(signal: StatedSignal) -> tuple[float, float] | None:
    """The limits that the file sets; editors write ``[0|0]`` for none."""
    try:
        low, high = float(signal.minimum), float(signal.maximum)
    except OverflowError:
        return None
    return (low, high) if low < high else None


def _scaling(signal: StatedSignal, signed: bool) -> tuple[int | float, int | float]:
    """Factor and offset, as integers where they are some and no physical value overflows."""
    factor, offset = signal.factor, signal.offset
    if factor != int(factor) or offset != int(offset):
        return float(factor), float(offset)
    factor, offset = int(factor), int(offset)
    low, high = (-1, 1) if signed else (0, 2)
    edges = [(end << (signal.length - 1)) * factor + offset for end in (low, high)]
    # The raw value times the factor is computed first, so it must fit, too.
    edges += [edge - offset for edge in edges]
    identity = factor == 1 and offset == 0
    if identity or all(-(1 << 63) <= edge < 1 << 63 for edge in edges):
        return factor, offset
    return float(factor), float(offset)


def _choices(signal: StatedSignal) -> Iterator[tuple[int, str]]:
    for value, text in sorted(signal.choices.items()):
        if -(1 << 63) <= value < 1 << 64:  # a raw value cannot be another
            yield value, text
