"""What a DBC file states, as it is written there: messages, signals, and what is said of them.

The grammar is cantools'.  Its model of a database is not used: it unfolds every branch of every
multiplexer and every exponent, so that some hundred bytes can fill the memory, and one message
that is wrong costs it all others.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cantools.database.can.formats.dbc.dbc_loader import DbcParser
from textparser import ParseError, Token

from bordnetz.can.errors import CatalogueError
from bordnetz.series import EXTENDED

_UNASSIGNED = "VECTOR__INDEPENDENT_SIG_MSG"
"""What editors of the format call the pseudo message of signals that lie in none."""
_J1939 = "J1939PG"
"""The ``VFrameFormat`` of messages that are J1939 parameter groups."""
_FORMATS = ("StandardCAN", "ExtendedCAN", "reserved", _J1939)
"""``VFrameFormat`` by number, where the file does not list the names."""
_FLOATS = ("1", "2")
"""``SIG_VALTYPE_`` of single and double precision."""

_CYCLE = "GenMsgCycleTime"
_LONGEST_CYCLE = 3_600_000
"""Milliseconds; an hour."""

_INTEGER = re.compile(r"[-+]?\d{1,20}")
_MARK = re.compile(r"(?:m(\d{0,20}))?(M?)")
"""Behind a signal's name: the value that selects it, and whether it selects others."""
_Range = tuple[int, int]
"""First and last of the values of a multiplexer that select a signal."""
_SHOWN = 60
"""Characters of a file in the text of an error."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a DBC file that is not used, or not as written there.

    Attributes:
        file: The DBC file.
        message: The message's name, "" where the whole file is concerned.
        signal: The signal's name, "" where the whole message is concerned.
        reason: What is wrong, and what becomes of it.
    """

    file: Path
    message: str
    signal: str
    reason: str

    def __str__(self) -> str:
        of = f"message '{self.message}'" if self.message else "the whole file"
        what = f"signal '{self.signal}' of {of}" if self.signal else of
        return f"{self.file}: {what}: {self.reason}"


@dataclass(slots=True)
class StatedSignal:
    """An ``SG_`` line, and what other statements say of its signal.

    Attributes:
        key: The name under which they do.
        name: What the signal is called: not its key where that had to be shortened.
        start: Number of the first bit, by the format's count.
        length: Bits.
        big_endian: Byte order.
        signed: Two's complement.
        is_float: IEEE 754.
        factor: Physical value = raw value x factor + offset.
        offset: See ``factor``.
        minimum: The smallest physical value.
        maximum: The largest one.
        unit: Of the physical value.
        choices: Texts of raw values.
        selects: It is marked as a multiplexer.
        selector: The key of its own multiplexer, None for a signal that is always there.
        ranges: First and last of the values under which that one selects it.
    """

    key: str
    name: str
    start: int
    length: int
    big_endian: bool
    signed: bool
    is_float: bool
    factor: int | float
    offset: int | float
    minimum: int | float
    maximum: int | float
    unit: str
    choices: dict[int, str]
    selects: bool
    selector: str | None = None
    ranges: list[_Range] = field(default_factory=list)

    @property
    def first(self) -> int:
        """Its first bit, as `bordnetz.can.dbc.Field` counts."""
        return self.start ^ 7 if self.big_endian else self.start


@dataclass(slots=True)
class StatedMessage:
    """A ``BO_`` statement, and what other statements say of its message.

    Attributes:
        id: Arbitration id, `EXTENDED` set for 29 bits.
        name: What the message is called.
        length: Bytes.
        is_j1939: A J1939 parameter group.
        cycle: Milliseconds between two frames (``GenMsgCycleTime``), 0 for none.
        signals: By their first bits.
    """

    id: int
    name: str
    length: int
    is_j1939: bool
    cycle: int
    signals: list[StatedSignal]


class _Unusable(Exception):  # noqa: N818 (it becomes a Problem)
    """A statement says what cannot be; the text says what."""


class Statements:
    """The statements of one file.

    Attributes:
        problems: Those that cannot be used.
    """

    def __init__(self, text: str, file: Path) -> None:
        """Take the statements out of a file's text.

        Args:
            text: Of the file.
            file: Its name for messages to people.

        Raises:
            CatalogueError: The text does not follow the grammar of the format; the error has
                line and column.
        """
        self.problems: list[Problem] = []
        self._file = file
        self._line_ends = [found.start() for found in re.finditer("\n", text)]
        self._of: dict[str, list[Any]] = {}
        for statement in self._parse(text):
            self._of.setdefault(statement[0].kind, []).append(statement)
        # What other statements say of signals, by the message's number as written and the key.
        self._choices: dict[tuple[str, str], dict[int, str]] = {}
        self._is_float: dict[tuple[str, str], bool] = {}
        self._ranges: dict[str, dict[str, dict[str, list[_Range]]]] = {}
        # Attributes by name and what they are of: nothing for the file, number, number and key.
        self._attributes: dict[tuple[str, ...], Token] = {}
        self._defaults: dict[str, Token] = {}
        self._listed: dict[str, tuple[str, ...]] = {"VFrameFormat": _FORMATS}
        self._names: dict[str, str] = {s[1].value: s[2].value for s in self._of.get("BO_", ())}
        self._take_attributes()
        self._take_choices()
        self._take_types()
        self._take_ranges()
        self._all_j1939 = self._says_j1939()

    def _parse(self, text: str) -> Iterator[Any]:
        use = "no usable DBC file; correct the file, or take it out of 'dbc' in the vehicle file"
        try:
            # Under its first token, which is unique by its place, lies each single statement.
            tree: Any = DbcParser().parse(text, token_tree=True)
        except ParseError as error:
            rest = text[error.offset : error.offset + _SHOWN].partition("\n")[0].strip()
            what = f"{rest!r} is not expected there" if rest else "a statement ends too early"
            place = f"line {error.line}, column {error.column}"
            raise CatalogueError(f"{self._file}: {place}: {what}: {use}") from None
        except IndexError:  # The parser's, of a list that is not closed before the file's end.
            place = f"line {len(self._line_ends) + 1}"
            raise CatalogueError(
                f"{self._file}: {place}: a statement ends too early: {use}"
            ) from None
        for statements in tree.values():
            yield from statements

    def _report(self, statement: Any, number: str, signal: str, reason: object) -> None:
        line = bisect_left(self._line_ends, statement[0].offset) + 1
        self._tell(number, signal, f"line {line}: {reason}")

    def _tell(self, number: str, signal: str, reason: str) -> None:
        name = self._names.get(number, number)
        self.problems.append(Problem(self._file, name[:_SHOWN], signal[:_SHOWN], reason))

    def _take_attributes(self) -> None:
        for statement in self._of.get("BA_DEF_", ()):
            if statement[3].value == "ENUM" and statement[4]:
                listed = tuple(token.value for token in statement[4][0])
                self._listed[statement[2].value] = listed
        for statement in self._of.get("BA_DEF_DEF_", ()):
            self._defaults[statement[1].value] = statement[2]
        for statement in self._of.get("BA_", ()):
            of = [token.value for token in statement[2][0][1:]] if statement[2] else []
            self._attributes[(statement[1].value, *of)] = statement[3]

    def _value(self, name: str, token: Token | None) -> str | None:
        """An attribute's value: of an enumeration, where it stands as a number, its text."""
        if token is None or token.value is None:
            return None
        listed = self._listed.get(name)
        if listed is None or token.kind != "NUMBER":
            return token.value
        number = _integer(token.value, name)
        if not 0 <= number < len(listed):
            raise _Unusable(f"{name} is {number}, not one of 0 to {len(listed) - 1}")
        return listed[number]

    def _attribute(self, name: str, *of: str) -> str | None:
        return self._value(name, self._attributes.get((name, *of)))

    def _says_j1939(self) -> bool:
        """Whether the file takes messages for J1939 that say nothing themselves."""
        for name in ("VFrameFormat", "ProtocolType"):
            try:
                value = self._attribute(name) or self._value(name, self._defaults.get(name))
            except _Unusable as reason:
                self._tell("", "", f"{reason}; that is ignored")
                continue
            if value is not None and value.upper() in ("J1939", _J1939):
                return True
        return False

    def _take_choices(self) -> None:
        for statement in self._of.get("VAL_", ()):
            _, number, key, pairs, _ = statement
            if not number or not pairs:  # Without a number it is of an environment variable.
                continue
            try:
                choices = {_integer(value.value, "raw value"): text.value for value, text in pairs}
                self._choices[number[0].value, key.value] = choices
            except _Unusable as reason:
                self._report(statement, number[0].value, key.value, f"{reason}; no text is used")

    def _take_types(self) -> None:
        for _, number, key, _, kind, _ in self._of.get("SIG_VALTYPE_", ()):
            self._is_float[number.value, key.value] = kind.value in _FLOATS

    def _take_ranges(self) -> None:
        for statement in self._of.get("SG_MUL_VAL_", ()):
            _, number, key, selector, pairs, _ = statement
            try:
                # The grammar takes the hyphen between the two for the sign of the second one.
                ranges = [
                    (_integer(low.value, "value"), _integer(high.value[1:], "value"))
                    for low, high in pairs
                ]
            except _Unusable as reason:
                self._report(statement, number.value, key.value, f"{reason}; none is used")
                ranges = []
            of_message = self._ranges.setdefault(number.value, {})
            of_message.setdefault(selector.value, {})[key.value] = ranges

    def messages(self) -> list[StatedMessage]:
        """All messages that can be used; to be asked for once."""
        messages = []
        used = set()
        for statement in self._of.get("BO_", ()):
            number, name = statement[1].value, statement[2].value
            if name == _UNASSIGNED:
                reason = "holds signals of no message; they are left out"
                self._report(statement, number, "", reason)
                continue
            try:
                messages.append(self._message(statement))
                used.add(number)
            except _Unusable as reason:
                self._report(statement, number, "", f"{reason}; it is left out")
        for keyword, told in (("VAL_", self._choices), ("SIG_VALTYPE_", self._is_float)):
            for number, key in told:
                if number in used or number not in self._names:
                    self._tell(number, key, f"is not there, but {keyword} is said of it")
        return messages

    def _message(self, statement: Any) -> StatedMessage:
        _, number, name, _, length, _, lines = statement
        frame_id = _integer(number.value, "id")
        bits = 29 if frame_id & EXTENDED else 11
        if not 0 <= frame_id & ~EXTENDED < 1 << bits:
            hint = "" if bits == 29 else f"; one of 29 bits is written with {EXTENDED} added"
            raise _Unusable(f"its id {frame_id} has more than {bits} bits{hint}")
        selections = self._selections(number.value, lines)
        signals = []
        for line in lines:
            key = line[1][0].value
            try:
                signals.append(self._signal(number.value, line, selections.get(key, (None, []))))
            except _Unusable as reason:
                self._report(line, number.value, key, f"{reason}; it is left out")
                self._choices.pop((number.value, key), None)
                self._is_float.pop((number.value, key), None)
        return StatedMessage(
            id=frame_id,
            name=self._attribute("SystemMessageLongSymbol", number.value) or name.value,
            length=_integer(length.value, "length"),
            is_j1939=bits == 29 and self._is_j1939(statement),
            cycle=self._cycle(statement),
            signals=sorted(signals, key=lambda signal: signal.first),
        )

    def _is_j1939(self, statement: Any) -> bool:
        number = statement[1].value
        try:
            own = self._attribute("VFrameFormat", number)
        except _Unusable as reason:
            self._report(statement, number, "", f"{reason}; that is ignored")
            own = None
        return self._all_j1939 if own is None else own == _J1939

    def _cycle(self, statement: Any) -> int:
        number = statement[1].value
        try:
            stated = self._attribute(_CYCLE, number)
            if stated is None:
                stated = self._value(_CYCLE, self._defaults.get(_CYCLE)) or "0"
            try:
                cycle = float(_number(stated))
            except (ValueError, OverflowError):
                cycle = -1
            if not 0 <= cycle <= _LONGEST_CYCLE:
                raise _Unusable(f"{_CYCLE} is {stated[:_SHOWN]!r}, not 0 to {_LONGEST_CYCLE} ms")
        except _Unusable as reason:
            self._report(statement, number, "", f"{reason}; no cycle is known")
            return 0
        return round(cycle)

    def _selections(self, number: str, lines: Any) -> dict[str, tuple[str, list[_Range]]]:
        """Of the signals of a message that depend on a multiplexer: that one, and its values."""
        marks = {line[1][0].value: line[1][1].value for line in lines if len(line[1]) > 1}
        multiplexers = [
            line[1][0].value for line in lines if len(line[1]) > 1 and line[1][1].value[-1] == "M"
        ]
        said = self._ranges.get(number, {})
        if len(multiplexers) != 1:
            # Marks do not tell of which multiplexer they are.
            return {
                key: (name, ranges)
                for name, of_name in said.items()
                for key, ranges in of_name.items()
                if key in marks
            }
        only, further = multiplexers[0], said.get(multiplexers[0], {})
        return {
            key: (only, _marked(mark) + further.get(key, []))
            for key, mark in marks.items()
            if key != only
        }

    def _signal(
        self, number: str, line: Any, selection: tuple[str | None, list[_Range]]
    ) -> StatedSignal:
        key = line[1][0].value
        mark = line[1][1].value if len(line[1]) > 1 else ""
        if not _MARK.fullmatch(mark):
            raise _Unusable(f"its mark {mark[:_SHOWN]!r} is none of M, m0, m0M")
        if mark.startswith("m") and selection[0] is None:
            reason = "its multiplexer is not told; it is read from every frame"
            self._report(line, number, key, reason)
        return StatedSignal(
            key=key,
            name=self._attribute("SystemSignalLongSymbol", number, key) or key,
            start=_integer(line[3].value, "start"),
            length=_integer(line[5].value, "length"),
            big_endian=line[7].value == "0",
            signed=line[8].value == "-",
            is_float=self._is_float.pop((number, key), False),
            factor=_number(line[10].value),
            offset=_number(line[12].value),
            minimum=_number(line[15].value),
            maximum=_number(line[17].value),
            unit=line[19].value,
            choices=self._choices.pop((number, key), {}),
            selects=mark.endswith("M"),
            selector=selection[0],
            ranges=selection[1],
        )


def _marked(mark: str) -> list[_Range]:
    found = _MARK.fullmatch(mark)
    return [(int(found[1]), int(found[1]))] if found and found[1] else []


def _integer(text: str, what: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _Unusable(f"its {what} {text[:_SHOWN]!r} is no integer of up to 20 digits")
    return int(text)


def _number(text: str) -> int | float:
    return int(text) if _INTEGER.fullmatch(text) else float(text)
