"""What the outbox gives up is told: nothing is ever in no book, whenever the power goes."""

import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.losses import LossCause
from bordnetz.batch.message import Clock, Stamp, encode_batch
from bordnetz.batch.reader import Envelope, decode_batch
from bordnetz.edge import losses as rules
from bordnetz.edge.outbox import Outbox, OutboxError, Uptime
from bordnetz.series import Group, Samples, Signal
from bordnetz.telemetry.losses import EACH, LAST, SOON, Losses
from bordnetz.telemetry.messages import LOSS, batch_parcel, dictionary_parcel, kind

SECOND = 1_000_000_000
NOON = 1_700_000_000 * SECOND
BUDGET = 60_000 + rules.ROOM
GROUPS = (Group("drive", "Noise", 0x100, signals=(Signal("Level"),)),)
DICTIONARY = Dictionary(GROUPS, bytes(32), bytes(32))


def batch(second, rows=1_000, *, boot=7, priority=5):
    """A parcel of so many samples that no coding makes smaller, in one second."""
    noise = np.random.default_rng(second).integers(-(2**62), 2**62, rows)
    samples = Samples(
        GROUPS,
        np.array([0], np.int32),
        np.array([0x100], np.uint32),
        np.array([1], np.int32),
        np.array([rows]),
        second * SECOND + np.arange(rows) * (SECOND // rows // 1_000_000 * 1_000_000),
        np.arange(rows),
        noise,
    )
    stamp = Stamp(boot, Clock.SYNCHRONISED, ahead=NOON)
    return batch_parcel(encode_batch(samples, DICTIONARY, stamp), DICTIONARY, priority)


def put(outbox, parcel):
    digests = {"content": parcel.content, "needs": parcel.needs}
    return outbox.put(parcel.make, parcel.priority, **digests)


def told(entries):
    """The losses that messages tell of."""
    messages = [entry.message for entry in entries if kind(entry.message) == LOSS]
    return [loss for message in messages for loss in decode_batch(message.body).losses]


class Clockwork:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clockwork()


@pytest.fixture
def open_outbox(tmp_path, clock):
    opened = []

    def open_one(losses, **more):
        for one in opened:
            one.close()
        opened.append(Outbox(tmp_path / "outbox", BUDGET, losses=losses, **more))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def fill(outbox, count, first=0, **more):
    for second in range(first, first + count):
        assert put(outbox, batch(second, **more))


def test_what_the_budget_forced_out_is_told_once_and_as_one(open_outbox, clock) -> None:
    losses = Losses(clock)
    outbox = open_outbox(losses)
    put(outbox, dictionary_parcel(DICTIONARY, 7))
    fill(outbox, 20)
    entries = outbox.take(100)
    kept = [Envelope(e.message.body).header for e in entries if kind(e.message) == "batch"]
    (loss,) = told(entries)
    assert len(kept) + loss.batches == 20
    assert loss.samples == 1_000 * loss.batches
    assert losses.samples == {"budget": loss.samples}
    assert loss.key == (LossCause.BUDGET, "default", 7)
    assert loss.start == NOON
    assert loss.end is not None
    # From the first one lost to the last, up to the first that is there.
    assert kept[0].first - SECOND < loss.end < kept[0].first
    assert loss.clock is Clock.SYNCHRONISED


def test_the_first_word_leaves_soon_the_next_ones_with_the_backlog_or_an_hour_later(
    open_outbox, clock
) -> None:
    outbox = open_outbox(Losses(clock))
    fill(outbox, 10)
    (first,) = outbox.take(1)
    assert kind(first.message) == LOSS
    assert first.priority == SOON
    outbox.acknowledge(first)
    fill(outbox, 5, 10)
    *batches, last = outbox.take(100)
    assert (kind(last.message), last.priority) == (LOSS, LAST)
    assert {kind(entry.message) for entry in batches} == {"batch"}
    assert told([last])[0].batches == 5
    for entry in (*batches, last):
        outbox.release(entry)
    clock.now += EACH
    fill(outbox, 1, 15)
    (soon,) = outbox.take(1)
    assert (kind(soon.message), soon.priority) == (LOSS, SOON)
    assert told([soon])[0].batches == 6


def test_a_word_that_waits_stays_soon(open_outbox, clock) -> None:
    outbox = open_outbox(Losses(clock))
    fill(outbox, 30)
    (entry,) = outbox.take(1)
    assert entry.priority == SOON
    assert told([entry])[0].batches == 30 - (len(outbox) - 1)


def test_what_is_being_sent_is_not_replaced(open_outbox, clock) -> None:
    outbox = open_outbox(Losses(clock))
    fill(outbox, 10)
    (first,) = outbox.take(1)
    fill(outbox, 3, 10)
    outbox.release(first)
    entries = outbox.take(100)
    assert sum(loss.batches for loss in told(entries)) == 13 - (len(entries) - 2)
    assert len(told(entries)) == 2


def test_nothing_is_told_where_nothing_was_given_up(open_outbox, clock) -> None:
    losses = Losses(clock)
    outbox = open_outbox(losses)
    fill(outbox, 3)
    for entry in outbox.take(3):
        outbox.acknowledge(entry)
    outbox.flush()
    assert len(outbox) == 0
    assert not losses.pending


def test_what_got_no_place_at_all_is_told_with_the_next_commit(open_outbox, clock) -> None:
    losses = Losses(clock)
    outbox = open_outbox(losses)
    fill(outbox, 7, priority=0)
    refused = batch(50, priority=9)
    assert put(outbox, refused) is None
    losses.refused(refused.make(0, 0), "budget")
    losses.refused(batch(60).make(0, 0), "disk")
    assert losses.pending
    outbox.flush()
    assert not losses.pending
    causes = {loss.cause: loss.batches for loss in told(outbox.take(100))}
    assert causes == {LossCause.BUDGET: 1, LossCause.DISK: 1}
    # They never were in the outbox.
    assert losses.samples.total() == 0


def test_what_is_too_old_is_told_also_if_it_told_of_others(open_outbox, clock) -> None:
    losses = Losses(clock)
    uptime = Uptime(1, clock)
    outbox = open_outbox(losses, age=100.0, uptime=uptime)
    fill(outbox, 10)
    lost = 10 - (len(outbox) - 1)
    clock.now = 101.0
    fill(outbox, 1, 11)
    by_cause = {loss.cause: loss.batches for loss in told(outbox.take(100))}
    assert by_cause == {LossCause.BUDGET: lost, LossCause.AGE: 10 - lost}
    # What told of others is counted once.
    assert losses.samples == {"budget": 1_000 * lost, "age": 1_000 * (10 - lost)}


def test_what_the_disk_gives_back_otherwise_is_told(open_outbox, clock, tmp_path) -> None:
    outbox = open_outbox(Losses(clock))
    fill(outbox, 2)
    (segment,) = (tmp_path / "outbox").iterdir()
    data = bytearray(segment.read_bytes())
    body = batch(0).make(outbox.id, 1).body
    data[data.index(body) + len(body) // 2] ^= 1
    segment.write_bytes(data)
    (entry,) = outbox.take(10)
    assert entry.sequence == 2
    outbox.flush()
    (loss,) = told(outbox.take(10))
    assert (loss.cause, loss.batches, loss.start) == (LossCause.DAMAGED, 1, None)


def test_losses_of_many_boots_are_told_of_each(open_outbox, clock) -> None:
    outbox = open_outbox(Losses(clock))
    for boot in range(1, 21):
        put(outbox, batch(boot, boot=boot))
    losses = told(outbox.take(1))
    assert [loss.boot for loss in losses] == [*range(1, len(losses) + 1)]
    assert {loss.batches for loss in losses} == {1}


class LossMachine(RuleBasedStateMachine):
    """Each batch that was stored waits, or was acknowledged, or is told to be lost, once."""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clockwork()
        self.second = 0
        self.stored = Counter()
        self.received = Counter()
        self.received_as = {}
        self.taken = []
        self.open()

    def open(self):
        self.losses = Losses(self.clock)
        self.outbox = Outbox(
            self.folder / "outbox",
            30_000 + rules.ROOM,
            losses=self.losses,
            age=10_000.0,
            uptime=Uptime(1, self.clock),
            segment=200_000,
        )

    def teardown(self):
        if hasattr(self, "outbox"):
            self.outbox.close()
            shutil.rmtree(self.folder)

    @rule(rows=st.integers(1, 1_500), boot=st.integers(1, 3), priority=st.sampled_from([0, 5, 9]))
    def put(self, rows, boot, priority):
        self.second += 1
        parcel = batch(self.second, rows, boot=boot, priority=priority)
        if put(self.outbox, parcel) is not None:
            self.stored["batches"] += 1
            self.stored["samples"] += rows

    @rule()
    def put_what_the_disk_does_not_take(self):
        self.second += 1
        write = self.outbox._store.write

        def fails(*_):
            raise OSError(5, "Input/output error")

        self.outbox._store.write = fails
        with suppress(OutboxError):
            # Or there was no room for it, and the disk was not asked.
            assert put(self.outbox, batch(self.second, 1_400)) is None
        self.outbox._store.write = write

    @rule(count=st.integers(1, 4))
    def take(self, count):
        self.taken += self.outbox.take(count)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def release(self, data):
        place = data.draw(st.integers(0, len(self.taken) - 1))
        self.outbox.release(self.taken.pop(place))

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def acknowledge(self, data):
        entry = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        self.outbox.acknowledge(entry)
        self.received_as[entry.number] = contents(entry.message)
        self.received += self.received_as[entry.number]

    @rule(seconds=st.sampled_from([1.0, 4_000.0, 11_000.0]))
    def wait(self, seconds):
        self.clock.now += seconds

    @rule()
    def restart(self):
        self.outbox.flush()
        self.crash()

    @rule()
    def crash(self):
        """What was not flushed comes back, as after a power cut."""
        self.outbox._store.close()
        gone = self.outbox._index.gone
        self.taken.clear()
        self.open()
        for number in gone & set(self.outbox._index):
            # Acknowledged, which nobody has written: it is sent again under the same name.
            if number in self.received_as:
                self.received -= self.received_as.pop(number)

    @invariant()
    def the_books_balance(self):
        if not hasattr(self, "outbox"):
            return
        waiting = Counter()
        for number in self.outbox._index:
            waiting += contents(self.outbox._read(number))
        for loss in (*self.losses._pending.values(), *self.losses._telling.values()):
            waiting += Counter(batches=loss.batches, samples=loss.samples)
        assert waiting + self.received == self.stored

    @invariant()
    def the_budget_holds(self):
        if hasattr(self, "outbox"):
            assert self.outbox.used <= 30_000 + rules.ROOM


def contents(message) -> Counter:
    """Batches and samples that a message brings or tells to be lost."""
    if kind(message) != LOSS:
        return Counter(batches=1, samples=message.samples)
    losses = decode_batch(message.body).losses
    return Counter(
        batches=sum(loss.batches for loss in losses), samples=sum(loss.samples for loss in losses)
    )


def test_each_batch_waits_or_was_acknowledged_or_is_told_to_be_lost() -> None:
    run_state_machine_as_test(
        LossMachine, settings=settings(max_examples=25, stateful_step_count=40, deadline=None)
    )


def test_a_disk_that_cannot_be_read_keeps_nobody_from_storing(open_outbox, clock) -> None:
    outbox = open_outbox(Losses(clock))
    fill(outbox, 10)
    read = outbox._store.read

    def fails(_):
        raise OSError(5, "Input/output error")

    outbox._store.read = fails
    fill(outbox, 4, 10)
    outbox._store.read = read
    entries = outbox.take(100)
    kept = [entry for entry in entries if kind(entry.message) == "batch"]
    losses = told(entries)
    assert sum(loss.batches for loss in losses) == 14 - len(kept)
    bare = [loss for loss in losses if loss.start is None]
    assert sum(loss.batches for loss in bare) == 4
    assert sum(loss.samples for loss in losses) == 1_000 * (14 - len(kept) - 4)
