"""Gaps and filters on the way through telemetry."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from telemetry_help import MOTOR, frames, motor

from bordnetz.batch.message import MOST_GAPS, Resolution, Stamp
from bordnetz.batch.reader import Reader, decode_batch
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.filters import Filters, Interest
from bordnetz.can.frames import Block
from bordnetz.edge.outbox import Outbox
from bordnetz.series import Cause, Gap
from bordnetz.telemetry.backlog import Backlog
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.collection import Collection
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.losses import Losses
from bordnetz.telemetry.pipeline import Pipeline
from bordnetz.telemetry.plan import Plan, Planner

S = 10**9
EPOCH = 1_700_000_000 * S
DOWN = Gap("truck", Cause.DOWN, EPOCH)
OVER = Gap("truck", Cause.DOWN, EPOCH, EPOCH + 2 * S)


def desired(*patterns, **more):
    return Desired.model_validate({"collect": [{"match": one} for one in patterns], **more})


@pytest.fixture
def catalogue(car):
    return Catalogue.load(car.vehicle)


@pytest.fixture
def work(catalogue):
    """``work(...)``: a pipeline for a configuration, and its dictionary."""

    def begin(config):
        plan = Plan.of(config, catalogue, bytes(32))
        stamp = Stamp(boot=1, resolution=Resolution.MICROSECOND)
        books = Books(catalogue.buses)
        return Pipeline(plan.table, plan.dictionary, config, books, stamp, 200), plan.dictionary

    return begin


def read(drafts, dictionary):
    return [decode_batch(draft.finish(1, 1), dictionary) for draft in drafts]


def motors(numbers):
    return Block.of(2, frames(MOTOR, motor(numbers), EPOCH))


def test_gaps_leave_with_the_next_batch_and_once(work) -> None:
    pipeline, dictionary = work(desired("*", batchWindow=10, priority=0))
    pipeline.take(Block.of(2, gaps=(DOWN,)), 0)
    pipeline.take(motors(range(5)), 1)
    pipeline.take(Block.of(2, gaps=(OVER,)), 2)
    assert pipeline.advance(9) == []
    (batch,) = read(pipeline.advance(10), dictionary)
    assert batch.gaps == (DOWN, OVER)
    assert len(batch.samples) == 15
    assert not pipeline.waiting
    pipeline.take(motors(range(5)), 11)
    (batch,) = read(pipeline.flush(12), dictionary)
    assert batch.gaps == ()


def test_without_samples_gaps_leave_at_the_end_of_the_window(work) -> None:
    pipeline, dictionary = work(desired("*", batchWindow=10))
    pipeline.take(Block.of(2, gaps=(DOWN,)), 0)
    assert pipeline.waiting
    assert pipeline.rest(3) == 7
    assert pipeline.advance(9) == []
    (batch,) = read(pipeline.advance(10), dictionary)
    assert batch.gaps == (DOWN,)
    assert len(batch.samples) == 0
    assert not pipeline.waiting
    assert pipeline.rest(10) is None
    assert pipeline.flush(11) == []


def test_gaps_wait_with_samples_that_do_not_fill_a_block_yet(work) -> None:
    pipeline, dictionary = work(desired("*", batchWindow=10, priority=5))
    pipeline.take(Block.of(2, gaps=(DOWN,)), 0)
    pipeline.take(motors(range(5)), 0)
    assert pipeline.advance(10) == []
    (batch,) = read(pipeline.flush(11), dictionary)
    assert batch.gaps == (DOWN,)
    assert len(batch.samples) == 15


def test_where_nothing_is_collected_gaps_are_of_no_interest(work) -> None:
    pipeline, _ = work(Desired())
    pipeline.take(Block.of(2, gaps=(DOWN,)), 0)
    assert not pipeline.waiting
    assert pipeline.flush(1) == []


def test_a_bus_that_comes_and_goes_fills_no_memory(work) -> None:
    pipeline, dictionary = work(desired("*"))
    for n in range(3 * MOST_GAPS):
        pipeline.take(Block.of(2, gaps=(Gap("truck", Cause.DOWN, EPOCH + n * S),)), 0)
    (batch,) = read(pipeline.flush(1), dictionary)
    # The last ones are the ones that tell what is.
    assert batch.gaps[-1].start == EPOCH + (3 * MOST_GAPS - 1) * S
    assert len(batch.gaps) == MOST_GAPS


# -- a change of configuration


class Shelf:
    """An edge that has an outbox and nothing else."""

    def __init__(self, outbox):
        self.outbox = outbox

    @property
    def room(self):
        return self.outbox.room

    async def put(self, make, priority, *, content=None, needs=None, size=0):
        await asyncio.sleep(0)
        return self.outbox.put(make, priority, content=content, needs=needs)


@pytest.fixture
async def collection(tmp_path, car, catalogue):
    """A collection, its backlog and outbox, and what was wanted one after the other."""
    wanted = []
    with Outbox(tmp_path / "outbox", 100_000_000) as outbox:
        backlog = Backlog(Shelf(outbox), waits=False, lost=Losses().refused)
        planner = Planner(catalogue, car.vehicle.digest)
        made = Collection(
            planner, Books(catalogue.buses), backlog, recorded=False, want=wanted.append
        )
        tasks = [asyncio.create_task(one) for one in (backlog.run(), made.advance(0.01))]
        yield made, backlog, outbox, wanted
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(done):
    """Waits; the test's time limit bounds it."""
    while True:
        if done():
            return
        await asyncio.sleep(0.01)


def batches(outbox):
    reader = Reader()
    return [one for entry in outbox.take(100) for one in reader.read(entry.message.body)]


def on_boot_clock(batch):
    """The gaps of a live batch with the times that they were told with."""
    ahead = batch.header.stamp.ahead
    return tuple(
        replace(gap, start=gap.start - ahead, end=None if gap.end is None else gap.end - ahead)
        for gap in batch.gaps
    )


async def test_a_gap_that_lasts_is_told_under_every_configuration(collection) -> None:
    made, backlog, outbox, _ = collection
    await made.apply(desired("*.Count"), 1)
    await made.take(Block.of(2, gaps=(DOWN,)))
    await made.apply(desired("*.Speed"), 2)
    await made.take(Block.of(2, gaps=(OVER,)))
    await made.apply(desired("*.Gear"), 3)
    made.flush()
    await backlog.stored_all()
    told = [(one.header.stamp.campaign_version, on_boot_clock(one)) for one in batches(outbox)]
    assert told == [(1, (DOWN,)), (2, (DOWN, OVER))]
    # They count as batches, with no samples.
    assert (backlog.batches, backlog.stored, backlog.answers) == (2, 0, 0)


async def test_a_gap_leaves_at_the_end_of_its_window_though_no_frame_comes(collection) -> None:
    made, backlog, outbox, _ = collection
    await made.apply(desired("*.Count", batchWindow=0.1), 1)
    await made.take(Block.of(2, gaps=(DOWN,)))
    await until(lambda: backlog.batches)
    assert [on_boot_clock(one) for one in batches(outbox)] == [(DOWN,)]


def kinds(interests):
    return [Filters.of(one for one in interests if one.bus == bus).kind for bus in range(2)]


async def test_the_kernel_is_asked_for_what_either_configuration_needs_while_one_gives_way(
    collection,
) -> None:
    made, _, _, wanted = collection
    await made.apply(desired("*.Motor.*"), 1)
    motor_alone = {Interest.of(0, MOTOR)}
    assert wanted == [frozenset(), motor_alone, motor_alone]
    assert kinds(wanted[-1]) == ["exact", "none"]
    await made.apply(desired("drive.Plate.*", state=["*.Inner"]), 2)
    others = {Interest.of(0, 0x200), Interest.of(0, 0x300)}
    assert wanted[3:] == [motor_alone | others, others]


async def test_the_frames_of_messages_of_many_frames_are_asked_for(collection) -> None:
    made, _, _, wanted = collection
    await made.apply(desired("truck.EEC1.*"), 1)
    passing = Filters.of(wanted[-1])
    groups = {(number >> 8 & 0x3FF00) for number, _ in passing.pairs}
    assert {0xEC00, 0xEB00} <= groups
