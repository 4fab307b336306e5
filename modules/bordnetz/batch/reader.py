"""Messages of the stream, from the reader's side.

The rule: whatever the bytes are, the answer is what was written or a `BatchError`.  A check sum
covers every byte, the sizes that the bytes claim are bounded before anything is allocated, and
nothing may be left over.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch import columns, zstd
from bordnetz.batch.bits import I64
from bordnetz.batch.boots import Boots
from bordnetz.batch.dictionary import DIGEST_BYTES, FINGERPRINT_BYTES, Dictionary
from bordnetz.batch.errors import BatchError
from bordnetz.batch.flags import Flags, decode_flags
from bordnetz.batch.losses import read_losses
from bordnetz.batch.message import (
    CHECK_BYTES,
    CHECK_TAG,
    DEFAULT_CAMPAIGN,
    MAJOR,
    MAX_BYTES,
    MAX_COLUMN_BYTES,
    MAX_VALUES,
    MOST_GAPS,
    Batch,
    Clock,
    Header,
    Resolution,
    Stamp,
)
from bordnetz.batch.seen import Seen
from bordnetz.series import Cause, Gap, Samples

_NO_DICTIONARY = Dictionary((), bytes(FINGERPRINT_BYTES), bytes(FINGERPRINT_BYTES))
"""Of messages that need none."""


class Envelope:
    """A message whose check sum is right and whose version is known, columns still closed.

    Args:
        data: Untrusted.

    Attributes:
        header: The message's header.
        is_batch: Whether it tells of samples, gaps or losses.
        needs_dictionary: Whether it can be read with its dictionary alone; losses have none.

    Raises:
        BatchError: Damaged, not a message, or of a later major version.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_BYTES:
            raise BatchError(f"batch: {len(data)} bytes are more than a message has ({MAX_BYTES})")
        if len(data) < CHECK_BYTES or data[-CHECK_BYTES] != CHECK_TAG:
            raise BatchError("batch: does not end with a check sum; it is cut short or no batch")
        if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise BatchError("batch: the check sum is wrong; it was damaged on its way")
        self._message = pb.Message()
        try:
            self._message.ParseFromString(data)
        except DecodeError as error:
            raise BatchError(f"batch: not readable: {error}") from error
        message = self._message
        if message.major != MAJOR:
            raise BatchError(
                f"batch: schema version {message.major}.{message.minor}, this reader knows "
                f"{MAJOR}.x; update bordnetz"
            )
        told = bool(message.count or message.gap)
        self.is_batch = told or bool(message.loss)
        self.needs_dictionary = told or not message.loss
        if self.needs_dictionary and len(message.dictionary) != DIGEST_BYTES:
            raise BatchError("batch: it names no dictionary")
        self.header = self._read_header()

    def _read_header(self) -> Header:
        message = self._message
        try:
            resolution = Resolution(message.resolution)
        except ValueError:
            raise BatchError(f"batch: time resolution {message.resolution} is not known") from None
        known = message.clock in [clock.value for clock in Clock]
        first = message.first * resolution.ns
        last = (message.first + message.span) * resolution.ns
        if not -(1 << 63) <= first <= last < 1 << 63:
            raise BatchError("batch: its times are outside of what 64 bits of ns can say")
        # A state that a later minor version added is one we know nothing about.
        clock = Clock(message.clock) if known else Clock.UNKNOWN
        ahead = None
        if name := message.WhichOneof("since_boot"):
            clock = Clock[name.upper()]
            since_boot = getattr(message, name)
            ahead = (message.first - since_boot) * resolution.ns
            if (since_boot + message.span) * resolution.ns >= 1 << 63 or abs(ahead) >= 1 << 63:
                raise BatchError("batch: its times are outside of what 64 bits of ns can say")
        stamp = Stamp(
            boot=message.boot,
            clock=clock,
            resolution=resolution,
            campaign=message.campaign or DEFAULT_CAMPAIGN,
            campaign_version=message.campaign_version,
            ahead=ahead,
        )
        return Header(
            dictionary=message.dictionary,
            outbox=message.outbox,
            sequence=message.sequence,
            stamp=stamp,
            first=first,
            last=last,
            minor=message.minor,
        )

    def dictionary(self) -> Dictionary | None:
        """The dictionary that the message brings, if any; an empty one where it needs none.

        Raises:
            BatchError: It is damaged, too large, or not the one it says.
        """
        if not self.needs_dictionary:
            return _NO_DICTIONARY
        data = self._message.dictionary_zstd
        return Dictionary.from_compressed(data, self._message.dictionary) if data else None

    def open(self, dictionary: Dictionary) -> Batch:
        """Decode the columns.

        Raises:
            BatchError: They are not what the header says, or need another dictionary.
        """
        message = self._message
        if self.needs_dictionary and dictionary.digest != message.dictionary:
            raise BatchError(
                f"batch: needs dictionary {message.dictionary.hex()}, "
                f"was given {dictionary.digest.hex()}"
            )
        gaps, losses = self._gaps(), read_losses(message.loss)
        if not message.count:
            if message.group or message.id or message.missing:
                raise BatchError(f"batch: {len(message.group)} groups for 0 series")
            if message.columns or message.columns_zstd:
                raise BatchError("batch: it has columns, but no series")
            return Batch(self.header, dictionary, _no_samples(dictionary), gaps, losses)
        group, ids, width, rows = self._series(dictionary)
        total = int(rows.sum())
        lengths = np.concatenate((rows, np.repeat(rows, width)))
        try:
            data = message.columns
            if message.columns_zstd:
                data = zstd.decompress(message.columns_zstd, MAX_COLUMN_BYTES)
            flat = columns.decode(data, lengths)
        except ValueError as error:
            raise BatchError(f"batch: the columns are not readable: {error}") from error
        ticks = flat[:total]
        if ticks.min() < 0 or int(ticks.max()) > message.span:
            raise BatchError("batch: a time is not between the first and the last")
        time = (ticks + message.first) * self.header.stamp.resolution.ns
        samples = Samples(
            groups=dictionary.groups,
            group=group.astype(np.int32),
            id=ids,
            width=width.astype(np.int32),
            count=rows,
            time=time,
            order=_arrival(time, rows),
            values=flat[total:],
            quality=self._quality(dictionary.has_quality.take(group), rows * width),
        )
        return Batch(self.header, dictionary, samples, gaps, losses)

    def _quality(self, having: NDArray[np.bool_], values: I64) -> Flags | None:
        """The quality of all values: 0 for series without, None where all are."""
        message = self._message
        if not having.any():
            if message.quality or message.quality_run:
                raise BatchError("batch: it has quality that its dictionary does not know of")
            return None
        quality = np.zeros(int(values.sum()), np.uint8)
        try:
            quality[having.repeat(values)] = decode_flags(
                message.quality, message.quality_run, int(values[having].sum())
            )
        except ValueError as error:
            raise BatchError(f"batch: {error}") from error
        return quality

    def _gaps(self) -> tuple[Gap, ...]:
        """The gaps, all of them checked."""
        message, unit = self._message, self.header.stamp.resolution.ns
        if len(message.gap) > MOST_GAPS:
            raise BatchError(f"batch: {len(message.gap)} gaps, expected {MOST_GAPS} at most")
        known = [cause.value for cause in Cause]
        gaps = []
        for gap in message.gap:
            start = gap.start * unit
            end = start + gap.length * unit
            if not -(1 << 63) <= start <= end < 1 << 63:
                raise BatchError("batch: a gap is outside of what 64 bits of ns can say")
            cause = Cause(gap.cause) if gap.cause in known else Cause.UNKNOWN
            gaps.append(Gap(gap.bus, cause, start, end if gap.HasField("length") else None))
        return tuple(gaps)

    def _series(self, dictionary: Dictionary) -> tuple[I64, NDArray[np.uint32], I64, I64]:
        """The series' group, id, width and rows, all of them checked."""
        message = self._message
        series = len(message.count)
        if not series or len(message.group) != series:
            raise BatchError(f"batch: {len(message.group)} groups for {series} series")
        for name, given in (("ids", len(message.id)), ("widths", len(message.missing))):
            if given not in (0, series):
                raise BatchError(f"batch: {given} {name} for {series} series")
        groups = len(dictionary.groups)
        group = np.cumsum(np.array(message.group, np.int64))
        if int(group[-1]) >= groups:
            raise BatchError(f"batch: group {int(group[-1])} of a dictionary that has {groups}")
        ids = np.array(message.id, np.uint32) if message.id else dictionary.ids[group]
        width = dictionary.widths[group]
        if message.missing:
            width -= np.array(message.missing, np.int64)
            if width.min() < 0:
                raise BatchError("batch: a series lacks more signals than its group has")
        rows = np.array(message.count, np.int64)
        # uint32 counts and widths: floats cannot overflow where their products could.
        values = float(np.dot(rows.astype(np.float64), width + 1.0))
        if rows.min() < 1 or values > MAX_VALUES:
            raise BatchError(f"batch: {values:.0f} values, expected 1 to {MAX_VALUES}")
        key = np.lexsort((width, ids, group))
        same = (np.diff(group) == 0) & (np.diff(ids.astype(np.int64)) == 0) & (np.diff(width) == 0)
        if (np.diff(key) != 1).any() or same.any():
            raise BatchError("batch: its series are not in order")
        return group, ids, width, rows


def _no_samples(dictionary: Dictionary) -> Samples:
    none = np.zeros(0, np.int64)
    small = np.zeros(0, np.int32)
    ids = np.zeros(0, np.uint32)
    return Samples(dictionary.groups, small, ids, small, none, none, none, none)


def _arrival(time: I64, rows: I64) -> I64:
    """An order of arrival that the times suggest; in a series, a row never overtakes another."""
    starts = np.cumsum(rows) - rows
    if (np.diff(time) < 0).sum() > (np.diff(time)[starts[1:] - 1] < 0).sum():
        # The clock stepped back within a series: its later rows count as no earlier.
        time = np.concatenate([np.maximum.accumulate(part) for part in np.split(time, starts[1:])])
    order = np.empty(len(time), np.int64)
    order[np.argsort(time, kind="stable")] = np.arange(len(time))
    return order


def decode_batch(data: bytes, dictionary: Dictionary | None = None) -> Batch:
    """Read one batch.

    Args:
        data: Untrusted.
        dictionary: The one that it names; None where the message brings it along.

    Raises:
        BatchError: Damaged, of a later major version, no batch, or the dictionary is another.
    """
    envelope = Envelope(data)
    if not envelope.is_batch:
        raise BatchError("batch: the message is a dictionary, not a batch")
    dictionary = dictionary or envelope.dictionary()
    if dictionary is None:
        raise BatchError(f"batch: needs dictionary {envelope.header.dictionary.hex()}")
    return envelope.open(dictionary)


class Reader:
    """Reads messages in any order, each batch once; batches wait for their dictionary.

    A batch has come before if the same sender brought one of the same outbox and sequence that
    could be read.  Thread-safe.

    Args:
        waiting_bytes: Most bytes of batches that wait; the oldest make room.
        dictionary_bytes: Most bytes of dictionaries kept; those not used for longest make room.

    Attributes:
        dropped: Batches that had to make room.
        damaged: Batches that waited and were not readable once their dictionary had come.
        duplicates: Batches that had come before.
        boots: What is known of the clocks, also by batches that wait.
    """

    def __init__(self, waiting_bytes: int = 64 << 20, dictionary_bytes: int = 16 << 20) -> None:
        self.dropped = 0
        self.damaged = 0
        self.duplicates = 0
        self.boots = Boots()
        self._seen = Seen()
        self._limit = waiting_bytes
        self._dictionary_limit = dictionary_bytes
        self._dictionary_bytes = 0
        self._known: OrderedDict[bytes, Dictionary] = OrderedDict()
        self._waiting: OrderedDict[int, tuple[int, Envelope, str]] = OrderedDict()
        self._bytes = 0
        self._arrived = 0
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Batches whose dictionary has not come."""
        return len(self._waiting)

    def missing(self) -> list[bytes]:
        """Digests of the dictionaries that batches wait for."""
        with self._lock:
            return sorted({envelope.header.dictionary for _, envelope, _ in self._waiting.values()})

    def read(self, data: bytes, sender: str = "") -> list[Batch]:
        """Take a message.

        Args:
            data: Untrusted.
            sender: Device and module, as the transport tells them.

        Returns:
            The batches that can be read now: this one, or those that waited for this dictionary.

        Raises:
            BatchError: The message is not readable.  Nothing has changed then.
        """
        envelope = Envelope(data)
        digest = envelope.header.dictionary
        dictionary = envelope.dictionary()
        if dictionary is None and not envelope.is_batch:
            raise BatchError("batch: the message has neither samples nor a dictionary")
        with self._lock:
            dictionary = dictionary or self._known.get(digest)
            if dictionary is None:
                self._wait(envelope, len(data), sender)
                self.boots.see(envelope.header, sender)
                return []
        # Before anything changes: these columns may be damaged.
        own = [envelope.open(dictionary)] if envelope.is_batch else []
        with self._lock:
            self._remember(dictionary)
            self.boots.see(envelope.header, sender)
            held = [
                arrival
                for arrival, (_, one, _) in self._waiting.items()
                if one.header.dictionary == digest
            ]
            ready = [self._waiting.pop(arrival) for arrival in held]
            self._bytes -= sum(size for size, *_ in ready)
        batches = []
        for _, waited, whose in ready:
            try:
                batches.append((waited.open(dictionary), whose))
            except BatchError:
                with self._lock:
                    self.damaged += 1
        batches += [(batch, sender) for batch in own]
        with self._lock:
            return [batch for batch, whose in batches if self._is_new(batch, whose)]

    def _is_new(self, batch: Batch, sender: str) -> bool:
        new = self._seen.add((sender, batch.header.outbox, batch.header.sequence))
        self.duplicates += not new
        return new

    def _remember(self, dictionary: Dictionary) -> None:
        if dictionary.digest not in self._known:
            self._known[dictionary.digest] = dictionary
            self._dictionary_bytes += len(dictionary.serialised)
        self._known.move_to_end(dictionary.digest)
        while self._dictionary_bytes > self._dictionary_limit and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            self._dictionary_bytes -= len(oldest.serialised)

    def _wait(self, envelope: Envelope, size: int, sender: str) -> None:
        self._waiting[self._arrived] = size, envelope, sender
        self._arrived += 1
        self._bytes += size
        while self._bytes > self._limit:
            _, (size, *_) = self._waiting.popitem(last=False)
            self._bytes -= size
            self.dropped += 1
