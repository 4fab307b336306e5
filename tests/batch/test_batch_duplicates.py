"""What was sent twice is read once, and nothing else is left out."""

import random

import numpy as np
from batch_samples import DICTIONARY, GROUPS, START
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.batch.message import Stamp, encode_batch, encode_dictionary
from bordnetz.batch.reader import Reader
from bordnetz.batch.seen import Seen
from bordnetz.series import Samples

_ROW = Samples(
    GROUPS,
    np.array([1], np.int32),
    np.array([0x101], np.uint32),
    np.array([1], np.int32),
    np.array([1]),
    np.array([START]),
    np.array([0]),
    np.array([5]),
)
BROUGHT = encode_dictionary(DICTIONARY, 1).finish(1, 999)
DRAFT = encode_batch(_ROW, DICTIONARY, Stamp(boot=3))


def names(reader, messages, sender=""):
    return [
        (batch.header.outbox, batch.header.sequence)
        for data in messages
        for batch in reader.read(data, sender)
    ]


def test_each_batch_is_read_once_whatever_comes_twice_and_in_whatever_order():
    messages = [DRAFT.finish(7, sequence) for sequence in range(40)] * 3 + [BROUGHT] * 3
    random.Random(1).shuffle(messages)
    reader = Reader()
    assert sorted(names(reader, messages)) == [(7, sequence) for sequence in range(40)]
    assert reader.duplicates == 80
    assert reader.waiting == 0


def test_an_outbox_that_was_replaced_within_one_boot_counts_anew_and_loses_nothing():
    reader = Reader()
    first = [BROUGHT, *(DRAFT.finish(7, sequence) for sequence in range(5))]
    second = [DRAFT.finish(8, sequence) for sequence in range(5)]
    assert names(reader, first + second + first + second) == [
        *((7, sequence) for sequence in range(5)),
        *((8, sequence) for sequence in range(5)),
    ]


def test_two_senders_with_one_outbox_id_do_not_shadow_each_other():
    reader = Reader()
    reader.read(BROUGHT)
    assert names(reader, [DRAFT.finish(7, 1)] * 2, "car-1/telemetry") == [(7, 1)]
    assert names(reader, [DRAFT.finish(7, 1)] * 2, "car-2/telemetry") == [(7, 1)]


def test_a_batch_that_had_to_make_room_is_read_when_it_is_sent_again():
    data = DRAFT.finish(7, 1)
    reader = Reader(waiting_bytes=len(data))
    assert names(reader, [data, DRAFT.finish(7, 2), BROUGHT]) == [(7, 2)]
    assert names(reader, [data, data]) == [(7, 1)]


@given(st.lists(st.integers(0, 60)))
def test_runs_know_what_a_set_knows(sequences):
    seen, known = Seen(), set()
    for sequence in sequences:
        assert seen.add(("", 1, sequence)) == (sequence not in known)
        known.add(sequence)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=200))
def test_what_is_forgotten_comes_twice_and_nothing_is_taken_for_seen_that_was_not(names):
    seen, known = Seen(outboxes=3, runs=4), set()
    for outbox, sequence in names:
        if not seen.add(("", outbox, sequence)):
            assert (outbox, sequence) in known
        known.add((outbox, sequence))
