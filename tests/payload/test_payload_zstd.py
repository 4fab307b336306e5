"""One frame that states its length; whatever else it says costs neither memory nor time."""

import io
import tracemalloc
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.payload.errors import FrameError
from bordnetz.payload.zstd import compress, decompress

DATA = b"".join(b"%d bottles, " % n for n in range(60_000))


def packed(data: bytes) -> bytes:
    return b"".join(compress(io.BytesIO(data), len(data)))


def unpacked(frame: bytes, length: int) -> bytes:
    return b"".join(decompress(io.BytesIO(frame), length))


def frame(data: bytes, **options) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)


@given(st.one_of(st.binary(max_size=3000), st.integers(0, 400_000).map(bytes)))
def test_what_was_compressed_comes_back(data):
    assert unpacked(packed(data), len(data)) == data


def test_any_zstd_reads_it_and_its_window_is_bounded():
    data = DATA * 20
    assert zstandard.decompress(packed(data)) == data
    assert zstandard.get_frame_parameters(packed(data)).window_size == 8 << 20


def test_it_is_smaller():
    assert len(packed(DATA)) < len(DATA) / 8


def test_frames_of_others_are_read_too_if_they_state_their_length():
    for options in ({"write_checksum": True}, {"level": 1}, {"level": 22}):
        assert unpacked(frame(DATA, **options), len(DATA)) == DATA


def test_a_payload_of_another_length_than_said_is_not_compressed():
    for length in (len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(FrameError, match="has not the"):
            list(compress(io.BytesIO(DATA), length))


def test_pieces_are_small_and_memory_is_bounded():
    data = bytes(40 << 20)
    frame = packed(data)
    tracemalloc.start()
    pieces = [len(piece) for piece in decompress(io.BytesIO(frame), len(data))]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(pieces) == len(data)
    assert max(pieces) <= 128 << 10
    assert peak < 1 << 20


# hostile


def refused(frame: bytes, length: int = len(DATA)) -> str:
    with pytest.raises(FrameError) as error:
        unpacked(frame, length)
    return str(error.value)


def test_another_length_than_the_metadata_has_is_refused_before_anything_is_read():
    for length in (0, len(DATA) - 1, len(DATA) + 1):
        assert "does not state" in refused(frame(DATA), length)


def test_a_frame_that_does_not_state_its_length_is_refused():
    assert "does not state" in refused(frame(DATA, write_content_size=False))


def test_a_huge_window_is_refused():
    # Window descriptor 0xa0: exponent 20, which is a gigabyte; 8 bytes of content size.
    head = b"\x28\xb5\x2f\xfd\xc0\xa0" + (5).to_bytes(8, "little")
    assert "bytes of memory" in refused(head + b"\x29\0\0hello", 5)
    parameters = zstandard.ZstdCompressionParameters(window_log=24)
    large = bytes(20 << 20)
    assert "bytes of memory" in refused(frame(large, compression_params=parameters), len(large))


def test_a_dictionary_is_refused():
    dictionary = zstandard.train_dictionary(4096, [DATA[n : n + 200] for n in range(0, 50_000, 9)])
    assert "dictionary" in refused(frame(DATA, dict_data=dictionary))


def bomb(blocks: int, length: int) -> bytes:
    """A frame of so many blocks that each become 128 KiB, saying what length it likes."""
    head = b"\x28\xb5\x2f\xfd\xc0\x58" + length.to_bytes(8, "little")
    block = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"x"
    return head + block * blocks + b"\1\0\0"


def test_a_bomb_ends_where_its_length_does():
    length = 3 * (128 << 10)
    assert unpacked(bomb(3, length), length) == b"x" * length
    data = bomb(100_000, length)
    tracemalloc.start()
    assert refused(data, length)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


@pytest.mark.parametrize(
    "more",
    [b"x", bytes(4), frame(b""), frame(DATA), b"\x50\x2a\x4d\x18\0\0\0\0"],
    ids=["garbage", "zeros", "an empty frame", "another frame", "a skippable frame"],
)
def test_nothing_may_follow_the_frame(more):
    assert "goes on" in refused(frame(DATA) + more)
    assert refused(b"\x50\x2a\x4d\x18\0\0\0\0" + frame(DATA))


def test_a_frame_that_ends_early_is_refused_wherever_it_ends():
    whole = frame(DATA[:500], write_checksum=True)
    for end in range(len(whole)):
        assert refused(whole[:end], 500)


def test_a_reserved_or_oversized_block_is_refused():
    head = b"\x28\xb5\x2f\xfd\x20\x05"
    for block in (7, 0x1FFFFF << 3 | 1, 0x1FFFFF << 3 | 3, 0x1FFFFF << 3 | 5):
        assert refused(head + block.to_bytes(3, "little") + b"hello", 5)


@given(st.data())
def test_a_damaged_frame_is_refused_or_gives_the_length(data):
    bad = bytearray(frame(DATA[:3000]))
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    with suppress(FrameError):
        assert len(unpacked(bytes(bad), 3000)) == 3000
