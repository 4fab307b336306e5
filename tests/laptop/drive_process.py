"""`bordnetz drive` as a user types it, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bordnetz.batch.message import Batch
from bordnetz.batch.reader import Reader
from bordnetz.laptop.hub.control import Control, ControlError
from bordnetz.laptop.hub.upstream import Upstream

PROJECT = Path(__file__).parents[2]
PATIENCE = 240


class Drive:
    """A drive in a session of its own, whose temporary files all lie in ``home``."""

    def __init__(self, home: Path, *arguments: str | Path) -> None:
        self.home = home
        self.folder = home / "kept"
        self._report = home / "report.json"
        for name in ("tmp", "run"):
            (home / name).mkdir(mode=0o700)
        command = [sys.executable, "-m", "bordnetz", "drive", "--report", self._report]
        command += ["--folder", self.folder, *arguments]
        self._out, self._err = home / "out", home / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [str(argument) for argument in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=PROJECT,
                env=os.environ
                | {"TMPDIR": str(home / "tmp"), "XDG_RUNTIME_DIR": str(home / "run")},
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self._report.read_text())

    def wait(self) -> int:
        """The exit code."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the drive has not ended:\n{self.out}\n{self.err}")

    def succeeds(self) -> dict[str, Any]:
        """The report of a drive that ends well."""
        code = self.wait()
        assert code == 0, f"{self.out}\n{self.err}\n{self.tails()}"
        return self.report

    def ask_to_end(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def until(self, what: str, holds: Callable[[], Any]) -> Any:
        """Wait until something holds; what it gives then."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"it ended before {what}:\n{self.out}\n{self.err}\n{self.tails()}")
            # The module may be connecting anew.
            with suppress(ControlError):
                if result := holds():
                    return result
            time.sleep(0.05)
        pytest.fail(f"never {what}:\n{self.out}\n{self.err}\n{self.tails()}")

    def until_driving(self) -> None:
        """Wait until the simulated car has been started."""
        self.until("drives", lambda: ", hub at " in self.out)

    @property
    def control(self) -> Control:
        return Control(self.folder / "hub")

    def pids(self, verb: str = "") -> list[int]:
        """Processes of this drive, told by their environment; of all or of one verb."""
        mark = f"TMPDIR={self.home / 'tmp'}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                ours = mark in (folder / "environ").read_bytes().split(b"\0")
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if ours and words[:1] != [b""] and (not verb or verb.encode() in words):
                found.append(int(folder.name))
        return found

    def left_behind(self) -> list[str]:
        """Processes, sockets and temporary files; nothing after a clean end."""
        left = [f"process {pid}" for pid in self.pids()]
        for place in ("tmp", "run"):
            left += [str(path) for path in (self.home / place).rglob("*") if not path.is_dir()]
        left += [str(path) for path in (self.home / "tmp").iterdir() if path.is_dir()]
        left += [str(path) for path in self.folder.rglob("*") if path.is_socket()]
        return left

    def arrived(self) -> list[tuple[str, list[Batch]]]:
        """Name and batches of every message at ``$upstream``, by a reader of our own."""
        upstream, reader = Upstream(self.folder / "hub" / "upstream"), Reader()
        messages = [
            (arrival.properties["batch"], reader.read(upstream.body(arrival)))
            for arrival in upstream.messages()
        ]
        assert not reader.waiting
        return messages

    def batches(self) -> list[Batch]:
        """The batches, each once."""
        return [batch for _, batches in self.arrived() for batch in batches]

    def tails(self) -> str:
        """The ends of the processes' logs."""
        logs = self.folder.glob("*.log")
        return "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in logs)

    def kill(self) -> None:
        """End what a failed test left running."""
        for pid in [*([] if self.process.poll() is not None else [self.process.pid]), *self.pids()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


@pytest.fixture
def start_drive() -> Iterator[Callable[..., Drive]]:
    """``start_drive(*arguments)`` starts one; its folder, report and logs go with the test."""
    drives: list[Drive] = []
    # Not pytest's folder: sockets need short paths.
    with tempfile.TemporaryDirectory(prefix="bd-") as home:

        def start(*arguments: str | Path) -> Drive:
            place = Path(home, str(len(drives)))
            place.mkdir()
            drives.append(Drive(place, *arguments))
            return drives[-1]

        yield start
        for drive in drives:
            drive.kill()


def balances(report: dict[str, Any]) -> bool:
    """Whether every frame of a report is accounted for."""
    fates = ("decoded", "not_asked", "not_data", "dropped")
    return report["frames"] == sum(report[f"frames_{fate}"] for fate in fates)
