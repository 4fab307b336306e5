"""How fast messages may leave: token buckets of bytes and of messages."""

from hypothesis import given
from hypothesis import strategies as st

from bordnetz.edge.pace import BURST, CEILING, FLOOR, Pace, Rate

DAY = 86_400


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def leave(pace, clock, size, seconds):
    """As many messages as may leave in the time; when each did."""
    end, left = clock.now + seconds, []
    while True:
        # Whoever wakes a moment too early waits on, as a timer may.
        clock.now += pace.delay() * 1.000001
        if clock.now >= end:
            clock.now = end
            return left
        pace.spend(size)
        left.append(clock.now)


@given(
    st.lists(st.tuples(st.integers(1, 250_000), st.floats(0, 100)), min_size=1),
    st.sampled_from([CEILING, FLOOR, Rate(1000, 3)]),
)
def test_no_more_leaves_than_bytes_and_messages_a_second_and_what_was_saved_up(sent, rate):
    clock = Clock()
    pace = Pace(ceiling=rate, clock=clock)
    start, size, count = clock.now, 0, 0
    for bytes_, pause in sent:
        clock.now += pause + pace.delay() * 1.000001
        passed = clock.now - start + BURST
        # The last one may be in debt.
        assert size <= rate.bytes * passed * 1.0001
        assert count <= max(1, rate.messages * passed * 1.0001)
        pace.spend(bytes_)
        size, count = size + bytes_, count + 1


def test_an_outage_saves_nothing_up():
    clock = Clock()
    pace = Pace(clock=clock)
    clock.now += DAY
    pace.empty()
    assert pace.delay() == 0
    assert len(leave(pace, clock, 1, 10)) <= CEILING.messages * 10 + 1


def test_three_days_at_the_floor_are_little_for_edge_hub_to_keep():
    clock = Clock()
    pace = Pace(clock=clock)
    pace.slow()
    for size, most in ((200, 30_000), (250_000, 800)):
        left = leave(pace, clock, size, 3 * DAY)
        assert len(left) <= most
        assert len(left) * size <= 150_000_000


def test_from_the_floor_the_pace_doubles_up_to_the_ceiling():
    pace = Pace(clock=Clock())
    changes = []
    pace.changed = lambda: changes.append(pace.rate.bytes)
    pace.slow()
    assert pace.slowed
    while pace.slowed:
        pace.faster()
    pace.faster()
    assert changes[:3] == [FLOOR.bytes, 2 * FLOOR.bytes, 4 * FLOOR.bytes]
    assert pace.rate == CEILING
    assert changes[-1] == CEILING.bytes


def test_a_debt_made_at_the_floor_is_paid_at_the_rate_that_follows():
    clock = Clock()
    pace = Pace(clock=clock)
    pace.slow()
    pace.spend(250_000)
    assert pace.delay() > 400
    while pace.slowed:
        pace.faster()
    assert pace.delay() < 1
