"""The pipeline and the books, by a clock of the tests' own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telemetry_help import DRIVE, EEC1, MOTOR, SERIAL, TRUCK, frames, motor

from bordnetz.batch.message import Resolution, Stamp
from bordnetz.batch.reader import decode_batch
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import CLASSIC_BYTES, FD_BYTES, Block, Frames
from bordnetz.can.vehicle import Bus, Vehicle
from bordnetz.telemetry import pipeline as pipeline_room
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.config import SECOND, Desired
from bordnetz.telemetry.pipeline import PATIENCE, Pipeline
from bordnetz.telemetry.plan import Plan

EPOCH = 1_700_000_000 * SECOND
BUSES = ("drive", "truck")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dbc")
    (folder / "drive.dbc").write_text(DRIVE)
    (folder / "truck.dbc").write_text(TRUCK)
    buses = [Bus(name=name, interface="unix", channel=name, dbc=(f"{name}.dbc",)) for name in BUSES]
    return Catalogue.load(Vehicle(name="test", buses=buses).within(folder))


@pytest.fixture
def work(catalogue):
    """``work(**desired)``: a pipeline with its books and dictionary."""

    def begin(**desired):
        config = Desired.model_validate({"collect": [{"match": "*"}], **desired})
        plan = Plan.of(config, catalogue, bytes(32))
        books = Books(BUSES)
        stamp = Stamp(boot=1, resolution=Resolution.MICROSECOND)
        made = Pipeline(plan.table, plan.dictionary, config, books, stamp, 200)
        return made, books, plan.dictionary

    return begin


def block(classic=None, fd=None, **counts):
    return Block.of(2, classic, fd, **counts)


def read(drafts, dictionary):
    """Samples of drafts by (name, id): values and times, in order."""
    found = {}
    for draft in drafts:
        samples = decode_batch(draft.finish(1, 1), dictionary).samples
        row = value = 0
        for g, id_, width, count in zip(
            samples.group, samples.id, samples.width, samples.count, strict=True
        ):
            names = samples.groups[g].names()[:width]
            for name in names:
                series = found.setdefault((name, int(id_)), ([], []))
                series[0].extend(samples.values[value : value + count].tolist())
                series[1].extend(samples.time[row : row + count].tolist())
                value += count
            row += count
    return found


def balanced(books):
    pages = [books.totals(), *books.by_bus().values()]
    for page in pages:
        dropped = sum(page["dropped"].values())
        assert page["received"] == page["decoded"] + page["notAsked"] + page["notData"] + dropped
    assert books.totals()["received"] == sum(page["received"] for page in pages[1:])


ids = st.sampled_from([MOTOR, SERIAL, 0x300, 0x7FF, EEC1, EEC1 + 5, 0x400])
counts = st.lists(st.integers(0, 50), min_size=2, max_size=2).map(
    lambda pair: np.array(pair, np.int64)
)


@st.composite
def some_frames(draw, width):
    n = draw(st.integers(0, 30))
    lengths = draw(st.lists(st.integers(0, width), min_size=n, max_size=n))
    seed = np.random.default_rng(draw(st.integers(0, 1000)))
    data = seed.integers(0, 256, (n, width)).astype(np.uint8)
    length = np.array(lengths, np.uint8)
    data[np.arange(width) >= length[:, None]] = 0
    steps = draw(st.lists(st.integers(-(10**12), 10**12), min_size=n, max_size=n))
    return Frames(
        time=EPOCH + 1000 * np.cumsum(np.array(steps, np.int64) // 1000),
        bus=np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.uint8),
        id=np.array(draw(st.lists(ids, min_size=n, max_size=n)), np.uint32),
        flags=np.zeros(n, np.uint8),
        length=length,
        data=data,
    )


@st.composite
def blocks(draw):
    return block(
        draw(some_frames(CLASSIC_BYTES)),
        draw(some_frames(FD_BYTES)),
        remote=draw(counts),
        error=draw(counts),
        broken=draw(counts),
        lost=draw(counts),
        unbound=draw(st.integers(0, 9)),
        illegible=draw(st.integers(0, 9)),
    )


rules = st.lists(
    st.fixed_dictionaries(
        {
            "match": st.sampled_from(["*", "drive.*", "*.Count", "truck.*", "*.Serial"]),
            "minInterval": st.sampled_from([0, 0.001, 3600]),
        }
    ),
    max_size=3,
)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_books_balance_and_no_sample_is_lost_whatever_comes(catalogue, data):
    config = Desired.model_validate({"collect": data.draw(rules), "batchWindow": 1})
    plan = Plan.of(config, catalogue, bytes(32))
    books = Books(BUSES)
    stamp = Stamp(boot=1, resolution=Resolution.MICROSECOND)
    pipeline = Pipeline(plan.table, plan.dictionary, config, books, stamp, 200)
    drafts, now, came = [], 0.0, 0
    for one in data.draw(st.lists(blocks(), max_size=6)):
        drafts += pipeline.take(one, now)
        balanced(books)
        came += int((one.received + one.lost).sum()) + one.unbound + one.illegible
        now += data.draw(st.sampled_from([0.0, 0.1, 2.0]))
        drafts += pipeline.advance(now)
        balanced(books)
        assert pipeline.samples == pipeline.held + sum(draft.samples for draft in drafts)
    drafts += pipeline.flush(now)
    balanced(books)
    assert books.totals()["received"] == came
    assert not pipeline.waiting
    assert pipeline.samples == sum(draft.samples for draft in drafts)
    found = read(drafts, plan.dictionary)
    assert sum(len(values) for values, _ in found.values()) == pipeline.samples


@given(st.lists(st.integers(-7200, 7200), min_size=1, max_size=40), st.sampled_from([0, 2, 5]))
@settings(max_examples=40, deadline=None)
def test_a_jumping_clock_reorders_nothing_within_a_series(catalogue, steps, priority):
    config = Desired.model_validate(
        {"collect": [{"match": "*.Count"}], "batchWindow": 10, "priority": priority}
    )
    plan = Plan.of(config, catalogue, bytes(32))
    stamp = Stamp(boot=1, resolution=Resolution.MICROSECOND)
    pipeline = Pipeline(plan.table, plan.dictionary, config, Books(BUSES), stamp, 200)
    times = EPOCH + SECOND * np.cumsum(np.array(steps, np.int64))
    drafts = []
    for n, time in enumerate(times):
        drafts += pipeline.take(block(frames(MOTOR, motor([n]), time)), 0.1 * n)
        drafts += pipeline.advance(0.1 * n)
    drafts += pipeline.flush(100.0)
    assert read(drafts, plan.dictionary) == {
        ("drive.Motor.Count", MOTOR): (list(range(len(steps))), times.tolist())
    }


def test_frames_thinned_away_are_not_asked_for_and_still_balance(work):
    pipeline, books, dictionary = work(collect=[{"match": "*.Count", "minInterval": 1}])
    times = EPOCH + np.arange(50) * SECOND // 10
    pipeline.take(block(frames(MOTOR, motor(range(50)), times)), 0.0)
    found = read(pipeline.flush(0.0), dictionary)
    assert found["drive.Motor.Count", MOTOR][0] == [0, 10, 20, 30, 40]
    assert (books.totals()["decoded"], books.totals()["notAsked"]) == (5, 45)


def test_a_frame_with_one_signal_thinned_and_another_kept_is_decoded_once(work):
    pipeline, books, dictionary = work(
        collect=[{"match": "*.Count", "minInterval": 3600}, {"match": "*.Speed"}]
    )
    pipeline.take(block(frames(MOTOR, motor(range(20)), EPOCH)), 0.0)
    found = read(pipeline.flush(0.0), dictionary)
    assert len(found["drive.Motor.Count", MOTOR][0]) == 1
    assert len(found["drive.Motor.Speed", MOTOR][0]) == 20
    assert (books.totals()["decoded"], books.totals()["notAsked"]) == (20, 0)


def test_urgent_batches_leave_at_the_end_of_their_window(work):
    pipeline, _, dictionary = work(priority=2, batchWindow=10)
    pipeline.take(block(frames(MOTOR, motor([1]), EPOCH)), 0.0)
    assert pipeline.advance(0.1) == []
    assert pipeline.advance(9.9) == []
    assert len(read(pipeline.advance(10.1), dictionary)) == 3
    assert not pipeline.waiting


def test_others_wait_for_a_whole_block_but_not_for_ever_even_if_no_frame_follows(work):
    pipeline, _, dictionary = work(priority=3, batchWindow=10)
    pipeline.take(block(frames(MOTOR, motor([1]), EPOCH)), 0.0)
    pipeline.advance(0.0)
    for window in range(1, PATIENCE + 1):
        assert pipeline.advance(10.0 * window) == []
        assert pipeline.waiting
    assert len(read(pipeline.advance(10.0 * (PATIENCE + 1)), dictionary)) == 3
    assert not pipeline.waiting


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_jump_of_the_frames_clock_ends_the_window(work, jump):
    pipeline, _, dictionary = work(priority=0, batchWindow=10)
    assert pipeline.take(block(frames(MOTOR, motor([1]), EPOCH)), 0.0) == []
    assert pipeline.advance(0.1) == []
    pipeline.take(block(frames(MOTOR, motor([2]), EPOCH + jump * SECOND)), 0.2)
    assert read(pipeline.advance(0.2), dictionary)["drive.Motor.Count", MOTOR][0] == [1, 2]


def test_full_batches_leave_before_their_window_ends(work):
    pipeline, _, dictionary = work(batchWindow=3600)
    random = np.random.default_rng(1)
    drafts = []
    for n in range(20):
        data = [random.bytes(8) for _ in range(pipeline_room.FULL)]
        drafts += pipeline.take(block(frames(SERIAL, data, EPOCH + n)), 0.0)
    assert drafts
    assert all(0.97 * 65_536 < draft.max_size + 200 <= 65_536 for draft in drafts)
    assert read(drafts, dictionary)


@pytest.mark.parametrize("alike", [True, False])
def test_a_batch_has_no_more_samples_than_there_is_memory_to_encode(work, alike, monkeypatch):
    monkeypatch.setattr(pipeline_room, "MOST", most := 9_000)
    pipeline, _, dictionary = work(batchWindow=3600)
    random = np.random.default_rng(1)
    drafts, came = [], 0
    for n in range(8):
        rest = bytes(8 if alike else 5)
        data = [random.bytes(8 - len(rest)) + rest for _ in range(pipeline_room.FULL)]
        drafts += pipeline.take(block(frames(SERIAL, data, EPOCH + n)), 0.0)
        came += len(data)
        assert pipeline.held <= most
        assert pipeline.held + sum(draft.samples for draft in drafts) == pipeline.samples
    assert drafts
    # What does not compress away still fills whole blocks.
    if not alike:
        blocks = np.array([(draft.max_size + 200) / 4096 for draft in drafts])
        assert (blocks / np.ceil(blocks) > 0.96).all()
    drafts += pipeline.flush(0.0)
    assert len(read(drafts, dictionary)["drive.Plate.Serial", SERIAL][0]) == came


def test_snapshot_of_a_pipeline_has_the_row_that_came_last_whatever_its_length(work):
    pipeline, _, _ = work()
    rows = [*motor([1]), *motor([2]), motor([3])[0][:4]]
    pipeline.take(block(frames(MOTOR, rows, EPOCH)), 0.0)
    pipeline.advance(0.0)
    readings, more = pipeline.latest.readings(lambda name: True, 10)
    assert [(reading.name, reading.value) for reading in readings] == [("drive.Motor.Count", 3)]
    assert more == 0
