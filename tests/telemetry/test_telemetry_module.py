"""The life of the module: how it ends when a bus fails, and when it is cancelled or stopped."""

import asyncio
from contextlib import ExitStack, suppress

import pytest
from telemetry_help import MOTOR, NO_BUNDLES, frames, motor

from bordnetz.can.cache import Cache
from bordnetz.can.errors import BusError
from bordnetz.can.frames import Block
from bordnetz.can.sources.source import Source
from bordnetz.edge.metrics import Metrics
from bordnetz.edge.outbox import Outbox
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.module import Telemetry

ALL_STORED = {"held": 0, "dropped": {}, "givenUp": {}}


class Bus(Source):
    """Brings blocks, then ends as told: fails, or is silent until it is closed."""

    def __init__(self, blocks, failure=None):
        super().__init__()
        self.blocks = blocks
        self.failure = failure

    def _open(self, resources: ExitStack):
        pass

    def _read(self):
        yield from self.blocks
        if self.failure is not None:
            raise self.failure
        self._closing.wait()


class Edge:
    """The surroundings of a module, with a real outbox and a twin that never changes."""

    version = 1

    def __init__(self, outbox, desired):
        self.metrics = Metrics()
        self.outbox = outbox
        self.desired = desired
        self.reported = {}

    @property
    def room(self):
        return self.outbox.room

    @property
    def config(self):
        return self.desired

    async def send(self, message):
        return False

    async def configs(self):
        yield self.desired
        await asyncio.Event().wait()

    def report(self, name, value):
        self.reported[name] = value

    async def put(self, make, priority, *, content=None, needs=None, size=0):
        await asyncio.sleep(0)
        return self.outbox.put(make, priority, content=content, needs=needs)


@pytest.fixture
def edge(tmp_path):
    with Outbox(tmp_path / "outbox", 10_000_000) as outbox:
        yield Edge(outbox, Desired.model_validate({"collect": [{"match": "*.Count"}]}))


def blocks(count):
    return [Block.of(2, frames(MOTOR, motor(range(10)))) for _ in range(count)]


def left():
    return asyncio.all_tasks() - {asyncio.current_task()}


async def until(done):
    """Waits; the test's time limit bounds it."""
    while True:
        if done():
            return
        await asyncio.sleep(0.01)


def decoded(module):
    return module.status().get("samples", {}).get("decoded", 0)


async def test_what_came_before_a_bus_failed_is_stored_and_the_failure_is_told(edge, car):
    edge.desired = edge.desired.model_copy(update={"batch_window": 3600.0})
    failure = BusError("bus 'drive' can no longer be read: unplugged")
    # Recorded, so that the bus is not read before the configuration is there.
    module = Telemetry(car.vehicle, Bus(blocks(5), failure), NO_BUNDLES, recorded=True)
    with pytest.raises(ExceptionGroup) as caught:
        await module.run(edge)
    assert caught.value.exceptions == (failure,)
    kinds = [entry.message.properties["schema"] for entry in edge.outbox.take(10)]
    assert kinds == ["dictionary.1", "batch.1"]
    assert module.status()["samples"] == ALL_STORED | {"decoded": 50, "stored": 50}
    assert not left()


@pytest.mark.parametrize("recorded", [True, False])
async def test_a_cancelled_run_leaves_nothing_behind(edge, car, recorded, caplog):
    edge.desired = Desired()
    module = Telemetry(car.vehicle, Bus([]), NO_BUNDLES, recorded=recorded)
    running = asyncio.create_task(module.run(edge))
    await until(lambda: "collecting" in edge.reported)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert running.cancelled()
    assert not left()
    assert "lost" not in caplog.text


async def test_a_run_cut_off_says_how_many_samples_are_lost(edge, car, caplog):
    module = Telemetry(car.vehicle, Bus(blocks(3)), NO_BUNDLES, recorded=True)
    running = asyncio.create_task(module.run(edge))
    await until(lambda: decoded(module) == 30)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert "30 samples did not reach the outbox in time and are lost" in caplog.text


async def test_a_stopped_recording_ends_though_nothing_is_collected(edge, car):
    edge.desired = Desired()
    module = Telemetry(car.vehicle, Bus(blocks(1)), NO_BUNDLES, recorded=True)
    running = asyncio.create_task(module.run(edge))
    await until(lambda: "collecting" in edge.reported)
    await module.stop()
    await running
    assert module.status()["frames"]["received"] == 0
    assert not left()


async def test_a_stopped_module_stores_everything(edge, car):
    module = Telemetry(car.vehicle, Bus(blocks(7)), NO_BUNDLES, recorded=True)
    running = asyncio.create_task(module.run(edge))
    await until(lambda: decoded(module) == 70)
    await module.stop()
    await running
    assert module.status()["samples"] == ALL_STORED | {"decoded": 70, "stored": 70}


def test_a_later_start_reads_dbc_files_as_they_were_kept(car, tmp_path):
    counts = []
    for _ in range(2):
        cache = Cache(tmp_path / "dbc")
        module = Telemetry(car.vehicle, Bus([]), NO_BUNDLES, cache=cache)
        counts.append(module.status()["dbc"])
    assert counts == [
        {"kept": 0, "parsed": 2, "damaged": 0, "failed": 0},
        {"kept": 2, "parsed": 0, "damaged": 0, "failed": 0},
    ]
