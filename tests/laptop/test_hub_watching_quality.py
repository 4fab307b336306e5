"""What is said against samples is seen by whoever watches them arrive."""

from dataclasses import replace

import numpy as np

from bordnetz.laptop.hub.watching import objections
from bordnetz.series import Group, Quality, Samples, Signal

GROUPS = (Group("drive", "Motor", 0x100, signals=(Signal("Speed"), Signal("Gear")), quality=True),)
SAMPLES = Samples(
    groups=GROUPS,
    group=np.array([0, 0], np.int32),
    id=np.array([0x100, 0x100], np.uint32),
    width=np.array([2, 1], np.int32),
    count=np.array([3, 1], np.int64),
    time=np.arange(4, dtype=np.int64),
    order=np.arange(4, dtype=np.int64),
    values=np.zeros(7, np.int64),
)


def test_what_is_said_is_counted_by_signal_over_all_series():
    both = Quality.WRONG_CRC | Quality.OUT_OF_RANGE
    flags = [0, both, Quality.WRONG_CRC, 0, 0, Quality.REPEATED, Quality.WRONG_CRC]
    assert objections(replace(SAMPLES, quality=np.array(flags, np.uint8))) == {
        "drive.Motor.Speed": {"outOfRange": 1, "wrongCrc": 3},
        "drive.Motor.Gear": {"repeated": 1},
    }


def test_nothing_is_said_against_samples_that_are_well_or_have_no_quality():
    assert objections(SAMPLES) == {}
    assert objections(replace(SAMPLES, quality=np.zeros(7, np.uint8))) == {}
