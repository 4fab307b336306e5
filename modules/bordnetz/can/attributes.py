"""The attributes of a DBC file that say how its messages are read."""

from __future__ import annotations

import re

from bordnetz.can.grammar import unquoted
from bordnetz.can.problem import shown

CYCLE = "GenMsgCycleTime"
MESSAGE_NAME = "SystemMessageLongSymbol"
SIGNAL_NAME = "SystemSignalLongSymbol"
FORMAT = "VFrameFormat"
PROTOCOL = "ProtocolType"
J1939 = "J1939PG"
"""The `FORMAT` of messages that are J1939 parameter groups."""
USED = frozenset((CYCLE, MESSAGE_NAME, SIGNAL_NAME, FORMAT, PROTOCOL))

_FORMATS = ("StandardCAN", "ExtendedCAN", "reserved", J1939)
"""`FORMAT` by number, where the file does not list the names."""
_LONGEST_CYCLE = 3_600_000
"""Milliseconds; an hour."""
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"')


class UnknownValueError(ValueError):
    """An attribute's value is none that it can have; the text says what it is."""


class Attributes:
    """What the file says of itself, of messages and of signals, by the attributes' names.

    Attributes of what is not `USED` are not kept.
    """

    def __init__(self) -> None:
        # By name and what they are of: nothing for the file, number, number and key.
        self._values: dict[tuple[str, ...], str] = {}
        self._defaults: dict[str, str] = {}
        self._listed: dict[str, tuple[str, ...]] = {FORMAT: _FORMATS}

    def define(self, name: str, kind: str, values: str) -> None:
        """Take a definition: its type and what follows it."""
        if name in USED and kind == "ENUM":
            self._listed[name] = tuple(unquoted(text) for text in _TEXT.findall(values))

    def default(self, name: str, value: str) -> None:
        """Take a default, as written."""
        if name in USED:
            self._defaults[name] = value

    def set(self, value: str, name: str, *of: str) -> None:
        """Take a value, as written."""
        if name in USED:
            self._values[name, *of] = value

    def get(self, name: str, *of: str) -> str | None:
        """A value, of an enumeration its text; None where the file gives none.

        Raises:
            UnknownValueError: The value is none of its enumeration.
        """
        return self._read(name, self._values.get((name, *of)))

    def _read(self, name: str, written: str | None) -> str | None:
        if written is None:
            return None
        if written.startswith('"'):
            return unquoted(written)
        listed = self._listed.get(name)
        if listed is None:
            return written
        if not re.fullmatch(r"[-+]?\d{1,20}", written):
            raise UnknownValueError(f"its {name} {shown(written)} is no integer")
        if not 0 <= int(written) < len(listed):
            raise UnknownValueError(f"{name} is {int(written)}, not one of 0 to {len(listed) - 1}")
        return listed[int(written)]

    def says_j1939(self, name: str) -> bool | None:
        """Whether `FORMAT` or `PROTOCOL` takes messages for J1939 that say nothing themselves.

        Raises:
            UnknownValueError: The value is none of its enumeration.
        """
        value = self.get(name) or self._read(name, self._defaults.get(name))
        return None if value is None else value.upper() in ("J1939", J1939)

    def cycle(self, number: str) -> int:
        """Milliseconds between two frames of a message, 0 for none.

        Raises:
            UnknownValueError: The value is no such time.
        """
        stated = self.get(CYCLE, number)
        if stated is None:
            stated = self._read(CYCLE, self._defaults.get(CYCLE)) or "0"
        try:
            cycle = float(stated)
        except ValueError:
            cycle = -1
        if not 0 <= cycle <= _LONGEST_CYCLE:
            raise UnknownValueError(f"{CYCLE} is {shown(stated)}, not 0 to {_LONGEST_CYCLE} ms")
        return round(cycle)
