"""The frames of a message: edges, every bit, every way through its multiplexers, cut short."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from cantools.database.can import Message, Signal

from .bits import places


@dataclass(frozen=True)
class Depth:
    """How many frames of each message are compared.

    Attributes:
        random: With random data.
        bits: Whether each bit is set alone, and left out alone.
        cuts: With random data at each length that is too short, and one byte too long.
        values: Of a multiplexer, on each way: the first and the last, and random ones between.
    """

    random: int
    bits: bool
    cuts: int
    values: int


WHOLE = Depth(random=1024, bits=True, cuts=8, values=256)
GENERATED = Depth(random=4, bits=False, cuts=1, values=4)
SAMPLE = Depth(random=1, bits=False, cuts=0, values=2)


def payloads(message: Message, depth: Depth, chance: random.Random) -> Iterator[bytes]:
    """The data of frames of a message."""
    length = min(message.length, 64)
    ones = (1 << 8 * length) - 1
    for bits in (0, ones):
        yield bits.to_bytes(length, "little")
    if depth.bits:
        for place in range(8 * length):
            yield (1 << place).to_bytes(length, "little")
            yield (ones ^ 1 << place).to_bytes(length, "little")
    for _ in range(depth.random):
        yield chance.randbytes(length)
    yield from _ways(message, depth, chance, length)
    for cut in range(length):
        for _ in range(depth.cuts):
            yield chance.randbytes(cut)
            yield _steered(message, chance, length)[:cut]
    yield _steered(message, chance, length)[: chance.randint(0, length)]
    if length < 64:
        yield chance.randbytes(length + 1)


def _ways(message: Message, depth: Depth, chance: random.Random, length: int) -> Iterator[bytes]:
    """Each signal under each value that selects it, and each multiplexer under one it knows not."""
    signals = {signal.name: signal for signal in message.signals}
    for signal in message.signals:
        if signal.multiplexer_ids and signal.multiplexer_signal in signals:
            ids = signal.multiplexer_ids
            if len(ids) > depth.values:
                ids = [ids[0], ids[-1], *chance.sample(ids, max(depth.values - 2, 0))]
            for value in ids:
                data = bytearray(chance.randbytes(length))
                _steer(data, signals[signal.multiplexer_signal], value)
                _lead_to(data, signals[signal.multiplexer_signal], signals, chance)
                yield bytes(data)
        if signal.is_multiplexer:
            known = {
                value
                for other in message.signals
                if other.multiplexer_signal == signal.name
                for value in other.multiplexer_ids or ()
            }
            strange = [value for value in range(1 << min(signal.length, 16)) if value not in known]
            for value in chance.sample(strange, min(len(strange), 2)):
                data = bytearray(chance.randbytes(length))
                _steer(data, signal, value)
                _lead_to(data, signal, signals, chance)
                yield bytes(data)


def _lead_to(
    data: bytearray, signal: Signal, signals: dict[str, Signal], chance: random.Random
) -> None:
    """Steer the multiplexers above one."""
    for _ in signals:
        selector = signals.get(signal.multiplexer_signal or "")
        if selector is None or not signal.multiplexer_ids:
            return
        _steer(data, selector, chance.choice(signal.multiplexer_ids))
        signal = selector


def _steered(message: Message, chance: random.Random, length: int) -> bytes:
    """Random data in which each multiplexer has a value that selects something."""
    data = bytearray(chance.randbytes(length))
    signals = {signal.name: signal for signal in message.signals}
    selected = [signal for signal in message.signals if signal.multiplexer_ids]
    for signal in chance.sample(selected, len(selected)):
        selector = signals.get(signal.multiplexer_signal or "")
        if selector is not None:
            _steer(data, selector, chance.choice(signal.multiplexer_ids or [0]))
    return bytes(data)


def _steer(data: bytearray, selector: Signal, value: int) -> None:
    """Set a signal's bits."""
    if not 0 < selector.length <= 64:
        return
    for place in reversed(places(selector)):
        if 0 <= place < 8 * len(data):
            data[place // 8] = data[place // 8] & ~(1 << place % 8) | (value & 1) << place % 8
        value >>= 1
