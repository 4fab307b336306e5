"""Where bytes of strangers come in: each door takes any, and answers with its error at worst.

A door is a function of bytes.  It returns where the answer is one that was promised: what was
read, or the error of that door.  Anything else that is raised is a violation, and so is an answer
that contradicts itself.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bordnetz.batch import columns
from bordnetz.batch.errors import BatchError
from bordnetz.batch.reader import Reader
from bordnetz.can import dbc
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.errors import CatalogueError, RecordingError
from bordnetz.can.frames import Block, Frames
from bordnetz.can.sources.live import open_source
from bordnetz.can.sources.log import AT_ONCE, LogSource
from bordnetz.can.table import DecodeTable
from bordnetz.can.vehicle import Vehicle
from bordnetz.edge.methods import LARGEST, Methods
from bordnetz.edge.twin import ROOM, Twin
from bordnetz.errors import BordnetzError
from bordnetz.ota.config import Desired as OtaDesired
from bordnetz.telemetry.backlog import Backlog
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.collection import Collection
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.losses import Losses
from bordnetz.telemetry.module import Telemetry
from bordnetz.telemetry.plan import Planner

_TESTS = Path(__file__).parents[1]
_SEEDS = Path(__file__).parent / "seeds"
SUFFIXES = (".log", ".log.gz", ".asc", ".blf", ".csv", ".trc", ".db", ".asc.gz")
"""Of recordings: the first byte of what comes through the door `log` chooses one."""
_ROWS = np.array([1, 2, 7, 40, 200])
"""Of the columns that bytes are read as which come without a message around them."""
_MOST_DOCUMENTS = 4
_STATUS = (200, 400, 404, 500, 503)


@dataclass(frozen=True, slots=True)
class Door:
    """One of them.

    Attributes:
        name: Of its row.
        what: In words.
        enter: Takes bytes; see above.
        seeds: What is well-formed, to be made worse.
        is_json: Whether they are JSON, of which parts are to be made worse rather than bytes.
    """

    name: str
    what: str
    enter: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    is_json: bool = False


def batch(data: bytes) -> None:
    """The first byte: as it comes, with its check sum put right, or straight to the columns."""
    how, rest = data[:1], data[1:]
    if how == b"\x02":
        try:
            read = columns.decode(rest, _ROWS)
        except ValueError:
            return
        assert len(read) == _ROWS.sum()
        return
    if how == b"\x01":
        rest += b"\x7d"
        rest += zlib.crc32(rest).to_bytes(4, "little")
    reader = Reader()
    for known in _dictionaries():
        reader.read(known)
    try:
        batches = reader.read(rest)
    except BatchError as error:
        _check(error)
        return
    for one in batches:
        one = reader.boots.correct(one)
        assert int((one.samples.count * one.samples.width).sum()) == len(one.samples)
        assert len(one.samples.order) == len(one.samples.time) == one.samples.count.sum()


def _check(error: BordnetzError) -> None:
    """An operator is told something, and no more than a log line holds."""
    if not 10 < len(str(error)) < 4096:
        raise ValueError(f"an error of {len(str(error))} characters")


@cache
def _dictionaries() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in _golden() if "dictionary" in path.name)


def _golden() -> list[Path]:
    return sorted((_TESTS / "batch/golden").glob("*/*.bin"))


def _batch_seeds() -> list[bytes]:
    whole = [path.read_bytes() for path in _golden()]
    numbers = np.arange(_ROWS.sum()) ** 2
    return [
        *(b"\x00" + one for one in whole),
        *(b"\x01" + one[:-5] for one in whole),
        b"\x02" + columns.encode(numbers, _ROWS)[0],
        b"\x02" + columns.encode(numbers % 7, _ROWS)[0],
        *_kept("batch")(),
    ]


def twin(data: bytes) -> None:
    """``{"telemetry": [document, ...]}``, one desired section after the other, or ``"ota"``."""
    given = _json(data)
    for name, documents in given.items() if isinstance(given, dict) else ():
        if name not in ("telemetry", "ota") or not isinstance(documents, list):
            continue
        check = _telemetry()[1].judge
        one: Twin[Any] = Twin(OtaDesired) if name == "ota" else Twin(Desired, check)
        for document in documents[:_MOST_DOCUMENTS]:
            if not isinstance(document, dict):
                continue  # The hub has no other.
            if not one.patch(document):
                one.replace(document)
            one.judge()
            told = json.dumps(one.acknowledgements, allow_nan=False)
            assert len(told.encode()) <= 2 * ROOM, f"{len(told)} bytes of acknowledgements"
            if name == "telemetry":
                plan = _telemetry()[1].plan(one.config)
                assert plan.signals <= len(_telemetry()[1].catalogue.names)


def method(data: bytes) -> None:
    """``{"name": ..., "payload": ...}``, to a telemetry module that has seen some frames."""
    given = _json(data)
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        return
    loop, methods = _loop(), _telemetry()[0]
    status, answer = loop.run_until_complete(methods.answer(given["name"], given.get("payload")))
    assert status in _STATUS, f"status {status}"
    assert len(json.dumps(answer, allow_nan=False)) <= LARGEST


def _json(data: bytes) -> Any:
    """What a hub would hand on: nothing else is JSON to it."""

    def refuse(_: str) -> Any:
        raise ValueError

    try:
        return json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _telemetry() -> tuple[Methods, Planner]:
    """A module at work: its methods, and who judges its configurations."""
    vehicle = _vehicle()
    planner = Planner(Catalogue.load(vehicle), vehicle.digest)
    module = Telemetry(vehicle, open_source(vehicle), Path("/nowhere"))
    backlog = Backlog(_Shelf(), waits=False, lost=Losses().refused)
    books = Books([bus.name for bus in vehicle.buses])
    collection = Collection(planner, books, backlog, recorded=True)
    module._collection, module._backlog = collection, backlog

    async def begin() -> asyncio.Task[None]:
        await collection.apply(Desired.model_validate({"collect": [{"match": "*"}]}), 1)
        random = np.random.default_rng(1)
        ids = np.array([m.id for m in planner.catalogue.messages[0]], np.uint32)
        frames = Frames(
            time=np.arange(len(ids)),
            bus=np.zeros(len(ids), np.uint8),
            id=ids,
            flags=np.zeros(len(ids), np.uint8),
            length=np.full(len(ids), 8, np.uint8),
            data=random.integers(0, 256, (len(ids), 8)).astype(np.uint8),
        )
        await collection.take(Block.of(len(vehicle.buses), frames))
        collection.flush()
        return asyncio.create_task(backlog.run())

    # The loop keeps tasks weakly.
    _Shelf.task = _loop().run_until_complete(begin())
    return Methods(module.methods()), planner


class _Shelf:
    """An edge that takes everything."""

    task: asyncio.Task[None]
    room = 1 << 30

    async def put(self, *_: Any, **__: Any) -> int:
        return 1


def dbc_file(data: bytes) -> None:
    """Read, put beside another, compiled."""
    path = _scratch() / "hostile.dbc"
    try:
        messages, problems = dbc.parse(data, path)
    except CatalogueError as error:
        _check(error)
        return
    for problem in problems:
        assert str(problem)
    for message in messages:
        for field in message.fields:
            assert field.need <= message.length
    if len(data) % 8 == 0:  # It takes longer than all that comes before.
        path.write_bytes(data)
        bus = {"name": "b", "interface": "unix", "channel": "b", "dbc": [str(path)]}
        try:
            catalogue = Catalogue.load(Vehicle.parse({"name": "v", "bus": [bus]}, path))
        except CatalogueError:
            return
        DecodeTable.compile(catalogue)


def log_file(data: bytes) -> None:
    """The first byte: in which form."""
    path = _scratch() / f"hostile{SUFFIXES[(data[0] if data else 0) % len(SUFFIXES)]}"
    path.write_bytes(data[1:])
    try:
        source = LogSource(path, _vehicle(), AT_ONCE)
        with ExitStack() as resources:
            source._open(resources)
            for block in source._read():
                own = np.bincount(block.classic.bus, minlength=2)
                own += np.bincount(block.fd.bus, minlength=2)
                own += block.remote + block.error + block.broken
                assert (own == block.received).all()
    except RecordingError as error:
        _check(error)


@cache
def _vehicle() -> Vehicle:
    """Two buses and nine signals."""
    buses = [
        {"name": name, "interface": "unix", "channel": channel, "dbc": [f"{name}.dbc"]}
        for name, channel in (("drive", "can0"), ("truck", "can1"))
    ]
    return Vehicle.parse({"name": "small", "bus": buses}, _SEEDS / "dbc/vehicle.toml")


@cache
def _scratch() -> Path:
    """A folder of this process' own."""
    return Path(tempfile.mkdtemp(prefix="doors-"))


def _kept(name: str) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for path in sorted((_SEEDS / name).iterdir())]


DOORS = (
    Door("batch", "batches for the reader", batch, _batch_seeds),
    Door("twin", "desired properties", twin, _kept("twin"), is_json=True),
    Door("method", "payloads of direct methods", method, _kept("method"), is_json=True),
    Door("dbc", "DBC files", dbc_file, _kept("dbc")),
    Door("log", "recordings, in eight forms", log_file, _kept("log")),
)
