"""Signals and the columns that carry them: what decoding hands to collecting and batching.

A `Signal` tells how to read a raw value, a `Group` which signals arrive together, and
`Samples` holds raw values in columns.  Raw values are lossless: integers as they were on the
bus, floating-point numbers as their bits.  Physical values are made only where somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXTENDED = 0x8000_0000
"""Marks a 29-bit arbitration id (``CAN_EFF_FLAG`` of linux/can.h)."""


class Kind(IntEnum):
    """What the 64 bits of a raw value mean."""

    INT = 0
    """The number itself; covers every signed signal and unsigned ones of up to 63 bits."""
    UINT64 = 1
    """The bits of an unsigned 64-bit integer."""
    FLOAT16 = 2
    """The bits of an IEEE 754 number in the low bits, the others zero; also the next two."""
    FLOAT32 = 3
    FLOAT64 = 4


class Quality(IntFlag):
    """What is to be said against a sample, beside its raw value; 0 where nothing is."""

    OUT_OF_RANGE = 1
    """Outside of the limits that the database sets."""
    ERROR = 2
    """The sender says that it has no valid value (SAE J1939-71, error indicator)."""
    NOT_AVAILABLE = 4
    """The sender says that it has no such value (SAE J1939-71)."""
    AFTER_SILENCE = 8
    """The first after its branch of the multiplexer was left out for long."""
    WRONG_CRC = 16
    """Its frame has a wrong checksum."""
    REPEATED = 32
    """Its frame has the counter of the one before."""
    AFTER_LOSS = 64
    """Frames are missing before its own, as the counter says."""
    OUT_OF_SEQUENCE = 128
    """The counter of its frame has another value than may come."""

    def words(self) -> list[str]:
        """The names of what is said, as JSON has them: ``wrongCrc``."""
        names = [flag.name or "" for flag in type(self) if flag in self]
        return [name[0].lower() + name.title().replace("_", "")[1:] for name in names]


@dataclass(frozen=True, slots=True)
class Signal:
    """How one signal is read: physical value = raw value x factor + offset.

    Attributes:
        name: As in the database, unique within its message.
        unit: As in the database, "" where it gives none.
        kind: What the raw value's bits mean.
        factor: Integer where the database's is one, so that integers stay exact.
        offset: As ``factor``.
        choices: The value table, raw value to text, ascending.
    """

    name: str
    unit: str = ""
    kind: Kind = Kind.INT
    factor: int | float = 1
    offset: int | float = 0
    choices: tuple[tuple[int, str], ...] = ()

    def physical(self, raw: NDArray[np.int64]) -> NDArray[Any]:
        """Scale raw values.

        Args:
            raw: int64, shape (n,), in the form that ``kind`` tells.

        Returns:
            Shape (n,): int64 (``Kind.UINT64`` with factor 1 and offset 0: uint64) where factor
            and offset are integers, so that nothing is rounded; float64 otherwise.
        """
        if self.kind is Kind.FLOAT64:
            values: NDArray[Any] = raw.view(np.float64)
        elif self.kind is Kind.FLOAT32:
            values = raw.astype(np.uint32).view(np.float32).astype(np.float64)
        elif self.kind is Kind.FLOAT16:
            values = raw.astype(np.uint16).view(np.float16).astype(np.float64)
        elif self.kind is Kind.UINT64:
            values = raw.view(np.uint64)
        else:
            values = raw
        if self.factor == 1 and self.offset == 0:
            return values
        if self.kind is Kind.INT and isinstance(self.factor, int) and isinstance(self.offset, int):
            return values * np.int64(self.factor) + np.int64(self.offset)
        return values.astype(np.float64) * float(self.factor) + float(self.offset)


@dataclass(frozen=True, slots=True)
class Group:
    """Signals that always arrive together: those of a message, or of a branch of its multiplexer.

    Attributes:
        bus: The bus' name in the vehicle file.
        message: The message's name in the database.
        id: The database's arbitration id, with `EXTENDED` set for 29 bits.
        by_pgn: Matched by its J1939 parameter group number, whatever the priority and the source
            (and, for a PDU1 group, the destination); each series carries the id it came under.
        branch: The way to this branch of the multiplexer, outermost first: selector signal and
            the raw selector values under which the signals are there.  () for plain signals.
        interval: Shortest time between two samples, ns; 0 keeps every one.
        signals: Ordered by the last byte of the frame that they need, so that a frame cut short
            carries a prefix of them.
        quality: The samples come with their `Quality`.
    """

    bus: str
    message: str
    id: int
    by_pgn: bool = False
    branch: tuple[tuple[str, tuple[int, ...]], ...] = ()
    interval: int = 0
    signals: tuple[Signal, ...] = ()
    quality: bool = False

    def names(self) -> tuple[str, ...]:
        """The signals' qualified names, ``bus.message.signal``."""
        return tuple(f"{self.bus}.{self.message}.{signal.name}" for signal in self.signals)


@dataclass(frozen=True, slots=True)
class Samples:
    """Raw samples in columns, one series after the other.

    A series is what one group brought under one arbitration id at one width.  Series s has
    ``count[s]`` rows in ``time`` and ``order``, and ``count[s] * width[s]`` values: first all
    values of its group's first signal, then all of the second, and so on.

    Attributes:
        groups: The table that ``group`` points into.
        group: int32, shape (series,), index into ``groups``.
        id: uint32, shape (series,), the arbitration id on the bus, `EXTENDED` set for 29 bits.
        width: int32, shape (series,), how many of the group's signals the frames carried.
        count: int64, shape (series,), samples of each of the series' signals.
        time: int64, shape (rows,), reception, ns: by the boot clock on its way through a vehicle,
            since the Unix epoch in a recording or a batch that was read; as the clock said, so it
            may step back.
        order: int64, shape (rows,), grows in order of arrival over all series together; rows of
            one series ascend.
        values: int64, shape (values,), raw values in the form of each signal's ``kind``.
        quality: `Quality`, uint8, shape (values,), of each value, 0 in groups without; None where
            no group has it.
    """

    groups: tuple[Group, ...]
    group: NDArray[np.int32]
    id: NDArray[np.uint32]
    width: NDArray[np.int32]
    count: NDArray[np.int64]
    time: NDArray[np.int64]
    order: NDArray[np.int64]
    values: NDArray[np.int64]
    quality: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        """How many samples there are: one value of one signal each."""
        return len(self.values)


class Cause(IntEnum):
    """Why a bus was not listened to."""

    UNKNOWN = 0
    """For a reason that a later version has named."""
    DOWN = 1
    """Its interface was down."""
    ABSENT = 2
    """Its interface, or its adapter, was not there or could not be opened."""
    FAILED = 3
    """Reading from it failed."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a bus was not listened to: no frames then means nothing.

    It is told when it begins and once more when it ends; ``bus`` and ``start`` are those of both.

    Attributes:
        bus: The bus' name in the vehicle file.
        cause: Why.
        start: When it began, ns, by the clock of the samples.
        end: When it ended, likewise; None while it lasts.
    """

    bus: str
    cause: Cause
    start: int
    end: int | None = None
