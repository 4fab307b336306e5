import pytest
from pydantic import ValidationError

from bordnetz.telemetry.config import SECOND, Desired, Rule, unmatched, wanted_signals

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
    reason = unmatched(Rule(match="drive.Motor.Sped"), NAMES)
    assert reason is not None
    assert "drive.Motor.Speed" in reason
    assert unmatched(Rule(match="body.*"), NAMES) is None


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
        {"window": 10},
    ],
)
def test_what_makes_no_sense_is_refused(bad):
    with pytest.raises(ValidationError):
        Desired.model_validate(bad)


def test_a_pattern_of_many_stars_takes_no_time():
    assert wanted_signals([Rule(match="*a" * 100 + "b")], ["a" * 200]) == {}
