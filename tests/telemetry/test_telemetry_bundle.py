"""Bundles in the running module: taken, refused, fallen back from, and answered."""

import json
import threading

import pytest
from telemetry_help import (
    DRIVE,
    Cloud,
    balanced,
    call,
    eventually,
    heard,
)
from test_bundle import NEW

MOTOR = [{"match": "drive.Motor.*"}]
OTHER = NEW.replace("Extra", "Other").replace("Speed", "Pace")


def answers(hub):
    """All answers about bundles so far, in the order in which they came."""
    return [content for _, content in heard(hub, "bundleAck")]


def refusals_first(some):
    """The order in which they were sent; of messages sent together one may overtake another."""
    return sorted(some, key=lambda answer: answer["accepted"])


def announce(hub, name, count=1):
    """Announces a bundle as the update module does; the answers that follow."""
    before = len(answers(hub))
    hub.control.send("telemetry", "bundle", {"hash": name, "path": f"/nowhere/{name}"})
    now = eventually(lambda: answers(hub), lambda now: len(now) >= before + count)
    return refusals_first(now[before:])


def accepted(name, signals):
    return {"hash": name, "accepted": True, "reason": "", "signals": signals}


def vehicle(hub):
    return call(hub, "status")["vehicle"]


@pytest.fixture
def driving(car):
    """``driving()`` lets frames flow; what it returns ends them and gives their numbers."""
    over = threading.Event()
    drivers = []
    sent = []

    def drive():
        while not over.is_set():
            car.count(range(len(sent), len(sent) + 20))
            sent.extend(range(len(sent), len(sent) + 20))
            over.wait(0.01)

    def end():
        over.set()
        for driver in drivers:
            driver.join()
        return sent

    def begin():
        drivers.append(threading.Thread(target=drive))
        drivers[0].start()
        return end

    yield begin
    end()


def test_a_bundle_taken_while_frames_flow_loses_none_and_brings_its_new_signal(
    deploy, start, car, driving
):
    hub = deploy(collect=MOTOR, state=["*.Gear"])
    module = start(hub).collecting(3)
    first, second = car.bundle("first", drive_dbc=NEW), car.bundle("second", drive_dbc=OTHER)
    end = driving()

    def flow():
        """Waits for frames under what runs now."""
        seen = call(hub, "status")["frames"]["decoded"]
        eventually(lambda: call(hub, "status")["frames"]["decoded"], lambda n: n > seen + 40)

    flow()
    for name in (first, second):
        assert announce(hub, name) == [accepted(name, 10)]
        assert vehicle(hub)["bundle"] == name
        flow()
    sent = end()
    status = eventually(
        lambda: call(hub, "status"), lambda now: now["frames"]["received"] == len(sent)
    )
    assert status["frames"]["decoded"] == len(sent)
    assert all(balanced(page) for page in (status["frames"], *status["buses"].values()))
    call(hub, "flush")
    samples = call(hub, "status")["samples"]
    cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.samples >= samples["stored"])
    assert samples["decoded"] == samples["stored"] == cloud.samples
    assert (samples["held"], samples["dropped"]) == (0, {})
    assert cloud.values("drive.Motor.Count")[0] == sent
    # What came before the switch is read with the old dictionary, what comes after it with the new.
    old, extra, other = (
        len(cloud.values(f"drive.Motor.{name}")[0]) for name in ("Speed", "Extra", "Other")
    )
    assert 40 < extra < old < len(sent)
    assert len(cloud.values("drive.Motor.Pace")[0]) == other == len(sent) - old > 40
    assert len({batch.dictionary.catalogue for batch in cloud.batches.values()}) == 3
    reported = eventually(
        lambda: hub.control.twin("telemetry")["reported"],
        lambda shown: shown.get("vehicle", {}).get("bundle") == second,
    )
    assert reported["vehicle"]["signals"] == 10
    assert "restart" not in module.text
    arrival, _ = heard(hub, "bundleAck")[0]
    assert arrival.system["contentType"] == "application/json"
    assert arrival.system["contentEncoding"] == "utf-8"
    assert arrival.properties == {"schema": "bundleAck.1"}
    assert status["answers"] == 2


def test_a_refused_bundle_leaves_the_old_one_running_and_both_are_answered(deploy, start, car):
    hub = deploy(collect=MOTOR)
    module = start(hub).collecting(3)
    good = car.bundle("good", drive_dbc=NEW)
    assert announce(hub, good) == [accepted(good, 10)]
    bad = car.bundle("bad", vehicle_toml=car.file.read_text().replace("/drive", "/other"))
    refusal, running = announce(hub, bad, 2)
    assert refusal == {
        "hash": bad,
        "accepted": False,
        "reason": "vehicle.toml: bus[0].channel: is not as in the vehicle's own file; "
        "a bundle cannot change the wiring",
        "signals": 0,
    }
    assert running == accepted(good, 10)
    assert announce(hub, "0" * 64, 2)[0]["reason"].startswith("there is no bundle 0000")
    assert vehicle(hub)["bundle"] == good
    car.count(range(10))
    eventually(lambda: call(hub, "status")["frames"]["decoded"], lambda n: n == 10)
    assert call(hub, "status")["samples"]["decoded"] == 40
    module.logged(rf"\[ERR\] - bundle {bad} is refused: vehicle.toml: bus\[0\].channel")
    # Back to what the vehicle came with; and again, for announcements come twice.
    assert announce(hub, "") == [accepted("", 9)]
    assert announce(hub, "") == [accepted("", 9)]
    assert vehicle(hub)["bundle"] == ""


def test_what_is_no_announcement_is_counted_and_changes_nothing(deploy, start, car):
    hub = deploy(collect=MOTOR)
    module = start(hub).collecting(3)
    hub.control.send("telemetry", "bundle", {"hash": "../../etc"})
    module.logged(r"message on input bundle refused: .*hash: String should match pattern")
    assert module.figure("bordnetz_input_dropped_total") == 1
    assert announce(hub, "") == [accepted("", 9)]


# -- at the start


def test_the_chosen_bundle_runs_from_the_start_and_says_so(deploy, start, car):
    name = car.bundle("new", drive_dbc=NEW)
    car.choose(name)
    hub = deploy(collect=[{"match": "*.Extra"}])
    start(hub).logged("collecting 1 of 10 signals")
    assert eventually(lambda: answers(hub), bool) == [accepted(name, 10)]
    assert vehicle(hub)["bundle"] == name


def test_a_chosen_bundle_that_does_not_load_gives_way_to_the_vehicles_own_file(deploy, start, car):
    name = car.bundle("bad", drive_dbc="nothing")
    car.choose(name)
    hub = deploy(collect=MOTOR)
    module = start(hub).collecting(3)
    refusal, running = refusals_first(
        eventually(lambda: answers(hub), lambda found: len(found) == 2)
    )
    assert (refusal["hash"], refusal["accepted"]) == (name, False)
    assert "drive.dbc: line 1" in refusal["reason"]
    assert running == accepted("", 9)
    module.logged(r"\[ERR\] - the chosen bundle is not used, but the vehicle's own file: .*drive")
    car.count(range(5))
    eventually(lambda: call(hub, "status")["frames"]["decoded"], lambda n: n == 5)


# -- settings


def test_settings_of_a_bundle_hold_where_the_twin_says_nothing(deploy, start, car):
    settings = {"collect": [{"match": "*.Extra"}], "state": ["*.Extra"], "batchWindow": 0.1}
    name = car.bundle("new", drive_dbc=NEW, collect_json=json.dumps(settings))
    hub = deploy(batchWindow=10)
    module = start(hub)
    assert eventually(lambda: answers(hub), bool) == [accepted("", 9)]
    assert announce(hub, name) == [accepted(name, 10)]
    module.logged("collecting 1 of 10 signals")
    eventually(
        lambda: hub.control.twin("telemetry")["reported"].get("collecting"),
        lambda shown: shown == {"signals": 1},
    )
    eventually(lambda: heard(hub, "state"), bool)
    for collect, signals in (([], 0), (MOTOR, 4), (None, 1)):
        hub.control.set("telemetry", {"collect": collect})
        eventually(
            lambda: call(hub, "status")["collecting"]["signals"],
            lambda now, signals=signals: now == signals,
        )
    # Gone with the bundle.
    announce(hub, "")
    eventually(lambda: call(hub, "status")["collecting"]["signals"], lambda now: now == 0)


def test_a_rule_for_what_a_bundle_no_longer_has_is_refused_and_the_others_work(deploy, start, car):
    hub = deploy(collect=[{"match": "*.Gear"}, {"match": "*.Speed"}])
    start(hub).collecting(2)
    name = car.bundle("renamed", drive_dbc=DRIVE.replace("Speed", "Velocity"))
    announce(hub, name)

    def shown(ac):
        return eventually(
            lambda: hub.control.twin("telemetry")["reported"].get("collect", {}),
            lambda shown: shown.get("ac") == ac,
        )

    assert shown(400)["ad"].startswith("collect[1]: no signal of this vehicle matches '*.Speed'")
    assert shown(400)["value"] == [{"match": "*.Gear"}]
    assert call(hub, "status")["collecting"]["signals"] == 1
    # What comes later is judged for itself.
    hub.control.set("telemetry", {"batchWindow": 5})
    eventually(
        lambda: hub.control.twin("telemetry")["reported"].get("batchWindow", {}),
        lambda shown: shown.get("value") == 5,
    )
    announce(hub, "")
    assert shown(200)["value"] == [{"match": "*.Gear"}, {"match": "*.Speed"}]
    eventually(lambda: call(hub, "status")["collecting"]["signals"], lambda now: now == 2)
