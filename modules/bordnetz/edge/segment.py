"""One file of the outbox' log: a header, and commits one after the other.

::

    segment:  header, zeros up to START, commits, and whatever the file had before
    commit:   fixed part | sequences gone | messages: numbers, digests | messages: text, body

Every number is little-endian.  A check sum covers the fixed part of a commit with what stands
before the texts; it begins with the outbox' id, and the segment's number is in it, so that what a
file held in an earlier life is never taken for a commit.  Each message has a check sum of its own.

Nothing here writes, and nothing is believed: a length is checked before it is used.  What there is
one of for each message is a named tuple, for a start reads a hundred thousand of them.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bordnetz.edge.message import Message

MAGIC = b"bordnetz outbox\0"
VERSION = 2
"""Version 1 was an SQLite file."""

SIZE = 1 << 20
"""Bytes of a segment."""

START = 512
"""Where commits begin: in another sector than the header, which is written once."""

_HEADER = struct.Struct("<16sH6xQQQQI")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size

_MARK = b"\xc0MIT"
_COMMIT = struct.Struct("<4sIQIIIIIQdQd")
_MESSAGE = struct.Struct("<QQQdIIIHHB")
_CHECKED = len(_MARK) + _CRC.size
"""Where in a commit begins what its check sum covers."""

_GLANCE = 1024
"""Bytes read at once: most commits say in fewer what they hold."""

PRIORITIES = range(10)
"""0 is the highest, as in the routes of Edge hub."""

_LONGEST_DIGEST = (1 << 16) - 1

MOST_GONE = 10_000
"""Sequences in one commit."""


class NewerError(Exception):
    """The segment is of a later version."""

    def __init__(self, version: int) -> None:
        super().__init__(f"of version {version}, this is {VERSION}")
        self.version = version


class ForeignError(Exception):
    """The file is no segment, or one that is damaged where it says what it is."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself.

    Attributes:
        number: Of the segment; one that comes later has a higher one.
        outbox: Id of the outbox.
        following: The next free sequence when it was begun.
        previous: Number of the segment before it.
        before: Where the commits of that one end; what comes behind them is not to be believed.
    """

    number: int
    outbox: int
    following: int
    previous: int
    before: int

    def pack(self) -> bytes:
        """As it stands at the beginning of the file."""
        numbers = (self.number, self.outbox, self.following, self.previous, self.before)
        head = _HEADER.pack(MAGIC, VERSION, *numbers)
        return head + _CRC.pack(zlib.crc32(head))

    @classmethod
    def unpack(cls, data: bytes) -> Header | None:
        """Read one; None where none has been written yet.

        Args:
            data: The first `HEADER_BYTES` of a file, or fewer of a short one.

        Raises:
            NewerError: It is of a later version.
            ForeignError: It is none.
        """
        if not data.strip(b"\0"):
            return None
        if data[:16] != MAGIC or len(data) < HEADER_BYTES:
            raise ForeignError("not a segment of an outbox")
        _, version, *numbers = _HEADER.unpack_from(data)
        if version > VERSION:
            raise NewerError(version)
        (crc,) = _CRC.unpack_from(data, _HEADER.size)
        if version != VERSION or crc != zlib.crc32(data[: _HEADER.size]):
            raise ForeignError("its header is damaged")
        return cls(*numbers)


class Moment(NamedTuple):
    """When a commit was made.

    Attributes:
        clock: Seconds that the outbox has lived: while the machine is off none pass.
        boot: Tells this start of the machine from others.
        uptime: Seconds since that start, suspend included.
    """

    clock: float
    boot: int
    uptime: float


class Row(NamedTuple):
    """What is known of a stored message without reading it.

    Attributes:
        number: Its place in this outbox, never used again.
        outbox: Id of the outbox that named it; another one's where it was taken over.
        sequence: Its name there; equal to ``number`` if it was named here.
        since: The outbox' clock when it was stored, s.
        priority: 0 (highest) to 9.
        size: Bytes that it takes of the log.
        content: A digest of what it says, if others may need it.
        needs: The ``content`` of the one that it needs.
    """

    number: int
    outbox: int
    sequence: int
    since: float
    priority: int
    size: int
    content: bytes | None
    needs: bytes | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A message in the form in which it is stored.

    Attributes:
        row: What is known of it.
        text: Bytes of ``data`` that are not its body.
        data: All that is read again when it is sent.
        check: CRC-32 of ``data``.
    """

    row: Row
    text: int
    data: bytes
    check: int

    @classmethod
    def of(
        cls,
        message: Message,
        number: int,
        name: tuple[int, int],
        since: float,
        priority: int,
        content: bytes | None = None,
        needs: bytes | None = None,
    ) -> Draft:
        """Bring a message into the form in which it is stored.

        Raises:
            ValueError: A digest is too long.
        """
        if max(len(content or b""), len(needs or b"")) > _LONGEST_DIGEST:
            raise ValueError(f"a digest has {_LONGEST_DIGEST} bytes at most")
        fields: list[object] = [message.output, message.content_type, message.content_encoding]
        fields.append(dict(message.properties))
        if message.samples:
            fields.append(message.samples)
        text = json.dumps(fields, separators=(",", ":")).encode()
        data = text + message.body
        size = stored_size(len(data), content, needs)
        row = Row(number, *name, since, priority, size, content, needs)
        return cls(row, len(text), data, zlib.crc32(data))


def stored_size(length: int, content: bytes | None, needs: bytes | None) -> int:
    """Bytes that a message takes of the log, with data of a length and the digests of a `Row`."""
    return _COMMIT.size + _MESSAGE.size + len(content or b"") + len(needs or b"") + length


class Place(NamedTuple):
    """Where a message lies.

    Attributes:
        segment: Number of the segment.
        offset: Of its data there.
        text: As in a draft.
        length: Of its data.
        check: As in a draft.
    """

    segment: int
    offset: int
    text: int
    length: int
    check: int

    def message(self, data: bytes) -> Message | None:
        """What was stored; None where these are not the bytes that were written."""
        if len(data) != self.length or zlib.crc32(data) != self.check:
            return None
        try:
            output, kind, encoding, properties, *samples = json.loads(data[: self.text])
            return Message(output, data[self.text :], kind, encoding, properties, *samples)
        except (TypeError, ValueError):
            return None


class Commit(NamedTuple):
    """What one commit says.

    Attributes:
        offset: Where it begins.
        end: Where it ends.
        position: How many commits came before it in its segment.
        following: The next free sequence.
        moment: When it was made.
        gone: Messages that are no more.
        messages: Those that it brings, and where they lie.
    """

    offset: int
    end: int
    position: int
    following: int
    moment: Moment
    gone: tuple[int, ...]
    messages: list[tuple[Row, Place]]


def encode(
    header: Header,
    index: int,
    following: int,
    moment: Moment,
    gone: Sequence[int],
    drafts: Sequence[Draft],
) -> bytes:
    """Make a commit."""
    head = bytearray(struct.pack(f"<{len(gone)}Q", *gone))
    for draft in drafts:
        row, content, needs = draft.row, draft.row.content or b"", draft.row.needs or b""
        numbers = (row.number, row.outbox, row.sequence, row.since, len(draft.data))
        lengths = (len(content), len(needs))
        head += _MESSAGE.pack(*numbers, draft.check, draft.text, *lengths, row.priority)
        head += content + needs
    length = sum(len(draft.data) for draft in drafts)
    fixed = _COMMIT.pack(
        _MARK,
        0,
        header.number,
        index,
        len(head),
        length,
        len(drafts),
        len(gone),
        following,
        moment.clock,
        moment.boot,
        moment.uptime,
    )
    checked = fixed[_CHECKED:] + head
    check = _CRC.pack(_check(header, checked))
    return b"".join((_MARK, check, checked, *(draft.data for draft in drafts)))


def decode(file: int, header: Header, offset: int, limit: int) -> Commit | None:
    """Read the commit that begins at an offset; None where none does, or one that is damaged.

    The messages themselves are not looked at; see `whole`.

    Args:
        file: Descriptor of the segment.
        header: Of the segment.
        offset: Where to look.
        limit: Where the segment's commits end at the latest.

    Raises:
        OSError: It cannot be read.
    """
    data = os.pread(file, _GLANCE, offset)
    if len(data) < _COMMIT.size or data[: len(_MARK)] != _MARK:
        return None
    _, check, number, index, length, bodies, messages, gone, following, *moment = (
        _COMMIT.unpack_from(data)
    )
    start = offset + _COMMIT.size + length
    if number != header.number or start + bodies > limit:
        return None
    if gone * 8 + messages * _MESSAGE.size > length:
        return None
    if start - offset > len(data):
        data = os.pread(file, start - offset, offset)
    head = data[_CHECKED : start - offset]
    if check != _check(header, head):
        return None
    head = head[_COMMIT.size - _CHECKED :]
    try:
        found = list(_messages(head[gone * 8 :], messages, header.number, start))
        left = struct.unpack_from(f"<{gone}Q", head)
    except (struct.error, ValueError):
        return None
    return Commit(offset, start + bodies, index, following, Moment(*moment), left, found)


def whole(file: int, commit: Commit) -> bool:
    """Whether all messages of a commit are as they were written.

    Raises:
        OSError: They cannot be read.
    """
    return all(
        zlib.crc32(os.pread(file, place.length, place.offset)) == place.check
        for _, place in commit.messages
    )


def search(file: int, header: Header, offset: int, limit: int) -> Commit | None:
    """The first commit that begins behind an offset at which none does.

    Raises:
        OSError: It cannot be read.
    """
    data = os.pread(file, limit - offset, offset)
    place = data.find(_MARK, 1)
    while place >= 0:
        commit = decode(file, header, offset + place, limit)
        if commit is not None:
            return commit
        place = data.find(_MARK, place + 1)
    return None


def _messages(head: bytes, count: int, segment: int, start: int) -> Iterator[tuple[Row, Place]]:
    position = 0
    for _ in range(count):
        number, outbox, sequence, since, length, check, text, *lengths, priority = (
            _MESSAGE.unpack_from(head, position)
        )
        position += _MESSAGE.size
        if priority not in PRIORITIES:
            raise ValueError(f"a message has priority {priority}")
        digests: list[bytes | None] = []
        for one in lengths:
            digests.append(head[position : position + one] or None)
            position += one
        size = stored_size(length, *digests)
        row = Row(number, outbox, sequence, since, priority, size, *digests)
        yield row, Place(segment, start, text, length, check)
        start += length


def _check(header: Header, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(header.outbox.to_bytes(8, "little")))
