"""What the vehicle's DBC files say about sending: layout, cycle, protection of each message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cantools.database
import cantools.errors
from cantools.database.can import Database
from cantools.database.can import Message as ParsedMessage
from cantools.database.can import Signal as ParsedSignal

from bordnetz.can.vehicle import Vehicle
from bordnetz.errors import BordnetzError
from bordnetz.series import EXTENDED

PERIOD = 1000
"""Milliseconds after which the schedule repeats: every cycle time divides it."""


class NetworkError(BordnetzError):
    """The DBC files do not say how to send a message; the text says which and what is missing."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a signal lies and how it is scaled.

    Attributes:
        name: Of the signal.
        start: First bit counted from the frame's first byte on: for little endian the least
            significant one, for big endian the most significant one with the bits of each byte
            counted from its most significant.
        length: Bits.
        big_endian: Byte order.
        is_float: IEEE 754, 32 bits.
        factor: Physical value = raw value x factor + offset.
        offset: As ``factor``.
        low: Smallest raw value that the database allows; ``high`` the largest.
        branch: The selector's value under which it is there; None for plain signals.
    """

    name: str
    start: int
    length: int
    big_endian: bool
    is_float: bool
    factor: float
    offset: float
    low: int
    high: int
    branch: int | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is sent in a cycle.

    Attributes:
        bus: Index of the bus in the vehicle file.
        name: In the database.
        id: Arbitration id, `EXTENDED` set for 29 bits.
        length: Bytes of data.
        fd: A CAN FD frame.
        cycle: Milliseconds between two frames (``GenMsgCycleTime``).
        delay: Milliseconds before the first one (``GenMsgStartDelayTime``).
        profile: End-to-end protection: ``None``, ``P01`` or ``P02`` (``E2EProfile``).
        data_ids: One 16-bit id for ``P01``, sixteen of 8 bits for ``P02``, else none.
        selector: Name of the multiplexer, if there is one.
        signals: All but checksum and counter, which the protection writes.
    """

    bus: int
    name: str
    id: int
    length: int
    fd: bool
    cycle: int
    delay: int
    profile: str
    data_ids: tuple[int, ...]
    selector: str | None
    signals: tuple[Layout, ...]


def load(vehicle: Vehicle) -> tuple[Message, ...]:
    """All cyclic messages of the vehicle, in the order of buses and ids.

    Raises:
        NetworkError: A file is no valid DBC file, or a message cannot be sent as it says.
    """
    return tuple(
        _message(index, message, file)
        for index, bus in enumerate(vehicle.buses)
        for file in vehicle.databases(bus)
        for message in sorted(_messages(file), key=lambda m: (m.is_extended_frame, m.frame_id))
        if message.cycle_time
    )


def _messages(file: Path) -> Iterable[ParsedMessage]:
    try:
        database = cantools.database.load_file(file, database_format="dbc", strict=True)
    except (OSError, cantools.errors.Error) as error:
        raise NetworkError(f"{file}: cannot be used for sending: {error}") from error
    assert isinstance(database, Database)  # noqa: S101 (what load_file makes of "dbc")
    return database.messages


def _message(bus: int, message: ParsedMessage, file: Path) -> Message:
    def refuse(reason: str) -> NetworkError:
        return NetworkError(f"{file}: message '{message.name}': {reason}")

    cycle, delay = message.cycle_time or 0, int(_attribute(message, "GenMsgStartDelayTime", 0))
    if PERIOD % cycle or not 0 <= delay < cycle:
        raise refuse(
            f"cycle {cycle} ms, delay {delay} ms: the cycle should divide {PERIOD} ms and the "
            "delay (GenMsgStartDelayTime) be shorter"
        )
    profile = str(_attribute(message, "E2EProfile", "None"))
    data_ids: tuple[int, ...] = ()
    if profile == "P01":
        data_ids = (int(_attribute(message, "E2EDataId", 0)),)
    elif profile == "P02":
        try:
            data_ids = tuple(bytes.fromhex(str(_attribute(message, "E2EDataIdList", ""))))
        except ValueError:
            data_ids = ()
        if len(data_ids) != 16:
            raise refuse("E2EDataIdList should be sixteen hexadecimal bytes")
    signals = list(message.signals)
    if profile != "None":
        head = [_start(signal) for signal in signals[:2]]
        if head != [0, 8] or [s.length for s in signals[:2]] != [8, 4] or message.length < 2:
            raise refuse(f"profile {profile} needs a checksum in byte 0, a counter in bits 8 to 11")
        del signals[:2]
    selectors = [signal.name for signal in signals if signal.is_multiplexer]
    if len(selectors) > 1:
        raise refuse("has several multiplexers; one is supported")
    for signal in signals:
        if signal.conversion.is_float and signal.length != 32:
            raise refuse(f"signal '{signal.name}': only floats of 32 bits are supported")
    return Message(
        bus=bus,
        name=message.name,
        id=message.frame_id | (EXTENDED if message.is_extended_frame else 0),
        length=message.length,
        fd=message.is_fd,
        cycle=cycle,
        delay=delay,
        profile=profile,
        data_ids=data_ids,
        selector=selectors[0] if selectors else None,
        signals=tuple(_layout(signal) for signal in signals),
    )


def _attribute(message: ParsedMessage, name: str, default: Any) -> Any:
    attributes: dict[str, Any] = {}
    if message.dbc is not None and message.dbc.attributes:
        attributes.update(message.dbc.attributes)
    if name not in attributes:
        return default
    found = attributes[name]
    value, choices = found.value, found.definition.choices
    return choices[value] if choices and isinstance(value, int) else value


def _start(signal: ParsedSignal) -> int:
    return signal.start ^ 7 if signal.byte_order == "big_endian" else signal.start


def _layout(signal: ParsedSignal) -> Layout:
    bits = signal.length
    low, high = (
        (-(1 << bits - 1), (1 << bits - 1) - 1) if signal.is_signed else (0, (1 << bits) - 1)
    )
    if signal.minimum is not None:
        low = max(low, round((signal.minimum - signal.offset) / signal.scale))
    if signal.maximum is not None:
        high = min(high, round((signal.maximum - signal.offset) / signal.scale))
    return Layout(
        name=signal.name,
        start=_start(signal),
        length=bits,
        big_endian=signal.byte_order == "big_endian",
        is_float=signal.conversion.is_float,
        factor=float(signal.scale),
        offset=float(signal.offset),
        low=low,
        high=high,
        branch=signal.multiplexer_ids[0] if signal.multiplexer_ids else None,
    )
