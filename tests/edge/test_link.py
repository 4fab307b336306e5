"""The hub link with the unmodified SDK against the stand-in Edge hub, which misbehaves."""

import asyncio
import gc
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from link_help import (
    PATIENCE,
    PATIENT,
    SOON,
    batch,
    delivered,
    on,
    soon,
    until,
    upstream,
)

from bordnetz.edge.link import (
    Backoff,
    HubLink,
    LinkError,
    LinkStuckError,
    NotConnectedError,
    Timing,
)
from bordnetz.edge.message import Message, MessageTooLargeError
from bordnetz.edge.metrics import Metrics
from bordnetz.edge.outbox import Outbox
from bordnetz.edge.sender import Sender


async def test_a_message_arrives_as_it_was_sent_and_is_metered_as_we_reckon(hub, ears):
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        message = batch(7, 5_000)
        await soon(link.send(message))
        (arrival,) = await upstream(hub, 1)
        assert hub.control.upstream.body(arrival) == message.body
        assert arrival.properties == message.properties
        assert arrival.system["contentType"] == "a/b"
        assert arrival.system["contentEncoding"] == "zstd"
        assert abs(message.metered_size - arrival.metered) <= len(message.output)
        assert arrival.blocks == message.blocks == 2


async def test_the_largest_message_passes_and_a_larger_one_is_never_sent(hub, ears):
    largest = 250_000 - batch(0, 0).packet_size
    await on(hub, "fault", "cap-packets", 262_144)
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        await soon(link.send(batch(0, largest)))
        with pytest.raises(MessageTooLargeError):
            await link.send(batch(0, largest + 1))
        assert link.sessions == 1


async def test_the_hub_may_come_later_than_the_module(start_hub, manifest, ears, hub):
    await asyncio.to_thread(hub.kill)
    failures = asyncio.Queue()

    def backoff(attempt):
        failures.put_nowait(attempt)
        return 0.05

    async with HubLink(ears, PATIENT, backoff) as link:
        for attempt in (1, 2, 3):
            assert await soon(failures.get()) == attempt
        assert not link.connected
        with pytest.raises(LinkError, match="not connected"):
            await link.send(batch())
        again = await asyncio.to_thread(start_hub, manifest)
        await soon(link.up())
        await soon(link.send(batch()))
        assert len(await upstream(again, 1)) == 1


async def test_the_twin_is_read_at_the_start_and_after_every_reconnect(hub, ears):
    async with HubLink(ears, PATIENT, SOON) as link:
        desired, _ = await soon(ears.twins.get())
        assert desired["a"] == 1
        await soon(link.up())
        await on(hub, "fault", "refuse-auth")
        await on(hub, "fault", "drop-link")
        await soon(link.down())
        await on(hub, "set", "car", {"a": 2})
        await on(hub, "fault", "refuse-auth", off=True)
        changed, _ = await soon(ears.twins.get())
        assert changed["a"] == 2
        assert changed["$version"] == desired["$version"] + 1


async def test_a_lost_twin_reply_costs_one_attempt_and_no_change(hub, ears):
    await on(hub, "fault", "lose-twin-reply", count=1)
    async with HubLink(ears, Timing(call=2), SOON) as link:
        desired, _ = await soon(ears.twins.get())
        assert desired["a"] == 1
        await soon(link.up())


async def test_changes_methods_and_inputs_reach_the_module_after_the_hub_forgot_its_session(
    hub, ears
):
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        for round_ in (1, 2):
            await on(hub, "set", "car", {"b": round_})
            assert (await soon(ears.patches.get()))["b"] == round_
            assert await on(hub, "call", "car", "greet", {"n": round_}) == (
                200,
                {"name": "greet", "payload": {"n": round_}},
            )
            await soon(link.send(Message("news", b"hello", "t", "", {"n": str(round_)})))
            number = 0
            while number != round_:
                # One comes again if the hub forgot the session before it had our acknowledgement.
                source, message = await soon(ears.messages.get())
                assert source == "news"
                assert message.body == b"hello"
                assert message.content_type == "t"
                number = int(message.properties["n"])
            await on(hub, "fault", "forget-sessions")
            await soon(link.down())
            await soon(link.up())
        assert link.sessions == 3


async def test_a_change_that_does_not_follow_makes_the_link_read_the_twin_again(hub, ears):
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        await soon(ears.twins.get())
        ears.follows = False
        await on(hub, "set", "car", {"b": 5})
        desired, _ = await soon(ears.twins.get())
        assert desired["b"] == 5


async def test_reported_properties_are_merged(hub, ears):
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        await soon(link.report({"x": {"y": 1, "z": 2}}))
        await soon(link.report({"x": {"y": None}}))
        reported = (await on(hub, "twin", "car"))["reported"]
        assert reported["x"] == {"z": 2}


async def test_a_drop_with_an_acknowledgement_outstanding_leaves_the_outcome_open(hub, ears):
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        await on(hub, "fault", "withhold-puback", count=1)
        sending = asyncio.create_task(link.send(batch(1)))
        assert len(await upstream(hub, 1)) == 1
        assert not sending.done()
        await on(hub, "fault", "drop-link")
        with pytest.raises(LinkError, match="did not acknowledge"):
            await soon(sending)
        await soon(link.down())
        await soon(link.up())
        await soon(link.send(batch(2)))
        arrived = await upstream(hub, 2)
        # The SDK would have sent the first one again by itself, behind our back.
        assert [arrival.properties["batch"] for arrival in arrived] == ["1", "2"]


async def test_a_message_never_acknowledged_ends_the_session(hub, ears):
    async with HubLink(ears, Timing(call=2), SOON) as link:
        await soon(link.up())
        await on(hub, "fault", "withhold-puback", count=1)
        with pytest.raises(LinkError, match="within 2 s"):
            await soon(link.send(batch()))
        await soon(link.down())
        await delivered(link, batch())


async def test_a_client_that_never_comes_back_from_closing_is_given_up_with_the_process(hub, ears):
    async with HubLink(ears, Timing(close=0), SOON) as link:
        failed = asyncio.create_task(link.failed())
        for _ in range(3):
            await soon(link.up())
            assert not failed.done()
            await on(hub, "fault", "drop-link")
            await soon(link.down())
        with pytest.raises(LinkStuckError, match="3 clients"):
            await soon(failed)


async def test_a_silent_hub_is_noticed(hub, ears):
    async with HubLink(ears, Timing(keep_alive=2), SOON) as link:
        await soon(link.up())
        await on(hub, "fault", "go-silent")
        await soon(link.down())
        await on(hub, "fault", "go-silent", off=True)
        await delivered(link, batch())


async def test_a_refused_login_is_tried_again(hub, ears):
    await on(hub, "fault", "refuse-auth", count=3)
    async with HubLink(ears, PATIENT, SOON) as link:
        await soon(link.up())
        await soon(link.send(batch()))


async def test_an_idle_link_proves_itself_by_reading_the_twin(hub, ears):
    async with HubLink(ears, Timing(proof=0.2, call=5), SOON) as link:
        await soon(link.up())
        for _ in range(3):
            await soon(ears.twins.get())
        assert link.sessions == 1
        await on(hub, "fault", "lose-twin-reply", count=1)
        await soon(link.down())
        await soon(link.up())


async def test_a_session_is_renewed_before_its_token_runs_out_without_losing_a_message(hub, ears):
    async with HubLink(ears, Timing(lifetime=0.3, close=20), lambda _: PATIENCE) as link:
        numbers = iter(range(1_000_000))
        sent = []
        while link.sessions < 3:
            await soon(link.up())
            number = next(numbers)
            # Between two sessions the link says so at once, and the message has not left.
            with suppress(NotConnectedError):
                await soon(link.send(batch(number)))
                sent.append(str(number))
        arrived = await upstream(hub, len(sent))
        assert [arrival.properties["batch"] for arrival in arrived] == sent


@pytest.fixture
def rare_collector():
    """Garbage is collected when somebody asks for it, as good as in a module that waits."""
    gc.disable()
    yield
    gc.enable()


def in_use():
    """Threads and descriptors."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.usefixtures("rare_collector")
async def test_threads_and_descriptors_do_not_grow_with_reconnects(hub, ears):
    async with HubLink(ears, PATIENT, Backoff(0.01, 0.02)) as link:

        async def reconnect(times):
            for _ in range(times):
                await soon(link.up())
                await on(hub, "fault", "drop-link")
                await soon(link.down())
            await soon(link.up())

        await reconnect(5)
        threads, descriptors = in_use()
        await reconnect(15)
        more_threads, more_descriptors = in_use()
        # The executor that the SDK uses may still grow by a thread or two.
        assert more_threads <= threads + 2
        assert more_descriptors <= descriptors + 2


@pytest.mark.usefixtures("rare_collector")
async def test_threads_and_descriptors_do_not_grow_while_there_is_no_hub(hub, ears):
    enough = asyncio.Event()
    seen = []

    def backoff(attempt):
        seen.append(in_use())
        if attempt == 15:
            enough.set()
        return 0.01

    await asyncio.to_thread(hub.kill)
    async with HubLink(ears, PATIENT, backoff):
        await soon(enough.wait())
    threads, descriptors = zip(*seen[4:], strict=True)
    assert max(threads) <= threads[0] + 2
    assert max(descriptors) <= descriptors[0] + 2


async def test_the_outbox_is_emptied_in_order_of_priority_and_each_message_arrives_once(
    hub, ears, tmp_path
):
    outbox = Outbox(tmp_path / "outbox", 10_000_000)
    for number in range(20):
        outbox.put(lambda o, n: batch(n, 30_000), 9 - number % 2 * 5)
    async with HubLink(ears, PATIENT, SOON) as link, Sender(outbox, link, Metrics()) as sender:
        await soon(sender.drained())
        assert await sender.put(lambda o, n: batch(n), 5) == 21
        await soon(sender.drained())
        arrived = [int(arrival.properties["batch"]) for arrival in await upstream(hub, 21)]
    assert sorted(arrived) == list(range(1, 22))
    assert arrived.index(20) < arrived.index(1)
    with Outbox(tmp_path / "outbox", 10_000_000) as left:
        assert len(left) == 0


async def test_a_message_of_unknown_fate_is_sent_again_and_acknowledged_once(hub, ears, tmp_path):
    outbox = Outbox(tmp_path / "outbox", 10_000_000)
    metrics = Metrics()
    async with HubLink(ears, PATIENT, SOON) as link, Sender(outbox, link, metrics) as sender:
        await soon(link.up())
        await on(hub, "fault", "withhold-puback", count=5)
        for _ in range(5):
            await sender.put(lambda o, n: batch(n), 5)
        first = await upstream(hub, 5)
        assert sender.state()["messages"] == 5
        await on(hub, "fault", "drop-link")
        await soon(sender.drained())
        arrived = await upstream(hub, 10)
    assert {arrival.properties["batch"] for arrival in first} == {"1", "2", "3", "4", "5"}
    assert sorted(a.properties["batch"] for a in arrived) == sorted("1234512345")
    page = metrics.page().decode()
    assert 'bordnetz_outbox_sent_total{priority="5"} 5.0' in page
    assert "bordnetz_hub_sent_total 5.0" in page
    assert "bordnetz_hub_received_total 10.0" in page
    assert 'bordnetz_hub_dropped_total{reason="unconfirmed"} 5.0' in page


async def test_a_killed_hub_costs_nothing(hub, ears, tmp_path, start_hub, manifest):
    outbox = Outbox(tmp_path / "outbox", 10_000_000)
    async with HubLink(ears, PATIENT, SOON) as link, Sender(outbox, link, Metrics()) as sender:
        await soon(link.up())
        for number in range(60):
            await sender.put(lambda o, n: batch(n, 20_000), 5)
            if number == 30:
                await asyncio.to_thread(hub.kill)
        again = await asyncio.to_thread(start_hub, manifest)
        await soon(sender.drained())
        arrived = {a.properties["batch"] for a in again.control.upstream.messages()}
        while len(arrived) < 60:
            await asyncio.sleep(0.05)
            arrived = {a.properties["batch"] for a in again.control.upstream.messages()}
    assert arrived == {str(number) for number in range(1, 61)}


async def test_acknowledgements_are_written_with_a_message_or_when_none_comes(
    hub, ears, tmp_path, monkeypatch
):
    monkeypatch.setattr("bordnetz.edge.sender._IDLE", 3.0)
    flushed = []
    flush = Outbox.flush

    def noted(outbox):
        flush(outbox)
        flushed.append(outbox.last)

    monkeypatch.setattr(Outbox, "flush", noted)
    outbox = Outbox(tmp_path / "outbox", 1_000_000)
    async with HubLink(ears, PATIENT, SOON) as link, Sender(outbox, link, Metrics()) as sender:
        for number in range(1, 17):
            await sender.put(lambda o, n: batch(n), 5)
            await soon(sender.drained())
            assert outbox.last == number
            await asyncio.sleep(0.25)
        await until(lambda: flushed)
        # What a power cut leaves now is an outbox with nothing in it.
        shutil.copytree(tmp_path / "outbox", tmp_path / "copy")
        with Outbox(tmp_path / "copy", 1_000_000) as copy:
            assert len(copy) == 0
    assert set(flushed) == {16}


async def test_what_the_outbox_gives_up_is_told_once_a_minute_in_total(ears, tmp_path, caplog):
    now = 0.0
    outbox = Outbox(tmp_path / "outbox", 100_000)
    link = HubLink(ears, PATIENT, SOON)
    metrics = Metrics()
    async with Sender(outbox, link, metrics, lambda: now) as sender:

        async def evict(times):
            for _ in range(times):
                await sender.put(lambda o, n: batch(n, 90_000), 5)

        await evict(10)
        assert told(caplog) == [1]
        now = 59.9
        await evict(10)
        assert told(caplog) == [1]
        now = 60.0
        await evict(10)
        assert told(caplog) == [1, 19]
    assert told(caplog) == [1, 19, 9]
    dropped = 'bordnetz_outbox_dropped_total{priority="5",reason="budget"} 29.0'
    assert dropped in metrics.page().decode()


def told(caplog):
    return [record.args[0] for record in caplog.records if "given up" in record.msg]
