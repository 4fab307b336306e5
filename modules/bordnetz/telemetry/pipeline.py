"""From frames to batches that are ready for the outbox: assemble, decode, thin, remember, write.

Everything here is synchronous and looks at no clock of its own.  One pipeline serves one
configuration; a new configuration gets a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.message import MOST_GAPS, Clock, Draft, Stamp, encode_gaps
from bordnetz.batch.writer import Writer
from bordnetz.can.frames import CLASSIC_BYTES, FD_BYTES, Block, Frames
from bordnetz.can.quality import Assessor
from bordnetz.can.table import DecodeTable
from bordnetz.can.transport.assembler import Assembler
from bordnetz.can.validity import Validity
from bordnetz.series import Gap
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.config import SECOND, Desired
from bordnetz.telemetry.latest import Latest
from bordnetz.telemetry.state import State
from bordnetz.telemetry.thin import Thinner

FULL = 3072
"""Frames that are decoded at once: more leave the processor's cache, fewer cost more each."""

MOST = 300_000
"""Samples after which a batch is closed even if it fills fewer blocks than it may: while it is
encoded each takes some 30 bytes of memory, also where it becomes next to nothing."""

URGENT = 2
"""Batches of this priority and above (that is, 0 to 2) do not wait to fill whole blocks."""

PATIENCE = 6
"""Windows that a batch of lower priority may wait until it fills a first block."""


QUIET = 30.0
"""Seconds without any frame after which the rest of a message of many frames does not come."""


class Pipeline:
    """Frames in, drafts of batches out.

    Args:
        table: For the wanted signals.
        dictionary: Of the table's groups.
        desired: The configuration.
        books: Where frames are counted; outlives the pipeline.
        stamp: For the batches.
        properties: Metered bytes of a message besides its body.
        state: Gets all frames, too; nothing of it shows in the batches.
        validity: Looks at all frames; None where nothing is checked.
        assembler: Puts messages of many frames together; None where none are wanted.
        assessor: Tells the quality of samples; None where nobody asks for it.

    Attributes:
        latest: The last value of every signal.
        samples: Decoded so far.
    """

    def __init__(
        self,
        table: DecodeTable,
        dictionary: Dictionary,
        desired: Desired,
        books: Books,
        stamp: Stamp,
        properties: int,
        state: State | None = None,
        validity: Validity | None = None,
        assembler: Assembler | None = None,
        assessor: Assessor | None = None,
    ) -> None:
        self.latest = Latest(table.groups)
        self.samples = 0
        self._table = table
        self._books = books
        self._state = state
        self._validity = validity
        self._assessor = assessor
        self._assembler = assembler
        self._thinner = Thinner(table.groups)
        self._writer = Writer(dictionary, stamp, properties=properties)
        self._whole_blocks = desired.priority > URGENT
        self._window = desired.batch_window
        self._pending: list[Block] = []
        self._frames = 0
        # Of the window: when it began by the steady clock, and the first frame's own time.
        self._began: float | None = None
        self._first = 0
        self._last = 0
        self._waits = 0
        self._heard = 0.0
        self._gaps: tuple[Gap, ...] = ()

    @property
    def waiting(self) -> bool:
        """Whether there is something that time alone will move on."""
        return bool(self._frames or self._writer.rows or self._open or self._gaps)

    def rest(self, now: float) -> float | None:
        """Seconds from ``now`` on in which nothing changes if no frame comes; None: for ever."""
        ends = [] if self._began is None else [self._began + self._window]
        if self._open:
            ends.append(self._heard + QUIET)
        return max(min(ends) - now, 0) if ends else None

    @property
    def held(self) -> int:
        """Samples decoded and not handed out yet."""
        return self._writer.samples

    def take(self, block: Block, now: float) -> list[Draft]:
        """Take a block of frames.

        Args:
            block: As it came from the source.
            now: Seconds of a steady clock.

        Returns:
            Batches that are full now, usually none.
        """
        frames = len(block.classic) + len(block.fd)
        if block.gaps:
            self.note(block.gaps, now)
        if frames:
            self._pending.append(block)
            self._frames += frames
        else:
            self._books.arrived(block)
        return self.advance(now) if self._frames >= FULL else []

    def note(self, gaps: tuple[Gap, ...], now: float) -> None:
        """Tell of gaps with the next batch, or without samples at the end of the window."""
        if not self._table.groups:
            return
        self._gaps = (*self._gaps, *gaps)[-MOST_GAPS:]
        if self._began is None:
            self._began, self._first = now, self._last

    def advance(self, now: float) -> list[Draft]:
        """Decode what has come, and close the window if it is over."""
        drafts = self._telling(self._decode(now))
        if self._began is not None and (
            # A recording's clock tells more than ours; one that was set back ends the window too.
            now - self._began >= self._window
            or abs(self._last - self._first) >= self._window * SECOND
        ):
            drafts += self._close_window(now)
        return drafts

    def flush(self, now: float) -> list[Draft]:
        """Everything there is, now."""
        drafts = self._decode(now) + self._writer.flush(whole_blocks=False)
        drafts = self._telling(drafts, alone=True)
        self._began, self._waits = None, 0
        return drafts

    def release(self) -> Block | None:
        """Give the frames of messages that are not whole to the pipeline that comes after."""
        if not self._open or self._assembler is None:
            return None
        return Block.of(len(self._table.buses), *self._assembler.release())

    def give_up(self) -> None:
        """Book the frames of messages that are not whole: no more will come."""
        if self._open and self._assembler is not None:
            self._books.assembled(self._assembler.give_up())

    @property
    def _open(self) -> bool:
        """Whether there are messages that are not whole."""
        return self._assembler is not None and self._assembler.waiting

    def trust(self, clock: Clock, ahead: int) -> None:
        """Say in the following batches what the wall clock is worth.

        Args:
            clock: How far it can be trusted.
            ahead: How far it is ahead of the boot clock, which frames have their times of, ns.
        """
        self._writer.stamp = replace(self._writer.stamp, clock=clock, ahead=ahead)

    def _close_window(self, now: float) -> list[Draft]:
        drafts = self._writer.flush(whole_blocks=self._whole_blocks and self._waits < PATIENCE)
        self._waits = 0 if drafts else self._waits + 1
        drafts = self._telling(drafts, alone=not self._writer.rows)
        # What is kept has its next window, even if no frame ever follows.
        self._began, self._first = (now, self._last) if self._writer.rows else (None, 0)
        return drafts

    def _telling(self, drafts: list[Draft], *, alone: bool = False) -> list[Draft]:
        """Let the first draft tell of the gaps; without one they get a message of their own."""
        if not self._gaps or not (drafts or alone):
            return drafts
        stamp = self._writer.stamp
        if drafts:
            drafts = [drafts[0].telling(self._gaps, stamp), *drafts[1:]]
        else:
            drafts = [encode_gaps(self._gaps, self._writer.dictionary, stamp)]
        self._gaps = ()
        return drafts

    def _decode(self, now: float) -> list[Draft]:
        if not self._frames:
            if now - self._heard >= QUIET:
                self.give_up()
            return []
        self._heard = now
        blocks, self._pending, self._frames = self._pending, [], 0
        for block in blocks:
            self._books.arrived(block)
        classic = Frames.concat([block.classic for block in blocks], CLASSIC_BYTES)
        fd = Frames.concat([block.fd for block in blocks], FD_BYTES)
        drafts = []
        for frames in (classic, fd):
            assembled = None if self._assembler is None else self._assembler.take(frames)
            for part in _parts(frames if assembled is None else assembled.rest):
                drafts += self._decode_part(part, now)
            if assembled is not None:
                self._books.assembled(assembled)
                for messages, stands in assembled.messages():
                    drafts += self._decode_part(messages, now, stands)
        return drafts

    def _decode_part(
        self, frames: Frames, now: float, stands: NDArray[np.int64] | None = None
    ) -> list[Draft]:
        if self._state is not None:
            self._state.take(frames, now)
        checked = None if self._validity is None else self._validity.look(frames)
        matches = self._table.match(frames, stands)
        late = None if self._assessor is None else self._assessor.follow(frames, matches)
        kept = self._thinner.keep(matches.group, matches.id, frames.time[matches.frame])
        decoded = matches.decoded
        if not kept.all():
            matches = matches.keep(kept)
            seen = np.zeros(len(frames), bool)
            seen[matches.frame] = True
            weights = None if stands is None else stands[seen]
            decoded = np.bincount(frames.bus[seen], weights, len(decoded)).astype(np.int64)
        self._books.matched(matches, decoded)
        if not len(matches):
            return []
        samples = self._table.gather(frames, matches)
        if self._assessor is not None:
            samples = self._assessor.assess(samples, checked, late)
        self.samples += len(samples)
        self.latest.update(samples, now)
        self._last = int(frames.time[-1])
        if self._began is None:
            self._began = now
        if not self._writer.rows:  # The window may have begun with a gap, at no frame's time.
            self._first = self._last
        drafts = self._writer.add(samples)
        # Where all of it fills no block, it leaves all the same.
        for whole_blocks in (self._whole_blocks, False):
            if self._writer.samples > MOST:
                drafts += self._writer.flush(whole_blocks=whole_blocks)
        return drafts


def _parts(frames: Frames) -> Iterator[Frames]:
    """The frames in parts of at most `FULL`."""
    for start in range(0, len(frames), FULL):
        yield frames[start : start + FULL]
