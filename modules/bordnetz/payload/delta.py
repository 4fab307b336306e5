"""A payload as its difference from an older one: a sequential patch of detools with lzma.

The layout, which detools documents: one byte for type (0: sequential) and compression (1: lzma);
the length of what comes out; then, compressed as one LZMA stream (.lzma), a zero, and until
that length is reached again and again

- a length and so many bytes to be added, modulo 256, to as many bytes of the base,
- a length and so many bytes to be taken as they are,
- by how much to move on in the base, or back.

Numbers have seven bits a byte, the lowest first, the highest bit of each saying that more follow;
of the first byte's seven one is the sign.

The car applies patches with what is here, in memory that does not grow with the payload; only
making them takes detools, which is no part of the car.
"""

from __future__ import annotations

import functools
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bordnetz.payload.errors import DeltaError

__all__ = ["apply", "make"]

_SEQUENTIAL_LZMA = 0x01
_PIECE = 64 << 10
_MEMORY = 16 << 20
"""Bytes for the decompressor; detools' streams need 8 MiB and a little."""
_LONGEST_NUMBER = 9
"""Bytes: 62 bits."""

_STEP = 8
_MORE_STEPS = 64
"""Steps may be this small on average, in bytes, but for so many.  detools' are twice as large even
where the two payloads are made to give small ones; smaller ones would only take time."""


def make(base: Path, payload: Path, patch: Path) -> None:
    """Make a patch with detools, and try it.

    It takes ten times the payload's size of memory, and a second a megabyte.

    Args:
        base: The older payload.
        payload: The newer one.
        patch: The file to write.

    Raises:
        DeltaError: detools is not installed, or what it made does not give the newer payload.
    """
    try:
        import detools  # type: ignore[import-untyped] # it has none
    except ImportError as error:
        raise DeltaError(
            "deltas are made with detools; install bordnetz with its extra 'release'"
        ) from error
    with base.open("rb") as old, payload.open("rb") as new, patch.open("wb") as out:
        detools.create_patch(old, new, out, compression="lzma", patch_type="sequential")
    length = payload.stat().st_size
    with base.open("rb") as old, payload.open("rb") as new, patch.open("rb") as made:
        if any(piece != new.read(len(piece)) for piece in apply(old, made, length)):
            raise DeltaError("what detools made does not give the payload; send it without")


def apply(base: BinaryIO, patch: BinaryIO, length: int) -> Iterator[bytes]:
    """Make the newer payload out of the older one.

    Args:
        base: The older payload; it can seek.
        patch: Untrusted.
        length: Bytes of the newer payload.

    Yields:
        Its next bytes, up to 64 KiB.

    Raises:
        DeltaError: The patch is none that is understood, damaged, or meant for another base.
    """
    stream = _Numbers(patch)
    if stream.byte() != _SEQUENTIAL_LZMA:
        raise DeltaError("it is no sequential detools patch with lzma; make it with this program")
    if stream.number() != length:
        raise DeltaError(f"it does not state the {length} bytes that should come out of it")
    if length:
        yield from _Applying(base, _Unpacked(patch), length).run()
    elif patch.read(1):
        raise DeltaError("it goes on after its end")


class _Numbers:
    """Reads the patch's bytes and numbers."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def byte(self) -> int:
        data = self._source.read(1)
        if not data:
            raise DeltaError("it ends too early")
        return data[0]

    def number(self) -> int:
        byte = self.byte()
        negative = byte & 0x40
        value = byte & 0x3F
        for n in range(_LONGEST_NUMBER):
            if not byte & 0x80:
                return -value if negative else value
            byte = self.byte()
            value |= (byte & 0x7F) << (6 + 7 * n)
        raise DeltaError("it is damaged: a number is too long")


class _Unpacked(_Numbers):
    """The compressed part of a patch, decompressed a piece at a time."""

    def __init__(self, source: BinaryIO) -> None:
        super().__init__(source)
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY)
        self._piece = b""
        self._at = 0

    def byte(self) -> int:
        if self._at == len(self._piece):
            self._fill()
        self._at += 1
        return self._piece[self._at - 1]

    def take(self, size: int) -> memoryview:
        """At least one byte, at most ``size``."""
        if self._at == len(self._piece):
            self._fill()
        taken = memoryview(self._piece)[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def end(self) -> None:
        """Make sure that there is nothing more."""
        if self._at < len(self._piece) or self._more():
            raise DeltaError("it goes on after its end")
        if self._decompressor.unused_data or self._source.read(1):
            raise DeltaError("it goes on after its end")

    def _fill(self) -> None:
        self._piece, self._at = self._more(), 0
        if not self._piece:
            raise DeltaError("it ends too early")

    def _more(self) -> bytes:
        """The next bytes; none at the stream's end."""
        while not self._decompressor.eof:
            data = b""
            if self._decompressor.needs_input:
                data = self._source.read(_PIECE)
                if not data:
                    raise DeltaError("it ends too early")
            try:
                piece = self._decompressor.decompress(data, _PIECE)
            except lzma.LZMAError as error:
                raise DeltaError(f"it is damaged or needs too much memory: {error}") from error
            if piece:
                return piece
        return b""


class _Applying:
    def __init__(self, base: BinaryIO, patch: _Unpacked, length: int) -> None:
        self._base = base
        self._base_length = base.seek(0, os.SEEK_END)
        self._at = 0
        """Where the base is read next."""
        self._patch = patch
        self._left = length
        self._piece = bytearray()

    def run(self) -> Iterator[bytes]:
        if self._patch.number():
            raise DeltaError("it has a data format, which is not understood; make it without")
        for _ in range(self._left // _STEP + _MORE_STEPS):
            yield from self._section(add=True)
            yield from self._section(add=False)
            self._at += self._patch.number()
            if not self._left:
                break
        else:
            raise DeltaError("it is damaged: it takes steps that are too small")
        self._patch.end()
        if self._piece:
            yield bytes(self._piece)

    def _section(self, add: bool) -> Iterator[bytes]:
        size = self._patch.number()
        if not 0 <= size <= self._left:
            raise DeltaError("it is damaged: more comes out of it than it states")
        if add and size:
            if not 0 <= self._at <= self._base_length - size:
                raise DeltaError("it is meant for another base: it reads outside of this one")
            self._base.seek(self._at)
            self._at += size
        self._left -= size
        while size:
            taken = self._patch.take(min(size, _PIECE - len(self._piece)))
            size -= len(taken)
            self._piece += _sum(taken, self._read(len(taken))) if add else taken
            if len(self._piece) == _PIECE:
                yield bytes(self._piece)
                self._piece.clear()

    def _read(self, size: int) -> bytes:
        """Of the base, where it was sought."""
        data = self._base.read(size)
        while len(data) < size:
            piece = self._base.read(size - len(data))
            if not piece:
                raise DeltaError("the base ends too early; was it changed?")
            data += piece
        return data


def _sum(one: memoryview, other: bytes) -> bytes:
    """Byte by byte, modulo 256.

    As one addition of long numbers, of which no byte carries into the next: the highest bits are
    left out and put in by exclusive or.  numpy would be no faster here, and takes 14 MiB.
    """
    size = len(other)
    a, b = int.from_bytes(one, "little"), int.from_bytes(other, "little")
    low, high = _masks(size)
    return ((a & low) + (b & low) ^ (a ^ b) & high).to_bytes(size, "little")


@functools.lru_cache(8)
def _masks(size: int) -> tuple[int, int]:
    return int.from_bytes(b"\x7f" * size, "little"), int.from_bytes(b"\x80" * size, "little")
