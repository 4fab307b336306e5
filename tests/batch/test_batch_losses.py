"""Losses: a reader can tell silence from batches that a vehicle had to give up."""

import csv
import json
import zlib
from contextlib import suppress
from dataclasses import replace

import pytest
from batch_samples import DICTIONARY, START
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch.boots import Boots
from bordnetz.batch.errors import BatchError
from bordnetz.batch.losses import MOST_LOSSES, Loss, LossCause, add, encode_losses
from bordnetz.batch.message import Clock, Stamp, encode_gaps
from bordnetz.batch.reader import Reader, decode_batch
from bordnetz.batch.show import loss_text
from bordnetz.cli import bordnetz
from bordnetz.series import Cause, Gap

MS = 1_000_000
SECOND = 1_000_000_000
FULL = Loss(
    LossCause.BUDGET,
    "default",
    boot=7,
    batches=12,
    samples=3_400,
    start=START,
    end=START + 90 * SECOND,
    clock=Clock.SYNCHRONISED,
    ahead=START - 50 * SECOND,
)
RUINED = Loss(LossCause.DAMAGED, "", batches=2)

counts = st.integers(0, 1 << 40)
bare = st.builds(
    Loss,
    st.sampled_from(LossCause),
    st.text(max_size=64),
    st.integers(0, 2**64 - 1),
    counts,
    counts,
)
dated = st.builds(
    lambda loss, start, length, clock, since: replace(
        loss,
        start=start * MS,
        end=(start + length) * MS,
        clock=clock,
        ahead=None if since is None else (start - since) * MS,
    ),
    bare,
    st.integers(-(1 << 40), 1 << 40),
    st.integers(0, 1 << 40),
    st.sampled_from(Clock),
    st.none() | st.integers(0, 1 << 40),
)


def told(*losses):
    return decode_batch(encode_losses(losses).finish(3, 4))


@given(st.lists(bare | dated, min_size=1, max_size=5))
def test_losses_come_back_as_they_went_in(some) -> None:
    batch = told(*some)
    assert batch.losses == tuple(some)
    assert (len(batch.samples), batch.gaps) == (0, ())
    starts = [loss.start for loss in some if loss.start is not None]
    assert batch.header.first == min(starts, default=0)
    assert (batch.header.outbox, batch.header.sequence, batch.header.minor) == (3, 4, 2)


def test_losses_wait_for_no_dictionary_and_are_read_once() -> None:
    reader = Reader()
    message = encode_losses([FULL, RUINED]).finish(3, 4)
    (batch,) = reader.read(message)
    assert batch.losses == (FULL, RUINED)
    assert reader.read(message) == []
    assert (reader.duplicates, reader.waiting) == (1, 0)


def test_times_are_rounded_outwards() -> None:
    (loss,) = told(replace(FULL, start=START + 1, end=START + 90 * SECOND + 1)).losses
    assert (loss.start, loss.end) == (START, START + 90 * SECOND + MS)


def test_losses_of_one_kind_are_told_as_one() -> None:
    later = replace(FULL, start=START + 200 * SECOND, end=START + 300 * SECOND, batches=1)
    assert FULL.plus(later) == replace(FULL, end=later.end, batches=13, samples=6_800)
    assert later.plus(FULL) == FULL.plus(later)


@given(dated, st.integers(-(1 << 40), 1 << 40))
def test_a_clock_that_was_set_between_them_does_not_widen_them(loss, step) -> None:
    if loss.ahead is None:
        return
    before = replace(loss, clock=Clock.UNSYNCHRONISED).by_clock(
        Clock.UNSYNCHRONISED, loss.ahead + step * MS
    )
    good = replace(loss, clock=Clock.SYNCHRONISED)
    both = replace(good, batches=2 * loss.batches, samples=2 * loss.samples)
    assert before.plus(good) == good.plus(before) == both


def test_without_a_boot_clock_the_wall_clocks_count() -> None:
    bare = replace(FULL, ahead=None, start=START - SECOND)
    both = FULL.plus(bare)
    assert (both.start, both.end) == (START - SECOND, FULL.end)
    assert (both.clock, both.ahead) == (Clock.UNKNOWN, None)


def test_too_many_losses_to_tell_each_are_added_up_by_cause_and_none_is_dropped() -> None:
    losses: dict = {}
    for boot in range(1, 1_001):
        add(losses, replace(FULL, boot=boot, start=START + boot, end=START + boot))
        add(losses, replace(FULL, cause=LossCause.AGE, boot=boot, batches=1))
    assert len(losses) <= MOST_LOSSES
    batch = told(*losses.values())
    assert sum(loss.batches for loss in batch.losses) == 13_000
    assert sum(loss.samples for loss in batch.losses) == 2_000 * 3_400
    (rest,) = (one for one in losses.values() if one.key == (LossCause.BUDGET, "", 0))
    assert (rest.start, rest.end) == (START + 48, START + 1_000)
    assert rest.ahead is None


def test_a_good_clock_of_the_same_boot_dates_losses_too() -> None:
    wrong = replace(FULL, clock=Clock.UNSYNCHRONISED).by_clock(Clock.UNSYNCHRONISED, 0)
    assert wrong.start == 50 * SECOND
    boots = Boots()
    batch = told(wrong, replace(wrong, boot=8), RUINED)
    assert boots.correct(batch) == batch
    stamp = Stamp(7, Clock.SYNCHRONISED, ahead=FULL.ahead)
    seen = encode_gaps([Gap("drive", Cause.DOWN, 60 * SECOND)], DICTIONARY, stamp).finish(1, 1)
    boots.see(decode_batch(seen, DICTIONARY).header)
    assert boots.correct(batch).losses == (FULL, replace(wrong, boot=8), RUINED)


def forged(**fields: object) -> bytes:
    message = pb.Message(**{"major": 1, "minor": 2} | fields)
    body = message.SerializeToString() + b"\x7d"
    return body + zlib.crc32(body).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"loss": [pb.Loss()] * (MOST_LOSSES + 1)}, "101 losses, expected 100 at most"),
        ({"loss": [pb.Loss(first=1 << 62)]}, "a loss is outside of what 64 bits of ns can say"),
        ({"loss": [pb.Loss(first=0, span=1 << 62)]}, "a loss is outside of what 64 bits"),
        ({"loss": [pb.Loss(first=0, unknown=1 << 62)]}, "a loss is outside of what 64 bits"),
        ({"loss": [pb.Loss()], "count": [1], "group": [0]}, "it names no dictionary"),
        ({"loss": [pb.Loss()], "columns": b"x"}, "it has columns, but no series"),
        ({}, "it names no dictionary"),
    ],
)
def test_what_no_writer_says_is_refused(fields, said) -> None:
    with pytest.raises(BatchError, match=said):
        Reader().read(forged(**fields))


def test_what_a_later_version_says_is_unknown() -> None:
    message = bytearray(
        forged(loss=[pb.Loss(cause=pb.LOSS_DISK, first=1, clock=pb.UNSYNCHRONISED)])
    )
    for known in (b"\x08\x05", b"\x30\x02"):
        assert message.count(known) == 1
        message[message.index(known) + 1] = 99
    message[-4:] = zlib.crc32(message[:-4]).to_bytes(4, "little")
    (loss,) = decode_batch(bytes(message)).losses
    assert (loss.cause, loss.clock, loss.start) == (LossCause.UNKNOWN, Clock.UNKNOWN, MS)


@given(st.lists(bare | dated, min_size=1, max_size=3), st.integers(0, 10**6), st.integers(1, 255))
def test_forged_bytes_of_losses_never_crash_the_reader(some, place, change) -> None:
    message = bytearray(encode_losses(some).finish(1, 2))
    message[place % (len(message) - 5)] ^= change
    message[-4:] = zlib.crc32(message[:-4]).to_bytes(4, "little")
    with suppress(BatchError):
        Reader().read(bytes(message))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "0001.bin").write_bytes(encode_losses([FULL, RUINED]).finish(1, 2))
    return tmp_path


def cat(*arguments) -> list[str]:
    result = CliRunner().invoke(bordnetz, ["cat", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_the_summary_adds_losses_up(folder) -> None:
    (line,) = cat(folder)
    assert "2023-11-14T22:13:20.000Z +90.000 s" in line
    assert line.endswith("0 samples  14 batches lost, 3400 samples")


def test_each_loss_is_a_row_of_csv(folder) -> None:
    assert list(csv.reader(cat(folder, "--format", "csv")))[1:] == [
        ["2023-11-14T22:13:20.000Z", "*", "90.0", "s", "lost budget 3400"],
        ["", "*", "", "s", "lost damaged 0"],
    ]


def test_each_loss_is_an_object_of_json_lines(folder) -> None:
    since = "2023-11-14T22:13:20.000Z"
    full = {"time": since, "lost": "default", "cause": "budget", "batches": 12, "samples": 3_400}
    lines = cat(folder, "--format", "jsonl", "--signals", "drive.*")
    assert [json.loads(line) for line in lines] == [
        full | {"seconds": 90.0},
        {"lost": "", "cause": "damaged", "batches": 2, "samples": 0},
    ]


def test_each_loss_is_a_line_of_the_table(folder) -> None:
    full, ruined = (" ".join(line.split()) for line in cat(folder, "--format", "table"))
    since = "2023-11-14T22:13:20.000Z * given up (budget)"
    assert full == f"{since}: 12 batches lost, 3400 samples, over 90.000 s"
    assert ruined == "* given up (damaged): 2 batches lost, 0 samples"
    assert loss_text(FULL) == (
        "12 batches lost, 3400 samples (budget) "
        "from 2023-11-14T22:13:20.000Z to 2023-11-14T22:14:50.000Z"
    )
