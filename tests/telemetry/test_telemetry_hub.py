"""The telemetry module as a process: real sockets, the unmodified SDK, the stand-in hub."""

import itertools
import sys
import threading
from contextlib import suppress

import numpy as np
from telemetry_help import (
    EEC1,
    HEAT,
    MOTOR,
    PATIENCE,
    SERIAL,
    SIGNALS,
    WIDE,
    Cloud,
    ask,
    balanced,
    call,
    eventually,
    frames,
    motor,
)

from bordnetz.batch.message import Clock, Resolution
from bordnetz.can.clock import Wall, boot_ns
from bordnetz.can.errors import BusError
from bordnetz.can.frames import ERROR, FD_BYTES, REMOTE
from bordnetz.edge.clock import boot_id
from bordnetz.edge.outbox import Outbox

ALL = [{"match": "*"}]


def delivered(hub):
    """Waits until the hub has everything that was stored; the cloud."""
    call(hub, "flush")
    eventually(lambda: call(hub, "status")["outbox"]["messages"], lambda waiting: waiting == 0)
    stored = call(hub, "status")["samples"]["stored"]
    return eventually(lambda: Cloud(hub), lambda cloud: cloud.samples >= stored)


def received(hub, count):
    """Waits until so many frames are booked; the answer of `status`."""
    return eventually(
        lambda: call(hub, "status"), lambda status: status["frames"]["received"] >= count
    )


def test_what_the_twin_asks_for_arrives_in_the_cloud_as_it_was_on_the_bus(deploy, start, car):
    hub = deploy(collect=ALL)
    module = start(hub).collecting()
    car.count(range(500))
    car.send(frames(HEAT, [np.array([1.5, -40], np.float32).tobytes()]))
    car.send(frames(SERIAL, [(2**64 - 1).to_bytes(8, "little")]))
    car.send(frames(WIDE, [bytes(range(64))], width=FD_BYTES))
    car.send(frames(EEC1, [bytes(3) + (8 * 800).to_bytes(2, "little") + bytes(3)]), "truck")
    car.send(frames(EEC1 + 1, [bytes(3) + (8 * 900).to_bytes(2, "little") + bytes(3)]), "truck")
    received(hub, car.sent)
    cloud = delivered(hub)
    assert cloud.values("drive.Motor.Count")[0] == list(range(500))
    assert set(cloud.values("drive.Motor.Speed")[0]) == {50.0}
    assert cloud.values("drive.Heat.Inner")[0] == [1.5]
    assert cloud.values("drive.Plate.Serial")[0] == [2**64 - 1]
    assert cloud.values("drive.Wide.Last")[0] == [int.from_bytes(bytes(range(56, 64)), "little")]
    assert cloud.values("truck.EEC1.EngineSpeed")[0] == [800.0, 900.0]
    assert module.end() == 0


def test_a_batch_tells_its_times_by_the_wall_clock_and_since_the_start_of_the_machine(
    deploy, start, car
):
    hub = deploy(collect=ALL, timeResolution="us", batchWindow=0.5)
    start(hub).collecting()
    before = boot_ns()
    car.count(range(300))
    received(hub, 300)
    after = boot_ns()
    cloud = delivered(hub)
    stamps = [batch.header.stamp for batch in cloud.batches.values()]
    assert {stamp.boot for stamp in stamps} == {boot_id()}
    assert cloud.values("drive.Motor.Count")[0] == list(range(300))
    for batch in cloud.batches.values():
        ahead = batch.header.stamp.ahead
        assert abs(ahead - Wall().ahead) < 1_000_000
        since_boot = batch.samples.time - ahead
        assert before - 10_000 <= since_boot.min() <= since_boot.max() <= after + 10_000


def test_messages_say_what_they_are_without_being_opened(deploy, start, car):
    hub = deploy(collect=ALL, priority=3)
    start(hub).collecting()
    car.count(range(10))
    received(hub, 10)
    cloud = delivered(hub)
    assert {arrival.output for arrival in cloud.arrivals.values()} == {"batches"}
    for name, arrival in cloud.arrivals.items():
        kind = "dictionary.1" if name in cloud.dictionaries else "batch.1"
        priority = "0" if name in cloud.dictionaries else "3"
        assert arrival.properties == {
            "schema": kind,
            "campaign": "default",
            "priority": priority,
            "batch": name,
        }
        assert arrival.system["contentType"] == "application/x-protobuf"
        assert arrival.system["contentEncoding"] == "identity"
    assert cloud.batches.keys() | cloud.dictionaries.keys() == cloud.arrivals.keys()


def test_a_change_of_configuration_while_frames_flow_loses_none(deploy, start, car):
    hub = deploy(collect=ALL)
    start(hub).collecting()
    over = threading.Event()
    sent = []

    def drive():
        while not over.is_set():
            car.count(range(len(sent), len(sent) + 20))
            sent.extend(range(len(sent), len(sent) + 20))
            over.wait(0.01)

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        received(hub, 40)
        for rest in ("drive.Heat.*", "drive.Plate.*", "truck.*"):
            before = call(hub, "status")["collecting"]["dictionary"]
            hub.control.set("telemetry", {"collect": [{"match": "drive.Motor.*"}, {"match": rest}]})
            eventually(
                lambda: call(hub, "status")["collecting"]["dictionary"],
                lambda now, before=before: now != before,
            )
            # Some frames under each configuration.
            received(hub, len(sent) + 40)
    finally:
        over.set()
        driver.join()
    status = received(hub, len(sent))
    assert status["frames"]["received"] == len(sent) == status["frames"]["decoded"]
    assert all(balanced(page) for page in (status["frames"], *status["buses"].values()))
    cloud = delivered(hub)
    assert cloud.values("drive.Motor.Count")[0] == sent
    used = {batch.dictionary.digest for batch in cloud.batches.values()}
    assert len(used) == 4
    assert {b.header.stamp.campaign_version for b in cloud.batches.values()} >= {1, 4}
    samples = call(hub, "status")["samples"]
    assert samples["decoded"] == samples["stored"] == cloud.samples
    assert samples["dropped"] == {}


def test_frames_thinned_by_their_interval_count_as_not_asked_for(deploy, start, car):
    hub = deploy(collect=[{"match": "drive.Motor.Count", "minInterval": 3600}])
    start(hub).collecting(1)
    car.count(range(300))
    status = received(hub, 300)
    assert status["frames"] == {
        "received": 300,
        "decoded": 1,
        "notAsked": 299,
        "notData": 0,
        "dropped": {},
    }
    assert delivered(hub).values("drive.Motor.Count")[0] == [0]


def test_the_books_name_every_fate_of_a_frame(deploy, start, car):
    hub = deploy(collect=[{"match": "drive.Motor.Gear"}, {"match": "truck.*"}])
    start(hub).collecting(2)
    car.count(range(5))
    car.send(frames(0x7FF, [b"stranger"] * 3))
    car.send(frames(SERIAL, [bytes(8)] * 2))
    car.send(frames(MOTOR, [bytes(6)] * 4))
    car.send(frames(MOTOR | REMOTE, [b""]))
    car.send(frames(ERROR | 1, [bytes(8)]))
    car.send(frames(EEC1, [bytes(8)]), "truck")
    status = received(hub, car.sent)
    drive = {
        "received": 16,
        "decoded": 5,
        "notAsked": 5,
        "notData": 2,
        "dropped": {"short": 4},
    }
    truck = {"received": 1, "decoded": 1, "notAsked": 0, "notData": 0, "dropped": {}}
    assert status["buses"] == {"drive": drive, "truck": truck}
    assert balanced(status["frames"])


def test_batches_of_high_priority_are_not_held_back(deploy, start, car):
    hub = deploy(collect=ALL, priority=2, batchWindow=0.1)
    start(hub).collecting()
    car.count([7])
    # Nobody asks for it: the window's end alone sends these few bytes.
    cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.batches)
    assert cloud.values("drive.Motor.Count")[0] == [7]


def test_ping_and_status_answer(deploy, start, car):
    hub = deploy(collect=ALL)
    start(hub).collecting()
    assert call(hub, "ping")["module"] == "telemetry"
    car.count(range(4))
    received(hub, 4)
    call(hub, "flush")
    status = call(hub, "status")
    assert status["vehicle"] == {
        "name": "test",
        "bundle": "",
        "digest": car.vehicle.digest.hex(),
        "catalogue": status["vehicle"]["catalogue"],
        "signals": SIGNALS,
        "problems": 0,
    }
    assert status["source"] == {"recorded": False, "ended": False}
    assert status["samples"] == {
        "decoded": 12,
        "stored": 12,
        "held": 0,
        "dropped": {},
        "givenUp": {},
    }
    assert (status["batches"], status["answers"]) == (1, 0)
    assert status["collecting"]["signals"] == SIGNALS


def test_flush_answers_when_everything_is_in_the_outbox(deploy, start, car):
    hub = deploy(collect=ALL, batchWindow=3600)
    start(hub).collecting()
    assert call(hub, "flush") == {"batches": 0, "samples": 0}
    car.count(range(50))
    received(hub, 50)
    assert call(hub, "flush") == {"batches": 1, "samples": 150}
    assert delivered(hub).values("drive.Motor.Count")[0] == list(range(50))


def test_snapshot_shows_last_values_with_text_unit_and_age(deploy, start, car):
    hub = deploy(collect=ALL)
    start(hub).collecting()
    assert call(hub, "snapshot") == {"signals": [], "more": 0}
    car.count([1, 2, 3])
    car.send(frames(MOTOR, motor([4], speed=257, gear=0)))
    car.send(frames(EEC1 + 0x2A, [bytes(3) + (8 * 800).to_bytes(2, "little") + bytes(3)]), "truck")
    received(hub, car.sent)
    answer = call(hub, "snapshot", {"signals": ["drive.Motor.*", "truck.*"]})
    ages = [one.pop("age") for one in answer["signals"]]
    assert all(0 <= age <= PATIENCE for age in ages)
    assert all(one.pop("quality") is None for one in answer["signals"])
    assert answer == {
        "signals": [
            {"name": "drive.Motor.Count", "id": "0x100", "value": 4, "text": None, "unit": ""},
            {
                "name": "drive.Motor.Speed",
                "id": "0x100",
                "value": 128.5,
                "text": None,
                "unit": "km/h",
            },
            {"name": "drive.Motor.Gear", "id": "0x100", "value": 0, "text": "Park", "unit": ""},
            {
                "name": "truck.EEC1.EngineSpeed",
                "id": "0x0CF0042A",
                "value": 800,
                "text": None,
                "unit": "rpm",
            },
        ],
        "more": 0,
    }


def test_snapshot_says_what_no_json_number_is(deploy, start, car):
    hub = deploy(collect=ALL)
    start(hub).collecting()
    car.send(frames(HEAT, [np.array([np.nan, -np.inf], np.float32).tobytes()]))
    car.send(frames(SERIAL, [(2**64 - 1).to_bytes(8, "little")]))
    received(hub, 2)
    shown = {one["name"]: (one["value"], one["text"]) for one in call(hub, "snapshot")["signals"]}
    assert shown == {
        "drive.Heat.Inner": (None, "NaN"),
        "drive.Heat.Outer": (None, "-Infinity"),
        "drive.Plate.Serial": (float(2**64 - 1), "18446744073709551615"),
    }


def test_snapshot_of_more_series_than_an_answer_holds_counts_the_rest(deploy, start, car):
    hub = deploy(collect=ALL)
    start(hub).collecting()
    for source in range(256):
        for priority in range(8):
            car.send(frames(EEC1 & ~(7 << 26) | priority << 26 | source, [bytes(8)]), "truck")
    received(hub, car.sent)
    answer = call(hub, "snapshot")
    assert len(answer["signals"]) == 500
    assert answer["more"] == 2048 - 500


def test_a_bad_payload_is_refused_with_its_field(deploy, start):
    hub = deploy()
    start(hub).collecting(0)
    for method, payload, field in (
        ("snapshot", {"signals": "drive.*"}, "signals"),
        ("snapshot", {"signals": [""]}, "signals.0"),
        ("snapshot", {"signals": ["*"] * 101}, "signals"),
        ("snapshot", {"names": ["*"]}, "names"),
        ("flush", {"now": True}, "now"),
    ):
        status, answer = ask(hub, method, payload)
        assert status == 400
        assert answer["fields"][0]["field"] == field


def test_the_dictionary_comes_first_and_again_when_asked_for(deploy, start, car):
    hub = deploy(collect=ALL)
    start(hub).collecting()
    cloud = eventually(lambda: Cloud(hub), lambda cloud: len(cloud.dictionaries) == 1)
    digest = call(hub, "status")["collecting"]["dictionary"]
    assert call(hub, "dictionary") == {"dictionary": digest, "signals": SIGNALS}
    cloud = eventually(lambda: Cloud(hub), lambda cloud: len(cloud.dictionaries) == 2)
    bodies = {hub.control.upstream.body(a) for a in cloud.dictionaries.values()}
    assert len(bodies) == 2  # the same content under two names
    assert not cloud.batches


def test_without_anything_to_collect_there_is_no_dictionary(deploy, start):
    hub = deploy()
    start(hub).collecting(0)
    status, answer = ask(hub, "dictionary")
    assert (status, answer["error"].split(";")[1]) == (400, " set 'collect'")


def test_on_sigterm_everything_that_was_received_is_stored_and_delivered(deploy, start, car):
    hub = deploy(collect=ALL, batchWindow=3600)
    module = start(hub).collecting()
    car.count(range(1000))
    eventually(lambda: module.figure("bordnetz_frames_received_total"), lambda n: n == 1000)
    assert module.end() == 0
    with Outbox(module.state / "outbox", 10_000_000) as outbox:
        assert len(outbox) == 0
    cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.batches)
    assert cloud.values("drive.Motor.Count")[0] == list(range(1000))
    (batch,) = cloud.batches.values()
    assert batch.header.stamp.resolution is Resolution.MILLISECOND
    assert batch.header.stamp.clock in (Clock.SYNCHRONISED, Clock.UNSYNCHRONISED)


def test_on_sigterm_without_a_hub_everything_is_in_the_outbox(deploy, start, car):
    hub = deploy(collect=ALL)
    environment = hub.control.env("telemetry")
    start(hub).collecting().remembering().end()
    hub.kill()
    car.hang_up()
    # The configuration of the last run is in force although there is no hub to ask.
    module = start(None, **environment).collecting()
    car.count(range(1000))
    eventually(lambda: module.figure("bordnetz_frames_received_total"), lambda n: n == 1000)
    assert module.end() == 0
    hub = deploy(collect=ALL)
    start(hub).collecting()
    cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.batches)
    assert cloud.values("drive.Motor.Count")[0] == list(range(1000))


def test_a_killed_module_loses_no_committed_batch(deploy, start, car):
    hub = deploy(collect=ALL, batchWindow=0.1, priority=2)
    stored, last = {}, 0
    for fault, value in (("withhold-puback", None), ("slow", 200), ("withhold-puback", None)):
        module = start(hub).collecting()
        hub.control.fault(fault, value)
        over = threading.Event()
        driver = threading.Thread(target=drive, args=(car, over))
        driver.start()
        eventually(lambda m=module: m.figure("bordnetz_samples_sent_total"), lambda n: n > 300)
        if value is None:
            # Nothing leaves: some are there whenever the end comes.
            eventually(lambda m=module: m.figure("bordnetz_outbox_messages"), lambda n: n > 3)
        module.process.kill()
        module.wait()
        over.set()
        driver.join()
        car.hang_up()
        with Outbox(module.state / "outbox", 100_000_000) as outbox:
            entries = outbox.take(100_000)
            stored |= {entry.message.properties["batch"]: entry.message.body for entry in entries}
            last = outbox.last
        hub.control.fault(fault, off=True)
    start(hub).collecting()
    cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.arrivals.keys() >= stored.keys())
    assert len(stored) > 3
    for name, body in stored.items():
        assert hub.control.upstream.body(cloud.arrivals[name]) == body
    arrived = {int(name.split("-")[1]) for name in cloud.arrivals}
    assert arrived >= set(range(1, last + 1))


def drive(car, over):
    """Sends frames until it is over or nobody is there to take them."""
    with suppress(BusError):
        for number in itertools.count():
            if over.wait(0.01):
                return
            car.count(range(10 * number, 10 * number + 10))


def test_bordnetz_telemetry_is_what_the_container_runs(deploy, start, car, monkeypatch):
    monkeypatch.setattr(
        "telemetry_help.Process.program", (sys.executable, "-m", "bordnetz", "telemetry")
    )
    hub = deploy(collect=ALL)
    module = start(hub).collecting()
    car.count([1])
    received(hub, 1)
    assert module.end() == 0
    assert eventually(lambda: Cloud(hub), lambda cloud: cloud.samples == 3)


def test_the_metrics_page_counts_every_stage_under_the_same_names(deploy, start, car):
    hub = deploy(collect=[{"match": "drive.Motor.*"}])
    module = start(hub).collecting(3)
    car.count(range(10))
    car.send(frames(SERIAL, [bytes(8)] * 2))
    received(hub, 12)
    delivered(hub)
    wanted = {
        "frames_received": 12,
        "frames_sent": 10,
        "frames_not_asked": 2,
        "frames_not_data": 0,
        "frames_dropped": 0,
        "samples_received": 30,
        "samples_sent": 30,
        "samples_dropped": 0,
        "outbox_sent": 2,
        "hub_sent": 2,
    }
    # What the hub has is counted a moment after the outbox has let it go.
    eventually(
        lambda: {name: module.figure(f"bordnetz_{name}_total") for name in wanted},
        lambda figures: figures == wanted,
    )
