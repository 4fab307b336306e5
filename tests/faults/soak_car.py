"""A car for days: telemetry, its hub, its bus and its disk, on a machine whose clock leaps.

The row runs this module under ``tests/with-vcan``: computing takes no time there, and where nobody
has work the time goes on at once.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from hub_fixtures import RunningHub, template
from telemetry_help import ROUTES, Process, call, eventually

from bordnetz.can.sender import FrameSender

from .balance import unbalanced
from .shares import Found
from .soak_days import LONG, SHORT, Plan, Verb
from .soak_ledger import Arrivals, Look, by_hour
from .soak_traffic import DBC, RATE, SIGNALS, frames
from .system import loop, mount

BUS = "drive"
VEHICLE = f"""name = "soak"
[[bus]]
name = "{BUS}"
interface = "socketcan"
channel = "vcan0"
dbc = ["drive.dbc"]
"""
_DISK = 64 << 20
_SECTOR = 512
_GLANCES, _BETWEEN = 3, 1.3
"""How often descriptors are counted, seconds from one to the next: what is open for a moment only,
as to read Edge hub's metrics, is not what stays open."""


class _Telemetry(Process):
    program = (sys.executable, "-m", "bordnetz", "telemetry")


class Car:
    """Everything that runs.

    Attributes:
        module: The telemetry module.
        hub: The one that runs now, or ran last.
        sent: Frames so far.
    """

    def __init__(self, home: Path, resources: ExitStack) -> None:
        """Start it all; it ends with ``resources``.

        Args:
            home: An empty folder.
            resources: What ends with them.
        """
        self.sent = 0
        self._home = home
        self._drives = False
        (home / "drive.dbc").write_text(DBC)
        (home / "vehicle.toml").write_text(VEHICLE)
        self._state = home / "state"
        self._disk = self._mount(resources)
        os.environ["XDG_RUNTIME_DIR"] = str(home)
        self.hub = self._start_hub()
        resources.callback(lambda: self.hub.stop())
        variables = {
            **self.hub.control.env("telemetry"),
            "BORDNETZ_HUB_METRICS": self.hub.control.place.metrics,
        }
        self.module = _Telemetry(self._state, home / "vehicle.toml", (), variables)
        resources.callback(self.module.end)
        self.module.logged(f"collecting {SIGNALS} of {SIGNALS} signals")
        self._health = self.module.logged(r"metrics at (\S+)/metrics")[1] + "/health"
        self._bus = resources.enter_context(FrameSender.to_can("vcan0"))
        self._fresh = self._wear()
        self._began = time.monotonic()

    def _mount(self, resources: ExitStack) -> Path:
        """Give the state folder a disk of its own, whose figures are what it alone costs."""
        image = self._home / "disk"
        with image.open("wb") as file:
            file.truncate(_DISK)
        lazy = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-E", lazy, image], check=True)
        device = resources.enter_context(loop(image))
        self._state.mkdir()
        mount(device, self._state, "ext4")
        return Path("/sys/block", Path(device).name, "stat")

    def _start_hub(self) -> RunningHub:
        desired = {"telemetry": {"collect": [{"match": "*"}]}}
        manifest = template(self._home / "deployment.json", desired, ROUTES)
        return RunningHub(manifest, self._home / "hub", self._home)

    # -- what happens

    def live(self, plan: Plan) -> Iterator[Look]:
        """All of the plan; a look at the end of each hour."""
        hours: list[tuple[int, None]] = [(60 * hour, None) for hour in range(1, plan.hours + 1)]
        for minutes, verb in sorted([*plan.moments, *hours], key=lambda one: one[0]):
            self._pass_time(self._began + 60 * minutes)
            if verb is None:
                yield self.look()
            else:
                self._do(verb)

    def _pass_time(self, end: float) -> None:
        while (now := time.monotonic()) < end:
            if not self._drives:
                time.sleep(end - now)
                continue
            # A second's frames at once: each time that all are woken costs, here as in a car.
            self._bus.send(frames(np.arange(self.sent, self.sent + RATE)))
            self.sent += RATE
            time.sleep(1)

    def _do(self, verb: Verb) -> None:
        fault = self.hub.control.fault
        match verb:
            case Verb.DRIVE | Verb.PARK:
                self._drives = verb is Verb.DRIVE
            case Verb.INTO_TUNNEL | Verb.OUT_OF_TUNNEL:
                fault("go-silent", off=verb is Verb.OUT_OF_TUNNEL)
            case Verb.CUT:
                fault("drop-link")
            case Verb.CLOUD_AWAY | Verb.CLOUD_BACK:
                fault("upstream-offline", off=verb is Verb.CLOUD_BACK)
            case Verb.HUB_AWAY:
                self.hub.stop()
            case Verb.OTHER_KEYS:
                self._rotate()
            case Verb.HUB_BACK:
                self.hub = self._start_hub()

    def _rotate(self) -> None:
        file = self.hub.state / "keys.json"
        known = json.loads(file.read_text())
        for module in known.values():
            module["key"] = base64.b64encode(secrets.token_bytes(32)).decode()
        file.write_text(json.dumps(known))

    def settle(self) -> dict[str, Any]:
        """Let all that was sent arrive; what ``status`` says then."""

        def received() -> bool:
            return call(self.hub, "status")["frames"]["received"] >= self.sent

        def done() -> dict[str, Any] | None:
            status = dict(call(self.hub, "status"))
            return None if status["outbox"]["messages"] else status

        eventually(received, bool)
        call(self.hub, "flush")
        status = eventually(done, bool)
        eventually(lambda: self.hub.control.status()["queues"], lambda waiting: not waiting)
        return dict(status)

    # -- what is seen

    def look(self) -> Look:
        """At the process, by the kernel's figures and by its own."""
        proc = Path("/proc", str(self.module.process.pid))
        with urllib.request.urlopen(self._health) as page:
            health = json.load(page)
        written, flushes = self._wear()
        files = [path.stat() for path in self._state.rglob("*") if path.is_file()]
        look = Look(
            rss=int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            descriptors=_count(proc / "fd"),
            threads=_count(proc / "task"),
            connected=health["hub"]["connected"],
            held=health["outbox"]["messages"],
            sent=health["outbox"]["acknowledged"],
            sessions=health["hub"]["sessions"],
            disk=sum(file.st_blocks * _SECTOR for file in files),
            written=written - self._fresh[0],
            flushes=flushes - self._fresh[1],
        )
        counts = [look.descriptors]
        while len(counts) < _GLANCES:
            time.sleep(_BETWEEN)
            counts.append(_count(proc / "fd"))
        return replace(look, descriptors=min(counts))

    def _wear(self) -> tuple[int, int]:
        """Bytes that the disk got, and its flushes (Documentation/admin-guide/iostats.rst)."""
        figures = self._disk.read_text().split()
        return int(figures[6]) * _SECTOR, int(figures[15])

    def arrived(self) -> Iterator[tuple[str, bytes]]:
        """Name and body of each message that reached the cloud."""
        upstream = self.hub.control.upstream
        for arrival in upstream.messages():
            yield arrival.properties["batch"], upstream.body(arrival)


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def soak(car: Car, plan: Plan) -> Found:
    """All of a plan; tried is each hour, and the books at its end."""
    found = Found()
    looks: list[Look] = []
    for look in car.live(plan):
        looks.append(look)
        wrong = list(look.grown(looks[0]))
        if not looks[0].connected:
            wrong.append("no hub after the first hour")
        found.add(f"hour {len(looks)}", wrong)
        sys.stdout.write(f"hour {len(looks)}: {look}\n")
        sys.stdout.flush()
    status = car.settle()
    looks.append(car.look())
    code = car.module.end()
    arrivals = Arrivals(car.arrived(), car.sent)
    found.add(
        "the books",
        [
            *unbalanced(status["buses"], status["samples"], {BUS: car.sent}),
            *arrivals.wrong(status["samples"]["stored"]),
            *_lost(status),
            *looks[-1].grown(looks[0]),
            *looks[-1].worn(arrivals.payload),
            *looks[-1].unmoved(plan.sessions),
            *([f"ended with {code}"] if code else []),
        ],
    )
    found.figures += [f"{plan.hours} hours: {car.sent} frames", *_figures(looks, arrivals)]
    return found


def _lost(status: dict[str, Any]) -> Iterator[str]:
    """What the outbox or Edge hub has let go."""
    counts = {name: status["outbox"][name] for name in ("givenUp", "setAside", "damaged")}
    for name, count in {**counts, **status["edgeHub"]["lost"]}.items():
        if count:
            yield f"{count} {name}"


def _figures(looks: list[Look], arrivals: Arrivals) -> Iterator[str]:
    first, last = looks[0], looks[-1]
    memory = [look.rss / (1 << 20) for look in looks]
    yield (
        f"{arrivals.samples} samples in {arrivals.batches} batches, {arrivals.payload} bytes; "
        f"{arrivals.again} messages came twice; {last.sessions} sessions"
    )
    yield (
        f"memory: {memory[0]:.1f} MiB after the first hour, {max(memory):.1f} at most, "
        f"{memory[-1]:.1f} at the end; descriptors {first.descriptors} and {last.descriptors}, "
        f"threads {first.threads} and {last.threads}"
    )
    yield (
        f"a message: {arrivals.payload / last.sent:.0f} bytes, {last.written / last.sent:.0f} "
        f"written, {last.flushes / last.sent:.1f} flushes; {last.disk} bytes of disk at the end"
    )
    yield by_hour(looks)


def _main(out: Path, plan: Plan) -> None:
    # The folder is the machine's own, and ends with it.
    with ExitStack() as resources:
        car = Car(Path(tempfile.mkdtemp()), resources)
        try:
            out.write_text(json.dumps(asdict(soak(car, plan))))
        except BaseException:
            sys.stdout.write(car.module.text[-1500:])
            raise


if __name__ == "__main__":
    _main(Path(sys.argv[1]), SHORT if "--short" in sys.argv else LONG)
