"""A bus through all that may befall it: gaps, patience, and what is told of both."""

import errno

import pytest

from bordnetz.can.errors import BusError
from bordnetz.can.sources.line import FIRST_WAIT, LONGEST_WAIT, Line
from bordnetz.series import Cause, Gap

S = 10**9
ABSENT = BusError("bus 'b' (x y): No such device")


class Plug:
    """An interface that a test pulls and plugs: None is fine, a cause why not, an error: absent."""

    def __init__(self, condition=None):
        self.condition = condition
        self.open = 0
        self.tries = 0

    def __call__(self):
        self.tries += 1
        if isinstance(self.condition, BusError):
            raise self.condition
        self.open += 1
        return self

    def state(self):
        return Cause.ABSENT if isinstance(self.condition, BusError) else self.condition

    def close(self):
        self.open -= 1


def line_of(plug: Plug) -> Line:
    return Line("b", "bus 'b' (x y)", plug)


def test_a_bus_that_is_there_has_no_gap_and_needs_no_look() -> None:
    line = line_of(Plug())
    line.begin(0, 0)
    assert (line.gap, line.gaps, line.due) == (None, 0, None)
    assert line.take() == ((), ())


def test_a_bus_that_is_absent_at_the_start_has_a_gap_until_it_is_there() -> None:
    plug = Plug(ABSENT)
    line = line_of(plug)
    line.begin(0, 5 * S)
    begun = Gap("b", Cause.ABSENT, 5 * S)
    assert line.take() == ((begun,), (str(ABSENT),))
    plug.condition = None
    line.tick(1, 6 * S)
    told = ("bus 'b' (x y): is listened to again, after 1.0 s",)
    assert line.take() == ((Gap("b", Cause.ABSENT, 5 * S, 6 * S),), told)
    assert (line.gap, line.gaps, line.due) == (None, 1, None)


def test_who_has_no_patience_is_told_at_once() -> None:
    line = line_of(Plug(ABSENT))
    with pytest.raises(BusError, match="No such device"):
        line.begin(0, 0, patient=False)


def test_a_bus_that_goes_down_keeps_its_socket_and_one_that_is_gone_does_not() -> None:
    plug = Plug()
    line = line_of(plug)
    line.begin(0, 0)
    line.fail(OSError(errno.ENETDOWN, "down"), 1, 1 * S)
    assert plug.open == 1
    assert line.take()[0] == (Gap("b", Cause.DOWN, 1 * S),)
    line.fail(OSError(errno.ENODEV, "no such device"), 2, 2 * S)
    assert plug.open == 0
    line.tick(3, 3 * S)
    assert plug.open == 1
    # One gap, from when it began.
    assert line.take()[0] == (Gap("b", Cause.DOWN, 1 * S, 3 * S),)


def test_an_interface_that_got_another_name_is_let_go_of() -> None:
    plug = Plug()
    line = line_of(plug)
    line.begin(0, 0)
    line.fail(OSError(errno.ENETDOWN, "down"), 1, 1 * S)
    plug.condition = ABSENT
    line.tick(2, 2 * S)
    assert plug.open == 0
    assert line.gap is not None
    plug.condition = None
    line.tick(3, 3 * S)
    assert plug.open == 1
    assert line.gap is None


def test_it_is_tried_for_ever_with_growing_patience() -> None:
    plug = Plug(ABSENT)
    line = line_of(plug)
    line.begin(0, 0)
    now, waits = 0.0, []
    for _ in range(20):
        waits.append(line.due - now)
        now = line.due
        line.tick(now, int(now * S))
    assert waits[:3] == pytest.approx([FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT])
    assert waits[-1] == pytest.approx(LONGEST_WAIT)
    # It is told once and not with every try.
    assert [len(told) for told in line.take()] == [1, 1]
    assert plug.tries == 21


def test_a_bus_that_comes_and_goes_does_not_wear_out_its_reader() -> None:
    plug = Plug()
    line = line_of(plug)
    line.begin(0, 0)
    now = 0.0
    told = 0
    while now < 60:
        line.fail(OSError(errno.EIO, "odd"), now, int(now * S))
        now = line.due
        line.tick(now, int(now * S))
        told += len(line.take()[1])
    assert told <= 2 * (60 / LONGEST_WAIT + 6)
    # After a while without trouble the next one is looked after quickly.
    line.fail(OSError(errno.EIO, "odd"), now + 60, 0)
    assert line.due == pytest.approx(now + 60 + FIRST_WAIT)


def test_frames_end_a_gap_when_the_first_of_them_came() -> None:
    plug = Plug()
    line = line_of(plug)
    line.begin(0, 0)
    line.fail(OSError(errno.ENETDOWN, "down"), 1, 1 * S)
    plug.condition = Cause.DOWN
    line.heard(int(1.5 * S), 2, 2 * S)
    assert line.gap is not None, "frames that waited in the socket are no sign of life"
    plug.condition = None
    line.heard(int(2.5 * S), 3, 3 * S)
    assert line.take()[0][-1] == Gap("b", Cause.DOWN, 1 * S, int(2.5 * S))


def test_a_gap_ends_no_earlier_than_it_began_though_the_clock_is_set_back() -> None:
    plug = Plug(ABSENT)
    line = line_of(plug)
    line.begin(0, 100 * S)
    plug.condition = None
    line.tick(1, 50 * S)
    assert line.take()[0][-1] == Gap("b", Cause.ABSENT, 100 * S, 100 * S)


def test_an_end_is_given_back_when_the_line_is_closed() -> None:
    plug = Plug()
    given: list[object] = []
    line = Line("b", "b", plug, given.append)
    line.begin(0, 0)
    line.close()
    assert plug.open == 0
    assert given == [plug]
