"""Compressed payloads: one zstandard frame that states its length (RFC 8878).

The decompressor is handed one block after the other, so that a few bytes never become more than a
block's 128 KiB at once, and so that the frame's end is seen where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import zstandard

from bordnetz.payload.errors import FrameError

WINDOW_LOG = 23
"""8 MiB to look back, which is what the car needs of memory."""

_LEVEL = 19
_PIECE = 128 << 10
_HEAD = 18
"""Bytes of the longest frame header (3.1.1.1)."""
_MOST_BLOCK = 128 << 10
_RLE, _RESERVED = 1, 3


def compress(source: BinaryIO, length: int) -> Iterator[bytes]:
    """Make a frame.

    Args:
        source: The payload.
        length: Bytes of it.

    Yields:
        The next bytes of the frame.

    Raises:
        FrameError: There are fewer or more.
    """
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, source_size=length, window_log=min(WINDOW_LOG, max(10, length.bit_length()))
    )
    compressing = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=length)
    try:
        while piece := source.read(_PIECE):
            yield compressing.compress(piece)
        yield compressing.flush()
    except zstandard.ZstdError as error:
        raise FrameError(f"the payload has not the {length} bytes that it had: {error}") from error


def decompress(source: BinaryIO, length: int) -> Iterator[bytes]:
    """Undo `compress`.

    Args:
        source: Untrusted.
        length: Bytes of the payload.

    Yields:
        The next bytes of the payload, up to 128 KiB.

    Raises:
        FrameError: It is not one whole frame that states this length, or needs more memory.
    """
    head = source.read(_HEAD)
    try:
        parameters = zstandard.get_frame_parameters(head)
        size = zstandard.frame_header_size(head)
    except zstandard.ZstdError as error:
        raise FrameError(f"it is no zstandard frame: {error}") from error
    if parameters.content_size != length:
        raise FrameError(f"it does not state the {length} bytes that should come out of it")
    if parameters.window_size > 1 << WINDOW_LOG or parameters.dict_id:
        raise FrameError(
            f"it needs more than {1 << WINDOW_LOG} bytes of memory or a dictionary; compress it "
            "with this program"
        )
    reader = _Reader(source, head[size:])
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG).decompressobj()
    left = length
    try:
        decompressor.decompress(head[:size])
        for block in reader.blocks(parameters.has_checksum):
            piece = decompressor.decompress(block)
            left -= len(piece)
            if left < 0:
                break
            if piece:
                yield piece
    except zstandard.ZstdError as error:
        raise FrameError(f"it is damaged: {error}") from error
    if left or not decompressor.eof:
        raise FrameError(f"other than the {length} bytes that it states come out of it")


class _Reader:
    """Takes a frame's blocks apart (3.1.1.2)."""

    def __init__(self, source: BinaryIO, begun: bytes) -> None:
        self._source = source
        self._begun = begun

    def blocks(self, checksum: bool) -> Iterator[bytes]:
        """Each block with its header; the last one with the frame's checksum, if it has one."""
        last = False
        while not last:
            head = self._read(3)
            bits = int.from_bytes(head, "little")
            last, kind, size = bool(bits & 1), bits >> 1 & 3, bits >> 3
            if kind == _RESERVED or size > _MOST_BLOCK:
                raise FrameError("it is damaged: a block is of no known kind, or too large")
            yield (
                head
                + self._read(1 if kind == _RLE else size)
                + self._read(4 if last and checksum else 0)
            )
        if self._begun or self._source.read(1):
            raise FrameError("it goes on after its end")

    def _read(self, size: int) -> bytes:
        data, self._begun = self._begun[:size], self._begun[size:]
        while len(data) < size:
            piece = self._source.read(size - len(data))
            if not piece:
                raise FrameError("it ends too early")
            data += piece
        return data
