"""What a download leaves on the disk, whatever the disk or a kill does."""

import errno
import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from downloading_car import CHUNK, CONTENT, Car, car, folder, names, store

from bordnetz.ota.fetch import CorruptError, StagingError
from bordnetz.uptane.custom import Delivery

__all__ = ["car", "folder", "store"]


def test_a_full_disk_is_told_and_what_has_come_is_kept(car, store, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk], capture_output=True, text=True
    )
    if mount.returncode != 0:
        pytest.skip(f"mounting a small file system needs root: {mount.stderr.strip()}")
    try:
        small = Car(store, disk)
        with pytest.raises(StagingError, match="full"):
            small.fetch()
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        assert small.fetch().read_bytes() == CONTENT
        assert small.cost <= len(CONTENT) + CHUNK
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_disk_that_forgets_is_found_out(car, folder, monkeypatch):
    # Between the last sync and the first reading, the disk has lost a byte.
    rename = os.rename

    def forget(old, new, **rest) -> None:
        with Path(old).open("r+b") as file:
            file.write(b"?")
        rename(old, new, **rest)

    monkeypatch.setattr(os, "rename", forget)
    with pytest.raises(CorruptError, match="other bytes"):
        car.fetch()
    assert names(folder) == []


def test_an_unwritable_folder_is_told(car, monkeypatch):
    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(StagingError, match="Input/output error"):
        car.fetch()


# killed

PROGRAM = """
import mmap, sys
from pathlib import Path
from bordnetz.ota.download import Conduct, Downloader
from bordnetz.ota.http import HttpSource
from bordnetz.uptane.custom import Delivery
url, ca, folder, delivery, counter = sys.argv[1:]
with open(counter, "r+b") as file:
    count = mmap.mmap(file.fileno(), 8)
def received(size):
    count[:] = (int.from_bytes(count[:], "little") + size).to_bytes(8, "little")
    if size:
        print(".", end="", flush=True)
with HttpSource(url, ca=Path(ca)) as source:
    Downloader(source, Conduct()).fetch(
        Delivery.model_validate_json(delivery), Path(folder), None, received)
"""


def test_a_kill_at_any_moment_repeats_a_mebibyte_at_most(store, folder, tmp_path):
    rng = random.Random(os.urandom(8))
    counter = tmp_path / "counter"
    content = rng.randbytes(8 << 20)
    delivery = Delivery(
        name="big",
        length=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        encoding="identity",
    )
    store.put(delivery.path, content)
    whole = folder / delivery.sha256
    kills = came_in_all = had = 0
    while kills < 2 or not whole.exists():
        if whole.exists():
            # The kill came too late, and struck nothing.
            whole.unlink()
            store.sent = kills = came_in_all = had = 0
        counter.write_bytes(bytes(8))
        store.requests.clear()
        arguments = [store.url, store.ca, folder, delivery.model_dump_json(), counter]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE
        )
        # As soon as so many pieces have come, wherever it is by then.
        process.stdout.read(rng.randrange(1, 250))
        process.kill()
        process.wait()
        process.stdout.close()
        kills += 1
        came = int.from_bytes(counter.read_bytes(), "little")
        came_in_all += came
        if store.requests:
            (start,) = store.starts()
            assert had - (1 << 20) <= start <= had
            had = start + came
    assert whole.read_bytes() == content
    assert came_in_all - len(content) <= (kills - 1) * (1 << 20)
    # Also of what had come and was not read, as far as the store knows it.
    assert store.sent - len(content) <= (kills - 1) * (1 << 20)
