"""Each verb of ``bordnetz hub`` against a running hub, with the unmodified SDK behind it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys

import pytest
from hub_fixtures import RunningHub, template
from sdk_module import PATIENCE, SdkModule


@pytest.fixture
def manifest(tmp_path):
    return template(
        tmp_path / "deployment.template.json",
        {"telemetry": {"batch": {"window": 1}}},
        {"up": "FROM /messages/* INTO $upstream"},
        env={"VEHICLE": "the demo"},
    )


@pytest.fixture
def hub(start_hub, manifest) -> RunningHub:
    return start_hub(manifest)


class Verb:
    """A ``bordnetz hub`` that is running."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, *arguments: str) -> Verb:
        command = [sys.executable, "-m", "bordnetz", "hub", *arguments]
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        return cls(await asyncio.create_subprocess_exec(*command, **pipes))

    async def result(self) -> tuple[int, str, str]:
        out, err = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        return self.process.returncode, out.decode(), err.decode()


async def _hub(*arguments: str) -> tuple[int, str, str]:
    return await (await Verb.start(*arguments)).result()


async def test_set_changes_what_twin_shows_and_tells_the_module(hub, tmp_path):
    file = tmp_path / "collect.json"
    file.write_text('[{"match": "*"}]')
    async with await SdkModule.start(hub, "telemetry") as module:
        await module.listen()
        changes = ["batch.window=5", "name=two words", f"collect=@{file}", "gone=null"]
        code, out, _ = await _hub("set", "telemetry", *changes)
        assert (code, out) == (0, "desired properties of telemetry are at version 2\n")
        patch = await asyncio.wait_for(module.patches.get(), PATIENCE)
        assert patch == {
            "batch": {"window": 5},
            "name": "two words",
            "collect": [{"match": "*"}],
            "gone": None,
            "$version": 2,
        }
        await module.client.patch_twin_reported_properties({"state": "ok"})
        _, out, _ = await _hub("twin", "telemetry")
        assert json.loads(out) == {
            "desired": {
                "batch": {"window": 5},
                "name": "two words",
                "collect": [{"match": "*"}],
                "$version": 2,
            },
            "reported": {"state": "ok", "$version": 2},
        }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("a b=1", "must have a character and none of"),
        ("large=" + "x" * 5000, "4096"),
        ("a.b.c.d.e.f.g.h.i.j.k.l=1", "nested deeper than the 10 levels"),
        ("nonsense", "is not path=value"),
    ],
)
async def test_set_refuses_what_the_portal_refuses(hub, change, reason):
    code, _, err = await _hub("set", "telemetry", change)
    assert code == 1
    assert reason in err


async def test_call_prints_status_and_answer_and_ends_by_the_status(hub):
    async with await SdkModule.start(hub, "telemetry") as module:
        await module.listen()
        code, out, _ = await _hub("call", "telemetry", "ping", '{"a": [1]}')
        status, answer = out.split("\n", 1)
        assert (code, status, json.loads(answer)) == (0, "status 200", {"got": {"a": [1]}})
        code, out, _ = await _hub("call", "telemetry", "nonsense")
        assert (code, out.split("\n")[0]) == (1, "status 404")
        code, _, err = await _hub("call", "telemetry", "ping", "{")
        assert (code, "not JSON" in err) == (1, True)
    code, _, err = await _hub("call", "telemetry", "ping")
    assert (code, "is not connected" in err) == (1, True)


async def test_watch_shows_messages_as_they_arrive(hub):
    async with await SdkModule.start(hub, "telemetry") as module:
        await module.send(b"before the watching")
        async for _ in hub.control.upstream.follow():
            break
        watch = await Verb.start("watch", "--count", "1")
        # The verb asks for the status before it follows; only then the next message is sent.
        sending = asyncio.create_task(_send_until_seen(module, watch))
        line = await asyncio.wait_for(watch.process.stdout.readline(), PATIENCE)
        sending.cancel()
        code, _, _ = await watch.result()
        assert code == 0
        assert b"telemetry/batches" in line
        assert b"colour=red" in line


async def _send_until_seen(module, watch):
    while watch.process.returncode is None:
        await module.send(b"{}", colour="red")
        await asyncio.sleep(0.1)


async def test_fault_arms_and_takes_back(hub):
    code, out, _ = await _hub("fault", "slow", "20", "--module", "telemetry", "--count", "3")
    assert (code, out) == (0, "")
    await _hub("fault", "upstream-offline")
    _, out, _ = await _hub("status")
    status = json.loads(out)
    assert status["faults"] == [
        {"knob": "slow", "module": "telemetry", "value": 20, "count": 3},
        {"knob": "upstream-offline", "module": None, "value": 0, "count": None},
    ]
    assert status["upstream"]["online"] is False
    await _hub("fault", "slow", "off")
    await _hub("fault", "upstream-offline", "off")
    assert hub.control.status()["faults"] == []
    for wrong in (["slow", "much"], ["slow"], ["go-silent", "5"], ["slow", "1", "--module", "x"]):
        code, _, err = await _hub("fault", *wrong)
        assert code == 1
        assert err.startswith("bordnetz: ")


async def test_status_names_modules_and_places(hub):
    async with await SdkModule.start(hub, "telemetry") as module:
        await module.twin()
        _, out, _ = await _hub("status")
        status = json.loads(out)
        assert status["modules"]["telemetry"]["connected"] is True
        assert status["modules"]["telemetry"]["subscriptions"] == ["$iothub/twin/res/#"]
        assert status["place"]["metrics"] == hub.control.place.metrics


async def test_env_prints_what_the_module_has_to_be_started_with(hub):
    code, out, _ = await _hub("env", "telemetry")
    assert code == 0
    assert "export VEHICLE='the demo'\n" in out
    assert "export IOTEDGE_MODULEID=telemetry\n" in out
    code, _, err = await _hub("env", "nobody")
    assert (code, "there are: telemetry" in err) == (1, True)


async def test_a_hub_is_found_by_its_folder_or_because_it_is_the_only_one(
    hub, start_hub, manifest, monkeypatch
):
    assert (await _hub("status"))[0] == 0
    other = await asyncio.to_thread(start_hub, manifest, name="other")
    code, _, err = await _hub("status")
    assert code == 1
    assert "several hubs are running" in err
    assert str(hub.state) in err
    assert str(other.state) in err
    _, out, _ = await _hub("--state", str(other.state), "status")
    assert json.loads(out)["place"]["state"] == str(other.state)
    monkeypatch.setenv("BORDNETZ_HUB", str(hub.state))
    _, out, _ = await _hub("status")
    assert json.loads(out)["place"]["state"] == str(hub.state)
    hub.kill()
    code, _, err = await _hub("status")
    assert (code, "no hub is running in" in err) == (1, True)
    monkeypatch.delenv("BORDNETZ_HUB")
    _, out, _ = await _hub("status")
    assert json.loads(out)["place"]["state"] == str(other.state)
    assert other.stop() == 0
    code, _, err = await _hub("status")
    assert (code, "no hub is running; start one" in err) == (1, True)


async def test_run_says_what_is_in_its_way(hub, manifest, tmp_path):
    run = ["run", "--manifest", str(manifest)]
    code, _, err = await _hub(*run, "--state", str(hub.state))
    assert (code, "another hub is using" in err) == (1, True)
    taken = hub.control.place.address
    code, _, err = await _hub(*run, "--state", str(tmp_path / "new"), "--address", taken)
    assert (code, f"{taken}: Address already in use; name a free --address" in err) == (1, True)
    code, _, err = await _hub("run", "--manifest", str(tmp_path / "none.json"))
    assert (code, "cannot be read: No such file" in err) == (1, True)


def test_the_address_follows_from_the_folder_and_is_another_where_that_is_taken(
    start_hub, manifest
):
    def started_anew():
        hub = start_hub(manifest)
        address = hub.control.place.address
        hub.stop()
        # What it would go by first.
        (hub.state / "hub.json").unlink()
        return address

    address = started_anew()
    assert started_anew() == address
    with socket.create_server((address, 8883)):
        assert started_anew() != address


async def test_a_long_state_path_gets_short_sockets(start_hub, manifest):
    hub = await asyncio.to_thread(start_hub, manifest, name="long" * 40)
    assert len(hub.control.place.workload) <= 100
    async with await SdkModule.start(hub, "telemetry") as module:
        await module.twin()


async def test_send_puts_json_onto_an_input_now_or_when_the_module_comes(hub):
    assert (await _hub("send", "telemetry", "driver", '{"answer": "now"}'))[0] == 0
    async with await SdkModule.start(hub, "telemetry") as module:
        await module.listen()
        assert (await _hub("send", "telemetry", "driver", '{"answer": "tonight"}'))[0] == 0
        heard = [await asyncio.wait_for(module.inputs.get(), PATIENCE) for _ in range(2)]
    assert [json.loads(one.data)["answer"] for one in heard] == ["now", "tonight"]
    assert {one.input_name for one in heard} == {"driver"}
    assert {one.content_type for one in heard} == {"application/json"}


@pytest.mark.parametrize(
    ("module", "name", "body", "said"),
    [
        ("telemetry", "driver", "{", "not JSON"),
        ("nobody", "driver", "{}", "nobody"),
        ("telemetry", "dri ver", "{}", "input"),
    ],
)
async def test_send_refuses_what_no_module_could_get(hub, module, name, body, said):
    code, _, err = await _hub("send", module, name, body)
    assert code == 1
    assert said in err
