"""The hub's core without sockets: routes, queues, sessions, twins."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from bordnetz.laptop.hub.broker import Broker
from bordnetz.laptop.hub.decoder import Decoder
from bordnetz.laptop.hub.faults import Faults
from bordnetz.laptop.hub.identities import Identities
from bordnetz.laptop.hub.methods import MethodError
from bordnetz.laptop.hub.metrics import Metrics
from bordnetz.laptop.hub.mqtt import SUBSCRIBE_REFUSED, Publish, Subscribe
from bordnetz.laptop.hub.store import UPSTREAM, Store
from bordnetz.laptop.hub.twin import TwinError, Twins
from bordnetz.laptop.hub.upstream import Upstream, UpstreamWriter
from bordnetz.laptop.routes import parse_route

EVENTS = "devices/vehicle/modules/a/messages/events/"
INPUTS = "devices/vehicle/modules/b/inputs/"
TO_B = 'INTO BrokeredEndpoint("/modules/b/inputs/in")'


class FakeLink:
    """Records what the hub sends."""

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.received: list[Publish] = []
        self.closed = False

    def send(self, data: bytes) -> None:
        self.received += [p for p in self.decoder.feed(data) if isinstance(p, Publish)]

    def close(self, reason: str) -> None:
        self.closed = True

    def drop(self) -> None:
        self.closed = True

    def go_silent(self) -> None:
        raise NotImplementedError


class Bench:
    """A broker over a state folder, with a clock that stands still until it is moved."""

    def __init__(self, state: Path, routes, ttl=None, desired=None) -> None:
        self.state, self.now = state, 1000.0
        self.store = Store(state / "hub.db")
        twins = Twins(self.store)
        for module in ("a", "b"):
            twins.deploy(module, desired or {})
        self.writer = UpstreamWriter(state / "upstream")
        self.faults = Faults()
        self.metrics = Metrics("hub", "vehicle")
        self.broker = Broker(
            Identities(state / "keys.json", ["a", "b"]),
            [parse_route(name, *parts) for name, *parts in routes],
            ttl,
            self.store,
            twins,
            self.writer,
            self.faults,
            self.metrics,
            clock=lambda: self.now,
        )

    def connect(self, module, *filters, qos=1, clean=False):
        link = FakeLink()
        session, self.present = self.broker.connect(module, link, clean=clean)
        self.broker.resume(session)
        if filters:
            self.codes = self.broker.subscribe(
                session, Subscribe(1, tuple((name, qos) for name in filters))
            )
            self.broker.subscribed(session)
        return session, link

    def send(self, session, output="out", body=b"", **properties) -> bool:
        bag = "&".join([f"%24.on={output}", *(f"{k}={v}" for k, v in properties.items())])
        return self.broker.publish(session, Publish(EVENTS + bag, body, 1, 1))

    def forward(self) -> list[bytes]:
        while self.broker.forward_one():
            pass
        upstream = Upstream(self.state / "upstream")
        return [upstream.body(arrival) for arrival in upstream.messages()]

    def dropped(self, reason) -> int:
        totals = self.metrics.totals()
        return sum(
            n
            for key, n in totals.items()
            if key.startswith(f"messages_dropped_total{{reason={reason}")
        )

    def close(self) -> None:
        self.store.close()
        self.writer.close()


@pytest.fixture
def bench(tmp_path):
    opened = []

    def make(*routes, **options):
        opened.append(Bench(tmp_path, routes, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_upstream_gets_the_urgent_messages_first_once_it_is_back(bench):
    hub = bench(
        ("low", "FROM /messages/* WHERE p = 'low' INTO $upstream", 9),
        ("high", "FROM /messages/* WHERE p = 'high' INTO $upstream", 0),
        ("rest", "FROM /messages/* INTO $upstream"),
    )
    a, _ = hub.connect("a")
    hub.faults.arm("upstream-offline")
    for body, p in ((b"1", "none"), (b"2", "low"), (b"3", "high"), (b"4", "low"), (b"5", "high")):
        assert hub.send(a, body=body, p=p)
    assert hub.forward() == []
    assert hub.store.lengths() == {("iothub", 0): 2, ("iothub", 9): 2, ("iothub", 2_000_000_000): 1}
    hub.faults.disarm("upstream-offline")
    assert hub.forward() == [b"3", b"5", b"2", b"4", b"1"]


def test_of_several_routes_to_one_sink_the_best_takes_the_message_once(bench):
    hub = bench(
        ("slow", "FROM /messages/* INTO $upstream", 5, 10),
        ("fast", "FROM /messages/* INTO $upstream", 1, 20),
    )
    a, _ = hub.connect("a")
    hub.send(a, body=b"x")
    assert hub.forward() == [b"x"]


def test_a_message_without_a_route_is_acknowledged_dropped_and_counted(bench):
    hub = bench(("up", "FROM /messages/modules/a/outputs/batches INTO $upstream"))
    a, _ = hub.connect("a")
    assert hub.send(a, output="elsewhere")
    assert hub.forward() == []
    assert hub.dropped("no_route") == 1


def test_a_message_is_dropped_at_the_end_of_its_time_to_live(bench):
    hub = bench(
        ("short", "FROM /messages/modules/a/outputs/short INTO $upstream", 0, 10),
        ("store", "FROM /messages/modules/a/outputs/store INTO $upstream", 0),
        ttl=100,
    )
    a, _ = hub.connect("a")
    hub.faults.arm("upstream-offline")
    hub.send(a, output="short", body=b"short")
    hub.send(a, output="store", body=b"store")
    hub.now += 10
    hub.broker.expire()
    assert hub.dropped("ttl_expiry") == 1
    hub.now += 90
    hub.faults.disarm("upstream-offline")
    assert hub.forward() == []
    assert hub.dropped("ttl_expiry") == 2


def test_without_a_time_to_live_a_message_waits_for_ever(bench):
    hub = bench(("up", "FROM /messages/* INTO $upstream"), ttl=None)
    a, _ = hub.connect("a")
    hub.send(a, body=b"x")
    hub.now += 1e9
    hub.broker.expire()
    assert hub.forward() == [b"x"]


def test_a_stored_message_survives_the_hub(bench):
    route = ("up", "FROM /messages/* INTO $upstream")
    first = bench(route)
    a, _ = first.connect("a")
    first.send(a, body=b"kept")
    assert bench(route).forward() == [b"kept"]


def test_a_hub_that_died_behind_the_index_line_does_not_deliver_twice(bench):
    route = ("up", "FROM /messages/* INTO $upstream")
    first = bench(route)
    a, _ = first.connect("a")
    first.send(a, body=b"once")
    stored = first.store.waiting(UPSTREAM)
    assert stored is not None
    first.writer.append(stored)
    assert bench(route).forward() == [b"once"]


def test_what_the_disk_refuses_is_not_acknowledged(bench):
    hub = bench(("up", "FROM /messages/* INTO $upstream"))
    a, _ = hub.connect("a")
    hub.store.close()
    assert not hub.send(a)
    assert hub.metrics.totals()[
        "messages_unack_total{reason=storage_failure,from=a,from_route_output=out}"
    ]
    with pytest.raises(sqlite3.Error):
        hub.store.waiting(UPSTREAM)


def test_a_message_reaches_the_input_of_another_module_with_its_properties(bench):
    hub = bench(("ab", f"FROM /messages/modules/a/* {TO_B}"))
    a, _ = hub.connect("a")
    _, link = hub.connect("b", f"{INPUTS}#")
    hub.send(a, body=b"hello", colour="red")
    (message,) = link.received
    assert message.topic == f"{INPUTS}in/%24.cdid=vehicle&%24.cmid=a&colour=red"
    assert (message.payload, message.qos) == (b"hello", 1)


def test_a_module_gets_at_most_ten_messages_that_it_has_not_acknowledged(bench):
    hub = bench(("ab", f"FROM /messages/modules/a/* {TO_B}"))
    a, _ = hub.connect("a")
    b, link = hub.connect("b", f"{INPUTS}#")
    for number in range(25):
        hub.send(a, body=bytes([number]))
    assert len(link.received) == 10
    for message in link.received:
        hub.broker.acknowledged(b, message.packet_id)
    assert [m.payload[0] for m in link.received] == list(range(25))
    assert hub.store.lengths() == {("b/in", 2_000_000_000): 0}


def test_messages_wait_for_a_module_that_is_not_there_and_for_its_subscription(bench):
    hub = bench(("ab", f"FROM /messages/modules/a/* {TO_B}"))
    a, _ = hub.connect("a")
    hub.send(a, body=b"early")
    _, link = hub.connect("b")
    assert link.received == []
    _, link = hub.connect("b", f"{INPUTS}#")
    assert [m.payload for m in link.received] == [b"early"]


def test_what_was_not_acknowledged_comes_again_as_a_duplicate(bench):
    hub = bench(("ab", f"FROM /messages/modules/a/* {TO_B}"))
    a, _ = hub.connect("a")
    b, link = hub.connect("b", f"{INPUTS}#")
    hub.send(a, body=b"1")
    hub.send(a, body=b"2")
    hub.broker.acknowledged(b, link.received[0].packet_id)
    again, second = hub.connect("b")
    assert again is b
    assert link.closed
    (message,) = second.received
    assert (message.payload, message.dup) == (b"2", True)
    assert message.packet_id == link.received[1].packet_id


def test_a_kept_session_survives_the_hub_and_a_clean_one_does_not(bench):
    route = ("ab", f"FROM /messages/modules/a/* {TO_B}")
    first = bench(route)
    a, _ = first.connect("a", "$iothub/twin/res/#", clean=True)
    first.connect("b", f"{INPUTS}#")
    first.send(a, body=b"x")
    second = bench(route)
    _, link = second.connect("b")
    assert second.present
    assert [m.payload for m in link.received] == [b"x"]
    second.connect("a")
    assert not second.present


def test_a_forgotten_session_has_no_subscriptions(bench):
    hub = bench()
    b, link = hub.connect("b", f"{INPUTS}#")
    hub.broker.forget_session("b")
    assert link.closed
    again, _ = hub.connect("b")
    assert not hub.present
    assert again is not b
    assert again.subscriptions == {}


def test_at_most_once_is_sent_and_forgotten(bench):
    hub = bench(("ab", f"FROM /messages/modules/a/* {TO_B}"))
    a, _ = hub.connect("a")
    b, link = hub.connect("b", f"{INPUTS}#", qos=0)
    hub.send(a, body=b"x")
    assert [m.qos for m in link.received] == [0]
    assert b.in_flight == {}
    assert hub.store.lengths() == {("b/in", 2_000_000_000): 0}


def test_a_message_whose_topic_would_be_too_long_does_not_block_the_next(bench):
    hub = bench(("ab", f"FROM /messages/modules/a/* {TO_B}"))
    a, _ = hub.connect("a")
    _, link = hub.connect("b", f"{INPUTS}#")
    hub.send(a, long="ü" * 20_000)
    hub.send(a, body=b"next")
    assert [m.payload for m in link.received] == [b"next"]
    assert hub.dropped("topic_too_long") == 1


def test_filters_of_others_and_more_than_fifty_are_refused(bench):
    hub = bench()
    hub.connect("a", f"{INPUTS}#", "$iothub/twin/res/#")
    assert hub.codes == (SUBSCRIBE_REFUSED, 1)
    hub.connect("b", *(f"{INPUTS}{n}/#" for n in range(60)))
    assert hub.codes.count(SUBSCRIBE_REFUSED) == 10


def _twin(hub, session, link):
    hub.broker.publish(session, Publish("$iothub/twin/GET/?$rid=1", b" ", 1, 1))
    assert link.received[-1].topic == "$iothub/twin/res/200/?$rid=1"
    return json.loads(link.received[-1].payload)


def _report(hub, session, body: bytes):
    topic = "$iothub/twin/PATCH/properties/reported/?$rid=2"
    hub.broker.publish(session, Publish(topic, body, 1, 1))


def test_reported_patches_merge_and_null_deletes(bench):
    hub = bench(desired={"x": {"y": 1}})
    a, link = hub.connect("a", "$iothub/twin/res/#")
    _report(hub, a, b'{"one": {"two": 2, "three": 3}}')
    _report(hub, a, b'{"one": {"two": null, "four": [1, {"five": 5}]}}')
    assert link.received[-1].topic == "$iothub/twin/res/204/?$rid=2&$version=3"
    assert _twin(hub, a, link) == {
        "desired": {"x": {"y": 1}, "$version": 1},
        "reported": {"one": {"three": 3, "four": [1, {"five": 5}]}, "$version": 3},
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": 1e400}',
        b"[" * 100_000,
        b'{"a":' * 12 + b"1" + b"}" * 12,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b'{"a.b": 1}',
        b'{"$version": 9}',
        b'{"a": "%s"}' % (b"x" * 4097),
        b'{"a": 4503599627370496}',
        b'{"a": %s}' % (b"9" * 5000),
        json.dumps({f"k{n}": "x" * 4000 for n in range(9)}).encode(),
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_reported_properties_out_of_the_limits_are_refused_and_change_nothing(bench, body):
    hub = bench()
    a, link = hub.connect("a", "$iothub/twin/res/#")
    _report(hub, a, body)
    assert link.received[-1].topic == "$iothub/twin/res/400/?$rid=2"
    assert json.loads(link.received[-1].payload)["message"]
    assert _twin(hub, a, link)["reported"] == {"$version": 1}


def test_desired_properties_have_the_same_limits(bench):
    hub = bench()
    with pytest.raises(TwinError, match="the key 'a b'"):
        hub.broker.set_desired("a", {"a b": 1})
    with pytest.raises(TwinError, match="32768"):
        hub.broker.set_desired("a", {f"k{n}": "x" * 4000 for n in range(9)})
    assert hub.broker.twin("a")["desired"] == {"$version": 1}


def test_a_desired_patch_reaches_the_module_with_its_version(bench):
    hub = bench(desired={"x": 1, "y": 2})
    _, link = hub.connect("a", "$iothub/twin/PATCH/properties/desired/#")
    assert hub.broker.set_desired("a", {"x": None, "z": 3}) == 2
    (message,) = link.received
    assert message.topic == "$iothub/twin/PATCH/properties/desired/?$version=2"
    assert json.loads(message.payload) == {"x": None, "z": 3, "$version": 2}
    assert hub.broker.twin("a")["desired"] == {"y": 2, "z": 3, "$version": 2}


def test_twins_survive_the_hub_until_something_else_is_deployed(bench):
    first = bench(desired={"x": 1})
    first.broker.set_desired("a", {"x": 2})
    a, _ = first.connect("a")
    _report(first, a, b'{"seen": 2}')
    second = bench(desired={"x": 1})
    assert second.broker.twin("a")["desired"] == {"x": 2, "$version": 2}
    third = bench(desired={"y": 1})
    assert third.broker.twin("a") == {
        "desired": {"y": 1, "$version": 3},
        "reported": {"seen": 2, "$version": 2},
    }


async def test_a_method_without_somebody_to_answer_ends_with_the_services_status(bench):
    hub = bench()
    with pytest.raises(MethodError, match="not connected") as absent:
        await hub.broker.call("a", "ping", None, 30)
    hub.connect("a", "$iothub/methods/POST/#")
    with pytest.raises(MethodError, match="has not answered") as silent:
        await hub.broker.call("a", "ping", None, 0.01)
    with pytest.raises(MethodError, match="131072") as large:
        await hub.broker.call("a", "ping", "x" * 131_072, 30)
    assert [e.value.status for e in (absent, silent, large)] == [404, 504, 413]


@pytest.mark.parametrize("body", [b"{", b'"' + b"x" * 131_072 + b'"'])
async def test_an_answer_that_is_too_large_or_not_json_is_an_error(bench, body):
    hub = bench()
    a, link = hub.connect("a", "$iothub/methods/POST/#")

    def answer(data: bytes) -> None:
        hub.broker.publish(a, Publish("$iothub/methods/res/200/?$rid=1", body, 1, 1))

    link.send = answer
    with pytest.raises(MethodError) as wrong:
        await hub.broker.call("a", "ping", None, 30)
    assert wrong.value.status == 502


async def test_nobody_answers_for_another_module(bench):
    hub = bench()
    b, _ = hub.connect("b")
    _, link = hub.connect("a", "$iothub/methods/POST/#")

    def answer(data: bytes) -> None:
        hub.broker.publish(b, Publish("$iothub/methods/res/200/?$rid=1", b"1", 1, 1))

    link.send = answer
    with pytest.raises(MethodError, match="has not answered"):
        await hub.broker.call("a", "ping", None, 0.01)


def test_a_body_can_be_looked_into_by_a_route(bench):
    hub = bench(("hot", "FROM /messages/* WHERE $body.t > 30 INTO $upstream"))
    a, _ = hub.connect("a")
    kind = "%24.ct=application%2Fjson&%24.ce=utf-8"
    for body in (b'{"t": 20}', b'{"t": 40}', b"{"):
        hub.broker.publish(a, Publish(f"{EVENTS}%24.on=o&{kind}", body, 1, 1))
    assert hub.forward() == [b'{"t": 40}']


def test_the_metrics_are_edge_hubs(bench):
    hub = bench(("up", "FROM /messages/modules/a/outputs/out INTO $upstream", 3))
    a, _ = hub.connect("a")
    hub.send(a, body=b"x")
    hub.send(a, output="nowhere")
    hub.faults.arm("upstream-offline")
    hub.send(a)
    text = hub.broker.exposition().decode()
    for line in (
        'edgehub_messages_received_total{edge_device="vehicle"',
        (
            'edgehub_messages_dropped_total{edge_device="vehicle",from="vehicle/a",'
            'from_route_output="nowhere"'
        ),
        'edgehub_queue_length{edge_device="vehicle",endpoint="iothub"',
    ):
        assert line in text
