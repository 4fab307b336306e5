"""Decoding against cantools: process CPU time of one thread, both in turns in one run.

The trace is three buses with three message sets.  Where ../shared is, it is the busy VW MQB
trace (102 ids, 14 signals a frame), for which the budgets are; otherwise the vehicle in dbc/ with
random payloads, whose frames carry fewer signals and so give cantools less to do.

Budgets in microseconds are for a machine where cantools needs `PEER_US` a frame; they scale with
what it needs in the same run.
"""

from __future__ import annotations

import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cantools
import numpy as np
from cantools.database.can import Database

from bench.row import Row, at_most
from bordnetz.batch.writer import settle_heap
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import Frames
from bordnetz.can.table import DecodeTable
from bordnetz.can.vehicle import Vehicle
from bordnetz.series import EXTENDED

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
FRAMES = 30_000
ROUNDS = 9
BUDGETS: dict[int, float | None] = {60: 2.7, 600: 11.0, 3000: 15.0}
"""Frames a block to the least ratio: cantools' CPU time / ours, physical values on both sides."""

LINE = (60, 120, 300, 600, 1200, 3000)
"""Frames a block: through their times goes the line that tells fixed cost and cost of a value."""
FIXED_BUDGET, VALUE_BUDGET, PEER_US = 110.0, 20.0, 4.2
"""Most microseconds a block, and nanoseconds a value, where cantools needs so many us a frame."""

WANTED, WANTED_BLOCK, WANTED_BUDGET = 100, 600, 18.0
"""Signals of one message set, frames a block, least ratio: cantools decodes all of a frame."""


@dataclass(frozen=True)
class Trace:
    """A recording and what decodes it: columns for us, rows of Python objects for cantools."""

    name: str
    frames: Frames
    catalogue: Catalogue
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


def vw_trace(seconds: int = 3, buses: int = 3) -> Trace:
    """The trace of ../shared: one DBC file on three buses, so three sets of keys.

    Args:
        seconds: How long it is.
        buses: 1: all its frames on one bus, so one set of keys.
    """
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
    settings = [
        {"name": f"can{n}", "interface": "unix", "channel": str(n), "dbc": [str(dbc)]}
        for n in range(buses)
    ]
    vehicle = Vehicle.parse({"name": "bench", "bus": settings}, ROOT / "bench.toml")
    catalogue = Catalogue.load(vehicle)
    return Trace(
        f"VW MQB, {buses} bus{'es' if buses > 1 else ''}",
        replace(frames, bus=np.minimum(frames.bus, np.uint8(buses - 1))),
        catalogue,
        DecodeTable.compile(catalogue),
        [cantools.database.load_file(dbc, strict=False)] * buses,
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
    catalogue = Catalogue.load(vehicle)
    table = DecodeTable.compile(catalogue)
    return Trace("demo vehicle, 3 buses", frames, catalogue, table, databases)


def in_turns(works: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """CPU seconds of each work, once a round, so that a busy moment strikes all of them.

    The first round warms up and is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(ROUNDS + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            if turn:
                times[name].append(time.process_time() - start)
    return times


def peer(trace: Trace) -> Callable[[], None]:
    """What cantools does with all frames: physical values, numbers in place of names."""
    rows = trace.rows()

    def work() -> None:
        for database, frame_id, data in rows:
            database.decode_message(frame_id, data, decode_choices=False)

    return work


def ours(trace: Trace, table: DecodeTable, size: int, *, raw: bool = False) -> Callable[[], None]:
    """What we do with all frames, in blocks of so many, to physical or only to raw values."""
    blocks = [trace.frames[at : at + size] for at in range(0, len(trace.frames), size)]

    def work() -> None:
        for block in blocks:
            samples = table.decode(block)
            if not raw:
                table.physical(samples)

    return work


class Times:
    """What was measured on one trace.

    Args:
        trace: All its frames are decoded in each work.
        works: By name; cantools joins them.
    """

    def __init__(self, trace: Trace, works: Mapping[str, Callable[[], object]]) -> None:
        settle_heap()  # as a process that makes batches does
        self._trace = trace
        self._seconds = in_turns({"cantools": peer(trace), **works})
        self.theirs = self.each_frame("cantools")

    def each_frame(self, work: str) -> float:
        """Median, microseconds."""
        return statistics.median(self._seconds[work]) / len(self._trace.frames) * 1e6

    def row(self, name: str, work: str, budget: float | None, **more: Any) -> Row:
        """A row whose ratio, the median over all rounds, has a budget."""
        pairs = zip(self._seconds["cantools"], self._seconds[work], strict=True)
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        name, value = f"{name} ({self._trace.name})", self.each_frame(work)
        row = at_most(name, value, "us/frame", None, self.theirs, versus="cantools", **more)
        return row | {"ratio": ratio, "budget": budget, "ok": budget is None or ratio >= budget}


def measure(trace: Trace, budgets: Mapping[int, float | None]) -> list[Row]:
    """The rows of one trace, all signals."""
    works = {f"physical {size}": ours(trace, trace.table, size) for size in {*LINE, *budgets}}
    works |= {f"raw {size}": ours(trace, trace.table, size, raw=True) for size in budgets}
    times = Times(trace, works)
    rows = [
        times.row(
            f"decode to {what} values, {size} frames a block",
            f"{what} {size}",
            budget if what == "physical" else None,
            block=size,
        )
        for size, budget in budgets.items()
        for what in ("physical", "raw")
    ]
    values = len(trace.table.decode(trace.frames)) / len(trace.frames)
    costs = [times.each_frame(f"physical {size}") * size for size in LINE]
    fixed, each = line([size * values for size in LINE], costs)
    scale = times.theirs / PEER_US if any(budgets.values()) else None
    for name, cost, unit, most in (
        ("decode, fixed cost of a block", fixed, "us", FIXED_BUDGET),
        ("decode, each value", each * 1000, "ns", VALUE_BUDGET),
    ):
        budget = None if scale is None else round(most * scale, 1)
        rows.append(at_most(f"{name} ({trace.name})", cost, unit, budget))
    return rows


def line(sizes: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """Where the line through the costs begins, and how steep it is; each counts by its ratio."""
    weight = 1 / np.array(costs)
    terms = np.stack([weight, np.array(sizes) * weight], axis=1)
    begin, steep = np.linalg.lstsq(terms, np.ones(len(costs)), rcond=None)[0].tolist()
    return begin, steep


def measure_wanted(trace: Trace) -> Row:
    """The row for some of the signals, picked at random from all."""
    names = trace.catalogue.names
    some = np.random.default_rng(1).choice(names, WANTED, replace=False).tolist()
    table = DecodeTable.compile(trace.catalogue, dict.fromkeys(some, 0))
    times = Times(trace, {"wanted": ours(trace, table, WANTED_BLOCK)})
    name = f"decode {WANTED} of {len(names):,} signals, {WANTED_BLOCK} frames a block"
    return times.row(name, "wanted", WANTED_BUDGET)


def rows() -> list[Row]:
    """Ours beside cantools' (``peer``) in microseconds a frame, and their ``ratio``.

    Rows with a ``budget`` hold the ratio to it, or the value where there is no ratio; ``block`` is
    the number of frames a block.
    """
    logging.getLogger("cantools").setLevel(logging.ERROR)
    if not SHARED.is_dir():
        return measure(demo_trace(), dict.fromkeys(BUDGETS))
    three, one = (vw_trace(buses=buses) for buses in (3, 1))
    return [
        *measure(replace(three, frames=three.frames[:FRAMES]), BUDGETS),
        measure_wanted(replace(one, frames=one.frames[:FRAMES])),
    ]


if __name__ == "__main__":
    for row in rows():
        peers = "" if row["peer"] is None else f", cantools {row['peer']:.3f}"
        ratio = "" if row["ratio"] is None else f", ratio {row['ratio']:.1f}"
        budget = "" if row["budget"] is None else f" (budget {row['budget']:.4g})"
        print(f"{row['name']}: {row['value']:.3f} {row['unit']}{peers}{ratio}{budget}")
