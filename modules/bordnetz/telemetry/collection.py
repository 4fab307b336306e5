"""What is collected now: the configuration at work, and its change without losing a frame."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.message import Clock, Draft, Resolution, Stamp
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import Block
from bordnetz.can.table import DecodeTable
from bordnetz.edge.clock import ClockQuality, boot_id, clock_quality
from bordnetz.telemetry.backlog import Backlog
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.config import Desired, wanted_signals
from bordnetz.telemetry.messages import batch_parcel, dictionary_parcel, properties_size
from bordnetz.telemetry.pipeline import Pipeline

log = logging.getLogger(__name__)

_CLOCKS = {
    ClockQuality.UNKNOWN: Clock.UNKNOWN,
    ClockQuality.FREE: Clock.UNSYNCHRONISED,
    ClockQuality.SYNCHRONISED: Clock.SYNCHRONISED,
}
_RESOLUTIONS = {"ms": Resolution.MILLISECOND, "us": Resolution.MICROSECOND}


@dataclass(frozen=True, slots=True)
class _Work:
    """One configuration, compiled."""

    desired: Desired
    dictionary: Dictionary
    pipeline: Pipeline


class Collection:
    """Collects what the configuration asks for; nothing before the first one.

    Args:
        catalogue: All that could be collected.
        vehicle: Digest of the vehicle file, 32 bytes.
        books: Where frames are counted.
        backlog: Takes what is ready.
        recorded: Whether the frames' times come from a recording, not from this machine's clock.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        vehicle: bytes,
        books: Books,
        backlog: Backlog,
        *,
        recorded: bool,
    ) -> None:
        self._catalogue = catalogue
        self._vehicle = vehicle
        self._books = books
        self._backlog = backlog
        self._recorded = recorded
        self._boot = boot_id()
        self._decoded = 0
        self._work = self._compile(Desired(), 0)
        self._active = asyncio.Event()
        self._arrived = asyncio.Event()

    # -- frames

    async def take(self, block: Block) -> None:
        """Take a block of frames; waits for room in the outbox if the frames are recorded."""
        work = self._work
        await self._hand_over(work, work.pipeline.take(block, time.monotonic()))
        if work.pipeline.waiting:
            self._arrived.set()

    async def advance(self, seconds: float) -> None:
        """Move on what only time moves on, every so many seconds, for ever."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(seconds)
            work = self._work
            if not self._recorded:
                work.pipeline.trust(_CLOCKS[clock_quality()])
            await self._hand_over(work, work.pipeline.advance(time.monotonic()))
            if not self._work.pipeline.waiting:
                self._arrived.clear()

    async def flush(self) -> None:
        """Hand everything over to the backlog."""
        await self._hand_over(self._work, self._work.pipeline.flush(time.monotonic()))

    # -- configuration

    async def apply(self, desired: Desired, version: int) -> None:
        """Collect by another configuration from here on.

        Args:
            desired: The configuration.
            version: Of the desired properties; batches carry it.
        """
        old = self._work
        new = await asyncio.to_thread(self._compile, desired, version)
        drafts = old.pipeline.flush(time.monotonic())
        self._decoded += old.pipeline.samples
        self._work = new
        await self._hand_over(old, drafts)
        await self.send_dictionary()
        log.info("collecting %d of %d signals", self.signals, len(self._catalogue.names))
        if self.signals:
            self._active.set()

    async def send_dictionary(self) -> None:
        """Send the dictionary, if there is something to read with it."""
        if self.signals:
            await self._backlog.add([dictionary_parcel(self._work.dictionary, self._boot)])

    async def repeat_dictionary(self) -> None:
        """Send the dictionary again and again, as often as configured, for ever."""
        while True:
            sent = self._work
            await asyncio.sleep(sent.desired.dictionary_interval)
            if sent is self._work:
                await self.send_dictionary()

    async def active(self) -> None:
        """Wait until a configuration asks for something."""
        await self._active.wait()

    # -- what an operator may ask

    @property
    def signals(self) -> int:
        """How many signals are asked for."""
        return sum(len(group.signals) for group in self._work.dictionary.groups)

    @property
    def dictionary(self) -> Dictionary:
        """Of the configuration at work."""
        return self._work.dictionary

    @property
    def pipeline(self) -> Pipeline:
        """Of the configuration at work."""
        return self._work.pipeline

    @property
    def decoded(self) -> int:
        """Samples decoded since the start."""
        return self._decoded + self._work.pipeline.samples

    def _compile(self, desired: Desired, version: int) -> _Work:
        wanted = wanted_signals(desired.collect, self._catalogue.names)
        table = DecodeTable.compile(self._catalogue, wanted)
        dictionary = Dictionary(table.groups, self._vehicle, self._catalogue.digest)
        stamp = Stamp(
            boot=self._boot,
            resolution=_RESOLUTIONS[desired.time_resolution],
            campaign_version=version,
        )
        properties = properties_size(desired.priority)
        pipeline = Pipeline(table, dictionary, desired, self._books, stamp, properties)
        return _Work(desired, dictionary, pipeline)

    async def _hand_over(self, work: _Work, drafts: Sequence[Draft]) -> None:
        if drafts:
            priority = work.desired.priority
            await self._backlog.add(
                [batch_parcel(draft, work.dictionary, priority) for draft in drafts]
            )
