import pytest
from pydantic import ValidationError

from bordnetz.edge.twin import Twin
from bordnetz.telemetry.config import (
    SECOND,
    Desired,
    Rule,
    state_signals,
    unmatched,
    wanted_signals,
)

NAMES = ["drive.Motor.Speed", "drive.Motor.Torque", "body.Doors.FrontLeft"]


def test_without_configuration_nothing_is_collected():
    assert wanted_signals(Desired().collect, NAMES) == {}


def test_the_first_rule_that_matches_a_signal_decides():
    rules = [Rule(match="*.Speed", minInterval=0.5), Rule(match="drive.*")]
    assert wanted_signals(rules, NAMES) == {
        "drive.Motor.Speed": SECOND // 2,
        "drive.Motor.Torque": 0,
    }


def test_a_rule_that_matches_nothing_says_what_is_near():
    rules = [Rule(match="body.*"), Rule(match="drive.Motor.Sped")]
    ((index, reason),) = unmatched(rules, NAMES)
    assert index == 1
    assert "drive.Motor.Speed" in reason


def test_of_many_useless_rules_each_is_refused_and_the_first_get_hints():
    rules = [Rule(match=f"drive.Motor.Sped{n}") for n in range(200)]
    reasons = [reason for _, reason in unmatched(rules, NAMES * 10)]
    assert len(reasons) == 200
    assert [("near it" in reason) for reason in reasons] == [True] * 3 + [False] * 197


def test_a_vehicle_without_signals_says_so():
    ((_, reason),) = unmatched([Rule(match="*")], [])
    assert "no DBC file of the vehicle has signals" in reason


@pytest.mark.parametrize(
    "bad",
    [
        {"collect": [{"match": ""}]},
        {"collect": [{"match": "*", "minInterval": -1}]},
        {"collect": [{"match": "*", "minInterval": float("nan")}]},
        {"collect": [{"match": "*", "interval": 1}]},
        {"batchWindow": 0},
        {"timeResolution": "ns"},
        {"priority": 10},
        {"priority": "5"},
        {"priority": 5.0},
        {"priority": True},
        {"batchWindow": "10"},
        {"collect": {"match": "*"}},
        {"collect": [{"match": "*"}] * 201},
        {"window": 10},
    ],
)
def test_what_makes_no_sense_is_refused(bad):
    with pytest.raises(ValidationError):
        Desired.model_validate(bad)


def test_a_pattern_of_many_stars_takes_no_time():
    assert wanted_signals([Rule(match="*a" * 100 + "b")], ["a" * 200]) == {}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"collect": "everything"}, "collect: Input should be a valid list"),
        ({"collect": [{"match": "drive.*", "minInterval": "often"}]}, "collect[0].minInterval: "),
        ({"collect": [{"match": "drive.*", "every": 1}]}, "collect[0].every: Extra inputs"),
        ({"batchWindow": 1e9}, "batchWindow: Input should be less than or equal to 3600"),
        ({"priority": 2.5}, "priority: Input should be a valid integer"),
        ({"timeResolution": 5}, "timeResolution: Input should be 'ms' or 'us'"),
        ({"dictionaryInterval": None}, "dictionaryInterval: Input should be a valid number"),
    ],
)
def test_what_is_refused_leaves_the_old_value_and_says_why(bad, said):
    twin = Twin(Desired)
    good = {"collect": [{"match": "drive.*", "minInterval": 1}], "batchWindow": 5, "priority": 1}
    twin.replace({**good, "$version": 1})
    twin.judge()
    before = twin.config
    twin.replace({**good, **bad, "$version": 2})
    twin.judge()
    assert twin.config == before
    (name,) = bad
    assert twin.acknowledgements[name]["ac"] == 400
    assert twin.acknowledgements[name]["ad"].startswith(said)


def test_a_malformed_rule_never_leaves_its_signals_to_a_wider_one():
    wider = [{"match": "*.Speed", "minInterval": -1}, {"match": "*"}]
    twin = Twin(Desired)
    twin.replace({"collect": wider, "$version": 1})
    twin.judge()
    assert wanted_signals(twin.config.collect, NAMES) == {}
    twin.replace({"collect": [{"match": "*.Speed", "minInterval": 1}], "$version": 2})
    twin.judge()
    twin.replace({"collect": wider, "$version": 3})
    twin.judge()
    assert wanted_signals(twin.config.collect, NAMES) == {"drive.Motor.Speed": SECOND}
    assert "collect[0].minInterval: " in twin.acknowledgements["collect"]["ad"]


def test_the_state_is_of_all_signals_that_one_of_the_globs_matches():
    assert state_signals(["*.Torque", "drive.*", "body.Doors.FrontRight"], NAMES) == NAMES[:2]
    assert state_signals([], NAMES) == []


@pytest.mark.parametrize(
    ("bad", "kept", "said"),
    [
        (["*.Torque", ""], ["*.Torque"], "state[1]: String should have at least 1"),
        (["*.Torque", 5], ["*.Torque"], "state[1]: Input should be a valid string"),
        (["*" * 257, "*.Torque"], ["*.Torque"], "state[0]: String should have at most 256"),
        (["*"] * 51, ["*.Speed"], "state: List should have at most 50 items"),
        ("*", ["*.Speed"], "state: Input should be a valid list"),
    ],
)
def test_entries_of_the_state_stand_alone(bad, kept, said):
    twin = Twin(Desired)
    twin.replace({"state": ["*.Speed"], "$version": 1})
    twin.judge()
    twin.replace({"state": bad, "$version": 2})
    twin.judge()
    assert twin.config.state == kept
    assert twin.acknowledgements["state"]["ac"] == 400
    assert twin.acknowledgements["state"]["ad"].startswith(said)
