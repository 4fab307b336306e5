"""What the driver says to a campaign, and the gate that asks for it."""

from __future__ import annotations

import pytest
from scripted_installer import NOW

from bordnetz.ota.conditions import Conditions
from bordnetz.ota.consent import Answer, ConsentError, Consents
from bordnetz.ota.gate import Gate
from bordnetz.ota.journal import Journal
from bordnetz.ota.vehicle import ConditionSpec
from bordnetz.uptane.custom import Campaign

HOUR = 3600
DAY = 24 * HOUR
# 2026-01-01 00:00 UTC
CAMPAIGN = Campaign.model_validate(
    {"id": "autumn", "require": [], "consent": {"postpone": 2, "deadline": NOW + 5 * DAY}}
)


class Driver:
    def __init__(self, path):
        self.now = NOW + 12 * HOUR
        self.journal = Journal.open(path)
        self.offset = 0
        self.restart()

    def restart(self):
        self.consents = Consents(
            self.journal, lambda: self.now, ("22:00", "05:00"), lambda: self.offset, 8 * HOUR
        )

    def say(self, answer: str, source="driver", campaign=CAMPAIGN):
        self.consents.answer(campaign, Answer(campaign=campaign.id, answer=answer), source)

    @property
    def leave(self):
        return self.consents.leave(CAMPAIGN)


@pytest.fixture
def driver(fast_folder):
    driver = Driver(fast_folder / "journal.db")
    yield driver
    driver.journal.close()


def test_a_campaign_that_does_not_ask_needs_no_answer(driver):
    silent = Campaign(id="quiet")
    assert driver.consents.leave(silent).reason == ""
    assert driver.consents.question(silent) is None
    with pytest.raises(ConsentError, match="does not ask"):
        driver.say("now", campaign=silent)


def test_nothing_goes_on_before_the_driver_has_said_so(driver):
    assert driver.leave.asked
    assert "not consented" in driver.leave.reason
    driver.say("now")
    assert driver.leave.reason == ""
    assert driver.leave.source == "driver"


def test_an_answer_outlives_the_process(driver):
    driver.say("now", "workshop")
    driver.restart()
    assert driver.leave.source == "workshop"


def test_tonight_is_between_two_local_hours(driver):
    driver.say("tonight")
    for hours, ready in ((12, False), (21.99, False), (22, True), (28.9, True), (29, False)):
        driver.now = NOW + int(hours * HOUR)
        assert (driver.leave.reason == "") == ready, hours
    driver.offset = 2 * HOUR
    driver.now = NOW + 20 * HOUR
    assert driver.leave.reason == ""


def test_postponed_is_asked_again_after_a_while_and_only_so_often(driver):
    for left in (1, 0):
        driver.say("postpone")
        assert not driver.leave.asked
        assert "postponed" in driver.leave.reason
        assert driver.consents.question(CAMPAIGN)["postponesLeft"] == left
        driver.now += 8 * HOUR
        assert driver.leave.asked
    with pytest.raises(ConsentError, match="may be postponed 2 times"):
        driver.say("postpone")
    assert driver.leave.asked
    driver.say("now")
    assert driver.leave.reason == ""


def test_from_the_deadline_on_nobody_is_asked(driver):
    driver.say("postpone")
    driver.now = NOW + 5 * DAY - 1
    assert driver.leave.reason
    driver.now += 1
    assert driver.leave.source == "deadline"
    driver.say("postpone")
    assert driver.leave.source == "deadline"


def test_who_said_tonight_is_not_overruled_before_the_deadline_nor_forgotten_after_it(driver):
    driver.say("tonight")
    driver.now = NOW + 5 * DAY + 12 * HOUR
    assert driver.leave.source == "deadline"
    driver.now = NOW + 5 * DAY + 23 * HOUR
    assert driver.leave.source == "driver"


def test_a_clock_that_is_set_back_does_not_prolong_a_postponement(driver):
    driver.say("postpone")
    driver.now -= 30 * DAY
    assert driver.leave.asked


def test_another_answer_takes_the_place_of_the_one_before(driver):
    driver.say("now")
    driver.say("postpone")
    assert driver.leave.reason


def test_an_answer_to_another_campaign_is_refused(driver):
    with pytest.raises(ConsentError, match="another campaign"):
        driver.consents.answer(CAMPAIGN, Answer(campaign="winter", answer="now"), "driver")
    assert driver.leave.reason


def test_an_answer_that_cannot_be_read_any_more_is_asked_for_again(driver):
    driver.journal.keep_consent("autumn", '{"answer": "maybe"}')
    assert driver.leave.asked


def test_an_answer_is_read_from_a_message():
    answer = Answer.parse(b'{"campaign": "autumn", "answer": "tonight"}')
    assert (answer.campaign, answer.answer) == ("autumn", "tonight")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"campaign": "autumn"}',
        b'{"campaign": "autumn", "answer": "maybe"}',
        b'{"campaign": "a b", "answer": "now"}',
        b'{"campaign": "autumn", "answer": "now", "force": true}',
        b'{"campaign": 7, "answer": "now"}',
        b"[" * 4000,
        b" " * 5000,
    ],
)
def test_what_is_no_answer_is_refused_without_being_repeated(body):
    with pytest.raises(ConsentError) as refused:
        Answer.parse(body)
    assert "maybe" not in str(refused.value)
    assert "a b" not in str(refused.value)


# The gate


class Car:
    """What the gate hears besides the driver."""

    def __init__(self):
        self.stale = None
        specs = {"parked": ConditionSpec(signal="p.Speed", max=0)}
        self.conditions = Conditions(specs, lambda: 0.0, lambda: 0.0)


@pytest.fixture
def gate(driver):
    driver.car = car = Car()
    return Gate(car.conditions, driver.consents, lambda: driver.now, lambda: car.stale)


def campaign(**terms) -> Campaign:
    return Campaign.model_validate({"id": "autumn", **terms})


def parked(driver):
    driver.car.conditions.take(b'{"time": 0, "signals": {"p.Speed": 0}}')


def test_the_gate_tells_all_reasons_at_once(gate, driver):
    driver.car.stale = "the newest signed time is 90 days old"
    terms = {"window": {"start": driver.now + 1}, "consent": {"postpone": 1}}
    verdict = gate.ask(campaign(**terms))
    assert not verdict.open
    assert not verdict.closed
    assert len(verdict.reasons) == 4


def test_the_gate_opens_when_all_agree_and_says_who_consented(gate, driver):
    terms = campaign(window={"start": driver.now}, consent={"postpone": 1})
    parked(driver)
    assert not gate.ask(terms).open
    driver.say("now", campaign=terms)
    assert gate.ask(terms).open
    assert gate.ask(terms).source == "driver"


def test_a_window_that_has_closed_is_the_end(gate, driver):
    parked(driver)
    terms = campaign(window={"end": driver.now})
    assert gate.ask(terms).open
    driver.now += 1
    assert gate.ask(terms).closed
    assert "window has closed" in gate.never(terms)


def test_a_condition_that_the_vehicle_does_not_name_is_the_end(gate):
    terms = campaign(require=["parked", "moon"])
    assert gate.ask(terms).closed
    assert "requires moon" in gate.never(terms)


def test_the_way_back_needs_the_vehicles_state_and_nobodys_consent(gate, driver):
    terms = campaign(window={"end": 0}, consent={"postpone": 0})
    assert not gate.safe(terms).open
    parked(driver)
    assert gate.safe(terms).open
