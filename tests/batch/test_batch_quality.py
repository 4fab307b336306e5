"""Quality beside the values, on the wire."""

import csv
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from batch_samples import DICTIONARY, GROUPS, START, samples
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch.blocks import cut, merge
from bordnetz.batch.command import cat
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.errors import BatchError
from bordnetz.batch.flags import decode_flags, encode_flags
from bordnetz.batch.message import QUALITY_MINOR, Stamp, encode_batch
from bordnetz.batch.reader import decode_batch
from bordnetz.batch.writer import Writer
from bordnetz.series import Quality, Samples

STAMP = Stamp(boot=1)


def asking(*asked: bool) -> Dictionary:
    """The dictionary of the tests, with quality for some of its groups."""
    groups = tuple(
        replace(group, quality=wanted) for group, wanted in zip(GROUPS, asked, strict=True)
    )
    return Dictionary(groups, DICTIONARY.vehicle, DICTIONARY.catalogue)


def with_quality(some: Samples, dictionary: Dictionary, mask: int = 0xFF) -> Samples:
    """Samples whose quality can be told from their values: their bits under a mask."""
    having = dictionary.has_quality[some.group].repeat(some.count * some.width)
    quality = (some.values & mask).astype(np.uint8) * having
    return replace(some, groups=dictionary.groups, quality=quality.astype(np.uint8))


def is_right(some: Samples) -> bool:
    """Whether all values have the quality that `with_quality` gave them."""
    groups = Dictionary(some.groups, DICTIONARY.vehicle, DICTIONARY.catalogue)
    expected = with_quality(some, groups).quality
    return some.quality is not None and np.array_equal(some.quality, expected)


def one_series(rows: int, quality: list[int]) -> Samples:
    """Samples of the group Probe, which has one signal."""
    return Samples(
        asking(False, True, False, False).groups,
        np.array([1], np.int32),
        np.array([GROUPS[1].id], np.uint32),
        np.array([1], np.int32),
        np.array([rows], np.int64),
        START + np.arange(rows, dtype=np.int64) * 1_000_000,
        np.arange(rows, dtype=np.int64),
        np.zeros(rows, np.int64),
        np.array(quality, np.uint8),
    )


@given(st.lists(st.integers(0, 255), max_size=300))
def test_flags_come_back(flags: list[int]) -> None:
    assert decode_flags(*encode_flags(np.array(flags, np.uint8)), len(flags)).tolist() == flags


@given(samples(), st.tuples(*[st.booleans()] * 4), st.sampled_from([0, 1, 0xFF]))
def test_quality_comes_back_with_its_values(some: Samples, asked, mask: int) -> None:
    dictionary = asking(*asked)
    sent = with_quality(merge([some]), dictionary, mask)
    if not len(sent.order):
        return
    got = decode_batch(encode_batch(sent, dictionary, STAMP).finish(1, 1), dictionary).samples
    if dictionary.has_quality[sent.group].any():
        assert got.quality is not None
        assert got.quality.tolist() == sent.quality.tolist()
    else:
        assert got.quality is None


@given(samples(), samples(), st.data())
def test_quality_stays_with_its_values_when_blocks_are_joined_and_cut(
    one: Samples, other: Samples, data: st.DataObject
) -> None:
    dictionary = asking(True, False, True, True)
    other = replace(other, order=other.order + len(one.order))
    whole = merge([with_quality(one, dictionary), with_quality(other, dictionary)])
    if not len(whole.order):
        return
    assert is_right(whole)
    for part in cut(whole, data.draw(st.integers(0, len(whole.order)))):
        assert not len(part.order) or is_right(part)


def test_samples_that_came_without_quality_have_nothing_said_against_them() -> None:
    bare = replace(one_series(3, [0] * 3), quality=None)
    later = replace(one_series(2, [4, 5]), order=np.array([3, 4]))
    assert merge([bare, later]).quality.tolist() == [0, 0, 0, 4, 5]


@given(samples())
def test_the_writer_brings_all_quality_through(some: Samples) -> None:
    dictionary = asking(True, True, False, True)
    writer = Writer(dictionary, STAMP)
    drafts = writer.add(with_quality(some, dictionary)) + writer.flush(whole_blocks=False)
    for draft in drafts:
        batch = decode_batch(draft.finish(1, 1), dictionary)
        if dictionary.has_quality[batch.samples.group].any():
            assert is_right(batch.samples)


@given(samples())
def test_a_batch_without_quality_has_the_bytes_that_it_had_before_there_was_any(
    some: Samples,
) -> None:
    some = merge([some])
    if not len(some.order):
        return
    message = pb.Message.FromString(encode_batch(some, DICTIONARY, STAMP).finish(1, 1))
    assert (message.minor, message.quality, list(message.quality_run)) == (0, b"", [])


def test_where_all_is_well_quality_takes_a_few_bytes() -> None:
    dictionary = asking(False, True, False, False)
    rows = 5000
    plain = replace(one_series(rows, [0] * rows), groups=GROUPS, quality=None)
    without = encode_batch(plain, DICTIONARY, STAMP).max_size
    draft = encode_batch(one_series(rows, [0] * rows), dictionary, STAMP)
    assert draft.max_size - without <= 12
    message = pb.Message.FromString(draft.finish(1, 1))
    assert (message.minor, list(message.quality_run)) == (QUALITY_MINOR, [rows])


def forged(**fields) -> bytes:
    """A batch of five rows with quality, some of its fields replaced."""
    dictionary = asking(False, True, False, False)
    made = encode_batch(one_series(5, [0, 0, 3, 3, 3]), dictionary, STAMP).finish(1, 1)
    message = pb.Message.FromString(made)
    for name, value in fields.items():
        message.ClearField(name)
        if isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    message.ClearField("check")
    body = message.SerializeToString() + b"\x7d"
    return body + zlib.crc32(body).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"quality_run": [2, 2]}, "quality of 4 values, expected 5"),
        ({"quality_run": [2, 4_294_967_295]}, "expected 5"),
        ({"quality_run": [5]}, "2 flags for 1 runs"),
        ({"quality": b""}, "0 flags for 2 runs"),
        ({"quality": b"", "quality_run": []}, "quality of 0 values"),
    ],
)
def test_quality_that_does_not_fit_its_values_is_refused(fields, reason: str) -> None:
    dictionary = asking(False, True, False, False)
    assert decode_batch(forged(), dictionary).samples.quality.tolist() == [0, 0, 3, 3, 3]
    with pytest.raises(BatchError, match=reason):
        decode_batch(forged(**fields), dictionary)


def test_quality_that_the_dictionary_does_not_know_of_is_refused() -> None:
    data = forged(dictionary=DICTIONARY.digest)
    with pytest.raises(BatchError, match="does not know of"):
        decode_batch(data, DICTIONARY)


def test_samples_without_the_quality_that_the_dictionary_promises_are_no_batch() -> None:
    some = replace(one_series(1, [0]), quality=None)
    with pytest.raises(ValueError, match="lack the quality"):
        encode_batch(some, asking(False, True, False, False), STAMP)


def test_cat_says_what_is_to_be_said_against_a_sample(tmp_path) -> None:
    dictionary = asking(False, True, False, False)
    flags = Quality.WRONG_CRC | Quality.OUT_OF_RANGE
    draft = encode_batch(one_series(2, [0, flags]), dictionary, STAMP, embed=True)
    (tmp_path / "whole.bin").write_bytes(draft.finish(1, 1))

    def shown(form: str) -> list[str]:
        result = CliRunner().invoke(cat, [str(tmp_path), "--format", form])
        assert result.exit_code == 0, result.output
        return result.output.splitlines()

    good, bad = map(json.loads, shown("jsonl"))
    assert "quality" not in good
    assert bad["quality"] == ["outOfRange", "wrongCrc"]
    assert [row[-1] for row in csv.reader(shown("csv"))] == ["quality", "", "outOfRange wrongCrc"]
    assert shown("table")[1].endswith("V  [outOfRange wrongCrc]")


def test_every_quality_has_a_name() -> None:
    assert Quality(0).words() == []
    names = Quality(0xFF).words()
    assert len(names) == 8
    assert names[2] == "notAvailable"
