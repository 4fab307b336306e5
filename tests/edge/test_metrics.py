import asyncio
import json

from prometheus_client.parser import text_string_to_metric_families

from bordnetz.edge.metrics import Metrics, MetricsServer


async def get(server, request):
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode(), body


def serve(metrics=None):
    return MetricsServer(metrics or Metrics(), lambda: {"module": "x"}, "127.0.0.1", 0)


def samples(page):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_every_stage_counts_with_the_same_names():
    metrics = Metrics()
    frames = metrics.stage("capture", "frames", "bus")
    frames.received(10, "drive")
    frames.sent(7, "drive")
    frames.dropped("lost", 3, "drive")
    metrics.stage("hub", "messages").sent()
    metrics.gauge("level", "of something", lambda: 4)
    assert samples(metrics.page()) == {
        ("bordnetz_capture_received_total", "drive"): 10,
        ("bordnetz_capture_sent_total", "drive"): 7,
        ("bordnetz_capture_dropped_total", "drive", "lost"): 3,
        ("bordnetz_hub_received_total",): 0,
        ("bordnetz_hub_sent_total",): 1,
        ("bordnetz_level",): 4,
    }


async def test_metrics_and_health_are_served():
    metrics = Metrics()
    metrics.counter("things", "counted").inc()
    async with serve(metrics) as server:
        status, body = await get(server, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status == "HTTP/1.1 200 OK"
        assert samples(body) == {("bordnetz_things_total",): 1}
        status, body = await get(server, b"GET /health HTTP/1.1\r\n\r\n")
        assert json.loads(body) == {"module": "x"}


async def test_anything_else_is_refused():
    async with serve() as server:
        for request, status in (
            (b"GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            (b"\r\n\r\n", "405 Method Not Allowed"),
        ):
            assert (await get(server, request))[0] == f"HTTP/1.1 {status}"
        assert await get(server, b"GET /" + b"x" * 100_000) == ("", b"")


async def test_too_many_visitors_are_turned_away_and_the_others_served():
    async with serve() as server:
        waiting = [await asyncio.open_connection(*server.address) for _ in range(8)]
        # The ninth gets no answer, for the eight that say nothing hold all places.
        ninth, writer = await asyncio.open_connection(*server.address)
        assert await asyncio.wait_for(ninth.read(), 60) == b""
        writer.close()
        reader, writer = waiting[0]
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 200")
        for _, writer in waiting:
            writer.close()
