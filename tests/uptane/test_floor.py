"""What the vehicle must never fall below, as a value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.uptane import floor as floor_module
from bordnetz.uptane.floor import Floor, FloorError
from bordnetz.uptane.time import TrustedTime

names = st.text(max_size=8)
numbers = st.integers(0, (1 << 53) - 1)
counts = st.dictionaries(names, numbers, max_size=4)
floors = st.builds(Floor, st.dictionaries(names, counts, max_size=3), counts, numbers, numbers)


@given(floors)
def test_a_record_is_read_as_it_was_written(floor):
    assert Floor.from_json(floor.to_json()) == floor


@given(floors, st.data())
def test_a_record_with_any_byte_changed_is_refused(floor, data):
    record = bytearray(floor.to_json())
    place = data.draw(st.integers(0, len(record) - 1))
    record[place] ^= data.draw(st.integers(1, 255))
    try:
        read = Floor.from_json(bytes(record))
    except FloorError:
        return
    # JSON has more than one way to write a thing, as \\u0041; but never another thing.
    assert read == floor


@given(floors, st.data())
def test_a_record_cut_off_anywhere_is_refused(floor, data):
    record = floor.to_json()
    with pytest.raises(FloorError):
        Floor.from_json(record[: data.draw(st.integers(0, len(record) - 1))])


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b'{"floor":{},"sha256":""}', b"\xff"])
def test_what_is_no_record_is_refused(data):
    with pytest.raises(FloorError):
        Floor.from_json(data)


def test_a_record_of_another_version_is_refused():
    content = json.loads(Floor().to_json())["floor"] | {"format": 2}
    record = {"floor": content, "sha256": floor_module._digest(content)}
    with pytest.raises(FloorError, match="another version"):
        Floor.from_json(json.dumps(record).encode())


@given(floors, counts)
def test_counters_only_rise(floor, counters):
    raised = floor.raise_counters(counters)
    for ecu in floor.counters.keys() | counters.keys():
        expected = max(floor.counters.get(ecu, 0), counters.get(ecu, 0))
        assert raised.counters[ecu] == expected
    assert (raised.versions, raised.time, raised.sequence) == (
        floor.versions,
        floor.time,
        floor.sequence,
    )


def test_versions_of_one_repository_do_not_touch_the_other_s():
    floor = Floor().with_versions("director", {"root": 3}).with_versions("image", {"root": 5})
    assert floor.versions == {"director": {"root": 3}, "image": {"root": 5}}
    assert floor.with_versions("image", {"root": 6}).versions["director"] == {"root": 3}


def test_the_time_is_kept_with_its_sequence():
    floor = Floor().with_time(TrustedTime(5, 2))
    assert floor.trusted_time == TrustedTime(5, 2)
