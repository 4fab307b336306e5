"""Recordings in every form that python-can's LogReader knows, read by python-can."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO, cast

import can
import numpy as np
from can.io.generic import TextIOMessageReader

from bordnetz.can.frames import Block
from bordnetz.can.sources.lines import Lines
from bordnetz.can.sources.messages import UNBOUND, to_block

_MOST_A_BLOCK = 3000

# What these say of lines has the lines in it; here broken ones are told by their number.
logging.getLogger("can.io").setLevel(logging.CRITICAL)


class Reader:
    """One of python-can's readers, which goes on after a line that it cannot read.

    Forms that are no text are read up to the first thing that is broken.
    """

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, whose suffix tells the form.

        Raises:
            Exception: What python-can's readers raise; they have no common error.
        """
        self._path = path
        self._reader = can.LogReader(path)
        self._lines: Lines | None = None
        self._frames = 0
        if isinstance(self._reader, TextIOMessageReader):
            self._lines = Lines(self._reader)
            self._reader.file = cast(TextIO, self._lines)
        if isinstance(self._reader, can.ASCReader):
            self._reader.relative_timestamp = False

    @property
    def number(self) -> int:
        """That of the line, or of the frame where there are no lines, that was read last."""
        return self._frames if self._lines is None else self._lines.line

    def place(self, number: int) -> str:
        """A number for people."""
        return f"{'frame' if self._lines is None else 'line'} {number}"

    def __iter__(self) -> Iterator[can.Message]:
        """All messages; `number` is that of the last one.

        Raises:
            Exception: What python-can's readers raise where they cannot go on.
        """
        lines = self._lines
        if lines is None:
            for message in self._reader:
                self._frames += 1
                yield message
            self._check_end()
            return
        while not lines.ended:
            before = lines.line
            try:
                for message in self._reader:
                    lines.brought = True
                    yield message
            except Exception as error:
                if lines.failed or lines.ended or lines.line == before:
                    raise
                lines.reject(f"no frame ({type(error).__name__})")
                lines.resume()

    def take_broken(self) -> tuple[int, tuple[str, ...]]:
        """How many lines were broken since it was last asked; the first ones and why."""
        return self._lines.take_broken() if self._lines is not None else (0, ())

    def close(self) -> None:
        """Close the file."""
        self._reader.stop()

    def _check_end(self) -> None:
        """A BLF file tells its size; python-can takes a shorter one for a whole one."""
        if isinstance(self._reader, can.BLFReader) and self._path.suffix.lower() != ".gz":
            size = self._path.stat().st_size
            if size < self._reader.file_size:
                raise EOFError(f"{size} of {self._reader.file_size} bytes are there")


class Recording:
    """Reads a recording by python-can into blocks."""

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
        self._reader = Reader(path)

    @property
    def position(self) -> str:
        """How far the recording was read, for messages."""
        return self._reader.place(self._reader.number)

    def __iter__(self) -> Iterator[Block]:
        """Blocks in the order of the file.

        Raises:
            Exception: What python-can's readers raise; everything before has been handed out.
        """
        messages: list[can.Message] = []
        numbers: list[int] = []
        try:
            for message in self._reader:
                messages.append(message)
                numbers.append(self._reader.number)
                if len(messages) == _MOST_A_BLOCK:
                    yield self._block(messages, numbers)
                    messages, numbers = [], []
        except Exception:
            yield self._block(messages, numbers)
            raise
        yield self._block(messages, numbers)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _block(self, messages: list[can.Message], numbers: list[int]) -> Block:
        bus = [self._channels.get(str(message.channel), UNBOUND) for message in messages]
        block = to_block(
            messages,
            np.array(bus, np.int64),
            self._buses,
            lambda row: self._reader.place(numbers[row]),
        )
        broken, problems = self._reader.take_broken()
        return Block.concat([block, Block.of(self._buses, illegible=broken, problems=problems)])
