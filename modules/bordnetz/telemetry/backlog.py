"""Between the pipeline and the outbox: what the disk has not taken yet, bounded.

A disk that is full or fails must not stop capture.  What it does not take waits here and is
tried again; when there is too much of it, the oldest goes, and its samples are counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from bordnetz.edge.message import Message, MessageTooLargeError
from bordnetz.edge.module import Edge
from bordnetz.edge.outbox import OutboxError
from bordnetz.telemetry.config import Desired

log = logging.getLogger(__name__)

LIMIT = 16 << 20
"""Bytes that wait for the disk: half an hour of a busy vehicle."""

RETRY = 1.0
"""Seconds until the disk is asked again."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way to the outbox.

    Attributes:
        make: Makes the message of the outbox' id and the sequence.
        size: Bytes of its body at most.
        priority: 0 (highest) to 9.
        samples: How many it carries; 0 for a dictionary.
        content: See `bordnetz.edge.outbox.Outbox.put`.
        needs: Likewise.
    """

    make: Callable[[int, int], Message]
    size: int
    priority: int
    samples: int = 0
    content: bytes | None = None
    needs: bytes | None = None


class Backlog:
    """Puts parcels into the outbox in the order they come.

    Args:
        edge: Has the outbox.
        waits: Whether who fills the outbox can wait for room in it, as for a recording; a live
            bus never waits.

    Attributes:
        stored: Samples that are in the outbox or beyond.
        batches: Messages with samples, likewise.
        dropped: Samples that went nowhere, by reason.
    """

    def __init__(self, edge: Edge[Desired], *, waits: bool) -> None:
        self.stored = 0
        self.batches = 0
        self.dropped: Counter[str] = Counter()
        self._edge = edge
        self._waits = waits
        self._parcels: deque[Parcel] = deque()
        self._bytes = 0
        self._changed = asyncio.Condition()

    @property
    def samples(self) -> int:
        """Samples that wait here."""
        return sum(parcel.samples for parcel in self._parcels)

    async def add(self, parcels: list[Parcel]) -> None:
        """Take parcels; waits for room where that is allowed."""
        if not parcels:
            return
        async with self._changed:
            if self._waits:
                await self._changed.wait_for(lambda: self._bytes < LIMIT)
            for parcel in parcels:
                self._parcels.append(parcel)
                self._bytes += parcel.size
            # The first may be with the disk at this moment.
            while self._bytes > LIMIT and len(self._parcels) > 2 and not self._waits:
                lost = self._parcels[1]
                del self._parcels[1]
                self._bytes -= lost.size
                self._lose(lost, "disk")
            self._changed.notify_all()

    async def stored_all(self) -> None:
        """Wait until the outbox has everything."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._parcels)

    async def run(self) -> None:
        """Store what comes, for ever."""
        complained = False
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._parcels))
            parcel = self._parcels[0]
            if self._waits and self._edge.room < parcel.size:
                await asyncio.sleep(RETRY / 20)
                continue
            try:
                await self._store(parcel)
            except OutboxError as error:
                if not complained:
                    log.error("%s; %d samples wait in memory", error, self.samples)
                complained = True
                await asyncio.sleep(RETRY)
                continue
            if complained:
                log.info("the outbox takes messages again")
            complained = False
            async with self._changed:
                self._parcels.popleft()
                self._bytes -= parcel.size
                self._changed.notify_all()

    async def _store(self, parcel: Parcel) -> None:
        try:
            sequence = await self._edge.put(
                parcel.make, parcel.priority, content=parcel.content, needs=parcel.needs
            )
        except MessageTooLargeError as error:
            log.error("%s", error)
            self._lose(parcel, "size")
            return
        if sequence is None:
            self._lose(parcel, "budget")
        elif parcel.samples:
            self.stored += parcel.samples
            self.batches += 1

    def _lose(self, parcel: Parcel, reason: str) -> None:
        if parcel.samples:
            self.dropped[reason] += parcel.samples
            log.warning("%d samples dropped: %s", parcel.samples, reason)
