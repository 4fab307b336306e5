"""Starts the processes of a drive, keeps its module running as Edge agent would, ends them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bordnetz.laptop.drive.processes import Process, Usage

CUT = 5.0
"""Seconds for the processes to end by themselves when the drive is broken off: they need a tenth,
but on a busy machine one that is killed leaves its sockets behind."""


@dataclass(frozen=True, slots=True)
class _Start:
    """How a process was started, to do so again."""

    arguments: Sequence[str]
    environment: Mapping[str, str] | None
    always: bool


class Agent:
    """The processes of a drive, in the order of their start; a context manager that ends them.

    Args:
        folder: For their logs.

    Attributes:
        exits: Exit codes of those that ended and were started again.
    """

    def __init__(self, folder: Path) -> None:
        self.exits: list[int] = []
        self._folder = folder
        self._processes: dict[str, Process] = {}
        self._starts: dict[str, _Start] = {}
        self._past: dict[str, Usage] = {}
        self._proven: set[str] = set()
        self._stopped: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what still runs, all at once."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.stop(CUT)

    def __getitem__(self, name: str) -> Process:
        return self._processes[name]

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
        *,
        always: bool = False,
    ) -> Process:
        """Start ``bordnetz ARGUMENTS``; see `Process`.

        Args:
            name: Of the process and its log.
            arguments: Of the command.
            environment: On top of this process' own.
            output: Where standard output goes; None: into the log.
            always: Start it again whenever it ends, once it is `proven`: ``restartPolicy`` of a
                deployment manifest.
        """
        self._starts[name] = _Start(arguments, environment, always)
        log = self._folder / f"{name}.log"
        process = Process(name, arguments, log, environment, output)
        self._processes[name] = process
        return process

    def proven(self, name: str) -> None:
        """Note that a process works: what ends before that would only end again."""
        self._proven.add(name)

    def check(self) -> None:
        """Make sure that all run; start again what is to run always.

        Raises:
            ProcessError: One has ended and is not to be started again.
        """
        for name, process in list(self._processes.items()):
            start = self._starts[name]
            if process.running or name in self._stopped:
                continue
            if not start.always or name not in self._proven:
                process.check()
            self._proven.discard(name)
            self.exits.append(process.exit_code or 0)
            self._past[name] = self._usage(name)
            self.start(name, start.arguments, start.environment, always=True)

    def stop(self, name: str) -> None:
        """End one and do not miss it."""
        self._stopped.add(name)
        self._processes[name].stop()

    def stop_all(self) -> None:
        """End them one after the other, the last one started first."""
        for name in reversed(self._processes):
            self.stop(name)

    def usage(self) -> dict[str, Usage]:
        """What each cost, all its starts together, once they have ended."""
        return {name: self._usage(name) for name in self._processes}

    def failures(self) -> list[str]:
        """Processes that have ended with an error, a line each."""
        return [
            f"{name} ended with exit code {process.exit_code}"
            for name, process in self._processes.items()
            if process.exit_code
        ]

    def _usage(self, name: str) -> Usage:
        past = self._past.get(name, Usage(0.0, 0.0))
        last = self._processes[name].usage or Usage(0.0, 0.0)
        return Usage(round(past.cpu_seconds + last.cpu_seconds, 3), max(past.rss_mib, last.rss_mib))
