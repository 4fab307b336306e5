"""What statements behind the messages of a DBC file say of them and of their signals."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bordnetz.can import attributes
from bordnetz.can.attributes import Attributes, UnknownValueError
from bordnetz.can.grammar import PAIR, RANGE, unquoted
from bordnetz.can.problem import Problems
from bordnetz.can.stated import (
    MARK,
    Range,
    StatedMessage,
    StatedSignal,
    Unusable,
    integer,
    message_key,
    plain,
)
from bordnetz.series import EXTENDED

_FLOATS = ("1", "2")
"""``SIG_VALTYPE_`` of single and double precision."""

Key = tuple[str, str]
"""A message's number and a signal's key; "" for the message itself."""


class Said:
    """What is said, by what it is said of; messages may come before or after it.

    Attributes:
        takes: What takes the parts of a statement, by the statement's keyword.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._attributes = Attributes()
        # With the lines of the statements.
        self._choices: dict[Key, tuple[dict[int, str], int]] = {}
        self._is_float: dict[Key, tuple[bool, int]] = {}
        self._ranges: dict[str, dict[str, dict[str, list[Range]]]] = {}
        self._comments: dict[Key, str] = {}
        self.takes: dict[str, Callable[[dict[str, str]], None]] = {
            "VAL_": self._take_choices,
            "SIG_VALTYPE_": self._take_type,
            "SG_MUL_VAL_": self._take_ranges,
            "BA_DEF_": self._take_definition,
            "BA_DEF_DEF_": self._take_default,
            "BA_": self._take_attribute,
            "CM_": self._take_comment,
        }

    def _take_choices(self, parts: dict[str, str]) -> None:
        if not parts["id"]:  # It is of an environment variable.
            return
        number, key = message_key(parts["id"]), parts["name"]
        choices = {}
        for value, text in PAIR.findall(parts["pairs"]):
            try:
                choices[integer(value, "raw value")] = unquoted(text)
            except Unusable as reason:
                self._problems.tell(f"{reason}; its text is left out", number, key)
        self._choices[number, key] = choices, self._problems.line
        self._check_end(parts, number, key)

    def _take_type(self, parts: dict[str, str]) -> None:
        number, key = message_key(parts["id"]), parts["name"]
        self._is_float[number, key] = parts["kind"] in _FLOATS, self._problems.line
        self._check_end(parts, number, key)

    def _take_ranges(self, parts: dict[str, str]) -> None:
        number, key = message_key(parts["id"]), parts["name"]
        try:
            ranges = [
                (integer(low, "value"), integer(high, "value"))
                for low, high in RANGE.findall(parts["ranges"])
            ]
        except Unusable as reason:
            self._problems.tell(f"{reason}; none is used", number, key)
            ranges = []
        self._ranges.setdefault(number, {}).setdefault(parts["selector"], {})[key] = ranges
        self._check_end(parts, number, key)

    def _take_definition(self, parts: dict[str, str]) -> None:
        self._attributes.define(unquoted(parts["attribute"]), parts["type"], parts["values"])

    def _take_default(self, parts: dict[str, str]) -> None:
        self._attributes.default(unquoted(parts["attribute"]), parts["value"])

    def _take_attribute(self, parts: dict[str, str]) -> None:
        name = unquoted(parts["attribute"])
        if parts["other"] or name not in attributes.USED:
            return
        number = message_key(parts["message"] or parts["id"])
        of = [part for part in (number, parts["name"]) if part]
        self._attributes.set(parts["value"], name, *of)
        self._check_end(parts, number, parts["name"])

    def _take_comment(self, parts: dict[str, str]) -> None:
        kind, number, name = parts["of"], message_key(parts["id"]), parts["name"]
        if number and kind in ("", "BO_", "SG_"):
            if not kind:
                meant = "signal" if name else "message"
                reason = f"a comment does not say of what it is; it is taken for the {meant}'s"
                self._problems.tell(reason, number, name, mended=True)
            elif kind == "SG_" and not name:
                reason = "a comment names no signal; it is taken for the message's"
                self._problems.tell(reason, number, mended=True)
            self._comments[number, "" if kind == "BO_" else name] = unquoted(parts["text"])
        self._check_end(parts, number, name)

    def _check_end(self, parts: dict[str, str], number: str, key: str) -> None:
        if not parts["end"]:
            self._problems.tell("a semicolon is missing", number, key, mended=True)

    def complete(self, messages: Iterable[StatedMessage]) -> None:
        """Add to the messages what is said of them."""
        all_j1939 = self._says_j1939()
        for message in messages:
            number = message.number
            message.name = self._long_name(message, message.name, attributes.MESSAGE_NAME, number)
            self._problems.names[number] = message.name
            message.is_j1939 = bool(message.id & EXTENDED) and self._is_j1939(message, all_j1939)
            message.cycle = self._cycle(message)
            message.comment = self._comments.get((number, ""), "")
            self._mark_multiplexer(message)
            selections = self._selections(number, message.signals)
            for signal in message.signals:
                key = number, signal.key
                signal.name = self._long_name(message, signal.name, attributes.SIGNAL_NAME, *key)
                signal.is_float = self._is_float.pop(key, (False, 0))[0]
                signal.choices = self._choices.pop(key, ({}, 0))[0]
                signal.comment = self._comments.get(key, "")
                signal.selector, signal.ranges = selections.get(signal.key, (None, []))
                if signal.mark.startswith("m") and signal.selector is None:
                    reason = "its multiplexer is not told; it is read from every frame"
                    self._problems.tell(reason, number, signal.name, signal.line)
            message.signals.sort(key=lambda signal: signal.first)

    def tell_unused(self, left_out: set[Key]) -> None:
        """Report what is said of signals that are not there, and not left out."""
        for keyword, said in (("VAL_", self._choices), ("SIG_VALTYPE_", self._is_float)):
            for (number, key), (_, line) in said.items():
                if (number, "") not in left_out and (number, key) not in left_out:
                    reason = f"is not there, but {keyword} is said of it"
                    self._problems.tell(reason, number, key, line, mended=True)

    def _says_j1939(self) -> bool:
        for name in (attributes.FORMAT, attributes.PROTOCOL):
            try:
                if self._attributes.says_j1939(name):
                    return True
            except UnknownValueError as reason:
                self._problems.tell(f"{reason}; that is ignored", line=0)
        return False

    def _long_name(self, message: StatedMessage, name: str, attribute: str, *of: str) -> str:
        try:
            return plain(self._attributes.get(attribute, *of) or "") or name
        except UnknownValueError as reason:
            self._ignore(message, reason)
            return name

    def _is_j1939(self, message: StatedMessage, all_j1939: bool) -> bool:
        try:
            own = self._attributes.get(attributes.FORMAT, message.number)
        except UnknownValueError as reason:
            self._ignore(message, reason)
            own = None
        return all_j1939 if own is None else own == attributes.J1939

    def _cycle(self, message: StatedMessage) -> int:
        try:
            return self._attributes.cycle(message.number)
        except UnknownValueError as reason:
            self._problems.tell(f"{reason}; no cycle is known", message.number, "", message.line)
            return 0

    def _ignore(self, message: StatedMessage, reason: UnknownValueError) -> None:
        self._problems.tell(f"{reason}; that is ignored", message.number, "", message.line)

    def _mark_multiplexer(self, message: StatedMessage) -> None:
        """Take an ``m`` without a value for the ``M`` that a message with ``m0`` lacks."""
        bare = [signal for signal in message.signals if signal.mark == "m"]
        others = any(signal.mark not in ("", "m") for signal in message.signals)
        if len(bare) == 1 and others and not any(signal.selects for signal in message.signals):
            bare[0].mark = "M"
            reason = "its mark is m without a value; it is taken for M, which no other signal has"
            self._problems.tell(reason, message.number, bare[0].name, bare[0].line, mended=True)

    def _selections(
        self, number: str, signals: Iterable[StatedSignal]
    ) -> dict[str, tuple[str, list[Range]]]:
        """Of the signals of a message that depend on a multiplexer: that one, and its values."""
        marks = {signal.key: signal.mark for signal in signals if signal.mark}
        multiplexers = [signal.key for signal in signals if signal.selects]
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


def _marked(mark: str) -> list[Range]:
    found = MARK.fullmatch(mark)
    return [(int(found[1]), int(found[1]))] if found and found[1] else []
