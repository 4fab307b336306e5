"""Two clocks in a batch: the reader puts right what was told before the wall clock was."""

import random
import zlib
from dataclasses import replace

import numpy as np
import pytest
from batch_samples import DICTIONARY, START, samples, series
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch.boots import Boots
from bordnetz.batch.errors import BatchError
from bordnetz.batch.message import (
    Clock,
    Resolution,
    Stamp,
    encode_batch,
    encode_dictionary,
    encode_gaps,
)
from bordnetz.batch.reader import Reader, decode_batch
from bordnetz.cli import bordnetz
from bordnetz.series import Cause, Gap, Samples

MS, S = 1_000_000, 1_000_000_000
YEAR = 31_557_600 * S
UPTIME = 500 * S
RIGHT = START - UPTIME
"""How far a clock that is right is ahead."""


def probe(time, value) -> Samples:
    """One sample of one signal at a time of the boot clock."""
    return Samples(
        DICTIONARY.groups,
        np.array([1], np.int32),
        np.array([0x101], np.uint32),
        np.array([1], np.int32),
        np.array([1]),
        np.array([time]),
        np.array([0]),
        np.array([value]),
    )


def message(number, time, ahead, clock, boot=7) -> bytes:
    stamp = Stamp(boot, clock, ahead=ahead)
    return encode_batch(probe(time, number), DICTIONARY, stamp).finish(1, number)


def reader_with_dictionary() -> Reader:
    reader = Reader()
    reader.read(encode_dictionary(DICTIONARY, 7).finish(1, 0))
    return reader


@given(
    samples(max_rows=20),
    st.sampled_from(Clock),
    st.sampled_from(Resolution),
    st.integers(-(1 << 61), 1 << 61),
)
def test_both_clocks_come_back_as_they_went_in(some, clock, resolution, ahead) -> None:
    if not len(some.time):
        return
    # The times of a boot clock, which begins at 0.
    some = replace(some, time=some.time - int(some.time.min()) + UPTIME)
    stamp = Stamp(7, clock, resolution, ahead=ahead)
    batch = decode_batch(encode_batch(some, DICTIONARY, stamp).finish(1, 2), DICTIONARY)
    ahead = ahead // resolution.ns * resolution.ns
    assert batch.header.stamp == replace(stamp, ahead=ahead)
    assert batch.header.minor == 0
    cut = replace(some, time=some.time // resolution.ns * resolution.ns + ahead)
    assert series([batch.samples]) == series([cut])


def test_a_gap_has_one_beginning_by_the_boot_clock_though_the_wall_clock_was_set() -> None:
    since, over = Gap("drive", Cause.DOWN, UPTIME + 7), Gap("drive", Cause.DOWN, UPTIME + 7, UPTIME)
    over = replace(over, end=UPTIME + 3 * S)
    begun = encode_gaps([since], DICTIONARY, Stamp(7, ahead=123_456_789))
    ended = encode_gaps([over], DICTIONARY, Stamp(7, ahead=RIGHT))
    starts = []
    for draft in (begun, ended):
        batch = decode_batch(draft.finish(1, 2), DICTIONARY)
        starts.append(batch.gaps[0].start - batch.header.stamp.ahead)
    assert starts == [UPTIME, UPTIME]
    assert batch.gaps[0].end == UPTIME + 3 * S + RIGHT


@pytest.mark.parametrize("wrong", [0, RIGHT - 10 * YEAR, RIGHT + 10 * YEAR])
@pytest.mark.parametrize("seed", range(3))
def test_batches_of_a_boot_are_put_right_once_a_good_clock_was_seen_in_any_order(
    wrong, seed
) -> None:
    told = [
        message(n, UPTIME + n * S, wrong, Clock.UNSYNCHRONISED if n % 2 else Clock.UNKNOWN)
        for n in range(5)
    ]
    told += [message(n, UPTIME + n * S, RIGHT, Clock.SYNCHRONISED) for n in range(5, 8)]
    random.Random(seed).shuffle(told)
    reader = Reader()  # Without the dictionary, batches wait; their clocks count all the same.
    assert [reader.read(one) for one in told] == [[]] * 8
    batches = reader.read(encode_dictionary(DICTIONARY, 7).finish(1, 100))
    right = [reader.boots.correct(batch) for batch in batches]
    for batch in right:
        (number,) = batch.samples.values.tolist()
        expected = START + number * S
        assert batch.samples.time.tolist() == [expected]
        assert (batch.header.first, batch.header.last) == (expected, expected)
        assert batch.header.stamp.clock is Clock.SYNCHRONISED
    assert len(right) == 8


def test_gaps_are_put_right_with_their_batch() -> None:
    reader = reader_with_dictionary()
    reader.read(message(1, UPTIME, RIGHT, Clock.SYNCHRONISED))
    gaps = [Gap("drive", Cause.DOWN, UPTIME), Gap("drive", Cause.DOWN, UPTIME, UPTIME + S)]
    draft = encode_gaps(gaps, DICTIONARY, Stamp(7, Clock.UNSYNCHRONISED, ahead=0))
    (batch,) = reader.read(draft.finish(1, 2))
    right = reader.boots.correct(batch)
    assert [(gap.start, gap.end) for gap in right.gaps] == [(START, None), (START, START + S)]


def test_what_another_boot_another_car_or_a_recording_tells_puts_nothing_right() -> None:
    reader = reader_with_dictionary()
    reader.read(message(1, UPTIME, RIGHT, Clock.SYNCHRONISED, boot=8), "car/telemetry")
    reader.read(message(2, UPTIME, RIGHT, Clock.SYNCHRONISED, boot=7), "other/telemetry")
    (batch,) = reader.read(message(3, UPTIME, 5 * S, Clock.UNSYNCHRONISED), "car/telemetry")
    assert reader.boots.correct(batch, "car/telemetry") is batch
    (batch,) = reader.read(message(4, START, None, Clock.UNKNOWN), "other/telemetry")
    assert reader.boots.correct(batch, "other/telemetry") is batch
    assert batch.samples.time.tolist() == [START]


def test_a_good_clock_is_believed_as_it_is_and_the_latest_one_for_the_others() -> None:
    reader = reader_with_dictionary()
    later = message(2, UPTIME + S, RIGHT + S, Clock.SYNCHRONISED)
    sooner = message(1, UPTIME, RIGHT, Clock.SYNCHRONISED)
    for one in (later, sooner):
        (batch,) = reader.read(one)
        assert reader.boots.correct(batch) is batch
    (batch,) = reader.read(message(3, UPTIME + 2 * S, 0, Clock.UNSYNCHRONISED))
    assert reader.boots.correct(batch).samples.time.tolist() == [UPTIME + 2 * S + RIGHT + S]


def test_boots_are_forgotten_the_one_not_heard_of_for_longest_first() -> None:
    boots = Boots(most=2)
    reader = reader_with_dictionary()
    for boot in (1, 2, 1, 3):
        number = 10 * boot + len(boots._good)
        (batch,) = reader.read(message(number, UPTIME, RIGHT, Clock.SYNCHRONISED, boot))
        boots.see(batch.header)
    assert [boot for _, boot in boots._good] == [1, 3]


def test_cat_dates_what_was_told_before_the_clock_was_right_if_it_is_asked_to(tmp_path) -> None:
    (tmp_path / "1.bin").write_bytes(message(1, UPTIME, 5 * S, Clock.UNSYNCHRONISED))
    (tmp_path / "2.bin").write_bytes(encode_dictionary(DICTIONARY, 7).finish(1, 2))
    (tmp_path / "3.bin").write_bytes(message(3, UPTIME + S, RIGHT, Clock.SYNCHRONISED))
    (tmp_path / "4.bin").write_bytes(b"no batch")

    def times(*options: str) -> list[str]:
        result = CliRunner().invoke(bordnetz, ["cat", *options, "--format", "csv", str(tmp_path)])
        assert "4.bin: batch: does not end with a check sum" in result.stderr
        return [line.split(",")[0] for line in result.stdout.splitlines()[1:]]

    assert times() == ["1970-01-01T00:08:25.000Z", "2023-11-14T22:13:21.000Z"]
    assert times("--dated") == ["2023-11-14T22:13:20.000Z", "2023-11-14T22:13:21.000Z"]


def test_cat_cannot_read_standard_input_twice() -> None:
    result = CliRunner().invoke(bordnetz, ["cat", "--dated", "-"], input=b"")
    assert result.exit_code == 2
    assert "reads twice" in result.stderr


def forged(**fields: object) -> bytes:
    message = pb.Message.FromString(encode_dictionary(DICTIONARY, 7).finish(1, 1)[:-5])
    message.ClearField("dictionary_zstd")
    message.MergeFrom(pb.Message(group=[1], count=[1], columns=b"", **fields))
    body = message.SerializeToString() + b"\x7d"
    return body + zlib.crc32(body).to_bytes(4, "little")


@pytest.mark.parametrize(
    "fields",
    [
        {"synchronised": 1 << 63},
        {"unsynchronised": (1 << 63) // MS + 1},
        {"unknown": 5, "first": -(1 << 62)},
        {"unknown": (1 << 63) // MS, "span": 10},
        {"unknown": (1 << 63) // MS, "first": -((1 << 62) // MS) * 2},
    ],
)
def test_times_that_no_clock_has_are_refused(fields) -> None:
    with pytest.raises(BatchError, match="outside of what 64 bits of ns can say"):
        Reader().read(forged(**fields))


def test_a_clock_that_would_lead_out_of_all_time_puts_nothing_right() -> None:
    reader = reader_with_dictionary()
    reader.read(message(1, UPTIME, (1 << 62) - 1, Clock.SYNCHRONISED))
    far = (1 << 62) + (1 << 61)
    (batch,) = reader.read(message(2, far, -far, Clock.UNSYNCHRONISED))
    assert reader.boots.correct(batch) is batch
