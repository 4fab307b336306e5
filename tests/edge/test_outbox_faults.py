"""The outbox against what happens to disks and processes; nothing here is imitated."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Outbox, OutboxError

KIB = 1024
ROOMY = 100 * KIB * KIB

WRITER = """
import os
import sys
from pathlib import Path
from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Outbox

def tell(line):
    # In one call of the system, so that the end of the process never cuts a line.
    os.write(1, f"{line}\\n".encode())

outbox = Outbox(Path(sys.argv[1]), 50_000_000)
tell(f"id {outbox.id}")
while True:
    make = lambda o, n: Message("o", n.to_bytes(4, "big") * 5_000, properties={"n": f"{o}-{n}"})
    tell(f"put {outbox.put(make, 5)}")
    for entry in outbox.take(2)[1:]:
        outbox.acknowledge(entry)
        tell(f"acknowledged {entry.sequence}")
"""


def letter(size: int):
    return lambda *_: Message("o", bytes(size))


def test_a_killed_process_loses_no_committed_message(tmp_path):
    path = tmp_path / "outbox"
    put: set[int] = set()
    acknowledged: set[int] = set()
    identity = None
    pick = random.Random(1)
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(pick.randrange(5, 200))]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.stdout.close()
        process.wait()
        for line in lines:
            what, _, number = line.strip().partition(" ")
            if what == "id":
                assert identity in (None, number)
                identity = number
            elif what == "put":
                assert int(number) not in put
                put.add(int(number))
            else:
                acknowledged.add(int(number))
        with Outbox(path, 50_000_000) as outbox:
            found = {entry.sequence: entry.message for entry in outbox.take(1_000_000)}
            assert outbox.set_aside == 0
        assert put - acknowledged <= found.keys()
        for sequence, message in found.items():
            assert message.body == sequence.to_bytes(4, "big") * 5_000
            assert message.properties == {"n": f"{identity}-{sequence}"}
        put |= found.keys()


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 4 MiB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode != 0:
        pytest.skip(f"mounting a small file system needs root: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_the_outbox_goes_on_when_there_is_space(small_disk):
    ballast = small_disk / "ballast"
    with Outbox(small_disk / "outbox", ROOMY) as outbox:
        first = outbox.put(letter(50 * KIB), 5)
        free = os.statvfs(small_disk)
        ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 8 * KIB))
        # What the log has already is still taken.
        for _ in range(4):
            outbox.put(letter(200 * KIB), 5)
        with pytest.raises(OutboxError, match="disk is full; free some space"):
            outbox.put(letter(200 * KIB), 5)
        held = len(outbox)
        with pytest.raises(OutboxError, match="disk is full"):
            outbox.put(letter(200 * KIB), 0)
        assert len(outbox) == held
        assert outbox.take(1)[0].sequence == first
        ballast.unlink()
        last = outbox.put(letter(20 * KIB), 0)
        assert last is not None
        assert outbox.set_aside == 0
        assert outbox.dropped == {}
        assert len(outbox) == held + 1
    with Outbox(small_disk / "outbox", ROOMY) as outbox:
        assert len(outbox) == held + 1
        assert outbox.take(1)[0].sequence == last


def test_an_outbox_on_a_full_disk_tells_at_the_start_and_works_as_soon_as_there_is_space(
    small_disk, caplog
):
    free = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize))
    with Outbox(small_disk / "outbox", ROOMY) as outbox:
        assert "the disk is full" in caplog.text
        with pytest.raises(OutboxError, match="free some space"):
            outbox.put(letter(1), 5)
        (small_disk / "ballast").unlink()
        assert outbox.put(letter(1), 5) == 1


def test_on_a_full_disk_what_is_acknowledged_makes_room(small_disk):
    with Outbox(small_disk / "outbox", ROOMY) as outbox:
        with pytest.raises(OutboxError):  # noqa: PT012 - the last one of them
            while True:
                outbox.put(letter(200 * KIB), 5)
        for entry in outbox.take(10):
            outbox.acknowledge(entry)
        outbox.flush()
        for _ in range(4):
            outbox.put(letter(200 * KIB), 5)


def test_a_disk_that_is_mounted_read_only_is_said_and_the_outbox_goes_on_when_it_is_not(small_disk):
    def mount(how):
        subprocess.run(["mount", "-o", f"remount,{how}", str(small_disk)], check=True)

    with Outbox(small_disk / "outbox", ROOMY) as outbox:
        outbox.put(letter(1), 5)
    mount("ro")
    with Outbox(small_disk / "outbox", ROOMY) as outbox:
        for _ in range(2):
            with pytest.raises(OutboxError, match="Read-only file system"):
                outbox.put(letter(1), 5)
        mount("rw")
        assert outbox.put(letter(1), 5) == 2


def test_a_state_folder_of_somebody_else_is_told_with_both_users_and_the_cure(user):
    with pytest.raises(OutboxError) as refused:
        Outbox(Path("/outbox"), ROOMY)
    assert str(refused.value) == (
        "outbox /outbox: [Errno 13] Permission denied: '/outbox.lock'; / belongs to uid 0, "
        f"and this process runs as uid {user}; make it the owner of what is mounted there: "
        f"chown -R {user}:{os.getegid()} /"
    )


def test_a_file_of_the_outbox_that_may_not_be_written_is_told_with_the_cure(user):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "outbox")
        with Outbox(path, ROOMY) as outbox:
            outbox.put(letter(1), 5)
        path.chmod(0o400)
        with (
            pytest.raises(OutboxError, match=f"to write: chmod -R u\\+rwX {name}"),
            Outbox(path, ROOMY) as outbox,
        ):
            outbox.put(letter(1), 5)
        path.chmod(0o700)
        with Outbox(path, ROOMY) as outbox:
            assert [entry.sequence for entry in outbox.take(5)] == [1]


@pytest.fixture
def file_limit():
    """Sets the largest size of a file that this process may write; beyond it, write() fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_after_a_failed_write_everything_is_as_before_it(tmp_path, file_limit):
    path = tmp_path / "outbox"
    with Outbox(path, ROOMY) as outbox:
        for _ in range(3):
            outbox.put(letter(20 * KIB), 5)
        acknowledged, taken = outbox.take(2)
        outbox.acknowledge(acknowledged)
        file_limit(100 * KIB)
        with pytest.raises(OutboxError, match="the next message tries again"):
            outbox.put(letter(200 * KIB), 5)
        file_limit(resource.RLIM_INFINITY)
        assert outbox.put(letter(20 * KIB), 5) is not None
        assert acknowledged.sequence not in {entry.sequence for entry in outbox.take(10)}
        assert len(outbox) == 3
        outbox.release(taken)
        assert [entry.sequence for entry in outbox.take(10)] == [taken.sequence]
    with Outbox(path, ROOMY) as outbox:
        found = outbox.take(10)
        assert len(found) == 3
        assert {len(entry.message.body) for entry in found} == {20 * KIB}


def test_a_message_whose_storing_failed_does_not_come_back(tmp_path, file_limit):
    path = tmp_path / "outbox"
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(20 * KIB), 5)
        for _ in range(5):
            file_limit(100 * KIB)
            with pytest.raises(OutboxError):
                outbox.put(letter(200 * KIB), 5)
            file_limit(resource.RLIM_INFINITY)
            outbox.put(letter(20 * KIB), 5)
        outbox.flush()
        names = [entry.sequence for entry in outbox.take(100)]
    with Outbox(path, ROOMY) as outbox:
        assert [entry.sequence for entry in outbox.take(100)] == names
        assert len(names) == 6


@pytest.mark.parametrize("failing", [False, True])
def test_what_is_gone_stays_gone_where_the_disk_does_not_let_go_of_a_file(
    tmp_path, monkeypatch, failing
):
    path, size = tmp_path / "outbox", 64 << 10
    with Outbox(path, 1_000_000, segment=size) as outbox:
        for _ in range(30):
            outbox.put(lambda *_: Message("o", bytes(9_000)), 5)
        entries = outbox.take(18)
        # All of the first segments, and some of the next one.
        for entry in entries:
            outbox.acknowledge(entry)

        def busy(self, target):
            raise OSError(errno.EBUSY, "Device or resource busy")

        monkeypatch.setattr(Path, "replace", busy)
        if failing:

            def fail(file):
                raise OSError(errno.EIO, "Input/output error")

            with monkeypatch.context() as once:
                once.setattr(os, "fdatasync", fail)
                with pytest.raises(OutboxError):
                    outbox.flush()
        outbox.flush()
        monkeypatch.undo()
        left = [entry.sequence for entry in outbox.take(100)]
    assert left == list(range(19, 31))
    with Outbox(path, 1_000_000, segment=size) as outbox:
        assert [entry.sequence for entry in outbox.take(100)] == left
