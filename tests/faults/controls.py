"""Work of which the outcome is known: the harness must find what is wrong, and nothing else."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from .scenario import Scenario, Tell

_ROUNDS = 12
_SIZE = 20_000


def _content(number: int) -> bytes:
    """Tells its number; long enough for several blocks, every block another."""
    head = b"version %06d\n" % number
    body = b"".join(hashlib.sha256(head + b"%d" % i).digest() for i in range(_SIZE // 32))
    return head + body


class Replacing(Scenario):
    """One file replaced over and over: write, rename; safe or not."""

    def __init__(self, *, synced: bool) -> None:
        self.name = "synced" if synced else "not synced"
        self._synced = synced

    def setup(self, folder: Path) -> None:
        (folder / "file").write_bytes(_content(0))
        os.sync()

    def run(self, folder: Path, tell: Tell) -> None:
        for number in range(1, _ROUNDS + 1):
            new = os.open(folder / "file.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(new, _content(number))
            if self._synced:
                os.fsync(new)
            os.close(new)
            (folder / "file.new").rename(folder / "file")
            if self._synced:
                parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                os.fsync(parent)
                os.close(parent)
            tell(f"safe {number}")

    def recover(self, folder: Path, tell: Tell) -> None:
        (folder / "file.new").unlink(missing_ok=True)

    def check(self, folder: Path, told: Sequence[str]) -> list[str]:
        found = (folder / "file").read_bytes()
        match = re.match(rb"version (\d{6})\n", found)
        if match is None:
            return [f"{len(found)} bytes that are no version"]
        number = int(match[1])
        if found != _content(number):
            return [f"version {number} is not whole"]
        promised = max([0, *(int(text.split()[1]) for text in told)])
        if number < promised:
            return [f"version {number}, and {promised} was said to be safe"]
        return []


class Overwriting(Replacing):
    """The file is written where it lies, in two pieces; it is synced, but not in one step."""

    def __init__(self) -> None:
        super().__init__(synced=True)
        self.name = "in place"

    def run(self, folder: Path, tell: Tell) -> None:
        for number in range(1, _ROUNDS + 1):
            file = os.open(folder / "file", os.O_WRONLY)
            content = _content(number)
            os.write(file, content[: _SIZE // 2])
            os.write(file, content[_SIZE // 2 :])
            os.fsync(file)
            os.close(file)
            tell(f"safe {number}")
