"""Bytes of strangers by the hundred thousand, made of what is well-formed by making it worse."""

from __future__ import annotations

import json
import random
import resource
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from .doors import DOORS, Door
from .record import Places
from .shares import Found, shared

SECONDS = 5.0
"""CPU time that one input may take; the largest seeds take some milliseconds."""
MEMORY = 512 << 20
"""Bytes that a process may grow by, over all its inputs."""
LARGEST = 100_000
"""Bytes of an input: more tells nothing else."""

_NUMBERS = (b"0", b"-1", b"65", b"255", b"256", b"4294967295", b"9" * 40, b"1e999", b"nan", b"0x")
_BYTES = (b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\n", b'"', b" ", b"\xff" * 9, b"\x80" * 8)
_VALUES = (
    *(None, True, False, 0, -1, 1, 9, 10, 1 << 31, 1 << 63, -(1 << 63), 10**400, 0.1, -0.0, 1e308),
    *("", "*", "a" * 300, "[!", "**?[", "*a" * 120, "\x00", "\ud800", "💩", "ß.", "us", "*.*.*"),
    *([], {}, [[]], [{}], ["*"], {"match": "*"}, {"match": 5}, {"minInterval": "1"}, {"": {}}),
)


def hostile(name: str, count: int) -> Callable[[Places, bool, Callable[[int], None]], Found]:
    """So many inputs through a door."""
    door = next(door for door in DOORS if door.name == name)

    def work(places: Places, short: bool, progress: Callable[[int], None]) -> Found:
        found = Found()
        each = range(300 if short else count)
        shared(found, each, places, lambda some, where: _tried(door, some, where), progress)
        return found

    return work


def _tried(door: Door, numbers: Iterable[int], where: Places) -> Iterator[tuple[str, list[str]]]:
    tempfile.tempdir = str(where.memory)
    seeds = door.seeds()
    for one in seeds:
        door.enter(one)  # What is well-formed, and what is made only once.
    with _bounded():
        for number in numbers:
            data = worse(door, seeds, number)
            yield f"input {number}", _entered(door, data)


def _entered(door: Door, data: bytes) -> list[str]:
    """What is wrong with the door's answer."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        door.enter(data)
    except Exception as error:  # noqa: BLE001 (any that is left is a violation)
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return [said[:300], f"the bytes: {data[:200]!r}"]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return []


class _TooLongError(Exception):
    pass


@contextmanager
def _bounded() -> Iterator[None]:
    """Take too long, or too much memory, and it is an exception."""

    def stop(_: int, __: FrameType | None) -> None:
        raise _TooLongError(f"over {SECONDS:g} s of CPU")

    before = signal.signal(signal.SIGPROF, stop)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGPROF, before)


def worse(door: Door, seeds: Sequence[bytes], number: int) -> bytes:
    """The input of this number: the same one in every run."""
    draw = random.Random(f"{door.name} {number}")
    data = draw.choice(seeds)
    if door.is_json and draw.random() < 0.9:
        for _ in range(draw.randint(1, 4)):
            tree = json.loads(data)
            key = draw.choice(list(tree))
            tree[key] = _graft(tree[key], draw, json.loads(draw.choice(seeds)))
            text = json.dumps(tree).encode()
            data = text if len(text) <= LARGEST else data
        return data
    for _ in range(draw.randint(1, 6)):
        data = _bent(data, draw, seeds)
    return data[:LARGEST]


def _bent(data: bytes, draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    at = draw.randint(0, len(data))
    end = min(len(data), at + int(draw.paretovariate(0.7)))
    kind = draw.randrange(9)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + data[end:]
    if kind == 2:
        return data[:at] + data[at:end] * draw.choice((2, 3, 50)) + data[end:]
    if kind == 3:
        return data[:at] + draw.choice(_BYTES) + data[end:]
    if kind == 4:
        other = draw.choice(seeds)
        begin = draw.randint(0, len(other))
        return data[:at] + other[begin : begin + draw.randint(0, 200)] + data[end:]
    if kind == 5:
        return data[:at] + draw.randbytes(draw.randint(1, 12)) + data[at:]
    if kind == 6 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
    if kind == 7:
        return data[:at] + draw.choice(_NUMBERS) + data[end:]
    lines = data.split(b"\n")
    draw.shuffle(lines)
    return b"\n".join(lines)


def _graft(tree: Any, draw: random.Random, other: Any) -> Any:
    """The tree with one place of it made something else."""
    if isinstance(tree, dict) and tree and draw.random() < 0.92:
        key = draw.choice(list(tree))
        kind = draw.randrange(12)
        if kind == 0:
            return {name: value for name, value in tree.items() if name != key}
        if kind == 1:
            return {**tree, draw.choice((key + "x", "", "$version", "a" * 2000)): tree[key]}
        return {**tree, key: _graft(tree[key], draw, other)}
    if isinstance(tree, list) and tree and draw.random() < 0.92:
        at = draw.randrange(len(tree))
        kind = draw.randrange(12)
        if kind == 0:
            return tree * draw.choice((0, 2, 300))
        if kind == 1:
            return tree[:at] + tree[at + 1 :]
        return [*tree[:at], _graft(tree[at], draw, other), *tree[at + 1 :]]
    if draw.random() < 0.2:
        return _somewhere(other, draw)
    if draw.random() < 0.05:
        deep: Any = tree
        for _ in range(draw.choice((3, 100, 400))):
            deep = [deep] if draw.random() < 0.5 else {"a": deep}
        return deep
    return draw.choice(_VALUES)


def _somewhere(tree: Any, draw: random.Random) -> Any:
    while isinstance(tree, dict | list) and tree and draw.random() < 0.7:
        tree = draw.choice(list(tree.values()) if isinstance(tree, dict) else tree)
    return tree
