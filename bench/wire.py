"""Bytes a sample on the wire, and the CPU time to write and read them.

Ours are whole messages with the dictionary counted once; the peer is its row layout, rebuilt from
``../shared/bench/peer_row_payload.proto`` at run time: signal by signal, newest sample first,
every value a double, compressed by snappy.  Both carry the same 60 s trace of 40 signals with times
in ms.  A recording of a truck stands beside it, since few and slow signals cost more each.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import snappy
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from bench.decode import vw_trace
from bordnetz.batch import columns as columns_codec
from bordnetz.batch.blocks import cut, merge
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.memory import Memory
from bordnetz.batch.message import MAX_VALUES, Clock, Stamp, encode_batch, encode_dictionary
from bordnetz.batch.reader import decode_batch
from bordnetz.batch.writer import settle_heap
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.sources.log import AT_ONCE, LogSource
from bordnetz.can.table import DecodeTable
from bordnetz.can.vehicle import Vehicle
from bordnetz.series import Group, Samples, Signal

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
SEED, OTHER_SEEDS = 20240601, (1, 2, 3)
BUDGETS = {1: 0.72, 10: 0.52, 60: 0.50}
"""Seconds a batch to the most bytes a sample, on every seed."""

BUSY_SECONDS = (1, 10)
"""Of the three busy buses with 4,000 columns, without a budget; 10 s of them take two messages."""

FIXED_BUDGET = 64
AHEAD = 1_700_000_000_000_000_000 - 30 * 86_400_000_000_000
"""ns that the wall clock is ahead of the boot clock: the car was started 30 days ago."""
STAMP = Stamp(boot=0xB007_B007_B007_B007, clock=Clock.SYNCHRONISED, ahead=AHEAD)
OUTBOX = 0x0123_4567_89AB_CDEF
_PEER_SAMPLES = 128 * 1024 * 2 // 20
"""The peer packs until 20 bytes a sample pass twice its limit of 128 KiB."""


def trace(seed: int) -> list[dict[str, Any]]:
    """The 40 signals of the shared trace: name, factor, offset, frame, times in ms, raw values."""
    spec = importlib.util.spec_from_file_location("trace", SHARED / "bench/trace_40_signals.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError("../shared/bench/trace_40_signals.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    columns: list[dict[str, Any]] = module.generate(seed=seed)[0]
    return columns


def to_samples(columns: list[dict[str, Any]]) -> Samples:
    """One group a frame, as the decoder would have it."""
    frames = [
        [column for column in columns if column["fid"] == frame]
        for frame in sorted({column["fid"] for column in columns})
    ]
    groups = tuple(
        Group(
            "can0",
            f"Frame_{index:02}",
            0x100 + index,
            signals=tuple(
                Signal(column["name"], factor=column["f"], offset=column["off"]) for column in frame
            ),
        )
        for index, frame in enumerate(frames)
    )
    time_ms = np.concatenate([frame[0]["t"] for frame in frames])
    order = np.empty(len(time_ms), np.int64)
    order[np.argsort(time_ms, kind="stable")] = np.arange(len(time_ms))
    return Samples(
        groups,
        np.arange(len(frames), dtype=np.int32),
        np.array([group.id for group in groups], np.uint32),
        np.array([len(frame) for frame in frames], np.int32),
        np.array([len(frame[0]["t"]) for frame in frames]),
        time_ms.astype(np.int64) * 1_000_000 - AHEAD,
        order,
        np.concatenate([column["raw"] for frame in frames for column in frame]).astype(np.int64),
    )


def windows(whole: Samples, seconds: float) -> list[Samples]:
    """The samples in windows of so many seconds, in parts if they are more than a batch takes."""
    window = (whole.time - whole.time.min()) // int(seconds * 1e9)
    starts = np.cumsum(whole.count) - whole.count
    value_starts = np.cumsum(whole.count * whole.width) - whole.count * whole.width
    parts = []
    for index in np.unique(window).tolist():
        rows = window == index
        count = np.add.reduceat(rows.astype(np.int64), starts)
        values = [
            whole.values[at : at + n * w].reshape(w, n)[:, rows[row : row + n]].ravel()
            for at, row, n, w in zip(value_starts, starts, whole.count, whole.width, strict=True)
        ]
        part = Samples(
            whole.groups,
            whole.group,
            whole.id,
            whole.width,
            count,
            whole.time[rows],
            whole.order[rows],
            np.concatenate(values),
        )
        part = merge([part])
        for messages in range(-(-(len(part.order) + len(part)) // MAX_VALUES), 0, -1):
            head, part = cut(part, len(part.order) // messages)
            parts.append(head)
    return parts


def measure(whole: Samples, seconds: float, rounds: int = 3) -> dict[str, float]:
    """Bytes a sample with the dictionary, CPU microseconds a sample to encode and decode."""
    dictionary = Dictionary(whole.groups, bytes(32), bytes(32))
    parts = windows(whole, seconds)
    encode, decode = [], []
    settle_heap()
    for _ in range(rounds):
        memory = Memory(dictionary)
        begin = time.process_time()
        messages = [
            encode_batch(part, dictionary, STAMP, memory=memory).finish(OUTBOX, 10_000 + index)
            for index, part in enumerate(parts)
        ]
        middle = time.process_time()
        batches = [decode_batch(message, dictionary) for message in messages]
        encode.append(middle - begin)
        decode.append(time.process_time() - middle)
    for part, batch in zip(parts, batches, strict=True):
        if not np.array_equal(part.values, batch.samples.values):
            raise AssertionError("a batch came back changed")
    size = sum(map(len, messages))
    size += len(encode_dictionary(dictionary, STAMP.boot).finish(OUTBOX, 9_999))
    return {
        "size": size / len(whole),
        "encode": statistics.median(encode) / len(whole) * 1e6,
        "decode": statistics.median(decode) / len(whole) * 1e6,
    }


def fixed_part() -> int:
    """Bytes of a batch of one sample without its columns."""
    columns = trace(SEED)
    one = windows(to_samples([columns[0]]), 0.001)[0]
    dictionary = Dictionary(one.groups, bytes(32), bytes(32))
    message = encode_batch(one, dictionary, STAMP).finish(OUTBOX, 10_000)
    # Its time is the batch's first, so the time column holds a zero.
    sample = columns_codec.encode(np.append(np.zeros(1, np.int64), one.values), np.array([1, 1]))[0]
    return len(message) - len(sample)


def peer_size(columns: list[dict[str, Any]], seconds: float) -> float:
    """Bytes a sample of the peer's row layout and snappy."""
    payload = _peer_payload()
    begin = min(int(column["t"][0]) for column in columns)
    end = max(int(column["t"][-1]) for column in columns) + 1
    size = samples = events = 0
    step = int(seconds * 1000)
    for low in range(begin, end, step):
        now = low + step
        message = None
        for column in columns:
            first, behind = np.searchsorted(column["t"], [low, now])
            physical = column["raw"][first:behind] * column["f"] + column["off"]
            for at in range(len(physical) - 1, -1, -1):
                if message is None:
                    message = payload(
                        campaign="arn:campaign/demo-all",
                        decoder="arn:decoder-manifest/demo",
                        event_id=events,
                        event_time_ms=now,
                    )
                    events += 1
                message.samples.add(
                    dt_ms=int(column["t"][first + at]) - now,
                    signal_id=column["sid"],
                    d=float(physical[at]),
                )
                samples += 1
                if len(message.samples) >= _PEER_SAMPLES:
                    size += len(snappy.compress(message.SerializeToString()))
                    message = None
        if message is not None:
            size += len(snappy.compress(message.SerializeToString()))
    return size / samples


def _peer_payload() -> Any:
    folder = SHARED / "bench"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "peer.desc")
        arguments = ["", f"-I{folder}", f"--descriptor_set_out={out}", "peer_row_payload.proto"]
        if protoc.main(arguments):
            raise RuntimeError("protoc does not take the peer's proto")
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("anchorwire.Payload"))


def truck() -> Samples:
    """Two engine signals of a truck's recording of 400 s, ten times a second each."""
    data = SHARED / "data"
    dbc = data / "dbc/css/CSS-Electronics-SAE-J1939-DEMO.dbc"
    bus = {"name": "truck", "interface": "socketcan", "channel": "can0", "dbc": [str(dbc)]}
    log = data / "logs/truck-j1939-400s.log.gz"
    vehicle = Vehicle.parse({"name": "truck", "bus": [bus]}, ROOT / "bench.toml")
    table = DecodeTable.compile(Catalogue.load(vehicle))

    async def read() -> list[Samples]:
        async with LogSource(log, vehicle, AT_ONCE) as source:
            return [table.decode(block.classic) async for block in source]

    blocks = [block for block in asyncio.run(read()) if len(block)]
    return merge(blocks)


def rows() -> list[dict[str, Any]]:
    """Ours in bytes a sample beside the peer's, then CPU time; without ../shared there are none."""
    if not SHARED.is_dir():
        return []
    table = []
    columns = trace(SEED)
    whole = to_samples(columns)
    others = [to_samples(trace(seed)) for seed in OTHER_SEEDS]
    for seconds, budget in BUDGETS.items():
        ours = measure(whole, seconds)
        worst = max(measure(other, seconds, rounds=1)["size"] for other in others)
        peer = peer_size(columns, seconds)
        name = f"wire {seconds} s"
        table += [
            _row(name, ours["size"], "B/sample", budget, peer, seconds=seconds),
            _row(f"{name}, worst of seeds {OTHER_SEEDS}", worst, "B/sample", budget),
            _row(f"{name}, encode", ours["encode"], "us/sample"),
            _row(f"{name}, decode", ours["decode"], "us/sample"),
        ]
    table.append(_row("wire, fixed part of a batch", fixed_part(), "B", FIXED_BUDGET))
    trace_of_vw = vw_trace(max(BUSY_SECONDS))
    busy = trace_of_vw.table.decode(trace_of_vw.frames)
    for seconds in BUSY_SECONDS:
        ours = measure(busy, seconds)
        name = f"wire {seconds} s, VW MQB on 3 buses"
        table += [
            _row(name, ours["size"], "B/sample"),
            _row(f"{name}, encode", ours["encode"], "us/sample"),
            _row(f"{name}, decode", ours["decode"], "us/sample"),
        ]
    recording = truck()
    for seconds in BUDGETS:
        ours = measure(recording, seconds, rounds=1)
        table.append(_row(f"wire {seconds} s, truck recording", ours["size"], "B/sample"))
    return table


def _row(
    name: str,
    value: float,
    unit: str,
    budget: float | None = None,
    peer: float | None = None,
    **more: Any,
) -> dict[str, Any]:
    ok = budget is None or value <= budget
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "budget": budget,
        "peer": peer,
        "ok": ok,
    } | more


def wire(table: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Period to our bytes a sample."""
    return {f"{row['seconds']}s": row["value"] for row in table if "seconds" in row}


def wire_peer(table: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Period to the peer's bytes a sample."""
    return {f"{row['seconds']}s": row["peer"] for row in table if "seconds" in row}


if __name__ == "__main__":
    lines = rows()
    for row in lines:
        budget = "" if row["budget"] is None else f" (at most {row['budget']})"
        peer = "" if row["peer"] is None else f", peer {row['peer']:.2f}"
        print(f"{row['name']}: {row['value']:.3f} {row['unit']}{budget}{peer}")
    if not lines:
        print("wire: left out, ../shared is not here")
