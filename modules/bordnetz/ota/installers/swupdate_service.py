"""SWUpdate as its sockets show it: one installation at a time, streamed in, with progress.

SWUpdate 2022.12, include/network_ipc.h and include/progress_ipc.h: C structures in the machine's
own byte order and alignment, here those of 64-bit systems.  One request has one connection.  What
comes from the sockets is as long as the structures are, and checked before it is used.

The control socket's ``GET_STATUS`` gives notes first that wait, and the state only when there are
none left (core/network_thread.c), so it is asked until then.
"""

from __future__ import annotations

import re
import selectors
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from bordnetz.ota.installers.installer import InstallError
from bordnetz.ota.installers.quote import quote
from bordnetz.ota.installers.trouble import TroubleError, UnavailableError

CALL_TIMEOUT = 30.0
"""Seconds for one request."""

WORD = 256
"""Bytes that SWUpdate has for a software set, and for a running mode, with the zero at the end."""

_MAGIC = 0x14052001
_API_VERSION = 1
_SOURCE_LOCAL = 4
_IDLE, _START, _SUCCESS, _FAILURE = 0, 1, 3, 4
_REQ_INSTALL, _ACK, _NACK, _GET_STATUS, _SET_UPDATE_STATE = 0, 1, 2, 3, 7

_HEAD = struct.Struct("@2i")
_DATA = 3112
_MESSAGE = _HEAD.size + _DATA
# apiversion, source, dry_run, len, info, software_set, running_mode, disable_store_swu
_REQUEST = struct.Struct("@3IQ512s256s256s?")
# current, last_result, error, desc
_STATUS = struct.Struct("@3i2048s")
# magic, status, dwl_percent, dwl_bytes, nsteps, cur_step, cur_percent, ...
_PROGRESS = struct.Struct("@3IQ3I")
_PROGRESS_SIZE = 2416

_CHUNK = 1 << 16
_POLL = 0.1
_SILENCE = 1.0
# Where in SWUpdate's source a note was written, which it puts before it.
_PLACE = re.compile(r"^ERROR \S+ : \S+ : \d+ : ")
_MOST_NOTES = 1000
"""SWUpdate keeps 100, but may go on writing them while they are read."""


class SwupdateError(TroubleError):
    """SWUpdate ends, is not set up for this, or answers what cannot be understood."""


class UnreachableError(SwupdateError, UnavailableError):
    """SWUpdate does not run, or has just ended, or its sockets are not here."""


class SilentError(SwupdateError, UnavailableError):
    """SWUpdate runs, and may write, but does not answer."""


class BusyError(SwupdateError, UnavailableError):
    """SWUpdate is at another installation, and stays so."""


class RefusedError(InstallError):
    """SWUpdate refuses the image, or cannot install it."""


class Run(IntEnum):
    """What is done with what is streamed in."""

    DRY = 1
    INSTALL = 2


class UpdateState(IntEnum):
    """The variable ``ustate`` of the boot loader's environment (include/state.h)."""

    OK = ord("0")
    FAILED = ord("3")


@dataclass(frozen=True, slots=True)
class Status:
    """What SWUpdate says of itself.

    Attributes:
        idle: Whether no installation runs.
        succeeded: Whether the last one has succeeded.
        started: Whether one was begun, by the notes since it was asked last.
        failures: The notes of failures since it was asked last, oldest first.
    """

    idle: bool
    succeeded: bool
    started: bool
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SwupdateService:
    """Where SWUpdate listens.

    Attributes:
        control: Path of the control socket; Debian's is ``/tmp/sockinstctrl``.
        progress: Path of the progress socket; Debian's is ``/tmp/swupdateprog``.
        timeout: Seconds for one request.
    """

    control: Path
    progress: Path
    timeout: float = CALL_TIMEOUT

    def status(self) -> Status:
        """What it is at; takes the notes that wait.

        Raises:
            SwupdateError: SWUpdate cannot be asked.
        """
        failures: list[str] = []
        started = False
        for _ in range(_MOST_NOTES):
            kind, data = self._ask(_GET_STATUS, b"")
            if kind != _ACK:
                raise SwupdateError("SWUpdate does not tell its state; is it version 2022.12?")
            current, last, _, text = _STATUS.unpack_from(data)
            note = _text(text)
            if not note:
                return Status(current == _IDLE, last == _SUCCESS, started, tuple(failures))
            started = started or current == _START
            if current == _FAILURE:
                failures.append(_PLACE.sub("", note))
        raise BusyError("SWUpdate writes notes faster than they can be read; it is tried again")

    def settled(self, deadline: float) -> tuple[str, ...]:
        """Wait until no installation runs.

        Args:
            deadline: By `time.monotonic`.

        Returns:
            What SWUpdate has noted as failures since it was asked last.

        Raises:
            BusyError: By then, one still runs.
            SwupdateError: SWUpdate cannot be asked.
        """
        failures: tuple[str, ...] = ()
        while True:
            status = self.status()
            failures = (failures + status.failures)[:_MOST_NOTES]
            if status.idle:
                return failures
            left = deadline - time.monotonic()
            if left <= 0:
                raise BusyError(
                    "SWUpdate is at an installation that somebody else has begun, or that was "
                    "begun before a restart; it is tried again when that has ended"
                )
            time.sleep(min(_POLL, left))

    def set_state(self, state: UpdateState) -> None:
        """Write ``ustate`` into the boot loader's environment, where SWUpdate has one.

        Raises:
            SwupdateError: SWUpdate cannot be asked, or cannot write.
        """
        kind, _ = self._ask(_SET_UPDATE_STATE, struct.pack("@i", state))
        if kind != _ACK:
            raise SwupdateError(
                "SWUpdate cannot write the boot loader's environment; its log on the host says why"
            )

    def install(
        self,
        file: BinaryIO,
        selection: tuple[str, str],
        run: Run,
        progress: Callable[[int], None],
        deadline: float,
    ) -> None:
        """Stream an image in, and wait for its end.

        Args:
            file: The .swu file.
            selection: Software set and running mode, as ``("stable", "main")``.
            run: Whether it is installed, or only tried.
            progress: Gets per cent, as they change.
            deadline: By `time.monotonic`.

        Raises:
            BusyError: By then, SWUpdate is still at another one's installation.
            SwupdateError: SWUpdate ends, or has not finished by then.
            RefusedError: SWUpdate refuses the image, or cannot install it.
        """
        while True:
            # Connected while none runs, so that all news are of what begins from now on.
            self.settled(deadline)
            with self._connect(self.progress) as news:
                control = self._begin(selection, run)
                if control is not None:
                    with control:
                        file.seek(0)
                        end = _Transfer(self, control, news, file, progress).run(deadline)
                    if end is not None:
                        break
            left = deadline - time.monotonic()
            if left <= 0:
                raise BusyError("SWUpdate is at another installation; it is tried again")
            time.sleep(min(_POLL, left))
        noted = end.failures + self.settled(max(deadline, time.monotonic() + self.timeout))
        if not end.succeeded:
            said = quote(noted[0]) if noted else "its log on the host says why"
            raise RefusedError(f"SWUpdate has not taken it: {said}")

    def _begin(self, selection: tuple[str, str], run: Run) -> socket.socket | None:
        """A connection that takes the image; None where another one was quicker."""
        software, mode = (word.encode() for word in selection)
        body = _REQUEST.pack(_API_VERSION, _SOURCE_LOCAL, run, 0, b"", software, mode, False)
        control = self._connect(self.control)
        try:
            kind, data = self._exchange(control, _REQ_INSTALL, body)
        except SwupdateError:
            control.close()
            raise
        if kind == _ACK:
            return control
        control.close()
        if _text(data[:128]):
            return None
        raise SwupdateError(
            f"SWUpdate does not accept the selection {','.join(selection)}; start it with "
            f"-q {','.join(selection)}, and see that it speaks API version {_API_VERSION}"
        )

    def _ask(self, kind: int, body: bytes) -> tuple[int, bytes]:
        with self._connect(self.control) as control:
            return self._exchange(control, kind, body)

    def _connect(self, path: Path) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self.timeout)
        try:
            connection.connect(str(path))
        except OSError as error:
            connection.close()
            raise UnreachableError(
                f"SWUpdate's socket {path}: cannot connect: {error}; does swupdate run on the "
                "host, and is the socket's folder mounted into the container?"
            ) from error
        return connection

    def _exchange(self, control: socket.socket, kind: int, body: bytes) -> tuple[int, bytes]:
        deadline = time.monotonic() + self.timeout
        answer = b""
        try:
            control.sendall(_HEAD.pack(_MAGIC, kind) + body.ljust(_DATA, b"\0"))
            while len(answer) < _MESSAGE:
                control.settimeout(max(deadline - time.monotonic(), 0.001))
                chunk = control.recv(_MESSAGE - len(answer))
                if not chunk:
                    raise SwupdateError(
                        f"SWUpdate's socket {self.control}: closed without an answer; is it a "
                        "64-bit SWUpdate 2022.12?"
                    )
                answer += chunk
        except ConnectionError as error:
            raise UnreachableError(
                f"SWUpdate's socket {self.control}: {error}; SWUpdate has ended; its log on the "
                "host says why"
            ) from error
        except OSError as error:
            raise SilentError(
                f"SWUpdate's socket {self.control}: no answer: {error}; it is tried again; if that "
                "stays so, restart swupdate on the host"
            ) from error
        magic, answered = _HEAD.unpack_from(answer)
        if magic != _MAGIC or answered not in (_ACK, _NACK):
            raise SwupdateError(
                f"SWUpdate's socket {self.control}: what came is no answer; is it SWUpdate's?"
            )
        return answered, answer[_HEAD.size :]


@dataclass(frozen=True, slots=True)
class _End:
    """How an installation has ended.

    Attributes:
        succeeded: Whether it has succeeded.
        failures: What was noted meanwhile.
    """

    succeeded: bool
    failures: tuple[str, ...] = ()


class _Transfer:
    """One image on its way in, and the news of what becomes of it.

    Both are looked after at once: SWUpdate waits until its news are taken, and takes nothing in
    the while.

    Two races in SWUpdate are made good by asking for its state, when it has been silent for long:
    news are lost for a connection that it has not accepted yet, and a request that it acknowledges
    between two installations may be slept through (the signal comes before the wait).
    """

    def __init__(
        self,
        service: SwupdateService,
        control: socket.socket,
        news: socket.socket,
        file: BinaryIO,
        progress: Callable[[int], None],
    ) -> None:
        self._service = service
        self._control = control
        self._news = news
        self._file = file
        self._progress = progress
        self._pending = b""
        self._received = b""
        self._told = -1
        self._started = False
        self._noted: tuple[str, ...] = ()

    def run(self, deadline: float) -> _End | None:
        """How it has ended; None where it was never begun."""
        self._control.setblocking(False)
        self._news.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_WRITE)
            selector.register(self._news, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise SwupdateError(
                        "SWUpdate has not finished the installation in the time it has; raise the "
                        "installer's timeout, or see its log on the host"
                    )
                ready = {key.fileobj for key, _ in selector.select(min(left, _SILENCE))}
                if self._control in ready and not self._send():
                    selector.unregister(self._control)
                if self._news in ready:
                    succeeded = self._hear()
                    if succeeded is not None:
                        return _End(succeeded, self._noted)
                if not ready:
                    status = self._service.status()
                    self._noted += status.failures
                    self._started = self._started or status.started or not status.idle
                    if status.idle:
                        return _End(status.succeeded, self._noted) if self._started else None

    def _send(self) -> bool:
        """Send what fits; False when there is nothing more to send."""
        try:
            if not self._pending:
                self._pending = self._file.read(_CHUNK)
                if not self._pending:
                    self._control.shutdown(socket.SHUT_WR)
                    return False
            sent = self._control.send(self._pending)
        except BlockingIOError:
            return True
        except ConnectionError:
            # It takes no more, because it has enough or has failed; the news say which.
            return False
        except OSError as error:
            raise SwupdateError(f"the image cannot be streamed to SWUpdate: {error}") from error
        self._pending = self._pending[sent:]
        return True

    def _hear(self) -> bool | None:
        """Take news; whether it has succeeded, and None as long as that is open."""
        try:
            chunk = self._news.recv(_CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            chunk = b""
        if not chunk:
            raise UnreachableError(
                "SWUpdate has ended in the middle of the installation; its log on the host says why"
            )
        self._started = True
        self._received += chunk
        while len(self._received) >= _PROGRESS_SIZE:
            _, status, _, _, steps, step, percent = _PROGRESS.unpack_from(self._received)
            self._received = self._received[_PROGRESS_SIZE:]
            if status == _SUCCESS:
                self._tell(100)
                return True
            if status == _FAILURE:
                return False
            if 1 <= step <= steps <= 10_000 and percent <= 100:
                self._tell((100 * (step - 1) + percent) // steps)
        return None

    def _tell(self, percent: int) -> None:
        if percent > self._told:
            self._told = percent
            self._progress(percent)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="replace")
