"""A recording in place of the buses: at the speed it was recorded, n times faster, or at once."""

from __future__ import annotations

import gzip
import math
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from can.io import MESSAGE_READERS
from numpy.typing import NDArray

from bordnetz.can.errors import RecordingError
from bordnetz.can.frames import Block
from bordnetz.can.sources.candump import Candump
from bordnetz.can.sources.recording import Recording
from bordnetz.can.sources.source import Source
from bordnetz.can.vehicle import Vehicle

_TICK = 0.010
"""Seconds between blocks of a paced recording, as between drains of a live bus."""
_MOST_PROBLEMS = 20

AT_ONCE = math.inf
"""The speed that reads a recording as fast as it goes."""


class LogSource(Source):
    """A recorded file, its channels bound to the buses that name them as ``channel``.

    Frames keep the time at which they were recorded.  What is broken in the file is counted and
    its position told, what can be read is used: forms of text go on after a broken line, others
    end at the first thing that python-can cannot read.  python-can passes over lines of .asc and
    .trc files that it does not know, as both hold much beside frames; those that have a frame's
    direction in its place are counted as broken, others cannot be told from events.
    """

    def __init__(
        self,
        path: Path | str,
        vehicle: Vehicle,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Read the file at ``path`` once the source is entered.

        Args:
            path: Of any file that `can.LogReader` reads, gzip-compressed or not.
            vehicle: Its buses' channels are those of the file; the interfaces do not matter.
            speed: Times the recorded one; `AT_ONCE` for no pacing.
            clock: Seconds from any fixed point, for pacing.
            sleep: Waits so many seconds, for pacing; by default it ends when the source is closed.
        """
        super().__init__()
        if not speed > 0:
            raise ValueError(f"speed should be above 0, not {speed}")
        self._path = Path(path)
        self._buses = len(vehicle.buses)
        self._channels = {str(bus.channel): index for index, bus in enumerate(vehicle.buses)}
        self._speed = speed
        self._clock = clock
        self._sleep = self._closing.wait if sleep is None else sleep
        self._file: Candump | Recording | None = None
        self._problems = 0

    def _open(self, resources: ExitStack) -> None:
        self._file = open_recording(self._path, self._channels, self._buses, resources)

    def _read(self) -> Iterator[Block]:
        blocks = self._blocks_of_file()
        if self._speed != AT_ONCE:
            blocks = self._paced(blocks)
        for block in blocks:
            if self._closing.is_set():
                return
            yield block

    def _blocks_of_file(self) -> Iterator[Block]:
        if self._file is None:
            return
        try:
            for block in self._file:
                yield self._place(block)
        except Exception as error:  # noqa: BLE001 (python-can's readers have no common error)
            # The text of other errors may tell what stands in the file, which may be private.
            tells = isinstance(error, (OSError, EOFError, zlib.error))
            reason = str(error) if tells and str(error) else type(error).__name__
            problem = f"{self._path}: broken after {self._file.position}: {reason}"
            yield Block.of(self._buses, illegible=1, problems=(problem,))

    def _place(self, block: Block) -> Block:
        """Put the file's name to problems, and let no flood of them through."""
        room = _MOST_PROBLEMS - self._problems
        self._problems += len(block.problems)
        shown = [f"{self._path}: {problem}" for problem in block.problems[: max(room, 0)]]
        if 0 <= room < len(block.problems):
            shown.append(f"{self._path}: further problems are counted, but not told")
        return replace(block, problems=tuple(shown))

    def _paced(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same frames, each not before its time, a tick's at once."""
        began = self._clock()
        first: int | None = None
        latest = 0

        def due(times: NDArray[np.int64]) -> NDArray[np.float64]:
            # A recording's clock may step back: what follows is due at once.
            waits = np.maximum.accumulate(np.maximum(times, latest)) - (first or 0)
            return waits / (self._speed * 1e9)

        for block in blocks:
            heads = [int(f.time[0]) for f in (block.classic, block.fd) if len(f)]
            if not heads:
                yield block
                continue
            if first is None:
                first = latest = min(heads)
            due_classic, due_fd = due(block.classic.time), due(block.fd.time)
            latest = max(latest, *(int(f.time.max()) for f in (block.classic, block.fd) if len(f)))
            rest = block
            while True:
                now = self._clock() - began
                c = int(np.searchsorted(due_classic, now, "right"))
                f = int(np.searchsorted(due_fd, now, "right"))
                if c or f:
                    part, rest = _split(rest, c, f)
                    yield part
                    due_classic, due_fd = due_classic[c:], due_fd[f:]
                if not len(due_classic) and not len(due_fd):
                    break
                coming = min([*due_classic[:1], *due_fd[:1]])
                self._sleep(max(float(coming) - now, _TICK))
                if self._closing.is_set():
                    return


def open_recording(
    path: Path, channels: Mapping[str, int], buses: int, resources: ExitStack
) -> Candump | Recording:
    """Open a recording; ``resources`` closes it.

    Raises:
        RecordingError: There is no such file, or nothing here reads its form.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    try:
        with path.open("rb"):
            pass
        if suffixes[-1:] == [".log"]:
            return Candump(resources.enter_context(path.open("rb")), channels, buses)
        if suffixes == [".log", ".gz"]:
            return Candump(resources.enter_context(gzip.open(path, "rb")), channels, buses)
        recording = Recording(path, channels, buses)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        known = ", ".join(sorted(MESSAGE_READERS))
        raise RecordingError(
            f"{path}: no recording that can be read ({error or type(error).__name__}); known are "
            f"{known}, and the same with .gz"
        ) from error
    resources.callback(recording.close)
    return recording


def _split(block: Block, classic: int, fd: int) -> tuple[Block, Block]:
    """The first frames of a block with all its counts, and the rest."""
    buses = len(block.received)
    rest = Block.of(buses, block.classic[classic:], block.fd[fd:])
    part = replace(
        block,
        classic=block.classic[:classic],
        fd=block.fd[:fd],
        received=block.received - rest.received,
    )
    return part, rest
