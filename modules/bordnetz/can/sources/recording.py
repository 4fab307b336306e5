"""Recordings in every form that python-can's LogReader knows, read by python-can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TextIO, cast

import can
import numpy as np
from can.io.generic import TextIOMessageReader

from bordnetz.can.frames import Block
from bordnetz.can.sources.messages import UNBOUND, to_block

_MOST_A_BLOCK = 3000


class Recording:
    """Reads a recording by python-can, up to its end or to the first thing that is broken."""

    def __init__(self, path: Path, channels: Mapping[str, int], buses: int) -> None:
        """Open the file at ``path``.

        Args:
            path: Its suffix tells the form.
            channels: Index of the bus for each channel as python-can names it.  Frames of forms
                without channels belong to the only bus, if there is but one.
            buses: How many buses the vehicle has.

        Raises:
            Exception: What python-can's readers raise; they have no common error.
        """
        self._channels: dict[str, int] = dict(channels)
        if buses == 1:
            self._channels["None"] = 0
        self._buses = buses
        self._path = path
        self._reader = can.LogReader(path)
        self._lines: _Lines | None = None
        self._frames = 0
        if isinstance(self._reader, TextIOMessageReader):
            self._lines = _Lines(self._reader.file)
            self._reader.file = cast(TextIO, self._lines)
        if isinstance(self._reader, can.ASCReader):
            self._reader.relative_timestamp = False

    @property
    def position(self) -> str:
        """How far the recording was read, for messages."""
        if self._lines is not None:
            return f"line {self._lines.line}"
        return f"frame {self._frames}"

    def __iter__(self) -> Iterator[Block]:
        """Blocks in the order of the file.

        Raises:
            Exception: What python-can's readers raise; everything before has been handed out.
        """
        messages: list[can.Message] = []
        try:
            for message in self._reader:
                messages.append(message)
                self._frames += 1
                if len(messages) == _MOST_A_BLOCK:
                    yield self._block(messages)
                    messages = []
        except GeneratorExit:
            raise
        except Exception:
            yield self._block(messages)
            raise
        yield self._block(messages)
        self._check_end()

    def close(self) -> None:
        """Close the file."""
        self._reader.stop()

    def _block(self, messages: list[can.Message]) -> Block:
        bus = [self._channels.get(str(message.channel), UNBOUND) for message in messages]
        return to_block(messages, np.array(bus, np.int64), self._buses)

    def _check_end(self) -> None:
        """A BLF file tells its size; python-can takes a shorter one for a whole one."""
        if isinstance(self._reader, can.BLFReader) and self._path.suffix.lower() != ".gz":
            size = self._path.stat().st_size
            if size < self._reader.file_size:
                raise EOFError(f"{size} of {self._reader.file_size} bytes are there")


class _Lines:
    """A text file that counts its lines and takes no half one for a whole."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.line = 0
        if hasattr(file, "reconfigure"):
            file.reconfigure(encoding="utf-8", errors="replace")

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        text = next(self._file)
        self.line += 1
        if not text.endswith("\n"):
            raise EOFError("the file ends in the middle of it")
        return text

    def close(self) -> None:
        self._file.close()
