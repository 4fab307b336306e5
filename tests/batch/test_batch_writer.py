"""Where batches begin and end: whole blocks, nothing lost, nothing twice."""

import numpy as np
import pytest
from batch_samples import DICTIONARY, GROUPS, START, column, floored, samples, series
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.batch.blocks import empty
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.memory import Memory
from bordnetz.batch.message import MAX_BYTES, MAX_VALUES, Draft, Stamp, encode_batch
from bordnetz.batch.reader import decode_batch
from bordnetz.batch.writer import BLOCK, Writer
from bordnetz.series import Group, Samples, Signal

STAMP = Stamp(boot=1)
PROPERTIES = 180


def read(drafts: list[Draft], dictionary: Dictionary = DICTIONARY) -> list[Samples]:
    return [
        decode_batch(draft.finish(1, index), dictionary).samples
        for index, draft in enumerate(drafts)
    ]


def noise(rows: int, seed: int = 1, style: str = "noise") -> Samples:
    """One series of the group of four signals, 100 rows/s."""
    return Samples(
        GROUPS,
        np.array([0], np.int32),
        np.array([GROUPS[0].id], np.uint32),
        np.array([4], np.int32),
        np.array([rows]),
        START + np.arange(rows) * 10_000_000,
        np.arange(rows),
        np.concatenate([column(rows, style, seed + i) for i in range(4)]),
    )


def split(whole: Samples, rows: int) -> list[Samples]:
    """The same in blocks as a decoder makes them: ``order`` begins at 0 in each."""
    total = len(whole.time)
    matrix = whole.values.reshape(4, total)
    return [
        Samples(
            GROUPS,
            whole.group,
            whole.id,
            whole.width,
            np.array([min(rows, total - at)]),
            whole.time[at : at + rows],
            np.arange(min(rows, total - at)),
            matrix[:, at : at + rows].ravel(),
        )
        for at in range(0, total, rows)
    ]


@given(st.lists(st.one_of(samples(120), st.booleans()), max_size=12), st.integers(1, 3))
def test_all_samples_come_out_once_and_in_order(steps: list[Samples | bool], blocks: int) -> None:
    writer = Writer(DICTIONARY, STAMP, properties=PROPERTIES, blocks=blocks)
    added: list[Samples] = []
    drafts: list[Draft] = []
    for step in steps:
        if isinstance(step, bool):
            drafts += writer.flush(whole_blocks=step)
        else:
            drafts += writer.add(step)
            added.append(step)
        assert writer.rows + sum(draft.rows for draft in drafts) == sum(len(b.time) for b in added)
        assert writer.samples + sum(draft.samples for draft in drafts) == sum(map(len, added))
    drafts += writer.flush(whole_blocks=False)
    assert writer.rows == writer.samples == 0
    assert series(read(drafts)) == floored(series(added), 1_000_000)
    assert all(draft.max_size + PROPERTIES <= blocks * BLOCK for draft in drafts)


@pytest.mark.parametrize("blocks", [2, 4, 16])
def test_full_batches_fill_their_blocks(blocks: int) -> None:
    writer = Writer(DICTIONARY, STAMP, properties=PROPERTIES, blocks=blocks)
    whole = noise(20_000 * blocks)
    drafts = [draft for block in split(whole, 7) for draft in writer.add(block)]
    sizes = np.array([len(draft.finish(2**64 - 1, 2**20)) + PROPERTIES for draft in drafts])
    assert len(sizes) >= 5
    assert (sizes <= blocks * BLOCK).all()
    assert sizes.sum() / (-(-sizes // BLOCK) * BLOCK).sum() >= 0.96


def test_a_timed_flush_sends_whole_blocks_and_keeps_the_rest() -> None:
    writer = Writer(DICTIONARY, STAMP, properties=PROPERTIES)
    whole = noise(9_000)
    drafts: list[Draft] = []
    kept: list[int] = []
    for block in split(whole, 700):
        drafts += writer.add(block)
        drafts += writer.flush(whole_blocks=True)
        kept.append(writer.rows)
    sizes = np.array([len(draft.finish(2**64 - 1, 2**20)) + PROPERTIES for draft in drafts])
    assert len(sizes) >= 5
    assert sizes.sum() / (-(-sizes // BLOCK) * BLOCK).sum() >= 0.96
    assert 0 < max(kept) < 1_100
    drafts += writer.flush(whole_blocks=False)
    assert series(read(drafts)) == floored(series([whole]), 1_000_000)


def test_a_timed_flush_is_one_message_encoded_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []

    def count(*arguments: Samples | Dictionary | Stamp, memory: Memory) -> Draft:
        encoded.append(1)
        return encode_batch(*arguments, memory=memory)

    monkeypatch.setattr("bordnetz.batch.writer.encode_batch", count)
    writer = Writer(DICTIONARY, STAMP, properties=PROPERTIES)
    drafts = 0
    for block in split(noise(60_000), 3_000):
        assert writer.add(block) == []
        closed = writer.flush(whole_blocks=True)
        assert len(closed) == 1
        drafts += 1
    assert len(encoded) <= 1.7 * drafts


def test_what_fills_no_block_is_kept_until_all_is_asked_for() -> None:
    writer = Writer(DICTIONARY, STAMP, properties=PROPERTIES)
    assert writer.add(noise(50)) == []
    assert writer.flush(whole_blocks=True) == []
    assert (writer.rows, writer.samples) == (50, 200)
    (draft,) = writer.flush(whole_blocks=False)
    assert (draft.rows, draft.samples) == (50, 200)
    assert writer.flush(whole_blocks=False) == []


def test_one_huge_block_is_split_below_the_message_limit() -> None:
    writer = Writer(DICTIONARY, STAMP, properties=PROPERTIES, blocks=61)
    whole = noise(60_000, style="wild")
    drafts = writer.add(whole) + writer.flush(whole_blocks=False)
    assert len(drafts) > 5
    assert max(draft.max_size for draft in drafts) + PROPERTIES <= MAX_BYTES
    assert series(read(drafts)) == floored(series([whole]), 1_000_000)


def test_a_batch_of_constants_is_bounded_by_its_values() -> None:
    writer = Writer(DICTIONARY, STAMP)
    whole = noise(MAX_VALUES // 2, style="constant")
    drafts = writer.add(whole) + writer.flush(whole_blocks=False)
    assert len(drafts) >= 3
    assert all(draft.rows + draft.samples <= MAX_VALUES for draft in drafts)
    assert sum(len(block.values) for block in read(drafts)) == len(whole.values)


def test_samples_of_another_dictionary_are_refused() -> None:
    writer = Writer(DICTIONARY, STAMP)
    other = (Group("other", "Message", 1, signals=(Signal("One"),)),)
    with pytest.raises(ValueError, match="not those of the dictionary"):
        writer.add(empty(other))


@pytest.mark.parametrize(("blocks", "properties"), [(0, 0), (62, 0), (1, 3000)])
def test_a_target_that_makes_no_message_is_refused(blocks: int, properties: int) -> None:
    with pytest.raises(ValueError, match="do not make a message"):
        Writer(DICTIONARY, STAMP, blocks=blocks, properties=properties)
