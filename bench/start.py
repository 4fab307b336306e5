"""Process start with 1,348 signals, of what stands on a warm disk: CPU time of the process.

Bytecode is compiled and DBC files are kept, as from the second start on.  Budgets are for a machine
where cantools needs `PEER_US` a frame; they scale with what it needs between the starts.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from threading import Timer

from bench.decode import PEER_US, SHARED, peer, vw_trace
from bench.row import Row, at_most

ROUNDS = 5
BUDGETS = {"first": 0.3, "ready": 0.8}
"""Seconds at most: until a frame is decoded, and until the telemetry module is ready."""

_FRAMES = 10_000
_PATIENCE = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_IOT_EDGE = {
    "IOTEDGE_IOTHUBHOSTNAME": "hub.invalid",
    "IOTEDGE_DEVICEID": "car",
    "IOTEDGE_MODULEID": "telemetry",
    "IOTEDGE_GATEWAYHOSTNAME": "gateway.invalid",
    "IOTEDGE_MODULEGENERATIONID": "1",
    "IOTEDGE_WORKLOADURI": "unix:///nowhere",
    "IOTEDGE_APIVERSION": "2021-07-07",
}
"""No hub answers: a module does not wait for it."""

_FIRST = """
import sys
import time
from pathlib import Path

import numpy as np

from bordnetz.can.cache import Cache
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import Frames
from bordnetz.can.table import DecodeTable
from bordnetz.can.vehicle import Vehicle

vehicle = Vehicle.load(Path(sys.argv[1]))
cache = Cache(Path(sys.argv[2]))
table = DecodeTable.compile(Catalogue.load(vehicle, cache.parse))
frame = Frames(
    time=np.zeros(1, np.int64),
    bus=np.zeros(1, np.uint8),
    id=np.array([table.groups[0].id], np.uint32),
    flags=np.zeros(1, np.uint8),
    length=np.full(1, 8, np.uint8),
    data=np.zeros((1, 8), np.uint8),
)
if not len(table.decode(frame)):
    raise SystemExit("nothing was decoded")
print(time.process_time())
"""


def rows() -> tuple[list[Row], list[str]]:
    """Seconds of CPU time until the first frame is decoded, and until the module is ready."""
    if not SHARED.is_dir():
        return [], ["Process start is left out: its database is not here (../shared)"]
    logging.getLogger("cantools").setLevel(logging.ERROR)
    trace = vw_trace(buses=1)
    trace = replace(trace, frames=trace.frames[:_FRAMES])
    decode = peer(trace)
    taken: dict[str, list[float]] = {"first": [], "ready": [], "cantools": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        furnish(folder)
        for turn in range(ROUNDS + 1):
            start = time.process_time()
            decode()
            one = {"cantools": time.process_time() - start, "first": first(folder)}
            one["ready"] = ready(folder)
            if turn:
                for what, seconds in one.items():
                    taken[what].append(seconds)
    median = {what: statistics.median(seconds) for what, seconds in taken.items()}
    scale = median["cantools"] / _FRAMES * 1e6 / PEER_US
    signals = len(trace.catalogue.names)
    found = []
    for what, words in (
        ("first", "until the first frame is decoded"),
        ("ready", "until the telemetry module is ready"),
    ):
        name = f"process start with {signals:,} signals, {words}"
        found.append(at_most(name, median[what], "s of CPU", round(BUDGETS[what] * scale, 3)))
    return found, []


def furnish(folder: Path) -> None:
    """The vehicle file, and a state that says what is collected."""
    dbc = SHARED / "data/dbc/opendbc/vw_mqb.dbc"
    (folder / "vehicle.toml").write_text(
        'name = "bench"\n[[bus]]\nname = "can0"\ninterface = "unix"\n'
        f'channel = "{folder}/can0"\ndbc = ["{dbc}"]\n'
    )
    (folder / "state").mkdir()
    (folder / "state" / "desired.json").write_text(json.dumps({"collect": [{"match": "*"}]}))


def environment(folder: Path) -> dict[str, str]:
    """That of a process in the image, and whose bytecode is kept."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "BORDNETZ_VEHICLE": str(folder / "vehicle.toml"),
        "BORDNETZ_STATE": str(folder / "state"),
        "BORDNETZ_BUNDLES": str(folder / "bundles"),
        "BORDNETZ_METRICS_ADDRESS": "127.0.0.1:0",
        "OPENBLAS_NUM_THREADS": "1",  # as the image sets it
        **_IOT_EDGE,
    }


def first(folder: Path) -> float:
    """CPU seconds of a process until it has decoded one frame."""
    command = [sys.executable, "-c", _FIRST, folder / "vehicle.toml", folder / "state" / "dbc"]
    answer = subprocess.run(
        command, env=environment(folder), check=True, stdout=subprocess.PIPE, timeout=_PATIENCE
    )
    return float(answer.stdout)


def ready(folder: Path) -> float:
    """CPU seconds of the telemetry module until it has started and listens to its bus."""
    child = subprocess.Popen(
        [sys.executable, "-m", "bordnetz", "telemetry"],
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    guard = Timer(_PATIENCE, child.kill)
    guard.start()
    bus = folder / "can0"
    said: list[str] = []
    with child:
        for line in child.stdout or ():
            said.append(line)
            if "telemetry started" in line:
                break
        while child.poll() is None and not bus.exists():
            time.sleep(0.001)
        if child.poll() is not None:
            raise RuntimeError(f"the telemetry module ended: {''.join(said)}")
        seconds = cpu_seconds(child.pid)
        child.terminate()
        child.communicate()
    guard.cancel()
    bus.unlink(missing_ok=True)
    return seconds


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    # Behind the name, which may hold anything, the 3rd field is the first (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    for row in rows()[0]:
        print(f"{row['name']}: {row['value']:.3f} {row['unit']} (budget {row['budget']:.4g})")
