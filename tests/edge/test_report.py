import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.edge.report import Reporter, difference
from bordnetz.edge.twin import merged

VALUES = st.recursive(
    st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2) | st.lists(st.integers(0, 2)),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def exact(value):
    """Tells True from 1, as JSON does."""
    if isinstance(value, dict):
        return {name: exact(inner) for name, inner in value.items()}
    return type(value).__name__, value


@given(DOCUMENTS, DOCUMENTS)
def test_the_patch_makes_the_new_document_out_of_the_old_one(old, new):
    assert exact(merged(old, difference(old, new))) == exact(new)


@given(DOCUMENTS)
def test_nothing_changed_is_nothing_sent(document):
    assert difference(document, document) == {}


@pytest.mark.parametrize("name", ["", "a.b", "$a", "a#", "a b"])
def test_names_that_a_twin_cannot_hold_are_refused(name):
    with pytest.raises(ValueError, match="cannot name"):
        Reporter(5).set(name, 1)
    with pytest.raises(ValueError, match="cannot name"):
        Reporter(5).set("outer", {name: 1})


def test_what_a_twin_cannot_hold_is_refused():
    deep = {}
    for _ in range(11):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="deeper than 10"):
        Reporter(5).set("deep", deep)
    with pytest.raises(ValueError, match="10000 bytes"):
        Reporter(5).set("long", "x" * 20_000)


class Hub:
    """A link that is always up and keeps what is reported."""

    def __init__(self):
        self.patches = asyncio.Queue()

    async def up(self):
        pass

    async def report(self, patch):
        self.patches.put_nowait(patch)


async def test_what_changes_quickly_is_reported_once_with_its_last_value():
    reporter = Reporter(interval=0.05)
    hub = Hub()

    async def settled():
        pass

    reporter.shown({"stale": 1, "level": 1, "$version": 3})
    running = asyncio.create_task(reporter.run(hub, settled))
    for level in range(1, 6):
        reporter.set("level", level)
    assert await asyncio.wait_for(hub.patches.get(), 60) == {"stale": None, "level": 5}
    reporter.set("level", 6)
    reporter.set("level", 5)
    reporter.set("other", 1)
    assert await asyncio.wait_for(hub.patches.get(), 60) == {"other": 1}
    reporter.set("other", None)
    reporter.acknowledge({"period": {"value": 1, "ac": 200}})
    wanted = {"other": None, "period": {"value": 1, "ac": 200}}
    assert await asyncio.wait_for(hub.patches.get(), 60) == wanted
    running.cancel()
