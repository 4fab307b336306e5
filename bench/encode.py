"""Encoding batches: CPU time a sample and a batch, columns, zstandard and protobuf included."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from bench.decode import vw_trace
from bench.row import Row, at_most
from bench.wire import SEED, SHARED, STAMP, to_samples, trace, truck, windows
from bench.yardstick import slowness
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.memory import Memory
from bordnetz.batch.message import encode_batch
from bordnetz.batch.writer import settle_heap
from bordnetz.series import Samples

ROUNDS = 9
MOST_SECOND, MOST_TEN, MOST, MOST_FIXED = 0.20, 0.045, 0.03, 150.0
"""Microseconds a sample of 40 signals in batches of 1 s, of 10 s, of others, and a batch of one.

The aims of the first two are 0.10 and 0.03; short batches miss them (docs/performance.md).
"""

_BUSY_SECONDS = 10
_FEW = 200
"""Batches of few samples."""


def rows() -> tuple[list[Row], list[str]]:
    """Microseconds a sample, and a batch."""
    if not SHARED.is_dir():
        return [], ["Encoding is left out: its recordings are not here (../shared)"]
    busy = vw_trace(_BUSY_SECONDS)
    slow = slowness(busy)
    forty = to_samples(trace(SEED))
    many = busy.table.decode(busy.frames)
    settle_heap()
    found = []
    for name, samples, seconds, budget in (
        ("40 signals, 1 s (aim 0.10)", forty, 1, MOST_SECOND),
        ("40 signals, 10 s (aim 0.03)", forty, 10, MOST_TEN),
        ("40 signals, 60 s", forty, 60, MOST),
        ("4,000 short columns, 1 s", many, 1, MOST),
        ("4,000 columns, 10 s in two batches", many, 10, MOST),
    ):
        parts = windows(samples, seconds)
        cost = each_batch(samples, parts) / (sum(map(len, parts)) / len(parts))
        found.append(at_most(f"encode, {name}", cost, "us/sample", budget * slow))
    one = windows(to_samples([trace(SEED)[0]]), 0.001)[:1]
    name = "encode, fixed part: a batch of one sample"
    found.append(at_most(name, each_batch(one[0], one * _FEW), "us/batch", MOST_FIXED * slow))
    few = truck()
    parts = windows(few, 1)[:_FEW]
    name = f"encode, a batch of {sum(map(len, parts)) / len(parts):.0f} samples"
    return [*found, at_most(name, each_batch(few, parts), "us/batch")], []


def each_batch(whole: Samples, parts: Sequence[Samples]) -> float:
    """Microseconds of CPU to encode a batch after others, as a writer does, median of `ROUNDS`."""
    dictionary = Dictionary(whole.groups, bytes(32), bytes(32))
    memory = Memory(dictionary)
    costs = []
    for turn in range(ROUNDS + 1):
        start = time.process_time()
        for part in parts:
            encode_batch(part, dictionary, STAMP, memory=memory).finish(1, 10_000)
        if turn:
            costs.append(time.process_time() - start)
    return statistics.median(costs) / len(parts) * 1e6
