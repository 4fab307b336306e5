"""Messages during which the connection broke: when they may be sent again, and how large others."""

import math

from hypothesis import given
from hypothesis import strategies as st

from bordnetz.edge.outbox import Entry
from bordnetz.edge.suspects import FIRST, LAST, LONGEST, STRIKES, Suspects


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def entry(number, size=100):
    return Entry(1, number, 5, None, number, size)


def convict(suspects, *entries):
    for one in entries:
        for _ in range(STRIKES):
            suspects.strike(one)


def test_a_message_during_which_the_connection_broke_goes_alone_until_the_hub_has_it():
    suspects = Suspects()
    assert not suspects.alone(entry(7))
    suspects.strike(entry(7))
    assert suspects.alone(entry(7))
    assert not suspects.alone(entry(8))
    assert suspects.wait(entry(7)) == 0
    suspects.clear(entry(7))
    assert not suspects.alone(entry(7))


def test_a_message_becomes_suspect_by_strikes_in_a_row_and_waits_longer_with_each():
    suspects, waits = Suspects(), []
    for _ in range(STRIKES + 20):
        suspects.strike(entry(7))
        waits.append(suspects.wait(entry(7)))
    assert waits[:STRIKES] == [0] * (STRIKES - 1) + [FIRST]
    assert waits[STRIKES] == 2 * FIRST
    assert waits[-1] == LAST
    assert len(suspects) == 1
    suspects.clear(entry(7))
    assert len(suspects) == 0
    assert suspects.wait(entry(7)) == 0


def test_one_suspect_says_nothing_of_others():
    suspects = Suspects()
    convict(suspects, entry(7))
    assert suspects.ceiling == math.inf
    assert suspects.hold == 0
    assert not suspects.alone(entry(8, 5000))


def test_after_two_suspects_nothing_of_their_size_is_sent_for_a_while_that_doubles():
    clock = Clock()
    suspects = Suspects(clock)
    convict(suspects, entry(7, 6000), entry(8, 5000))
    assert suspects.ceiling == 5000
    assert suspects.hold == FIRST
    # They come after others of their size.
    assert suspects.wait(entry(8)) == 2 * FIRST
    assert not suspects.alone(entry(9, 4999))
    assert suspects.alone(entry(9, 5000))
    holds = []
    for number in range(10, 30):
        clock.now += suspects.hold
        assert suspects.hold == 0
        suspects.strike(entry(number, 5500))
        holds.append(suspects.hold)
        assert suspects.wait(entry(number, 5500)) > suspects.hold
    assert holds[:3] == [2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert holds[-1] == LONGEST


def test_a_hub_that_takes_one_as_large_does_not_mind_the_size():
    clock = Clock()
    suspects = Suspects(clock)
    convict(suspects, entry(7, 6000), entry(8, 300))
    assert suspects.ceiling == 300
    clock.now += suspects.hold
    suspects.clear(entry(9, 1000))
    assert suspects.ceiling == math.inf
    assert not suspects.alone(entry(10, 7000))
    # Both are suspect as before, and say no more of others.
    assert len(suspects) == 2
    suspects.strike(entry(8, 300))
    assert suspects.ceiling == math.inf
    assert suspects.hold == 0
    assert suspects.wait(entry(8)) == 2 * FIRST


def test_a_smaller_one_that_the_hub_takes_says_nothing():
    suspects = Suspects(Clock())
    convict(suspects, entry(7, 6000), entry(8, 5000))
    suspects.clear(entry(9, 4999))
    assert suspects.ceiling == 5000


def test_what_the_hub_takes_tells_whether_others_need_wait_any_longer():
    clock = Clock()
    suspects = Suspects(clock)
    convict(suspects, entry(7, 6000), entry(8, 5000), entry(9, 5500))
    assert not suspects.clear(entry(10, 4000))
    assert suspects.clear(entry(10, 5000))
    assert suspects.ceiling == 5500
    assert suspects.clear(entry(11, 7000))
    assert suspects.ceiling == math.inf
    assert not suspects.clear(entry(12, 8000))
    # The next time it begins anew.
    convict(suspects, entry(13), entry(14))
    assert suspects.hold == FIRST


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.floats(0, 100)), max_size=60))
def test_whatever_happens_a_while_without_strikes_lets_everything_go(events):
    clock = Clock()
    suspects = Suspects(clock)
    for number, broke, later in events:
        (suspects.strike if broke else suspects.clear)(entry(number, number * 100))
        clock.now += later
    assert suspects.hold <= LONGEST
    assert max(suspects.wait(entry(number)) for number in range(1, 10)) <= LONGEST + LAST
    clock.now += LONGEST
    assert suspects.hold == 0
    suspects.clear(entry(10, 1000))
    assert suspects.ceiling == math.inf


def test_the_memory_for_strikes_is_bounded():
    suspects = Suspects()
    for number in range(10_000):
        convict(suspects, entry(number))
    assert len(suspects) < 5000
    assert len(suspects._sizes) == len(suspects)
