"""The floor record on the disk."""

import os
import shutil

import pytest

from bordnetz.edge.durable import DurableError
from bordnetz.ota.floor import FloorError, FloorRecord
from bordnetz.uptane.floor import Floor

FLOOR = Floor({"director": {"root": 1, "timestamp": 7}}, {"ecu-1": 3}, 1000, 5)


@pytest.fixture
def state(tmp_path):
    return tmp_path


def test_the_first_start_has_the_factory_s_floor(state):
    assert FloorRecord(state).floor == Floor()
    assert FloorRecord(state).floor == Floor()


def test_what_was_kept_is_there_after_a_restart(state):
    FloorRecord(state).keep(FLOOR)
    assert FloorRecord(state).floor == FLOOR


def test_a_record_that_is_lost_stops_everything_and_says_what_to_do(state):
    FloorRecord(state).keep(FLOOR)
    shutil.rmtree(state / "floor")
    for _ in range(2):
        with pytest.raises(FloorError, match="is lost; nothing is installed until it is decided"):
            FloorRecord(state)


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 200])
def test_a_record_that_is_damaged_stops_everything_and_says_what_to_do(state, content):
    FloorRecord(state).keep(FLOOR)
    (state / "floor" / "floor.json").write_bytes(content)
    for _ in range(2):
        with pytest.raises(FloorError, match=r"damaged.*put it back from a copy, or, where older"):
            FloorRecord(state)


def test_what_the_error_says_to_do_helps(state):
    FloorRecord(state).keep(FLOOR)
    (state / "floor" / "floor.json").write_bytes(b"")
    with pytest.raises(FloorError):
        FloorRecord(state)
    for path in list(state.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert FloorRecord(state).floor == Floor()


def test_a_first_start_cut_off_before_the_mark_is_no_loss(state):
    FloorRecord(state)
    (state / "floor-was-kept").unlink()
    record = FloorRecord(state)
    record.keep(FLOOR)
    assert (state / "floor-was-kept").exists()
    assert FloorRecord(state).floor == FLOOR


def test_the_first_record_is_on_the_disk_before_the_mark(state, monkeypatch):
    made = []
    replace = os.rename

    def watched(old, new, **more):
        made.append(os.fspath(new).rpartition("/")[2])
        replace(old, new, **more)

    monkeypatch.setattr(os, "rename", watched)
    FloorRecord(state)
    assert made == ["floor.json", "floor-was-kept"]


def test_release_counters_rise_and_nothing_else_changes(state):
    record = FloorRecord(state)
    record.keep(FLOOR)
    record.raise_counters({"ecu-1": 2, "ecu-2": 9})
    assert record.floor == FLOOR.raise_counters({"ecu-2": 9})
    assert FloorRecord(state).floor == record.floor


def test_a_verification_that_began_before_takes_no_release_counter_back(state):
    record = FloorRecord(state)
    before = record.floor
    record.raise_counters({"ecu-1": 4})
    record.keep(before.with_versions("image", {"root": 2}))
    assert record.floor.counters == {"ecu-1": 4}
    assert record.floor.versions == {"image": {"root": 2}}


def test_a_disk_that_does_not_take_it_leaves_memory_and_disk_as_before(state, monkeypatch):
    record = FloorRecord(state)
    record.keep(FLOOR)

    def broken(descriptor):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(DurableError):
            record.raise_counters({"ecu-1": 9})
        with pytest.raises(DurableError):
            record.keep(FLOOR.with_versions("image", {"root": 2}))
    assert record.floor == FLOOR
    assert FloorRecord(state).floor == FLOOR


def test_what_is_kept_already_is_not_written_again(state, monkeypatch):
    record = FloorRecord(state)
    record.keep(FLOOR)
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("written"))
    record.keep(FLOOR)
    record.raise_counters({"ecu-1": 3})
