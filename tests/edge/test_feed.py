"""Edge hub's own store stays small: its metrics set the pace."""

import asyncio
import math
import urllib.request
from contextlib import suppress

import pytest
from hub_fixtures import template
from hypothesis import given
from hypothesis import strategies as st
from link_help import PATIENT, SOON, batch, on, soon, until, upstream

from bordnetz.edge import feed as feeding
from bordnetz.edge.feed import FEW, Feed, HubMetricsError, Look, fetch, read
from bordnetz.edge.link import HubLink
from bordnetz.edge.message import Message
from bordnetz.edge.metrics import Metrics
from bordnetz.edge.outbox import Outbox
from bordnetz.edge.pace import CEILING, FLOOR, Pace
from bordnetz.edge.sender import Sender

PAGE = """# HELP edgehub_queue_length Number of messages pending to be processed for the endpoint
# TYPE edgehub_queue_length gauge
edgehub_queue_length{iothub="h",edge_device="d",endpoint="iothub",priority="5"} 7
edgehub_queue_length{iothub="h",edge_device="d",endpoint="iothub",priority="2000000000"} 3
edgehub_queue_length{iothub="h",edge_device="d",endpoint="ota/state",priority="5"} 900
# TYPE edgehub_messages_dropped_total counter
edgehub_messages_dropped_total{reason="ttl_expiry",from="d/car",from_route_output="a}b"} 4
edgehub_messages_dropped_total{reason="ttl_expiry",from="d/car",from_route_output="c"} 1
edgehub_messages_dropped_total{reason="no_route",from="d/car",from_route_output="\\"x"} 2
edgehub_messages_dropped_total{reason="no_route",from="d/other",from_route_output="x"} 50
"""


@pytest.fixture
def feed():
    return Feed("http://nowhere", "d/car", Pace(), Metrics())


def pace(feed):
    return feed._pace.rate


def test_the_queues_for_the_cloud_and_the_drops_of_this_module_alone_count():
    assert read(PAGE, "d/car") == Look(10, {"ttl_expiry": 5, "no_route": 2})


@pytest.mark.parametrize(
    "page",
    [
        "",
        "bordnetz_hub_connected 1\n",
        'edgehub_queue_length{endpoint="iothub"} many\n',
        'edgehub_queue_length{endpoint="iothub"} NaN\n',
        'edgehub_queue_length{endpoint="iothub"} +Inf\n',
        'edgehub_queue_length{endpoint="iothub\n',
        "edgehub_queue_length{\n",
    ],
)
def test_a_page_that_is_not_edge_hubs_is_refused(page):
    with pytest.raises(HubMetricsError):
        read(page, "d/car")


@given(st.text(max_size=300), st.integers(0, 3))
def test_a_hostile_page_is_read_or_refused_and_nothing_else(text, place):
    lines = PAGE.splitlines()
    lines.insert(place, "edgehub_queue_length" + text)
    with suppress(HubMetricsError):
        assert read("\n".join(lines), "d/car").dropped == {"ttl_expiry": 5, "no_route": 2}


def test_a_backlog_that_does_not_shrink_slows_down_and_one_that_does_lets_go_faster(feed):
    feed.see(Look(FEW, {}))
    assert pace(feed) == CEILING
    feed.see(Look(FEW + 1, {}))
    assert pace(feed) == FLOOR
    feed.see(Look(FEW + 1, {}))
    assert pace(feed) == FLOOR
    feed.see(Look(FEW, {}))
    assert pace(feed).bytes == 2 * FLOOR.bytes
    feed.see(Look(FEW - 1, {}))
    assert pace(feed).bytes == 4 * FLOOR.bytes
    feed.see(Look(10 * FEW, {}))
    assert pace(feed) == FLOOR


def test_a_backlog_seen_at_the_first_look_slows_down_at_once(feed):
    feed.see(Look(10 * FEW, {}))
    assert pace(feed) == FLOOR
    assert feed.state()["slowed"] is True


def test_metrics_that_cannot_be_read_slow_down(feed, caplog):
    feed.blind("nobody there")
    feed.blind("nobody there")
    assert pace(feed) == FLOOR
    assert feed.state() | {"lost": 0} == {
        "readable": False,
        "waiting": 0,
        "slowed": True,
        "lost": 0,
    }
    assert sum("cannot be read: nobody there" in line for line in caplog.messages) == 1
    feed.see(Look(0, {}))
    assert pace(feed).bytes == 2 * FLOOR.bytes


def test_what_edge_hub_drops_is_counted_across_its_restarts_and_told_seldom(caplog):
    now = 0.0
    metrics = Metrics()
    reported = []
    feed = Feed("http://nowhere", "d/car", Pace(), metrics, tell=reported.append, clock=lambda: now)
    feed.see(Look(0, {"no_route": 100}))
    assert feed.lost.total() == 0
    feed.see(Look(0, {"no_route": 103, "ttl_expiry": 1}))
    feed.see(Look(0, {"no_route": 103, "ttl_expiry": 5}))
    feed.see(Look(0, {"ttl_expiry": 2}))
    feed.see(Look(0, {"ttl_expiry": 2, "no_route": 1}))
    assert feed.lost == {"no_route": 4, "ttl_expiry": 7}
    page = metrics.page().decode()
    assert 'bordnetz_hub_lost_total{reason="ttl_expiry"} 7.0' in page
    assert 'bordnetz_hub_lost_total{reason="no_route"} 4.0' in page
    told = [line for line in caplog.messages if "has dropped" in line]
    assert told == [
        "Edge hub has dropped 3 messages of ours (no_route)",
        "Edge hub has dropped 1 messages of ours (ttl_expiry)",
    ]
    assert reported == [{"no_route": 3, "ttl_expiry": 1}]
    now = 601.0
    feed.see(Look(0, {"ttl_expiry": 2, "no_route": 1}))
    assert "Edge hub has dropped 6 messages of ours (ttl_expiry)" in caplog.messages
    assert reported[1:] == [{"no_route": 4, "ttl_expiry": 7}]


async def test_the_stand_in_names_its_metrics_as_we_read_them(hub):
    address = hub.control.place.metrics
    look = read(await fetch(address), "vehicle/car")
    assert look == Look(0, {})
    with pytest.raises(HubMetricsError, match="404"):
        await fetch(address.replace("metrics", "nothing"))
    assert "edgehub_" in await asyncio.to_thread(
        lambda: urllib.request.urlopen(address).read().decode()
    )


async def test_an_address_that_talks_for_ever_is_given_up():
    async def talk(reader, writer):
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"edgehub_" * 10_000)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HubMetricsError, match="more than"):
            await soon(fetch(f"http://127.0.0.1:{port}/metrics"))


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n", b"x" * 100_000])
async def test_an_address_where_something_else_listens_is_refused(answer):
    async def talk(reader, writer):
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises((HubMetricsError, EOFError, OSError)):
            await soon(fetch(f"http://127.0.0.1:{port}"))


async def test_while_the_cloud_is_away_the_backlog_stays_in_the_outbox_and_then_all_of_it_arrives(
    hub, ears, tmp_path, monkeypatch
):
    monkeypatch.setattr(feeding, "FEW", 5)
    await on(hub, "fault", "upstream-offline")
    outbox = Outbox(tmp_path / "outbox", 50_000_000)
    pace = Pace()
    feed = Feed(hub.control.place.metrics, "vehicle/car", pace, Metrics(), interval=0.05)
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        async with Sender(outbox, link, Metrics(), pace=pace) as sender:
            running = asyncio.create_task(feed.run())
            for _ in range(6):
                await sender.put(lambda o, n: batch(n), 5)
            await soon(sender.drained())
            await until(lambda: feed.state()["slowed"])
            # Of these only a few get through to a hub that keeps all it gets.
            for _ in range(30):
                await sender.put(lambda o, n: batch(n, 2_000), 5)
            looks = feed._last
            await until(lambda: feed._last is not looks)
            assert sender.state()["messages"] >= 28
            # What is urgent does not wait.
            await sender.put(lambda o, n: Message("batches", b"event"), 1)
            await until(lambda: feed._last is not None and feed._last.waiting >= 7)
            assert sender.state()["messages"] >= 28
            assert (await on(hub, "status"))["upstream"]["messages"] == 0
            await on(hub, "fault", "upstream-offline", off=True)
            await soon(sender.drained())
            running.cancel()
            assert len(await upstream(hub, 37)) == 37


async def test_what_edge_hub_drops_because_its_time_is_over_is_told(
    start_hub, tmp_path, ears, monkeypatch
):
    route = {"route": "FROM /messages/modules/car/* INTO $upstream", "timeToLiveSecs": 1}
    brief = template(tmp_path / "brief.json", {"car": {}}, {"brief": route})
    hub = await asyncio.to_thread(start_hub, brief, name="brief")
    for name, value in (await on(hub, "env", "car")).items():
        monkeypatch.setenv(name, value)
    await on(hub, "fault", "upstream-offline")
    metrics = Metrics()
    feed = Feed(hub.control.place.metrics, "vehicle/car", Pace(), metrics, interval=0.05)
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        running = asyncio.create_task(feed.run())
        await until(lambda: feed._last is not None)
        for number in range(3):
            await soon(link.send(batch(number)))
        await until(lambda: feed.lost["ttl_expiry"] == 3)
        running.cancel()
    assert 'bordnetz_hub_lost_total{reason="ttl_expiry"} 3.0' in metrics.page().decode()


async def test_what_edge_hub_drops_for_want_of_a_route_is_told(hub, ears, tmp_path):
    metrics = Metrics()
    feed = Feed(hub.control.place.metrics, "vehicle/car", Pace(), metrics, interval=0.05)
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        running = asyncio.create_task(feed.run())
        await until(lambda: feed._last is not None)
        await soon(link.send(Message("astray", b"x")))
        await until(lambda: feed.state()["lost"]["no_route"])
        running.cancel()
    page = metrics.page().decode()
    assert 'bordnetz_hub_lost_total{reason="no_route"} 1.0' in page
    assert "bordnetz_hub_metrics_readable 1.0" in page
    assert not math.isnan(feed._last.waiting)
