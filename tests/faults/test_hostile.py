"""The rows of hostile input and of buses find what is wrong: doors and books that are no good."""

import tempfile

import pytest

from faults import hostile
from faults.balance import unbalanced
from faults.doors import DOORS, Door
from faults.hostile import LARGEST, _tried, worse
from faults.record import Places


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(hostile, "SECONDS", 0.2)
    return Places(tmp_path)


def wrong(enter, places, seed=b"all is well", tries=200):
    door = Door("test", "for the test", enter, lambda: [seed])
    return [said for _, said in _tried(door, range(tries), places) if said]


def test_a_door_that_answers_everything_is_good(places):
    assert wrong(lambda data: None, places) == []


def test_an_exception_is_found_with_the_bytes_that_make_it(places):
    def enter(data):
        if b"\xff" in data:
            raise KeyError(data)

    found = wrong(enter, places)
    assert 0 < len(found) < 200
    assert all(said[0].startswith("KeyError") and said[1].startswith("the bytes") for said in found)


def test_an_input_that_takes_too_long_is_found(places):
    def enter(data):
        while data.startswith(b"\x80"):
            pass

    found = wrong(enter, places)
    assert found
    assert all("s of CPU" in said[0] for said in found)


def test_an_input_that_takes_too_much_memory_is_found(places):
    held = []

    def enter(data):
        if b"\xff" in data:
            held.append(bytearray(2 * hostile.MEMORY))

    assert any("MemoryError" in said[0] for said in wrong(enter, places))


@pytest.mark.parametrize("door", DOORS, ids=[door.name for door in DOORS])
def test_inputs_are_the_same_in_every_run_and_hardly_any_is_a_seed(door):
    seeds = door.seeds()
    some = [worse(door, seeds, number) for number in range(300)]
    assert some == [worse(door, seeds, number) for number in range(300)]
    assert len(set(some)) > 250
    assert len(set(some) & set(seeds)) < 30
    assert max(map(len, some)) <= LARGEST


def test_what_does_not_add_up_in_the_books_is_told():
    frames = {"a": {"received": 9, "decoded": 5, "notAsked": 2, "notData": 1, "dropped": {"x": 1}}}
    samples = {"decoded": 10, "stored": 7, "held": 1, "dropped": {"disk": 2}}
    assert unbalanced(frames, samples, {"a": 9}) == []
    assert len(unbalanced(frames, {**samples, "held": 0}, {"a": 10})) == 2
    assert len(unbalanced({"a": {**frames["a"], "notData": 0}}, samples)) == 1
