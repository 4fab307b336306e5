"""Raw values to frames: a flat scatter over all signals of all frames of a block.

The inverse of decoding.  Every (frame, signal) pair of a block is prepared once, as the schedule
repeats; a block then costs a fixed number of numpy calls, whatever messages there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.frames import BRS, CLASSIC_BYTES, FD_BYTES, FDF, Frames
from bordnetz.laptop.vehicle.car import Columns
from bordnetz.laptop.vehicle.network import PERIOD, Layout, Message, NetworkError
from bordnetz.laptop.vehicle.protection import Protection

TICK = 10
"""Milliseconds between two states of the car."""
TICKS = PERIOD // TICK
"""States in a block."""

_MILLISECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class _Piece:
    """The part of a signal that lies in one 64-bit word of a frame."""

    word: int
    right: int
    left: int
    mask: int


def _pieces(signal: Layout) -> Iterator[_Piece]:
    end = signal.start + signal.length
    for word in range(signal.start // 64, (end + 63) // 64):
        low, high = max(signal.start, 64 * word), min(end, 64 * (word + 1))
        mask = (1 << (high - low)) - 1
        if signal.big_endian:  # The first bits of the frame are the value's highest.
            yield _Piece(word, end - high, 64 * (word + 1) - high, mask)
        else:
            yield _Piece(word, low - signal.start, low - 64 * word, mask)


class Packer:
    """Makes the frames of one block after the other."""

    def __init__(self, messages: Sequence[Message]) -> None:
        """Prepare the schedule.

        Raises:
            NetworkError: Two messages have signals of one name, which the columns could not tell
                apart.
        """
        self.signals: tuple[Layout, ...] = tuple(s for m in messages for s in m.signals)
        rows = {signal.name: row for row, signal in enumerate(self.signals)}
        if len(rows) != len(self.signals):
            names = [signal.name for signal in self.signals]
            twice = next(name for name in names if names.count(name) > 1)
            raise NetworkError(
                f"signal '{twice}' is in two messages; names should be unique in the vehicle"
            )
        self._factor = np.array([[s.factor] for s in self.signals])
        self._offset = np.array([[s.offset] for s in self.signals])
        self._low = np.array([[float(s.low)] for s in self.signals])
        self._high = np.array([[float(s.high)] for s in self.signals])
        self._floats = np.flatnonzero([s.is_float for s in self.signals])
        self._classic = _Plan([m for m in messages if not m.fd], rows, CLASSIC_BYTES)
        self._fd = _Plan([m for m in messages if m.fd], rows, FD_BYTES)

    def raw(self, columns: Columns) -> NDArray[np.int64]:
        """Raw values of physical ones; what is out of its range is brought to its end.

        Args:
            columns: By signal name, each of shape (`TICKS`,), or one value for all ticks.

        Returns:
            Shape (signals, `TICKS`), in the order of ``signals``.
        """
        physical = np.empty((len(self.signals), TICKS))
        for row, signal in enumerate(self.signals):
            physical[row] = columns[signal.name]
        scaled = np.rint((physical - self._offset) / self._factor)
        np.clip(scaled, self._low, self._high, out=scaled)
        raw: NDArray[np.int64] = scaled.astype(np.int64)
        raw[self._floats] = physical[self._floats].astype(np.float32).view(np.uint32)
        return raw

    def pack(self, raw: NDArray[np.int64], start: int) -> tuple[Frames, Frames]:
        """The frames of a block, in order of their time.

        Args:
            raw: As from `raw`.
            start: When the block begins, ns since the Unix epoch.

        Returns:
            Classic frames, and CAN FD frames.  Counters go on from the block before.
        """
        return self._classic.pack(raw, start), self._fd.pack(raw, start)


class _Plan:
    """The frames of one kind in a block, and where each signal goes."""

    def __init__(self, messages: Sequence[Message], rows: Mapping[str, int], width: int) -> None:
        self._width = width
        self._words = width // 8
        due: list[int] = []
        message: list[int] = []
        for index, one in enumerate(messages):
            times = range(one.delay, PERIOD, one.cycle)
            due += times
            message += [index] * len(times)
        # Frames due together go out in the order of the messages, that is, of bus and id.
        order = np.lexsort((message, due))
        self._due = np.array(due, np.int64)[order]
        which = np.array(message, np.intp)[order]
        self._bus = np.array([m.bus for m in messages], np.uint8)[which]
        self._id = np.array([m.id for m in messages], np.uint32)[which]
        self._length = np.array([m.length for m in messages], np.uint8)[which]
        self._flags = np.full(len(which), FDF | BRS if width == FD_BYTES else 0, np.uint8)
        self._protection = Protection(messages, which)
        self._little = _Scatter(messages, which, self._due // TICK, rows, self._words, big=False)
        self._big = _Scatter(messages, which, self._due // TICK, rows, self._words, big=True)

    def pack(self, raw: NDArray[np.int64], start: int) -> Frames:
        count = len(self._due)
        words = self._little.words(raw, count * self._words).astype("<u8", copy=False)
        words |= self._big.words(raw, count * self._words).astype(">u8").view("<u8")
        data = words.view(np.uint8).reshape(count, self._width)
        self._protection.apply(data)
        return Frames(
            time=start + self._due * _MILLISECOND,
            bus=self._bus,
            id=self._id,
            flags=self._flags,
            length=self._length,
            data=data,
        )


class _Scatter:
    """Signals of one byte order into words of 64 bits."""

    def __init__(
        self,
        messages: Sequence[Message],
        which: NDArray[np.intp],
        tick: NDArray[np.int64],
        rows: Mapping[str, int],
        words: int,
        *,
        big: bool,
    ) -> None:
        # Columns: word, value, right, left, mask, selector's value, branch; one row a piece.
        table = [
            (frame * words + p.word, rows[s.name] * TICKS + t, p.right, p.left, p.mask, *choice)
            for frame, (index, t) in enumerate(zip(which.tolist(), tick.tolist(), strict=True))
            for s, choice in _signals(messages[index], rows, t)
            if s.big_endian is big
            for p in _pieces(s)
        ]
        table.sort()
        columns = np.array(table, np.uint64).reshape(-1, 7).T
        word = columns[0].astype(np.intp)
        self._source = columns[1].astype(np.intp)
        self._right, self._left, self._mask = (
            columns[2].copy(),
            columns[3].copy(),
            columns[4].copy(),
        )
        self._begin = np.flatnonzero(np.diff(word, prepend=-1))
        self._word = word[self._begin]
        branch = columns[6].astype(np.int64) - 1
        self._chosen = np.flatnonzero(branch >= 0)
        self._selector = columns[5].astype(np.intp)[self._chosen]
        self._branch = branch[self._chosen]

    def words(self, raw: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
        """``count`` words, those without a signal zero."""
        words = np.zeros(count, np.uint64)
        if len(self._source):
            flat = raw.reshape(-1)
            bits = flat[self._source].view(np.uint64)
            bits >>= self._right
            bits &= self._mask
            bits <<= self._left
            bits[self._chosen[flat[self._selector] != self._branch]] = 0
            words[self._word] = np.bitwise_or.reduceat(bits, self._begin)
        return words


def _signals(
    message: Message, rows: Mapping[str, int], tick: int
) -> Iterator[tuple[Layout, tuple[int, int]]]:
    """A message's signals, each with where its selector's value is, and its branch plus 1."""
    selector = 0 if message.selector is None else rows[message.selector] * TICKS + tick
    for signal in message.signals:
        yield signal, (selector, 0 if signal.branch is None else signal.branch + 1)
