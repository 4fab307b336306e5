"""What the row `machine-power-cut` would find, is found."""

from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Entry
from faults.machine_told import Told

OUTBOX = 0xAB
BODY = b"body"
DIGEST = sha256(BODY).hexdigest()
NAME = f"{OUTBOX:016x}-1"


def entry(body=BODY):
    return Entry(OUTBOX, 1, 2, Message("batches", body), 1, 100)


@pytest.fixture
def told(tmp_path):
    def read(*lines, end="\n"):
        told = Told()
        path = tmp_path / "told"
        path.write_text("\n".join(lines) + end)
        assert told.read(path) == []
        assert not path.exists()
        return told

    return read


def test_what_is_in_the_outbox_or_at_the_hub_is_not_lost(told):
    stored = told(f"stored {NAME} {DIGEST}")
    assert stored.compare([entry()], {}) == []
    assert stored.compare([], {NAME: BODY}) == []
    assert stored.compare([], {}) == [f"lost: ['{NAME}']"]


def test_what_was_there_once_may_not_be_lost_later(told):
    later = told()
    assert later.compare([entry()], {}) == []
    assert later.compare([], {}) == [f"lost: ['{NAME}']"]


def test_what_is_gone_does_not_come_back(told):
    gone = told(f"stored {NAME} {DIGEST}", f"sent {NAME}", f"gone {NAME}")
    assert gone.compare([], {NAME: BODY}) == []
    assert gone.compare([entry()], {NAME: BODY}) == [f"come back: ['{NAME}']"]


def test_what_is_acknowledged_is_at_the_hub(told):
    sent = told(f"stored {NAME} {DIGEST}", f"sent {NAME}")
    assert sent.compare([entry()], {}) == [f"acknowledged and not at the hub: ['{NAME}']"]


def test_a_name_says_one_thing_on_the_disk_at_the_hub_and_in_every_life(told, tmp_path):
    stored = told(f"stored {NAME} {DIGEST}")
    twice = [f"{NAME} says two things"]
    assert stored.compare([entry(b"other")], {}) == twice
    assert stored.compare([], {NAME: b"other"}) == twice
    (tmp_path / "told").write_text(f"stored {NAME} 0\n")
    assert stored.read(tmp_path / "told") == twice


def test_a_line_that_the_cut_has_torn_says_nothing(told):
    assert told(f"stored {NAME} {DIGEST}", f"stored {NAME[:-1]}2 {DIGEST}", end="").bodies == {
        NAME: DIGEST
    }


def test_every_point_is_cut_with_several_losses(monkeypatch):
    # The helpers of telemetry's tests are on the path of `make faults` alone.
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "telemetry")
    from faults.killed import AT_RANDOM, POINTS
    from faults.machine_cuts import UNFLUSHED, cuts

    found = {(cut.hub, cut.point, cut.kept) for cut in cuts(54)}
    places = [(True, point) for point in (UNFLUSHED, *POINTS, AT_RANDOM)]
    places += [(False, point) for point in (UNFLUSHED, *POINTS[:3], AT_RANDOM)]
    losses = Counter((hub, point) for hub, point, _ in found)
    assert losses.keys() == set(places)
    assert min(losses.values()) >= 3
