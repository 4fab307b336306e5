"""The state that other modules of the car are told: real sockets, the SDK, the stand-in hub."""

import itertools
import time

from telemetry_help import EEC1, MOTOR, Cloud, call, eventually, frames, heard, motor

from bordnetz.telemetry.state import STALE

CHOSEN = ["drive.Motor.Speed", "*.Gear", "truck.*"]
SPEED, GEAR, REVOLUTIONS = "drive.Motor.Speed", "drive.Motor.Gear", "truck.EEC1.EngineSpeed"


def told(hub):
    """All states told so far."""
    return [content for _, content in heard(hub, "state")]


def acknowledged(hub, name, version):
    """Waits for the answer to a version of a desired property."""
    return eventually(
        lambda: hub.control.twin("telemetry")["reported"].get(name, {}),
        lambda shown: shown.get("av") == version,
    )


def told_while(hub, drive, wanted):
    """Waits for states, driving on: what is known is forgotten soon; all told so far."""

    def look():
        drive()
        return told(hub)

    return eventually(look, lambda seen: seen and wanted(seen[-1]["signals"]))


def eec1(revolutions):
    return frames(EEC1, [bytes(3) + (8 * revolutions).to_bytes(2, "little") + bytes(3)])


def test_chosen_signals_are_told_though_nothing_is_collected(deploy, start, car):
    hub = deploy(state=CHOSEN)
    start(hub)
    assert eventually(lambda: told(hub), bool)[0]["signals"] == {}

    def drive():
        car.send(frames(MOTOR, motor([1], speed=10, gear=0)))
        car.send(eec1(800), "truck")

    seen = told_while(hub, drive, lambda signals: len(signals) == 3)[-1]
    assert seen["signals"] == {SPEED: 5.0, GEAR: "Park", REVOLUTIONS: 800.0}
    assert seen["ages"].keys() == seen["signals"].keys()
    assert all(0 < age <= STALE for age in seen["ages"].values())
    assert abs(seen["time"] - time.time()) < 60
    arrival, _ = heard(hub, "state")[-1]
    assert arrival.system["contentType"] == "application/json"
    assert arrival.system["contentEncoding"] == "utf-8"
    assert arrival.properties == {"schema": "state.1"}
    books = eventually(
        lambda: call(hub, "status")["frames"], lambda books: books["received"] == car.sent
    )
    assert books == {
        "received": car.sent,
        "decoded": 0,
        "notAsked": car.sent,
        "notData": 0,
        "dropped": {},
    }
    assert not Cloud(hub).arrivals


def test_changes_are_told_within_seconds_once_a_second_at_most_and_rest_every_ten(
    deploy, start, car
):
    hub = deploy(state=["*.Speed"])
    module = start(hub)
    eventually(lambda: told(hub), bool)
    for speed in itertools.count():
        car.send(frames(MOTOR, motor([1], speed=speed)))
        if len(seen := told(hub)) >= 4:
            break
        time.sleep(0.05)
    moving = [state["time"] for state in seen]
    assert min(later - earlier for earlier, later in itertools.pairwise(moving)) > 0.9

    def stand_still():
        car.send(frames(MOTOR, motor([1], speed=speed)))
        return [state for state in told(hub) if state["signals"] == {SPEED: speed / 2}]

    # Once for the change, then silence until the period is over; the frames keep it fresh.
    changed, again = eventually(stand_still, lambda same: len(same) >= 2)[:2]
    assert (silence := again["time"] - changed["time"]) > 8
    assert again["ages"][SPEED] < silence
    # The hub shows a message before its acknowledgement is with the module.
    count = len(told(hub))
    eventually(lambda: module.figure("bordnetz_volatile_sent_total"), lambda n: n >= count)


def test_a_glob_that_matches_nothing_is_refused_with_what_is_near_and_the_others_work(
    deploy, start, car
):
    hub = deploy(state=["drive.Motor.Sped", "*.Gear"])
    start(hub).logged("collecting 0 of")
    shown = acknowledged(hub, "state", 1)
    assert (shown["ac"], shown["value"]) == (400, ["*.Gear"])
    eventually(lambda: told(hub), bool)
    assert shown["ad"] == (
        "state[0]: no signal of this vehicle matches 'drive.Motor.Sped'; near it: "
        "drive.Motor.Speed, drive.Motor.Gear, drive.Motor.Count"
    )
    told_while(hub, lambda: car.count([1]), lambda signals: signals == {GEAR: "Drive"})


def test_without_a_hub_nothing_of_the_state_is_stored_and_the_next_hub_gets_it_at_once(
    deploy, start, car
):
    hub = deploy(state=["*.Speed"])
    module = start(hub)
    eventually(lambda: told(hub), bool)

    def drive(speed):
        car.send(frames(MOTOR, motor([1], speed=speed)))

    told_while(hub, lambda: drive(8), lambda signals: signals == {SPEED: 4.0})
    hub.kill()
    killed = time.time()
    module.logged("no hub")
    drive(6)
    eventually(lambda: module.figure("bordnetz_volatile_dropped_total"), lambda n: n >= 2)
    assert module.figure("bordnetz_outbox_messages") == 0
    started = time.time()
    hub = deploy(state=["*.Speed"])
    seen = told_while(hub, lambda: drive(6), lambda signals: signals == {SPEED: 3.0})
    # What was dropped meanwhile does not come later.
    assert not [state for state in seen if killed < state["time"] < started]
