"""One entry of a canonical tar: what may be in it, and its one and only header.

ustar (POSIX.1-1988) with, where a path or a link's target needs it, one extended header before the
entry (POSIX.1-2001, "pax Header Block").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bordnetz.payload.errors import TreeError

BLOCK = 512
"""Bytes; header and content are filled up to a multiple."""

FILE, LINK, FOLDER, EXTENDED = b"0", b"2", b"5", b"x"
"""Type flags."""

MOST_EXTENDED = 4096
"""Bytes of an extended header's content; two paths of the longest kind fit."""

_SHORT = 100
"""Bytes of a name in an ustar header."""

_MOST_FILE = 0o77777777777
"""Bytes of a file: eleven octal digits."""

_LONGEST_PATH = 1024
_LONGEST_NAME = 255
_DEPTH = 64

_RECORD = re.compile(rb"[1-9]\d{0,4} (path|linkpath)=([^\n]+)\n")


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder, file or link.

    Attributes:
        kind: `FOLDER`, `FILE` or `LINK`.
        path: Names from the outermost folder on, in UTF-8.
        size: Bytes of a file.
        executable: Whether a file's owner may execute it.
        target: Of a link.
    """

    kind: bytes
    path: tuple[bytes, ...]
    size: int = 0
    executable: bool = False
    target: bytes = b""

    @classmethod
    def parse(cls, head: bytes, extended: bytes) -> Entry:
        """Read a header, without looking at more of it than it takes.

        Args:
            head: A block.
            extended: The content of the extended header before it; empty where there is none.

        Raises:
            TreeError: It is no header of a folder, file or link.
        """
        records = {found[1]: found[2] for found in _RECORD.finditer(extended)}
        kind = head[156:157]
        if kind not in (FILE, LINK, FOLDER):
            raise TreeError(
                "the tar has an entry that is no folder, file or symbolic link; pack it anew"
            )
        path = records.get(b"path", _text(head[:100]))
        target = records.get(b"linkpath", _text(head[157:257]))
        names = tuple(path.removesuffix(b"/").split(b"/"))
        size = number(head[124:136])
        return cls(kind, names, size, bool(number(head[100:108]) & 0o100), target)

    def head(self) -> bytes:
        """Its header, with the extended one where it needs that."""
        path = b"/".join(self.path) + (b"/" if self.kind == FOLDER else b"")
        records = b"".join(
            _record(key, value)
            for key, value in ((b"path", path), (b"linkpath", self.target))
            if len(value) > _SHORT or not value.isascii()
        )
        modes = {FOLDER: 0o755, LINK: 0o777, FILE: 0o755 if self.executable else 0o644}
        head = _header(path, modes[self.kind], self.size, self.kind, self.target)
        if not records:
            return head
        extended = _header(b"PaxHeader", 0o644, len(records), EXTENDED, b"")
        return extended + records + bytes(padding(len(records))) + head

    def check(self) -> None:
        """Make sure that it may be in a tree.

        Raises:
            TreeError: It may not.
        """
        if len(self.path) > _DEPTH or len(b"/".join(self.path)) >= _LONGEST_PATH:
            raise TreeError(
                f"{self}: the path is too long; up to {_DEPTH} names and {_LONGEST_PATH - 1} bytes "
                "are allowed"
            )
        for name in self.path:
            self._check_name(name)
        if self.size > _MOST_FILE:
            raise TreeError(f"{self}: {self.size} bytes are too many; {_MOST_FILE} are allowed")
        if (self.kind == LINK) != bool(self.target) or (self.kind != FILE and self.size):
            raise TreeError(f"{self}: only a link has a target, and only a file has content")
        if self.target:
            self._check_target()

    def _check_target(self) -> None:
        if len(self.target) > _LONGEST_PATH:
            raise TreeError(f"{self}: the link's target is too long")
        names = self.target.split(b"/")
        ups = next((n for n, name in enumerate(names) if name != b".."), len(names))
        if ups >= len(self.path):
            raise TreeError(f"{self}: the link leads out of the tree")
        for name in names[ups:]:
            # A '..' behind a name could lead up from wherever another link leads to.
            self._check_name(name)

    def _check_name(self, name: bytes) -> None:
        if name in (b"", b".", b"..") or len(name) > _LONGEST_NAME or _unspeakable(name):
            raise TreeError(
                f"{self}: a name in its path or target is empty, '.', '..', too long, not UTF-8 or "
                "has control characters; rename it, and make links relative"
            )

    def __str__(self) -> str:
        shown = b"/".join(self.path)[:200].decode("ascii", "backslashreplace")
        return shown.encode("unicode_escape").decode()


def padding(size: int) -> int:
    """Bytes from a content's end to the next block."""
    return -size % BLOCK


def number(field: bytes) -> int:
    """A header's number; 0 where there is none."""
    text = _text(field).strip()
    return int(text, 8) if re.fullmatch(rb"[0-7]{1,11}", text) else 0


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _unspeakable(name: bytes) -> bool:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return True
    return any(character < " " or character == "\x7f" for character in text)


def _record(key: bytes, value: bytes) -> bytes:
    """Of an extended header: it begins with its own length."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%s" % (length, rest)


def _header(name: bytes, mode: int, size: int, kind: bytes, target: bytes) -> bytes:
    before = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (_field(name), mode, 0, 0, size, 0)
    after = b"%s%s%s%s%07o\0%07o\0" % (kind, _field(target), b"ustar\00000", bytes(64), 0, 0)
    after += bytes(BLOCK - len(before) - 8 - len(after))
    # The checksum is made as if it were eight spaces.
    return b"%s%06o\0 %s" % (before, sum(before) + sum(after) + 8 * ord(" "), after)


def _field(name: bytes) -> bytes:
    """A name as it fits; where it does not, the extended header has it whole."""
    plain = bytes(byte if byte < 128 else ord("_") for byte in name)
    return plain[:_SHORT].ljust(_SHORT, b"\0")
