"""The most that one core takes: frames from sockets to samples, and from memory to batches."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from bench.decode import SHARED, Trace, demo_trace, vw_trace
from bench.row import Row, at_least
from bench.yardstick import slowness
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.message import Stamp
from bordnetz.can.datagram import Receiver
from bordnetz.can.frames import Block, Frames
from bordnetz.can.mmsg import SO_TIMESTAMPNS
from bordnetz.can.port import Port
from bordnetz.can.sender import FrameSender
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.messages import properties_size
from bordnetz.telemetry.pipeline import Pipeline

SECONDS = 8
ROUNDS = 7
BUSES = 3
LEAST_SAMPLES, LEAST_BATCHES = 0.6, 0.8
"""Million frames/s."""

_BLOCK = 600
"""Frames in a block from memory: 0.1 s of three buses."""

_TURNS = 4

_EACH = 1_000
"""Frames that wait in each socket: what one system call takes."""

_FORCE = 33
_BUFFER = 4 << 20
"""``SO_RCVBUFFORCE`` of asm-generic/socket.h, for who may; the others get what they are allowed."""


def rows() -> list[Row]:
    """Million frames/s of CPU time."""
    trace = vw_trace(SECONDS) if SHARED.is_dir() else demo_trace()
    speed = 1 / slowness(trace)
    budgets = (LEAST_SAMPLES * speed, LEAST_BATCHES * speed) if SHARED.is_dir() else (None, None)
    return [
        at_least(
            f"ceiling, frames that wait in {BUSES} sockets to samples ({trace.name})",
            1 / _median(from_sockets(trace)),
            "M frames/s",
            budgets[0],
        ),
        at_least(
            f"ceiling, frames in memory to finished batches ({trace.name})",
            1 / _median(from_memory(trace)),
            "M frames/s",
            budgets[1],
        ),
    ]


def _median(measure: Callable[[], float]) -> float:
    measure()
    return statistics.median(measure() for _ in range(ROUNDS))


def from_sockets(trace: Trace) -> Callable[[], float]:
    """Microseconds of CPU a frame to receive and decode what waits; sending is not counted."""
    table = trace.table

    def measure() -> float:
        spent, done = 0.0, 0
        ends = [open_end() for _ in range(BUSES)]
        senders = [connected(end) for end in ends]
        receiver = Receiver([Port(bus, "", end, _EACH) for bus, end in enumerate(ends)], BUSES)
        frames = [trace.frames[trace.frames.bus == bus] for bus in range(BUSES)]
        try:
            for at in range(0, min(map(len, frames)) - _EACH, _EACH):
                for sender, mine in zip(senders, frames, strict=True):
                    sender.send(mine[at : at + _EACH])
                start = time.process_time()
                receiver.fill()
                block = receiver.take()
                table.decode(block.classic)
                spent += time.process_time() - start
                done += len(block.classic)
        finally:
            for end in ends:
                end.close()
            for sender in senders:
                sender.close()
        return spent / done * 1e6

    return measure


def open_end() -> socket.socket:
    """A socket whose datagrams are the frames of a bus."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    with suppress(PermissionError):
        end.setsockopt(socket.SOL_SOCKET, _FORCE, _BUFFER)
    end.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    end.bind(("127.0.0.1", 0))
    return end


def connected(end: socket.socket) -> FrameSender:
    """Who sends to it."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(end.getsockname())
    return FrameSender(sender, "udp")


def from_memory(trace: Trace) -> Callable[[], float]:
    """Microseconds of CPU a frame through the pipeline, all batches encoded and closed."""
    table = trace.table
    dictionary = Dictionary(table.groups, bytes(32), bytes(32))
    frames = lengthened(trace.frames)
    blocks = [
        Block.of(BUSES, frames[at : at + _BLOCK], Frames.empty(64))
        for at in range(0, len(frames), _BLOCK)
    ]
    desired = Desired()

    def measure() -> float:
        pipeline = Pipeline(
            table,
            dictionary,
            desired,
            Books(table.buses),
            Stamp(boot=1),
            properties_size(desired.priority),
        )
        samples = 0
        start = time.process_time()
        for number, block in enumerate(blocks):
            drafts = pipeline.take(block, number * 0.1)
            samples += sum(draft.samples for draft in drafts)
        samples += sum(draft.samples for draft in pipeline.flush(len(blocks) * 0.1))
        spent = time.process_time() - start
        if samples != pipeline.samples:
            raise AssertionError(f"{pipeline.samples} samples became {samples}")
        return spent / len(frames) * 1e6

    return measure


def lengthened(frames: Frames) -> Frames:
    """The same several times, one after the other: so much that a writer has got used to it."""
    length = int(np.ptp(frames.time)) + 1_000_000
    return Frames.concat(
        [replace(frames, time=frames.time + turn * length) for turn in range(_TURNS)]
    )
