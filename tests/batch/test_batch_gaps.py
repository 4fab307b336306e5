"""Gaps: a reader can tell a bus without frames from one that nobody listened to."""

import csv
import json
import zlib
from contextlib import suppress

import pytest
from batch_samples import DICTIONARY, samples, series
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch.errors import BatchError
from bordnetz.batch.message import (
    MOST_GAPS,
    Resolution,
    Stamp,
    encode_batch,
    encode_dictionary,
    encode_gaps,
)
from bordnetz.batch.reader import Reader, decode_batch
from bordnetz.batch.show import gap_text
from bordnetz.cli import bordnetz
from bordnetz.series import Cause, Gap

MS = 1_000_000
STAMP = Stamp(boot=7)
DOWN = Gap("powertrain", Cause.DOWN, 1_700_000_000_123 * MS)
OVER = Gap("powertrain", Cause.DOWN, 1_700_000_000_123 * MS, 1_700_000_004_000 * MS)

times = st.integers(-(1 << 62), 1 << 62)
gaps = st.builds(
    lambda bus, cause, start, length: Gap(
        bus, cause, start, None if length is None else start + length
    ),
    st.text(min_size=1, max_size=64),
    st.sampled_from(Cause),
    times,
    st.none() | st.integers(0, 1 << 61),
)


def cut(gap: Gap, unit: int) -> Gap:
    end = None if gap.end is None else gap.end // unit * unit
    return Gap(gap.bus, gap.cause, gap.start // unit * unit, end)


@given(st.lists(gaps, min_size=1, max_size=5), st.sampled_from(Resolution))
def test_gaps_come_back_as_they_went_in(some, resolution) -> None:
    stamp = Stamp(boot=7, resolution=resolution)
    batch = decode_batch(encode_gaps(some, DICTIONARY, stamp).finish(1, 2), DICTIONARY)
    assert batch.gaps == tuple(cut(gap, resolution.ns) for gap in some)
    assert len(batch.samples) == 0
    assert batch.header.first == min(gap.start for gap in batch.gaps)
    assert batch.header.stamp == stamp


@given(samples(max_rows=20))
def test_a_batch_carries_gaps_beside_its_samples(some) -> None:
    if not len(some.time):
        return
    bare = encode_batch(some, DICTIONARY, STAMP)
    plain = decode_batch(bare.finish(1, 2), DICTIONARY)
    batch = decode_batch(bare.telling([DOWN, OVER], STAMP).finish(1, 2), DICTIONARY)
    assert batch.gaps == (DOWN, OVER)
    assert series([batch.samples]) == series([plain.samples])
    assert (plain.header.minor, plain.gaps) == (0, ())
    assert batch.header.minor == 1


def test_gaps_wait_for_their_dictionary_like_samples() -> None:
    reader = Reader()
    assert reader.read(encode_gaps([DOWN], DICTIONARY, STAMP).finish(1, 2)) == []
    (batch,) = reader.read(encode_dictionary(DICTIONARY, 7).finish(1, 3))
    assert batch.gaps == (DOWN,)


def forged(**fields: object) -> bytes:
    message = pb.Message(major=1, minor=1, dictionary=DICTIONARY.digest, **fields)
    body = message.SerializeToString() + b"\x7d"
    return body + zlib.crc32(body).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gap": [pb.Gap(bus="b")] * (MOST_GAPS + 1)}, "257 gaps, expected 256 at most"),
        ({"gap": [pb.Gap(start=1 << 62)]}, "outside of what 64 bits of ns can say"),
        ({"gap": [pb.Gap(length=1 << 62)]}, "outside of what 64 bits of ns can say"),
        ({"gap": [pb.Gap()], "group": [1]}, "1 groups for 0 series"),
        ({"gap": [pb.Gap()], "columns": b"x"}, "it has columns, but no series"),
    ],
)
def test_what_no_writer_says_is_refused(fields, said) -> None:
    with pytest.raises(BatchError, match=said):
        decode_batch(forged(**fields), DICTIONARY)


def test_a_cause_of_a_later_version_is_unknown() -> None:
    message = bytearray(forged(gap=[pb.Gap(bus="b", cause=pb.CAUSE_FAILED)]))
    place = message.index(b"\x10\x03") + 1
    message[place] = 99
    message[-4:] = zlib.crc32(message[:-4]).to_bytes(4, "little")
    assert decode_batch(bytes(message), DICTIONARY).gaps == (Gap("b", Cause.UNKNOWN, 0),)


def test_who_looks_at_batches_sees_their_gaps(tmp_path) -> None:
    gone = encode_gaps([DOWN, OVER], DICTIONARY, STAMP)
    (tmp_path / "0001.bin").write_bytes(gone.finish(1, 2))
    (tmp_path / "0002.bin").write_bytes(encode_dictionary(DICTIONARY, 1).finish(1, 3))
    result = CliRunner().invoke(bordnetz, ["cat", str(tmp_path)])
    (line,) = result.stdout.splitlines()
    assert line.endswith("0 samples  2 gaps")
    assert gap_text(DOWN, Resolution.MILLISECOND) == (
        "not listened to (down) since 2023-11-14T22:13:20.123Z"
    )
    assert gap_text(OVER, Resolution.MILLISECOND).endswith("20.123Z, for 3.877 s")


@pytest.fixture
def folder(tmp_path):
    motor = Gap("drive", Cause.FAILED, 1_700_000_000_500 * MS, 1_700_000_000_500 * MS)
    gone = encode_gaps([DOWN, OVER, motor], DICTIONARY, STAMP)
    (tmp_path / "0001.bin").write_bytes(gone.finish(1, 2))
    (tmp_path / "0002.bin").write_bytes(encode_dictionary(DICTIONARY, 1).finish(1, 3))
    return tmp_path


def cat(*arguments) -> list[str]:
    result = CliRunner().invoke(bordnetz, ["cat", *map(str, arguments)])
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_each_gap_is_a_row_of_csv_with_its_length_when_it_is_over(folder) -> None:
    assert list(csv.reader(cat(folder, "--format", "csv")))[1:] == [
        ["2023-11-14T22:13:20.123Z", "powertrain.*", "", "s", "notListening down"],
        ["2023-11-14T22:13:20.123Z", "powertrain.*", "3.877", "s", "notListening down"],
        ["2023-11-14T22:13:20.500Z", "drive.*", "0.0", "s", "notListening failed"],
    ]


def test_each_gap_is_an_object_of_json_lines(folder) -> None:
    since = {"time": "2023-11-14T22:13:20.123Z", "gap": "powertrain", "cause": "down"}
    over = {"time": "2023-11-14T22:13:20.500Z", "gap": "drive", "cause": "failed", "seconds": 0.0}
    lines = cat(folder, "--format", "jsonl", "--raw")
    assert [json.loads(line) for line in lines] == [since, since | {"seconds": 3.877}, over]


def test_each_gap_is_a_line_of_the_table(folder) -> None:
    lines = cat(folder, "--format", "table")
    assert [" ".join(line.split()) for line in lines[:2]] == [
        "2023-11-14T22:13:20.123Z powertrain.* not listened to (down)",
        "2023-11-14T22:13:20.123Z powertrain.* not listened to (down), for 3.877 s",
    ]


def test_gaps_are_shown_of_buses_of_which_signals_are_asked_for(folder) -> None:
    (line,) = cat(folder, "--format", "jsonl", "--signals", "*.Motor.Gear")
    assert json.loads(line)["gap"] == "drive"
    assert cat(folder, "--format", "jsonl", "--signals", "drive.Motor.Gear@21") == [line]
    assert cat(folder, "--format", "jsonl", "--signals", "truck.*") == []


@given(st.lists(gaps, min_size=1, max_size=3), st.integers(0, 10**6), st.integers(1, 255))
def test_forged_bytes_of_gaps_never_crash_the_reader(some, place, change) -> None:
    message = bytearray(encode_gaps(some, DICTIONARY, STAMP).finish(1, 2))
    message[place % (len(message) - 5)] ^= change
    message[-4:] = zlib.crc32(message[:-4]).to_bytes(4, "little")
    with suppress(BatchError):
        for gap in decode_batch(bytes(message), DICTIONARY).gaps:
            assert gap.end is None or gap.start <= gap.end
