"""The processes of a drive: started with their own log files, ended cleanly, and accounted for."""

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bordnetz.laptop.drive.errors import ProcessError

PATIENCE = 30.0
"""Seconds between SIGTERM and SIGKILL; a module is gone after 7, unless the machine is slow."""

_TAIL = 12
"""Lines of a log that an error shows."""

_COMPLAINT = re.compile(r"<[0-4]> .*? \[[A-Z]+\] - (.*)")
"""A warning or worse, as the modules' logs write it (see `bordnetz.edge.log`)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process cost from start to end.

    Attributes:
        cpu_seconds: User and system time.
        rss_mib: Largest resident set, MiB.
    """

    cpu_seconds: float
    rss_mib: float


class Process:
    """``bordnetz ARGUMENTS`` as a process of its own, in a session of its own.

    Ctrl-C at the terminal reaches the drive alone, which then ends its processes in order.

    Args:
        name: For messages and for the log's file name.
        arguments: Of the ``bordnetz`` command.
        log: Where standard error goes; standard output too unless ``output`` is given.
        environment: On top of this process' own.
        output: Where standard output goes.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.usage: Usage | None = None
        self.exit_code: int | None = None
        with log.open("ab") as errors, (output or log).open("ab") as out:
            self._child = subprocess.Popen(  # noqa: S603 (our own command line, no shell)
                [sys.executable, "-m", "bordnetz", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,
            )
        self._ended = threading.Event()
        # The kernel tells what a child cost only to who waits for it, so one thread does nothing
        # but wait.
        threading.Thread(target=self._wait, name=f"wait-{name}", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.is_set()

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def stop(self, patience: float = PATIENCE) -> None:
        """Ask it to end, and end it if it does not within ``patience`` seconds."""
        self.terminate()
        if not self._ended.wait(patience):
            self._signal(signal.SIGKILL)
            self._ended.wait()

    def complaints(self) -> list[str]:
        """The warnings and errors in its log, without repetition."""
        with self.log.open(errors="replace") as lines:
            found = (_COMPLAINT.match(line) for line in lines)
            return list(dict.fromkeys(match[1] for match in found if match))

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            ProcessError: It has ended; the text shows the end of its log.
        """
        if not self.running:
            raise ProcessError(
                f"{self.name} ended with exit code {self.exit_code}; it said last:\n{self.tail()}"
            )

    def tail(self) -> str:
        """The end of its log, indented."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL:]
        return "\n".join(f"  {line}" for line in lines or ["(nothing)"])

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._child.returncode is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                self._ended.wait(PATIENCE)

    def _wait(self) -> None:
        _, status, used = os.wait4(self.pid, 0)
        self.exit_code = self._child.returncode = os.waitstatus_to_exitcode(status)
        self.usage = Usage(round(used.ru_utime + used.ru_stime, 3), round(_mib(used), 1))
        self._ended.set()


def _mib(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / 1024  # KiB on Linux, getrusage(2)
