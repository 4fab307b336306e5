"""The job engine with a journal and installers on a real disk, in processes that are killed."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from scripted_installer import NOW, wanted

from bordnetz.ota.engine import Engine, Rest
from bordnetz.ota.gate import Verdict
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.file import FileInstaller
from bordnetz.ota.journal import Journal
from bordnetz.ota.states import State
from bordnetz.ota.surroundings import Surroundings
from bordnetz.uptane.custom import Delivery
from bordnetz.uptane.target import Target, Verified

ECUS = ("maps", "voice")


def content(ecu: str, version: int) -> bytes:
    return f"{ecu} {version};".encode() * 20_000


def asked(*versions: int) -> Verified:
    targets = []
    for ecu, version in zip(ECUS, versions, strict=True):
        data = content(ecu, version)
        sha256 = hashlib.sha256(data).hexdigest()
        delivery = Delivery(name=f"{ecu}.db", length=len(data), sha256=sha256, encoding="identity")
        hashes = {"sha256": sha256}
        targets.append(
            Target(ecu, "hw", f"{ecu}.db", len(data), hashes, version, "file", (delivery,))
        )
    return wanted(*targets, id=f"campaign-{versions[0]}", groups=[list(ECUS)])


class Car:
    """One life of the process; whatever outlives it lies in the folder."""

    def __init__(self, folder: Path, health: Command | None = None):
        self.folder = folder
        self.shut: tuple[str, ...] = ()
        (folder / "payloads").mkdir(exist_ok=True)
        self.reports = folder / "reports"
        self.reports.mkdir(exist_ok=True)
        self.journal = Journal.open(folder / "journal.db")
        self.installers = {
            "maps": FileInstaller(folder / "maps", None),
            "voice": FileInstaller(folder / "voice", health),
        }
        self.engine = Engine(
            Surroundings(
                journal=self.journal,
                installers=self.installers,
                payloads=self,
                gate=self,
                reporter=self,
                clock=self,
                raise_counters=lambda counters: None,
                recheck=lambda: None,
                boot="boot",
                draw=random.SystemRandom().getrandbits,
                stop=threading.Event(),
            )
        )

    def live(self, verified: Verified) -> Rest:
        self.engine.resume()
        return self.engine.offer(verified)

    # -- payloads

    def obtain(self, target, installer, budget, received):
        path = self.folder / "payloads" / target.sha256
        received(target.length)
        path.write_bytes(content(target.ecu, target.counter))
        return path

    def discard(self, target):
        (self.folder / "payloads" / target.sha256).unlink(missing_ok=True)

    def sweep(self, keep):
        kept = {target.sha256 for target in keep}
        for path in (self.folder / "payloads").iterdir():
            if path.name not in kept:
                path.unlink()

    # -- gate, reporter, clock

    def ask(self, campaign):
        return Verdict(self.shut)

    safe = ask

    def never(self, campaign):
        return None

    def state(self, status):
        pass

    def final(self, report):
        (self.reports / report["attempt"]).write_text(report["result"])

    def now(self):
        return NOW

    monotonic = staticmethod(time.monotonic)


def active(folder: Path) -> dict[str, bytes | None]:
    found = {}
    for ecu in ECUS:
        path = folder / ecu / "current" / f"{ecu}.db"
        found[ecu] = path.read_bytes() if path.exists() else None
    return found


@pytest.fixture
def folder(fast_folder):
    return fast_folder


def test_two_files_change_together(folder):
    car = Car(folder)
    assert car.live(asked(1, 1)).state is State.SUCCEEDED
    assert car.engine.offer(asked(2, 2)).state is State.SUCCEEDED
    car.journal.close()
    assert active(folder) == {ecu: content(ecu, 2) for ecu in ECUS}
    assert list((folder / "payloads").iterdir()) == []


def test_two_files_go_back_together(folder):
    car = Car(folder)
    car.live(asked(1, 1))
    car.journal.close()
    car = Car(folder, Command(("false",), 10))
    assert car.live(asked(2, 2)).state is State.FAILED
    assert car.engine.offer(asked(2, 2)).state is State.REFUSED
    car.journal.close()
    assert active(folder) == {ecu: content(ecu, 1) for ecu in ECUS}
    assert sorted(one.read_text() for one in car.reports.iterdir()) == ["rolledBack", "succeeded"]


def test_a_payload_that_changes_while_it_waits_does_not_become_active(folder):
    car = Car(folder)
    car.shut = ("not parked",)
    assert car.live(asked(1, 1)).state is State.WAITING
    for path in (folder / "payloads").iterdir():
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
    car.shut = ()
    assert car.engine.work().state is State.FAILED
    assert "not what was written" in car.engine.history()[0]["words"]
    car.journal.close()
    assert active(folder) == dict.fromkeys(ECUS)


LIFE = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_engine_files import Car, asked

car = Car(Path({folder!r}))
print("ready", flush=True)
for version in range(int(sys.argv[1]), 10**9):
    print(version, flush=True)
    car.live(asked(version, version))
"""


def test_a_killed_process_leaves_a_set_that_fits_together(folder):
    tests, path = os.fspath(Path(__file__).parent), os.fspath(folder)
    pick = random.Random(3)
    version = 1
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", LIFE.format(tests=tests, folder=path), str(version)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with suppress(subprocess.TimeoutExpired):
            process.wait(pick.uniform(0.001, 0.08))
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.readlines()
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        version = max([version, *(int(line) for line in lines)])
        car = Car(folder)
        car.engine.resume()
        found = active(folder)
        allowed = [{ecu: content(ecu, one) for ecu in ECUS} for one in (version - 1, version)]
        if version == 1:
            allowed.append(dict.fromkeys(ECUS))
        assert found in allowed
        for ecu in ECUS:
            probed = car.installers[ecu].probe()
            data = found[ecu]
            assert (probed and probed.sha256) == (data and hashlib.sha256(data).hexdigest())
            assert not (folder / ecu / "attempt.json").exists()
        assert car.journal.attempts() == []
        reports = car.journal.reports(1000)
        assert {one["attempt"] for one in reports} == {one.name for one in car.reports.iterdir()}
        car.journal.close()
        version += found == allowed[1]
    assert version > 1
