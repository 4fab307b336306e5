"""Payloads come by the cheapest delivery that works, and never as anything but themselves."""

import hashlib
import io
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import detools
import pytest
from misbehaving_store import MisbehavingStore, cut, endless, flip, status

from bordnetz.edge.durable import DurableError
from bordnetz.ota.copier import Copier
from bordnetz.ota.download import Conduct, Downloader
from bordnetz.ota.fetch import BudgetError, Fetcher
from bordnetz.ota.folder import FolderSource
from bordnetz.ota.http import HttpSource
from bordnetz.ota.installers.installer import Activation, Installer, InstallError, Job
from bordnetz.ota.payloads import StagedPayloads
from bordnetz.ota.ports import HaltedError
from bordnetz.ota.source import MissingError, NeedsUrlError, UnreachableError
from bordnetz.payload.errors import DeltaError, FrameError
from bordnetz.payload.zstd import compress
from bordnetz.uptane.custom import Delivery
from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.target import Target

RNG = random.Random(3)
OLD = b"".join(b"line %d of the old one\n" % RNG.randrange(10**9) for _ in range(20_000))
NEW = OLD[5000:400_000] + RNG.randbytes(1000) + OLD[390_000:]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zstd_of(data: bytes) -> bytes:
    return b"".join(compress(io.BytesIO(data), len(data)))


def delta_of(old: bytes, new: bytes) -> bytes:
    made = io.BytesIO()
    detools.create_patch(io.BytesIO(old), io.BytesIO(new), made, compression="lzma")
    return made.getvalue()


ZSTD = zstd_of(NEW)
DELTA = delta_of(OLD, NEW)


class Place(Installer):
    """A target of which only what is active matters."""

    kinds = frozenset(["file"])

    def __init__(self, active: bytes | None) -> None:
        self.active = active
        self.reads = 0

    def base(self) -> BinaryIO | None:
        self.reads += 1
        return None if self.active is None else io.BytesIO(self.active)

    def _no(self, *_: Job) -> Activation:
        raise AssertionError("nothing is installed here")

    probe = room = stage = install = activate = verify = commit = rollback = clean_up = _no


class World:
    """A store, a car, and what was told."""

    def __init__(self, store: MisbehavingStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.cost = 0
        self.useless: list[tuple[str, type]] = []
        self.deliveries: list[Delivery] = []
        self.place = Place(OLD)
        self.http = HttpSource(store.url, ca=store.ca)
        conduct = Conduct(sleep=lambda _: None, attempts=3)
        self.fetcher: Callable[[], Fetcher] = lambda: Downloader(self.http, conduct)
        self.payloads = StagedPayloads(folder, lambda: self.fetcher(), self._useless)

    def _useless(self, target: Target, delivery: Delivery, error: Exception) -> None:
        self.useless.append((delivery.encoding, type(error)))

    def offer(self, encoding: str, data: bytes, base: bytes | None = None) -> Delivery:
        delivery = Delivery(
            name="app",
            length=len(data),
            sha256=digest(data),
            encoding=encoding,
            base=None if base is None else digest(base),
        )
        self.store.put(delivery.path, data)
        self.deliveries.append(delivery)
        return delivery

    def target(self, new: bytes = NEW, ecu: str = "hmi", **hashes: str) -> Target:
        return Target(
            ecu=ecu,
            hardware_id="hw",
            name="app",
            length=len(new),
            hashes={"sha256": digest(new), **hashes},
            counter=1,
            kind="file",
            deliveries=tuple(self.deliveries),
        )

    def obtain(self, budget: int | None = None, target: Target | None = None) -> bytes:
        path = self.payloads.obtain(target or self.target(), self.place, budget, self.count)
        assert path.parent == self.folder
        return path.read_bytes()

    def count(self, size: int) -> None:
        self.cost += size

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def world(tmp_path):
    with MisbehavingStore(tmp_path / "store") as store:
        world = World(store, tmp_path / "state" / "staging")
        with world.http:
            yield world


@pytest.fixture
def full(world) -> World:
    """All three ways."""
    world.offer("identity", NEW)
    world.offer("delta", DELTA, OLD)
    world.offer("zstd", ZSTD)
    return world


# which delivery


def test_a_delta_comes_where_what_it_starts_from_is_active(full):
    assert full.obtain() == NEW
    assert full.cost == len(DELTA)
    assert full.names == [f"hmi.{digest(NEW)}"]


@pytest.mark.parametrize("active", [None, b"", OLD[:-1], OLD + b"x"])
def test_a_delta_for_another_base_does_not_even_come(full, active):
    full.place.active = active
    assert full.obtain() == NEW
    assert full.cost == len(ZSTD)


def test_what_is_active_is_read_once_however_many_deltas_there_are(full):
    for n in range(5):
        full.offer("delta", b"%d" % n, b"another %d" % n)
    assert full.obtain() == NEW
    assert full.place.reads == 1
    assert full.cost == len(DELTA)


def test_what_is_active_is_not_read_where_there_is_no_delta(world):
    world.offer("zstd", ZSTD)
    assert world.obtain() == NEW
    assert world.place.reads == 0


def test_what_is_active_but_cannot_be_read_is_no_base(full):
    def fail() -> None:
        raise InstallError("the slot is mounted")

    full.place.base = fail
    assert full.obtain() == NEW
    assert full.cost == len(ZSTD)


def test_the_plain_one_comes_where_it_is_the_smallest(world):
    noise = RNG.randbytes(100_000)
    world.offer("zstd", zstd_of(noise))
    world.offer("identity", noise)
    assert world.obtain(target=world.target(noise)) == noise
    assert world.cost == len(noise)
    assert world.names == [f"hmi.{digest(noise)}"]


def test_one_that_is_nearly_here_is_the_cheapest(full):
    full.store.always = cut(len(ZSTD) - 10)
    zstd = full.deliveries[2]
    full.folder.mkdir(parents=True)
    with pytest.raises(UnreachableError):
        Downloader(full.http, Conduct(attempts=1)).fetch(zstd, full.folder, None, full.count)
    full.store.always, full.cost = None, 0
    assert full.obtain() == NEW
    assert full.cost == 10


def test_a_payload_that_is_there_does_not_come_again(full):
    full.obtain()
    full.store.requests.clear()
    assert full.obtain() == NEW
    assert full.store.requests == []


def test_a_payload_that_is_there_and_damaged_comes_again(full):
    full.obtain()
    path = full.folder / full.names[0]
    path.write_bytes(NEW[:-1] + b"x")
    assert full.obtain() == NEW
    path.write_bytes(NEW[:-1])
    assert full.obtain() == NEW


def test_the_same_payload_for_another_ecu_does_not_come_again(full):
    full.obtain()
    full.store.requests.clear()
    assert full.obtain(target=full.target(ecu="cluster")) == NEW
    assert full.store.requests == []
    assert full.names == [f"cluster.{digest(NEW)}", f"hmi.{digest(NEW)}"]
    full.payloads.discard(full.target())
    assert full.names == [f"cluster.{digest(NEW)}"]


# when one does not work


def broken(delivery: Delivery) -> bytes:
    return RNG.randbytes(delivery.length)


def test_a_delta_that_is_not_there_gives_way(full):
    del full.store.files[f"/targets/{full.deliveries[1].path}"]
    assert full.obtain() == NEW
    assert full.useless == [("delta", MissingError)]
    assert full.cost == len(ZSTD)


def test_a_delta_with_the_wrong_bytes_gives_way_and_its_bytes_count(full):
    full.store.files[f"/targets/{full.deliveries[1].path}"] = broken(full.deliveries[1])
    assert full.obtain() == NEW
    assert full.useless == [("delta", UptaneError)]
    assert full.cost == 2 * len(DELTA) + len(ZSTD)
    assert full.names == [f"hmi.{digest(NEW)}"]


def test_an_endless_delta_gives_way(full):
    full.store.faults = [endless]
    assert full.obtain() == NEW
    assert full.useless == [("delta", UptaneError)]


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        (b"\x01garbage", DeltaError),
        (DELTA[:-1], DeltaError),
        (delta_of(OLD, NEW[:-1] + b"x"), UptaneError),
        (delta_of(OLD, NEW + b"x"), DeltaError),
    ],
    ids=["garbage", "truncated", "another result", "a longer result"],
)
def test_a_delta_that_does_not_give_the_payload_gives_way(world, patch, error):
    world.offer("delta", patch, OLD)
    world.offer("zstd", ZSTD)
    assert world.obtain() == NEW
    assert world.useless == [("delta", error)]
    assert world.cost == len(patch) + len(ZSTD)
    assert world.names == [f"hmi.{digest(NEW)}"]


def test_a_compressed_one_that_does_not_give_the_payload_gives_way(world):
    world.offer("zstd", zstd_of(NEW[::-1]))
    world.offer("zstd", ZSTD + b"x")
    world.offer("identity", NEW)
    assert world.obtain() == NEW
    assert sorted(world.useless, key=str) == [("zstd", FrameError), ("zstd", UptaneError)]


def test_a_plain_one_that_is_not_the_payload_does_not_even_come(world):
    world.offer("identity", NEW[:-1])
    world.offer("zstd", ZSTD)
    assert world.obtain() == NEW
    world = World(world.store, world.folder / "second")
    world.offer("identity", NEW[:-1])
    with pytest.raises(UptaneError) as error:
        world.obtain()
    assert error.value.kind is Kind.BAD_METADATA
    assert world.cost == 0


def test_when_nothing_works_the_last_reason_is_told_and_nothing_is_left(world):
    world.offer("delta", b"\x01garbage", OLD)
    world.offer("zstd", zstd_of(NEW[::-1]))
    with pytest.raises(UptaneError) as error:
        world.obtain()
    assert error.value.kind is Kind.ARBITRARY_SOFTWARE
    assert [encoding for encoding, _ in world.useless] == ["delta", "zstd"]
    assert world.names == []


def test_where_only_deltas_for_other_bases_are_offered_that_is_told(world):
    world.offer("delta", DELTA, b"another")
    with pytest.raises(UptaneError, match="no delivery that fits"):
        world.obtain()


@pytest.mark.parametrize(
    ("fault", "error"), [(status(403), NeedsUrlError), (status(500), UnreachableError)]
)
def test_what_may_work_later_does_not_give_way(full, fault, error):
    full.store.always = fault
    with pytest.raises(error):
        full.obtain()
    assert full.useless == []
    full.store.always = None
    assert full.obtain() == NEW
    assert full.cost == len(DELTA)


def test_a_store_without_an_address_is_told_before_anything(full):
    def none() -> Fetcher:
        raise NeedsUrlError("no address")

    full.fetcher = none
    with pytest.raises(NeedsUrlError):
        full.obtain()


# what it may cost


def test_the_full_one_does_not_come_where_the_budget_covers_only_the_delta(full):
    full.store.files[f"/targets/{full.deliveries[1].path}"] = broken(full.deliveries[1])
    with pytest.raises(BudgetError, match=r"zstd.*most_bytes.*of no use: .*other bytes"):
        full.obtain(budget=2 * len(DELTA) + len(ZSTD) - 1)
    assert full.cost == 2 * len(DELTA)


def test_the_full_one_comes_where_the_budget_covers_both(full):
    full.store.files[f"/targets/{full.deliveries[1].path}"] = broken(full.deliveries[1])
    assert full.obtain(budget=2 * len(DELTA) + len(ZSTD)) == NEW


def test_nothing_comes_where_the_budget_covers_nothing(full):
    full.place.active = None
    with pytest.raises(BudgetError, match=f"{len(ZSTD)} bytes"):
        full.obtain(budget=len(ZSTD) - 1)
    assert full.store.requests == []


# all hashes


@pytest.mark.parametrize("encoding", ["identity", "delta", "zstd"])
def test_every_hash_that_the_metadata_have_is_compared(full, encoding):
    full.deliveries = [d for d in full.deliveries if d.encoding == encoding]
    with pytest.raises(UptaneError) as error:
        full.obtain(target=full.target(sha512="0" * 128))
    assert error.value.kind is Kind.ARBITRARY_SOFTWARE
    assert full.names == []
    assert full.obtain(target=full.target(sha512=hashlib.sha512(NEW).hexdigest())) == NEW


def test_a_hash_of_an_unknown_kind_is_no_hash(full):
    with pytest.raises(UptaneError, match="not known") as error:
        full.obtain(target=full.target(crc32="0"))
    assert error.value.kind is Kind.BAD_METADATA


# what is left


def test_sweeping_leaves_what_belongs_to_what_is_kept(full):
    full.obtain()
    other = full.target(NEW[::-1], "other")
    full.store.always = cut(100)
    full.folder.joinpath("unknown").write_bytes(b"x")
    full.folder.joinpath(f".new-hmi.{digest(NEW)}").write_bytes(b"x")
    with pytest.raises(UnreachableError):
        full.obtain(target=full.target(NEW[::-1], "other"))
    full.payloads.sweep([other])
    assert len(full.names) == 2
    assert {Path(name).suffix for name in full.names} == {".part", ".record"}
    full.payloads.sweep([])
    assert full.names == []


def test_discarding_leaves_nothing_of_a_target(full):
    full.store.always = cut(100)
    with pytest.raises(UnreachableError):
        full.obtain()
    full.store.always = None
    full.obtain()
    full.payloads.discard(full.target())
    assert full.names == []


def test_the_caller_can_stop_it_wherever_it_is_asked(full):
    calls = stop = 0

    def received(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise HaltedError("enough")

    while True:
        calls, stop = 0, stop + 1
        try:
            full.payloads.obtain(full.target(), full.place, None, received)
        except HaltedError:
            assert not [name for name in full.names if name.startswith((".new", "hmi"))]
        else:
            break
    assert stop > 8
    assert full.obtain() == NEW


# from a stick


@pytest.fixture
def stick(full, tmp_path) -> World:
    folder = tmp_path / "stick"
    folder.mkdir()
    for delivery in full.deliveries:
        (folder / delivery.path).write_bytes(full.store.files[f"/targets/{delivery.path}"])
    full.fetcher = lambda: Copier(FolderSource(folder))
    full.stick = folder
    return full


def test_from_a_stick_the_plain_one_is_copied_and_costs_nothing(stick):
    assert stick.obtain(budget=0) == NEW
    assert stick.cost == 0
    assert stick.place.reads == 0
    assert stick.names == [f"hmi.{digest(NEW)}"]
    assert stick.store.requests == []


def test_a_stick_with_only_a_delta_is_enough(stick):
    for delivery in stick.deliveries:
        if delivery.encoding != "delta":
            (stick.stick / delivery.path).unlink()
    assert stick.obtain() == NEW
    assert stick.useless == [("identity", MissingError), ("zstd", MissingError)]


@pytest.mark.parametrize("damage", ["flip", "longer", "shorter", "link", "folder"])
def test_what_is_wrong_on_a_stick_gives_way(stick, damage, tmp_path):
    path = stick.stick / stick.deliveries[0].path
    if damage == "flip":
        path.write_bytes(NEW[:-1] + b"x")
    elif damage == "longer":
        path.write_bytes(NEW + b"x")
    elif damage == "shorter":
        path.write_bytes(NEW[:-1])
    elif damage == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        path.mkdir()
    assert stick.obtain() == NEW
    assert [encoding for encoding, _ in stick.useless] == ["identity"]
    assert stick.names == [f"hmi.{digest(NEW)}"]


def test_a_stick_that_is_pulled_out_is_waited_for(stick, tmp_path):
    stick.stick.rename(tmp_path / "pocket")
    with pytest.raises(UnreachableError, match="plugged in"):
        stick.obtain()
    (tmp_path / "pocket").rename(stick.stick)
    assert stick.obtain() == NEW


def test_a_copy_is_hashed_once_and_only_after_it_was_written(stick, monkeypatch):
    events = []
    fsync = os.fsync
    for name in ("file_digest", "new"):
        real = getattr(hashlib, name)
        monkeypatch.setattr(
            hashlib, name, lambda *a, real=real: (events.append("hash"), real(*a))[1]
        )
    monkeypatch.setattr(os, "fsync", lambda d: (events.append("sync"), fsync(d))[1])
    stick.obtain()
    assert events.count("hash") == 1
    assert "sync" in events[: events.index("hash")]


def test_a_full_disk_is_told(stick, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DurableError, match="full"):
        stick.obtain()
    monkeypatch.undo()
    assert stick.names == []


def test_a_flipped_bit_on_the_way_costs_one_more_download(full):
    full.store.faults = [flip(10)]
    assert full.obtain() == NEW
    assert full.cost == 2 * len(DELTA)
