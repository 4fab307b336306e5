"""SWUpdate's sockets may hang, lie and break: no request outlasts its time, or takes too much.

Against a stand-in, for the real one does not lie; `head_unit` has the real one.
"""

import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from bordnetz.ota.installers.boot_loader import BootLoader
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.swupdate import SwupdateInstaller
from bordnetz.ota.installers.swupdate_service import (
    BusyError,
    RefusedError,
    Run,
    SilentError,
    SwupdateError,
    SwupdateService,
    UnreachableError,
    UpdateState,
)
from bordnetz.ota.installers.trouble import UnavailableError

MAGIC = 0x14052001
MESSAGE, NEWS = 3120, 2416
REQ_INSTALL, ACK, NACK, GET_STATUS, SET_UPDATE_STATE = 0, 1, 2, 3, 7
IDLE, START, RUN, SUCCESS, FAILURE, PROGRESS = 0, 1, 2, 3, 4, 8
IMAGE = b"swu" * 100_000


def message(kind: int, data: bytes = b"", magic: int = MAGIC) -> bytes:
    return struct.pack("@2i", magic, kind) + data.ljust(MESSAGE - 8, b"\0")


def state(current: int, last: int = 0, note: str = "") -> bytes:
    return message(ACK, struct.pack("@3i", current, last, 0) + note.encode())


def news(status: int, steps: int = 0, step: int = 0, percent: int = 0) -> bytes:
    head = struct.pack("@3IQ3I", 0, status, 0, 0, steps, step, percent)
    return head.ljust(NEWS, b"\0")


class StandIn:
    """Listens where SWUpdate does, and answers as it is told to.

    Attributes:
        states: Answers to ``GET_STATUS``; the last one again and again.
        answer: To ``REQ_INSTALL``.
        sent: News, a list for each installation.
        received: What was streamed in, one for each installation.
        takes_all: Whether the image is read to its end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.states = [state(IDLE)]
        self.answer = message(ACK)
        self.sent: list[list[bytes]] = [[news(SUCCESS)]]
        self.received: list[bytes] = []
        self.requests: list[bytes] = []
        self.takes_all = True
        self.answers_to_other = message(ACK)
        self._listeners: list[socket.socket] = []
        self._watchers: list[socket.socket] = []
        self._new_watcher = threading.Event()

    @property
    def service(self) -> SwupdateService:
        return SwupdateService(self.folder / "control", self.folder / "news", timeout=60)

    def install(self, seconds: float = 60, **more: Callable[[int], None]) -> None:
        progress = more.get("progress", lambda _: None)
        deadline = time.monotonic() + seconds
        selection = ("stable", "main")
        self.service.install(io.BytesIO(IMAGE), selection, Run.INSTALL, progress, deadline)

    def _listen(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / name))
        listener.listen()
        self._listeners.append(listener)
        return listener

    @contextmanager
    def listening(self) -> Iterator[None]:
        control, watchers = self._listen("control"), self._listen("news")
        threads = [
            threading.Thread(target=self._serve, args=[control, self._handle]),
            threading.Thread(target=self._serve, args=[watchers, self._watch]),
        ]
        with ExitStack() as stack:
            for thread in threads:
                thread.start()
                stack.callback(thread.join)
            stack.callback(self._end)
            yield

    def _end(self) -> None:
        for sock in (*self._listeners, *self._watchers):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    @staticmethod
    def _serve(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            try:
                handle(sock)
            except OSError:
                sock.close()

    def _watch(self, sock: socket.socket) -> None:
        self._watchers.append(sock)
        self._new_watcher.set()

    def _handle(self, sock: socket.socket) -> None:
        request = sock.recv(MESSAGE, socket.MSG_WAITALL)
        self.requests.append(request)
        kind = struct.unpack_from("@2i", request)[1]
        if kind == GET_STATUS:
            sock.sendall(self.states.pop(0) if len(self.states) > 1 else self.states[0])
        elif kind == REQ_INSTALL:
            self._take(sock)
        else:
            sock.sendall(self.answers_to_other)
        sock.close()

    def _take(self, sock: socket.socket) -> None:
        sock.sendall(self.answer)
        if self.answer[4] != ACK:
            return
        taken = b""
        while self.takes_all and (chunk := sock.recv(1 << 16)):
            taken += chunk
        self.received.append(taken)
        # One for each installation: news must not go to the one of the installation before.
        assert self._new_watcher.wait(60)
        self._new_watcher.clear()
        for item in self.sent.pop(0) if self.sent else []:
            self._watchers[-1].sendall(item)


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[StandIn]:
    standin = StandIn(tmp_path)
    with standin.listening():
        yield standin


def test_an_image_is_streamed_whole_with_what_was_selected(standin):
    standin.install()
    assert standin.received == [IMAGE]
    (request,) = (r for r in standin.requests if r[4] == REQ_INSTALL)
    version, source, run = struct.unpack_from("@3I", request, 8)
    assert (version, source, run) == (1, 4, 2)
    assert request[8 + 536 :].startswith(b"stable\0")
    assert request[8 + 792 :].startswith(b"main\0")


def test_a_failure_is_told_by_the_first_thing_that_went_wrong(standin):
    standin.sent = [[news(FAILURE)]]
    standin.states = [
        state(IDLE),
        state(START, 0, "Software Update started !"),
        state(FAILURE, 0, "ERROR core/x.c : f : 12 : no\x1b space"),
        state(FAILURE, 0, "Image invalid or corrupted"),
        state(IDLE, FAILURE),
    ]
    with pytest.raises(RefusedError, match=r"^SWUpdate has not taken it: no\? space$"):
        standin.install()


def test_progress_is_one_number_over_all_steps(standin):
    seen: list[int] = []
    standin.sent = [
        [
            news(START, 2),
            news(RUN, 2, 1, 0),
            news(PROGRESS, 2, 1, 50),
            news(RUN, 2, 2, 0),
            news(PROGRESS, 2, 1, 10),
            news(PROGRESS, 0, 1, 10),
            news(PROGRESS, 2, 3, 10),
            news(PROGRESS, 2, 1, 4_000_000_000),
            news(SUCCESS),
        ]
    ]
    standin.install(progress=seen.append)
    assert seen == [0, 25, 50, 100]


def test_news_may_come_in_pieces(standin):
    whole = news(RUN, 1, 1, 7) + news(SUCCESS)
    standin.sent = [[whole[:100], whole[100:2500], whole[2500:]]]
    seen: list[int] = []
    standin.install(progress=seen.append)
    assert seen == [7, 100]


def test_an_end_without_news_is_found_by_asking(standin):
    standin.sent = [[]]
    standin.states = [
        state(IDLE),
        state(START, 0, "Software Update started !"),
        state(IDLE, SUCCESS),
    ]
    standin.install()
    assert len(standin.received) == 1


def test_a_request_that_was_slept_through_is_made_again(standin):
    standin.sent = [[], [news(SUCCESS)]]
    standin.states = [state(IDLE, SUCCESS)]
    standin.install()
    assert standin.received == [IMAGE, IMAGE]


def test_swupdate_may_stop_reading_when_it_has_enough(standin):
    standin.takes_all = False
    standin.install()


def test_a_busy_swupdate_is_waited_for(standin):
    standin.states = [state(RUN), state(RUN), state(IDLE)]
    standin.install()
    assert standin.received == [IMAGE]


def test_whether_it_is_ready_is_asked_without_a_wait(standin, tmp_path):
    installer = SwupdateInstaller(
        control=standin.service.control,
        news=standin.service.progress,
        sides={"a": ("stable", "main"), "b": ("stable", "alt")},
        boot_loader=BootLoader(Command(("false",), 1)),
        record=tmp_path / "record.json",
        health=None,
        timeout=3600,
    )
    installer.ready()
    standin.states = [state(RUN)]
    with pytest.raises(BusyError, match="somebody else has begun"):
        installer.ready()
    assert standin.received == []


def test_a_swupdate_that_stays_busy_is_told(standin):
    standin.states = [state(RUN)]
    with pytest.raises(BusyError, match="somebody else has begun"):
        standin.install(seconds=1.5)


def test_another_installer_that_was_quicker_is_waited_for(standin):
    standin.answer = message(NACK, b"Installation in progress")
    with pytest.raises(BusyError, match="at another installation"):
        standin.install(seconds=1.5)


def test_a_selection_that_is_not_accepted_is_told(standin):
    standin.answer = message(NACK)
    with pytest.raises(SwupdateError, match="does not accept the selection stable,main"):
        standin.install()


def test_notes_without_end_are_not_read_for_ever(standin):
    standin.states = [state(FAILURE, 0, "no")]
    with pytest.raises(BusyError, match="notes faster than they can be read"):
        standin.service.status()


def test_the_state_of_the_update_is_written_as_swupdate_has_it(standin):
    standin.service.set_state(UpdateState.FAILED)
    (request,) = standin.requests
    assert struct.unpack_from("@3i", request) == (MAGIC, SET_UPDATE_STATE, ord("3"))


def test_a_boot_loader_that_swupdate_cannot_write_is_told(standin):
    standin.answers_to_other = message(NACK)
    with pytest.raises(SwupdateError, match="cannot write the boot loader's environment"):
        standin.service.set_state(UpdateState.OK)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed without an answer"),
        (message(ACK)[:-1], "closed without an answer"),
        (message(ACK, magic=1), "is no answer"),
        (message(11), "is no answer"),
        (message(-1), "is no answer"),
        (message(NACK), "does not tell its state"),
    ],
)
def test_what_is_no_answer_is_refused(standin, answer, words):
    standin.states = [answer]
    with pytest.raises(SwupdateError, match=words):
        standin.service.status()


def test_a_socket_that_does_not_answer_costs_its_time_and_no_more(tmp_path):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "control"))
        silent.listen()
        service = SwupdateService(tmp_path / "control", tmp_path / "news", timeout=0.2)
        with pytest.raises(SilentError, match="no answer: timed out"):
            service.status()


def test_a_swupdate_that_is_busy_silent_or_gone_is_waited_for_and_one_that_lies_is_not():
    assert all(
        issubclass(error, UnavailableError) for error in (BusyError, SilentError, UnreachableError)
    )
    assert not issubclass(SwupdateError, UnavailableError)


def test_a_swupdate_that_never_finishes_costs_the_installations_time_and_no_more(standin):
    standin.sent = [[news(RUN, 2, 1, 5)]]
    standin.states = [state(IDLE), state(RUN)]
    with pytest.raises(SwupdateError, match="not finished the installation in the time"):
        standin.install(seconds=1.5)


def test_news_without_end_cost_the_installations_time_and_no_more(standin):
    standin.sent = [[news(RUN, 2, 1, 5)] * 100_000]
    standin.states = [state(IDLE), state(RUN)]
    with pytest.raises(SwupdateError, match="not finished the installation in the time"):
        standin.install(seconds=1.5)


def test_a_socket_that_is_not_there_is_told_with_what_to_do(tmp_path):
    service = SwupdateService(tmp_path / "control", tmp_path / "news")
    with pytest.raises(UnreachableError, match="does swupdate run on the host"):
        service.status()
    long = SwupdateService(tmp_path / ("x" * 200), tmp_path / "news")
    with pytest.raises(UnreachableError, match="path too long"):
        long.status()
