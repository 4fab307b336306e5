"""The state of the vehicle: what is told when, by clocks of the tests' own."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from telemetry_help import DRIVE, EEC1, HEAT, MOTOR, SERIAL, TRUCK, WIDE, frames, motor

from bordnetz.batch.message import Resolution, Stamp
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import FD_BYTES, Block, Frames
from bordnetz.can.table import DecodeTable
from bordnetz.can.vehicle import Bus, Vehicle
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.config import SECOND, Desired
from bordnetz.telemetry.pipeline import Pipeline
from bordnetz.telemetry.plan import Plan, Planner
from bordnetz.telemetry.state import EACH, PERIOD, STALE, State

BUSES = ("drive", "truck")
EPOCH = 1_700_000_000
SPEED, GEAR, COUNT = "drive.Motor.Speed", "drive.Motor.Gear", "drive.Motor.Count"


class Clock:
    """Seconds since the Unix epoch, as the tests say; the boot clock began with them."""

    now = float(EPOCH)

    def __call__(self):
        return self.now

    def boot(self):
        return int(self.now * SECOND)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dbc")
    (folder / "drive.dbc").write_text(DRIVE)
    (folder / "truck.dbc").write_text(TRUCK)
    buses = [Bus(name=name, interface="unix", channel=name, dbc=(f"{name}.dbc",)) for name in BUSES]
    return Catalogue.load(Vehicle(name="test", buses=buses).within(folder))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(catalogue, clock):
    """``make(*names)``: the state of these signals."""

    def begin(*names, recorded=False):
        table = DecodeTable.compile(catalogue, dict.fromkeys(names, 0))
        return State(table, recorded=recorded, clock=clock, boot=clock.boot)

    return begin


def at(seconds, data, arbitration_id=MOTOR, **more):
    """Frames received so many seconds after the epoch of the tests."""
    return frames(arbitration_id, data, (EPOCH + seconds) * SECOND, **more)


def test_what_was_seen_last_is_told_in_physical_values_and_texts(make):
    state = make(SPEED, GEAR, COUNT)
    state.take(at(0, [*motor([1, 2], speed=10), *motor([3], speed=7, gear=0)]), 100.0)
    told = state.tell(100.0)
    assert told == {
        "time": EPOCH,
        "signals": {COUNT: 3, SPEED: 3.5, GEAR: "Park"},
        "ages": {COUNT: 0, SPEED: 0, GEAR: 0},
    }
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_a_raw_value_without_a_text_is_told_as_its_number(make):
    state = make(GEAR)
    state.take(at(0, motor([1], gear=5)), 0.0)
    assert state.tell(0.0)["signals"] == {GEAR: 5}


def test_a_signal_never_seen_is_not_in_it(make):
    state = make(SPEED, "truck.EEC1.EngineSpeed")
    assert state.tell(0.0)["signals"] == {}
    state.take(at(0, motor([1])), 1.0)
    assert list(state.tell(1.0)["signals"]) == [SPEED]


def test_what_is_no_number_is_unknown(make):
    state = make("drive.Heat.Inner", "drive.Heat.Outer")
    data = np.array([math.nan, 21.5], np.float32).tobytes()
    state.take(at(0, [data], HEAT), 0.0)
    assert state.tell(0.0)["signals"] == {"drive.Heat.Outer": 21.5}
    state.take(at(0, [np.array([math.inf, 21.5], np.float32).tobytes()], HEAT), 1.0)
    told = state.tell(1.0)
    assert told["signals"] == {"drive.Heat.Outer": 21.5}
    assert told["ages"].keys() == {"drive.Heat.Outer"}


def test_large_integers_stay_exact(make):
    state = make("drive.Plate.Serial")
    state.take(at(0, [(2**64 - 1).to_bytes(8, "little")], SERIAL), 0.0)
    assert state.tell(0.0)["signals"] == {"drive.Plate.Serial": 2**64 - 1}


def test_signals_of_fd_frames_are_told(make):
    state = make("drive.Wide.Last")
    state.take(at(0, [bytes(range(64))], WIDE, width=FD_BYTES), 0.0)
    expected = int.from_bytes(bytes(range(56, 64)), "little")
    assert state.tell(0.0)["signals"] == {"drive.Wide.Last": expected}


def test_of_several_senders_the_last_one_counts(make):
    state = make("truck.EEC1.EngineSpeed")
    some = [at(0, [bytes(3) + (8 * n).to_bytes(2, "little") + bytes(3)], EEC1 + i, bus=1)
            for n, i in ((900, 0), (700, 5), (800, 1))]  # fmt: skip
    state.take(Frames.concat(some), 0.0)
    assert state.tell(0.0)["signals"] == {"truck.EEC1.EngineSpeed": 800}


def test_a_frame_cut_short_keeps_nothing_fresh_that_it_does_not_carry(make):
    state = make(COUNT, SPEED)
    state.take(at(0, motor([1], speed=6)), 0.0)
    state.take(at(5, [motor([2], speed=9)[0][:4]]), 5.0)
    told = state.tell(5.0)
    assert told["signals"] == {COUNT: 2, SPEED: 3.0}
    assert told["ages"] == {COUNT: 0, SPEED: 5.0}
    state.take(Frames.concat([at(6, motor([3], speed=8)), at(6, [motor([4])[0][:4]])]), 6.0)
    assert state.tell(6.0)["signals"] == {COUNT: 4, SPEED: 4.0}


# -- when


def test_nothing_is_told_again_while_nothing_changes_before_the_period_is_over(make):
    state = make(SPEED)
    state.take(at(0, motor([1])), 0.0)
    told = []
    for now in map(float, range(25)):
        state.take(at(now, motor([now])), now)
        if state.tell(now) is not None:
            told.append(now)
    assert told == [0, 10, 20]


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.4, 0.9])
def test_all_is_told_at_least_every_period_however_late_one_looks(make, delay):
    state = make(SPEED)
    looks = [n * (EACH + delay / 10) for n in range(60)]
    told = [now for now in looks if state.tell(now) is not None]
    assert max(np.diff(told)) <= PERIOD


def test_a_change_is_told_at_the_next_look_and_frames_alone_are_none(make):
    state = make(SPEED)
    state.take(at(0, motor([1], speed=4)), 0.0)
    assert state.tell(0.0)["signals"] == {SPEED: 2.0}
    for now in (1.0, 2.0):
        state.take(at(now, motor([now], speed=4)), now)
        assert state.tell(now) is None
    state.take(at(3, motor([3], speed=5)), 3.0)
    assert state.tell(3.0)["signals"] == {SPEED: 2.5}
    assert state.tell(4.0) is None


def test_a_value_that_went_and_came_back_between_two_looks_is_no_change(make):
    state = make(SPEED)
    state.take(at(0, motor([1], speed=4)), 0.0)
    state.tell(0.0)
    state.take(at(1, [*motor([1], speed=5), *motor([1], speed=4)]), 1.0)
    assert state.tell(1.0) is None


def test_what_was_not_delivered_is_told_again(make):
    state = make(SPEED)
    state.take(at(0, motor([1])), 0.0)
    first = state.tell(0.0)
    state.untold()
    assert state.tell(1.0)["signals"] == first["signals"]
    assert state.tell(2.0) is None


# -- how old


def test_ages_grow_until_the_signal_is_left_out_and_its_loss_is_told_at_once(make):
    state = make(SPEED)
    state.take(at(0, motor([1])), 0.0)
    ages = [told["ages"] for now in range(12) if (told := state.tell(float(now))) is not None]
    assert ages == [{SPEED: 0}, {SPEED: 10.0}, {}]
    assert STALE == 10


def test_ages_are_rounded_up(make):
    state = make(SPEED)
    state.take(at(0, motor([1])), 0.0)
    assert state.tell(0.01)["ages"] == {SPEED: 0.1}


def test_what_waited_before_it_was_decoded_is_as_old_as_it_is(make, clock):
    state = make(SPEED)
    clock.now = EPOCH + 7.0
    state.take(at(0, motor([1])), 100.0)
    assert state.tell(100.0)["ages"] == {SPEED: 7.0}
    clock.now = EPOCH + 100.0
    state.take(at(60, motor([2], speed=1)), 188.0)
    assert state.tell(188.0)["signals"] == {}


@pytest.mark.parametrize("wall", [0.0, EPOCH - 3600.0, EPOCH + 3.15e8])
def test_a_wall_clock_that_is_set_makes_nothing_younger_or_older(catalogue, clock, wall):
    table = DecodeTable.compile(catalogue, {SPEED: 0})
    state = State(table, recorded=False, clock=lambda: wall, boot=clock.boot)
    clock.now = EPOCH + 3.0
    state.take(at(0, motor([1])), 5.0)
    assert state.tell(7.0)["ages"] == {SPEED: 5.0}


def test_the_times_of_a_recording_are_no_ages(make, clock):
    state = make(SPEED, recorded=True)
    clock.now = EPOCH + 1e8
    state.take(at(0, motor([1])), 5.0)
    told = state.tell(7.0)
    assert told["ages"] == {SPEED: 2.0}
    assert told["time"] == EPOCH + 1e8


# -- beside what is collected

numbers = st.lists(st.integers(0, 2**32 - 1), max_size=40)


@given(st.lists(st.tuples(numbers, st.sampled_from([MOTOR, HEAT, SERIAL, 0x7FF])), max_size=8))
def test_batches_are_the_same_byte_for_byte_whether_the_state_is_told_or_not(catalogue, parts):
    desired = Desired.model_validate(
        {"collect": [{"match": "*.Count", "minInterval": 0.001}, {"match": "drive.Heat.*"}]}
    )
    plan = Plan.of(desired, catalogue, bytes(32))
    asked = Desired.model_validate({"state": ["*"]})
    table = Planner(catalogue, bytes(32)).state(asked)
    state = State(table, recorded=True, clock=Clock())
    bodies, books = [], []
    for one in (None, state):
        books.append(Books(BUSES))
        stamp = Stamp(boot=1, resolution=Resolution.MICROSECOND)
        pipeline = Pipeline(plan.table, plan.dictionary, desired, books[-1], stamp, 200, one)
        drafts = []
        for n, (values, arbitration_id) in enumerate(parts):
            some = at(n, motor(values), arbitration_id)
            drafts += pipeline.take(Block.of(2, some), float(n)) + pipeline.advance(float(n))
        drafts += pipeline.flush(99.0)
        bodies.append([draft.finish(1, 1) for draft in drafts])
    assert bodies[0] == bodies[1]
    assert books[0].totals() == books[1].totals()
    known = {
        value for values, arbitration_id in parts if arbitration_id == MOTOR for value in values
    }
    told = state.tell(99.0)["signals"]
    assert (COUNT in told) == (bool(known) and 99 - last(parts, MOTOR) <= STALE)


def last(parts, arbitration_id):
    """When a frame of this id was decoded last."""
    return max(
        (n for n, (values, one) in enumerate(parts) if one == arbitration_id and values),
        default=-math.inf,
    )
