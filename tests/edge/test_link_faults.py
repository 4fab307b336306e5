"""What goes wrong between an SDK client and its hub, row by row; no row needs a hand to end it."""

import asyncio
import base64
import json
import os
import secrets
import socket
import ssl
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
from link_help import PATIENCE, PATIENT, SOON, batch, delivered, on, soon, until, upstream
from paho.mqtt.client import Client

from bordnetz.edge.link import Backoff, HubLink, LinkError, LinkLostError, Timing
from bordnetz.edge.message import Message, MessageTooLargeError
from bordnetz.edge.metrics import Metrics
from bordnetz.edge.outbox import Outbox
from bordnetz.edge.pace import Pace, Rate
from bordnetz.edge.sender import Sender
from bordnetz.edge.suspects import STRIKES


@pytest.fixture
def outbox(tmp_path):
    return Outbox(tmp_path / "outbox", 50_000_000)


def numbers(arrivals):
    return [int(arrival.properties["batch"]) for arrival in arrivals]


async def test_a_drop_with_acknowledgements_pending_loses_nothing_and_reorders_by_a_window(
    hub, ears, outbox
):
    async with HubLink(ears, PATIENT, SOON) as link, Sender(outbox, link, Metrics()) as sender:
        await soon(link.up())
        await on(hub, "fault", "withhold-puback", count=4)
        for _ in range(20):
            await sender.put(lambda o, n: batch(n), 5)
        await upstream(hub, 4)
        await on(hub, "fault", "drop-link")
        await soon(sender.drained())
        arrived = Counter(numbers(await upstream(hub, 24)))
    assert set(arrived) == set(range(1, 21))
    # Those whose acknowledgement was withheld came twice, under the same name.
    assert arrived.total() == 24


async def test_a_silent_hub_is_noticed_within_twice_the_keep_alive(hub, ears):
    keep_alive = 4
    async with HubLink(ears, Timing(keep_alive=keep_alive), SOON) as link:
        await soon(link.up())
        silent = time.monotonic()
        await on(hub, "fault", "go-silent")
        await soon(link.down())
        assert time.monotonic() - silent <= 2 * keep_alive
        await on(hub, "fault", "go-silent", off=True)
        await delivered(link, batch())


async def test_a_silent_hub_is_noticed_as_soon_by_one_that_goes_on_sending(hub, ears, outbox):
    keep_alive = 4
    async with (
        HubLink(ears, Timing(keep_alive=keep_alive), SOON) as link,
        Sender(outbox, link, Metrics()) as sender,
    ):
        await soon(link.up())
        silent = time.monotonic()
        await on(hub, "fault", "go-silent")
        while link.connected:
            await sender.put(lambda o, n: batch(n), 5)
            with suppress(TimeoutError):
                await asyncio.wait_for(link.down(), 0.2)
        assert time.monotonic() - silent <= 2 * keep_alive
        await on(hub, "fault", "go-silent", off=True)
        await soon(sender.drained())


async def test_a_rotated_key_is_used_from_the_next_login_on(hub, ears, start_hub, manifest):
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        await asyncio.to_thread(hub.kill)
        keys = hub.state / "keys.json"
        drawn = await asyncio.to_thread(lambda: json.loads(keys.read_text()))
        rotated = {
            module: {**known, "key": base64.b64encode(secrets.token_bytes(32)).decode()}
            for module, known in drawn.items()
        }
        assert rotated != drawn
        await asyncio.to_thread(keys.write_text, json.dumps(rotated))
        await soon(link.down())
        again = await asyncio.to_thread(start_hub, manifest)
        await delivered(link, batch(1))
        assert len(await upstream(again, 1)) == 1


@pytest.mark.parametrize("years", [-10, 10])
async def test_a_clock_that_was_wrong_costs_attempts_only_until_it_is_right(
    hub, ears, monkeypatch, years
):
    """Before 2020 tokens have run out when they are made; the hub's clock is right."""
    real = time.time
    off = years * 365 * 86_400
    monkeypatch.setattr(time, "time", lambda: real() + off)
    async with HubLink(ears, PATIENT, SOON) as link:
        if off < 0:
            await refused(hub, 3)
            assert not link.connected
            monkeypatch.setattr(time, "time", real)
        await soon(link.up())
        # The clock is set while connected: the session goes on, and so does the next one.
        monkeypatch.setattr(time, "time", lambda: real() + off / 2 if off > 0 else real())
        await delivered(link, batch(1))
        monkeypatch.setattr(time, "time", real)
        await on(hub, "fault", "drop-link")
        await soon(link.down())
        await delivered(link, batch(2))
        assert numbers(await upstream(hub, 2)) == [1, 2]


async def refused(hub, count):
    """Waits until the hub has refused so many logins."""
    name = "client_connect_failed_total{id=car,reason=not_authenticated}"
    async with asyncio.timeout(PATIENCE):
        while True:
            counters = (await on(hub, "status"))["counters"]
            if counters.get(name, 0) >= count:
                return
            await asyncio.sleep(0.05)


async def test_a_login_refused_after_a_drop_is_tried_until_it_is_accepted(hub, ears):
    """The SDK by itself would have stopped for good; nothing is sent here that would wake it."""
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        await on(hub, "fault", "refuse-auth", count=5)
        await on(hub, "fault", "drop-link")
        await refused(hub, 5)
        await soon(link.up())
        await on(hub, "set", "car", {"b": 1})
        assert (await soon(ears.patches.get()))["b"] == 1


@pytest.mark.parametrize("lost", [0, 2])
async def test_a_change_while_offline_is_seen_also_if_the_reply_with_it_is_lost(hub, ears, lost):
    async with HubLink(ears, Timing(call=2), SOON) as link:
        await soon(link.up())
        desired, _ = await soon(ears.twins.get())
        await on(hub, "fault", "refuse-auth")
        await on(hub, "fault", "drop-link")
        await soon(link.down())
        version = await on(hub, "set", "car", {"a": 2})
        if lost:
            await on(hub, "fault", "lose-twin-reply", count=lost)
        await on(hub, "fault", "refuse-auth", off=True)
        changed, _ = await soon(ears.twins.get())
        assert changed["a"] == 2
        assert changed["$version"] == version == desired["$version"] + 1
        # And the one after it comes as it should.
        await soon(link.up())
        await on(hub, "set", "car", {"a": 3})
        assert (await soon(ears.patches.get()))["a"] == 3


async def test_a_message_that_the_hub_cuts_the_link_on_does_not_block_the_others(
    hub, ears, outbox, monkeypatch
):
    """A hub may be set to take less than Edge hub's usual 262,144 bytes."""
    monkeypatch.setattr("bordnetz.edge.suspects.FIRST", 0.5)
    monkeypatch.setattr("bordnetz.edge.suspects.LAST", 1.0)
    await on(hub, "fault", "cap-packets", 100_000)
    metrics = Metrics()
    async with HubLink(ears, PATIENT, SOON) as link, Sender(outbox, link, metrics) as sender:
        failed = asyncio.create_task(link.failed())
        for number in range(1, 31):
            await sender.put(lambda o, n: batch(n, 150_000 if n == 3 else 1_000), 5)
            assert outbox.last == number
        await until(lambda: sender.state()["messages"] == 1)
        # Some came twice, for the link was cut on them too.
        others = set(range(1, 31)) - {3}
        await until(lambda: set(numbers(hub.control.upstream.messages())) == others)
        await until(lambda: "bordnetz_hub_suspects 1.0" in metrics.page().decode())
        assert link.sessions >= STRIKES
        await on(hub, "fault", "cap-packets", off=True)
        await soon(sender.drained())
        assert "bordnetz_hub_suspects 0.0" in metrics.page().decode()
        assert not failed.done()
        failed.cancel()
    await until(lambda: 3 in set(numbers(hub.control.upstream.messages())))


async def test_when_the_hub_takes_less_than_others_do_that_is_found_out_with_few_breaks(
    hub, ears, outbox, monkeypatch
):
    monkeypatch.setattr("bordnetz.edge.suspects.FIRST", 5.0)
    await on(hub, "fault", "cap-packets", 100_000)
    large = set(range(5, 101, 5))
    async with HubLink(ears, PATIENT, SOON) as link, Sender(outbox, link, Metrics()) as sender:
        for number in range(1, 101):
            size = 150_000 if number in large else 1_000
            await sender.put(lambda o, n, size=size: batch(n, size), 5)
        await until(lambda: sender.state()["messages"] == len(large))
        assert set(numbers(hub.control.upstream.messages())) == set(range(1, 101)) - large
        assert link.sessions < len(large)
        await on(hub, "fault", "cap-packets", off=True)
        # One that passes frees all the others at once.
        await soon(sender.drained())
    await until(lambda: large <= set(numbers(hub.control.upstream.messages())))


async def test_what_no_hub_takes_never_gets_into_the_queue(hub, ears, outbox):
    await on(hub, "fault", "cap-packets", 262_144)
    async with HubLink(ears, PATIENT, SOON) as link, Sender(outbox, link, Metrics()) as sender:
        with pytest.raises(MessageTooLargeError):
            await sender.put(lambda o, n: batch(n, 250_000), 5)
        await sender.put(lambda o, n: batch(n), 5)
        await soon(sender.drained())
        assert link.sessions == 1
        assert len(await upstream(hub, 1)) == 1


class Mute:
    """A workload API that takes requests and never answers them."""

    def __init__(self, path):
        self.heard = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with suppress(OSError):
            while True:
                self.heard.append(self._socket.accept()[0])

    def close(self):
        """Hangs up on everybody."""
        self._socket.close()
        for heard in self.heard:
            heard.close()


async def test_a_workload_api_that_never_answers_is_asked_a_few_times_and_then_waited_for(
    hub, ears, monkeypatch, tmp_path
):
    real = os.environ["IOTEDGE_WORKLOADURI"]
    mute = Mute(tmp_path / "mute.sock")
    monkeypatch.setenv("IOTEDGE_WORKLOADURI", f"unix://{tmp_path}/mute.sock")
    failures = []

    def backoff(attempt):
        failures.append(attempt)
        return 0.05

    async with HubLink(ears, Timing(connect=1), backoff) as link:
        await until(lambda: len(failures) >= 6)
        assert len(mute.heard) == 3
        # It is started again: its connections break, and the next one is heard.
        monkeypatch.setenv("IOTEDGE_WORKLOADURI", real)
        await asyncio.to_thread(mute.close)
        link._timing = link._clients._timing = PATIENT
        await soon(link.up())
        await soon(link.send(batch()))


async def test_without_a_proof_for_too_long_the_link_fails_so_that_the_process_ends(hub, ears):
    await on(hub, "fault", "lose-twin-reply")
    async with HubLink(ears, Timing(call=0.5, patience=3), SOON) as link:
        with pytest.raises(LinkLostError, match=r"no session with the hub for 3 s .*give the twin"):
            await soon(link.failed())
        assert link.sessions == 0
    assert LinkLostError.exit_code == 69


async def test_a_session_that_proves_itself_is_patiently_kept(hub, ears):
    async with HubLink(ears, Timing(proof=0.3, call=20, patience=1), SOON) as link:
        failed = asyncio.create_task(link.failed())
        begin = asyncio.get_running_loop().time()
        await until(lambda: link.proved >= begin + 2)
        assert not failed.done()
        assert link.sessions == 1
        failed.cancel()


async def test_a_link_that_proves_nothing_is_rebuilt_within_the_time_for_a_proof_and_a_call(
    hub, ears, caplog
):
    """The hub still acknowledges what is sent; only the twin shows that it does not listen."""
    async with HubLink(ears, Timing(proof=1, call=3), SOON) as link:
        await soon(link.up())
        await on(hub, "fault", "lose-twin-reply", count=1)
        await soon(link.send(batch()))
        await soon(link.down())
        await soon(link.up())
        assert link.sessions == 2
    assert "no hub (hub did not give the twin within 3 s)" in caplog.text


async def test_after_an_outage_the_backlog_leaves_at_the_pace_several_in_flight(
    hub, ears, outbox, monkeypatch
):
    monkeypatch.setattr("bordnetz.edge.sender.OUTAGE", 0.0)
    for _ in range(40):
        outbox.put(lambda o, n: batch(n, 1_000), 5)
    pace = Pace(ceiling=Rate(1e9, 20))
    async with (
        HubLink(ears, PATIENT, SOON) as link,
        Sender(outbox, link, Metrics(), pace=pace) as s,
    ):
        await soon(link.up())
        start = time.monotonic()
        await soon(s.drained())
        # The first one at once, each other one a twentieth of a second after it.
        assert time.monotonic() - start >= 39 / 20 * 0.95
    assert numbers(await upstream(hub, 40)) == list(range(1, 41))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_the_end_of_the_network_thread_of_the_client_ends_the_session_at_once(
    hub, ears, monkeypatch
):
    """paho does not catch what TLS says where the hub closes while it writes, and is gone."""
    monkeypatch.setattr(Client, "_packet_write", closed_meanwhile := Once(Client._packet_write))
    unhurried = Timing(connect=20, call=600, close=600)
    async with HubLink(ears, unhurried, SOON) as link:
        await soon(link.up())
        closed_meanwhile.now.set()
        # Long before the call is overdue, and the client comes back from closing.
        with pytest.raises(LinkError):
            await soon(link.send(batch(1)))
        await delivered(link, batch(1))
        assert link.sessions == 2


class Once:
    """A method that fails once it is told to, and works again."""

    def __init__(self, method):
        self.now = threading.Event()
        self._method = method

    def __get__(self, client, _):
        return lambda: self(client)

    def __call__(self, client):
        if self.now.is_set():
            self.now.clear()
            raise ssl.SSLEOFError("EOF occurred in violation of protocol")
        return self._method(client)


async def test_several_messages_are_in_flight_at_once(hub, ears, outbox):
    for _ in range(20):
        outbox.put(lambda o, n: batch(n), 5)
    await on(hub, "fault", "withhold-puback")
    async with HubLink(ears, PATIENT, SOON) as link, Sender(outbox, link, Metrics()) as sender:
        assert len(await upstream(hub, 8)) == 8
        assert sender.state()["acknowledged"] == 0
        await on(hub, "fault", "withhold-puback", off=True)
        await soon(sender.drained())


async def test_live_events_overtake_a_backlog_and_do_not_wait_for_its_pace(hub, ears, outbox):
    for _ in range(50):
        outbox.put(lambda o, n: batch(n, 100_000), 5)
    # A tenth of a message a second: the backlog would take minutes.
    pace = Pace(floor=Rate(512, 0.1))
    pace.slow()
    async with (
        HubLink(ears, PATIENT, SOON) as link,
        Sender(outbox, link, Metrics(), pace=pace) as s,
    ):
        assert len(await upstream(hub, 1)) == 1
        await s.put(lambda o, n: Message("batches", b"", properties={"batch": "1000"}), 1)
        assert numbers(await upstream(hub, 2))[-1] == 1000
        assert s.state()["messages"] == 49


def test_a_thousand_vehicles_that_lost_their_hub_together_do_not_come_back_together():
    """Each has failed ten times when the hub is there again; all clocks began at once."""
    backoff = Backoff()
    back = []
    for _ in range(1000):
        now, attempt = 0.0, 0
        while now < 600:
            attempt += 1
            now += backoff(attempt)
        back.append(now - 600)
    seconds = Counter(int(moment) for moment in back)
    # Spread over a minute; without jitter all would come in one second of it.
    assert max(seconds.values()) < 100
    assert len(seconds) > 40


async def test_a_hub_that_forgets_the_session_in_silence_is_not_deaf_for_us_after_a_reconnect(
    hub, ears
):
    """The SDK would be connected and not subscribed; each session of ours subscribes."""
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        await on(hub, "fault", "forget-sessions", count=1)
        await on(hub, "fault", "drop-link")
        await soon(link.down())
        await soon(link.up())
        assert (await on(hub, "call", "car", "greet", 1))[0] == 200
        await on(hub, "set", "car", {"b": 1})
        assert (await soon(ears.patches.get()))["b"] == 1
        with suppress(LinkError):
            await soon(link.send(Message("news", b"hello")))
        assert (await soon(ears.messages.get()))[0] == "news"


async def test_messages_that_waited_for_an_input_are_heard_though_they_come_with_the_connection(
    hub, ears
):
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
    for number in range(20):
        await on(hub, "send", "car", "news", number)
    async with HubLink(ears, PATIENT, SOON):
        heard = [int((await soon(ears.messages.get()))[1].body) for _ in range(20)]
    assert sorted(set(heard)) == list(range(20))
