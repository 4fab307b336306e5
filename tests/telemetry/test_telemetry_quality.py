"""Quality beside values, where a rule asks for it."""

from telemetry_help import MOTOR, Cloud, call, eventually, frames, motor

from bordnetz.can.catalogue import Catalogue
from bordnetz.series import Quality
from bordnetz.telemetry.config import Desired, Rule, quality_signals
from bordnetz.telemetry.plan import Plan

CHECK = '\n[[checks.message]]\nname = "drive.Motor"\nprofile = "counter"\ncounter = "Gear"\n'


def test_the_first_rule_that_matches_decides_on_quality():
    names = ["a.M.One", "a.M.Two", "a.N.Three"]
    rules = [
        Rule(match="*.Two"),
        Rule(match="a.M.*", quality=True),
        Rule(match="*"),
    ]
    assert quality_signals(rules, names) == {"a.M.One"}


def test_signals_with_quality_have_groups_of_their_own(car):
    collect = [{"match": "*.Speed", "quality": True}, {"match": "*.Motor.*"}]
    desired = Desired.model_validate({"collect": collect})
    groups = Plan.of(desired, Catalogue.load(car.vehicle), bytes(32)).table.groups
    assert {group.names(): group.quality for group in groups} == {
        ("drive.Motor.Speed",): True,
        ("drive.Motor.Count", "drive.Motor.Gear"): False,
    }


def test_what_is_said_against_a_sample_reaches_the_cloud(deploy, start, car):
    car.file.write_text(car.file.read_text() + CHECK)
    hub = deploy(collect=[{"match": "*.Speed", "quality": True}, {"match": "*.Count"}])
    start(hub).collecting(2)
    for counter in (1, 2, 2, 5):
        car.send(frames(MOTOR, motor([counter], gear=counter)))
    eventually(lambda: call(hub, "status")["frames"]["received"], lambda n: n == car.sent)
    shown = {one["name"]: one for one in call(hub, "snapshot")["signals"]}
    assert shown["drive.Motor.Speed"]["quality"] == ["afterLoss"]
    assert shown["drive.Motor.Count"]["quality"] is None
    call(hub, "flush")
    cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.samples >= 8)
    quality = []
    for batch in cloud.batches.values():
        samples = batch.samples
        value = 0
        for group, width, count in zip(samples.group, samples.width, samples.count, strict=True):
            flags = samples.quality[value : value + width * count].tolist()
            value += width * count
            if samples.groups[group].quality:
                quality += flags
            else:
                assert not any(flags)
    assert quality == [0, 0, Quality.REPEATED, Quality.AFTER_LOSS]
    assert cloud.samples == 8
