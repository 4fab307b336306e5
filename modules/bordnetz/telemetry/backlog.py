"""Between the pipeline and the outbox: what the disk has not taken yet, bounded.

A disk that is full or fails must not stop capture.  What it does not take waits here and is
tried again; when there is too much of it, the oldest goes, and its samples are counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from bordnetz.edge.message import Message, MessageTooLargeError
from bordnetz.edge.module import Edge
from bordnetz.edge.outbox import OutboxError
from bordnetz.telemetry.config import Desired

log = logging.getLogger(__name__)

LIMIT = 16 << 20
"""Bytes that wait for the disk: half an hour of a busy vehicle."""

AHEAD = 256 << 10
"""Bytes here from which on who can wait does: a few full batches keep the disk busy."""

RETRY = 1.0
"""Seconds until the disk is asked again."""

_EACH = 512
"""Bytes of memory that a parcel takes beside its body."""

_ROUNDING = 8192
"""Bytes of the outbox that a message takes beside its body at most: properties and numbers."""

_TOGETHER = 16
"""Parcels that are handed to the disk at once."""

_POLL = 0.05
"""Seconds until the outbox is asked for room again."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way to the outbox.

    Attributes:
        make: Makes the message of the outbox' id and the sequence.
        size: Bytes of its body at most.
        priority: 0 (highest) to 9.
        samples: How many it carries; 0 for a dictionary, an answer, or gaps alone.
        content: Of a dictionary; see `bordnetz.edge.outbox.Outbox.put`.
        needs: Of a batch, likewise.
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
        lost: Is told of each message with samples that got nowhere, and why.

    Attributes:
        stored: Samples that are in the outbox or beyond.
        batches: Messages with samples or gaps, likewise.
        answers: Messages that are neither batch nor dictionary, likewise.
        dropped: Samples that went nowhere, by reason.
    """

    def __init__(
        self, edge: Edge[Desired], *, waits: bool, lost: Callable[[Message, str], None]
    ) -> None:
        self.stored = 0
        self.batches = 0
        self.answers = 0
        self.dropped: Counter[str] = Counter()
        self._edge = edge
        self._waits = waits
        self._lost = lost
        self._parcels: deque[Parcel] = deque()
        self._bytes = 0
        # So many of the first are with the disk.
        self._busy = 0
        # Parcels that ever came, and those that have gone one way or another.
        self._came = 0
        self._gone = 0
        self._coming = asyncio.Event()
        self._going = asyncio.Event()

    @property
    def samples(self) -> int:
        """Samples that wait here."""
        return sum(parcel.samples for parcel in self._parcels)

    def add(self, parcels: Iterable[Parcel]) -> None:
        """Take parcels, at once: whoever hands them over has nothing to keep."""
        for parcel in parcels:
            # A dictionary that waits already comes early enough for whatever follows it.
            if parcel.content is not None and parcel.content in self._contents():
                continue
            self._parcels.append(parcel)
            self._bytes += parcel.size + _EACH
            self._came += 1
            self._coming.set()
        while self._bytes > LIMIT and len(self._parcels) > max(self._busy, 1) and not self._waits:
            self._give_up()

    async def room(self) -> None:
        """Wait until there is room for more, if waiting is allowed."""
        while self._waits and self._bytes > AHEAD:
            await self._going.wait()

    async def stored_all(self) -> None:
        """Wait until everything that is here now is in the outbox, or given up."""
        came = self._came
        while self._gone < came:
            await self._going.wait()

    async def run(self) -> None:
        """Store what comes, for ever."""
        failed = False
        while True:
            await self._coming.wait()
            group = self._fitting()
            if not group:
                await asyncio.sleep(_POLL)
                continue
            self._busy = len(group)
            results = await asyncio.gather(*map(self._store, group), return_exceptions=True)
            self._busy = 0
            stored = [place for place, result in enumerate(results) if result is None]
            for place in reversed(stored):
                self._remove(place)
            errors = [one for one in results if one is not None]
            for error in errors:
                if not isinstance(error, OutboxError):
                    raise error
            if errors:
                if not failed:
                    log.error("%s; %d samples wait in memory", errors[0], self.samples)
                failed = True
                await asyncio.sleep(RETRY)
                continue
            if failed:
                lost = self.dropped["disk"]
                log.info("the outbox takes messages again; %d samples were lost so far", lost)
            failed = False

    def _fitting(self) -> list[Parcel]:
        """The parcels that may go to the disk together; none where there is no room to be had."""
        group = list(islice(self._parcels, _TOGETHER))
        if self._waits:
            room = self._edge.room
            for place, parcel in enumerate(group):
                room -= parcel.size + _ROUNDING
                if room < 0:
                    return group[:place]
        return group

    async def _store(self, parcel: Parcel) -> None:
        try:
            sequence = await self._edge.put(
                parcel.make,
                parcel.priority,
                content=parcel.content,
                needs=parcel.needs,
                size=parcel.size,
            )
        except MessageTooLargeError as error:
            log.error("%s", error)
            self._lose(parcel, "size")
            return
        if sequence is None:
            self._lose(parcel, "budget")
        elif parcel.needs is not None:
            self.stored += parcel.samples
            self.batches += 1
        elif parcel.content is None:
            self.answers += 1

    def _contents(self) -> set[bytes | None]:
        return {parcel.content for parcel in self._parcels}

    def _give_up(self) -> None:
        """Let the oldest go, but not a dictionary that others need."""
        # The first ones may be with the disk at this moment.
        first = max(self._busy, 1)
        batches = (n for n, p in enumerate(self._parcels) if n >= first and p.samples)
        place = next(batches, first)
        self._lose(self._parcels[place], "disk")
        self._remove(place)

    def _remove(self, place: int) -> None:
        self._bytes -= self._parcels[place].size + _EACH
        del self._parcels[place]
        self._gone += 1
        if not self._parcels:
            self._coming.clear()
        going, self._going = self._going, asyncio.Event()
        going.set()

    def _lose(self, parcel: Parcel, reason: str) -> None:
        if parcel.samples:
            if not self.dropped[reason]:
                log.warning("samples are dropped (%s); `status` and /metrics count them", reason)
            self.dropped[reason] += parcel.samples
            self._lost(parcel.make(0, 0), reason)
