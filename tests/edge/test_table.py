"""The columns of what is stored, against dictionaries."""

import gc
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.edge import index as index_module
from bordnetz.edge import table as table_module
from bordnetz.edge.index import Index
from bordnetz.edge.segment import PRIORITIES, Place, Row, stored_size
from bordnetz.edge.table import Table

DIGESTS = [None, b"a", b"b" * 12, b"c" * 300]


def message(number, priority=5, content=None, needs=None, segment=1):
    length = number % 977
    size = stored_size(length, content, needs)
    row = Row(number, 2**64 - 1, number + 7, number / 8, priority, size, content, needs)
    return row, Place(segment, number * 3, number % 50, length, number * 2**20 % 2**32)


def read(table):
    found = {number: (table.row(number), table.place(number)) for number in table}
    assert list(found) == sorted(found)
    assert list(table.rows()) == [row for row, _ in found.values()]
    assert len(table) == len(found)
    return found


steps = st.lists(
    st.tuples(
        st.sampled_from(["new", "late", "remove", "remove first", "move", "settle"]),
        st.integers(0, 1 << 20),
        st.sampled_from(PRIORITIES),
        st.sampled_from(DIGESTS),
        st.sampled_from(DIGESTS),
    ),
    max_size=60,
)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Clear up early."""
    monkeypatch.setattr(table_module, "_MANY", 4)
    monkeypatch.setattr(index_module, "_MANY", 3)


@given(steps)
def test_a_table_is_a_dictionary_in_ascending_order(some) -> None:
    table, model, following = Table(), {}, 1
    for what, draw, priority, content, needs in some:
        there = sorted(model)
        if what == "new":
            following += 1 + draw % 3
            model[following] = message(following, priority, content, needs)
            table.add(*model[following])
        elif what == "late" and following > 1:
            number = 1 + draw % following
            if number not in model:
                model[number] = message(number, priority, content, needs)
                table.add(*model[number])
        elif what.startswith("remove") and there:
            number = there[0 if what.endswith("first") else draw % len(there)]
            assert table.remove(number) == model.pop(number)[1]
            assert table.remove(number) is None
        elif what == "move" and there:
            number = there[draw % len(there)]
            row, _ = model[number]
            table.remove(number)
            model[number] = row, message(number, segment=draw)[1]
            table.add(*model[number])
        elif what == "settle":
            table.settle()
        assert len(table) == len(model)
        for number in range(following + 2):
            assert (number in table) == (number in model)
    assert read(table) == model
    for segment in {place.segment for _, place in model.values()}:
        inside = sorted(n for n, (_, place) in model.items() if place.segment == segment)
        assert table.inside(segment) == inside


def test_a_message_that_is_not_there_is_told() -> None:
    table = Table()
    table.add(*message(5))
    table.add(*message(3))
    table.remove(5)
    for number in (1, 4, 5, 6):
        with pytest.raises(KeyError):
            table.row(number)
        with pytest.raises(KeyError):
            table.place(number)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "leave", "leave newest", "write"]),
            st.integers(0, 1 << 20),
            st.sampled_from([0, 5, 9]),
        ),
        max_size=80,
    )
)
def test_lines_hold_what_waits_in_its_order(some) -> None:
    table, following, waits = Table(), 0, {}
    index = Index(table, set())
    for what, draw, priority in some:
        there = [*waits]
        if what == "add":
            following += 1
            row, place = message(following, priority)
            table.add(row, place)
            index.add(row)
            waits[following] = row
        elif what.startswith("leave") and there:
            number = there[-1 if what.endswith("newest") else draw % len(there)]
            index.leave(number)
            del waits[number]
        elif what == "write":
            for number in index.gone:
                table.remove(number)
            index.gone.clear()
        for line in PRIORITIES:
            expected = [row for row in waits.values() if row.priority == line]
            assert list(index.waiting(line, ())) == expected
            assert list(index.waiting(line, (), newest_first=True)) == expected[::-1]
        assert list(index) == list(waits)
        assert index.used == sum(row.size for row in waits.values())
        counts = Counter(row.priority for row in waits.values())
        assert index.counts() == counts
    assert list(Index(table, index.gone)) == list(waits)


def test_what_is_known_of_a_message_takes_few_bytes() -> None:
    """An outbox of 256 MiB may hold half a million, and each of a vehicle's bytes counts."""
    gc.collect()
    tracemalloc.start()
    table = Table()
    index = Index(table, set())
    count = 50_000
    for number in range(1, count + 1):
        row, place = message(number, needs=bytes([1]) * 12)
        table.add(row, place)
        index.add(row)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == count
    assert taken / count < 100
