"""The outbox' place on the disk: one log, whatever the disk or another version has done to it.

What the disk refuses becomes an `OutboxError`, after which the next call tries again.
A log of a later version is moved aside untouched; that version takes it up again (`takeover`).
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.edge.clock import boot_id
from bordnetz.edge.durable import DurableError
from bordnetz.edge.message import Message
from bordnetz.edge.segment import Draft, Moment, NewerError
from bordnetz.edge.segments import Log
from bordnetz.edge.table import Table
from bordnetz.edge.takeover import take_over
from bordnetz.errors import BordnetzError

log = logging.getLogger(__name__)


_PASSING = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
)
"""What a disk or a system says that may do again by itself, and will not by a new process."""


class OutboxError(BordnetzError):
    """The outbox cannot write or read; it is as before, and trying again later is right.

    Attributes:
        lasts: Whether it will not pass by itself: somebody has to change something.
    """

    exit_code = 74

    def __init__(self, words: str, *, lasts: bool = False) -> None:
        super().__init__(words)
        self.lasts = lasts


class DamagedMessageError(Exception):
    """The disk gives other bytes than it took."""


@dataclass(frozen=True, slots=True)
class Uptime:
    """The steady clock, and which life of the machine it tells of.

    Attributes:
        boot: Tells this start of the machine from others, 64 bits.
        now: Gives seconds since that start, suspend included.
    """

    boot: int
    now: Callable[[], float]

    @classmethod
    def of_the_machine(cls) -> Uptime:
        """The kernel's."""
        return cls(boot_id(), lambda: time.clock_gettime(time.CLOCK_BOOTTIME))


@dataclass(frozen=True, slots=True)
class Contents:
    """What was found: the outbox' id, the next sequence, and the messages, kept up to date."""

    id: int
    next: int
    table: Table


class Store:
    """The log of an outbox; one process has it at a time.

    Attributes:
        set_aside: Files and folders moved aside since this object was made.
        damaged: Places found at which something is missing, likewise.
    """

    def __init__(
        self,
        folder: Path,
        budget: int,
        draw: Callable[[int], int],
        uptime: Uptime,
        segment: int,
    ) -> None:
        """Name the folder; it is opened by the first `ready`.

        Args:
            folder: Of the log; the one that it is in must exist.
            budget: Bytes that messages may take.
            draw: Gives that many random bits, for the id of a new log.
            uptime: For the age of messages.
            segment: Bytes of a segment of the log.
        """
        self.set_aside = 0
        self.damaged = 0
        self._folder = folder
        self._budget = budget
        self._draw = draw
        self._uptime = uptime
        self._segment = segment
        self._log: Log | None = None
        self._lock: durable.Lock | None = None
        self._first = True

    @contextmanager
    def ready(self) -> Iterator[Contents | None]:
        """Have the log open within; gives its contents where it had to be opened anew.

        Raises:
            OutboxError: Whatever the disk refuses within, or another process has the log.
        """
        try:
            yield self._open() if self._log is None else None
        except durable.LockedError as error:
            raise OutboxError(
                f"outbox {self._folder} is in use by another process; every module needs its own "
                "state folder",
                lasts=True,
            ) from error
        except (OSError, DurableError) as error:
            what = _cure(self._folder, error) or "check the disk; the next message tries again"
            cause = error.__cause__ or error
            lasts = not isinstance(cause, OSError) or cause.errno not in _PASSING
            words = f"outbox {self._folder}: {_said(error)}; {what}"
            raise OutboxError(words, lasts=lasts) from error

    @property
    def clock(self) -> float:
        """Seconds that the outbox has lived; while the machine is off none pass."""
        last = None if self._log is None else self._log.moment
        now = self._uptime.now()
        if last is None:
            return 0.0
        passed = now - last.uptime if last.boot == self._uptime.boot else now
        return last.clock + max(passed, 0.0)

    def write(self, gone: Sequence[int], drafts: Sequence[Draft] = ()) -> None:
        """Commit; on the disk when this returns.  Within `ready`.

        Args:
            gone: Messages that are no more; those that are not there are ignored.
            drafts: Messages to add.  They are on the disk before anything is gone.
        """
        moment = Moment(self.clock, self._uptime.boot, self._uptime.now())
        self._opened.write(moment, gone, drafts)

    def read(self, number: int) -> Message:
        """One message.  Within `ready`.

        Raises:
            DamagedMessageError: It is not what was stored.
        """
        try:
            place, data = self._opened.read(number)
        except FileNotFoundError as error:
            raise DamagedMessageError(f"message {number} is on the disk no more") from error
        message = place.message(data)
        if message is None:
            raise DamagedMessageError(f"message {number} is not what was stored")
        return message

    def close(self) -> None:
        """Close the log and let others have it."""
        self._disconnect()
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None

    @property
    def _opened(self) -> Log:
        if self._log is None:
            raise ValueError("the log is open within `ready` alone")
        return self._log

    def _disconnect(self) -> None:
        if self._log is not None:
            with suppress(OSError):
                self._log.close()
            self._log = None

    def _open(self) -> Contents:
        if self._lock is None:
            lock = durable.Lock(self._folder.with_name(f"{self._folder.name}.lock"))
            lock.__enter__()
            self._lock = lock
        if self._folder.exists() and not self._folder.is_dir():
            self._move_aside("foreign", "not a folder")
        try:
            self._log = self._read()
        except NewerError as error:
            self._move_aside(f"version-{error.version}", str(error))
            self._log = self._read()
        if self._first:
            moment = Moment(self.clock, self._uptime.boot, self._uptime.now())
            self.set_aside += take_over(self._log, self._folder, moment)
            self._first = False
        return Contents(self._log.outbox, self._log.following, self._log.table)

    def _read(self) -> Log:
        if not self._folder.is_dir():
            durable.make_folder(self._folder)
        found = Log(self._folder, self._budget, self._segment)
        try:
            if not found.open():
                found.make(self._draw(64))
        except BaseException:
            found.close()
            raise
        finally:
            self.set_aside += found.set_aside
            self.damaged += found.damaged
        return found

    def _move_aside(self, kind: str, reason: str) -> None:
        """Keep what cannot be used; a later version's is never replaced."""
        names = [f"{self._folder.name}.{kind}{end}" for end in ("", *(f"-{n}" for n in range(99)))]
        target = next(
            path for path in map(self._folder.with_name, names) if not os.path.lexists(path)
        )
        durable.rename(self._folder, target)
        self.set_aside += 1
        log.error("outbox %s: %s; moved to %s", self._folder, reason, target.name)


def _is_full(error: Exception) -> bool:
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def _said(error: Exception) -> str:
    if _is_full(error):
        return "the disk is full"
    return str(error.__cause__ or error)


def _cure(folder: Path, error: Exception) -> str | None:
    """What to do where that is known."""
    if _is_full(error):
        return "free some space, the next message tries again"
    if not isinstance(error.__cause__ or error, PermissionError):
        return None
    needed = os.R_OK | os.W_OK
    files = (folder.parent, folder.with_name(f"{folder.name}.lock"), folder)
    for one in (*files, *(sorted(folder.iterdir()) if os.access(folder, needed) else ())):
        with suppress(OSError):
            status = one.stat()
            access = needed | os.X_OK if stat.S_ISDIR(status.st_mode) else needed
            if os.access(one, access, effective_ids=True):
                continue
            owner, user, group = status.st_uid, os.geteuid(), os.getegid()
            if owner == user:
                return f"allow its owner to write: chmod -R u+rwX {folder.parent}"
            return (
                f"{one} belongs to uid {owner}, and this process runs as uid {user}; make it the "
                f"owner of what is mounted there: chown -R {user}:{group} {folder.parent}"
            )
    return None
