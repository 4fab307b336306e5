"""Messages past the outbox: sent at once or dropped, counted, and never more than a few at once."""

import asyncio
import time

import pytest
from hub_fixtures import template
from prometheus_client.parser import text_string_to_metric_families

from bordnetz.edge.link import Backoff, HubLink, Timing
from bordnetz.edge.message import Message
from bordnetz.edge.metrics import Metrics
from bordnetz.edge.volatile import WINDOW, Volatile

PATIENCE = 60
SOON = Backoff(first=0.05, last=0.2)


class Deaf:
    """Takes what the hub says and forgets it."""

    def twin(self, desired, reported):
        pass

    def patch(self, desired):
        return True

    async def method(self, name, payload):
        return 200, payload

    async def message(self, source, message):
        pass


@pytest.fixture
async def hub(start_hub, tmp_path, monkeypatch):
    routes = {"up": "FROM /messages/modules/car/outputs/state INTO $upstream"}
    manifest = template(tmp_path / "deployment.json", {"car": {}}, routes)
    started = await asyncio.to_thread(start_hub, manifest)
    for name, value in (await asyncio.to_thread(started.control.env, "car")).items():
        monkeypatch.setenv(name, value)
    return started


@pytest.fixture
def metrics():
    return Metrics()


def state(size=2):
    return Message("state", b"{" + b" " * (size - 2) + b"}", "application/json", "utf-8")


def counts(metrics):
    """What the stage has counted, zeros left out."""
    found = {}
    for family in text_string_to_metric_families(metrics.page().decode()):
        for sample in family.samples:
            if sample.name.startswith("bordnetz_volatile") and sample.name.endswith("_total"):
                name = sample.name.removeprefix("bordnetz_volatile_").removesuffix("_total")
                found[sample.labels.get("reason", name)] = sample.value
    return {name: value for name, value in found.items() if value}


async def arrived(hub):
    """Waits until something has arrived; how many messages."""

    def look():
        end = time.monotonic() + PATIENCE
        while not (count := len(list(hub.control.upstream.messages()))):
            assert time.monotonic() < end
            time.sleep(0.05)
        return count

    return await asyncio.to_thread(look)


async def test_with_a_hub_it_is_sent_and_acknowledged(hub, metrics):
    async with HubLink(Deaf(), None, SOON) as link:
        await asyncio.wait_for(link.up(), PATIENCE)
        assert await Volatile(link, metrics).send(state())
    assert counts(metrics) == {"received": 1, "sent": 1}
    assert await arrived(hub) == 1


async def test_without_a_hub_it_is_dropped_at_once_and_never_sent_later(hub, metrics):
    link = HubLink(Deaf(), None, SOON)
    volatile = Volatile(link, metrics)
    assert not await volatile.send(state())
    assert counts(metrics) == {"received": 1, "offline": 1}
    async with link:
        await asyncio.wait_for(link.up(), PATIENCE)
        assert await volatile.send(state())
    assert await arrived(hub) == 1


async def test_what_the_hub_does_not_acknowledge_in_time_is_dropped(hub, metrics):
    async with HubLink(Deaf(), Timing(call=2), SOON) as link:
        await asyncio.wait_for(link.up(), PATIENCE)
        await asyncio.to_thread(hub.control.fault, "withhold-puback", count=1)
        assert not await Volatile(link, metrics).send(state())
    assert counts(metrics) == {"received": 1, "unconfirmed": 1}


async def test_while_a_few_are_under_way_further_ones_are_dropped(hub, metrics):
    async with HubLink(Deaf(), None, SOON) as link:
        await asyncio.wait_for(link.up(), PATIENCE)
        await asyncio.to_thread(hub.control.fault, "withhold-puback")
        volatile = Volatile(link, metrics)
        tasks = [asyncio.create_task(volatile.send(state())) for _ in range(WINDOW)]
        await asyncio.sleep(0)
        assert not await volatile.send(state())
        assert counts(metrics) == {"received": WINDOW + 1, "busy": 1}
        await asyncio.to_thread(hub.control.fault, "drop-link")
        assert not any(await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE))
        await asyncio.to_thread(hub.control.fault, "withhold-puback", off=True)
        await asyncio.wait_for(link.up(), PATIENCE)
        assert await volatile.send(state())
    assert counts(metrics) == {
        "received": WINDOW + 2,
        "busy": 1,
        "unconfirmed": WINDOW,
        "sent": 1,
    }


async def test_one_that_no_hub_takes_is_dropped_and_costs_no_session(hub, metrics):
    async with HubLink(Deaf(), None, SOON) as link:
        await asyncio.wait_for(link.up(), PATIENCE)
        assert not await Volatile(link, metrics).send(state(250_000))
        assert link.connected
    assert counts(metrics) == {"received": 1, "size": 1}
