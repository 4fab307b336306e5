"""The lines of a text recording: numbered, bounded, and as python-can's readers want them."""

from __future__ import annotations

import re

import can
from can.io.generic import TextIOMessageReader

LONGEST = 64 << 10
"""Bytes.  A frame's line has some 300 at most; comments are longer at times."""

UNFINISHED = "the file ends without a newline, so it may be cut off; add one if it is whole"
"""Of the last line: half a frame can look like a whole one with less data."""

_ASC_HEADER = re.compile(r"\s*(?:date\s|base\s|//)", re.IGNORECASE)
_FRAMES = {
    # Channel and direction are there.
    can.ASCReader: re.compile(r"\s*\S+\s+(?:\d+|CANFD)\s(?:.*\s)?[RT]x\s", re.IGNORECASE),
    # The type of a frame in the third column (of version 1.3 in the fourth), the id of one in
    # version 1.0, or fewer columns than any event has.
    can.TRCReader: re.compile(
        r"\s*(?!;)(?:\S+\s+\S+\s+(?:DT|F[BDE]|BI|RR|(?:\d+\s+)?[RT]x|(?!F{8})[\dA-F]{4,8})\s"
        r"|(?:\S+\s+){1,3}$)"
    ),
}
"""What is certainly meant as a frame, for readers that pass over whatever they do not know."""


_MOST_PROBLEMS = 21
"""Told at a time; as many as `bordnetz.can.sources.log.LogSource` shows, and one more."""


class Lines:
    """Stands in for the text file of one of python-can's readers.

    Attributes:
        line: Number of the last line that was read.
        brought: Whether the reader has made something of it; for who sees that to set.
        ended: There are no more.
        failed: They cannot be read further: the error that is raised is not the reader's.
    """

    def __init__(self, reader: TextIOMessageReader) -> None:
        """Take the place of the file of ``reader``, of which nothing has been read yet."""
        self._file = reader.file
        self._bytes = reader.file.buffer
        self._frame = _FRAMES.get(type(reader))
        self._has_header = isinstance(reader, (can.ASCReader, can.CSVReader))
        self._in_header = isinstance(reader, can.ASCReader)
        self._coming: list[str] = []
        self._text = ""
        self._broken = 0
        self._problems: list[str] = []
        self.line = 0
        self.brought = True
        self.ended = False
        self.failed = False

    def resume(self) -> None:
        """Let the reader, which will look for a header again, find an empty one."""
        if self._has_header and not self._in_header:
            self._coming.append("\n")

    def reject(self, reason: str) -> None:
        """Count the last line as broken."""
        self.brought = True
        self._broken += 1
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(f"line {self.line}: {reason}")

    def settle(self) -> None:
        """The reader is done with the last line."""
        if not self.brought and self._frame is not None and self._frame.match(self._text):
            self.reject("no frame")

    def take_broken(self) -> tuple[int, tuple[str, ...]]:
        """How many lines were broken since it was last asked; the first ones and why."""
        taken = self._broken, tuple(self._problems)
        self._broken, self._problems = 0, []
        return taken

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        self.settle()
        if not self._coming:
            self._coming.append(self._read())
            if self._in_header and not _ASC_HEADER.match(self._coming[0]):
                # The reader takes one more line for the header than there are.
                self._in_header = False
                self._coming.append("\n")
        self._text = self._coming.pop()
        self.brought = False
        return self._text

    def _read(self) -> str:
        """The next line that is not blank."""
        while raw := self._read_up_to(LONGEST):
            self.line += 1
            if len(raw) == LONGEST and not raw.endswith(b"\n"):
                while raw and not raw.endswith(b"\n"):
                    raw = self._read_up_to(LONGEST)
                self.reject(f"over {LONGEST} bytes")
            elif not raw.strip():
                continue
            elif raw.endswith(b"\n"):
                return raw.decode(errors="replace")
            else:
                self.reject(UNFINISHED)
        self.ended = True
        raise StopIteration

    def _read_up_to(self, size: int) -> bytes:
        try:
            return self._bytes.readline(size)
        except BaseException:
            self.failed = True
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()
