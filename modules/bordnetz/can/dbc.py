"""One DBC file: from its bytes to messages whose signals can be read, each checked for itself.

cantools parses; what it hands over is turned into plain definitions, so that nothing behind this
file knows it.  A signal that cannot be read is left out and reported, its neighbours stay.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cantools.database
from cantools.database.can import Database
from cantools.database.can import Message as ParsedMessage
from cantools.database.can import Signal as ParsedSignal
from cantools.database.errors import UnsupportedDatabaseFormatError

from bordnetz.can.frames import FD_BYTES
from bordnetz.errors import BordnetzError
from bordnetz.series import EXTENDED, Kind, Signal

_MOST_BYTES = 64 << 20
_LONGEST_MESSAGE = 65_535
"""Bytes; beyond any transport protocol's message that a DBC describes in practice."""
_MOST_SELECTOR_VALUES = 1 << 20
"""In all ranges of a file together: cantools lists every value of a range."""
_FLOATS = {16: Kind.FLOAT16, 32: Kind.FLOAT32, 64: Kind.FLOAT64}

_LENGTHS = re.compile(
    r"^[ \t]*(?:BO_[ \t]+\d+[ \t]+\w+[ \t]*:[ \t]*(\d+)"
    r"|SG_[^:\n\"]*:[ \t]*(\d+)[ \t]*\|[ \t]*(\d+))",
    re.MULTILINE,
)
_RANGES = re.compile(r"^[ \t]*SG_MUL_VAL_[ \t][^;\"]*;", re.MULTILINE)
_UNASSIGNED = "VECTOR__INDEPENDENT_SIG_MSG"
"""What editors of the format call the pseudo message of signals that lie in none."""
_RANGE = re.compile(r"(\d+)[ \t]*-[ \t]*(\d+)")

Branch = tuple[tuple[str, tuple[int, ...]], ...]
"""The way to a branch of a multiplexer, as in `bordnetz.series.Group.branch`."""


class CatalogueError(BordnetzError):
    """The DBC files cannot be used, or do not hold what is asked for; the text says where."""

    exit_code = 78  # EX_CONFIG of sysexits.h


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
        selects: The raw values, ascending, under which a multiplexer knows a branch (even one
            without signals); () for a signal that is no multiplexer.
    """

    signal: Signal
    start: int
    length: int
    big_endian: bool
    signed: bool
    branch: Branch
    selects: tuple[int, ...] = ()

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
        by_pgn: To be matched by its J1939 parameter group number.
        fields: Its readable signals, ordered by the last byte that they need.
    """

    file: Path
    name: str
    id: int
    by_pgn: bool
    fields: tuple[Field, ...]

    def __str__(self) -> str:
        return f"message '{self.name}' (id {show_id(self.id)}) of {self.file}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a DBC file that is not used, or not as written there.

    Attributes:
        file: The DBC file.
        message: The message's name.
        signal: The signal's name, "" where the whole message is concerned.
        reason: What is wrong, and what becomes of it.
    """

    file: Path
    message: str
    signal: str
    reason: str

    def __str__(self) -> str:
        what = f"signal '{self.signal}' of " if self.signal else ""
        return f"{self.file}: {what}message '{self.message}': {self.reason}"


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
        CatalogueError: The file is no DBC file; the text has line and column where they are known.
    """
    text = _decode(content)
    _check_bounds(text, path)
    try:
        database = cantools.database.load_string(text, "dbc", strict=False)
    except UnsupportedDatabaseFormatError as error:
        cause = error.e_dbc
        reason = str(cause) or type(cause).__name__
        raise CatalogueError(
            f"{path}: no usable DBC file: {reason.rstrip('.')}; correct the file, or take it "
            "out of 'dbc' in the vehicle file"
        ) from error
    assert isinstance(database, Database)  # noqa: S101 (what load_string makes of "dbc")
    messages: list[Message] = []
    problems: list[Problem] = []
    if re.search(rf"^[ \t]*BO_[ \t]+\d+[ \t]+{_UNASSIGNED}\b", text, re.MULTILINE):
        reason = "holds signals of no message; they are left out"
        problems.append(Problem(path, _UNASSIGNED, "", reason))
    for parsed in database.messages:
        fields, reasons = _fields(parsed)
        problems.extend(Problem(path, parsed.name, signal, why) for signal, why in reasons)
        messages.append(
            Message(
                file=path,
                name=parsed.name,
                id=parsed.frame_id | (EXTENDED if parsed.is_extended_frame else 0),
                by_pgn=parsed.is_extended_frame and _is_j1939(parsed, database),
                fields=tuple(sorted(fields, key=lambda field: field.need)),
            )
        )
    return messages, problems


def _decode(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n")


def _check_bounds(text: str, path: Path) -> None:
    """Refuse numbers that would let the parser work for hours or fill the memory."""

    def refuse(position: int, reason: str) -> CatalogueError:
        line = text.count("\n", 0, position) + 1
        return CatalogueError(f"{path}: line {line}: {reason}; correct the file")

    for found in _LENGTHS.finditer(text):
        message, *signal = found.groups()
        if message is not None and int(message[:9]) > _LONGEST_MESSAGE:
            raise refuse(found.start(1), f"a message of {message} bytes")
        for number in signal:
            if number is not None and int(number[:9]) > 8 * _LONGEST_MESSAGE:
                raise refuse(found.start(), f"a signal at or of {number} bits")
    values = 0
    for entry in _RANGES.finditer(text):
        for low, high in _RANGE.findall(entry[0]):
            values += max(0, int(high[:19]) - int(low[:19]) + 1)
            if values > _MOST_SELECTOR_VALUES:
                raise refuse(
                    entry.start(), f"ranges of over {_MOST_SELECTOR_VALUES} selector values"
                )


def _is_j1939(message: ParsedMessage, database: Database) -> bool:
    """Whether the message says so, or says nothing while the whole database does."""
    specifics = message.dbc
    if specifics is not None and "VFrameFormat" in (specifics.attributes or {}):
        return message.protocol == "j1939"
    if message.protocol == "j1939":
        return True
    if database.dbc is None or "ProtocolType" not in (database.dbc.attributes or {}):
        return False
    return str(database.dbc.attributes["ProtocolType"].value).upper() == "J1939"


def _fields(message: ParsedMessage) -> tuple[list[Field], list[tuple[str, str]]]:
    """The readable signals of a message; name and reason of the others."""
    problems: list[tuple[str, str]] = []
    good: dict[str, ParsedSignal] = {}
    for signal in message.signals:
        if signal.name in good:
            problems.append((signal.name, "is there twice; only the first one is used"))
        elif reason := _unreadable(signal, message.length):
            problems.append((signal.name, f"{reason}; it is left out"))
        else:
            good[signal.name] = signal
    known = {name: _known_values(name, message) for name in good if good[name].is_multiplexer}
    fields = []
    for signal in good.values():
        branch = _branch(signal, good)
        if isinstance(branch, str):
            problems.append((signal.name, f"{branch}; it is left out"))
        else:
            fields.append(_field(signal, branch, known.get(signal.name, ())))
    return fields, problems


def _unreadable(signal: ParsedSignal, message_length: int) -> str:
    if signal.length > 64:
        return f"has {signal.length} bits, more than 64"
    if signal.conversion.is_float and signal.length not in _FLOATS:
        return f"is a floating-point number of {signal.length} bits, not of 16, 32 or 64"
    if signal.start < 0:
        return f"starts at bit {signal.start}"
    last = _start(signal) + signal.length
    if last > 8 * message_length:
        return f"ends {last - 8 * message_length} bits after the message's {message_length} bytes"
    if last > 8 * FD_BYTES:
        return f"lies beyond byte {FD_BYTES}, where no frame reaches"
    try:
        finite = math.isfinite(float(signal.scale)) and math.isfinite(float(signal.offset))
    except OverflowError:
        finite = False
    return "" if finite else "has a factor or offset that no 64-bit number can hold"


def _known_values(selector: str, message: ParsedMessage) -> tuple[int, ...]:
    values: set[int] = set()
    for signal in message.signals:
        if signal.multiplexer_signal == selector:
            values.update(signal.multiplexer_ids or ())
        # A branch without signals is known by the selector's value table alone.
        if signal.name == selector:
            values.update(int(value) for value in signal.choices or ())
    return tuple(sorted(values))


def _branch(signal: ParsedSignal, good: dict[str, ParsedSignal]) -> Branch | str:
    """The way to the branch in which a signal is there, or why there is none."""
    branch: list[tuple[str, tuple[int, ...]]] = []
    while signal.multiplexer_signal is not None:
        selector = good.get(signal.multiplexer_signal)
        if selector is None:
            return f"its multiplexer '{signal.multiplexer_signal}' cannot be read"
        if not selector.is_multiplexer:
            return f"its multiplexer '{selector.name}' is not marked as one (M)"
        if selector.conversion.is_float:
            return f"its multiplexer '{selector.name}' is a floating-point number"
        if not signal.multiplexer_ids:
            return f"no value of its multiplexer '{selector.name}' selects it"
        if len(branch) == len(good):
            return f"its multiplexer '{selector.name}' depends on itself"
        branch.insert(0, (selector.name, tuple(sorted(set(signal.multiplexer_ids)))))
        signal = selector
    return tuple(branch)


def _start(signal: ParsedSignal) -> int:
    if signal.byte_order == "big_endian":
        return signal.start ^ 7
    return signal.start


def _field(signal: ParsedSignal, branch: Branch, selects: tuple[int, ...]) -> Field:
    signed = signal.is_signed and not signal.conversion.is_float
    if signal.conversion.is_float:
        kind = _FLOATS[signal.length]
    elif signal.length == 64 and not signed:
        kind = Kind.UINT64
    else:
        kind = Kind.INT
    factor, offset = _scaling(signal, signed)
    return Field(
        signal=Signal(
            name=signal.name,
            unit=signal.unit or "",
            kind=kind,
            factor=factor,
            offset=offset,
            choices=tuple(_choices(signal)),
        ),
        start=_start(signal),
        length=signal.length,
        big_endian=signal.byte_order == "big_endian",
        signed=signed,
        branch=branch,
        selects=selects,
    )


def _scaling(signal: ParsedSignal, signed: bool) -> tuple[int | float, int | float]:
    """Factor and offset, as integers where they are some and no physical value overflows."""
    factor, offset = signal.scale, signal.offset
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


def _choices(signal: ParsedSignal) -> Iterator[tuple[int, str]]:
    for value, text in sorted((signal.choices or {}).items()):
        if -(1 << 63) <= value < 1 << 64:  # a raw value cannot be another
            yield int(value), str(text)
