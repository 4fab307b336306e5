"""What the tests of the hub link share: a module's ears, a hub, and patience."""

import asyncio
from contextlib import suppress

import pytest
from hub_fixtures import template

from bordnetz.edge.link import Backoff, LinkError, Timing
from bordnetz.edge.message import Message

PATIENCE = 60
PATIENT = Timing(connect=20, call=20, close=20)
SOON = Backoff(first=0.05, last=0.2)
ROUTES = {
    "up": "FROM /messages/modules/car/outputs/batches INTO $upstream",
    "back": "FROM /messages/modules/car/outputs/news "
    'INTO BrokeredEndpoint("/modules/car/inputs/news")',
}


class Ears:
    """Keeps what the hub says."""

    def __init__(self):
        self.twins = asyncio.Queue()
        self.patches = asyncio.Queue()
        self.messages = asyncio.Queue()
        self.follows = True

    def twin(self, desired, reported):
        self.twins.put_nowait((dict(desired), dict(reported)))

    def patch(self, desired):
        self.patches.put_nowait(dict(desired))
        return self.follows

    async def method(self, name, payload):
        return 200, {"name": name, "payload": payload}

    async def message(self, source, message):
        self.messages.put_nowait((source, message))


@pytest.fixture
def manifest(tmp_path):
    return template(tmp_path / "deployment.json", {"car": {"a": 1}}, ROUTES)


@pytest.fixture
async def hub(start_hub, manifest, monkeypatch):
    started = await asyncio.to_thread(start_hub, manifest)
    for name, value in (await asyncio.to_thread(started.control.env, "car")).items():
        monkeypatch.setenv(name, value)
    return started


@pytest.fixture
def ears():
    return Ears()


async def soon(waiting):
    return await asyncio.wait_for(waiting, PATIENCE)


async def until(holds):
    """Waits for what nobody tells."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def delivered(link, message):
    """Sends it until the hub has acknowledged it; a slow machine may need a session more."""
    async with asyncio.timeout(PATIENCE):
        while True:
            await link.up()
            with suppress(LinkError):
                return await link.send(message)


def on(hub, verb, *arguments, **options):
    """Asks the hub without holding up the loop."""
    return asyncio.to_thread(getattr(hub.control, verb), *arguments, **options)


async def upstream(hub, count):
    """The first so many messages that reach $upstream."""
    arrived = []
    async with asyncio.timeout(PATIENCE):
        async for arrival in hub.control.upstream.follow():
            arrived.append(arrival)
            if len(arrived) == count:
                return arrived
    raise AssertionError


def batch(number=0, size=100):
    return Message("batches", bytes(size), "a/b", "zstd", {"batch": str(number), "schema": "1/ü"})
