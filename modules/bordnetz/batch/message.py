"""Messages of the stream, from the writer's side: batches and dictionaries to bytes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch import columns, zstd
from bordnetz.batch.blocks import merge
from bordnetz.batch.dictionary import MAX_BYTES as MAX_DICTIONARY_BYTES
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.errors import BatchError
from bordnetz.batch.flags import encode_flags
from bordnetz.batch.memory import Memory
from bordnetz.series import Gap, Samples

if TYPE_CHECKING:
    from bordnetz.batch.losses import Loss

MAJOR, MINOR = 1, 0
"""Schema version written; every minor version of ``MAJOR`` is read."""

QUALITY_MINOR = 1
"""Minor version of batches that have quality: every batch pays for a number other than 0."""

GAPS_MINOR = 1
"""Minor version of messages that have gaps: every batch pays for a number other than 0."""

MOST_GAPS = 256
"""In one message: more than a bus can have in the time of a batch, by far."""

MAX_BYTES = 250_000
"""Largest message with topic and properties; an Edge hub's limit is 262,144 with its overhead."""

MAX_VALUES = 1 << 20
"""Most numbers in a batch, times counted; it bounds a reader's memory to about 100 MiB."""

DEFAULT_CAMPAIGN = "default"

MAX_COLUMN_BYTES = 16 * MAX_VALUES
"""Most bytes that columns have before zstandard: no coding needs more than 12 a value."""

_WORTH_A_TRY, _LEVEL = 256, 1

_ALIKE = 1.75
"""With so many times as many pairs of equal bytes as random data has, zstandard is worth a try."""

CHECK_TAG = 0x7D
"""Field 15, four bytes: begins the end of every message."""

CHECK_BYTES = 5
"""Length of that field, the last of every message."""

_TAIL = 9 + 11 + CHECK_BYTES
"""Bytes that `Draft.finish` may append: outbox id, sequence, check sum."""

_INT32 = np.iinfo(np.int32)

_SEQUENCE_TAG, _OUTBOX_TAG = 0x58, 0x51


class Resolution(IntEnum):
    """Unit of a batch's times; shorter fractions are cut off."""

    MILLISECOND = 0
    MICROSECOND = 1

    @property
    def ns(self) -> int:
        """One unit in ns."""
        return 1_000_000 if self is Resolution.MILLISECOND else 1_000


class Clock(IntEnum):
    """How far a batch's times can be trusted."""

    UNKNOWN = 0
    SYNCHRONISED = 1
    UNSYNCHRONISED = 2


@dataclass(frozen=True, slots=True)
class Stamp:
    """What all batches of one writer say of themselves.

    Attributes:
        boot: 64 bits, random from one start of the machine to the next.
        clock: State of the clock that the times are from.
        resolution: Unit of the times.
        campaign: Name of the campaign that collected them.
        campaign_version: Its version.
        ahead: How far the wall clock was ahead of the boot clock when the batch was closed, ns.
            Times that are written are those of the boot clock then, times that are read always
            those of the wall clock.  None: there was no boot clock, as in a recording.
    """

    boot: int
    clock: Clock = Clock.UNKNOWN
    resolution: Resolution = Resolution.MILLISECOND
    campaign: str = DEFAULT_CAMPAIGN
    campaign_version: int = 0
    ahead: int | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """What a message says before its columns.

    Attributes:
        dictionary: Digest of the dictionary that it needs, or brings.
        outbox: 64 random bits, drawn when the outbox was made.
        sequence: Place in that outbox; with ``outbox`` unique for ever.
        stamp: Of the writer.
        first: Earliest time, ns since the Unix epoch as the clock said; 0 without samples, as
            ``last``.
        last: Latest time, likewise.
        minor: Minor schema version.
    """

    dictionary: bytes
    outbox: int
    sequence: int
    stamp: Stamp
    first: int
    last: int
    minor: int = MINOR


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as read; ``order`` of the samples is made up from their times.

    Attributes:
        samples: None at all where it brings gaps or losses alone.
        gaps: Buses that were not listened to.
        losses: Batches that nobody will get.
    """

    header: Header
    dictionary: Dictionary
    samples: Samples
    gaps: tuple[Gap, ...] = ()
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that lacks only its place in the outbox.

    Attributes:
        rows: Rows of all series in it.
        samples: Values in it.
    """

    _body: bytes
    _check: int
    rows: int = 0
    samples: int = 0

    @property
    def max_size(self) -> int:
        """Bytes that the finished message has at most."""
        return len(self._body) + _TAIL

    def telling(self, gaps: Sequence[Gap], stamp: Stamp) -> Draft:
        """The same draft with gaps, which need no second look at its columns.

        Args:
            gaps: At most `MOST_GAPS`.
            stamp: That of the batch.
        """
        message = pb.Message(minor=GAPS_MINOR, gap=[_gap_out(gap, stamp) for gap in gaps])
        # Serialised protobuf messages in a row are one message with the fields of both.
        more = message.SerializeToString()
        return Draft(self._body + more, zlib.crc32(more, self._check), self.rows, self.samples)

    def finish(self, outbox: int, sequence: int) -> bytes:
        """Append the place in the outbox and the check sum.

        Args:
            outbox: The outbox' id, 64 bits.
            sequence: 0 to 2**64 - 1.
        """
        tail = bytearray([_OUTBOX_TAG]) + outbox.to_bytes(8, "little")
        tail.append(_SEQUENCE_TAG)
        while sequence > 0x7F:
            tail.append(sequence & 0x7F | 0x80)
            sequence >>= 7
        tail.append(sequence)
        tail.append(CHECK_TAG)
        check = zlib.crc32(tail, self._check)
        return self._body + bytes(tail) + check.to_bytes(4, "little")


def encode_dictionary(dictionary: Dictionary, boot: int) -> Draft:
    """Make the message that brings a dictionary.

    Raises:
        BatchError: It does not fit a message.
    """
    message = pb.Message(
        major=MAJOR,
        minor=MINOR,
        boot=boot,
        dictionary=dictionary.digest,
        dictionary_zstd=dictionary.compressed,
    )
    draft = drafted(message)
    if draft.max_size > MAX_BYTES or len(dictionary.serialised) > MAX_DICTIONARY_BYTES:
        raise BatchError(
            f"dictionary: {len(dictionary.serialised)} bytes, {draft.max_size} compressed, are "
            f"more than {MAX_DICTIONARY_BYTES} or than a message takes, {MAX_BYTES}; "
            "collect fewer signals"
        )
    return draft


def encode_batch(
    samples: Samples,
    dictionary: Dictionary,
    stamp: Stamp,
    *,
    memory: Memory | None = None,
    embed: bool = False,
) -> Draft:
    """Make the message of a batch.

    Args:
        samples: At least one, with the times at most `MAX_VALUES`.
        dictionary: Its groups are those of ``samples``.
        stamp: Goes into the header.
        memory: Of the batches before, of the same dictionary; it makes encoding cheaper.
        embed: Bring the dictionary along.

    Raises:
        ValueError: ``samples`` is empty, too large, or of another dictionary.
    """
    if samples.groups is not dictionary.groups and samples.groups != dictionary.groups:
        raise ValueError("the samples' groups are not those of the dictionary")
    memory = memory or Memory(dictionary)
    series, count = memory.series(samples), samples.count.tolist()
    if series is None or 0 in count:
        samples = merge([samples])
        series, count = memory.series(samples) or memory.meet(samples), samples.count.tolist()
    rows = samples.count
    if not len(rows) or len(samples.time) + len(samples) > MAX_VALUES:
        raise ValueError(f"a batch has 1 to {MAX_VALUES} values, times counted")
    ticks = samples.time // stamp.resolution.ns
    first = int(ticks.min())
    ticks -= first
    span = int(ticks.max())
    if span <= _INT32.max:
        ticks = ticks.astype(samples.values.dtype)  # Which a writer keeps short.
    numbers = len(ticks) + len(samples)
    known = memory.recall(series, numbers)
    encoded, choice = columns.encode(
        np.concatenate((ticks, samples.values)), rows[series.source], known
    )
    if known is not None and memory.is_surprised(len(encoded), numbers):
        # Others may suit the samples better by now.
        known, before = None, encoded
        encoded, choice = columns.encode(
            np.concatenate((ticks, samples.values)), rows[series.source]
        )
        encoded = min(encoded, before, key=len)
    if known is None:
        memory.learn(series, choice, len(encoded), numbers)
    message = pb.Message(
        major=MAJOR,
        minor=MINOR,
        dictionary=dictionary.digest,
        boot=stamp.boot,
        span=span,
        resolution=pb.Resolution.Name(stamp.resolution),
        campaign="" if stamp.campaign == DEFAULT_CAMPAIGN else stamp.campaign,
        campaign_version=stamp.campaign_version,
        group=series.group,
        count=count,
        id=series.id,
        missing=series.missing,
        **_first_out(first, stamp),
    )
    # Coded columns rarely compress, but what repeats itself over and over does.
    if known is None:
        memory.repeats = _repeats(encoded)
    if memory.repeats:
        compressed = zstd.compress(encoded, _LEVEL)
        if len(compressed) < len(encoded):
            message.columns_zstd, encoded = compressed, b""
    message.columns = encoded
    if series.having is not None:
        flags = samples.quality
        if flags is None:
            raise ValueError("the samples lack the quality that their dictionary promises")
        if not series.having.all():
            flags = flags[series.having.repeat(rows * samples.width)]
        message.minor = QUALITY_MINOR
        message.quality, runs = encode_flags(flags)
        message.quality_run.extend(runs)
    if embed:
        message.dictionary_zstd = dictionary.compressed
    return drafted(message, len(samples.time), len(samples))


def encode_gaps(gaps: Sequence[Gap], dictionary: Dictionary, stamp: Stamp) -> Draft:
    """Make the message of a batch that has gaps and no samples.

    Args:
        gaps: At least one, at most `MOST_GAPS`.
        dictionary: Of the samples that there would be.
        stamp: Goes into the header.
    """
    unit = stamp.resolution.ns
    first = min(gap.start for gap in gaps) // unit
    last = max(gap.start if gap.end is None else gap.end for gap in gaps) // unit
    message = pb.Message(
        major=MAJOR,
        dictionary=dictionary.digest,
        boot=stamp.boot,
        span=last - first,
        resolution=pb.Resolution.Name(stamp.resolution),
        campaign="" if stamp.campaign == DEFAULT_CAMPAIGN else stamp.campaign,
        campaign_version=stamp.campaign_version,
        **_first_out(first, stamp),
    )
    return drafted(message).telling(gaps, stamp)


def _first_out(first: int, stamp: Stamp) -> dict[str, Any]:
    """The fields of a batch's first time, by both clocks where it has two."""
    if stamp.ahead is None:
        return {"first": first, "clock": pb.Clock.Name(stamp.clock)}
    # A whole number of units: differences by one clock are those by the other.
    ahead = stamp.ahead // stamp.resolution.ns
    return {"first": first + ahead, stamp.clock.name.lower(): first}


def _gap_out(gap: Gap, stamp: Stamp) -> pb.Gap:
    unit = stamp.resolution.ns
    start = gap.start // unit
    length = None if gap.end is None else gap.end // unit - start
    cause = pb.Cause.Name(pb.Cause.ValueType(gap.cause))
    ahead = 0 if stamp.ahead is None else stamp.ahead // unit
    return pb.Gap(bus=gap.bus, cause=cause, start=start + ahead, length=length)


def _repeats(data: bytes) -> bool:
    """Whether some bytes are so frequent that zstandard may make it smaller."""
    if len(data) <= _WORTH_A_TRY:
        return False
    often = np.bincount(np.frombuffer(data, np.uint8))
    # Of random data, one pair of bytes in 256 is alike.
    alike = int(often @ often) - len(data)
    return alike * 256 > _ALIKE * len(data) * len(data)


def drafted(message: pb.Message, rows: int = 0, samples: int = 0) -> Draft:
    """A draft of a message that is whole but for its place in the outbox."""
    body = message.SerializeToString()
    return Draft(body, zlib.crc32(body), rows, samples)
