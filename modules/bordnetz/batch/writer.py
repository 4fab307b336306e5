"""Closes batches: where one ends and the next begins.

IoT Hub meters messages in blocks of 4,096 bytes, so the writer fills whole blocks.  How many rows
do so is not known before they are encoded; it is guessed from the batches before, and corrected
by what the encoding turned out to need.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np

from bordnetz.batch.blocks import cut, merge
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.message import MAX_BYTES, MAX_VALUES, Draft, Stamp, encode_batch
from bordnetz.series import Samples

BLOCK = 4096
"""Bytes of a metered block of IoT Hub."""

_FILL = 0.975
"""Share of its blocks that a batch should fill: more is not worth another encoding."""

_HOPELESS = 0.8
"""Guessed share of a block below which a timed flush does not try to fill one."""

_AIM = 0.988
"""Share of the room that a guess aims at: what is too large has to be encoded again."""

_TRIES = 5
"""Encodings after which what fits is good enough."""

_FIXED, _EACH_COLUMN = 80.0, 2.0
"""About what a batch costs before its first sample, and what each of its columns does."""

_WORKING_BYTES = 4 << 20

_FAN = 8
"""So many runs of blocks are merged into one, so that each value is copied a few times only."""


def settle_heap() -> None:
    """Keep the C library from giving memory back after each encoding, only to ask for it again.

    glibc maps blocks above a threshold of 128 KiB one by one and trims its heap to twice that.
    Both grow to the size of the largest mapped block that was ever freed (mallopt(3),
    M_MMAP_THRESHOLD), so one block of the size of an encoding's working memory, never touched,
    saves a third of its CPU time.
    """
    np.empty(_WORKING_BYTES, np.uint8)


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
        self._runs.append((0, replace(samples, order=order)))
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
            if whole_blocks and self._guess() < _HOPELESS * BLOCK - self._properties:
                break
            held = self._held()
            draft, rest = self._fill(held, self._room)
            if rest is None and whole_blocks and not self._is_full(draft):
                blocks = (draft.max_size + self._properties) // BLOCK
                if not blocks:
                    break
                draft, rest = self._fill(held, blocks * BLOCK - self._properties)
            drafts.append(draft)
            self._keep(rest)
        return drafts

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
        rows, size = total, self._guess()
        for attempt in count(1):
            if size > room or attempt > 1:
                rows = int(rows * (room * _AIM - self._fixed) / max(size - self._fixed, 1))
            if attempt > _TRIES:
                rows = (low + high) // 2
            rows = min(max(rows, low + 1), high - 1)
            head, rest = cut(held, rows)
            numbers = len(head.order) + len(head)
            if numbers > MAX_VALUES:
                size = room * numbers / MAX_VALUES * 1.05
            else:
                draft = encode_batch(head, self.dictionary, self.stamp)
                size = draft.max_size
                self._learn(head, size)
            if size <= room or rows == 1:
                low, fits = rows, (draft, rest if len(rest.order) else None)
                if rows == total or max(size / room, numbers / MAX_VALUES) >= _FILL:
                    return fits
            else:
                high = rows
            if fits and (high - low <= 1 or attempt >= _TRIES):
                return fits
        raise AssertionError("the range of rows closes")

    def _learn(self, samples: Samples, size: int) -> None:
        """Learn from an encoding what the next will need."""
        columns = len(samples.width) + int(samples.width.sum())
        self._fixed = min(_FIXED + _EACH_COLUMN * columns, size / 2)
        self._each = (size - self._fixed) / (len(samples.order) + len(samples))
