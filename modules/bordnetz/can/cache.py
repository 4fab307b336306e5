"""Parsed DBC files, kept on disk, so that a start need not parse them again.

A kept file is named by the DBC file's content and by the code that parses it, so what changes with
neither of them is never out of date; whatever else the vehicle file says is applied to it anew.
It is columns in JSON behind their SHA-256: one that power loss or a failing disk has damaged is
parsed anew and counted, and nothing in it can be executed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from bordnetz import __version__
from bordnetz.can.catalogue import Problem
from bordnetz.can.dbc import Field, Message, parse
from bordnetz.can.j1939 import Match
from bordnetz.series import Kind, Signal

log = logging.getLogger(__name__)

MOST_BYTES = 64 << 20
"""Of all kept files together: a hundred times what the databases of a car need."""

_MOST_OF_ONE = 16 << 20
_DIGEST = hashlib.sha256().digest_size
_ENUMS = {"match": Match, "kind": Kind}

T = TypeVar("T")
Parsed = tuple[list[Message], list[Problem]]


class Cache:
    """A folder of parsed DBC files.

    Args:
        folder: Of its own; made when there is something to keep.

    Attributes:
        used: Files that were read from it.
        parsed: Files that were not there and had to be parsed.
        damaged: Those among them that were there, but could not be used.
        failed: Files that could not be kept, for instance because the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.used = self.parsed = self.damaged = self.failed = 0
        self._folder = folder

    def parse(self, content: bytes, path: Path) -> Parsed:
        """As `bordnetz.can.dbc.parse`, from the cache where it is there.

        Raises:
            CatalogueError: As `bordnetz.can.dbc.parse`.
        """
        file = self._folder / hashlib.sha256(digest_of_code() + content).hexdigest()
        found = self._load(file, path)
        if found is not None:
            self.used += 1
            return found
        self.parsed += 1
        found = parse(content, path)
        try:
            self._keep(file, pack(*found))
        except (OSError, ValueError) as error:
            # It costs the next start a moment, and nothing else.
            self.failed += 1
            log.warning("%s: parsed, but not kept for the next start: %s", path, error)
        return found

    def _load(self, file: Path, path: Path) -> Parsed | None:
        try:
            with file.open("rb") as kept:
                content = kept.read(_MOST_OF_ONE)
            return unpack(content, path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
            self.damaged += 1
            log.warning("%s: not as it was kept, %s is parsed anew: %s", file, path, error)
            return None

    def _keep(self, file: Path, content: bytes) -> None:
        if len(content) > _MOST_OF_ONE:
            raise ValueError(f"over {_MOST_OF_ONE >> 20} MiB")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._make_room(len(content))
        # Whoever finds the name finds all of the content, unless power is lost: then the digest
        # tells, which is why nothing waits for the disk here.
        scratch = file.with_suffix(f".{os.getpid()}")
        try:
            scratch.write_bytes(content)
            scratch.replace(file)
        finally:
            scratch.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Delete what was written first, of whatever version, until so many bytes have room."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    about = entry.stat(follow_symlinks=False)
                    found.append((about.st_mtime_ns, entry.path, about.st_size))
        total = size + sum(size for _, _, size in found)
        for _, name, size in sorted(found):
            if total <= MOST_BYTES:
                break
            Path(name).unlink(missing_ok=True)
            total -= size


@cache
def digest_of_code() -> bytes:
    """Digest of all code that has a part in what is kept."""
    digest = hashlib.sha256(__version__.encode())
    folder = Path(__file__).parent
    for file in sorted([*folder.glob("*.py"), folder.parent / "series.py"]):
        with suppress(FileNotFoundError):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.digest()


def pack(messages: Sequence[Message], problems: Sequence[Problem]) -> bytes:
    """A parsed DBC file as bytes, without its path."""
    places = [place for message in messages for place in message.fields]
    columns = {
        "messages": _columns(Message, messages, without=("file", "fields")),
        "sizes": [len(message.fields) for message in messages],
        "fields": _columns(Field, places, without=("signal",)),
        "signals": _columns(Signal, [place.signal for place in places]),
        "problems": _columns(Problem, problems, without=("file",)),
    }
    body = json.dumps(columns, separators=(",", ":")).encode()
    return hashlib.sha256(body).digest() + body


def unpack(content: bytes, path: Path) -> Parsed:
    """What `pack` was given.

    Args:
        content: From `pack`.
        path: Of the DBC file.

    Raises:
        ValueError: It is not what `pack` gave; where its digest is right, TypeError and
            LookupError say so, too.
    """
    digest, body = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its digest is not that of its content")
    columns = json.loads(body)
    signals = _rows(Signal, columns["signals"])
    places = iter(_rows(Field, columns["fields"], signal=signals))
    sizes = columns["sizes"]
    messages = _rows(
        Message,
        columns["messages"],
        file=[path] * len(sizes),
        fields=[tuple(islice(places, size)) for size in sizes],
    )
    problems = columns["problems"]
    return messages, _rows(Problem, problems, file=[path] * len(problems["reason"]))


def _columns(
    kind: type[Any], rows: Sequence[object], without: Sequence[str] = ()
) -> dict[str, list[Any] | dict[str, list[Any]]]:
    """The rows of a dataclass by name of its fields.

    A tuple is written once, however many rows have it: the signals of a branch share theirs.
    """
    columns: dict[str, list[Any] | dict[str, list[Any]]] = {}
    for name in (field.name for field in fields(kind) if field.name not in without):
        column = [getattr(row, name) for row in rows]
        if any(isinstance(value, tuple) for value in column):
            pool = {id(value): value for value in column}
            place = {key: number for number, key in enumerate(pool)}
            columns[name] = {
                "pool": list(pool.values()),
                "at": [place[id(value)] for value in column],
            }
        else:
            columns[name] = column
    return columns


def _rows(kind: type[T], columns: Mapping[str, Any], **more: Sequence[Any]) -> list[T]:
    """The rows of a dataclass; ``more`` are the columns that `_columns` did without."""
    ready: dict[str, Sequence[Any]] = dict(more)
    for name, column in columns.items():
        if isinstance(column, dict):
            pool = [_tuples(value) for value in column["pool"]]
            ready[name] = [pool[place] for place in column["at"]]
        elif name in _ENUMS:
            members = {value: _ENUMS[name](value) for value in set(column)}
            ready[name] = [members[value] for value in column]
        else:
            ready[name] = column
    # Callers give dataclasses, which a type variable cannot say.
    in_order = [ready[field.name] for field in fields(kind)]  # type: ignore[arg-type]
    return [kind(*row) for row in zip(*in_order, strict=True)]


def _tuples(value: Any) -> Any:
    """JSON has lists in place of tuples, however deep."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
