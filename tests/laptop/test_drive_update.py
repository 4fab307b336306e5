"""``bordnetz drive --ota demo``: an update from release to report, and attacks on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bordnetz.can.vehicle import Vehicle
from bordnetz.laptop.update.attacks import ATTACKS
from bordnetz.laptop.update.story import Story

NEW = {"telemetry": "bundle-1", "maps": "maps-1"}
DEMO = Path(__file__).parents[2] / "dbc" / "vehicle.toml"


def test_an_update_is_refused_while_driving_and_brings_a_new_signal_when_parked(start_drive):
    drive = start_drive("--interface", "unix", "--ota", "demo", "--seconds", "120")
    report = drive.succeeds()
    update = report["update"]
    assert "not parked" in update["refused_while_driving"]
    (final,) = update["final"]
    assert (final["result"], final["consent"]) == ("succeeded", "driver")
    assert {ecu: found["name"] for ecu, found in update["active"].items()} == NEW
    assert update["new_signal"]
    assert report["frames"] == report["frames_sent"] == report["frames_decoded"]
    assert report["frames_dropped"] == 0, "a bundle is taken up without losing a frame"
    said = drive.out
    for step in ("the portal gives", "does not install", "says: now", "final report: succeeded"):
        assert step in said
    assert "sig=" not in (drive.folder / "ota.log").read_text()


def test_an_attack_is_refused_and_reported(start_drive):
    options = ("--interface", "unix", "--ota", "demo", "--seconds", "60")
    update = start_drive(*options, "--attack", "rollback").succeeds()["update"]
    assert "rollback" in update["refused"]
    assert not any(update["active"].values())


@pytest.fixture
def story(tmp_path):
    def make(attack):
        return Story(tmp_path, Vehicle.load(DEMO), DEMO, attack, print)

    return make


def test_an_update_of_which_nothing_was_seen_is_no_success(story):
    wrong = story("").wrong()
    assert len(wrong) == 7
    assert "the final reports say nothing, not succeeded" in wrong


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_that_is_not_reported_or_gets_through_is_no_success(story, attack):
    told = story(attack)
    assert told.wrong() == [f"the car has reported nothing, not {ATTACKS[attack].kinds[0]}"]
    told.seen.refused[ATTACKS[attack].kinds[0]] = "why"
    assert told.wrong() == []
    told.seen.active["maps"] = {"name": "maps-2"}
    assert told.wrong() == ["maps: maps-2 is active"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--attack", "rollback"), "--ota demo"),
        (("--ota", "demo", "--attack", "rust"), "arbitrarySoftware"),
    ],
)
def test_options_that_do_not_go_together_are_told(start_drive, options, said):
    drive = start_drive(*options)
    assert drive.wait() == 2
    assert said in drive.err
