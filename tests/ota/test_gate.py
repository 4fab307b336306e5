"""Whether a step may be taken: who has a say, and what a campaign cannot talk them out of."""

import json

import pytest

from bordnetz.ota.conditions import Conditions
from bordnetz.ota.consent import Consents
from bordnetz.ota.gate import Gate
from bordnetz.ota.journal import Journal
from bordnetz.ota.vehicle import ConditionSpec
from bordnetz.uptane.custom import Campaign, Consent, Window

SPECS = {
    "parked": ConditionSpec(signal="d.Motor.Speed", max=0.5),
    "charged": ConditionSpec(signal="d.Battery.Charge", min=30),
}
NOW = 1_800_000_000


@pytest.fixture
def conditions():
    return Conditions(SPECS, lambda: 1000.0, lambda: NOW)


@pytest.fixture
def gate(tmp_path, conditions):
    journal = Journal.open(tmp_path / "journal.db")

    def make(always=(), stale=None):
        return Gate(conditions, Consents(journal, lambda: NOW), lambda: NOW, lambda: stale, always)

    yield make
    journal.close()


def say(conditions, **signals):
    named = {f"d.{name.replace('_', '.')}": value for name, value in signals.items()}
    conditions.take(json.dumps({"time": NOW, "signals": named}).encode())


def test_a_campaign_that_requires_nothing_is_installed_in_any_state(gate):
    assert gate().ask(Campaign(id="c", require=[])).open


def test_what_the_vehicle_always_requires_no_campaign_can_leave_out(gate, conditions):
    campaign = Campaign(id="c", require=[])
    assert gate(["parked"]).ask(campaign).reasons[0].startswith("not parked")
    assert gate(["parked"]).safe(campaign).reasons[0].startswith("not parked")
    say(conditions, Motor_Speed=0)
    assert gate(["parked"]).ask(campaign).open
    assert gate(["parked"]).safe(campaign).open


def test_a_campaign_can_add_to_what_the_vehicle_always_requires(gate, conditions):
    say(conditions, Motor_Speed=0, Battery_Charge=10)
    reasons = gate(["parked"]).ask(Campaign(id="c", require=["charged", "parked"])).reasons
    assert [reason.split(":")[0] for reason in reasons] == ["not charged"]


def test_all_reasons_are_told_at_once(gate):
    campaign = Campaign(
        id="c", require=["parked"], consent=Consent(), window=Window(start=NOW + 60)
    )
    reasons = gate(stale="the time is too old").ask(campaign).reasons
    assert [reason.split()[0] for reason in reasons] == ["the", "the", "the", "not"]
    assert len(reasons) == 4


def test_a_closed_window_and_an_unnamed_condition_do_not_open_any_more(gate):
    closed = gate().ask(Campaign(id="c", window=Window(end=NOW - 1)))
    unnamed = gate().ask(Campaign(id="c", require=["asleep"]))
    assert (closed.closed, unnamed.closed) == (True, True)
    assert "asleep" in unnamed.reasons[0]
