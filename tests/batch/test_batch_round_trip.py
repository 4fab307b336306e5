"""What is read is what was written, whatever the samples are."""

import batch_plain_reader
import numpy as np
import pytest
from batch_samples import DICTIONARY, GROUPS, START, columns, floored, samples, series
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.batch.bits import bit_lengths, join, pack, unpack, words
from bordnetz.batch.blocks import cut, empty, merge
from bordnetz.batch.columns import decode, encode
from bordnetz.batch.message import Clock, Resolution, Stamp, encode_batch
from bordnetz.batch.predict import Predictor, fold, unfold
from bordnetz.batch.reader import decode_batch
from bordnetz.batch.take import Choice
from bordnetz.series import Samples

STAMP = Stamp(boot=0xFEDCBA9876543210, clock=Clock.SYNCHRONISED)


@given(
    st.lists(st.integers(0, 64).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, 2**w - 1))))
)
def test_bit_fields_of_any_width_come_back(fields: list[tuple[int, int]]) -> None:
    widths = np.array([width for width, _ in fields], np.int64)
    values = np.array([value for _, value in fields], np.uint64)
    packed = pack(*join(values, widths.view(np.uint64), int(widths.max(initial=0))))
    assert len(packed) == (int(widths.sum()) + 7) // 8
    assert unpack(words(packed), np.cumsum(widths) - widths, widths).tolist() == values.tolist()


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_bit_lengths_are_those_of_python(values: list[int]) -> None:
    lengths = bit_lengths(np.array(values, np.uint64))
    assert lengths.tolist() == [value.bit_length() for value in values]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_folding_keeps_every_number(values: list[int]) -> None:
    array = np.array(values, np.int64)
    assert unfold(fold(array)).tolist() == values


@given(st.data())
def test_columns_of_every_temper_come_back(data: st.DataObject) -> None:
    length = st.one_of(st.integers(1, 6), st.integers(1, 700))
    rows = data.draw(st.lists(length, min_size=1, max_size=12))
    values = np.concatenate([data.draw(columns(n)) for n in rows])
    counts = np.array(rows, np.int64)
    assert decode(encode(values, counts)[0], counts).tolist() == values.tolist()


@given(st.data())
def test_a_reader_written_from_the_page_reads_the_same(data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=10))
    flat = [data.draw(columns(n)) for n in rows]
    if data.draw(st.booleans()):
        flat.append(flat[-1] * 3 // 2 + 7)
        rows.append(rows[-1])
    values = np.concatenate(flat)
    assert batch_plain_reader.decode(encode(values, np.array(rows))[0], rows) == values.tolist()


def test_a_hundred_thousand_rows_of_noise_come_back() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate((rng.integers(-(2**63), 2**63 - 1, 20_000), rng.integers(0, 9, 80_000)))
    rows = np.array([20_000, 80_000])
    encoded, _ = encode(values, rows)
    assert np.array_equal(decode(encoded, rows), values)
    assert len(encoded) < 20_000 * 8 + 80_000 * 0.45 + 64


@pytest.mark.parametrize("top", [2**26, 2**28 - 1, 2**31, 2**40])
def test_a_long_column_of_large_numbers_comes_back(top: int) -> None:
    rng = np.random.default_rng(top)
    rows = np.array([700_000, 5])
    values = np.sort(rng.integers(0, top, int(rows.sum())))
    values[:700_000:2] -= top // 3
    assert np.array_equal(decode(encode(values, rows)[0], rows), values)


@pytest.mark.parametrize("base", [0, 2**31 - 99, 2**31, 2**40, -(2**40), 2**63 - 999])
@pytest.mark.parametrize("known", [None, *Predictor])
def test_numbers_near_each_other_come_back_wherever_they_are(
    base: int, known: Predictor | None
) -> None:
    rng = np.random.default_rng(5)
    rows = np.array([3000, 3000])
    values = base + rng.integers(-90, 90, int(rows.sum()))
    choice = None
    if known is not None:
        kinds = np.array([Predictor.DIFFERENCE_1, known])
        choice = Choice(kinds, np.array([0, 1 << 16]), np.array([0, 1]))
    assert np.array_equal(decode(encode(values, rows, choice)[0], rows), values)


@given(samples(), st.sampled_from(Resolution))
def test_a_batch_holds_all_samples_it_was_made_of(block: Samples, resolution: Resolution) -> None:
    if not len(block.time):
        with pytest.raises(ValueError, match="a batch has 1 to"):
            encode_batch(block, DICTIONARY, STAMP)
        return
    stamp = Stamp(7, Clock.UNSYNCHRONISED, resolution, "cold start", 12)
    batch = decode_batch(
        encode_batch(block, DICTIONARY, stamp).finish(2**64 - 1, 2**40), DICTIONARY
    )
    assert series([batch.samples]) == floored(series([merge([block])]), resolution.ns)
    assert batch.header.stamp == stamp
    assert (batch.header.outbox, batch.header.sequence) == (2**64 - 1, 2**40)
    assert batch.header.first == int(batch.samples.time.min())
    assert batch.header.last == int(batch.samples.time.max())
    assert sorted(batch.samples.order.tolist()) == list(range(len(block.time)))
    start = 0
    for rows in batch.samples.count.tolist():
        assert (np.diff(batch.samples.order[start : start + rows]) > 0).all()
        start += rows


@given(st.lists(samples(40), min_size=1, max_size=5), st.data())
def test_merged_and_cut_blocks_lose_nothing(blocks: list[Samples], data: st.DataObject) -> None:
    shifted = [
        Samples(b.groups, b.group, b.id, b.width, b.count, b.time, b.order + 10_000 * i, b.values)
        for i, b in enumerate(blocks)
    ]
    whole = merge(shifted)
    assert len(whole.group) == len(set(zip(whole.group, whole.id, whole.width, strict=True)))
    head, tail = cut(whole, data.draw(st.integers(0, len(whole.order))))
    assert series([head, tail]) == series([whole]) == series(blocks)
    assert head.order.max(initial=-1) < tail.order.min(initial=2**62)


def test_a_batch_of_one_sample_costs_64_bytes_and_the_sample() -> None:
    one = Samples(
        GROUPS,
        np.array([1], np.int32),
        np.array([0x101], np.uint32),
        np.array([1], np.int32),
        np.array([1]),
        np.array([START]),
        np.array([0]),
        np.array([0x3FC00000]),
    )
    message = encode_batch(one, DICTIONARY, STAMP).finish(2**64 - 1, 2**28 - 1)
    columns_field = len(encode(np.array([0, 0x3FC00000]), np.array([1, 1]))[0])
    assert len(message) - columns_field <= 64
    assert decode_batch(message, DICTIONARY).samples.values.tolist() == [0x3FC00000]


def test_samples_of_other_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="a batch has 1 to"):
        encode_batch(empty(GROUPS), DICTIONARY, STAMP)
