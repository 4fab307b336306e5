"""The telemetry module as its process, at a steady load, with the stand-in hub: CPU and memory.

All signals of three buses with 2,000 frames/s each go through decoding, batches, outbox and the
Azure SDK to a hub in another process, until that has acknowledged them; a third process sends.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from bench import load
from bench.decode import ROOT
from bench.load import BUSES, RATE
from bench.ota_process import WITHOUT
from bench.row import Row, at_least, at_most
from bench.yardstick import slowness
from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub.control import Control

WINDOWS, WINDOW = 5, 10.0
"""Seconds; as long as a batch is open."""

WARM = 12.0
"""Seconds before the first window: the first batches, after which the heap has its size."""

MOST_SHARE, MOST_MEMORY, MOST_GROWTH = 4.0, 90.0, 4.0
"""Per cent of a core; MiB; MiB from the first window to the last."""

_LOOK = 0.2
"""Seconds between two looks at the memory: encoding a batch needs its most for less than that, so
that it takes luck to see it, and growth is told by the least that a window has."""

_PATIENCE = 60.0
_MIB = 1 << 20
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

_START = f"""
import sys
sys.modules.update(dict.fromkeys({WITHOUT}))
from bordnetz.cli import main
main()
"""

T = TypeVar("T")


def rows() -> tuple[list[Row], list[str]]:
    """All rows, or why there are none."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        try:
            load.inside("bench.process", answer.name)
        except (OSError, subprocess.CalledProcessError) as error:
            return [], [f"The telemetry process is left out: {error}"]
        found = json.loads(Path(answer.name).read_text())
    what = f"telemetry process, {BUSES} x {RATE:,} frames/s, all signals, to acknowledged"
    used, held = found["cpu"], found["rss"]
    return [
        at_most(f"{what}: CPU", statistics.median(used), "% of a core", MOST_SHARE * slowness()),
        at_most(f"{what}: memory (RSS), most", max(held), "MiB", MOST_MEMORY),
        at_most(
            f"{what}: growth of it in {WINDOWS * WINDOW:.0f} s",
            found["least"][-1] - found["least"][0],
            "MiB",
            MOST_GROWTH,
        ),
        at_least(
            f"{what}: frames of those sent that arrived as samples", found["arrived"], "of 1", 1.0
        ),
    ], []


def main(answer: str) -> None:
    """Measure in this name space, and write the figures as JSON."""
    load.furnish()
    Path(answer).write_text(json.dumps(measure()))


def measure(windows: int = WINDOWS, window: float = WINDOW) -> dict[str, Any]:
    """Of the windows CPU shares (%) and resident memory (MiB), and the share of frames decoded."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vehicle = load.vehicle(folder)
        log = (folder / "log").open("wb")
        with (
            log,
            process(
                [
                    *_bordnetz(),
                    "hub",
                    "run",
                    "--manifest",
                    str(manifest(folder)),
                    "--state",
                    str(folder / "hub"),
                ],
                log,
            ),
        ):
            control = patiently(lambda: Control(folder / "hub"))
            environment = patiently(lambda: control.env("telemetry")) | {
                "BORDNETZ_VEHICLE": str(vehicle),
                "BORDNETZ_STATE": str(folder / "state"),
                "BORDNETZ_BUNDLES": str(folder / "bundles"),
                "BORDNETZ_METRICS_ADDRESS": "127.0.0.1:0",
                "OPENBLAS_NUM_THREADS": "1",  # as the image sets it
            }
            command = [sys.executable, "-c", _START, "telemetry"]
            # Once before, so that what it keeps of the DBC files is there, as in a car.
            with process(command, log, environment):
                patiently(lambda: _collecting(control))
            patiently(lambda: not _connected(control))
            with process(command, log, environment) as module:
                patiently(lambda: _collecting(control))
                sender = load.start(folder, WARM + windows * window + 1)
                time.sleep(WARM)
                used, held, least = [], [], []
                for _ in range(windows):
                    before, began = cpu_seconds(module.pid), time.monotonic()
                    looks = []
                    while time.monotonic() < began + window:
                        time.sleep(_LOOK)
                        looks.append(resident(module.pid))
                    spent = cpu_seconds(module.pid) - before
                    used.append(100 * spent / (time.monotonic() - began))
                    held.append(max(looks) / _MIB)
                    least.append(min(looks) / _MIB)
                sender.wait()
                sent = int((WARM + windows * window + 1) * RATE) * BUSES
                status = patiently(lambda: _decoded(control, sent))
                control.call("telemetry", "flush")
                patiently(lambda: _drained(control))
                arrived = status["frames"]["decoded"]
                return {"cpu": used, "rss": held, "least": least, "arrived": arrived / sent}


def manifest(folder: Path) -> Path:
    """The project's deployment, but that it collects everything."""
    content = json.loads((ROOT / "deployment.template.json").read_text())
    content["modulesContent"]["telemetry"]["properties.desired"] = {"collect": [{"match": "*"}]}
    agent = content["modulesContent"]["$edgeAgent"]["properties.desired"]
    for module in agent["modules"].values():
        module["settings"]["image"] = "example.invalid/bordnetz:1"
    file = folder / "deployment.json"
    file.write_text(json.dumps(content))
    return file


def _bordnetz() -> list[str]:
    return [sys.executable, "-m", "bordnetz"]


@contextmanager
def process(
    command: list[str], log: Any, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is asked to end, and ended."""
    child = subprocess.Popen(
        command, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
    )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def patiently(ask: Callable[[], T | None]) -> T:
    """Ask until there is an answer.

    Raises:
        TimeoutError: There was none for a minute.
    """
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with suppress(BordnetzError):
            if answer := ask():
                return answer
        time.sleep(0.1)
    raise TimeoutError(f"no answer from {ask}")


def _status(control: Control) -> dict[str, Any]:
    answer: dict[str, Any] = control.call("telemetry", "status")[1]
    return answer


def _connected(control: Control) -> bool:
    try:
        return bool(_status(control))
    except BordnetzError:
        return False


def _collecting(control: Control) -> bool:
    return bool(_status(control).get("collecting", {}).get("signals"))


def _decoded(control: Control, frames: int) -> dict[str, Any] | None:
    status = _status(control)
    return status if status["frames"]["received"] >= frames else None


def _drained(control: Control) -> bool:
    return _status(control)["outbox"]["messages"] == 0


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    # Behind the name, which may hold anything, the 3rd field is the first (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident(pid: int) -> int:
    """Bytes of memory that are resident now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


if __name__ == "__main__":
    main(sys.argv[1])
