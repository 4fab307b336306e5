"""Files and trees behind a link, on a real file system."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bordnetz.edge import durable
from bordnetz.edge.durable import DurableError
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.file import FileInstaller
from bordnetz.ota.installers.installer import (
    Activation,
    Installed,
    InstallError,
    Job,
    UnhealthyError,
)
from bordnetz.ota.installers.trouble import TroubleError
from bordnetz.payload import tree

VERBS = ("stage", "install", "activate", "verify", "commit", "clean_up")


def version(number: int, size: int = 10_000) -> bytes:
    return (f"version {number} " * size)[:size].encode()


class Place:
    """A folder with an installer, and payloads on the same volume."""

    def __init__(self, folder: Path, check: Command | None = None):
        self.folder = folder
        self.root = folder / "maps"
        self.payloads = folder / "payloads"
        self.payloads.mkdir()
        self.check = check
        self.restart()

    def restart(self):
        self.installer = FileInstaller(self.root, self.check)

    def job(self, number: int, kind: str = "file", content: bytes | None = None) -> Job:
        content = content if content is not None else version(number)
        payload = self.payloads / f"{number}"
        payload.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        new = Installed("maps.db", len(content), sha256, number)
        return Job(f"attempt-{number}", "maps", kind, new, self.installer.probe(), payload)

    def tree(self, number: int) -> Job:
        source = self.folder / f"tree-{number}"
        (source / "tiles").mkdir(parents=True)
        (source / "tiles" / "one").write_bytes(version(number))
        (source / "run.sh").write_text(f"echo {number}")
        (source / "run.sh").chmod(0o755)
        (source / "newest").symlink_to("tiles/one")
        return self.job(number, "tree", b"".join(tree.pack(source)))

    def whole(self, job: Job) -> Job:
        return self.take(job, *VERBS)

    def take(self, job: Job, *verbs: str) -> Job:
        for verb in verbs:
            getattr(self.installer, verb)(job)
        return job

    @property
    def content(self) -> bytes | None:
        path = self.root / "current" / "maps.db"
        return path.read_bytes() if path.exists() else None

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.root.iterdir()} if self.root.is_dir() else set()


@pytest.fixture
def place(fast_folder):
    return Place(fast_folder)


def test_nothing_is_installed_in_a_folder_that_is_not_there(place):
    assert place.installer.probe() is None
    assert place.installer.base() is None
    place.installer.clean_up(place.job(1))
    assert not place.root.exists()


def test_a_file_becomes_active_under_its_own_name_and_nothing_else_stays(place):
    job = place.whole(place.job(1))
    assert place.content == version(1)
    assert place.installer.probe() == job.new
    assert place.names == {"a", "a.json", "current"}
    second = place.whole(place.job(2))
    assert place.content == version(2)
    assert second.old == job.new
    assert place.installer.probe() == second.new
    assert place.names == {"b", "b.json", "current"}


def test_a_file_on_the_same_volume_is_moved_and_not_copied(place):
    job = place.job(1)
    inode = job.payload.stat().st_ino
    assert place.installer.room(job) == 0
    place.whole(job)
    assert (place.root / "current" / "maps.db").stat().st_ino == inode
    assert not job.payload.exists()


def test_a_file_from_another_volume_is_copied(place, tmp_path):
    here = place.folder.stat().st_dev
    others = [path for path in (tmp_path, Path.cwd()) if path.stat().st_dev != here]
    if not others:
        pytest.skip("this machine has no second volume: /dev/shm is none of its own")
    place.payloads = others[0]
    job = place.job(1)
    try:
        place.whole(job)
        assert place.content == version(1)
        assert job.payload.exists()
    finally:
        job.payload.unlink()


def test_a_disk_that_fills_up_is_not_the_versions_fault(place, monkeypatch):
    job = place.tree(1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(TroubleError, match="No space left"):
        place.installer.stage(job)
    with pytest.raises(TroubleError, match="No space left"):
        place.installer.stage(place.job(2))
    monkeypatch.undo()
    place.whole(job)


def test_those_who_run_as_other_users_can_read_what_is_installed(place):
    job = place.job(1)
    job.payload.chmod(0o600)
    place.whole(job)
    assert (place.root / "current" / "maps.db").stat().st_mode & 0o777 == 0o644
    assert (place.root / "current").stat().st_mode & 0o777 == 0o755


def test_a_tree_becomes_active_with_its_links_and_modes(place):
    job = place.whole(place.tree(1))
    current = place.root / "current"
    assert (current / "newest").read_bytes() == version(1)
    assert os.access(current / "run.sh", os.X_OK)
    assert place.installer.probe() == job.new
    second = place.whole(place.tree(2))
    assert (current / "newest").read_bytes() == version(2)
    assert place.installer.probe() == second.new
    assert place.names == {"b", "b.json", "current"}


def test_a_tree_of_one_file_is_no_single_file(place):
    source = place.folder / "small"
    source.mkdir()
    (source / "maps.db").write_bytes(b"x")
    job = place.whole(place.job(1, "tree", b"".join(tree.pack(source))))
    assert place.installer.probe() == job.new
    place.restart()
    assert place.installer.probe() == job.new


def test_the_active_payload_can_be_read_from_any_place_as_it_came(place):
    for make in (place.job, place.tree):
        job = place.whole(make(1 if make is place.job else 2))
        with place.installer.base() as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == job.new.sha256
            file.seek(-5, os.SEEK_END)
            assert len(file.read()) == 5
    assert place.names == {"b", "b.json", "current"}


@pytest.mark.parametrize("kind", ["file", "tree"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize("reached", range(len(VERBS)))
def test_every_verb_can_be_taken_again_after_a_restart(place, kind, first, reached):
    make = place.job if kind == "file" else place.tree
    if not first:
        place.whole(make(1))
    job = place.take(make(2), *VERBS[:reached])
    place.restart()
    for verb in VERBS[max(reached - 1, 0) :]:
        place.take(job, verb, verb)
        place.restart()
    assert place.installer.probe() == job.new
    assert len(place.names) == 3


@pytest.mark.parametrize("kind", ["file", "tree"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize("reached", range(5))
def test_the_way_back_leads_to_the_old_version_from_everywhere(place, kind, first, reached):
    make = place.job if kind == "file" else place.tree
    old = None if first else place.whole(make(1)).new
    job = place.take(make(2), *VERBS[:reached])
    place.restart()
    assert place.installer.rollback(job) is Activation.DONE
    place.restart()
    place.take(job, "rollback", "clean_up", "clean_up")
    assert place.installer.probe() == old
    assert len(place.names) == (0 if first else 3)


def test_a_payload_that_was_moved_before_the_power_went_is_found(place):
    job = place.job(1)
    place.take(job, "stage")
    assert not job.payload.exists()
    place.restart()
    place.whole(job)
    assert place.content == version(1)


def test_a_side_that_changes_between_staging_and_installing_is_not_activated(place):
    job = place.take(place.job(1), "stage")
    (place.root / "a" / "maps.db").write_bytes(version(7))
    with pytest.raises(TroubleError, match="not what was written"):
        place.installer.install(job)
    place.take(job, "rollback", "clean_up")
    assert place.names == set()


def test_a_side_that_changes_after_its_installation_is_not_verified(place):
    job = place.take(place.job(1), "stage", "install", "activate")
    place.installer.verify(job)
    (place.root / "a" / "maps.db").write_bytes(version(7))
    with pytest.raises(TroubleError, match="has changed"):
        place.installer.verify(job)


def test_a_link_that_somebody_has_switched_is_not_verified(place):
    place.whole(place.job(1))
    job = place.take(place.job(2), "stage", "install", "activate")
    durable.symlink("a", place.root / "current")
    with pytest.raises(InstallError, match="does not point to the new version"):
        place.installer.verify(job)


@pytest.fixture
def reads(monkeypatch):
    """Grows whenever a file is read for its digest."""
    reads = []

    def digest(file, name, real=hashlib.file_digest):
        reads.append(name)
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", digest)
    return reads


def test_what_was_verified_is_read_again_after_a_restart_alone(place, reads):
    job = place.take(place.job(1), "stage", "install", "activate")
    assert len(reads) == 1
    place.installer.verify(job)
    assert len(reads) == 1
    place.restart()
    place.installer.verify(job)
    assert len(reads) == 2


def test_what_was_read_right_before_it_was_moved_is_not_read_again(place, reads):
    place.whole(replace(place.job(1), fresh=True))
    assert reads == []
    place.take(replace(place.job(2), fresh=True), "stage")
    place.restart()
    place.take(place.job(2), "install")
    assert len(reads) == 1
    place.take(replace(place.job(3), fresh=True), "stage")
    (place.root / "b" / "maps.db").write_bytes(version(7))
    with pytest.raises(TroubleError, match="not what was written"):
        place.take(place.job(3), "install")


def test_what_was_copied_is_read_however_fresh_the_payload_is(place, reads, monkeypatch):
    def elsewhere(old, new):
        raise DurableError("no") from OSError(errno.EXDEV, "Invalid cross-device link")

    rename = durable.rename
    monkeypatch.setattr(
        durable,
        "rename",
        lambda old, new: elsewhere(old, new) if old.name == "1" else rename(old, new),
    )
    job = place.take(replace(place.job(1), fresh=True), "stage")
    assert job.payload.exists()
    place.take(job, "install")
    assert len(reads) == 1


@pytest.mark.parametrize("kind", ["file", "tree"])
def test_what_is_read_back_comes_from_the_disk(place, kind, monkeypatch):
    job = place.take(place.job(1) if kind == "file" else place.tree(1), "stage")
    dropped = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: dropped.append(args[3]))
    place.installer.install(job)
    assert dropped == [os.POSIX_FADV_DONTNEED] * (1 if kind == "file" else 2)


def test_a_look_reads_nothing_while_the_files_look_as_they_did(place, monkeypatch):
    job = place.whole(place.job(1))
    place.restart()
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert place.installer.probe() == job.new


def test_a_look_believes_bytes_more_than_its_record(place):
    job = place.whole(place.job(1))
    path = place.root / "current" / "maps.db"
    path.write_bytes(version(7))
    found = place.installer.probe()
    assert found == Installed("", 10_000, hashlib.sha256(version(7)).hexdigest(), 0)
    path.write_bytes(version(1))
    assert place.installer.probe() == job.new
    (place.root / "a.json").write_text("{")
    place.restart()
    assert place.installer.probe() == Installed("", 10_000, job.new.sha256, 0)


def test_what_came_with_the_vehicle_is_known_by_its_digest(place):
    (place.root / "b").mkdir(parents=True)
    (place.root / "b" / "maps.db").write_bytes(version(0))
    (place.root / "current").symlink_to("b")
    found = place.installer.probe()
    assert found == Installed("", 10_000, hashlib.sha256(version(0)).hexdigest(), 0)
    job = place.take(place.job(1), "stage", "install", "activate")
    assert place.content == version(1)
    place.take(job, "rollback", "clean_up")
    assert place.content == version(0)


def test_a_link_that_leads_nowhere_near_is_told(place):
    place.root.mkdir()
    (place.root / "current").symlink_to("/etc")
    with pytest.raises(TroubleError, match="points to no side"):
        place.installer.probe()


def test_files_of_others_in_the_folder_are_left_alone(place):
    place.root.mkdir()
    (place.root / "readme").write_text("hello")
    place.whole(place.job(1))
    assert "readme" in place.names


def test_the_health_command_decides_last(place, tmp_path):
    well = tmp_path / "well"
    place.check = Command(("test", "-e", str(well)), 10)
    place.restart()
    job = place.take(place.job(1), "stage", "install", "activate")
    with pytest.raises(UnhealthyError, match="not well"):
        place.installer.verify(job)
    well.touch()
    place.installer.verify(job)


@pytest.mark.parametrize("name", [".maps", "..", "a b", "x" * 200, "dir/.hidden"])
def test_a_name_that_no_file_should_have_is_refused(place, name):
    job = place.job(1)
    bad = Job(job.attempt, job.ecu, job.kind, Installed(name, 1, "0" * 64, 1), None, job.payload)
    with pytest.raises(InstallError, match="cannot be that of a file"):
        place.installer.stage(bad)
    assert place.names <= {"attempt.json"}


def test_bytes_that_are_no_tree_are_the_versions_fault(place):
    with pytest.raises(InstallError):
        place.installer.stage(place.job(1, "tree", b"no tar"))


def test_a_lost_journal_leaves_the_active_side_alone(place):
    job = place.whole(place.job(1))
    place.take(place.job(2), "stage", "install")
    found = place.installer.probe()
    place.installer.clean_up(Job("unknown", "maps", "file", found, found, Path("/nonexistent")))
    assert place.installer.probe() == job.new
    assert place.names == {"a", "a.json", "current"}


def test_a_volume_that_is_too_small_is_told_in_bytes(place, monkeypatch):
    job = place.tree(1)
    usage = shutil.disk_usage(place.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert place.installer.room(job) == job.new.length - 1000
    monkeypatch.undo()
    assert place.installer.room(job) == 0
