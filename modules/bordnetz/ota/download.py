"""Downloads that go on where they stopped, are verified as they come, and give up in the end.

1. What has come stays, whatever happens: a lost link, a URL that has expired, a kill, a power cut.
2. A source that replaces the file, or cannot start in the middle, is read from the beginning.
3. Too many bytes end it at once; the wrong ones are thrown away and come once more, then no more.
4. After a failure the next attempt waits a random time, up to twice as long each (full jitter), and
   after some attempts that have brought nothing new it is over.  What cannot get better by itself
   is over at once.
5. Not a chunk is asked for that the link must not be used for, or that the bytes left for it do not
   cover; every byte counts, also those that are thrown away.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.ota import part as parts
from bordnetz.ota.fetch import (
    BudgetError,
    CorruptError,
    Fetcher,
    PausedError,
    disk,
    read_back,
    there,
)
from bordnetz.ota.part import CHUNK, Part
from bordnetz.ota.source import (
    ChangedError,
    PayloadSource,
    SourceError,
    UnreachableError,
    endless,
)
from bordnetz.uptane.custom import Delivery
from bordnetz.uptane.errors import Kind, UptaneError

log = logging.getLogger(__name__)

_PIECE = 64 << 10
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 30.0
_SLICE = 1.0
"""Seconds of waiting after which the caller may say to stop."""
_MOST_WRONG = 2


def _always(_: int) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Conduct:
    """How to go about a download.

    Attributes:
        may_download: Asked before each chunk, with its bytes: None, or in words why not now.
        attempts: How often to try without getting further.
        sleep: Waits for seconds.
        draw: A random number from 0 to 1.
    """

    may_download: Callable[[int], str | None] = _always
    attempts: int = 6
    sleep: Callable[[float], object] = time.sleep
    draw: Callable[[], float] = random.random


class Downloader(Fetcher):
    """Fetches deliveries over the network.  One thread at a time."""

    def __init__(self, source: PayloadSource, conduct: Conduct) -> None:
        """Name source and manner."""
        self._source = source
        self._conduct = conduct

    def cost(self, delivery: Delivery, folder: Path) -> int:
        """Bytes that are missing of it; see `Fetcher.cost`."""
        with disk(folder):
            if (folder / delivery.sha256).exists():
                return 0
        return max(0, delivery.length - parts.length(folder, delivery.sha256))

    def fetch(
        self,
        delivery: Delivery,
        folder: Path,
        budget: int | None,
        received: Callable[[int], None],
    ) -> Path:
        """Fetch a delivery, or what is missing of it; see `Fetcher.fetch`."""
        if done := there(delivery, folder):
            return done
        path = folder / delivery.sha256
        part = Part(folder, delivery)
        try:
            _Download(self._source, self._conduct, delivery, part, budget, received).run()
            part.finish(path)
        finally:
            part.close()
        with disk(folder):
            if read_back(path) == delivery.sha256:
                return path
        durable.remove(path)
        raise CorruptError(
            f"{folder}: the disk gives back other bytes than it was given; check or replace it"
        )


class _Download:
    """One delivery's."""

    def __init__(
        self,
        source: PayloadSource,
        conduct: Conduct,
        delivery: Delivery,
        part: Part,
        budget: int | None,
        received: Callable[[int], None],
    ) -> None:
        self._source = source
        self._conduct = conduct
        self._delivery = delivery
        self._part = part
        self._budget = budget
        self._received = received

    def run(self) -> None:
        """Until the part is whole and right."""
        failures = wrong = 0
        best = self._part.length
        while not self._part.right:
            try:
                self._attempt()
            except (SourceError, UptaneError) as error:
                failure = error
            else:
                return
            if self._part.length >= best + CHUNK:
                best, failures = self._part.length, 0
            failures += 1
            if isinstance(failure, UptaneError) and failure.kind is Kind.ARBITRARY_SOFTWARE:
                wrong, best = wrong + 1, 0
            if (
                not self._may_pass(failure)
                or wrong >= _MOST_WRONG
                or failures >= self._conduct.attempts
            ):
                raise failure
            self._wait(failures, failure)

    def _may_pass(self, failure: SourceError | UptaneError) -> bool:
        """Whether another attempt may do better; what is of no use for it is thrown away."""
        if isinstance(failure, UptaneError):
            if failure.kind is not Kind.SLOW_RETRIEVAL:
                self._part.restart()
            return failure.kind in (Kind.SLOW_RETRIEVAL, Kind.ARBITRARY_SOFTWARE)
        if isinstance(failure, ChangedError):
            self._part.restart()
        return isinstance(failure, UnreachableError | ChangedError)

    def _wait(self, failures: int, failure: SourceError | UptaneError) -> None:
        seconds = self._conduct.draw() * min(_LONGEST_WAIT, _FIRST_WAIT * 2**failures)
        log.info("a download goes on in %.0f s: %s", seconds, failure)
        while seconds > 0:
            self._received(0)
            self._conduct.sleep(min(seconds, _SLICE))
            seconds -= _SLICE
        self._received(0)

    def _attempt(self) -> None:
        """One request, as far as it brings the part, and a look at what has come."""
        if self._part.missing:
            self._ask()
            self._request()
        if not self._part.right:
            raise UptaneError(
                Kind.ARBITRARY_SOFTWARE,
                f"{self._delivery.path}: other bytes have come than the metadata name; check the "
                "store",
            )

    def _request(self) -> None:
        part, name, length = self._part, self._delivery.path, self._delivery.length
        with self._source.open(name, length, part.length, part.tag) as stream:
            if stream.length not in (None, length):
                raise UptaneError(
                    Kind.ARBITRARY_SOFTWARE,
                    f"{name}: has {stream.length} bytes, not the {length} that the metadata name; "
                    "check the store",
                )
            if stream.offset != part.length:
                part.restart()
                self._ask()
            part.begin(stream.tag)
            while part.missing:
                piece = stream.read(min(_PIECE, part.room))
                if not piece:
                    raise UnreachableError(
                        f"{name}: breaks off after {part.length} of {length} bytes; the rest is "
                        "asked for again"
                    )
                self._take(piece)
            if stream.read(1):
                raise endless(name, length)

    def _take(self, piece: bytes) -> None:
        if self._budget is not None:
            self._budget -= len(piece)
        try:
            self._part.append(piece)
        finally:
            self._received(len(piece))
        if self._part.missing and self._part.length % CHUNK == 0:
            self._ask()

    def _ask(self) -> None:
        """Whether the next chunk may come."""
        self._received(0)
        missing = self._part.missing
        if self._budget is not None and missing > self._budget:
            raise BudgetError(
                f"{self._delivery.path}: {missing} bytes are missing, and only {self._budget} may "
                "still come for this campaign; raise its most_bytes"
            )
        if reason := self._conduct.may_download(min(self._part.room, missing)):
            raise PausedError(f"the download waits: {reason}")
