"""What a DBC file states, as it is written there: messages, signals, and what is said of them.

What is wrong is mended where there is one way to understand it, and left out where there is not;
either is a `Problem`.  cantools is not used: it unfolds every branch of every multiplexer and every
exponent, so that some hundred bytes can fill the memory, and one statement that is wrong costs it
the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bordnetz.can import attributes
from bordnetz.can.errors import CatalogueError
from bordnetz.can.grammar import Statement, statements, unquoted
from bordnetz.can.problem import Problems, shown
from bordnetz.can.said import Key, Said
from bordnetz.can.stated import (
    LONGEST_NAME,
    MARK,
    STRANGE,
    StatedMessage,
    StatedSignal,
    Unusable,
    integer,
    message_key,
    number,
    plain,
)
from bordnetz.series import EXTENDED

_UNASSIGNED = "VECTOR__INDEPENDENT_SIG_MSG"
"""What editors of the format call the pseudo message of signals that lie in none."""
_MOST_UNREADABLE = 10_000
"""Statements; each one costs time."""
_USE = "correct the file, or take it out of 'dbc' in the vehicle file"
_NEEDED = ("", "BO_", "SG_", "VAL_", "SIG_VALTYPE_", "SG_MUL_VAL_", "BA_")
"""Keywords without whose statements signals are missing, or read otherwise than is meant."""
_TAIL = (("limits", "low"), ("unit", "unit"), ("receivers", "receivers"))
"""What follows a signal's factor and offset, and the part that has it."""


class Statements:
    """The statements of one file.

    Attributes:
        problems: What cannot be used, and what is mended.
    """

    def __init__(self, text: str, file: Path) -> None:
        """Take the statements out of a file's text.

        Args:
            text: Of the file.
            file: Its name for messages to people.

        Raises:
            CatalogueError: The text is none of a DBC file; the error has line and column.
        """
        self.problems = Problems(file)
        self._said = Said(self.problems)
        self._messages: list[StatedMessage] = []
        self._left_out: set[Key] = set()
        self._line_end = -1  # the one before the statement that is being taken
        self._take(text, file)
        self._refuse_shared_ids()
        self._said.complete(self.messages)
        for message in self._messages:
            if message.unusable:
                self._leave_out(message)
        self._said.tell_unused(self._left_out)

    @property
    def messages(self) -> list[StatedMessage]:
        """All messages that can be used, of different ids, in the order of the file."""
        return [message for message in self._messages if not message.unusable]

    def _take(self, text: str, file: Path) -> None:
        takes = self._said.takes | {"BO_": self._take_message, "SG_": self._take_signal}
        at = unreadable = 0
        any_message = False
        first = "" if text.strip() else "line 1: there is nothing in it"
        for statement in statements(text):
            self.problems.line += text.count("\n", at, statement.at)
            self._line_end = max(self._line_end, text.rfind("\n", at, statement.at))
            at = statement.at
            if statement.ends is None:
                any_message |= statement.keyword == "BO_"
                if take := takes.get(statement.keyword):
                    take(statement.read())
                continue
            unreadable += 1
            place = self._take_unreadable(text, statement, statement.ends)
            first = first or place
            if unreadable > _MOST_UNREADABLE:
                raise CatalogueError(
                    f"{file}: line {self.problems.line}: over {_MOST_UNREADABLE} statements up to "
                    f"here cannot be read; is this a DBC file? If so, {_USE}"
                )
        if first and not any_message:
            raise CatalogueError(f"{file}: {first}: no usable DBC file; {_USE}")

    def _take_unreadable(self, text: str, statement: Statement, ends: int) -> str:
        """Report a statement that is none; returns what is wrong, with its place."""
        keyword, parts = statement.keyword, statement.read()
        line = self.problems.line + text.count("\n", statement.at, ends)
        rest = text[ends : ends + 200].partition("\n")[0].strip()
        what = f"{shown(rest)} is not expected there" if rest else "it ends too early"
        column = ends - max(self._line_end, text.rfind("\n", statement.at, ends))
        what = f"column {column}: {what}"
        if line != self.problems.line:
            what = f"line {line}, {what}"
        of, name = message_key(parts.get("id", "")), parts.get("name", "")
        if keyword == "BO_" or statement.is_header:
            # Its signals must not become those of the message before it.
            message = self._begin_message(of, plain(name), "")
            message.unusable = f"{what}; the message cannot be read"
        elif keyword != "BA_" or unquoted(parts.get("attribute", "")) in attributes.USED:
            if keyword == "SG_" and self._messages:
                of = self._messages[-1].number
                self._left_out.add((of, name))
            lost = f"{keyword} is" if keyword else "that is"
            self.problems.tell(f"{what}; {lost} left out", of, name, mended=keyword not in _NEEDED)
        return what if what.startswith("line") else f"line {line}, {what}"

    def _begin_message(self, of: str, name: str, sender: str) -> StatedMessage:
        message = StatedMessage(of, 0, name, 0, sender, self.problems.line)
        self._messages.append(message)
        self.problems.names.setdefault(of, name)
        return message

    def _take_message(self, parts: dict[str, str]) -> None:
        written = parts["name"]
        message = self._begin_message(message_key(parts["id"]), plain(written), parts["sender"])
        try:
            if len(written) > LONGEST_NAME:
                raise Unusable(f"its name has over {LONGEST_NAME} characters")
            message.id = integer(parts["id"], "id")
            message.length = integer(parts["length"], "length")
            if written != _UNASSIGNED and not 0 <= message.id & ~EXTENDED < 1 << 29:
                raise Unusable(f"its id {message.id} has more than 29 bits")
        except Unusable as reason:
            message.unusable = str(reason)
            return
        if written == _UNASSIGNED:
            message.unusable = _UNASSIGNED
            return
        mended = list(_mended_name(written))
        if not message.id & EXTENDED and message.id >> 11:
            mended.append(f"its id {message.id} has 29 bits; {EXTENDED} is added to say so")
            message.id |= EXTENDED
        if not parts["colon"]:
            mended.append("the ':' behind its name is missing")
        if not parts["sender"]:
            mended.append("its sender is missing")
        for text in mended:
            self.problems.tell(text, message.number, mended=True)

    def _take_signal(self, parts: dict[str, str]) -> None:
        key = parts["name"]
        if not self._messages:
            self.problems.tell("stands before all messages; it is left out", "", key)
            return
        message = self._messages[-1]
        try:
            signal = self._signal(parts)
        except Unusable as reason:
            self.problems.tell(f"{reason}; it is left out", message.number, key)
            self._left_out.add((message.number, key))
            return
        message.signals.append(signal)
        if not message.unusable:
            for text in _mended(parts):
                self.problems.tell(text, message.number, signal.name, mended=True)

    def _signal(self, parts: dict[str, str]) -> StatedSignal:
        key = parts["name"]
        if not MARK.fullmatch(parts["mark"]):
            raise Unusable(f"its mark {shown(parts['mark'])} is none of M, m0, m0M")
        if len(key) > LONGEST_NAME:
            raise Unusable(f"its name has over {LONGEST_NAME} characters")
        return StatedSignal(
            key=key,
            name=plain(key),
            start=integer(parts["start"], "start"),
            length=integer(parts["length"], "length"),
            big_endian=parts["order"] == "0",
            signed=parts["sign"] == "-",
            is_float=False,
            factor=number(parts["factor"]),
            offset=number(parts["offset"]),
            minimum=number(parts["low"] or "0"),
            maximum=number(parts["high"] or "0"),
            unit=unquoted(parts["unit"]),
            receivers=parts["receivers"],
            line=self.problems.line,
            mark=parts["mark"],
        )

    def _refuse_shared_ids(self) -> None:
        first: dict[int, StatedMessage] = {}
        for message in self.messages:
            other = first.setdefault(message.id, message)
            if other is not message:
                message.unusable = f"its id is that of message '{other.name}', line {other.line}"

    def _leave_out(self, message: StatedMessage) -> None:
        self._left_out.add((message.number, ""))
        if message.unusable == _UNASSIGNED:
            reason = "holds signals of no message; they are left out"
        else:
            count = len(message.signals)
            signals = f" with its signals ({count})" if count else ""
            reason = f"{message.unusable}; it is left out{signals}"
        mended = message.unusable == _UNASSIGNED
        self.problems.names[message.number] = message.name
        self.problems.tell(reason, message.number, "", message.line, mended=mended)


def _mended_name(name: str) -> Iterator[str]:
    if name[0].isdigit():
        yield "its name begins with a digit"
    if STRANGE.search(name):
        yield f"its name {shown(name)} has characters that no name has; '_' takes their place"


def _mended(parts: dict[str, str]) -> Iterator[str]:
    """What is unusual in the line of a signal that can be read all the same."""
    yield from _mended_name(parts["name"])
    for part in ("factor", "offset", "low", "high"):
        if parts[part].lstrip("+-").startswith("."):
            yield f"{shown(parts[part])} is written without the 0 before its point"
    missing = [what for what, part in _TAIL if not parts[part]]
    if missing:
        yield f"it has no {', no '.join(missing)}"
    if parts["stray"].strip():
        yield f"{shown(parts['stray'])} behind it is ignored"
