"""What a DBC file says of a message and of its signals, before anything is made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bordnetz.can.problem import shown

LONGEST_NAME = 255
MARK = re.compile(r"(?:m(\d{0,20}))?(M?)", re.ASCII)
"""Behind a signal's name: the value that selects it, and whether it selects others."""
STRANGE = re.compile(r"\W", re.ASCII)
"""What a name does not have."""
_INTEGER = re.compile(r"[-+]?\d{1,20}", re.ASCII)

Range = tuple[int, int]
"""First and last of the values of a multiplexer that select a signal."""


@dataclass(slots=True)
class StatedSignal:
    """An ``SG_`` line, and what other statements say of its signal.

    Attributes:
        key: The name under which they do.
        name: What the signal is called: not its key where that had to be shortened, or has
            characters that are none of a name.
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
        receivers: Names of the nodes that read it.
        line: Where in the file.
        mark: How its line says that it selects or is selected, "" for neither.
        choices: Texts of raw values.
        comment: What ``CM_`` says of it.
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
    receivers: str
    line: int
    mark: str = ""
    choices: dict[int, str] = field(default_factory=dict)
    comment: str = ""
    selector: str | None = None
    ranges: list[Range] = field(default_factory=list)

    @property
    def selects(self) -> bool:
        """Whether it is marked as a multiplexer."""
        return self.mark.endswith("M")

    @property
    def first(self) -> int:
        """Its first bit, as `bordnetz.can.dbc.Field` counts."""
        return self.start ^ 7 if self.big_endian else self.start


@dataclass(slots=True)
class StatedMessage:
    """A ``BO_`` statement, and what other statements say of its message.

    Attributes:
        number: Its arbitration id as other statements write it.
        id: Arbitration id, `bordnetz.series.EXTENDED` set for 29 bits.
        name: What the message is called.
        length: Bytes.
        sender: Name of the node that sends it.
        line: Where in the file.
        is_j1939: A J1939 parameter group.
        cycle: Milliseconds between two frames (``GenMsgCycleTime``), 0 for none.
        comment: What ``CM_`` says of it.
        signals: In the order of the file; once all is known, by their first bits.
        unusable: Why it cannot be used; "" if it can.
    """

    number: str
    id: int
    name: str
    length: int
    sender: str
    line: int
    is_j1939: bool = False
    cycle: int = 0
    comment: str = ""
    signals: list[StatedSignal] = field(default_factory=list)
    unusable: str = ""


class Unusable(Exception):  # noqa: N818 (it becomes a Problem)
    """A statement says what cannot be; the text says what."""


def message_key(number: str) -> str:
    """A message's number as statements are compared: without a sign or zeros before it."""
    return (number.lstrip("+0") or "0") if number else ""


def plain(name: str) -> str:
    """A name without what qualified names, columns and twins give a meaning."""
    return STRANGE.sub("_", name)[:LONGEST_NAME]


def integer(text: str, what: str) -> int:
    """An integer as written.

    Raises:
        Unusable: It is none, or has more digits than any number of the format needs.
    """
    if not _INTEGER.fullmatch(text):
        raise Unusable(f"its {what} {shown(text)} is no integer of up to 20 digits")
    return int(text)


def number(text: str) -> int | float:
    """A number as written, exact where it is an integer."""
    return int(text) if _INTEGER.fullmatch(text) else float(text)
