"""Recordings in candump's form (``candump -L``, the ``.log`` of can-utils), line by line.

    (1701363725.986550) can0 18F75E89#FF3528282B2D00A3      29-bit id, 8 bytes
    (1701363725.986550) can0 123##1AABB                     CAN FD, flags 1, 2 bytes
    (1701363725.986550) can0 123#R8                         remote frame

A line that is none of these is counted, its position is told, and reading goes on.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Iterator, Mapping, Sequence
from gzip import GzipFile
from io import BufferedReader

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.frames import BRS, CLASSIC_BYTES, ERROR, ESI, FD_BYTES, FDF, Block, Frames
from bordnetz.can.sources.lines import UNFINISHED
from bordnetz.can.sources.messages import UNBOUND
from bordnetz.series import EXTENDED

_CHUNK = 96 << 10
"""Bytes read at once: about 2,000 frames of 8 bytes, at most some 3,500 without data."""

_DATA = re.compile(
    rb"(?m)^(?:\(([0-8]?\d{1,9})\.(\d{1,9})\) (\S{1,64}) ([\dA-Fa-f]{8}|[\dA-Fa-f]{3})"
    rb"#(?:#([\dA-Fa-f]))?((?:[\dA-Fa-f]{2}){0,64})(?:_[9A-Fa-f])?(?: [RT])?[ \t\r]*|(.*))$"
)
"""Seconds (up to the year 2255), fraction, channel, id, FD flags, data; or any other line."""

_REMOTE = re.compile(
    rb"\(\d{1,10}\.\d{1,9}\) (\S{1,64}) (?:[\dA-Fa-f]{8}|[\dA-Fa-f]{3})"
    rb"#[Rr](?:[0-8](?:_[9A-Fa-f])?)?(?: [RT])?[ \t\r]*"
)
_CHANNEL = re.compile(rb"\([^ ]{1,64}\) (\S{1,64}) ")
_OVERLONG = b"?"
"""Stands for the beginning of a line that is too long for any frame."""


def portions(file: BufferedReader | GzipFile) -> Iterator[tuple[bytes, bool]]:
    """A file in portions of some lines, without the last one's newline, and whether it had one.

    Of a line that is too long for any frame stands a part that is none.

    Raises:
        OSError, EOFError, zlib.error: The file cannot be read further, or a compressed one ends
            where it must not; every complete line before has been handed out.
    """
    rest = b""
    # Of a cut gzip file `read` loses what it had gathered for a full chunk, `read1` does not.
    while chunk := file.read1(_CHUNK):
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            yield lines, True
        if len(rest) > _CHUNK:
            rest = _OVERLONG
    if rest:
        yield rest, False


class Candump:
    """Reads a recording in candump's form.

    Attributes:
        line: Lines read so far.
    """

    def __init__(
        self, file: BufferedReader | GzipFile, channels: Mapping[str, int], buses: int
    ) -> None:
        """Read from ``file``.

        Args:
            file: Opened for reading bytes.
            channels: Index of the bus for each channel as the recording names it.
            buses: How many buses the vehicle has.
        """
        self._file = file
        self._channels = {name.encode(): index for name, index in channels.items()}
        self._buses = buses
        self.line = 0

    @property
    def position(self) -> str:
        """How far the recording was read, for messages."""
        return f"line {self.line}"

    def __iter__(self) -> Iterator[Block]:
        """Blocks in the order of the file.

        Raises:
            OSError, EOFError, zlib.error: The file cannot be read further, or a compressed one
                ends where it must not; every complete line before has been handed out.
        """
        for lines, whole in portions(self._file):
            if whole:
                yield self._block(lines)
            else:
                self.line += 1
                yield self._broken([(self.line, self._bus(lines), UNFINISHED)])

    def _block(self, lines: bytes) -> Block:
        numbers: Sequence[int] = range(self.line + 1, self.line + 2 + lines.count(b"\n"))
        self.line += len(numbers)
        matches = _DATA.findall(lines)
        other = Block.of(self._buses)
        if not all(match[2] for match in matches):
            numbered = list(zip(numbers, matches, strict=True))
            other = self._other([(number, match[6]) for number, match in numbered if not match[2]])
            numbers = [number for number, match in numbered if match[2]]
            matches = [match for match in matches if match[2]]
            if not matches:
                return other
        seconds, fractions, channels, texts, fd_flags, payloads, _ = zip(*matches, strict=True)

        bus = np.array([self._channels.get(name, UNBOUND) for name in channels], np.int64)
        ids = np.array([int(text, 16) for text in texts], np.int64)
        extended = np.array([len(text) for text in texts], np.int64) == len("18F75E89")
        length = np.array([len(payload) for payload in payloads], np.int64) // 2
        is_fd = np.array([len(flags) for flags in fd_flags], bool)
        time = np.array([int(second) for second in seconds], np.int64) * 1_000_000_000
        time += np.array([int(fraction.ljust(9, b"0")) for fraction in fractions], np.int64)

        is_error = extended & ~is_fd & ((ids & ERROR) != 0)
        usable = (ids <= np.where(extended, 0x1FFF_FFFF, 0x7FF)) | is_error
        usable &= length <= np.where(is_fd, FD_BYTES, CLASSIC_BYTES)
        bound = bus != UNBOUND

        def frames(picked: NDArray[np.bool_], width: int) -> Frames:
            rows = np.flatnonzero(picked)
            flags = [int(fd_flags[row], 16) & (BRS | ESI) | FDF for row in rows if fd_flags[row]]
            text = b"".join([payloads[row].ljust(2 * width, b"0") for row in rows.tolist()])
            return Frames(
                time=time[rows],
                bus=bus[rows].astype(np.uint8),
                id=np.where(extended[rows], ids[rows] | EXTENDED, ids[rows]).astype(np.uint32),
                flags=np.array(flags or np.zeros(len(rows)), np.uint8),
                length=length[rows].astype(np.uint8),
                data=np.frombuffer(unhexlify(text), np.uint8).reshape(-1, width),
            )

        wrong = [
            (numbers[row], bus[row], "an id or a length that no frame has")
            for row in np.flatnonzero(~usable).tolist()
        ]
        good = Block.of(
            self._buses,
            frames(usable & bound & ~is_error & ~is_fd, CLASSIC_BYTES),
            frames(usable & bound & ~is_error & is_fd, FD_BYTES),
            error=np.bincount(bus[is_error & bound], minlength=self._buses),
            unbound=int(np.count_nonzero(usable & ~bound)),
        )
        return Block.concat([good, other, self._broken(wrong)])

    def _other(self, lines: Sequence[tuple[int, bytes]]) -> Block:
        """What is no data frame: remote frames, and lines that are broken; blank ones are fine."""
        remote = []
        broken = []
        for number, line in lines:
            if match := _REMOTE.fullmatch(line):
                remote.append(self._channels.get(match[1], UNBOUND))
            elif line.strip():
                broken.append((number, self._bus(line), "no frame in candump's form"))
        bus = np.array(remote, np.int64)
        counts = Block.of(
            self._buses,
            remote=np.bincount(bus[bus != UNBOUND], minlength=self._buses),
            unbound=int(np.count_nonzero(bus == UNBOUND)),
        )
        return Block.concat([counts, self._broken(broken)])

    def _broken(self, lines: Sequence[tuple[int, int, str]]) -> Block:
        """Lines that cannot be used: number, bus, reason.  Their text may be private."""
        bus = np.array([bus for _, bus, _ in lines], np.int64)
        return Block.of(
            self._buses,
            broken=np.bincount(bus[bus != UNBOUND], minlength=self._buses),
            illegible=int(np.count_nonzero(bus == UNBOUND)),
            problems=tuple(f"line {number}: {reason}" for number, _, reason in lines),
        )

    def _bus(self, line: bytes) -> int:
        match = _CHANNEL.match(line)
        return self._channels.get(match[1], UNBOUND) if match else UNBOUND
