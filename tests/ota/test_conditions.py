"""Conditions of the vehicle from telemetry's state messages; what is not known does not hold."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.ota.conditions import MOST_BYTES, OLD, Conditions, ConditionsError
from bordnetz.ota.vehicle import ConditionSpec

SPEED, KEY, CHARGE = "p.Drive.Speed", "b.Key.State", "p.Battery.Charge"
SPECS = {
    "parked": ConditionSpec(signal=SPEED, max=0.5),
    "ignitionOff": ConditionSpec(signal=KEY, equals="Off"),
    "charge": ConditionSpec(signal=CHARGE, min=30),
    "gear": ConditionSpec(signal="p.Gear.Now", equals=0),
    "warm": ConditionSpec(signal="p.Cabin.Temperature", min=5, max=40),
}


class Car:
    def __init__(self):
        self.mono = 1000.0
        self.wall = 1_767_225_600.0
        self.conditions = Conditions(SPECS, lambda: self.mono, lambda: self.wall)

    def after(self, seconds: float):
        self.mono += seconds
        self.wall += seconds

    def say(self, delay: float = 0.0, **signals):
        names = {"speed": SPEED, "key": KEY, "charge": CHARGE, "gear": "p.Gear.Now"}
        named = {names.get(name, name): value for name, value in signals.items()}
        body = json.dumps({"time": self.wall - delay, "signals": named}).encode()
        self.conditions.take(body)

    def unmet(self, *names):
        return self.conditions.unmet(names)


@pytest.fixture
def car():
    return Car()


def test_a_condition_holds_while_its_signal_is_within_bounds(car):
    car.say(speed=0.5)
    assert car.unmet("parked") == []
    car.say(speed=0.6)
    assert car.unmet("parked") == [f"not parked: {SPEED} is above 0.5"]
    car.say(charge=29.9)
    assert car.unmet("charge") == [f"not charge: {CHARGE} is below 30"]
    car.say(charge=30)
    assert car.unmet("charge") == []


def test_a_condition_may_ask_for_a_text_or_a_number(car):
    car.say(key="Off", gear=0)
    assert car.unmet("ignitionOff", "gear") == []
    car.say(key="On", gear="0")
    assert car.unmet("ignitionOff", "gear") == [
        f"not ignitionOff: {KEY} is not Off",
        "not gear: p.Gear.Now is not 0.0",
    ]


def test_what_was_never_said_is_unknown_since_the_start(car):
    car.after(45)
    assert car.unmet("parked") == [f"not parked: {SPEED} is unknown for 45 s"]


def test_what_is_older_than_30_seconds_is_unknown(car):
    car.say(speed=0)
    car.after(OLD)
    assert car.unmet("parked") == []
    car.after(0.5)
    assert car.unmet("parked") == [f"not parked: {SPEED} is unknown for 30 s"]


def test_the_age_of_a_late_message_counts_from_its_own_time(car):
    car.say(delay=20, speed=0)
    car.after(10)
    assert car.unmet("parked") == []
    car.after(1)
    assert len(car.unmet("parked")) == 1


def test_a_message_that_was_kept_back_says_nothing(car):
    with pytest.raises(ConditionsError, match="600 s old"):
        car.say(delay=600, speed=0)
    assert len(car.unmet("parked")) == 1


def test_a_message_from_the_future_says_nothing(car):
    with pytest.raises(ConditionsError, match="600 s ahead"):
        car.say(delay=-600, speed=0)
    assert len(car.unmet("parked")) == 1


def test_an_older_message_that_comes_later_changes_nothing(car):
    car.say(speed=50)
    car.say(delay=5, speed=0)
    assert len(car.unmet("parked")) == 1


def test_a_clock_that_is_set_back_is_got_over(car):
    car.say(speed=50)
    car.wall -= 3600
    car.say(speed=0)
    # For a while nobody can tell which came first; the one that says less is believed.
    assert len(car.unmet("parked")) == 1
    car.after(OLD + 1)
    car.say(speed=0)
    assert car.unmet("parked") == []


def test_a_clock_that_jumps_does_not_make_old_values_young(car):
    car.say(speed=0)
    car.mono += 40
    assert len(car.unmet("parked")) == 1


def test_all_reasons_are_told_at_once_and_no_value_with_them(car):
    car.say(speed=123.25, charge=11)
    reasons = car.unmet("parked", "charge", "ignitionOff")
    assert len(reasons) == 3
    assert "123" not in " ".join(reasons)


def test_a_condition_that_the_vehicle_does_not_name_does_not_hold(car):
    assert car.conditions.unnamed(["parked", "moon"]) == ["moon"]
    assert car.unmet("moon") == ["not moon: this vehicle has no condition of that name"]


def test_two_bounds_both_count(car):
    for value, met in ((4.9, False), (5, True), (40, True), (40.1, False), ("5", False)):
        car.say(**{"p.Cabin.Temperature": value})
        assert (car.unmet("warm") == []) == met


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"signals": {}}',
        b'{"time": "now", "signals": {}}',
        b'{"time": true, "signals": {}}',
        b'{"time": NaN, "signals": {}}',
        b'{"time": 1e999, "signals": {}}',
        b'{"time": 1, "signals": []}',
        b"[" * 100_000,
        b'{"time": ' + b"1" * 5000 + b', "signals": {}}',
        b" " * (MOST_BYTES + 1),
    ],
)
def test_what_is_no_state_message_is_refused(car, body):
    with pytest.raises(ConditionsError):
        car.conditions.take(body)


@pytest.mark.parametrize("value", [True, None, [], {}, float("nan"), float("inf"), 10**400])
def test_a_value_that_is_neither_text_nor_number_is_unknown(car, value):
    car.say(speed=value)
    assert "unknown" in car.unmet("parked")[0]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(body=st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_message_whatever_it_says_has_a_condition_hold_by_mistake(body):
    car = Car()
    with contextlib.suppress(ConditionsError):
        car.conditions.take(body)
    assert len(car.unmet("parked", "ignitionOff")) == 2


@given(
    st.lists(st.tuples(st.floats(0, 29), st.floats(0, 60), st.booleans()), min_size=1, max_size=10)
)
def test_parked_is_believed_only_of_news_that_is_young_enough(steps):
    car = Car()
    known: tuple[float, bool] | None = None
    for delay, wait, parked in steps:
        car.say(delay=delay, speed=0 if parked else 9)
        said = car.mono - delay
        if known is None or said >= known[0]:
            known = (said, parked)
        car.after(wait)
        if car.unmet("parked") == []:
            assert known[1] or car.mono - known[0] > OLD
            assert car.mono - known[0] <= OLD + 1e-6


def test_a_message_does_not_make_an_old_value_look_fresh(car):
    def say(age):
        body = {"time": car.wall, "signals": {SPEED: 0.0}, "ages": {SPEED: age}}
        car.conditions.take(json.dumps(body).encode())

    say(8)
    assert car.unmet("parked") == []
    car.after(OLD - 8)
    assert car.unmet("parked") == []
    car.after(1)
    assert car.unmet("parked") == [f"not parked: {SPEED} is unknown for {OLD + 1:.0f} s"]
    say(OLD + 1)
    assert car.unmet("parked") != []


def test_what_the_next_message_does_not_name_any_more_is_unknown(car):
    car.say(speed=0.0, key="Off")
    assert car.unmet("parked") == []
    car.say(key="Off")
    assert car.unmet("parked") != []
    assert car.unmet("ignitionOff") == []


def test_an_older_message_that_comes_late_takes_nothing_away(car):
    car.say(speed=0.0)
    car.say(delay=5.0, key="Off")
    assert car.unmet("parked") == []


@pytest.mark.parametrize("ages", [None, [], {SPEED: "x"}, {SPEED: -50}, {SPEED: True}])
def test_an_age_that_is_none_counts_as_none(car, ages):
    body = {"time": car.wall, "signals": {SPEED: 0.0}, "ages": ages}
    car.conditions.take(json.dumps(body).encode())
    assert car.unmet("parked") == []
