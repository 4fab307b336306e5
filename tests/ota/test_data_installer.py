"""Bundles for telemetry: a real folder, and a telemetry that answers what the test says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bordnetz.ota.installers.data import DataInstaller
from bordnetz.ota.installers.installer import Installed, InstallError, Job, UnhealthyError
from bordnetz.ota.installers.trouble import TroubleError
from bordnetz.payload import tree
from bordnetz.telemetry.bundle import Bundles

VERBS = ("stage", "install", "activate", "verify", "commit", "clean_up")


@dataclass(frozen=True)
class Said:
    accepted: bool
    reason: str = ""


@dataclass
class Telemetry:
    """Runs what it is asked to, unless it refuses or does not hear."""

    runs: str = ""
    deaf: bool = False
    refuses: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, sha256: str, path: str) -> Said | None:
        self.asked.append((sha256, path))
        if self.deaf:
            return None
        if sha256 in self.refuses:
            return Said(False, "powertrain.dbc: line 7: no")
        self.runs = sha256
        return Said(True)


class Car:
    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "bundles"
        self.telemetry = Telemetry()
        self.installer = DataInstaller(self.root, self.telemetry)

    def job(self, number: int, counter: int | None = None) -> Job:
        source = self.folder / f"source-{number}"
        if not source.exists():
            source.mkdir()
            (source / "vehicle.toml").write_text(f"# {number}")
        tar = b"".join(tree.pack(source))
        payload = self.folder / f"payload-{number}"
        payload.write_bytes(tar)
        counter = number if counter is None else counter
        new = Installed("bundle.tar", len(tar), hashlib.sha256(tar).hexdigest(), counter)
        old = self.installer.probe()
        return Job(f"attempt-{number}-{counter}", "telemetry", "bundle", new, old, payload)

    def whole(self, job: Job) -> Job:
        return self.take(job, *VERBS)

    def take(self, job: Job, *verbs: str) -> Job:
        for verb in verbs:
            getattr(self.installer, verb)(job)
        return job

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())

    @property
    def current(self) -> str:
        """As telemetry finds it when it starts."""
        return Bundles(self.root, None).current()


@pytest.fixture
def car(fast_folder):
    return Car(fast_folder)


def test_a_bundle_lies_under_its_hash_and_telemetry_runs_it(car):
    job = car.whole(car.job(1))
    assert car.telemetry.runs == car.current == job.new.sha256
    assert car.telemetry.asked == [(job.new.sha256, str(car.root / job.new.sha256))]
    assert (car.root / "current" / "vehicle.toml").read_text() == "# 1"
    assert car.installer.probe() == job.new
    second = car.whole(car.job(2))
    assert car.telemetry.runs == car.current == second.new.sha256
    assert not (car.root / job.new.sha256).exists()


def test_a_refused_bundle_gives_way_to_the_old_one_and_telemetry_is_told(car):
    first = car.whole(car.job(1))
    job = car.job(2)
    car.telemetry.refuses.add(job.new.sha256)
    car.take(job, "stage", "install", "activate")
    with pytest.raises(UnhealthyError, match="telemetry refuses the bundle: powertrain"):
        car.installer.verify(job)
    car.take(job, "rollback", "clean_up")
    assert car.telemetry.runs == car.current == first.new.sha256
    assert car.telemetry.asked[-1] == (first.new.sha256, str(car.root / first.new.sha256))
    assert car.installer.probe() == first.new


def test_a_refused_first_bundle_gives_way_to_the_vehicles_own_file(car):
    job = car.job(1)
    car.telemetry.refuses.add(job.new.sha256)
    car.take(job, "stage", "install", "activate")
    with pytest.raises(UnhealthyError):
        car.installer.verify(job)
    car.take(job, "rollback", "clean_up")
    assert car.telemetry.asked[-1] == ("", "")
    assert car.current == ""
    assert car.installer.probe() is None
    assert car.installer.current == ("", "")
    assert car.names == []


def test_a_telemetry_that_does_not_answer_is_not_the_bundles_fault(car):
    car.telemetry.deaf = True
    job = car.take(car.job(1), "stage", "install", "activate")
    with pytest.raises(TroubleError, match="does not answer"):
        car.installer.verify(job)
    # It will find the link when it starts.
    car.take(job, "rollback", "clean_up")
    assert car.current == ""


def test_a_telemetry_that_was_never_told_is_not_told_to_go_back(car):
    job = car.take(car.job(1), "stage", "install", "activate")
    car.take(job, "rollback", "clean_up")
    assert car.telemetry.asked == []
    assert car.current == ""


def test_the_way_back_is_told_also_by_another_process(car):
    first = car.whole(car.job(1))
    job = car.take(car.job(2), "stage", "install", "activate", "verify")
    car.installer = DataInstaller(car.root, car.telemetry)
    car.take(job, "rollback")
    assert car.telemetry.runs == first.new.sha256


def test_an_old_bundle_that_is_refused_has_to_be_tried_again(car):
    first = car.whole(car.job(1))
    job = car.take(car.job(2), "stage", "install", "activate", "verify")
    car.telemetry.refuses.add(first.new.sha256)
    with pytest.raises(InstallError, match="the old bundle, too"):
        car.installer.rollback(job)
    assert car.current == first.new.sha256
    car.telemetry.refuses.clear()
    car.take(job, "rollback", "clean_up")
    assert car.telemetry.runs == first.new.sha256


def test_the_same_bundle_with_a_higher_counter_stays_where_it_is(car):
    first = car.whole(car.job(1))
    inode = (car.root / first.new.sha256).stat().st_ino
    job = car.whole(car.job(1, counter=5))
    assert car.installer.probe() == job.new
    assert (car.root / job.new.sha256).stat().st_ino == inode
    assert car.current == first.new.sha256


def test_the_same_bundle_with_a_higher_counter_goes_back_to_the_lower_one(car):
    first = car.whole(car.job(1))
    job = car.take(car.job(1, counter=5), "stage", "install", "activate", "verify")
    assert car.installer.probe().counter == 5
    car.take(job, "rollback", "clean_up")
    assert car.installer.probe() == first.new


@pytest.mark.parametrize("reached", range(5))
def test_an_attempt_that_is_cut_short_goes_on_or_back(car, reached):
    first = car.whole(car.job(1))
    job = car.take(car.job(2), *VERBS[:reached])
    car.installer = DataInstaller(car.root, car.telemetry)
    car.take(job, "rollback", "rollback", "clean_up")
    assert car.current == first.new.sha256
    assert len(car.names) == 3
    again = car.job(2, counter=3)
    for verb in VERBS:
        car.take(again, verb, verb)
        car.installer = DataInstaller(car.root, car.telemetry)
    assert car.current == again.new.sha256
    assert len(car.names) == 3
