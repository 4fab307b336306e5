"""What a writer remembers makes batches cheaper, never wrong."""

import numpy as np
from batch_samples import DICTIONARY, GROUPS, START, columns, floored, samples, series
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.batch.blocks import merge
from bordnetz.batch.columns import decode, encode
from bordnetz.batch.memory import Memory
from bordnetz.batch.message import Clock, Stamp, encode_batch
from bordnetz.batch.predict import Predictor
from bordnetz.batch.reader import decode_batch
from bordnetz.series import Samples

STAMP = Stamp(boot=1, clock=Clock.SYNCHRONISED)
ROWS = 300


def block(first: int, motor: list[np.ndarray], probe: np.ndarray | None = None) -> Samples:
    """A second of both groups, or of the first alone; all columns of equal length."""
    rows = len(motor[0])
    time = START + (first + np.arange(rows)) * 10_000_000
    groups = 1 if probe is None else 2
    return Samples(
        GROUPS,
        np.arange(groups, dtype=np.int32),
        np.array([0x100, 0x101][:groups], np.uint32),
        np.array([4, 1][:groups], np.int32),
        np.full(groups, rows),
        np.tile(time, groups),
        np.arange(rows * groups),
        np.concatenate([*motor, *([] if probe is None else [probe])]),
    )


def drive(seed: int, rows: int = ROWS) -> tuple[list[np.ndarray], np.ndarray]:
    """A speed, its double, a counter and a constant; and half of the speed in the other group."""
    rng = np.random.default_rng(seed)
    speed = 5000 + rng.integers(-900, 900, rows)
    near = rng.integers(0, 3, (2, rows))
    motor = [speed, 2 * speed + near[0], np.arange(rows) % 16, np.full(rows, seed)]
    return motor, speed // 2 + near[1]


def read_back(sent: Samples, memory: Memory) -> int:
    """Make sure that a batch has what was put in; its bytes."""
    message = encode_batch(sent, DICTIONARY, STAMP, memory=memory).finish(1, 1)
    got = decode_batch(message, DICTIONARY).samples
    assert series([got]) == floored(series([merge([sent])]), 1_000_000)
    return len(message)


@given(st.lists(samples(60), min_size=1, max_size=4), st.lists(st.integers(0, 3), max_size=12))
def test_batches_after_any_others_hold_what_they_were_made_of(
    blocks: list[Samples], order: list[int]
) -> None:
    memory = Memory(DICTIONARY)
    for number in order:
        sent = blocks[number % len(blocks)]
        if len(sent.time):
            read_back(sent, memory)


@given(st.data())
def test_columns_come_back_whatever_was_chosen_for_others(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    length = st.one_of(st.integers(1, 6), st.integers(130, 400))
    before, after = (data.draw(st.lists(length, min_size=count, max_size=count)) for _ in range(2))
    if data.draw(st.booleans()):
        before = [before[0]] * count
        after = data.draw(st.sampled_from((before, [after[0]] * count)))
    _, choice = encode(
        np.concatenate([data.draw(columns(n)) for n in before]), np.array(before), None
    )
    values = np.concatenate([data.draw(columns(n)) for n in after])
    encoded, _ = encode(values, np.array(after), choice)
    assert decode(encoded, np.array(after)).tolist() == values.tolist()


def test_a_predictor_that_no_longer_can_be_is_replaced() -> None:
    memory = Memory(DICTIONARY)
    motor, probe = drive(1)
    read_back(block(0, motor, probe), memory)
    chosen = memory.series(block(0, motor, probe)).choice
    assert chosen is None  # It is remembered column by column until somebody asks.
    recalled = memory.recall(memory.series(block(0, motor, probe)), 7 * ROWS)
    kinds = recalled.predictor.tolist()
    assert kinds[3] == kinds[6] == Predictor.SISTER
    assert kinds[4] == Predictor.COUNTER
    # The counter leaves its range, the numbers 32 bits; a sister is gone, then back.
    motor, probe = drive(2)
    read_back(block(ROWS, motor, probe), memory)
    motor[2] = motor[2] + 1
    read_back(block(ROWS, motor, probe), memory)
    motor[1] = motor[1] << 40
    read_back(block(ROWS, motor, probe), memory)
    probe = np.where(np.arange(ROWS) == 9, -(2**63), probe)
    read_back(block(ROWS, motor, probe), memory)
    read_back(block(ROWS, drive(3)[0]), memory)
    read_back(block(ROWS, *drive(4)), memory)


def test_a_column_follows_its_sister_also_when_others_have_come_between() -> None:
    memory = Memory(DICTIONARY)
    motor, probe = drive(1)
    read_back(block(0, motor), memory)
    alone = memory.recall(memory.series(block(0, motor)), 5 * ROWS)
    assert alone.predictor[2] == Predictor.SISTER
    assert alone.lag[2] == 1
    read_back(block(0, motor, probe), memory)  # Unknown, so all is looked for again.
    both = memory.recall(memory.series(block(0, motor, probe)), 7 * ROWS)
    assert both.predictor[3] == Predictor.SISTER
    assert both.lag[3] == 1
    again = memory.recall(memory.series(block(0, motor)), 5 * ROWS)
    assert again.predictor[2] == Predictor.SISTER
    assert again.lag[2] == 1


def test_what_is_remembered_costs_next_to_no_bytes() -> None:
    memory = Memory(DICTIONARY)
    with_memory = without = 0
    for second in range(40):
        sent = block(second * ROWS, *drive(second, ROWS + second % 3))
        with_memory += read_back(sent, memory)
        without += read_back(sent, Memory(DICTIONARY))
    assert with_memory < without * 1.02


def test_a_batch_that_is_larger_than_expected_is_looked_at_anew() -> None:
    memory = Memory(DICTIONARY)
    still = [np.full(ROWS, 7) for _ in range(4)]
    read_back(block(0, still), memory)
    rows = np.arange(ROWS)
    moving = [rows * 90, rows * rows, rows % 16, rows * 7 + rows % 3]
    sent = block(ROWS, moving)
    assert read_back(sent, memory) == read_back(sent, Memory(DICTIONARY))


def test_a_memory_is_bounded_whatever_series_come() -> None:
    memory = Memory(DICTIONARY)
    for id_ in range(1000):
        sent = block(0, drive(1, 20)[0])
        sent.id[:] = id_
        read_back(sent, memory)
    assert len(memory._known) <= 64
