"""The row ``soak`` finds what it looks for: what grows, and what does not arrive as it was sent."""

from dataclasses import replace

import numpy as np
import pytest

from bordnetz.batch.message import Stamp, encode_dictionary
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import Block
from bordnetz.can.vehicle import Bus, Vehicle
from bordnetz.edge.segment import SIZE
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.pipeline import Pipeline
from bordnetz.telemetry.plan import Plan
from faults.soak_days import LONG, SHORT, Verb
from faults.soak_ledger import MORE_THREADS, Arrivals, Look, by_hour
from faults.soak_traffic import DBC, SIGNALS, frames

SENT = 1_000
FIRST = Look(
    rss=70 << 20,
    descriptors=21,
    threads=12,
    connected=True,
    held=0,
    sent=10,
    sessions=1,
    disk=SIZE,
    written=300_000,
    flushes=50,
)


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    """``messages(numbers, ...)``: a dictionary, and a batch of the frames of each argument."""
    folder = tmp_path_factory.mktemp("soak")
    (folder / "drive.dbc").write_text(DBC)
    bus = Bus(name="drive", interface="unix", channel="drive", dbc=("drive.dbc",))
    catalogue = Catalogue.load(Vehicle(name="soak", buses=[bus]).within(folder))
    desired = Desired.model_validate({"collect": [{"match": "*"}]})
    plan = Plan.of(desired, catalogue, bytes(32))

    def make(*parts):
        yield "1", encode_dictionary(plan.dictionary, 1).finish(1, 1)
        for sequence, part in enumerate(parts, 2):
            stamp = Stamp(boot=1)
            pipeline = Pipeline(plan.table, plan.dictionary, desired, Books(["drive"]), stamp, 200)
            pipeline.take(Block.of(1, part), 0)
            (draft,) = pipeline.flush(0)
            yield str(sequence), draft.finish(1, sequence)

    return make


def wrong(some, stored=SIGNALS * SENT):
    return list(Arrivals(some, SENT).wrong(stored))


def some(first, end):
    return frames(np.arange(first, end))


def test_what_arrived_once_and_as_it_was_sent_is_right(messages):
    assert wrong(messages(some(0, 400), some(400, SENT))) == []


def test_a_message_that_came_twice_is_read_once_and_counted(messages):
    sent = list(messages(some(0, 400), some(400, SENT)))
    arrivals = Arrivals([*sent, *sent[1:]], SENT)
    assert list(arrivals.wrong(SIGNALS * SENT)) == []
    assert arrivals.again == 2


def test_a_frame_that_is_missing_is_found(messages):
    assert wrong(messages(some(0, 400), some(401, SENT)), SIGNALS * (SENT - 1)) == [
        "1 of 1000 frames did not arrive"
    ]


def test_a_frame_under_two_names_is_found(messages):
    found = wrong(messages(some(0, 401), some(400, SENT)))
    assert found == ["1 frames arrived more than once", "3000 samples stored, 3003 read"]


def test_a_frame_that_nobody_sent_is_found(messages):
    assert "1 frames were not as sent" in wrong(messages(some(0, SENT + 1)))


def test_a_changed_sample_is_found(messages):
    changed = some(0, SENT)
    changed.data[7, 6] += 1
    assert wrong(messages(changed)) == ["1 frames were not as sent"]


def test_a_batch_without_its_dictionary_is_found(messages):
    _, batch = messages(some(0, SENT))
    assert "1 batches without their dictionary" in wrong([batch])


def test_what_is_as_in_the_first_hour_is_right():
    assert list(FIRST.grown(FIRST)) == []
    assert list(replace(FIRST, disk=2 * SIZE, held=1).grown(FIRST)) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"rss": 78 << 20}, "79872 KiB of memory, 71680 after the first hour"),
        ({"descriptors": 22}, "22 descriptors, 21 after the first hour"),
        ({"descriptors": 20}, "20 descriptors, 21 after the first hour"),
        ({"threads": 13 + MORE_THREADS}, "15 threads, 12 after the first hour"),
        ({"disk": 2 * SIZE + 1}, "2097153 bytes of disk for nothing, 1048576 after the first hour"),
    ],
)
def test_what_is_not_as_in_the_first_hour_is_found(more, words):
    assert list(replace(FIRST, **more).grown(FIRST)) == [words]


def test_wear_beyond_what_is_promised_is_found():
    assert list(FIRST.worn(40_000)) == []
    (words,) = replace(FIRST, written=600_000).worn(40_000)
    assert words == "600000 bytes written for 40000 of payload, 392800 are the most"
    (words,) = replace(FIRST, flushes=51).worn(40_000)
    assert words == "51 flushes for 10 messages, 50.0 are the most"


def test_a_process_that_nothing_has_happened_to_is_found():
    assert list(replace(FIRST, sessions=SHORT.sessions).unmoved(SHORT.sessions)) == []
    assert list(FIRST.unmoved(SHORT.sessions)) == ["1 sessions, 4 are the least"]


def test_the_table_has_each_hour():
    away = replace(FIRST, connected=False, held=3)
    assert by_hour([FIRST, away]).endswith("70.0/21/12/0/10, 70.0/21/12/3/10 away")


@pytest.mark.parametrize("plan", [LONG, SHORT], ids=["long", "short"])
def test_a_plan_ends_parked_with_everything_there(plan):
    minutes, verbs = zip(*plan.moments, strict=True)
    assert list(minutes) == sorted(minutes)
    assert minutes[-1] < 60 * plan.hours
    for over, begun in (
        (Verb.PARK, Verb.DRIVE),
        (Verb.OUT_OF_TUNNEL, Verb.INTO_TUNNEL),
        (Verb.CLOUD_BACK, Verb.CLOUD_AWAY),
        (Verb.HUB_BACK, Verb.HUB_AWAY),
    ):
        turns = [verb for verb in verbs if verb in (over, begun)]
        assert turns == [begun, over] * (len(turns) // 2)
    assert {Verb.DRIVE, Verb.INTO_TUNNEL, Verb.HUB_AWAY, Verb.OTHER_KEYS, Verb.CUT} <= set(verbs)
