"""Decoding against cantools: process CPU time of one thread, both in one run.

The trace is three buses with three message sets.  Where ../shared is, it is the busy VW MQB
trace (102 ids, 14 signals a frame), for which the budgets are; otherwise the vehicle in dbc/ with
random payloads, whose frames carry fewer signals and so give cantools less to do.
"""

from __future__ import annotations

import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cantools
import numpy as np
from cantools.database.can import Database

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import Frames
from bordnetz.can.table import DecodeTable
from bordnetz.can.vehicle import Vehicle
from bordnetz.series import EXTENDED

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
FRAMES = 30_000
ROUNDS = 7
BUDGETS: dict[int, float | None] = {60: 2.7, 600: 9.0, 3000: 12.0}
"""Frames a block to the least ratio: cantools' CPU time / ours, physical values on both sides."""


@dataclass(frozen=True)
class Trace:
    """A recording and what decodes it: columns for us, rows of Python objects for cantools."""

    name: str
    frames: Frames
    table: DecodeTable
    databases: Sequence[Database]

    def rows(self) -> list[tuple[Database, int, bytes]]:
        """Database, id and data of each frame."""
        frames = self.frames
        return [
            (self.databases[bus], frame_id & ~EXTENDED, data[:length].tobytes())
            for bus, frame_id, length, data in zip(
                frames.bus.tolist(),
                frames.id.tolist(),
                frames.length.tolist(),
                frames.data,
                strict=True,
            )
        ]


def vw_trace(seconds: int = 3) -> Trace:
    """The trace of ../shared: one DBC file on three buses, so three sets of keys."""
    dbc = SHARED / "data/dbc/opendbc/vw_mqb.dbc"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, SHARED / "bench/trace_vw_mqb.py", dbc, folder, str(seconds)],
            check=True,
            capture_output=True,
        )
        rows = np.load(Path(folder, "trace.npy"))
    columns = {"time": "ts", "bus": "bus", "id": "key", "length": "len", "data": "data"}
    frames = Frames(
        flags=np.zeros(len(rows), np.uint8),
        **{ours: np.ascontiguousarray(rows[theirs]) for ours, theirs in columns.items()},
    )
    buses = [
        {"name": f"can{n}", "interface": "unix", "channel": str(n), "dbc": [str(dbc)]}
        for n in range(3)
    ]
    vehicle = Vehicle.parse({"name": "bench", "bus": buses}, ROOT / "bench.toml")
    database = cantools.database.load_file(dbc, strict=False)
    return Trace(
        "VW MQB, 3 buses",
        frames,
        DecodeTable.compile(Catalogue.load(vehicle)),
        [database] * 3,
    )


def demo_trace() -> Trace:
    """The vehicle of this project: its classic messages in random order with random payloads."""
    vehicle = Vehicle.load(ROOT / "dbc/vehicle.toml")
    databases, choices = [], []
    for bus, settings in enumerate(vehicle.buses):
        database = Database()
        for file in vehicle.databases(settings):
            database.add_dbc_file(file)
        databases.append(database)
        choices += [
            (bus, message.frame_id | (EXTENDED if message.is_extended_frame else 0), message.length)
            for message in database.messages
            if message.length <= 8 and not message.is_multiplexed()
        ]
    random = np.random.default_rng(1)
    picked = np.array(choices)[random.integers(0, len(choices), FRAMES)]
    data = random.integers(0, 256, (FRAMES, 8), np.uint8)
    data[np.arange(8) >= picked[:, 2:]] = 0
    frames = Frames(
        time=np.arange(FRAMES, dtype=np.int64) * 300_000,
        bus=picked[:, 0].astype(np.uint8),
        id=picked[:, 1].astype(np.uint32),
        flags=np.zeros(FRAMES, np.uint8),
        length=picked[:, 2].astype(np.uint8),
        data=data,
    )
    table = DecodeTable.compile(Catalogue.load(vehicle))
    return Trace("demo vehicle, 3 buses", frames, table, databases)


def cpu(work: Callable[[Any], object], items: Iterable[Any]) -> float:
    """Median CPU time of this process for one pass over the items, seconds."""
    times = []
    items = list(items)
    for _ in range(ROUNDS):
        start = time.process_time()
        for item in items:
            work(item)
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure(trace: Trace, budgets: dict[int, float | None]) -> list[dict[str, Any]]:
    """The rows of one trace."""
    table, count = trace.table, len(trace.frames)

    def raw(block: Frames) -> object:
        return table.decode(block)

    def physical(block: Frames) -> object:
        return table.physical(table.decode(block))

    def peer(rows: list[tuple[Database, int, bytes]]) -> None:
        for database, frame_id, data in rows:
            database.decode_message(frame_id, data, decode_choices=False)

    theirs = cpu(peer, [trace.rows()]) / count
    rows = []
    for size, budget in budgets.items():
        blocks = [trace.frames[at : at + size] for at in range(0, count, size)]
        for what, work in (("physical", physical), ("raw", raw)):
            ours = cpu(work, blocks) / count
            ratio = theirs / ours
            rows.append(
                {
                    "name": f"decode to {what} values, {size} frames a block ({trace.name})",
                    "block": size,
                    "value": ours * 1e6,
                    "unit": "us/frame",
                    "ratio": ratio,
                    "budget": budget if what == "physical" else None,
                    "peer": theirs * 1e6,
                    "ok": budget is None or what == "raw" or ratio >= budget,
                }
            )
    return rows


def rows() -> list[dict[str, Any]]:
    """Ours in microseconds a frame beside cantools' (``peer``), and their ``ratio``.

    Rows with a ``budget`` hold the ratio to it; ``block`` is the number of frames a block.
    """
    logging.getLogger("cantools").setLevel(logging.ERROR)
    if SHARED.is_dir():
        trace = vw_trace()
        return measure(replace(trace, frames=trace.frames[:FRAMES]), BUDGETS)
    return measure(demo_trace(), dict.fromkeys(BUDGETS))


def ratios(rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Frames a block to cantools' CPU time / ours, physical values on both sides."""
    return {str(row["block"]): row["ratio"] for row in rows if "physical" in row["name"]}


if __name__ == "__main__":
    for row in rows():
        budget = "" if row["budget"] is None else f" (at least {row['budget']})"
        print(
            f"{row['name']}: {row['value']:.3f} {row['unit']}, cantools {row['peer']:.3f},"
            f" ratio {row['ratio']:.1f}{budget}"
        )
