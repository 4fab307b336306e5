"""``make bench-quick``: the ratios that a change must not spoil, in a minute, with slack.

Each is how many times what cantools needs to decode the same frames.  Of all rounds the best one
counts, on both sides: what else the machine does makes CPU time longer, never shorter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from bench import decode, wire
from bench.ceiling import from_memory, lengthened
from bench.encode import MOST
from bench.row import Row, at_least, at_most
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.memory import Memory
from bordnetz.batch.message import encode_batch
from bordnetz.batch.writer import settle_heap

SLACK, ENCODE_SLACK = 0.8, 0.65
"""Encoding works outside the caches, where what others do strikes it more than it does cantools."""

FRAMES = 12_000
ROUNDS = 12
LEAST_RATE = 0.8
"""Million frames/s to finished batches, where cantools needs `decode.PEER_US` a frame."""


def rows() -> tuple[list[Row], list[str]]:
    """Ratios; without ../shared there are none."""
    if not decode.SHARED.is_dir():
        return [], ["Nothing to compare: the databases are not here (../shared)"]
    settle_heap()
    whole = decode.vw_trace()
    trace = replace(whole, frames=whole.frames[:FRAMES])
    count = len(lengthened(whole.frames))
    busy = whole.table.decode(whole.frames)
    parts = wire.windows(busy, 1)
    dictionary = Dictionary(busy.groups, bytes(32), bytes(32))
    memory = Memory(dictionary)

    def encode() -> None:
        for part in parts:
            encode_batch(part, dictionary, wire.STAMP, memory=memory)

    best = _best(
        {
            "cantools": decode.peer(trace),
            "600": decode.ours(trace, trace.table, 600),
            "3000": decode.ours(trace, trace.table, 3000),
            "pipeline": from_memory(whole),
            "encode": encode,
        }
    )
    peer = best["cantools"] / FRAMES * 1e6
    frame = {size: best[size] / FRAMES * 1e6 for size in ("600", "3000")}
    sample = best["encode"] / len(busy) * 1e6
    needed = {size: decode.BUDGETS[size] or 0.0 for size in (600, 3000)}
    forty = wire.to_samples(wire.trace(wire.SEED))
    return [
        *(
            at_least(
                f"decode, {size} frames a block: cantools / ours",
                peer / frame[str(size)],
                "times",
                needed[size] * SLACK,
            )
            for size in needed
        ),
        at_least(
            "frames in memory to finished batches: cantools / ours",
            peer / (best["pipeline"] / count * 1e6),
            "times",
            decode.PEER_US * LEAST_RATE * SLACK,
        ),
        at_least(
            "encode, 4,000 short columns: a frame by cantools / a sample of ours",
            peer / sample,
            "times",
            decode.PEER_US / MOST * ENCODE_SLACK,
        ),
        *(
            at_most(
                f"wire {seconds} s",
                wire.measure(forty, seconds, rounds=1)["size"],
                "B/sample",
                wire.BUDGETS[seconds],
            )
            for seconds in (1, 10)
        ),
    ], []


def _best(works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Least CPU seconds of each work, all in turns."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            start = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - start)
    return best
