"""The row ``hub-knobs`` finds what it is there for; its tries are those that it promises."""

from collections import Counter
from dataclasses import replace
from itertools import chain

import pytest

from bordnetz.edge.sender import WINDOW

from .knobs import _loads
from .knobs_checks import GARBAGE, GROWTH, HUNG, wrong
from .knobs_order import misplaced
from .knobs_outcome import Arrived, Figures, Life, Outcome, Process, Put
from .knobs_plan import FAULTS, LONGEST, SHORTEST, draw, names

MIB = 1 << 20


def test_each_fault_is_tried_alone_for_an_hour_and_with_each_other_at_the_same_time():
    tries = [draw(name) for name in names()]
    assert len(tries) == len(FAULTS) + len(FAULTS) * (len(FAULTS) - 1) // 2 == 55
    assert Counter(fault.knob for one in tries for fault in one.faults) == dict.fromkeys(FAULTS, 10)
    for one in tries:
        first, second = one.faults[0], one.faults[-1]
        for fault in one.faults:
            assert SHORTEST <= fault.end - fault.begin <= LONGEST + 1
        assert first.begin <= second.begin <= first.end
        assert one.begin <= one.change <= one.end
    assert [draw(name) for name in names()] == tries
    assert sorted(chain(*_loads(names()))) == sorted(names())


# -- the order


def put(sequence, priority=7, size=100):
    return f"put 00ff-{sequence} {priority} {size} 0.0"


def sent(*sequences):
    return [f"{kind} {one}" for one in sequences for kind in ("sends", "done")]


def test_the_oldest_of_the_most_urgent_first_is_right():
    stored = [put(1), put(2), put(3, 0), put(4, 1)]
    assert misplaced(["begins", *stored, *sent(3, 4, 1, 2)]) == {}


def test_what_had_been_chosen_already_may_pass_but_no_more():
    stored = [*map(put, range(1, 20)), put(20, 0)]
    assert misplaced([*stored, *sent(*range(1, 1 + WINDOW), 20)]) == {}
    assert misplaced([*stored, *sent(*range(1, 2 + WINDOW), 20)]) == {20: WINDOW + 1}


def test_an_older_message_of_the_same_priority_that_stays_behind_is_found():
    assert misplaced([*map(put, range(1, 20)), *sent(*range(2, 20), 1)]) == {1: 18}


def test_what_was_struck_goes_first_again_until_it_is_a_suspect():
    stored = [*map(put, range(1, 20))]
    struck = ["sends 1", "struck 1"]
    assert misplaced([*stored, *struck, *sent(*range(2, 20), 1)]) == {1: 18}
    assert misplaced([*stored, *struck * 3, *sent(*range(2, 20), 1)]) == {}
    # A process that has just begun suspects nobody.
    assert misplaced([*stored, *struck * 3, "begins", *sent(*range(2, 20), 1)]) == {1: 18}


def test_one_that_is_as_large_as_a_suspect_may_stay_behind():
    stored = [put(1, size=6000), put(2, size=6000), *map(put, range(3, 20))]
    struck = ["sends 1", "struck 1"]
    assert misplaced([*stored, *struck * 3, *sent(*range(3, 20), 1, 2)]) == {}
    stored[1] = put(2, size=5999)
    assert misplaced([*stored, *struck * 3, *sent(*range(3, 20), 1, 2)]) == {2: 17}


def test_a_message_that_is_sent_before_it_is_told_to_be_stored_confuses_nobody():
    lines = [*sent(1), put(1), *map(put, range(2, 20)), *sent(*range(2, 20))]
    assert misplaced(lines) == {}


# -- the checks


def good(name="go-silent", ends=2):
    """A try as it should be: four messages wait until the fault is over."""
    one = draw(name)
    outcome = Outcome(one, Process(50 * MIB, 13, 18, 18))
    for sequence, priority in ((1, 7), (2, 7), (3, 0), (4, 7)):
        outcome.puts[sequence] = Put(priority, 6000 if sequence == 4 else 100, one.begin + 100)
        outcome.lines.append(put(sequence, priority))
    outcome.lines += sent(3, 1, 2, 4)
    outcome.arrivals = [Arrived(sequence, one.end + 1, True) for sequence in (3, 1, 2, 4)]
    outcome.outboxes = {255}
    outcome.lives = [
        Life(1800.0 * life - 300, 1800.0 * (life + 1) - 300, 69) for life in range(ends)
    ]
    outcome.settling = 20.0
    outcome.status = {
        "found": 1,
        "put": 3,
        "outbox": {"acknowledged": 4, "givenUp": 0, "messages": 0, "setAside": 0, "damaged": 0},
        "edgeHub": {"lost": {"ttl_expiry": 0, "no_route": 0}},
    }
    outcome.after = outcome.before
    return outcome


def test_with_a_try_as_it_should_be_nothing_is_wrong():
    assert wrong(good()) == []
    assert Figures.joined([Figures.of(good())] * 2).messages == 8


def lose(outcome):
    del outcome.arrivals[1]


def tear(outcome):
    outcome.arrivals[1] = replace(outcome.arrivals[1], whole=False)


def repeat(outcome):
    outcome.again += [outcome.arrivals[0]] * 3


def invent(outcome):
    outcome.arrivals += [Arrived(number, 1.0, True) for number in (97, 98, 99)]


def wait(outcome):
    outcome.settling = 1000.0


def pass_over(outcome):
    outcome.lines += [*map(put, range(11, 30)), *sent(*range(12, 30), 11)]


def miscount(outcome):
    outcome.status["put"] = 4


def give_up(outcome):
    outcome.status["outbox"] |= {"givenUp": 1, "acknowledged": 3}


def drop(outcome):
    outcome.status["edgeHub"]["lost"]["ttl_expiry"] = 1


def crash(outcome):
    outcome.lives[0] = replace(outcome.lives[0], code=70)


def end_early(outcome):
    outcome.lives[0] = replace(outcome.lives[0], ended=1000.0)


def never_end(outcome):
    outcome.lives.clear()


def take(**more):
    def taken(outcome):
        outcome.after = replace(
            outcome.before,
            **{name: getattr(outcome.before, name) + count for name, count in more.items()},
        )

    return taken


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lose, "1 messages lost: [1]"),
        (tear, "not what was stored: [1]"),
        (repeat, "sent again without a reason: [3]"),
        (invent, "nobody has stored: [97, 98, 99]"),
        (wait, "it took 1000 s"),
        (lambda outcome: outcome.outboxes.add(7), "2 outboxes"),
        (pass_over, "passed over, and how often: {11: 18}"),
        (miscount, "1 messages found and 4 stored"),
        (give_up, "the outbox has lost something"),
        (drop, "the hub has dropped something"),
        (crash, "ended with 70"),
        (end_early, "a process ended after 1000 s"),
        (never_end, "0 processes have ended in 3600 s"),
        (take(memory=GROWTH + 1), "8.0 MiB more than before"),
        (take(threads=3), "16 threads, before 13"),
        (take(descriptors=3), "21 descriptors, before 18"),
        (take(uncollected=GARBAGE + 3), "27 descriptors with those that are garbage"),
    ],
)
def test_what_is_wrong_is_found(spoil, words):
    outcome = good()
    spoil(outcome)
    (found,) = wrong(outcome)
    assert words in found


def test_a_client_that_hangs_is_counted_and_what_it_keeps_is_not_held_against_the_module():
    outcome = good()
    outcome.lines.append("hung")
    outcome.hung = 1
    take(threads=5, descriptors=6)(outcome)
    assert wrong(outcome) == []
    assert Figures.of(outcome).hung == 1
    outcome.hung = HUNG + 1
    assert wrong(outcome) == [f"{HUNG + 1} clients hung"]


def test_a_try_after_which_not_all_is_as_before_is_wrong():
    outcome = good()
    outcome.settling, outcome.mark = None, (3, 2)
    (found,) = wrong(outcome)
    assert "not as before" in found
    assert "(3, 2)" in found


def test_urgent_messages_that_wait_for_the_pace_are_found():
    outcome = good("upstream-offline", ends=0)
    (found,) = wrong(outcome)
    assert "waited for the pace: [3]" in found


def test_large_messages_that_block_others_or_pass_are_found():
    outcome = good("cap-packets", ends=0)
    (held,) = wrong(outcome)
    assert "have held up others: [1, 2, 3]" in held
    outcome.arrivals = [
        Arrived(sequence, outcome.one.begin + 101, True) for sequence in (3, 1, 2, 4)
    ]
    outcome.lines += ["struck 4"]
    (found,) = wrong(outcome)
    assert "too large: [4]" in found


def test_a_fault_that_nobody_notices_is_told():
    outcome = good("drop-link", ends=0)
    outcome.arrivals = [Arrived(one, outcome.puts[one].time, True) for one in (3, 1, 2, 4)]
    assert wrong(outcome) == ["the fault was not to be noticed"]
