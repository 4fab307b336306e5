"""The thinner against a model that looks at one frame at a time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.series import Group
from bordnetz.telemetry.thin import Thinner

INTERVALS = (0, 10, 25, 7)
SECOND = 1_000_000_000

frames = st.lists(
    st.tuples(st.integers(0, len(INTERVALS) - 1), st.integers(0, 2), st.integers(0, 40)),
    max_size=40,
)
steps = st.sampled_from([0, 0, 0, -1000, 1000, 3600 * SECOND, -3600 * SECOND])


def thinner(intervals=INTERVALS):
    return Thinner([Group("b", "m", n, interval=i) for n, i in enumerate(intervals)])


def keep(thin, rows):
    group, arbitration_id, time = (list(column) for column in zip(*rows, strict=True))
    return thin.keep(
        np.array(group, np.int32), np.array(arbitration_id, np.uint32), np.array(time, np.int64)
    ).tolist()


class Model:
    """One frame at a time: what the columns must agree with."""

    def __init__(self):
        self.last, self.waited = {}, {}

    def keep(self, group, arbitration_id, time):
        interval = INTERVALS[group]
        series = group, arbitration_id
        gap = time - self.last.get(series, time - interval)
        self.last[series] = time
        waited = self.waited.get(series, 0) + (interval if gap < 0 else gap)
        self.waited[series] = 0 if waited >= interval else waited
        return waited >= interval


@given(st.lists(st.tuples(frames, steps), max_size=6))
def test_columns_keep_what_a_model_keeps_that_sees_one_frame_at_a_time(blocks):
    thin, model, now = thinner(), Model(), 1_700_000_000 * SECOND
    for rows, step in blocks:
        now += step
        block, clock = [], {}
        for group, arbitration_id, gap in rows:
            clock[group, arbitration_id] = clock.get((group, arbitration_id), 0) + gap
            block.append((group, arbitration_id, now + clock[group, arbitration_id]))
        if block:
            block.sort(key=lambda row: row[:2])
            assert keep(thin, block) == [model.keep(*row) for row in block]
        now += 100


def test_frames_exactly_one_interval_apart_are_all_kept():
    assert all(keep(thinner(), [(1, 0, 1000 + 10 * n) for n in range(50)]))


def test_a_clock_set_back_by_an_hour_does_not_silence_a_signal():
    thin = thinner()
    assert keep(thin, [(1, 0, 5000 * SECOND)]) == [True]
    assert keep(thin, [(1, 0, 1400 * SECOND)]) == [True]


def test_two_senders_of_one_group_do_not_thin_each_other():
    assert keep(thinner(), [(1, 0, 1000), (1, 1, 1001)]) == [True, True]
