"""The backlog between pipeline and outbox: order, bounds, and disks that fail."""

import asyncio
import logging

import pytest

from bordnetz.edge.message import Message, MessageTooLargeError
from bordnetz.edge.outbox import OutboxError
from bordnetz.telemetry import backlog as room
from bordnetz.telemetry.backlog import Backlog, Parcel


class Disk:
    """The edge's end of a backlog: takes parcels while it is not full."""

    def __init__(self):
        self.room = 1_000_000
        self.full = False
        self.refuses = False
        self.taken = []
        self.lost = []
        self.tried = asyncio.Event()

    async def put(self, make, priority, *, content=None, needs=None, size=0):
        await asyncio.sleep(0)
        self.tried.set()
        if self.full:
            raise OutboxError("disk is full; free some space")
        if self.refuses:
            return None
        message = make(1, len(self.taken) + 1)
        message.check()
        self.taken.append(message.body)
        return len(self.taken)


class Slow(Disk):
    """Keeps who asks waiting until it answers."""

    def __init__(self):
        super().__init__()
        self.slow = True
        self.waiting = []

    async def put(self, make, priority, *, content=None, needs=None, size=0):
        if self.slow:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append(future)
            self.tried.set()
            await future
        return await super().put(make, priority, content=content, needs=needs, size=size)

    def answer(self, refused=()):
        for place, future in enumerate(self.waiting):
            if place in refused:
                future.set_exception(OutboxError("disk is full; free some space"))
            else:
                future.set_result(None)


def batch(number, size=100, samples=10):
    def make(outbox, sequence):
        return Message("batches", bytes([number]) * size)

    return Parcel(make, size, 5, samples, needs=b"dictionary")


def dictionary(content=b"dictionary"):
    return Parcel(lambda *_: Message("batches", content), 100, 0, content=content)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(room, "RETRY", 0.01)
    monkeypatch.setattr(room, "_POLL", 0.01)


@pytest.fixture
async def start():
    tasks = []

    def begin(disk, *, waits=False):
        backlog = Backlog(
            disk, waits=waits, lost=lambda *message_and_reason: disk.lost.append(message_and_reason)
        )
        tasks.append(asyncio.create_task(backlog.run()))
        return backlog

    yield begin
    for task in tasks:
        task.cancel()


async def test_parcels_are_stored_in_the_order_they_came(start):
    disk = Disk()
    backlog = start(disk)
    backlog.add([dictionary(), *(batch(n) for n in range(20))])
    await backlog.stored_all()
    assert disk.taken == [b"dictionary", *(bytes([n]) * 100 for n in range(20))]
    assert (backlog.stored, backlog.batches, backlog.samples) == (200, 20, 0)


async def test_a_full_disk_costs_nothing_while_memory_lasts_and_is_said_once(start, caplog):
    caplog.set_level(logging.INFO)
    disk = Disk()
    disk.full = True
    backlog = start(disk)
    backlog.add(batch(n) for n in range(5))
    for _ in range(3):
        disk.tried.clear()
        await disk.tried.wait()
    assert backlog.samples == 50
    disk.full = False
    await backlog.stored_all()
    assert len(disk.taken) == 5
    assert backlog.dropped == {}
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "disk is full; free some space; 50 samples wait in memory",
        "the outbox takes messages again; 0 samples were lost so far",
    ]


async def test_memory_is_bounded_the_oldest_batches_go_and_are_counted(start, monkeypatch):
    monkeypatch.setattr(room, "LIMIT", 20_000)
    disk = Disk()
    disk.full = True
    backlog = start(disk)
    for number in range(100):
        backlog.add([dictionary(), batch(number, size=1000)])
        await asyncio.sleep(0)
    assert backlog.samples <= 200
    assert backlog.samples + backlog.dropped["disk"] == 1000
    disk.full = False
    await backlog.stored_all()
    kept = [body[0] for body in disk.taken if body != b"dictionary"]
    # The dictionary is there, once, before what needs it; the newest batches are all there.
    assert disk.taken.count(b"dictionary") == 1
    assert kept[1:] == list(range(100 - len(kept) + 1, 100))
    assert backlog.stored + backlog.dropped["disk"] == 1000
    told = [(message.body[0], reason) for message, reason in disk.lost]
    assert told == [(number, "disk") for number in range(100) if number not in kept]


async def test_what_comes_together_is_handed_to_the_disk_together(start):
    disk = Slow()
    backlog = start(disk)
    backlog.add(batch(n) for n in range(5))
    await disk.tried.wait()
    await asyncio.sleep(0)
    assert len(disk.waiting) == 5
    disk.answer()
    await backlog.stored_all()
    assert disk.taken == [bytes([n]) * 100 for n in range(5)]


async def test_what_is_with_the_disk_is_not_given_up_and_what_it_refuses_stays(start, monkeypatch):
    monkeypatch.setattr(room, "LIMIT", 10_000)
    disk = Slow()
    backlog = start(disk)
    backlog.add(batch(n, size=1000) for n in range(5))
    await disk.tried.wait()
    await asyncio.sleep(0)
    backlog.add(batch(n, size=1000) for n in range(5, 20))
    given_up = backlog.dropped["disk"]
    assert given_up > 0
    disk.answer(refused=[1, 3])
    disk.slow = False
    await backlog.stored_all()
    kept = [body[0] for body in disk.taken]
    assert kept[:3] == [0, 2, 4]
    assert sorted(kept[:5]) == [0, 1, 2, 3, 4]
    assert backlog.stored + backlog.dropped["disk"] == 200
    assert backlog.dropped["disk"] == given_up


async def test_what_the_outbox_has_no_room_for_is_counted(start):
    disk = Disk()
    disk.refuses = True
    backlog = start(disk)
    backlog.add([batch(1), dictionary()])
    await backlog.stored_all()
    assert backlog.dropped == {"budget": 10}
    assert backlog.stored == 0
    assert disk.lost == [(batch(1).make(0, 0), "budget")]


async def test_what_no_hub_would_take_is_counted(start):
    disk = Disk()
    backlog = start(disk)
    backlog.add([batch(1, size=300_000), batch(2)])
    await backlog.stored_all()
    assert backlog.dropped == {"size": 10}
    assert [(len(message.body), reason) for message, reason in disk.lost] == [(300_000, "size")]
    assert backlog.stored == 10
    with pytest.raises(MessageTooLargeError):
        batch(1, size=300_000).make(1, 1).check()


async def test_who_can_wait_waits_for_room_in_the_outbox_and_in_memory(start, monkeypatch):
    monkeypatch.setattr(room, "AHEAD", 5_000)
    disk = Disk()
    disk.room = 0
    backlog = start(disk, waits=True)
    backlog.add(batch(n, size=1000) for n in range(10))
    waiting = asyncio.create_task(backlog.room())
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert not waiting.done()
    assert disk.taken == []
    disk.room = 1_000_000
    await waiting
    await backlog.stored_all()
    assert len(disk.taken) == 10
    assert backlog.dropped == {}


async def test_a_live_bus_never_waits(start, monkeypatch):
    monkeypatch.setattr(room, "AHEAD", 0)
    disk = Disk()
    disk.full = True
    backlog = start(disk)
    backlog.add([batch(1), batch(2)])
    async with asyncio.timeout(0):
        await backlog.room()


async def test_stored_all_waits_for_what_is_there_now_not_for_what_comes_later(start):
    disk = Disk()
    backlog = start(disk)
    backlog.add([batch(0)])
    stored = asyncio.create_task(backlog.stored_all())
    more = 0
    while not stored.done():
        more += 1
        backlog.add([batch(more % 250), batch(more % 250)])
        await asyncio.sleep(0)
    assert backlog.samples > 0
