"""Durable files, against crashes, full disks and others in the folder."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bordnetz.edge import durable
from bordnetz.edge.durable import DurableError, Lock, LockedError


@pytest.fixture
def calls(monkeypatch):
    """What the functions ask of the system, in order; each is done all the same."""
    seen: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(descriptor):
        seen.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def watched_rename(old, new, **more):
        seen.append(("rename", Path(new).name))
        rename(old, new, **more)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    return seen


def test_a_file_is_synced_before_it_has_its_name_and_the_folder_after(tmp_path, calls):
    folder = tmp_path / "state"
    folder.mkdir()
    durable.write(folder / "a", b"1")
    assert calls == [("sync", ".new-a"), ("rename", "a"), ("sync", "state")]
    assert (folder / "a").read_bytes() == b"1"


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    durable.write(tmp_path / "a", b"long before")
    durable.write(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]


def test_what_a_crash_left_under_the_new_name_does_not_get_into_the_file(tmp_path):
    (tmp_path / ".new-a").write_bytes(b"much longer than what follows")
    durable.write(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_link_under_the_new_name_is_not_followed(tmp_path):
    (tmp_path / "other").write_bytes(b"of somebody else")
    (tmp_path / ".new-a").symlink_to("other")
    with pytest.raises(DurableError):
        durable.write(tmp_path / "a", b"x")
    assert (tmp_path / "other").read_bytes() == b"of somebody else"


def test_a_failed_sync_leaves_the_old_file_and_says_why(tmp_path, monkeypatch):
    durable.write(tmp_path / "a", b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DurableError, match="disk is full; free some space"):
        durable.write(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_a_real_full_disk_leaves_the_old_file(tmp_path):
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode != 0:
        pytest.skip(f"mounting a small file system needs root: {mount.stderr.strip()}")
    try:
        durable.write(tmp_path / "a", b"old")
        with pytest.raises(DurableError, match="disk is full"):
            durable.write(tmp_path / "a", bytes(200_000))
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_file_that_is_not_there_reads_as_none(tmp_path):
    assert durable.read(tmp_path / "a", 10) is None


def test_a_file_is_read_up_to_its_limit_and_not_beyond(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    assert durable.read(tmp_path / "a", 10) == b"0123456789"
    with pytest.raises(DurableError, match="more than 9 bytes"):
        durable.read(tmp_path / "a", 9)


def test_every_folder_made_is_named_on_the_disk(tmp_path, calls):
    durable.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert calls == [("sync", tmp_path.name), ("sync", "a")]


def test_a_folder_that_is_there_is_synced_for_its_maker_may_have_been_killed(tmp_path, calls):
    (tmp_path / "a").mkdir()
    durable.make_folder(tmp_path / "a")
    assert calls == [("sync", tmp_path.name)]


def test_a_folder_whose_name_a_file_has_is_refused(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(DurableError, match="cannot make the folder"):
        durable.make_folder(tmp_path / "a")
    with pytest.raises(DurableError, match="cannot make the folder"):
        durable.make_folder(tmp_path / "a" / "b")


def test_a_rename_is_on_the_disk_in_both_folders(tmp_path, calls):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    durable.rename(tmp_path / "a" / "x", tmp_path / "b" / "y")
    assert (tmp_path / "b" / "y").read_bytes() == b"1"
    assert calls == [("rename", "y"), ("sync", "b"), ("sync", "a")]


def test_a_link_is_turned_in_one_step(tmp_path, calls):
    folder = tmp_path / "state"
    folder.mkdir()
    durable.symlink("one", folder / "current")
    (folder / ".new-current").symlink_to("left by a crash")
    calls.clear()
    durable.symlink("two", folder / "current")
    assert (folder / "current").readlink() == Path("two")
    assert calls == [("rename", "current"), ("sync", "state")]
    assert [path.name for path in folder.iterdir()] == ["current"]


def test_a_link_is_removed_and_not_what_it_points_to(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    durable.symlink("folder", tmp_path / "link")
    durable.remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "x").exists()


def test_removing_what_is_not_there_is_no_error(tmp_path):
    durable.remove(tmp_path / "a")
    durable.remove(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_loses_its_name_before_its_content(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").touch()
    (tmp_path / ".new-a").mkdir()
    (tmp_path / ".new-a" / "left by a crash").touch()

    seen = []
    removed = durable.shutil.rmtree

    def watched(path):
        seen.append([path.name for path in tmp_path.iterdir()])
        removed(path)

    monkeypatch.setattr(durable.shutil, "rmtree", watched)
    durable.remove(tmp_path / "a")
    assert seen[-1] == [".new-a"]
    assert list(tmp_path.iterdir()) == []


def test_the_sweep_takes_what_is_unfinished_and_nothing_else(tmp_path):
    (tmp_path / "keep").write_bytes(b"1")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / ".new-x").touch()
    (tmp_path / ".new-a").touch()
    (tmp_path / ".new-b").mkdir()
    (tmp_path / ".new-b" / "x").touch()
    (tmp_path / ".new-c").symlink_to("inner")
    assert durable.sweep(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inner", "keep"]
    assert (tmp_path / "inner" / ".new-x").exists()
    assert durable.sweep(tmp_path) == 0


HOLDER = """
import sys, time
from pathlib import Path
from bordnetz.edge.durable import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_other_processes_out_until_its_own_is_gone(tmp_path):
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match="in use by another process"), Lock(path):
            pass
        holder.kill()
    with Lock(path), pytest.raises(LockedError), Lock(path):
        pass
    with Lock(path):
        pass


def test_a_lock_held_is_not_taken_twice(tmp_path):
    lock = Lock(tmp_path / "lock")
    with lock, pytest.raises(LockedError, match="held already"):
        lock.__enter__()


def test_a_lock_in_no_folder_says_so(tmp_path):
    with pytest.raises(DurableError, match="cannot lock"), Lock(tmp_path / "no" / "lock"):
        pass
