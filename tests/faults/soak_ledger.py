"""What a soak may cost and must keep: looks at a process, hour by hour, and what has arrived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bordnetz.batch.reader import Reader
from bordnetz.edge.segment import SIZE

from .soak_traffic import read

MORE_MEMORY = 1.10
"""Of the memory after the first hour."""
MORE_THREADS = 2
"""The pool that the SDK works with may not have all its threads by then."""

SHARE, EACH = 1.5, 10 << 10
"""Bytes of flash for each of the payload, and for each commit, as the outbox promises."""
TIMES = 16 << 10
"""Bytes that ext4 may write apart for the time of a file's change, where no other commit follows at
once: blocks of its journal, and the one where it belongs."""
FLUSHES = 4
"""Of the disk, for each commit, those of the journal included."""
COMMITS = 1.25
"""For each message at most: its own, and at times one of acknowledgements that none took along."""


@dataclass(frozen=True, slots=True)
class Look:
    """A process and its disk at one moment.

    Attributes:
        rss: Resident memory, bytes.
        descriptors: Open ones.
        threads: Running ones.
        connected: Whether it has its hub.
        held: Messages in the outbox.
        sent: Messages that the hub has acknowledged since the start.
        sessions: With the hub since the start.
        disk: Bytes that the files of the state folder take.
        written: Bytes that the disk got since the start.
        flushes: Of the disk, likewise.
    """

    rss: int
    descriptors: int
    threads: int
    connected: bool
    held: int
    sent: int
    sessions: int
    disk: int
    written: int
    flushes: int

    def grown(self, first: Look) -> Iterator[str]:
        """What is not as after the first hour, which had all that there is to remember.

        The disk may have one more segment of the outbox' log, which takes turns with the first.
        """
        if self.rss > first.rss * MORE_MEMORY:
            yield f"{self.rss >> 10} KiB of memory, {first.rss >> 10} after the first hour"
        # Fewer would tell, too: that some are open for longer than they are used.
        if self.connected and self.descriptors != first.descriptors:
            yield f"{self.descriptors} descriptors, {first.descriptors} after the first hour"
        if self.connected and self.threads > first.threads + MORE_THREADS:
            yield f"{self.threads} threads, {first.threads} after the first hour"
        if not self.held and self.disk > first.disk + SIZE:
            yield f"{self.disk} bytes of disk for nothing, {first.disk} after the first hour"

    def unmoved(self, sessions: int) -> Iterator[str]:
        """Whether it has not felt what happened, so that nothing was tried.

        Args:
            sessions: With the hub that it needed for that, at least.
        """
        if self.sessions < sessions:
            yield f"{self.sessions} sessions, {sessions} are the least"

    def worn(self, payload: int) -> Iterator[str]:
        """What flash had to bear that it should not.

        Args:
            payload: Bytes of all messages so far.
        """
        commits = COMMITS * (self.sent + self.held)
        if self.written > (most := int(SHARE * payload + (EACH + TIMES) * commits)):
            yield f"{self.written} bytes written for {payload} of payload, {most} are the most"
        if self.flushes > (most := FLUSHES * commits):
            yield f"{self.flushes} flushes for {self.sent} messages, {most} are the most"


def by_hour(looks: Sequence[Look]) -> str:
    """A table in one line."""
    rows = (
        f"{one.rss / (1 << 20):.1f}/{one.descriptors}/{one.threads}/{one.held}/{one.sent}"
        f"{'' if one.connected else ' away'}"
        for one in looks
    )
    return f"MiB/descriptors/threads/held/sent, by hour and at the end: {', '.join(rows)}"


class Arrivals:
    """What reached the cloud.

    Attributes:
        again: Messages that came more than once.
        payload: Bytes of all messages, each once.
        batches: Of samples.
        samples: In them.
    """

    def __init__(self, messages: Iterable[tuple[str, bytes]], sent: int) -> None:
        """Read them all.

        Args:
            messages: Name and body of each, as they came.
            sent: Frames, numbered from 0 on.
        """
        self.again = self.payload = self.batches = self.samples = 0
        self._times = np.zeros(sent, np.int64)
        self._odd = 0
        self._reader = Reader()
        names: set[str] = set()
        for name, body in messages:
            if name in names:
                self.again += 1
            else:
                names.add(name)
                self._take(body)

    def _take(self, body: bytes) -> None:
        self.payload += len(body)
        for batch in self._reader.read(body):
            self.batches += 1
            self.samples += len(batch.samples)
            numbers, odd = read(batch.samples)
            known = numbers[(numbers >= 0) & (numbers < len(self._times))]
            self._odd += odd + len(numbers) - len(known)
            np.add.at(self._times, known, 1)

    def wrong(self, stored: int) -> Iterator[str]:
        """What is missing, came twice, or is not what was sent.

        Args:
            stored: Samples, by the module's own books.
        """
        if missing := int((self._times == 0).sum()):
            yield f"{missing} of {len(self._times)} frames did not arrive"
        if twice := int((self._times > 1).sum()):
            yield f"{twice} frames arrived more than once"
        if self._odd:
            yield f"{self._odd} frames were not as sent"
        if self.samples != stored:
            yield f"{stored} samples stored, {self.samples} read"
        if self._reader.waiting:
            yield f"{self._reader.waiting} batches without their dictionary"
