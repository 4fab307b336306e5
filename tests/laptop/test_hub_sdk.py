"""The unmodified azure-iot-device SDK against the stand-in hub as its own process."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.request

import pytest
from azure.iot.device.exceptions import ConnectionFailedError, CredentialError
from hub_fixtures import RunningHub, template
from sdk_module import PATIENCE, SdkModule

from bordnetz.laptop.hub.control import ControlError

ROUTES = {
    "upstream": "FROM /messages/modules/sender/outputs/batches INTO $upstream",
    "short": {
        "route": "FROM /messages/modules/sender/outputs/short INTO $upstream",
        "priority": 0,
        "timeToLiveSecs": 1,
    },
    "red": "FROM /messages/modules/sender/outputs/peer WHERE colour = 'red' "
    'INTO BrokeredEndpoint("/modules/receiver/inputs/in")',
}


@pytest.fixture
def manifest(tmp_path):
    return template(
        tmp_path / "deployment.template.json",
        {"sender": {"interval": 1}, "receiver": {}},
        ROUTES,
        env={"COLOUR": "blue"},
    )


@pytest.fixture
def hub(start_hub, manifest) -> RunningHub:
    return start_hub(manifest)


async def _ask(function, *arguments, **options):
    return await asyncio.to_thread(function, *arguments, **options)


async def _eventually(hub, condition):
    """Waits until the hub's status fulfils a condition."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status = await _ask(hub.control.status)
            if condition(status):
                return status
            await asyncio.sleep(0.05)


async def _arrivals(hub, count) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        async for arrival in hub.control.upstream.follow():
            found.append(hub.control.upstream.body(arrival))
            if len(found) == count:
                break
    return found


async def test_messages_twin_and_methods_work_as_with_the_real_hub(hub):
    async with await SdkModule.start(hub, "sender") as sender:
        await sender.listen()
        assert await sender.twin() == {
            "desired": {"interval": 1, "$version": 1},
            "reported": {"$version": 1},
        }
        await sender.client.patch_twin_reported_properties({"state": {"on": True, "n": 1}})
        await sender.client.patch_twin_reported_properties({"state": {"n": None}})
        assert (await _ask(hub.control.twin, "sender"))["reported"] == {
            "state": {"on": True},
            "$version": 3,
        }
        assert await _ask(hub.control.set, "sender", {"interval": 2}) == 2
        assert await sender.patches.get() == {"interval": 2, "$version": 2}
        assert await _ask(hub.control.call, "sender", "ping", [1]) == (200, {"got": [1]})
        assert await _ask(hub.control.call, "sender", "nonsense") == (404, {"got": None})
        await sender.send(b"x" * 5000, schema="1")
        assert await _arrivals(hub, 1) == [b"x" * 5000]
        (arrival,) = hub.control.upstream.messages()
        assert arrival.properties == {"schema": "1"}
        assert arrival.blocks == 2


async def test_routes_lead_to_inputs_of_other_modules_under_their_condition(hub):
    async with (
        await SdkModule.start(hub, "sender") as sender,
        await SdkModule.start(hub, "receiver") as receiver,
    ):
        await sender.listen()
        await receiver.listen()
        await sender.send(b"no", "peer", colour="green")
        await sender.send(b"yes", "peer", colour="red")
        message = await asyncio.wait_for(receiver.inputs.get(), PATIENCE)
        assert (message.data, message.input_name) == (b"yes", "in")
        assert message.custom_properties["colour"] == "red"
        assert message.custom_properties["$.cmid"] == "sender"
        assert sender.inputs.empty()
        counters = (await _ask(hub.control.status))["counters"]
        assert counters[
            "messages_dropped_total{reason=no_route,from=sender,from_route_output=peer}"
        ]
        text = await _ask(lambda: urllib.request.urlopen(hub.control.place.metrics).read().decode())
        assert 'reason="no_route"' in text
        assert "edgehub_messages_sent_total" in text


async def test_methods_and_patches_reach_one_module_alone(hub):
    async with (
        await SdkModule.start(hub, "sender") as sender,
        await SdkModule.start(hub, "receiver") as receiver,
    ):
        await sender.listen()
        await receiver.listen()
        await _ask(hub.control.call, "receiver", "ping", 1)
        await _ask(hub.control.set, "receiver", {"a": 1})
        # Once its own have come, those of the other would have come before them.
        await _ask(hub.control.call, "sender", "ping", 2)
        await _ask(hub.control.set, "sender", {"b": 2})
        assert await receiver.methods.get() == ("ping", 1)
        assert await sender.methods.get() == ("ping", 2)
        assert (await receiver.patches.get())["a"] == 1
        assert (await sender.patches.get())["b"] == 2
        for queue in (sender.methods, sender.patches, receiver.methods, receiver.patches):
            assert queue.empty()


async def test_a_module_that_is_not_there_cannot_be_called(hub):
    with pytest.raises(ControlError, match="not connected") as absent:
        await _ask(hub.control.call, "sender", "ping")
    assert absent.value.status == 404
    with pytest.raises(ControlError, match="not in the manifest; there are: sender, receiver"):
        await _ask(hub.control.call, "nobody", "ping")


async def test_what_was_stored_before_the_hub_died_is_there_after_its_restart(
    start_hub, manifest, hub
):
    async with await SdkModule.start(hub, "sender", connection_retry_interval=1) as sender:
        await sender.listen()
        await sender.twin()
        await _ask(hub.control.set, "sender", {"interval": 7})
        await _ask(hub.control.fault, "upstream-offline")
        await sender.send(b"before")
        await _ask(hub.kill)
        await sender.link(up=False)
        again = await _ask(start_hub, manifest)
        assert again.control.place.address == hub.control.place.address
        await sender.link(up=True)
        # The session was kept: nobody has subscribed again, and yet the method arrives.
        assert (await _ask(again.control.call, "sender", "ping", 1))[0] == 200
        assert (await sender.twin())["desired"]["interval"] == 7
        await sender.send(b"after")
        assert await _arrivals(again, 2) == [b"before", b"after"]


async def test_two_hubs_do_not_disturb_each_other(start_hub, manifest, hub):
    other = await _ask(start_hub, manifest, name="other")
    assert other.control.place.address != hub.control.place.address
    async with (
        await SdkModule.start(hub, "sender") as here,
        await SdkModule.start(other, "sender") as there,
    ):
        await here.send(b"here")
        await there.send(b"there")
        assert await _arrivals(hub, 1) == [b"here"]
        assert await _arrivals(other, 1) == [b"there"]


async def test_the_environment_carries_the_manifests_variables(hub):
    environment = await _ask(hub.control.env, "sender")
    assert environment["COLOUR"] == "blue"
    assert sum(name.startswith("IOTEDGE_") for name in environment) == 7


async def test_fault_withhold_puback(hub):
    async with await SdkModule.start(hub, "sender") as sender:
        await _ask(hub.control.fault, "withhold-puback", module="sender", count=1)
        held = asyncio.create_task(sender.send(b"held"))
        assert await _arrivals(hub, 1) == [b"held"]
        await sender.send(b"not held")
        assert not held.done()
        await _ask(hub.control.fault, "withhold-puback", off=True)
        await held


async def test_nothing_more_is_read_from_a_client_with_sixteen_unacknowledged(hub):
    async with await SdkModule.start(hub, "sender") as sender:
        await _ask(hub.control.fault, "withhold-puback")
        sends = [asyncio.create_task(sender.send(bytes([n]))) for n in range(20)]
        assert len(set(await _arrivals(hub, 16))) == 16
        received = "messages_received_total{route_output=batches,id=sender}"
        assert (await _ask(hub.control.status))["counters"][received] == 16
        await _ask(hub.control.fault, "withhold-puback", off=True)
        await asyncio.gather(*sends)
        assert set(await _arrivals(hub, 20)) == {bytes([n]) for n in range(20)}


async def test_fault_drop_link(hub):
    async with await SdkModule.start(hub, "sender") as sender:
        await _ask(hub.control.fault, "withhold-puback", count=1)
        pending = asyncio.create_task(sender.send(b"twice"))
        await _arrivals(hub, 1)
        await _ask(hub.control.fault, "drop-link", module="sender")
        await sender.link(up=False)
        await pending
        assert await _arrivals(hub, 2) == [b"twice", b"twice"]


async def test_fault_go_silent(hub):
    options = {"keep_alive": 2, "connection_retry_interval": 5}
    async with await SdkModule.start(hub, "sender", **options) as sender:
        await _ask(hub.control.fault, "go-silent", module="sender", count=1)
        pending = asyncio.create_task(sender.send(b"into the void"))
        await sender.link(up=False)
        assert not (await _ask(hub.control.status))["upstream"]["messages"]
        await sender.link(up=True)
        await pending
        await _ask(hub.control.fault, "go-silent", off=True)
        assert set(await _arrivals(hub, 1)) == {b"into the void"}


async def test_fault_refuse_auth(hub):
    refused = await SdkModule.start(hub, "sender")
    await _ask(hub.control.fault, "refuse-auth", module="sender", count=1)
    # Which of the two the SDK makes of CONNACK 5 depends on which of its threads is first.
    with pytest.raises((CredentialError, ConnectionFailedError)):
        await refused.client.connect()
    await refused.client.shutdown()
    # Another client: the refused one may answer its next connect with the failure of the last.
    async with await SdkModule.start(hub, "sender") as accepted:
        await accepted.send(b"accepted")
    counters = (await _ask(hub.control.status))["counters"]
    assert counters["client_connect_failed_total{id=sender,reason=not_authenticated}"] == 1


async def test_fault_forget_sessions(hub):
    async with await SdkModule.start(hub, "sender", connection_retry_interval=1) as sender:
        await sender.listen()
        await _ask(hub.control.fault, "forget-sessions")
        await sender.link(up=False)
        await sender.link(up=True)
        # The SDK is connected and yet deaf: it does not subscribe again.
        with pytest.raises(ControlError, match="takes no methods"):
            await _ask(hub.control.call, "sender", "ping")


async def test_fault_lose_twin_reply(hub):
    async with await SdkModule.start(hub, "sender") as sender:
        await sender.twin()
        await _ask(hub.control.fault, "lose-twin-reply", module="sender", count=1)
        lost = asyncio.create_task(sender.client.get_twin())
        asked = "gettwin_total{source=edge_hub,id=sender}"
        await _eventually(hub, lambda status: status["counters"][asked] == 2)
        await sender.twin()
        assert not lost.done()
        lost.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await lost


async def test_fault_cap_packets(hub):
    await _ask(hub.control.fault, "cap-packets", 4096, module="sender")
    async with await SdkModule.start(hub, "sender", connection_retry=False) as sender:
        await sender.send(b"small")
        large = asyncio.create_task(sender.send(b"x" * 5000))
        await sender.link(up=False)
        with contextlib.suppress(Exception):
            await large
    assert [len(body) for body in await _arrivals(hub, 1)] == [5]
    await _ask(hub.control.fault, "cap-packets", off=True)
    async with await SdkModule.start(hub, "sender") as sender:
        await sender.send(b"x" * 5000)
    assert [len(body) for body in await _arrivals(hub, 2)] == [5, 5000]


async def test_a_packet_over_the_hubs_own_limit_cuts_the_link(hub):
    sender = await SdkModule.start(hub, "sender", connection_retry=False)
    async with sender:
        await sender.send(b"x" * 262_000)
        large = asyncio.create_task(sender.send(b"x" * 262_100))
        await sender.link(up=False)
        with contextlib.suppress(Exception):
            await large
    assert len(await _arrivals(hub, 1)) == 1
    assert "at most 262144 are taken" in hub.log.read_text()


async def test_fault_upstream_offline(hub):
    async with await SdkModule.start(hub, "sender") as sender:
        await _ask(hub.control.fault, "upstream-offline")
        await sender.send(b"waits")
        await sender.send(b"expires", "short")
        status = await _eventually(hub, lambda status: len(status["queues"]) == 1)
        dropped = "messages_dropped_total{reason=ttl_expiry,from=sender,from_route_output=short}"
        assert status["counters"][dropped] == 1
        assert status["upstream"] == {"online": False, "messages": 0, "bytes": 0, "blocks": 0}
        await _ask(hub.control.fault, "upstream-offline", off=True)
        assert await _arrivals(hub, 1) == [b"waits"]


async def test_fault_slow(hub):
    async with await SdkModule.start(hub, "sender") as sender:
        await _ask(hub.control.fault, "slow", 10_000_000, module="sender", count=1)
        pending = asyncio.create_task(sender.send(b"late"))
        await _eventually(hub, lambda status: status["faults"] == [])
        assert (await _ask(hub.control.status))["upstream"]["messages"] == 0
        await _ask(hub.control.fault, "drop-link")
        await pending
        assert await _arrivals(hub, 1) == [b"late"]


async def test_a_module_that_is_signed_for_another_is_refused(hub):
    environment = await _ask(hub.control.env, "sender")
    stranger = await _ask(SdkModule, environment, asyncio.get_running_loop())
    other = await _ask(hub.control.env, "receiver")
    generation = other["IOTEDGE_MODULEGENERATIONID"]
    with pytest.raises(ValueError, match="Could not create a SasToken"):
        await _ask(
            SdkModule,
            environment | {"IOTEDGE_MODULEGENERATIONID": generation},
            asyncio.get_running_loop(),
        )
    async with stranger:
        await stranger.send(b"right generation")
