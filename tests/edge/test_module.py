"""A whole Edge module as a process of its own, with the stand-in hub as another one."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from hub_fixtures import template

from bordnetz.edge.environment import IOT_EDGE
from bordnetz.edge.link import Timing
from bordnetz.edge.outbox import Outbox
from bordnetz.edge.run import DRAIN, STOP

PATIENCE = 60
NOWHERE = dict.fromkeys(IOT_EDGE, "nowhere")
ROUTES = {
    "up": "FROM /messages/modules/probe/outputs/batches INTO $upstream",
    "in": 'FROM /messages/modules/peer/* INTO BrokeredEndpoint("/modules/probe/inputs/news")',
}
LINE = re.compile(
    r"<[23467]> \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \+00:00 \[(FTL|ERR|WRN|INF|DBG)\] - .+"
)


class Process:
    """The module's process."""

    def __init__(self, state: Path, environment, **more):
        variables = {**os.environ, **NOWHERE, **environment, "BORDNETZ_STATE": str(state)}
        variables |= {"BORDNETZ_METRICS_ADDRESS": "127.0.0.1:0", **more}
        self.state = state
        self.log = state.with_name(state.name + ".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("edge_module.py"))],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=variables,
            )
        self.told = []

    def remembering(self):
        """Waits until its configuration would be in force after a restart without a hub."""
        eventually((self.state / "desired.json").exists, bool)
        return self

    def until(self, word):
        """Reads on to the next line that starts with a word, and returns the rest of it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(line.split())
            if self.told[-1][0] == word:
                return self.told[-1][1]
        raise AssertionError(f"ended without '{word}':\n{self.log.read_text()}")

    def end(self, number=signal.SIGTERM):
        """Sends a signal and reads the rest; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.told += [line.split() for line in self.process.stdout]
            self.process.stdout.close()
        return self.process.wait()

    @property
    def put(self):
        return [int(words[1]) for words in self.told if words[0] == "put"]

    def logged(self, pattern):
        """Waits for a line of the log; the match."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := re.search(pattern, self.log.read_text()):
                return found
            time.sleep(0.05)
        raise AssertionError(f"no '{pattern}' in the log:\n{self.log.read_text()}")


@pytest.fixture
def manifest(tmp_path):
    desired = {"period": 0.02}
    return template(tmp_path / "deployment.json", {"probe": desired, "peer": {}}, ROUTES)


@pytest.fixture
def hub(start_hub, manifest):
    return start_hub(manifest)


@pytest.fixture
def start(tmp_path):
    """``start(environment, **variables)`` starts the module, always on the same state folder."""
    processes = []

    def begin(environment, **more):
        processes.append(Process(tmp_path / "state", environment, **more))
        return processes[-1]

    yield begin
    for process in processes:
        process.end(signal.SIGKILL)


def arrived(hub):
    return [arrival.properties["n"] for arrival in hub.control.upstream.messages()]


def eventually(ask, wanted):
    """Asks until the answer is as wanted; the answer."""
    end = time.monotonic() + PATIENCE
    while not wanted(answer := ask()):
        assert time.monotonic() < end, f"still {answer!r}"
        time.sleep(0.05)
    return answer


def test_stopping_is_bounded_by_the_seconds_that_are_promised():
    # Link and metrics close together with the sender; nothing else on the way out may wait.
    assert STOP + DRAIN + Timing().close <= 7


def test_on_sigterm_what_is_in_hand_is_delivered_and_the_process_ends(hub, start):
    probe = start(hub.control.env("probe"))
    for _ in range(5):
        probe.until("put")
    assert probe.end() == 0
    with Outbox(probe.state / "outbox", 10_000_000) as outbox:
        assert len(outbox) == 0
        names = [f"{outbox.id}-{n}" for n in probe.put]
    assert eventually(lambda: sorted(set(arrived(hub))), lambda got: len(got) >= len(names)) == (
        sorted(names)
    )
    assert "asked to stop" in probe.log.read_text()


def test_on_sigterm_without_a_hub_everything_is_in_the_outbox(hub, start):
    environment = hub.control.env("probe")
    first = start(environment).remembering()
    first.until("put")
    first.end()
    hub.kill()
    # The configuration of the last run is in force although there is no hub to ask.
    probe = start(environment)
    for _ in range(5):
        probe.until("put")
    assert probe.end() == 0
    with Outbox(probe.state / "outbox", 10_000_000) as outbox:
        kept = [entry.sequence for entry in outbox.take(1000)]
    assert kept[-len(probe.put) :] == probe.put


def test_what_stayed_in_the_place_of_what_was_refused_outlives_a_restart(hub, start):
    environment = hub.control.env("probe")
    probe = start(environment)
    probe.until("put")
    hub.control.set("probe", {"period": -1, "rules": ["a"]})
    kept = probe.state / "desired.json"
    eventually(lambda: kept.exists() and "rules" in json.loads(kept.read_text()), bool)
    probe.end()
    hub.kill()
    probe = start(environment)
    assert probe.until("config") == "0.02"
    assert int(probe.until("put")) > 1


@pytest.mark.parametrize(
    ("depth", "what"),
    [
        (600, "probe started"),  # What is too deep is cut off, and refused by whoever reads it.
        (100_000, "no configuration from the last run, waiting for the hub"),
    ],
)
def test_a_kept_configuration_nested_too_deeply_ends_no_start(start, depth, what):
    probe = start({}, PROBE="hangs")
    probe.logged("probe started")
    probe.end(signal.SIGKILL)
    deep = '{"$version": 1, "rules": ' + "[" * depth + "]" * depth + "}"
    (probe.state / "desired.json").write_text(deep)
    probe = start({}, PROBE="hangs")
    probe.logged(what)
    probe.logged("(?s)probe started.*probe started")


def test_a_killed_module_loses_no_committed_message(hub, start):
    put = []
    for _ in range(3):
        probe = start(hub.control.env("probe"))
        for _ in range(20):
            probe.until("put")
        probe.end(signal.SIGKILL)
        put += probe.put
    assert len(set(put)) == len(put)
    with Outbox(probe.state / "outbox", 10_000_000) as outbox:
        names = {f"{outbox.id}-{n}" for n in put}
    start(hub.control.env("probe"))
    eventually(lambda: set(arrived(hub)), lambda got: got >= names)


def test_a_module_that_does_not_stop_is_cut_off(hub, start):
    probe = start(hub.control.env("probe"), PROBE="hangs")
    probe.logged("connected to the hub")
    assert probe.end() == 0
    assert "did not stop within 3 s" in probe.log.read_text()


@pytest.mark.parametrize(
    ("variables", "code", "text"),
    [
        ({"PROBE": "misconfigured"}, 1, "no vehicle file"),
        ({"PROBE": "fails"}, 70, "unexpected error"),
        ({"IOTEDGE_WORKLOADURI": ""}, 78, "not set: IOTEDGE_WORKLOADURI; IoT Edge sets them"),
        ({"BORDNETZ_OUTBOX_BYTES": "much"}, 78, "BORDNETZ_OUTBOX_BYTES is 'much'"),
        ({"BORDNETZ_STATE": "/proc/nowhere"}, 78, "no state folder /proc/nowhere"),
    ],
)
def test_a_module_that_cannot_go_on_ends_with_its_own_code(start, variables, code, text):
    probe = start({}, **variables)
    assert probe.process.wait(PATIENCE) == code
    assert text in probe.log.read_text()


def test_a_module_without_its_hub_for_too_long_stores_what_it_has_and_ends_to_be_started_again(
    hub, start
):
    environment = hub.control.env("probe")
    start(environment).remembering().end()
    hub.kill()
    probe = start(environment, PROBE_PATIENCE="3")
    probe.until("put")
    assert probe.process.wait(PATIENCE) == 69
    probe.end()
    assert "no session with the hub for 3 s" in probe.log.read_text()
    with Outbox(probe.state / "outbox", 10_000_000) as outbox:
        kept = {entry.sequence for entry in outbox.take(10_000)}
    assert set(probe.put) <= kept


def test_a_state_folder_has_one_module(hub, start):
    probe = start(hub.control.env("probe"))
    probe.until("put")
    second = start(hub.control.env("probe"))
    assert second.process.wait(PATIENCE) == 74
    assert "in use by another process" in probe.log.read_text()


def test_every_module_answers_ping_and_status(hub, start):
    probe = start(hub.control.env("probe"))
    probe.logged("connected to the hub")
    status, answer = hub.control.call("probe", "ping")
    assert (status, answer["module"]) == (200, "probe")
    status, answer = hub.control.call("probe", "status")
    assert status == 200
    assert answer["hub"]["connected"] is True
    assert answer["heard"] == []
    assert answer["outbox"].keys() >= {"messages", "bytes"}


def test_methods_are_answered_whatever_is_asked(hub, start):
    probe = start(hub.control.env("probe"))
    probe.logged("connected to the hub")
    assert hub.control.call("probe", "explode")[0] == 404
    status, answer = hub.control.call("probe", "ping", {"loud": True})
    assert status == 400
    assert answer["fields"] == [{"field": "loud", "reason": "Extra inputs are not permitted"}]
    status, answer = hub.control.call("probe", "fail")
    assert status == 500
    assert "W0L" not in json.dumps(answer)


def test_a_change_made_while_the_module_was_offline_is_in_force_after_it(hub, start):
    probe = start(hub.control.env("probe"))
    probe.logged("connected to the hub")
    hub.control.fault("refuse-auth", module="probe")
    hub.control.fault("drop-link", module="probe")
    probe.logged("no hub")
    version = hub.control.set("probe", {"rules": ["a"]})
    hub.control.fault("refuse-auth", module="probe", off=True)
    reported = eventually(
        lambda: hub.control.twin("probe")["reported"], lambda shown: "rules" in shown
    )
    assert reported["rules"] == {"value": ["a"], "ac": 200, "av": version, "ad": "accepted"}


def test_the_portal_sees_what_was_refused_and_what_stays(hub, start):
    start(hub.control.env("probe"))
    eventually(
        lambda: hub.control.twin("probe")["reported"].get("period"),
        lambda shown: shown == {"value": 0.02, "ac": 200, "av": 1, "ad": "accepted"},
    )
    version = hub.control.set("probe", {"period": -1, "rules": ["a", ""], "perod": 5})
    reported = eventually(
        lambda: hub.control.twin("probe")["reported"], lambda shown: "perod" in shown
    )
    assert reported["phase"] == "running"
    assert reported["period"]["value"] == 0.02
    assert (reported["period"]["ac"], reported["period"]["av"]) == (400, version)
    assert reported["period"]["ad"].startswith("period: ")
    assert reported["rules"]["value"] == ["a"]
    assert reported["rules"]["ad"].startswith("rules[1]: ")
    assert "period, rules" in reported["perod"]["ad"]
    hub.control.set("probe", {"perod": None})
    eventually(lambda: hub.control.twin("probe")["reported"], lambda shown: "perod" not in shown)


def test_messages_of_other_modules_reach_their_input(hub, start):
    from azure.iot.device import IoTHubModuleClient, Message

    probe = start(hub.control.env("probe"))
    probe.logged("connected to the hub")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in hub.control.env("peer").items():
            patch.setenv(name, value)
        peer = IoTHubModuleClient.create_from_edge_environment()
    peer.send_message_to_output(Message("hello"), "any")
    peer.shutdown()
    eventually(
        lambda: hub.control.call("probe", "status")[1]["heard"], lambda heard: heard == ["hello"]
    )


def test_metrics_and_health_are_on_loopback(hub, start):
    probe = start(hub.control.env("probe"))
    probe.until("put")
    page = probe.logged(r"metrics at (http://127\.0\.0\.1:\d+/metrics)")[1]
    text = eventually(
        lambda: urllib.request.urlopen(page).read().decode(),
        lambda text: "bordnetz_hub_connected 1.0" in text,
    )
    assert 'bordnetz_outbox_received_total{priority="5"}' in text
    health = json.load(urllib.request.urlopen(page.replace("metrics", "health")))
    assert health["module"] == "probe"


def test_every_line_of_the_log_has_edges_form_and_none_a_secret(hub, start):
    environment = hub.control.env("probe")
    probe = start(environment, RuntimeLogLevel="debug")
    for _ in range(3):
        probe.until("put")
    hub.control.call("probe", "fail")
    hub.control.set("probe", {"rules": ["hidden-rule", ""]})
    hub.control.fault("refuse-auth", count=2)
    hub.control.fault("drop-link")
    probe.logged(r"(?s)connected to the hub.*connected to the hub")
    probe.end()
    text = probe.log.read_text()
    for line in text.splitlines():
        assert LINE.fullmatch(line), line
    for secret in ("SharedAccess", "sig=", "W0L000051T2123456", "hidden-rule"):
        assert secret not in text


async def test_a_second_signal_ends_at_once_and_loses_nothing(hub, start):
    probe = start(await asyncio.to_thread(hub.control.env, "probe"), PROBE="hangs")
    await asyncio.to_thread(probe.logged, "connected to the hub")
    probe.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(probe.logged, "asked to stop")
    assert await asyncio.to_thread(probe.end) == 0


def test_the_portal_sees_what_the_outbox_found_on_its_disk(hub, start, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "outbox").write_text("not an outbox")
    start(hub.control.env("probe"))
    shown = eventually(lambda: hub.control.twin("probe")["reported"].get("outbox"), bool)
    assert shown == {"setAside": 1, "damaged": 0}
    assert (state / "outbox.foreign").read_text() == "not an outbox"
