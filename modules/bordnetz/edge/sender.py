"""From the outbox to the hub: several messages in flight, each acknowledged by itself.

Rules:

1. The message that leaves next is chosen when it may leave, so that whatever is more urgent goes
   first, also before a backlog of days.
2. What leaves is paced; urgent messages do not wait for the pace, but are charged to it.
3. A message whose fate is not known is sent again, alone; one during which the connection broke
   again and again goes to the back (`Suspects`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from bordnetz.edge.commits import Commits
from bordnetz.edge.link import HubLink, LinkError, NotConnectedError
from bordnetz.edge.message import Message
from bordnetz.edge.metrics import Metrics
from bordnetz.edge.outbox import PRIORITIES, Entry, Letter, Outbox, OutboxError
from bordnetz.edge.pace import Pace
from bordnetz.edge.suspects import Suspects

log = logging.getLogger(__name__)

T = TypeVar("T")

WINDOW = 8
"""Messages in flight: enough to hide the round trip (44 ms with Nagle's algorithm and delayed
acknowledgement, which the SDK leaves on), few enough to lose little order."""

URGENT = PRIORITIES[:3]
"""Messages of these priorities do not wait for the pace: events and answers, which are few
and small beside samples."""

OUTAGE = 60.0
"""After so many seconds without a hub there is a backlog, and a fleet that has one."""

_IDLE = 90.0
"""Acknowledgements are written when so many seconds have brought no message to take them along:
more than a batch of a minute takes, for a commit of their own costs as much as its."""

_TELLING = 60.0
"""Seconds between two lines of the log about messages that the outbox gave up."""

_RETRY = 1.0
"""Seconds between attempts to read an outbox that the disk does not give."""


class Sender:
    """Owns an `Outbox` on a thread of its own and empties it through a `HubLink`."""

    def __init__(
        self,
        outbox: Outbox,
        link: HubLink,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
        pause: float = 0.0,
        tell: Callable[[dict[str, int]], None] = lambda _: None,
    ) -> None:
        """Prepare; sending starts with ``async with``.

        Args:
            outbox: Used by nobody else from here on; closed in the end.
            link: To the hub.
            metrics: Get the stages ``outbox`` (by priority) and ``hub``.
            clock: Seconds from any fixed point.
            pace: How fast messages may leave; None: see `Pace`.
            pause: Seconds from one commit to the next at least, while few bytes wait.
            tell: Is told what the outbox has found on its disk, at the start and when it changes.
        """
        self._outbox = outbox
        self._link = link
        self._stored = metrics.stage("outbox", "messages in the outbox", "priority")
        self._sent = metrics.stage("hub", "messages on their way to the hub")
        self._bytes = metrics.counter("hub_sent_bytes", "Bytes the hub has, as IoT Hub meters them")
        self._blocks = metrics.counter("hub_sent_blocks", "The same in blocks of 4,096 bytes")
        metrics.gauge("outbox_messages", "Messages waiting", lambda: len(outbox))
        metrics.gauge("outbox_bytes", "Bytes of the outbox' budget in use", lambda: outbox.used)
        metrics.gauge("outbox_set_aside", "Unusable files found", lambda: outbox.set_aside)
        metrics.gauge("outbox_damaged", "Places in files found damaged", lambda: outbox.damaged)
        self._pace = pace or Pace()
        self._suspects = Suspects(clock)
        metrics.gauge("hub_pace_bytes", "Bytes/s that may leave", lambda: self._pace.rate.bytes)
        metrics.gauge(
            "hub_suspects",
            "Messages during which the connection broke again and again",
            lambda: len(self._suspects),
        )
        self._waits: set[asyncio.Task[None]] = set()
        self._confirmed = 0
        self._counted: Counter[tuple[str, int]] = Counter()
        self._untold: Counter[tuple[str, int]] = Counter()
        self._told = -math.inf
        self._tell_disk = tell
        self._disk: dict[str, int] = {}
        self._clock = clock
        self._commits = Commits(outbox, self._apart, pause, self._committed)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")
        self._turn = asyncio.Lock()
        self._flying = 0
        self._landed = asyncio.Event()
        self._freed = asyncio.Event()
        self._more = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._drained = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._look()
        self._pace.changed = self._more.set
        self._tasks = [asyncio.create_task(self._work()) for _ in range(WINDOW)]
        self._tasks.append(asyncio.create_task(self._tidy()))
        self._tasks.append(asyncio.create_task(self._commits.run()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = [*self._tasks, *self._waits]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._commits.store()
        self._tell()
        await self._apart(self._outbox.close)
        self._thread.shutdown()

    async def put(
        self,
        make: Callable[[int, int], Message],
        priority: int,
        *,
        content: bytes | None = None,
        needs: bytes | None = None,
        size: int = 0,
    ) -> int | None:
        """Store a message for sending; it is on the disk when this returns (see `Outbox.put`).

        It may wait for others to be committed with, for ``pause`` seconds at most.

        Args:
            make: As for `Outbox.put`, as is what follows.
            priority: 0 (highest) to 9.
            content: A digest of what the message says, for one that others need.
            needs: The ``content`` of a message that must not be given up before this one.
            size: Bytes that it will have, about.

        Raises:
            OutboxError: The disk did not take it; the outbox is as it was before.
            MessageTooLargeError: The hub would not take it.
        """
        return await self._commits.put(Letter(make, priority, content, needs), size)

    def _committed(self, letters: list[Letter]) -> None:
        for letter in letters:
            self._stored.received(1, str(letter.priority))
        self._look()
        self._more.set()

    async def drained(self) -> None:
        """Wait until the hub has everything."""
        await self._drained.wait()

    def state(self) -> dict[str, int]:
        """What an operator wants to know.

        Returns:
            ``messages`` and ``bytes`` that wait for the hub; since the start, how many messages
            it has ``acknowledged`` and how many were ``givenUp``, how many unusable files were
            ``setAside``, and how many places in files found ``damaged``.
        """
        return {
            "messages": len(self._outbox),
            "bytes": self._outbox.used,
            "acknowledged": self._confirmed,
            "givenUp": self._outbox.dropped.total(),
            **self._found(),
        }

    def _found(self) -> dict[str, int]:
        """What was found on the disk that cannot be used."""
        return {"setAside": self._outbox.set_aside, "damaged": self._outbox.damaged}

    @property
    def room(self) -> int:
        """Bytes that the outbox takes before it has to give something up."""
        return self._outbox.room

    async def _work(self) -> None:
        while True:
            async with self._turn:
                entry = await self._next()
                if self._suspects.alone(entry):
                    while self._flying:
                        self._landed.clear()
                        await self._landed.wait()
                    await self._send(entry)
                    continue
            await self._send(entry)

    async def _send(self, entry: Entry) -> None:
        self._flying += 1
        try:
            await self._fly(entry)
        finally:
            self._flying -= 1
            self._landed.set()

    async def _fly(self, entry: Entry) -> None:
        size, blocks = entry.message.metered_size, entry.message.blocks
        self._sent.received()
        try:
            await self._link.send(entry.message)
        except LinkError as error:
            # The hub may have it all the same: it gets it again under the same name.
            log.debug("message %d stays in the outbox: %s", entry.sequence, error)
            self._sent.dropped("unconfirmed")
            if not isinstance(error, NotConnectedError):
                self._suspects.strike(entry)
            self._later(entry)
            return
        if self._suspects.clear(entry):
            self._freed.set()
            self._freed = asyncio.Event()
        # Before it leaves the outbox: whoever sees that empty sees all that have left it.
        self._confirmed += 1
        await self._apart(partial(self._outbox.acknowledge, entry))
        self._sent.sent()
        self._bytes.inc(size)
        self._blocks.inc(blocks)
        self._stored.sent(1, str(entry.priority))
        self._look()
        self._acknowledged.set()

    def _later(self, entry: Entry) -> None:
        """Let a message be sent again, a suspect not before its time."""

        async def release() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._suspects.wait(entry)):
                    await self._freed.wait()
            await self._apart(partial(self._outbox.release, entry))
            self._more.set()

        task = asyncio.create_task(release())
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)

    async def _next(self) -> Entry:
        """The next message to send, while there is a hub to send it to."""
        while True:
            before = self._clock()
            await self._link.up()
            if self._clock() - before >= OUTAGE:
                self._pace.empty()
            self._more.clear()
            delay, hold = self._pace.delay(), self._suspects.hold
            below = self._suspects.ceiling if hold else math.inf
            try:
                entries = await self._apart(
                    partial(self._outbox.take, 1, URGENT if delay else PRIORITIES, below)
                )
            except OutboxError as error:
                log.warning("%s", error)
                await asyncio.sleep(_RETRY)
                continue
            if entries:
                self._pace.spend(entries[0].message.metered_size)
                return entries[0]
            with suppress(TimeoutError):
                async with asyncio.timeout(min(filter(None, (delay, hold)), default=None)):
                    await self._more.wait()

    async def _tidy(self) -> None:
        """Write acknowledgements that no new message has taken along."""
        while True:
            await self._acknowledged.wait()
            last = self._outbox.last
            await asyncio.sleep(_IDLE)
            if self._outbox.last != last:
                continue
            self._acknowledged.clear()
            try:
                await self._apart(self._outbox.flush)
            except OutboxError as error:
                log.warning("%s", error)

    async def _apart(self, work: Callable[[], T]) -> T:
        """Run on the outbox' thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _look(self) -> None:
        """Bring counters and flags up to the outbox' state."""
        for (reason, priority), count in list(self._outbox.dropped.items()):
            new = count - self._counted[reason, priority]
            if new:
                self._counted[reason, priority] = count
                self._stored.dropped(reason, new, str(priority))
                self._untold[reason, priority] += new
        if self._untold and self._clock() - self._told >= _TELLING:
            self._tell()
        if (found := self._found()) != self._disk:
            self._disk = found
            self._tell_disk(found)
        if len(self._outbox):
            self._drained.clear()
        else:
            self._drained.set()

    def _tell(self) -> None:
        """Log what the outbox has given up since the last time: it may do so with every message."""
        for (reason, priority), count in sorted(self._untold.items()):
            words = "%d messages of priority %d given up (%s)"
            full = "outbox full: " if reason == "budget" else "outbox: "
            log.warning(full + words, count, priority, reason)
        self._untold.clear()
        self._told = self._clock()
