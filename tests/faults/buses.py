"""What befalls buses, on a kernel that has them: three vcan interfaces and telemetry behind them.

The row runs this module under ``tests/with-vcan``; each try does one thing to the buses while
frames come, waits until the kernel has handed over all there is, and balances the books.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bordnetz.batch.reader import Reader
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.errors import BusError
from bordnetz.can.frames import CLASSIC_BYTES, ERROR, Frames
from bordnetz.can.sender import FrameSender
from bordnetz.can.sources.live import LiveSource
from bordnetz.can.vehicle import Vehicle
from bordnetz.telemetry.backlog import Backlog
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.buses import Buses
from bordnetz.telemetry.collection import Collection
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.losses import Losses
from bordnetz.telemetry.plan import Planner

from .balance import unbalanced
from .record import Places
from .shares import Found

NAMES = ("vcan0", "vcan1", "vcan2")
ID = 0x100
DBC = """VERSION ""
BS_:
BU_: X
BO_ 256 {name}: 8 X
 SG_ Number : 0|32@1+ (1,0) [0|0] "" X
 SG_ Other : 32|{bits}@1+ (1,0) [0|0] "" X
"""
PATIENCE = 60.0
_FORCE, _LEAST, _MOST = 33, 1, 8 << 20
"""``SO_RCVBUFFORCE`` of asm-generic/socket.h, and bytes that frames are queued in."""
_ROOT = Path(__file__).parents[2]
_BUS_OFF, _RESTARTED, _CONTROLLER, _PROTOCOL = 0x40, 0x100, 0x04, 0x08
"""Classes of error frames, ``CAN_ERR_*`` of linux/can/error.h."""


def bus_faults(counts: dict[str, int]) -> Callable[[Places, bool, Callable[[int], None]], Found]:
    """All kinds, on a kernel of its own; ``counts``: how often each is tried."""

    def work(places: Places, short: bool, _progress: Callable[[int], None]) -> Found:
        wanted = {name: 1 if short else count for name, count in counts.items()}
        out = places.memory / "buses"
        out.mkdir()
        command = [
            _ROOT / "tests/with-vcan",
            "--timeout",
            "900",
            "--out",
            out,
            "--",
            sys.executable,
        ]
        inner = ["-m", "faults.buses", out / "found.json", json.dumps(wanted)]
        run = subprocess.run(
            [*command, *inner],
            cwd=_ROOT / "tests",
            env={**os.environ, "PYTHONPATH": str(_ROOT / "tests")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if run.returncode or not (out / "found.json").exists():
            raise RuntimeError(f"exit code {run.returncode}: {run.stdout[-2000:]}")
        return Found(**json.loads((out / "found.json").read_text()))

    return work


class _Shelf:
    """Takes all batches, and reads them as the cloud does."""

    room = 1 << 30

    def __init__(self) -> None:
        self.reader = Reader()
        self.samples = 0
        self.gaps: list[tuple[str, bool]] = []
        self._sequence = 0

    async def put(self, make: Callable[[int, int], Any], *_: Any, **__: Any) -> int:
        self._sequence += 1
        for batch in self.reader.read(make(1, self._sequence).body):
            self.samples += len(batch.samples)
            self.gaps += [(gap.bus, gap.end is not None) for gap in batch.gaps]
        return self._sequence


class Bench:
    """Telemetry from the sockets to the batches, and what was sent to it."""

    def __init__(self, folder: Path) -> None:
        self.vehicles = [self._vehicle(folder, version) for version in (0, 1)]
        self.planners = [
            Planner(Catalogue.load(vehicle), vehicle.digest) for vehicle in self.vehicles
        ]
        self.source = LiveSource(self.vehicles[0])
        self.shelf = _Shelf()
        self.backlog = Backlog(self.shelf, waits=False, lost=Losses().refused)
        self.books = Books(NAMES)
        self.buses = Buses(NAMES, self.source.listening)
        # All frames are wanted: what the kernel filters out would be in no book.
        self.collection = Collection(self.planners[0], self.books, self.backlog, recorded=False)
        self.version = 0
        self.number = 0
        self.before = {name: _sent(name) for name in NAMES}

    @staticmethod
    def _vehicle(folder: Path, version: int) -> Vehicle:
        own = folder / str(version)
        own.mkdir()
        (own / "bus.dbc").write_text(DBC.format(name=f"Message{version}", bits=(16, 32)[version]))
        buses = [
            {"name": name, "interface": "socketcan", "channel": name, "dbc": ["bus.dbc"]}
            for name in NAMES
        ]
        return Vehicle.parse({"name": "bench", "bus": buses}, own / "vehicle.toml")

    async def swap(self) -> None:
        """Use the other vehicle's DBC files from here on."""
        self.version += 1
        desired = Desired.model_validate({"collect": [{"match": "*"}], "batchWindow": 0.5})
        await self.collection.apply(desired, self.version, self.planners[self.version % 2])

    async def capture(self) -> None:
        """As the module does."""
        async for block in self.source:
            self.buses.take(block)
            await self.collection.take(block)

    def send(self, name: str, count: int) -> None:
        """Frames with ascending numbers."""
        data = np.zeros((count, CLASSIC_BYTES), np.uint8)
        numbers = np.arange(self.number, self.number + count, dtype=np.uint32)
        data[:, :4] = numbers.view(np.uint8).reshape(-1, 4)
        self.number += count
        with FrameSender.to_can(name) as sender:
            sender.send(
                Frames(
                    time=np.zeros(count, np.int64),
                    bus=np.zeros(count, np.uint8),
                    id=np.full(count, ID, np.uint32),
                    flags=np.zeros(count, np.uint8),
                    length=np.full(count, 8, np.uint8),
                    data=data,
                )
            )

    async def settle(self) -> list[str]:
        """Wait until all that went onto the buses is in the books, and balance them."""
        sent = {name: _sent(name) - self.before[name] for name in NAMES}

        def arrived() -> bool:
            pages = self.books.by_bus()
            return all(pages[name]["received"] >= sent[name] for name in NAMES)

        try:
            async with asyncio.timeout(PATIENCE):
                while not arrived():
                    await asyncio.sleep(0.02)
                    self.collection.flush()
                self.collection.flush()
                await self.backlog.stored_all()
        except TimeoutError:
            pass  # The books tell what is missing.
        samples = {
            "decoded": self.collection.decoded,
            "stored": self.backlog.stored,
            "held": self.collection.pipeline.held + self.backlog.samples,
            "dropped": dict(self.backlog.dropped),
        }
        wrong = unbalanced(self.books.by_bus(), samples, sent)
        if self.shelf.samples != self.backlog.stored:
            wrong.append(f"{self.backlog.stored} samples stored, {self.shelf.samples} read")
        return wrong


def kernel() -> str:
    """The kernel that it runs on, or what to do to have one."""
    given = os.environ.get("WITH_VCAN_UML")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "with-vcan")
    built = sorted(map(str, cache.glob("linux-uml-*")))
    return given or (built[0] if built else "kernel with vcan (tests/with-vcan --prepare)")


def _sent(name: str) -> int:
    return int(Path("/sys/class/net", name, "statistics", "tx_packets").read_text())


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


async def down_and_up(bench: Bench, draw: random.Random) -> list[str]:
    """An interface goes down while frames come, and comes back; the others go on."""
    name, others = NAMES[draw.randrange(3)], draw.sample(NAMES, 2)
    told = len(bench.shelf.gaps)
    bench.send(name, draw.randint(1, 200))
    _ip("link", "set", name, "down")
    await asyncio.sleep(draw.random() / 4)
    wrong = []
    try:
        bench.send(name, 1)
        wrong.append("an interface that is down took a frame")
    except BusError:
        pass
    for other in others:
        if other != name:
            bench.send(other, draw.randint(1, 100))
    if not await _until(lambda: not bench.buses.reported()[name]["listening"]):
        wrong.append("nobody has noticed that the interface is down")
    _ip("link", "set", name, "up")
    bench.send(name, draw.randint(1, 200))
    if not await _until(lambda: bench.buses.reported()[name]["listening"]):
        wrong.append("nobody has noticed that the interface is up again")
    wrong += await bench.settle()
    gaps = [over for bus, over in bench.shelf.gaps[told:] if bus == name]
    if not gaps or not gaps[-1]:
        wrong.append(f"the batches tell of gaps {gaps}, expected one that is over")
    return wrong


async def flood(bench: Bench, draw: random.Random) -> list[str]:
    """As many frames as there are on all buses, with room for them, or with next to none."""
    tight = draw.random() < 0.5
    for port in bench.source._ports:
        if port is not None:
            port.socket.setsockopt(socket.SOL_SOCKET, _FORCE, _LEAST if tight else _MOST)
    options = ("-g", "0", "-i", "-I", f"{ID:X}", "-L", "8", "-D", "i")
    running = [await asyncio.create_subprocess_exec("cangen", one, *options) for one in NAMES]
    await asyncio.sleep(1 + draw.random())
    for one in running:
        one.terminate()
    for one in running:
        await one.wait()
    wrong = await bench.settle()
    for port in bench.source._ports:
        if port is not None:
            port.socket.setsockopt(socket.SOL_SOCKET, _FORCE, _MOST)
    return wrong


async def bus_off(bench: Bench, draw: random.Random) -> list[str]:
    """A controller counts errors up to bus-off, is restarted, and is well again."""
    name = NAMES[draw.randrange(3)]
    wrong = []
    with _errors(name) as tell:
        for detail, state in ((0x08, "warning"), (0x20, "passive"), (None, "busOff")):
            tell(_BUS_OFF if detail is None else _CONTROLLER, detail or 0)
            if not await _until(lambda state=state: _state(bench, name) == state):
                wrong.append(f"in state {_state(bench, name)}, expected {state}")
        tell(_RESTARTED, 0)
        bench.send(name, draw.randint(1, 50))
        tell(_CONTROLLER, 0x40)
        if not await _until(lambda: _state(bench, name) == "active"):
            wrong.append(f"in state {_state(bench, name)}, expected active")
    return wrong + await bench.settle()


async def wrong_bitrate(bench: Bench, draw: random.Random) -> list[str]:
    """Nothing but errors, thousands of them, on one bus; the others do not notice."""
    name, count = NAMES[draw.randrange(3)], draw.randint(1_000, 5_000)
    before = bench.books.by_bus()[name]["notData"]
    with _errors(name) as tell:
        for _ in range(count):
            tell(_PROTOCOL, draw.choice((0, 0x01, 0x08, 0x20)))
    for other in NAMES:
        bench.send(other, 50)
    wrong = await bench.settle()
    counted = bench.books.by_bus()[name]["notData"] - before
    return wrong if counted >= count else [*wrong, f"{counted} of {count} errors counted"]


async def dbc_swapped(bench: Bench, draw: random.Random) -> list[str]:
    """Other DBC files, again and again, while frames come."""
    done = asyncio.Event()

    def load() -> None:
        while not done.is_set():
            for name in NAMES:
                bench.send(name, draw.randint(1, 40))

    decoded = sum(page["decoded"] for page in bench.books.by_bus().values())
    number = bench.number
    loading = asyncio.create_task(asyncio.to_thread(load))
    for _ in range(3):
        await bench.swap()
        await asyncio.sleep(draw.random() / 10)
    done.set()
    await loading
    wrong = await bench.settle()
    now = sum(page["decoded"] for page in bench.books.by_bus().values())
    if now - decoded != bench.number - number:
        wrong.append(f"{bench.number - number} frames sent, {now - decoded} decoded")
    return wrong


KINDS: dict[str, Callable[[Bench, random.Random], Awaitable[list[str]]]] = {
    "down-up": down_and_up,
    "flood": flood,
    "bus-off": bus_off,
    "wrong-bitrate": wrong_bitrate,
    "dbc-swap": dbc_swapped,
}


def _state(bench: Bench, name: str) -> str:
    return str(bench.buses.reported()[name]["state"])


@contextmanager
def _errors(name: str) -> Iterator[Callable[[int, int], None]]:
    """Tells of errors as a driver does: class of the error, and its detail in byte 1 or 2."""
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as raw:
        raw.bind((name,))

        def tell(kind: int, detail: int) -> None:
            place = 2 if kind == _PROTOCOL else 1
            data = bytes(place) + bytes([detail]) + bytes(7 - place)
            raw.send(struct.pack("=IB3x8s", ERROR | kind, 8, data))

        yield tell


async def _until(done: Callable[[], bool]) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                if done():
                    return True
                await asyncio.sleep(0.02)
    return False


async def _main(folder: Path, counts: dict[str, int]) -> Found:
    found = Found()
    bench = Bench(folder)
    async with bench.source:
        tasks = [
            asyncio.create_task(one)
            for one in (bench.capture(), bench.backlog.run(), bench.collection.advance(0))
        ]
        await bench.swap()
        for kind, count in counts.items():
            for number in range(count):
                name = f"{kind} {number}"
                wrong = await KINDS[kind](bench, random.Random(name))
                found.add(name, wrong + [str(task) for task in tasks if task.done()])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    totals = bench.books.totals()
    dropped = {reason: n for reason, n in totals["dropped"].items() if n}
    found.figures.append(
        f"{totals['received']} frames: {totals['decoded']} decoded, {totals['notAsked']} not asked "
        f"for, {totals['notData']} errors, dropped {dropped or 'none'}; {bench.shelf.samples} "
        f"samples and {len(bench.shelf.gaps)} words of gaps read from the batches"
    )
    return found


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.write_text(json.dumps(asdict(asyncio.run(_main(out.parent, json.loads(sys.argv[2]))))))
