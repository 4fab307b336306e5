"""Messages that are too old, and the order in which they leave; in simulated time."""

from pathlib import Path

import pytest

from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Outbox, Uptime

ROOMY = 10 << 20
HOUR = 3600.0
DAY = 24 * HOUR


class Machine:
    """A machine whose steady clock is set by hand."""

    def __init__(self, boot: int = 1, now: float = 5.0) -> None:
        self.boot = boot
        self.now = now

    @property
    def uptime(self) -> Uptime:
        return Uptime(self.boot, lambda: self.now)

    def restart(self) -> None:
        """Off, for however long, and on again."""
        self.boot += 1
        self.now = 5.0


def put(outbox, priority=5, **more):
    return outbox.put(lambda *_: Message("o", b"x"), priority, **more)


def waiting(outbox):
    entries = outbox.take(1_000)
    for entry in entries:
        outbox.release(entry)
    return [entry.sequence for entry in entries]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def test_a_message_that_is_too_old_is_given_up_and_counted_and_never_sent(path, caplog):
    car = Machine()
    with Outbox(path, ROOMY, age=DAY, uptime=car.uptime) as outbox:
        put(outbox, 5)
        car.now += 23 * HOUR
        put(outbox, 0)
        assert waiting(outbox) == [2, 1]
        car.now += 2 * HOUR
        assert waiting(outbox) == [2]
        assert outbox.dropped == {("age", 5): 1}
        assert "older than 86400 s" in caplog.text
        outbox.flush()
    with Outbox(path, ROOMY, age=DAY, uptime=car.uptime) as outbox:
        assert waiting(outbox) == [2]


@pytest.mark.parametrize("what", [Outbox.flush, put])
def test_it_is_given_up_also_while_there_is_no_hub(path, what):
    car = Machine()
    with Outbox(path, ROOMY, age=DAY, uptime=car.uptime) as outbox:
        put(outbox)
        car.now += 2 * DAY
        what(outbox)
        assert 1 not in waiting(outbox)
        assert outbox.dropped == {("age", 5): 1}


def test_only_the_time_counts_in_which_the_machine_is_on(path):
    car = Machine()
    with Outbox(path, ROOMY, age=DAY, uptime=car.uptime) as outbox:
        put(outbox)
        car.now += 20 * HOUR
        put(outbox)
    # Whatever the wall clock says: years in a garage, or 1970.
    for _ in range(3):
        car.restart()
        with Outbox(path, ROOMY, age=DAY, uptime=car.uptime) as outbox:
            assert waiting(outbox) == [1, 2]
    car.now += 5 * HOUR
    with Outbox(path, ROOMY, age=DAY, uptime=car.uptime) as outbox:
        assert waiting(outbox) == [2]


def test_a_process_that_starts_again_makes_no_message_younger(path):
    car = Machine()
    for _ in range(30):
        with Outbox(path, ROOMY, age=DAY, uptime=car.uptime) as outbox:
            if not outbox.last:
                put(outbox)
            car.now += HOUR
    with Outbox(path, ROOMY, age=DAY, uptime=car.uptime) as outbox:
        assert waiting(outbox) == []


def test_a_dictionary_is_not_too_old_as_long_as_a_batch_needs_it(path):
    car = Machine()
    with Outbox(path, ROOMY, age=DAY, uptime=car.uptime) as outbox:
        put(outbox, content=b"d")
        car.now += 20 * HOUR
        put(outbox, needs=b"d")
        car.now += 20 * HOUR
        assert waiting(outbox) == [1, 2]
        car.now += 5 * HOUR
        assert waiting(outbox) == [1]
        assert waiting(outbox) == []
        assert outbox.dropped == {("age", 5): 2}


def test_a_message_that_is_being_sent_is_not_too_old(path):
    car = Machine()
    with Outbox(path, ROOMY, age=DAY, uptime=car.uptime) as outbox:
        put(outbox)
        (entry,) = outbox.take(1)
        car.now += 2 * DAY
        outbox.flush()
        outbox.acknowledge(entry)
        assert outbox.dropped == {}


def test_of_chosen_priorities_the_newest_leaves_first(path):
    with Outbox(path, ROOMY, newest_first=frozenset({5})) as outbox:
        for priority in (5, 3, 5, 3, 5):
            put(outbox, priority)
        assert waiting(outbox) == [2, 4, 5, 3, 1]
        assert [entry.sequence for entry in outbox.take(3)] == [2, 4, 5]
        newer = put(outbox, 5)
        assert [entry.sequence for entry in outbox.take(3)] == [newer, 3, 1]
