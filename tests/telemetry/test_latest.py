from dataclasses import replace

import numpy as np

from bordnetz.series import Group, Kind, Quality, Samples, Signal
from bordnetz.telemetry.latest import Latest

GROUPS = (
    Group(
        "drive",
        "Motor",
        0x100,
        signals=(Signal("Speed", "km/h", factor=0.5), Signal("Gear", choices=((1, "D"),))),
    ),
    Group("drive", "EEC1", 0x8CF00400, by_pgn=True, signals=(Signal("Load", kind=Kind.FLOAT32),)),
)


def samples(*series):
    """Each series: group, arbitration id, columns of its signals."""
    return Samples(
        groups=GROUPS,
        group=np.array([g for g, _, _ in series], np.int32),
        id=np.array([i for _, i, _ in series], np.uint32),
        width=np.array([len(c) for _, _, c in series], np.int32),
        count=np.array([len(c[0]) for _, _, c in series], np.int64),
        time=np.zeros(sum(len(c[0]) for _, _, c in series), np.int64),
        order=np.arange(sum(len(c[0]) for _, _, c in series)),
        values=np.concatenate([np.ravel(c) for _, _, c in series]).astype(np.int64),
    )


def shown(latest):
    readings, more = latest.readings(lambda name: True, 100)
    assert more == 0
    return {(r.name, r.arbitration_id): (r.value, r.text, r.seen) for r in readings}


def test_the_last_value_of_every_signal_is_kept_with_its_text_and_when_it_was_seen():
    latest = Latest(GROUPS)
    latest.update(samples((0, 0x100, [[10, 20, 30], [0, 0, 1]])), now=1.0)
    latest.update(samples((0, 0x100, [[40], [2]])), now=2.5)
    assert shown(latest) == {
        ("drive.Motor.Speed", 0x100): (20.0, None, 2.5),
        ("drive.Motor.Gear", 0x100): (2, None, 2.5),
    }
    latest.update(samples((0, 0x100, [[40], [1]])), now=3.0)
    assert shown(latest)["drive.Motor.Gear", 0x100] == (1, "D", 3.0)


def test_two_senders_of_one_parameter_group_are_kept_apart():
    latest = Latest(GROUPS)
    bits = [int(np.float32(x).view(np.uint32)) for x in (1.5, -2.0)]
    latest.update(
        samples((1, 0x8CF00400, [[bits[0]]]), (1, 0x8CF00401, [[bits[1]]])),
        now=1.0,
    )
    assert [value for value, _, _ in shown(latest).values()] == [1.5, -2.0]


def test_a_frame_cut_short_shows_only_what_it_carried():
    latest = Latest(GROUPS)
    latest.update(samples((0, 0x100, [[10], [1]])), now=1.0)
    latest.update(samples((0, 0x100, [[12]])), now=2.0)
    assert shown(latest) == {("drive.Motor.Speed", 0x100): (6.0, None, 2.0)}


def test_what_is_said_against_the_last_value_is_kept_where_somebody_asked():
    asked = replace(GROUPS[1], quality=True)
    latest = Latest((GROUPS[0], asked))

    def update(*flags):
        block = samples((0, 0x100, [[1, 2], [0, 1]]), (1, 0x8CF00400, [[3] * len(flags)]))
        quality = np.array([0, 0, 0, 0, *flags], np.uint8)
        latest.update(replace(block, groups=(GROUPS[0], asked), quality=quality), now=1.0)
        return {r.name: r.quality for r in latest.readings(lambda name: True, 100)[0]}

    load = "drive.EEC1.Load"
    nobody = {"drive.Motor.Speed": None, "drive.Motor.Gear": None}
    assert update(0, Quality.WRONG_CRC) == nobody | {load: Quality.WRONG_CRC}
    assert update(Quality.WRONG_CRC, 0) == nobody | {load: Quality(0)}
