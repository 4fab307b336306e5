"""Times of frames are those of the boot clock, whatever is done to the wall clock."""

import time

import numpy as np
import pytest
from canhelp import Clocks
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.can.clock import Reception, Wall, boot_ns

MS, S = 1_000_000, 1_000_000_000
YEAR = 31_557_600 * S
NOW = 1_700_000_000 * S
BUS = np.zeros(1, np.uint8)


def test_the_wall_clock_is_looked_at_as_it_is():
    wall = Wall()
    assert abs(wall.now - boot_ns()) < 60 * S
    assert abs(wall.now + wall.ahead - time.time_ns()) < 60 * S
    assert not wall.look()


@pytest.mark.parametrize("step", [-NOW, -10 * YEAR, -S, -11_000, 11_000, S, 10 * YEAR])
def test_a_step_is_seen_once(step):
    clocks = Clocks(100 * S, NOW)
    wall = clocks.wall()
    clocks.pass_by(S)
    assert not wall.look()
    clocks.set(NOW + S + step)
    assert wall.look()
    assert not wall.look()
    assert (wall.ahead, wall.steps) == (NOW + step - 100 * S, 1)


def test_a_slow_reading_of_the_clocks_is_no_step():
    clocks = Clocks(100 * S, NOW)
    wall = clocks.wall()

    def slowly():
        clocks.pass_by(4 * MS)
        return clocks.boot

    wall._boot = slowly  # The process has to wait between the two clocks.
    assert not wall.look()
    assert wall.ahead == NOW - 100 * S


class Bus:
    """One bus of which every frame is stamped by the wall clock, and read a while later."""

    def __init__(self, wall=NOW):
        self.clocks = Clocks(100 * S, wall)
        self.reception = Reception(self.clocks.wall())
        self.stamps, self.true = [], []

    def frame(self):
        self.stamps.append(self.clocks.boot + self.clocks.ahead)
        self.true.append(self.clocks.boot)

    def drain(self):
        self.reception.drained(len(self.stamps))

    def take(self):
        stamps, self.stamps = np.array(self.stamps, np.int64), []
        true, self.true = self.true, []
        return self.reception.convert(stamps, BUS.repeat(len(stamps))).tolist(), true


@pytest.mark.parametrize("wall", [0, NOW, NOW - 10 * YEAR, NOW + 10 * YEAR])
@pytest.mark.parametrize("step", [-10 * YEAR, -3600 * S, -S, S, 3600 * S, 10 * YEAR])
def test_a_step_splits_the_block_between_two_frames(wall, step):
    bus = Bus(wall)
    for drain in range(6):
        for frame in range(10):
            bus.clocks.pass_by(5 * MS)
            bus.frame()
            if (drain, frame) == (3, 6):
                bus.clocks.set(wall + step)
        bus.drain()
    placed, true = bus.take()
    assert placed == true


def test_sleep_counts():
    bus = Bus()
    bus.frame()
    bus.drain()
    bus.clocks.pass_by(3600 * S)
    bus.frame()
    bus.drain()
    placed, true = bus.take()
    assert placed == true
    assert placed[1] - placed[0] == 3600 * S


def test_a_clock_that_is_set_and_set_back_between_two_drains_moves_frames_no_further_than_these():
    bus = Bus()
    bus.drain()
    bus.clocks.pass_by(5 * MS)
    begin = bus.clocks.boot
    bus.frame()
    bus.clocks.ahead += YEAR
    bus.clocks.pass_by(5 * MS)
    bus.frame()
    bus.clocks.ahead -= YEAR
    bus.clocks.pass_by(5 * MS)
    bus.frame()
    bus.drain()
    placed, true = bus.take()
    assert sorted(placed) == placed
    assert all(begin - 5 * MS <= one <= bus.clocks.boot for one in placed)
    assert placed[0] == true[0]


moves = st.tuples(
    st.just("pass") | st.just("frame") | st.just("drain") | st.just("take") | st.just("step"),
    st.integers(1, 10**8),
    st.sampled_from([1, -1, 1000, -1000, YEAR // 10**8, -YEAR // 10**8]),
)


@given(st.lists(moves, max_size=60), st.sampled_from([0, NOW, NOW + 10 * YEAR]))
def test_whatever_the_clock_does_no_frame_is_lost_and_none_goes_back(steps, wall):
    bus = Bus(wall)
    latest = begin = bus.clocks.boot
    # What is taken for noise; set and set back between two drains, what may be frames come late.
    unseen, since_drain = 20_000, 0
    for what, size, scale in steps:
        if what == "pass":
            bus.clocks.pass_by(size)
        elif what == "frame":
            bus.frame()
        elif what == "step":
            bus.clocks.ahead += size * scale
            since_drain += 1
            unseen = max(unseen, 20_020_000 if since_drain > 1 else 0)
        else:
            bus.drain()
            since_drain = 0
            if what == "take":
                placed, true = bus.take()
                assert len(placed) == len(true)
                assert all(begin - unseen <= one <= bus.clocks.boot + unseen for one in placed)
                assert (np.diff([latest, *placed]) >= -unseen).all()
                latest = max([latest, *placed])
