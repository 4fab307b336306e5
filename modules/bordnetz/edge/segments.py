"""The outbox' log: a folder of segments, written at one end and freed at the other.

What a commit says holds once it is synced.  At the start the log is replayed, from the oldest
segment to the newest.  What is gone is said by a later commit than the one that brought it, and
the oldest segment is freed first, so nothing ever comes back.  A message that keeps the oldest
segment from being freed is written again at the other end where the log would get too long.

After a write or a sync that failed the log goes on in another file.  The pages that the disk has
not taken pass for written ones in memory, and on ext4 the same blocks, written once more, may still
read as zeros after a power cut: the file system has not noted that they are in use.  So nothing is
ever written behind a failure, nor into a file of another life of the process, which does not tell.

Writing costs flash memory least where nothing but the message is written: a file gets its blocks
when it is made, is used a second time rather than made anew, and zeros go before small commits,
for every first write to a block costs the file system three more.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.edge.scan import SPARE, Segment, commits, find, name, opened
from bordnetz.edge.segment import (
    MOST_GONE,
    SIZE,
    START,
    Commit,
    Draft,
    Header,
    Moment,
    Place,
    decode,
    encode,
)
from bordnetz.edge.table import Table

log = logging.getLogger(__name__)

SPARE_SEGMENTS = 4
"""How many segments the log may have beyond its messages, and a quarter of their bytes."""

_AHEAD = 128 << 10
"""Zeros are written up to the next multiple of so many bytes."""
_SMALL = 10 << 10
"""Bytes of a commit before which it pays."""
_RESERVE = 16 << 10
"""Bytes at a segment's end for what is gone: on a full disk they are the way to free another."""


class Log:
    """The segments of one outbox; see `open` and `make`.

    Attributes:
        table: Messages that are not gone.
        following: The next free sequence.
        moment: When the last commit was made.
        damaged: Places at which commits are missing.
        set_aside: Files that were no segments and got another name.
    """

    def __init__(self, folder: Path, budget: int, size: int = SIZE) -> None:
        """Name it.

        Args:
            folder: Of the segments.
            budget: Bytes that messages may take; the log gets a quarter longer, and by
                `SPARE_SEGMENTS`.
            size: Bytes of a segment that is made.
        """
        self.table = Table()
        self.following = 1
        self.moment: Moment | None = None
        self.damaged = 0
        self.set_aside = 0
        self._folder = folder
        self._size = size
        self._most = budget * 5 // 4 // size + SPARE_SEGMENTS
        # By number, the oldest first.
        self._segments: dict[int, Segment] = {}
        # Files to be used again: the log keeps its largest size.
        self._spares: list[Path] = []
        self._file: int | None = None
        self._number = 0
        self._unsynced = False
        self._cleaning = False

    @property
    def outbox(self) -> int:
        """The outbox' id."""
        return self._newest.header.outbox

    @property
    def _newest(self) -> Segment:
        return self._segments[next(reversed(self._segments))]

    @property
    def _oldest(self) -> Segment:
        return self._segments[next(iter(self._segments))]

    # -- from the disk

    def make(self, outbox: int) -> None:
        """Begin a log in an empty folder.

        Raises:
            OSError, DurableError: The disk does not take it.
        """
        self._begin(Header(1, outbox, 1, 0, START))

    def open(self, *, changing: bool = True) -> bool:
        """Read what is there.

        Args:
            changing: Tidy up: move aside what is no segment, remove what is not needed.

        Returns:
            Whether there is a log.

        Raises:
            OSError: The disk does not give it, or does not take it.
            NewerError: It is a later version's, and nothing was changed.
        """
        found, aside = find(self._folder, changing=changing)
        self.set_aside += aside
        self._segments = {segment.header.number: segment for segment in found}
        for segment, after in itertools.zip_longest(found, found[1:]):
            known = after is not None and after.header.previous == segment.header.number
            limit = after.header.before if known else None
            self.following = max(self.following, segment.header.following)
            some, damaged = commits(segment, limit, last=after is None)
            self.damaged += damaged
            for commit in some:
                self._apply(commit, segment)
        self.table.settle()
        return bool(found)

    def read(self, number: int) -> tuple[Place, bytes]:
        """A message's data, as they are.

        Raises:
            OSError: The disk does not give it.
        """
        place = self.table.place(number)
        with opened(self._folder / name(place.segment)) as file:
            return place, os.pread(file, place.length, place.offset)

    # -- to the disk

    def write(self, moment: Moment, gone: Sequence[int], drafts: Sequence[Draft]) -> None:
        """Commit; on the disk when this returns.

        Args:
            moment: Now.
            gone: Messages that are no more; those that are not there are ignored.
            drafts: Messages that are new.  They are on the disk before anything is gone.

        Raises:
            OSError, DurableError: The disk does not take it.  Some of the drafts may be there all
                the same, and nothing is gone.
        """
        waiting = list(drafts)
        for draft in waiting:
            if draft.row.size > self._size - _RESERVE - START:
                raise ValueError(f"{draft.row.size} bytes fit no segment")
        leaving = [number for number in gone if number in self.table]
        if not waiting:
            leaving = self._drop(leaving)
        while waiting or leaving:
            segment = self._newest
            if not segment.sound:
                segment = self._grow()
            room = self._size - _RESERVE - segment.end
            count = 0
            for draft in waiting:
                room -= draft.row.size
                if room < 0:
                    break
                count += 1
            some = waiting[:count]
            del waiting[:count]
            out: list[int] = []
            if not waiting:
                if not some:
                    room = self._size - START - segment.end
                most = max(min(MOST_GONE, room // 8), 0)
                out, leaving = leaving[:most], leaving[most:]
            if some or out:
                self._append(segment, moment, out, some)
            elif waiting or leaving:
                self._grow()
        self._free()

    def _append(
        self, segment: Segment, moment: Moment, gone: Sequence[int], drafts: Sequence[Draft]
    ) -> None:
        following = max([self.following, *(draft.row.number + 1 for draft in drafts)])
        data = encode(segment.header, segment.index, following, moment, gone, drafts)
        end = segment.end + len(data)
        if end > segment.written:
            if len(data) < _SMALL:
                data += bytes(max(min(-end % _AHEAD, self._size - end), 0))
            segment.written = segment.end + len(data)
        segment.sound = False
        if self._file is None:
            raise OSError(errno.EBADF, "the log is closed")
        _write(self._file, data, segment.end)
        os.fdatasync(self._file)
        commit = decode(self._file, segment.header, segment.end, end)
        if commit is None:
            raise OSError(errno.EIO, "what was written is not what is read")
        segment.sound = True
        self._apply(commit, segment)
        segment.end = end
        segment.index += 1

    def _apply(self, commit: Commit, segment: Segment) -> None:
        for row, place in commit.messages:
            if row.number < self.following:
                self._forget(row.number)
            self.table.add(row, place)
            segment.live += 1
            self.following = max(self.following, row.number + 1)
        for number in commit.gone:
            self._forget(number)
        self.following = max(self.following, commit.following)
        self.moment = commit.moment

    def _forget(self, number: int) -> None:
        place = self.table.remove(number)
        if place is not None:
            self._segments[place.segment].live -= 1

    # -- one end grows, the other is freed

    def _grow(self) -> Segment:
        """Go on in another file."""
        self._free()
        old = self._newest
        # A number that failed is not used again: its file may be there all the same.
        self._number = max(self._number, old.header.number) + 1
        numbers = (self._number, old.header.outbox, self.following, old.header.number)
        self._begin(Header(*numbers, old.end))
        self._clean()
        return self._newest

    def _drop(self, gone: list[int]) -> list[int]:
        """Free the oldest segments if nothing else is in them, which needs no room on the disk.

        Returns:
            What has still to be said to be gone.
        """
        left = set(gone)
        for number in [*self._segments][:-1]:
            if number not in self._segments:
                continue  # Nothing was in it, and it went with the one before.
            segment = self._segments[number]
            inside = {one for one in left if self.table.place(one).segment == number}
            if len(inside) < segment.live:
                break
            segment.live = 0
            self._free()
            if number in self._segments:
                # The disk does not let go of it: that they are gone has to be said.
                segment.live = len(inside)
                break
            for one in inside:
                self.table.remove(one)
            left -= inside
        if len(left) < len(gone):
            durable.sync_folder(self._folder)
            self._unsynced = False
        return [number for number in gone if number in left]

    def _begin(self, header: Header) -> None:
        path = self._folder / name(header.number)
        segment = Segment(path, header)
        if self._spares:
            self._spares[-1].replace(path)
            self._spares.pop()
            segment.written = self._size
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, self._size)
            _write(file, header.pack(), 0)
            os.fsync(file)
            durable.sync_folder(self._folder)
        except BaseException:
            os.close(file)
            with suppress(OSError):
                path.unlink()
            raise
        self.close()
        self._file = file
        self._unsynced = False
        segment.sound = True
        self._segments[header.number] = segment

    def _free(self) -> None:
        """Let go of the oldest segments as long as nothing in them is needed."""
        while len(self._segments) > 1 and not self._oldest.live:
            oldest = self._oldest.path
            spare = oldest.with_suffix(SPARE)
            try:
                # The order in which names vanish is the order in which they are synced.
                if self._unsynced:
                    durable.sync_folder(self._folder)
                if self._oldest.sound:
                    oldest.replace(spare)
                    self._spares.append(spare)
                else:
                    oldest.unlink()
            except (OSError, durable.DurableError) as error:
                log.debug("%s stays for now: %s", oldest, error)
                return
            self._unsynced = True
            del self._segments[self._oldest.header.number]

    def _clean(self) -> None:
        """Write what is left in the oldest segments again, if the log is too long."""
        if self._cleaning:
            return
        self._cleaning = True
        newest = self._newest.header.number
        try:
            while len(self._segments) > self._most:
                oldest = self._oldest.header.number
                if oldest >= newest:
                    break
                self._move(oldest)
                if self._oldest.header.number == oldest:
                    break
        except (OSError, durable.DurableError) as error:
            log.warning("the outbox gets longer than it should: %s", error)
        finally:
            self._cleaning = False

    def _move(self, segment: int) -> None:
        """Write the messages of a segment again."""
        drafts = []
        for number in self.table.inside(segment):
            place, data = self.read(number)
            drafts.append(Draft(self.table.row(number), place.text, data, place.check))
        self.write(self.moment or Moment(0, 0, 0), (), drafts)

    def close(self) -> None:
        """Let go of the file that is written to."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count
