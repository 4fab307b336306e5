"""Messages in any order, and hostile ones: an answer, or a BatchError that says what is wrong."""

import hashlib
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
import zstandard
from batch_samples import DICTIONARY, GROUPS, START, column, samples, series
from hypothesis import given, settings
from hypothesis import strategies as st

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch import columns
from bordnetz.batch.blocks import merge
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.errors import BatchError
from bordnetz.batch.message import MAX_VALUES, Clock, Stamp, encode_batch, encode_dictionary
from bordnetz.batch.reader import Reader, decode_batch
from bordnetz.series import Samples

STAMP = Stamp(boot=3)


def block(rows: int = 30) -> Samples:
    return Samples(
        GROUPS,
        np.array([0, 1], np.int32),
        np.array([0x100, 0x101], np.uint32),
        np.array([4, 1], np.int32),
        np.array([rows, rows]),
        np.tile(START + np.arange(rows) * 10_000_000, 2),
        np.arange(2 * rows),
        np.concatenate(
            [column(rows, style, 5) for style in ("walk", "noise", "rare", "wild", "ramp")]
        ),
    )


MESSAGE = encode_batch(block(), DICTIONARY, STAMP).finish(11, 12)
BROUGHT = encode_dictionary(DICTIONARY, 3).finish(11, 13)


def parsed(data: bytes = MESSAGE) -> pb.Message:
    message = pb.Message()
    message.ParseFromString(data)
    message.ClearField("check")
    return message


def sealed(message: pb.Message) -> bytes:
    """Someone else's message: whatever it says, its check sum is right."""
    body = message.SerializeToString() + b"\x7d"
    return body + zlib.crc32(body).to_bytes(4, "little")


def test_a_message_that_was_taken_apart_and_put_together_is_still_readable() -> None:
    batch = decode_batch(sealed(parsed()), DICTIONARY)
    assert series([batch.samples]) == series([merge([block()])])


@given(st.integers(0, len(MESSAGE) * 8 - 1))
def test_a_flipped_bit_is_noticed(bit: int) -> None:
    data = bytearray(MESSAGE)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BatchError):
        decode_batch(bytes(data), DICTIONARY)


@given(st.integers(0, len(MESSAGE) - 1))
def test_a_message_cut_short_is_noticed(size: int) -> None:
    with pytest.raises(BatchError):
        decode_batch(MESSAGE[:size], DICTIONARY)


@given(st.binary(max_size=300))
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(BatchError):
        decode_batch(data, DICTIONARY)
    with pytest.raises(BatchError):
        Reader().read(data + b"\x7d" + zlib.crc32(data + b"\x7d").to_bytes(4, "little"))


@settings(max_examples=300)
@given(st.data())
def test_forged_columns_under_a_right_check_sum_never_crash_the_reader(data: st.DataObject) -> None:
    message = parsed()
    forged = bytearray(message.columns)
    for _ in range(data.draw(st.integers(1, 4))):
        forged[data.draw(st.integers(0, len(forged) - 1))] = data.draw(st.integers(0, 255))
    message.columns = bytes(forged)[: data.draw(st.integers(0, len(forged)))]
    try:
        batch = decode_batch(sealed(message), DICTIONARY)
    except BatchError:
        return
    assert len(batch.samples.values) == 150


@settings(max_examples=300)
@given(st.binary(max_size=120), st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_any_bytes_as_columns_give_numbers_or_a_value_error(data: bytes, rows: list[int]) -> None:
    counts = np.array(rows, np.int64)
    try:
        values = columns.decode(data, counts)
    except ValueError:
        return
    assert len(values) == sum(rows)


FORGERIES = {
    "more rows than a batch may have": lambda m: m.count.__setitem__(0, MAX_VALUES),
    "rows that overflow": lambda m: m.count.__setitem__(slice(None), [2**32 - 1] * 2),
    "no rows in a series": lambda m: m.count.__setitem__(0, 0),
    "more series than groups": lambda m: m.count.append(3),
    "a group that is not there": lambda m: m.group.__setitem__(1, 2**32 - 1),
    "a series twice": lambda m: m.group.__setitem__(1, 0),
    "ids for some series only": lambda m: m.id.append(1),
    "ids out of order": lambda m: (m.group.__setitem__(1, 0), m.id.extend([2, 1])),
    "more signals missing than there are": lambda m: m.missing.extend([5, 0]),
    "a later major version": lambda m: setattr(m, "major", 2),
    "no version": lambda m: setattr(m, "major", 0),
    "an unknown resolution": lambda m: setattr(m, "resolution", 9),
    "no dictionary": lambda m: m.ClearField("dictionary"),
    "another dictionary": lambda m: setattr(m, "dictionary", bytes(12)),
    "times beyond 64 bits": lambda m: setattr(m, "first", 2**62),
    "a span beyond 64 bits": lambda m: setattr(m, "span", 2**64 - 1),
    "a span that is too short": lambda m: setattr(m, "span", 5),
    "no columns": lambda m: m.ClearField("columns"),
    "columns and some more": lambda m: setattr(m, "columns", m.columns + bytes(3)),
    "columns that are not compressed": lambda m: setattr(m, "columns_zstd", b"nonsense"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_header_is_refused(name: str) -> None:
    message = parsed()
    FORGERIES[name](message)
    with pytest.raises(BatchError) as caught:
        decode_batch(sealed(message), DICTIONARY)
    assert str(caught.value).startswith("batch: ")


def test_the_error_of_a_later_version_says_what_to_do() -> None:
    message = parsed()
    message.major, message.minor = 2, 7
    with pytest.raises(BatchError, match=r"schema version 2\.7, this reader knows 1\.x; update"):
        decode_batch(sealed(message), DICTIONARY)


def test_fields_and_clock_states_of_a_later_minor_version_are_tolerated() -> None:
    message = parsed()
    message.minor = 9
    message.clock = 77
    unknown_field = b"\xfa\x3f\x03abc"  # field 1023, three bytes
    body = message.SerializeToString() + unknown_field + b"\x7d"
    batch = decode_batch(body + zlib.crc32(body).to_bytes(4, "little"), DICTIONARY)
    assert batch.header.minor == 9
    assert batch.header.stamp.clock is Clock.UNKNOWN
    assert len(batch.samples.values) == 150


@pytest.mark.parametrize("field", ["columns_zstd", "dictionary_zstd"])
def test_a_decompression_bomb_costs_no_memory(field: str) -> None:
    message = parsed()
    message.ClearField("columns")
    setattr(message, field, zstandard.ZstdCompressor(level=19).compress(bytes(1 << 30)))
    data = sealed(message)
    assert len(data) < 200_000
    tracemalloc.start()
    with pytest.raises(BatchError):
        decode_batch(data) if field == "dictionary_zstd" else decode_batch(data, DICTIONARY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_few_bytes_that_stand_for_many_values_stay_within_bounds() -> None:
    rows = (MAX_VALUES // 5) - 1
    big = block(rows // 2)
    flat = Samples(
        big.groups, big.group, big.id, big.width, big.count, big.time, big.order,
        np.zeros_like(big.values),
    )  # fmt: skip
    data = encode_batch(flat, DICTIONARY, STAMP).finish(1, 1)
    assert len(data) < 1_000
    tracemalloc.start()
    assert not decode_batch(data, DICTIONARY).samples.values.any()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 << 20


def test_a_batch_waits_for_its_dictionary() -> None:
    reader = Reader()
    assert reader.read(MESSAGE) == []
    assert (reader.waiting, reader.missing()) == (1, [DICTIONARY.digest])
    (batch,) = reader.read(BROUGHT)
    assert series([batch.samples]) == series([merge([block()])])
    assert (reader.waiting, reader.missing()) == (0, [])
    assert len(reader.read(encode_batch(block(), DICTIONARY, STAMP).finish(11, 14))) == 1
    assert reader.read(BROUGHT) == []


def test_a_damaged_batch_that_waited_takes_no_other_with_it() -> None:
    message = parsed()
    message.columns = message.columns[:-3]
    reader = Reader()
    for data in (sealed(message), MESSAGE, sealed(message)):
        assert reader.read(data) == []
    (batch,) = reader.read(BROUGHT)
    assert series([batch.samples]) == series([merge([block()])])
    assert (reader.waiting, reader.damaged) == (0, 2)
    with pytest.raises(BatchError, match="the columns are not readable"):
        reader.read(sealed(message))


def test_a_damaged_batch_that_brings_its_dictionary_leaves_those_that_wait() -> None:
    message = parsed(encode_batch(block(), DICTIONARY, STAMP, embed=True).finish(1, 2))
    message.columns = message.columns[:-3]
    reader = Reader()
    reader.read(MESSAGE)
    with pytest.raises(BatchError, match="the columns are not readable"):
        reader.read(sealed(message))
    assert reader.waiting == 1
    assert len(reader.read(BROUGHT)) == 1


def test_the_oldest_waiting_batches_make_room_and_are_counted() -> None:
    reader = Reader(waiting_bytes=3 * len(MESSAGE))
    for sequence in range(5):
        reader.read(encode_batch(block(), DICTIONARY, STAMP).finish(11, sequence))
    assert (reader.waiting, reader.dropped) == (3, 2)
    assert [batch.header.sequence for batch in reader.read(BROUGHT)] == [2, 3, 4]


def test_a_batch_that_brings_its_dictionary_needs_no_other_message() -> None:
    data = encode_batch(block(), DICTIONARY, STAMP, embed=True).finish(1, 2)
    batch = decode_batch(data)
    assert batch.dictionary == DICTIONARY
    assert len(Reader().read(data)) == 1


def test_a_dictionary_under_anothers_name_is_refused() -> None:
    message = parsed(BROUGHT)
    message.dictionary = bytes(12)
    reader = Reader()
    with pytest.raises(BatchError, match="the content has another digest"):
        reader.read(sealed(message))
    other = Dictionary(GROUPS[:1], bytes(32), bytes(32))
    with pytest.raises(BatchError, match=f"was given {other.digest.hex()}"):
        decode_batch(MESSAGE, other)


def test_a_dictionary_is_no_batch() -> None:
    with pytest.raises(BatchError, match="is a dictionary, not a batch"):
        decode_batch(BROUGHT)


def test_dictionaries_that_are_not_used_make_room() -> None:
    reader = Reader(dictionary_bytes=3 * len(DICTIONARY.serialised))
    reader.read(BROUGHT)
    for number in range(6):
        other = Dictionary(GROUPS, bytes([number]) * 32, bytes(32))
        reader.read(encode_dictionary(other, 1).finish(1, number))
    assert reader.read(MESSAGE) == []
    assert len(reader.read(BROUGHT)) == 1


def test_a_dictionary_of_countless_groups_is_refused() -> None:
    message = parsed(BROUGHT)
    serialised = b"\x1a\x00" * 70_000
    message.dictionary_zstd = zstandard.ZstdCompressor().compress(serialised)
    message.dictionary = hashlib.sha256(serialised).digest()[:12]
    with pytest.raises(BatchError, match="more than 65536 groups"):
        Reader().read(sealed(message))


def test_many_threads_can_share_a_reader() -> None:
    reader = Reader()
    sequences: list[int] = []

    def feed(first: int) -> None:
        for sequence in range(first, first + 25):
            draft = encode_batch(block(), DICTIONARY, STAMP)
            read = reader.read(draft.finish(11, sequence))
            sequences.extend(batch.header.sequence for batch in read)
            if sequence % 25 == 12:
                sequences.extend(batch.header.sequence for batch in reader.read(BROUGHT))

    threads = [threading.Thread(target=feed, args=(25 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sequences) == list(range(100))


@given(samples(60), st.data())
def test_forged_bytes_anywhere_never_crash_the_reader(whole: Samples, data: st.DataObject) -> None:
    if not len(whole.time):
        return
    message = encode_batch(whole, DICTIONARY, STAMP, embed=data.draw(st.booleans())).finish(1, 1)
    forged = bytearray(message[:-5])
    at = data.draw(st.integers(0, len(forged) - 1))
    forged[at] = data.draw(st.integers(0, 255))
    forged += b"\x7d"
    forged += zlib.crc32(forged).to_bytes(4, "little")
    try:
        Reader().read(bytes(forged))
        reader = Reader()
        reader.read(BROUGHT)
        reader.read(bytes(forged))
    except BatchError:
        pass
