"""What reached ``$upstream``: a folder with one file a message and an index that grows by lines.

``NNNNNNNN.bin`` is a message's body, a line of ``index.jsonl`` everything else.  The body is
complete before its line is written, and a line is written at once: whoever follows the index finds
what it names, even if the hub was killed in between.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub.store import Stored
from bordnetz.laptop.hub.topics import metered_size

BLOCK = 4096
"""IoT Hub charges messages in blocks of this many bytes (pricing of the Standard tier)."""

_INDEX = "index.jsonl"
_FOLLOW_INTERVAL = 0.05


class UpstreamError(BordnetzError):
    """A folder that was not written by the hub, or was changed afterwards."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that reached the cloud's side.

    Attributes:
        n: Counts from 1.
        id: The message's id in the hub's store.
        time: When the hub received it, seconds since the Unix epoch.
        module: Who sent it.
        output: The output it left on.
        properties: Application properties.
        system: System properties under the names of route conditions (``contentType``).
        size: Bytes of the body.
        metered: Bytes that IoT Hub counts: body, properties and system values.
        blocks: Blocks of 4,096 bytes that IoT Hub charges.
    """

    n: int
    id: int
    time: float
    module: str
    output: str
    properties: Mapping[str, str]
    system: Mapping[str, str]
    size: int
    metered: int
    blocks: int


_FIELDS = tuple(field.name for field in fields(Arrival))


class UpstreamWriter:
    """Appends to a folder; only one hub may do so at a time."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder, or continues it behind its last whole line."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._index = (folder / _INDEX).open("ab", buffering=0)
        self._cut_torn_line()
        self.messages = self.bytes = self.blocks = 0
        self.last: Arrival | None = None
        for arrival in Upstream(folder).messages():
            self._count(arrival)

    def append(self, message: Stored) -> Arrival:
        """Stores a message.

        Raises:
            OSError: The disk refuses; nothing is in the index, and the call may be repeated.
        """
        event, number = message.event, self.messages + 1
        metered = metered_size(message.body, event.properties, event.system)
        arrival = Arrival(
            n=number,
            id=message.id,
            time=message.received,
            module=message.module,
            output=event.output,
            properties=event.properties,
            system=event.system,
            size=len(message.body),
            metered=metered,
            blocks=max(1, -(-metered // BLOCK)),
        )
        # Without a line the file does not count: after a crash the next message overwrites it.
        (self._folder / _body_name(number)).write_bytes(message.body)
        line = json.dumps({name: getattr(arrival, name) for name in _FIELDS}).encode() + b"\n"
        if self._index.write(line) != len(line):
            self._cut_torn_line()
            raise OSError("the index of $upstream could not be written whole; is the disk full?")
        self._count(arrival)
        return arrival

    def close(self) -> None:
        """Closes the index."""
        self._index.close()

    def _count(self, arrival: Arrival) -> None:
        self.messages, self.last = arrival.n, arrival
        self.bytes += arrival.metered
        self.blocks += arrival.blocks

    def _cut_torn_line(self) -> None:
        path = self._folder / _INDEX
        with path.open("rb") as index:
            end = index.seek(0, os.SEEK_END)
            keep = end
            while keep:
                start = max(0, keep - 65536)
                index.seek(start)
                found = index.read(keep - start).rfind(b"\n")
                if found >= 0:
                    keep = start + found + 1
                    break
                keep = start
        if keep < end:
            os.truncate(path, keep)


class Upstream:
    """Reads what reached ``$upstream``, also while the hub is writing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = (0, 0)
        """``n`` of the last message read, and where its line ends: what comes later lies behind."""

    def messages(self, after: int = 0) -> Iterator[Arrival]:
        """The messages that are there, in order of arrival.

        Args:
            after: Leave out messages up to this ``n``.

        Raises:
            UpstreamError: A line that the hub has not written.
        """
        n, offset = self._read
        for arrival, end in self._lines(offset if n <= after else 0):
            self._read = arrival.n, end
            if arrival.n > after:
                yield arrival

    async def follow(self, after: int = 0) -> AsyncIterator[Arrival]:
        """The messages that are there and then every one that comes, without end.

        Args:
            after: Leave out messages up to this ``n``.

        Raises:
            UpstreamError: A line that the hub has not written.
        """
        offset = 0
        while True:
            for arrival, end in self._lines(offset):
                offset = end
                if arrival.n > after:
                    yield arrival
            await asyncio.sleep(_FOLLOW_INTERVAL)

    def body(self, arrival: Arrival) -> bytes:
        """A message's body.

        Raises:
            UpstreamError: The file is gone or has another length.
        """
        path = self._folder / _body_name(arrival.n)
        try:
            body = path.read_bytes()
        except OSError as error:
            raise UpstreamError(f"{path}: {error.strerror}; the index names it") from error
        if len(body) != arrival.size:
            raise UpstreamError(f"{path}: {len(body)} bytes, the index says {arrival.size}")
        return body

    def _lines(self, offset: int) -> Iterator[tuple[Arrival, int]]:
        path = self._folder / _INDEX
        if not path.exists():
            return
        with path.open("rb") as index:
            index.seek(offset)
            for line in index:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    arrival = Arrival(**json.loads(line))
                except (TypeError, ValueError) as error:
                    raise UpstreamError(f"{path}: a line that is not the hub's: {error}") from error
                yield arrival, offset


def _body_name(number: int) -> str:
    return f"{number:08d}.bin"
