"""A folder as a canonical tar: equal trees give equal bytes, on every machine.

Any tar reads it (see `bordnetz.payload.entry`).  Canonical means:

1. folders, regular files and symbolic links, nothing else; a file with several names is several;
2. in the order of their paths, compared name by name as bytes of UTF-8; a folder before what is in
   it, the outermost folder itself not at all;
3. owner 0 without a name, time 0, modes 0755 for folders and what its owner may execute, 0644 for
   all other files, 0777 for links;
4. an extended header exactly where a path or target is not ASCII or longer than 100 bytes, with
   nothing else in it;
5. a link's target is relative, with '..' only at its beginning and never above the outermost
   folder; as no entry lies behind a link, no chain of them leads out, either;
6. two empty blocks, and then the end.

`unpack` takes nothing else: it makes of every entry what `pack` would have written, and compares.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bordnetz.payload.entry import (
    BLOCK,
    EXTENDED,
    FILE,
    FOLDER,
    LINK,
    MOST_EXTENDED,
    Entry,
    number,
    padding,
)
from bordnetz.payload.errors import TreeError

__all__ = ["USUAL", "Limits", "digest", "pack", "unpack"]

_PIECE = 256 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a tree may be.

    Attributes:
        entries: Folders, files and links.
        size: Bytes of its tar.
    """

    entries: int = 65_536
    size: int = 8 << 30


USUAL = Limits()
"""Larger than the root file system of most head units."""


def pack(folder: Path, limits: Limits = USUAL) -> Iterator[bytes]:
    """Read a folder as a canonical tar.

    Args:
        folder: The outermost one; it may be a link to a folder.
        limits: How large it may be.

    Yields:
        The next bytes, up to 256 KiB.

    Raises:
        TreeError: There is something in it that cannot be in a tree, it is too large, changes
            meanwhile, or cannot be read.
    """
    size, entries = 2 * BLOCK, 0
    try:
        for path, entry in _walk(folder, ()):
            entry.check()
            head = entry.head()
            size += len(head) + entry.size + padding(entry.size)
            entries += 1
            if entries > limits.entries or size > limits.size:
                raise TreeError(
                    f"{folder}: has more than {limits.entries} entries or {limits.size} bytes; "
                    "take something out"
                )
            yield head
            if entry.kind == FILE:
                yield from _content(path, entry)
    except OSError as error:
        raise TreeError(f"{folder}: cannot be read: {error}; check owner and disk") from error
    yield bytes(2 * BLOCK)


def digest(folder: Path, limits: Limits = USUAL) -> tuple[int, str]:
    """Length and SHA-256 (hexadecimal) of a folder's canonical tar.

    Raises:
        TreeError: As in `pack`.
    """
    length, sha256 = 0, hashlib.sha256()
    for piece in pack(folder, limits):
        length += len(piece)
        sha256.update(piece)
    return length, sha256.hexdigest()


def unpack(stream: BinaryIO, folder: Path, limits: Limits = USUAL) -> None:
    """Make a folder from its canonical tar; it is on the disk when this returns.

    Args:
        stream: Untrusted.
        folder: To make; it may be there if it is empty.  After an error a part of the tree may be
            in it.
        limits: How large the tree may be.

    Raises:
        TreeError: It is no canonical tar or too large, or the disk does not take it.
    """
    try:
        _Unpacking(stream, folder, limits).run()
    except OSError as error:
        raise TreeError(f"{folder}: cannot be written: {error}; check owner and disk") from error


def _walk(folder: Path, above: tuple[bytes, ...]) -> Iterator[tuple[Path, Entry]]:
    """What is in a folder, in the order of the tar, with where it lies."""
    with os.scandir(folder) as found:
        items = sorted((os.fsencode(item.name), item) for item in found)
    for name, item in items:
        path = (*above, name)
        status = item.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield Path(item.path), Entry(FOLDER, path)
            yield from _walk(Path(item.path), path)
        elif stat.S_ISREG(status.st_mode):
            executable = bool(status.st_mode & stat.S_IXUSR)
            yield Path(item.path), Entry(FILE, path, status.st_size, executable)
        elif stat.S_ISLNK(status.st_mode):
            target = os.fsencode(Path(item.path).readlink())
            yield Path(item.path), Entry(LINK, path, target=target)
        else:
            raise TreeError(f"{Entry(FILE, path)}: is no folder, file or symbolic link; remove it")


def _content(path: Path, entry: Entry) -> Iterator[bytes]:
    left = entry.size
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - of a descriptor
        while piece := file.read(min(_PIECE, left + 1)):
            left -= len(piece)
            if left < 0:
                break
            yield piece
    if left:
        raise TreeError(f"{entry}: changes while it is read; try again when nobody writes to it")
    yield bytes(padding(entry.size))


class _Unpacking:
    def __init__(self, stream: BinaryIO, root: Path, limits: Limits) -> None:
        self._stream = stream
        self._root = root
        self._limits = limits
        self._size = 0
        self._open: list[tuple[bytes, ...]] = [()]
        """The folder that is being filled, last, after those that it is in."""

    def run(self) -> None:
        self._root.mkdir(exist_ok=True)
        if any(self._root.iterdir()):
            raise TreeError(f"{self._root}: is not empty; remove what is in it")
        self._root.chmod(0o755)
        last: tuple[bytes, ...] = ()
        for entry in self._entries():
            if entry.path <= last:
                raise TreeError(f"{entry}: comes twice, or after a later path")
            last = entry.path
            self._leave(entry.path[:-1])
            if self._open[-1] != entry.path[:-1]:
                raise TreeError(f"{entry}: the folder that it is in is missing")
            self._make(entry)
        self._leave(())
        _sync(self._root)
        _sync(self._root.parent)

    def _entries(self) -> Iterator[Entry]:
        count = 0
        while (head := self._read(BLOCK)) != bytes(BLOCK):
            count += 1
            if count > self._limits.entries:
                raise TreeError(f"the tar has more than {self._limits.entries} entries")
            extended = b""
            if head[156:157] == EXTENDED:
                length = number(head[124:136])
                if length > MOST_EXTENDED:
                    raise TreeError("the tar has an extended header that is too long")
                extended = self._read(length + padding(length))
                head += extended + self._read(BLOCK)
            entry = Entry.parse(head[-BLOCK:], extended)
            entry.check()
            # Whatever parsing has not looked at is compared here.
            if entry.head() != head:
                raise TreeError(f"{entry}: has a header that is not canonical; pack it anew")
            if self._size + entry.size > self._limits.size:
                raise self._too_large()
            yield entry
        if self._read(BLOCK) != bytes(BLOCK) or self._stream.read(1):
            raise TreeError("the tar goes on after its end")

    def _make(self, entry: Entry) -> None:
        path = self._at(entry.path)
        if entry.kind == FOLDER:
            path.mkdir()
            path.chmod(0o755)
            self._open.append(entry.path)
        elif entry.kind == LINK:
            path.symlink_to(os.fsdecode(entry.target))
        else:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
                left = entry.size
                while left:
                    left -= file.write(self._read(min(left, _PIECE)))
                file.flush()
                os.fchmod(descriptor, 0o755 if entry.executable else 0o644)
                os.fsync(descriptor)
            if any(self._read(padding(entry.size))):
                raise TreeError(f"{entry}: its last block is not filled up with zeros")

    def _leave(self, inside: tuple[bytes, ...]) -> None:
        """Close folders until one is open that is ``inside``, or that it is in."""
        while self._open[-1] != inside[: len(self._open[-1])]:
            _sync(self._at(self._open.pop()))

    def _at(self, path: tuple[bytes, ...]) -> Path:
        return self._root / os.fsdecode(b"/".join(path))

    def _read(self, size: int) -> bytes:
        self._size += size
        if self._size > self._limits.size:
            raise self._too_large()
        data = b""
        while len(data) < size:
            piece = self._stream.read(size - len(data))
            if not piece:
                raise TreeError("the tar ends too early; fetch it anew")
            data = data + piece if data else piece
        return data

    def _too_large(self) -> TreeError:
        return TreeError(f"the tar has more than {self._limits.size} bytes")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
