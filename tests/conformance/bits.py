"""Signals read one by one, bit by bit, in plain Python: what cantools loads, but cannot decode."""

from __future__ import annotations

import struct

from cantools.database.can import Message, Signal

MOST_BYTES = 64
_FLOATS = {16: "e", 32: "f", 64: "d"}


def places(signal: Signal) -> list[int]:
    """Where its bits lie, the most significant first; bits of a byte from the least one upwards."""
    if signal.byte_order == "little_endian":
        return list(range(signal.start + signal.length - 1, signal.start - 1, -1))
    place, found = signal.start, []
    for _ in range(signal.length):
        found.append(place)
        place = place + 15 if place % 8 == 0 else place - 1
    return found


def fits(signal: Signal, message: Message) -> bool:
    """Whether a signal lies in its message and can be read at all."""
    if not 0 < signal.length <= 64 or (signal.is_float and signal.length not in _FLOATS):
        return False
    return min(places(signal)) >= 0 and max(places(signal)) < 8 * min(message.length, MOST_BYTES)


def read(signal: Signal, data: bytes) -> int | float | None:
    """A signal's raw value; None where the data ends before it does."""
    value = 0
    for place in places(signal):
        if place >= 8 * len(data):
            return None
        value = value << 1 | data[place // 8] >> place % 8 & 1
    if signal.is_float:
        raw = value.to_bytes(signal.length // 8, "big")
        number: float = struct.unpack(">" + _FLOATS[signal.length], raw)[0]
        return number
    if signal.is_signed and value >> signal.length - 1:
        value -= 1 << signal.length
    return value


def by_bits(message: Message, data: bytes) -> dict[str, int | float]:
    """All raw values that are in the data."""
    signals = {signal.name: signal for signal in message.signals if fits(signal, message)}
    found: dict[str, int | float] = {}
    for name, signal in signals.items():
        at: Signal | None = signal
        depth = 0
        while at is not None and at.multiplexer_signal is not None and depth < len(signals):
            selector = signals.get(at.multiplexer_signal)
            known = selector is not None and selector.is_multiplexer
            if not known or read(selector, data) not in (at.multiplexer_ids or ()):
                at = None
            else:
                at, depth = selector, depth + 1
        value = read(signal, data)
        if at is not None and at.multiplexer_signal is None and value is not None:
            found[name] = value
    return found
