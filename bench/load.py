"""A steady load: three buses with 2,000 frames/s each, sent by a process of its own.

The frames are those of the trace that `bench.decode` decodes, in their order, evenly spaced in
time.  They go through Unix datagram sockets, which queue 10 frames on most machines where a CAN
interface queues thousands, so everything runs in a network name space of its own whose sockets
queue `QUEUE` (``unshare --net``; it needs to be root, or user name spaces).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from bench.decode import ROOT, SHARED, demo_trace, vw_trace
from bordnetz.can.errors import BusError
from bordnetz.can.frames import Frames
from bordnetz.can.sender import FrameSender

RATE = 2_000
"""Frames/s a bus."""

BUSES = 3
QUEUE = 1_000
"""Datagrams that a Unix socket queues: 0.5 s of a bus."""

_STEP = 0.010
"""Seconds between two sends: 20 frames a bus, as they would have come one by one meanwhile."""

_TRACE_SECONDS = 8
_PATIENCE = 30.0
_INSIDE = "BORDNETZ_BENCH_NAME_SPACE"
_QUEUE_FILE = Path("/proc/sys/net/unix/max_dgram_qlen")
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x41
"""linux/sockios.h, linux/if.h."""


def vehicle(folder: Path) -> Path:
    """Write a vehicle file of three buses with Unix sockets in ``folder``, and the trace beside it.

    Returns:
        The vehicle file.
    """
    if SHARED.is_dir():
        frames = vw_trace(_TRACE_SECONDS).frames
        files: Sequence[Path] = [SHARED / "data/dbc/opendbc/vw_mqb.dbc"] * BUSES
    else:
        frames = demo_trace().frames
        files = [ROOT / "dbc" / f"{name}.dbc" for name in ("powertrain", "chassis", "body")]
    for bus in range(BUSES):
        mine = frames[frames.bus == bus]
        np.savez(
            folder / f"bus{bus}.npz", id=mine.id, length=mine.length, data=mine.data, bus=mine.bus
        )
    file = folder / "vehicle.toml"
    text = 'name = "bench"\n'
    for bus, dbc in enumerate(files):
        text += f'[[bus]]\nname = "can{bus}"\ninterface = "unix"\n'
        text += f'channel = "{folder}/can{bus}"\ndbc = ["{dbc}"]\n'
    file.write_text(text)
    return file


def read(folder: Path, bus: int) -> Frames:
    """The frames that `vehicle` has written for a bus."""
    columns = np.load(folder / f"bus{bus}.npz")
    n = len(columns["id"])
    return Frames(time=np.zeros(n, np.int64), flags=np.zeros(n, np.uint8), **columns)


def send(folder: Path, seconds: float) -> None:
    """Send at the rate, for so long; what is late is made up for at once."""
    senders = [_connect(str(folder / f"can{bus}")) for bus in range(BUSES)]
    frames = [read(folder, bus) for bus in range(BUSES)]
    # Long enough to begin anywhere.
    frames = [Frames.concat([mine, mine]) for mine in frames]
    sent = 0
    began = time.monotonic()
    while sent < seconds * RATE:
        due = min(int((time.monotonic() - began) * RATE), int(seconds * RATE))
        for sender, mine in zip(senders, frames, strict=True):
            at = sent % (len(mine) // 2)
            sender.send(mine[at : at + due - sent])
        sent = due
        time.sleep(_STEP)


def _connect(path: str) -> FrameSender:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return FrameSender.to_unix(path)
        except BusError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def start(folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Start the sender."""
    return subprocess.Popen([sys.executable, "-m", "bench.load", str(folder), str(seconds)])


def inside(module: str, *arguments: str) -> None:
    """Run ``python -m module`` in a network name space whose Unix sockets queue enough.

    Raises:
        CalledProcessError: It has failed.
        FileNotFoundError: There is no ``unshare``.
    """
    command = [shutil.which("unshare") or "unshare", "--net"]
    if os.geteuid():
        command += ["--user", "--map-root-user"]
    subprocess.run(
        [*command, sys.executable, "-m", module, *arguments],
        check=True,
        env={**os.environ, _INSIDE: "1"},
    )


def furnish() -> bool:
    """Make the name space that `inside` has made usable; False outside of one.

    Raises:
        OSError: The kernel does not allow it.
    """
    if not os.environ.get(_INSIDE):
        return False
    _QUEUE_FILE.write_text(str(QUEUE))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))
    return True


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        send(Path(sys.argv[1]), float(sys.argv[2]))
