"""Closes batches: where one ends and the next begins.

IoT Hub meters messages in blocks of 4,096 bytes, so the writer fills whole blocks.  How many rows
do so is not known before they are encoded; it is guessed from the batches before, and corrected
by what the encoding turned out to need.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.blocks import cut, merge
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.memory import Memory
from bordnetz.batch.message import MAX_BYTES, MAX_VALUES, Draft, Stamp, encode_batch
from bordnetz.series import Samples

BLOCK = 4096
"""Bytes of a metered block of IoT Hub."""

_FILL = 0.965
"""Share of its blocks that a batch should fill: more is not worth another encoding."""

_HOPELESS = 0.8
"""Guessed share of a block below which a timed flush does not try to fill one."""

_ENOUGH = 0.7
"""Share of the room from which whole blocks are enough: one more would save next to nothing."""

_AIM = 0.983
"""Share of the room that a guess aims at: what is too large has to be encoded again."""

_TRIES = 5
"""Encodings after which what fits is good enough."""

_FIXED = 80.0
"""About what a batch costs before its first column."""

_APART = 8
"""Two encodings that differ by one in so many numbers tell what a batch's fixed part is."""

_INT32 = np.iinfo(np.int32)

_WORKING_BYTES = 8 << 20

_FAN = 32
"""So many runs of blocks are merged into one, so that each value is copied a few times only."""


def settle_heap() -> None:
    """Keep the C library from giving memory back after each encoding, only to ask for it again.

    glibc maps blocks above a threshold of 128 KiB one by one and trims its heap to twice that.
    Both grow to the size of the largest mapped block that was ever freed (mallopt(3),
    M_MMAP_THRESHOLD), so one block of the size of an encoding's working memory, never touched,
    saves up to half of the CPU time of encodings that large.
    """
    np.empty(_WORKING_BYTES, np.uint8)


def _short(values: NDArray[np.int64]) -> NDArray[Any]:
    """The same as int32 if they fit, for what is held until a batch is full fills the memory."""
    if int(values.min()) < _INT32.min or int(values.max()) > _INT32.max:
        return values
    return values.astype(np.int32)


class Writer:
    """Takes samples as they are decoded and makes batches of them.

    All samples come out once, those of a series in the order they came in.

    Args:
        dictionary: What the samples' groups are taken from.
        stamp: Goes into each batch; may be replaced between two calls.
        properties: Bytes of topic and properties of each message, as IoT Hub meters them.
        blocks: A batch is closed when it fills so many blocks.

    Raises:
        ValueError: A batch of so many blocks is more than a message takes.
    """

    def __init__(
        self, dictionary: Dictionary, stamp: Stamp, *, properties: int = 0, blocks: int = 16
    ) -> None:
        self.dictionary = dictionary
        self.stamp = stamp
        self._properties = properties
        self._room = min(blocks * BLOCK, MAX_BYTES) - properties
        if blocks < 1 or blocks * BLOCK > MAX_BYTES or self._room < BLOCK // 2:
            raise ValueError(
                f"{blocks} blocks of {BLOCK} bytes with {properties} bytes of properties "
                f"do not make a message; at most {MAX_BYTES} bytes do"
            )
        self._runs: list[tuple[int, Samples]] = []
        self._rows = 0
        self._values = 0
        self._next_order = 0
        self._fixed = 256.0
        self._each = 0.6
        self._learnt = 0, 0
        self._memory = Memory(dictionary)
        settle_heap()

    @property
    def rows(self) -> int:
        """Rows held, of all series."""
        return self._rows

    @property
    def samples(self) -> int:
        """Values held."""
        return self._values

    def add(self, samples: Samples) -> list[Draft]:
        """Take decoded samples.

        Returns:
            The batches that are full now, oldest first; usually none.

        Raises:
            ValueError: The samples are of another dictionary.
        """
        groups = self.dictionary.groups
        if samples.groups is not groups and samples.groups != groups:
            raise ValueError("the samples' groups are not those of the dictionary")
        if not len(samples.order):
            return []
        order = samples.order + (self._next_order - int(samples.order.min()))
        self._next_order = int(order.max()) + 1
        self._rows += len(order)
        self._values += len(samples)
        self._runs.append((0, replace(samples, order=order, values=_short(samples.values))))
        while len(self._runs) >= _FAN and self._runs[-_FAN][0] == self._runs[-1][0]:
            level = self._runs[-1][0]
            run = merge([run for _, run in self._runs[-_FAN:]])
            self._runs[-_FAN:] = [(level + 1, run)]
        drafts = []
        while self._guess() >= self._room or self._rows + self._values > MAX_VALUES:
            held = self._held()
            draft, rest = self._fill(held, self._room)
            if rest is None and not self._is_full(draft):
                break
            drafts.append(draft)
            self._keep(rest)
        return drafts

    def flush(self, *, whole_blocks: bool) -> list[Draft]:
        """Close what is held, at the end of the window.

        Args:
            whole_blocks: Send what fills whole blocks and keep the rest; False sends all.

        Returns:
            Batches, oldest first.
        """
        drafts = []
        while self._rows:
            blocks = (self._guess() + self._properties) / BLOCK
            if not whole_blocks or blocks * BLOCK >= self._room + self._properties:
                draft, rest = self._fill(self._held(), self._room)
                if not whole_blocks or rest is not None or self._is_full(draft):
                    drafts.append(draft)
                    self._keep(rest)
                    continue
                blocks = (draft.max_size + self._properties) / BLOCK
            drafts += self._fill_blocks(blocks)
            break
        return drafts

    def _fill_blocks(self, guess: float) -> list[Draft]:
        """Fill about so many whole blocks, in one batch at most, and keep the rest.

        A second batch for the last of the blocks would cost its fixed part again; what it would
        hold comes with the next window.
        """
        if guess < _HOPELESS:
            return []
        blocks = max(int(guess), 1)
        while blocks:
            draft, rest = self._fill(self._held(), blocks * BLOCK - self._properties)
            if rest is not None or self._is_full(draft):
                self._keep(rest)
                return [draft]
            # It was guessed too high: all that is held fills fewer blocks.
            blocks = (draft.max_size + self._properties) // BLOCK
        return []

    def _held(self) -> Samples:
        """All that is held, in one block."""
        if len(self._runs) > 1:
            level = self._runs[0][0] + 1
            self._runs = [(level, merge([run for _, run in self._runs]))]
        elif len(self._runs) == 1:
            self._runs = [(self._runs[0][0], merge([self._runs[0][1]]))]
        return self._runs[0][1]

    def _keep(self, rest: Samples | None) -> None:
        """Hold nothing but ``rest``."""
        self._runs = [] if rest is None else [(self._runs[0][0], rest)]
        self._rows = 0 if rest is None else len(rest.order)
        self._values = 0 if rest is None else len(rest)

    def _guess(self) -> float:
        """Bytes that a batch of all that is held would have."""
        return self._fixed + self._each * (self._rows + self._values)

    def _is_full(self, draft: Draft) -> bool:
        """Whether the draft fills the blocks that it begins."""
        size = draft.max_size + self._properties
        return size >= _FILL * -(-size // BLOCK) * BLOCK

    def _fill(self, held: Samples, room: int) -> tuple[Draft, Samples | None]:
        """Encode as many rows as fill ``room``, the earliest first.

        Returns:
            The draft, and what it leaves; None where it takes everything.
        """
        total = len(held.order)
        fits: tuple[Draft, Samples | None] | None = None
        low, high = 0, total + 1
        for attempt in count(1):
            rows = total
            if attempt > _TRIES:
                rows = (low + high) // 2
            elif attempt > 1 or self._guess() > room:
                aim = (room * _AIM - self._fixed) / self._each
                rows = int(total * min(aim, MAX_VALUES * _AIM) / (self._rows + self._values))
            rows = min(max(rows, low + 1), high - 1)
            head, rest = cut(held, rows)
            numbers = len(head.order) + len(head)
            if numbers > MAX_VALUES:
                high = rows
                continue
            draft = encode_batch(head, self.dictionary, self.stamp, memory=self._memory)
            self._learn(numbers, draft.max_size)
            if draft.max_size <= room or rows == 1:
                low, fits = rows, (draft, rest if len(rest.order) else None)
                used = max(draft.max_size / room, numbers / MAX_VALUES)
                if rows == total or used >= _FILL:
                    return fits
                if used >= _ENOUGH:
                    if self._is_full(draft):
                        return fits
                    # Less is surer than more: from here it is not far to the block before.
                    size = draft.max_size + self._properties
                    room = size // BLOCK * BLOCK - self._properties
                    low, high, fits = 0, rows, None
            else:
                high = rows
            if fits and (high - low <= 1 or attempt >= _TRIES):
                return fits
        raise AssertionError("the range of rows closes")

    def _learn(self, numbers: int, size: int) -> None:
        """Learn from an encoding what the next will need."""
        before, its_size = self._learnt
        if abs(numbers - before) * _APART > numbers and before:
            # Two points far enough apart tell the fixed part from the other.
            slope = (size - its_size) / (numbers - before)
            self._fixed = min(max(size - slope * numbers, _FIXED), size / 2)
        self._learnt = numbers, size
        self._fixed = min(self._fixed, size / 2)
        self._each = (size - self._fixed) / numbers
