"""The configuration at work, and its change."""

import asyncio
import time
from hashlib import sha256

import pytest
from telemetry_help import MOTOR, NO_BUNDLES, Car, frames, motor

from bordnetz.batch.reader import Reader
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.clock import boot_ns, boot_seconds
from bordnetz.can.frames import Block
from bordnetz.can.vehicle import Vehicle
from bordnetz.edge.outbox import Outbox
from bordnetz.telemetry.backlog import Backlog
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.collection import Collection
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.losses import Losses
from bordnetz.telemetry.module import Telemetry
from bordnetz.telemetry.plan import Plan, Planner
from bordnetz.telemetry.state import STALE


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
async def collection(tmp_path, car: Car):
    catalogue = Catalogue.load(car.vehicle)
    with Outbox(tmp_path / "outbox", 100_000_000) as outbox:
        backlog = Backlog(Shelf(outbox), waits=False, lost=Losses().refused)
        books = Books(catalogue.buses)
        planner = Planner(catalogue, car.vehicle.digest)
        made = Collection(planner, books, backlog, recorded=False)
        task = asyncio.create_task(backlog.run())
        yield made, backlog, outbox
        task.cancel()


def collect(*patterns, **more):
    return Desired.model_validate({"collect": [{"match": p} for p in patterns], **more})


def block(numbers):
    return Block.of(2, frames(MOTOR, motor(numbers)))


async def test_before_any_configuration_nothing_is_collected(collection):
    made, backlog, outbox = collection
    await made.take(block(range(10)))
    made.flush()
    made.send_dictionary()
    await backlog.stored_all()
    assert len(outbox) == 0
    assert made.signals == made.decoded == 0


async def test_batches_of_the_old_configuration_come_before_the_new_dictionary(collection):
    made, backlog, outbox = collection
    await made.apply(collect("*.Count"), 1)
    await made.take(block(range(5)))
    change = asyncio.create_task(made.apply(collect("*.Speed"), 2))
    number = 5
    while not change.done():
        await made.take(block([number]))
        number += 1
        await asyncio.sleep(0)
    await made.take(block([number]))
    made.flush()
    await backlog.stored_all()
    reader, batches, kinds = Reader(), [], []
    entries = sorted(outbox.take(100), key=lambda entry: entry.sequence)
    for entry in entries:
        kinds.append(entry.message.properties["schema"].split(".")[0])
        batches += reader.read(entry.message.body)
    assert kinds == ["dictionary", "batch", "dictionary", "batch"]
    assert [batch.header.stamp.campaign_version for batch in batches] == [1, 2]
    assert sum(len(batch.samples) for batch in batches) == number + 1 == made.decoded


async def test_the_dictionary_comes_again_after_its_interval_whatever_the_last_one_was(collection):
    made, _, outbox = collection
    task = asyncio.create_task(made.repeat_dictionary())
    await made.apply(collect("*.Count", dictionaryInterval=86_400), 1)
    # Shorter than an operator may ask for, so that the test need not wait.
    quick = collect("*.Count").model_copy(update={"dictionary_interval": 0.01})
    await made.apply(quick, 2)
    seen = set()
    while len(seen) < 4:
        await asyncio.sleep(0.01)
        for entry in outbox.take(100):
            assert entry.message.properties["schema"] == "dictionary.1"
            seen.add(entry.sequence)
            outbox.acknowledge(entry)
    task.cancel()


async def test_a_cancelled_flush_loses_nothing(collection):
    made, backlog, _ = collection
    await made.apply(collect("*.Count"), 1)
    await made.take(block(range(100)))

    async def flush():
        made.flush()
        await backlog.stored_all()

    task = asyncio.create_task(flush())
    await asyncio.sleep(0)
    task.cancel()
    await backlog.stored_all()
    assert backlog.stored == 100


def test_more_signals_than_a_dictionary_holds_are_refused_as_a_whole(tmp_path):
    lines = ['VERSION ""', "BS_:", "BU_: X"]
    # Names that nothing compresses: SHA-256 of numbers.

    for message in range(1500):
        lines.append(f"BO_ {message} M{message}: 8 X")
        for byte in range(8):
            name = "s" + sha256(f"{message}.{byte}".encode()).hexdigest()[:60]
            lines.append(f' SG_ {name} : {8 * byte}|8@1+ (1,0) [0|0] "" X')
    (tmp_path / "large.dbc").write_text("\n".join(lines) + "\n")
    bus = {"name": "b", "interface": "unix", "channel": "x", "dbc": ["large.dbc"]}
    vehicle = Vehicle(name="large", buses=[bus]).within(tmp_path)
    module = Telemetry(vehicle, None, NO_BUNDLES)
    (refusal,) = module.check(collect("*"))
    assert refusal.path == ("collect",)
    assert refusal.reason == (
        "the dictionary of 12000 signals is more than a message takes; collect fewer of them"
    )
    assert list(module.check(collect("b.M1.*", "b.M2.*"))) == []
    assert Plan.of(collect("b.M1.*"), Catalogue.load(vehicle), bytes(32)).signals == 8


def test_more_signals_than_the_state_has_room_for_are_refused_as_a_whole(tmp_path):
    lines = ['VERSION ""', "BS_:", "BU_: X"]
    for message in range(7):
        lines.append(f"BO_ {message} M{message}: 8 X")
        lines += [f' SG_ s{n} : {8 * n}|8@1+ (1,0) [0|0] "" X' for n in range(8)]
    (tmp_path / "many.dbc").write_text("\n".join(lines) + "\n")
    bus = {"name": "b", "interface": "unix", "channel": "x", "dbc": ["many.dbc"]}
    module = Telemetry(Vehicle(name="many", buses=[bus]).within(tmp_path), None, NO_BUNDLES)
    (refusal,) = module.check(Desired(state=["b.*"]))
    assert refusal.path == ("state",)
    assert refusal.reason == ("these are 56 signals, the state has room for 50; name fewer")
    assert list(module.check(Desired(state=[f"b.M{n}.*" for n in range(6)]))) == []


async def test_what_is_known_of_the_state_outlives_a_change_of_everything_else(collection):
    made, _, _ = collection
    await made.apply(collect("*.Count", state=["*.Speed"]), 1)
    await made.take(Block.of(2, frames(MOTOR, motor([1]), boot_ns())))
    await made.apply(collect("*.Gear", state=["*.Speed"], batchWindow=5), 2)
    assert made.state.tell(boot_seconds())["signals"] == {"drive.Motor.Speed": 50.0}
    await made.apply(collect("*.Gear", state=["*.Gear"]), 3)
    assert made.state.tell(boot_seconds())["signals"] == {}
    await made.apply(collect("*.Gear"), 4)
    assert made.state is None


async def test_in_a_sleep_values_grow_old(collection, monkeypatch):
    made, _, _ = collection
    await made.apply(collect("*.Count", state=["*.Speed"]), 1)
    await made.take(Block.of(2, frames(MOTOR, motor([1]), boot_ns())))
    made.flush()
    assert made.state.tell(boot_seconds())["ages"]["drive.Motor.Speed"] < STALE
    awake, asleep = time.clock_gettime, {time.CLOCK_BOOTTIME: STALE + 1}
    monkeypatch.setattr(time, "clock_gettime", lambda one: awake(one) + asleep.get(one, 0))
    assert made.state.tell(boot_seconds())["signals"] == {}


def test_what_was_compiled_to_be_judged_is_what_is_put_to_work(car):
    planner = Planner(Catalogue.load(car.vehicle), car.vehicle.digest)
    plan = planner.plan(collect("*.Count"))
    assert planner.plan(Desired()).signals == 0
    assert planner.plan(collect("*.Count", batchWindow=5)) is plan
    assert planner.plan(collect("*.Speed")) is not plan
