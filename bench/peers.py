"""Decoders of other projects beside ours: each in a process, from their published packages.

All decode the frames of one bus, in turns, round by round; ours in blocks of 600 frames to physical
values.  `make bench` prepares their environment, for they need packages that bordnetz has no use
for.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bench.decode import ROOT, SHARED, ours, vw_trace
from bench.row import Row, times_less

ENVIRONMENT = ROOT / "build" / "peers"
FRAMES, BLOCK, ROUNDS = 20_000, 600, 5
DBC = SHARED / "data/dbc/opendbc/vw_mqb.dbc"
WHAT = {
    "cantools": "decode_message, without names",
    "canmatrix": "Frame.decode",
    "can_decoder": "DataFrameDecoder, all at once",
    "asammdf": "extract_bus_logging, all at once",
}


class Peer:
    """A peer's process; decodes the trace as often as it is asked."""

    def __init__(self, name: str, trace: Path) -> None:
        program = ROOT / "bench" / "peer_decode.py"
        self._process = subprocess.Popen(
            [python(), str(program), name, str(trace), str(DBC)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        self.version = self._answer()

    def once(self) -> float:
        """CPU seconds of one pass."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} has ended")
        return line.strip()

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def python() -> str:
    """The interpreter of the peers' environment."""
    return str(ENVIRONMENT / "bin" / "python")


def missing() -> str | None:
    """Why there are no peers here, or None."""
    if not SHARED.is_dir():
        return "Other decoders are left out: their database is not here (../shared)"
    if not Path(python()).exists():
        return f"Other decoders are left out: {ENVIRONMENT} is not made (make bench makes it)"
    return None


def rows() -> tuple[list[Row], list[str]]:
    """Microseconds a frame, beside each peer's."""
    if (why := missing()) is not None:
        return [], [why]
    trace = vw_trace(8, buses=1)
    frames = trace.frames[:FRAMES]
    work = ours(trace, trace.table, BLOCK)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder, "trace.npz")
        np.savez(file, time=frames.time, id=frames.id, length=frames.length, data=frames.data)
        peers = {name: Peer(name, file) for name in WHAT}
        for peer in peers.values():
            stack.callback(peer.close)
        own, theirs = [], {name: [] for name in peers}
        for turn in range(ROUNDS + 1):
            start = time.process_time()
            work()
            spent = time.process_time() - start
            others = {name: peer.once() for name, peer in peers.items()}
            if turn:
                own.append(spent / len(trace.frames) * 1e6)
                for name, seconds in others.items():
                    theirs[name].append(seconds / len(frames) * 1e6)
        return [
            times_less(
                f"decode, one bus, beside {name}: {what}",
                statistics.median(own),
                "us/frame",
                None,
                statistics.median(theirs[name]),
                f"{name} {peers[name].version}",
            )
            for name, what in WHAT.items()
        ], []
