"""The work that is cut short, what must be there after it, and children to run it in."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bordnetz.errors import BordnetzError

from .system import end_with_parent

Tell = Callable[[str], None]

PATIENCE = 60
"""Seconds after which a child is said to hang, on a loaded machine too."""


class Scenario(ABC):
    """Work on a folder that power cuts, kills and failing disks interrupt.

    All of it runs in children, and the folder is always at the same path.  What is written must
    tell by itself which version of what it is, and no two contents may be equal: a checker that
    confuses two versions finds faults that are none, and none where there are some.
    """

    name: str

    @abstractmethod
    def setup(self, folder: Path) -> None:
        """What is in the folder, and safe, before the work begins."""

    @abstractmethod
    def run(self, folder: Path, tell: Tell) -> None:
        """The work; tells what is safe as soon as it is said to be.

        Raises:
            BordnetzError: Something does not work, and the operator is told so.
        """

    @abstractmethod
    def recover(self, folder: Path, tell: Tell) -> None:
        """What is done at the next start, through to its end."""

    @abstractmethod
    def check(self, folder: Path, told: Sequence[str]) -> list[str]:
        """What is wrong after the recovery, given all that was told before the cut and after it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended.

    Attributes:
        value: What it returned.
        refused: It raised an error for the operator, which this is.
        crashed: It raised something else (this is the traceback), or hung.
        signal: What it died of; 0: nothing.
    """

    value: Any = None
    refused: str | None = None
    crashed: str | None = None
    signal: int = 0


class Child:
    """A function running in a process of its own, in a session of its own."""

    def __init__(self, work: Callable[[], Any], *, held: bool = False) -> None:
        """Fork.

        Args:
            work: What to do there; what it returns must be picklable.
            held: It waits for `go`.
        """
        # Nobody else sends on sockets: it is no point to be killed at, and never fails.
        self._result, out = socket.socketpair()
        hold, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)
            self._result.close()
            _work(work, hold if held else None, out)
        os.close(hold)
        out.close()

    def go(self) -> None:
        """Let it begin."""
        os.write(self._go, b"g")

    def wait(self, patience: float | None = PATIENCE) -> Ended:
        """Wait for its end, and end what it has started.

        Args:
            patience: Seconds after which it hangs; None: it never does.
        """
        received = bytearray()
        hung = False
        while True:
            if not select.select([self._result], [], [], patience)[0]:
                hung = True
                break
            chunk = self._result.recv(1 << 16)
            if not chunk:
                break
            received += chunk
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            # It had no time to make its session; then it has no children either.
            if hung:
                os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self._result.close()
        os.close(self._go)
        if hung:
            return Ended(crashed=f"still running after {patience:g} s")
        if received:
            ended: Ended = pickle.loads(bytes(received))
            return ended
        return Ended(signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else -1)


def _work(work: Callable[[], Any], hold: int | None, out: socket.socket) -> None:
    """The child's life; it does not return."""
    try:
        end_with_parent()
        os.setsid()
        if hold is not None:
            os.read(hold, 1)
        try:
            ended = Ended(value=work())
        except BordnetzError as error:
            ended = Ended(refused=str(error))
        except BaseException:  # noqa: BLE001 - the parent reports it as a violation
            ended = Ended(crashed=traceback.format_exc())
        out.sendall(pickle.dumps(ended))
    finally:
        os._exit(0)


def in_child(work: Callable[[], Any]) -> Ended:
    """Run it in a child to its end."""
    return Child(work).wait()


@contextmanager
def telling(path: Path) -> Iterator[Tell]:
    """A `Tell` that writes lines to a file, each in one call, so that a kill never cuts one.

    The call is one that nobody else makes: it is no point to be killed at, and never fails.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield lambda text: (os.pwritev(descriptor, [f"{text}\n".encode()], 0), None)[1]
    finally:
        os.close(descriptor)


def told(path: Path) -> list[str]:
    """What was told to that file."""
    return path.read_text().splitlines() if path.exists() else []


def aftermath(scenario: Scenario, folder: Path, before: Sequence[str]) -> list[str]:
    """Recover and check in a child; what is wrong."""

    def work() -> list[str]:
        later: list[str] = []
        scenario.recover(folder, later.append)
        return scenario.check(folder, [*before, *later])

    ended = in_child(work)
    if ended.refused is not None:
        return [f"the recovery gives up: {ended.refused}"]
    if ended.crashed is not None:
        return [f"the recovery fails: {ended.crashed}"]
    if ended.signal:
        return [f"the recovery dies of signal {ended.signal}"]
    found: list[str] = ended.value
    return found
