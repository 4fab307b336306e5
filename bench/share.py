"""Share of a core to receive and decode a steady load, beside python-can with cantools in asyncio.

Both run at once, each with sockets and a sender of its own, so that a busy moment strikes both.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import load, peers
from bench.load import BUSES, RATE
from bench.process import patiently
from bench.row import Row, at_most, times_less
from bench.yardstick import slowness
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import Frames
from bordnetz.can.sources.live import open_source
from bordnetz.can.table import DecodeTable
from bordnetz.can.vehicle import Vehicle

WINDOWS, WINDOW, WARM = 5, 5.0, 3.0
MOST_SHARE, LEAST_RATIO = 2.5, 5.0
"""Per cent of a core; times that the peer needs."""

_AT_ONCE = RATE * BUSES // 10
"""Frames that are decoded at once: those of 0.1 s."""


def rows() -> tuple[list[Row], list[str]]:
    """Per cent of a core."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        try:
            load.inside("bench.share", answer.name)
        except (OSError, subprocess.CalledProcessError) as error:
            return [], [f"The share of a core is left out: {error}"]
        found = json.loads(Path(answer.name).read_text())
    what = f"{BUSES} x {RATE:,} frames/s, all signals, receive and decode"
    ours, theirs = found["ours"], found.get("theirs")
    table = [at_most(what, statistics.median(ours), "% of a core", MOST_SHARE * slowness())]
    if theirs is None:
        return table, [f"python-can and cantools in asyncio: {peers.missing()}"]
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    beside = times_less(
        f"{what}, beside python-can and cantools in asyncio",
        statistics.median(ours),
        "% of a core",
        LEAST_RATIO,
        statistics.median(theirs),
        "python-can, cantools",
    )
    return [*table, beside | {"ratio": ratio, "ok": ratio >= LEAST_RATIO}], []


class Side:
    """A receiver with its sender."""

    def __init__(self, command: list[str], folder: Path, seconds: float) -> None:
        # The peer's packages must not be shadowed by ours.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment if command[0] == peers.python() else None,
        )
        self._line()
        self.sender = load.start(folder, seconds)

    def _line(self) -> str:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"{self._process.args} has ended")
        return line

    def ask(self) -> tuple[float, int]:
        """CPU seconds since the last time, and frames so far."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        spent, frames = self._line().split()
        return float(spent), int(frames)

    def close(self) -> None:
        """End both."""
        self.sender.kill()
        self.sender.wait()
        self._process.communicate()


def measure() -> dict[str, list[float]]:
    """Shares of the windows, per cent."""
    seconds = WARM + WINDOWS * WINDOW + 30
    with ExitStack() as stack:
        sides = {}
        for name in ("ours", "theirs"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            file = load.vehicle(folder)
            if name == "ours":
                command = [sys.executable, "-m", "bench.share", "--receive", str(file)]
            elif peers.missing() is None:
                program = str(Path(__file__).with_name("peer_receive.py"))
                command = [peers.python(), program, str(folder), *[str(peers.DBC)] * BUSES]
            else:
                continue
            sides[name] = Side(command, folder, seconds)
            stack.callback(sides[name].close)
        for side in sides.values():
            patiently(lambda side=side: side.ask()[1])
        time.sleep(WARM)
        shares: dict[str, list[float]] = {name: [] for name in sides}
        before: dict[str, int] = {}
        for turn in range(WINDOWS + 1):
            for name, side in sides.items():
                spent, frames = side.ask()
                if turn:
                    # By the frame, for a busy machine may have kept some waiting.
                    each = spent / (frames - before[name])
                    shares[name].append(100 * each * RATE * BUSES)
                before[name] = frames
            if turn < WINDOWS:
                time.sleep(WINDOW)
        return shares


async def receive(file: Path) -> None:
    """Our side: receive and decode, and answer each line on standard input as the peer does."""
    vehicle = Vehicle.load(file)
    table = DecodeTable.compile(Catalogue.load(vehicle))
    loop = asyncio.get_running_loop()
    decoded = 0

    async def work() -> None:
        nonlocal decoded
        async with open_source(vehicle) as source:
            print("ready", flush=True)
            parts, count = [], 0
            async for block in source:
                parts.append(block.classic)
                count += len(block.classic)
                if count >= _AT_ONCE:
                    table.decode(Frames.concat(parts))
                    decoded += count
                    parts, count = [], 0

    task = asyncio.create_task(work())
    before = time.process_time()
    while await loop.run_in_executor(None, sys.stdin.readline):
        now = time.process_time()
        print(now - before, decoded, flush=True)
        before = now
    task.cancel()


def main(arguments: list[str]) -> None:
    """In the name space: measure; or be our side."""
    if arguments[0] == "--receive":
        asyncio.run(receive(Path(arguments[1])))
        return
    load.furnish()
    Path(arguments[0]).write_text(json.dumps(measure()))


if __name__ == "__main__":
    main(sys.argv[1:])
