"""Hours and days without the cloud, while Edge hub goes on taking what it gets.

Six hours are real processes in a machine whose clock jumps ahead whenever nobody has work.  Three
days are an event loop whose clock does so: outbox, sender, pace and feed of a module, the broker
and the metrics of the stand-in, and nothing but MQTT and HTTP left out between the two.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from bordnetz.edge import feed as feeding
from bordnetz.edge.feed import FEW, Feed
from bordnetz.edge.message import Message
from bordnetz.edge.metrics import Metrics
from bordnetz.edge.outbox import Outbox
from bordnetz.edge.pace import Pace, Rate
from bordnetz.edge.sender import Sender
from bordnetz.laptop.hub.broker import Broker
from bordnetz.laptop.hub.faults import Faults
from bordnetz.laptop.hub.identities import Identities
from bordnetz.laptop.hub.metrics import Metrics as HubMetrics
from bordnetz.laptop.hub.mqtt import Publish
from bordnetz.laptop.hub.session import Session
from bordnetz.laptop.hub.store import Store
from bordnetz.laptop.hub.twin import Twins
from bordnetz.laptop.hub.upstream import Upstream, UpstreamWriter
from bordnetz.laptop.routes import parse_route

TESTS = Path(__file__).parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
KERNELS = [*CACHE.glob("with-vcan/linux-uml-*"), *TESTS.glob("linux-uml-*.xz")]
HOURS = 6
PERIOD, FLOOR = 30, 64
DAYS = 3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not (KERNELS or os.environ.get("WITH_VCAN_UML")),
    reason="no kernel with simulated time; tests/with-vcan --engine uml --prepare builds it",
)
def test_hours_without_the_cloud_fill_the_outbox_and_not_edge_hub_and_then_all_arrives():
    run = subprocess.run(
        [
            *(TESTS / "with-vcan", "--engine", "uml", "--time-travel", "skip", "--timeout", "850"),
            *("--", sys.executable, TESTS / "edge" / "days_without_cloud.py", str(HOURS)),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    outcome = json.loads(run.stdout.splitlines()[-1])
    assert outcome["hours"] >= HOURS
    made = HOURS * 3600 / PERIOD
    assert outcome["put"] >= made
    # At the floor one message of two kilobytes leaves in 80 s, and the module makes one in 30 s.
    for hour, (waiting, held, slowed) in enumerate(outcome["looks"], 1):
        assert waiting <= 3 * FEW + hour * 3600 * FLOOR / 5120 + 1, outcome["looks"]
        assert held >= (hour - 2) * 3600 * (1 / PERIOD - FLOOR / 5120), outcome["looks"]
        assert slowed
    # Each message reached the cloud, and the module forgot none before Edge hub had it.
    assert outcome["different"] == outcome["put"], outcome["log"]
    assert outcome["status"]["outbox"]["givenUp"] == 0
    assert outcome["status"]["edgeHub"]["lost"] == {"ttl_expiry": 0, "no_route": 0}
    # Held for days it leaves within minutes, but not at once.
    assert 60 < outcome["drained"] < 3600
    assert outcome["exit"] == 0


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock leaps to the next timer when there is nothing else to do."""

    def __init__(self):
        self.now = 0.0
        super().__init__()

    def time(self):
        return self.now

    def run_in_executor(self, executor, function, *arguments):
        """At once: work on other threads takes no time of this clock."""
        future = self.create_future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)
        return future

    def _run_once(self):
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


class Hub:
    """The broker of the stand-in, and a module's way to it without MQTT."""

    def __init__(self, folder, clock):
        self.faults, self.store = Faults(), Store(folder / "hub.db")
        self.upstream = UpstreamWriter(folder / "upstream")
        route = parse_route("up", "FROM /messages/modules/probe/* INTO $upstream")
        self.broker = Broker(
            Identities(folder / "keys.json", ["probe"]),
            [route],
            None,
            self.store,
            Twins(self.store),
            self.upstream,
            self.faults,
            HubMetrics("hub", "vehicle"),
            clock,
        )
        self.sent = []

    async def up(self):
        """It always is."""

    async def send(self, message):
        """As the SDK would publish it."""
        bag = {"$.on": message.output, **message.properties}
        topic = "devices/vehicle/modules/probe/messages/events/" + "&".join(
            f"{quote(name, '')}={quote(value, '')}" for name, value in bag.items()
        )
        self.sent.append(asyncio.get_running_loop().time())
        assert self.broker.publish(Session("probe"), Publish(topic, message.body, 1, 1))

    async def page(self, address):
        """What Edge hub shows at its address."""
        assert address == "http://edgeHub:9600/metrics"
        return self.broker.exposition().decode()

    @property
    def waiting(self):
        """Messages that it could not get rid of."""
        return sum(self.store.lengths().values())


def test_three_days_without_the_cloud_fill_the_outbox_and_not_edge_hub_and_then_all_arrives(
    tmp_path, monkeypatch
):
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(three_days(tmp_path, monkeypatch))


async def three_days(folder, monkeypatch):
    loop = asyncio.get_running_loop()
    hub = Hub(folder, loop.time)
    hub.faults.arm("upstream-offline")
    monkeypatch.setattr(feeding, "fetch", hub.page)
    pace = Pace(Rate(FLOOR, FLOOR / 5120), clock=loop.time)
    metrics = Metrics()
    feed = Feed("http://edgeHub:9600/metrics", "vehicle/probe", pace, metrics, clock=loop.time)
    looking = asyncio.create_task(feed.run())
    outbox = Outbox(folder / "outbox", 100_000_000)
    async with Sender(outbox, hub, metrics, loop.time, pace) as sender:
        for made in range(1, DAYS * 86_400 // PERIOD + 1):
            await sender.put(
                lambda o, n: Message("batches", bytes(2_000), properties={"n": str(n)}), 5
            )
            if made % 1000 == 0:
                await sender.put(
                    lambda o, n: Message("batches", b"event", properties={"n": str(n)}), 1
                )
                # Within a second, whatever the pace is.
                await asyncio.sleep(1)
                assert hub.sent[-1] >= loop.time() - 1
            await asyncio.sleep(PERIOD)
            assert hub.waiting <= 3 * FEW + loop.time() * FLOOR / 5120 + 9
        assert len(outbox) > made / 2
        assert hub.waiting + len(outbox) == outbox.last
        came_back = loop.time()
        hub.faults.disarm("upstream-offline")
        while len(outbox) or hub.waiting:
            # The cloud takes ten messages a second.
            for _ in range(10):
                hub.broker.forward_one()
            await asyncio.sleep(1)
        assert 60 < loop.time() - came_back < 3600
    looking.cancel()
    arrived = [int(arrival.properties["n"]) for arrival in Upstream(folder / "upstream").messages()]
    assert sorted(arrived) == list(range(1, outbox.last + 1))
    assert feed.lost.total() == 0
