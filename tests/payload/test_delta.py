"""Patches: detools is the oracle for good ones, and a bad one costs neither memory nor time."""

import io
import lzma
import os
import random
import sys
import time
import tracemalloc

import detools
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bordnetz.payload.delta import apply, make
from bordnetz.payload.errors import DeltaError

DICTIONARY = 8 << 20
"""Bytes that the decompressor of a detools patch looks back."""


def patch_of(old: bytes, new: bytes) -> bytes:
    made = io.BytesIO()
    detools.create_patch(
        io.BytesIO(old), io.BytesIO(new), made, compression="lzma", patch_type="sequential"
    )
    return made.getvalue()


def applied(old: bytes, patch: bytes, length: int) -> bytes:
    return b"".join(apply(io.BytesIO(old), io.BytesIO(patch), length))


def by_detools(old: bytes, patch: bytes) -> bytes:
    made = io.BytesIO()
    detools.apply_patch(io.BytesIO(old), io.BytesIO(patch), made)
    return made.getvalue()


def number(value: int) -> bytes:
    rest, sign = abs(value), 0x40 if value < 0 else 0
    data = [rest & 0x3F | sign]
    rest >>= 6
    while rest:
        data[-1] |= 0x80
        data.append(rest & 0x7F)
        rest >>= 7
    return bytes(data)


def crafted(length: int, plain: bytes, **options) -> bytes:
    """A patch of what nobody has checked."""
    return b"\x01" + number(length) + lzma.compress(plain, lzma.FORMAT_ALONE, **options)


def step(add: bytes = b"", take: bytes = b"", move: int = 0) -> bytes:
    return number(len(add)) + add + number(len(take)) + take + number(move)


# detools as oracle


@settings(max_examples=150)
@given(st.binary(max_size=400), st.binary(max_size=400))
def test_any_two_payloads_give_what_detools_gives(old, new):
    patch = patch_of(old, new)
    assert applied(old, patch, len(new)) == new == by_detools(old, patch)


@st.composite
def edited(draw) -> tuple[bytes, bytes]:
    """A payload, and what moving, copying, cutting and changing its parts makes of it."""
    letters = draw(st.sampled_from([1, 2, 4, 256]))
    rng = draw(st.randoms(use_true_random=False))
    old = bytes(rng.randrange(letters) for _ in range(draw(st.integers(1, 3000))))
    new = bytearray(old)
    for _ in range(draw(st.integers(0, 60))):
        at = rng.randrange(len(new) + 1)
        end = min(len(new), at + rng.randrange(40))
        kind = rng.randrange(5)
        if kind == 0:
            del new[at:end]
        elif kind == 1:
            new[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(20)))
        elif kind == 2:
            new[at:at] = old[end : end + rng.randrange(300)]
        elif kind == 3:
            new[at:end] = bytes(byte + 1 & 255 for byte in new[at:end])
        else:
            new[:] = new[at:] + new[:at]
    return old, bytes(new)


@settings(max_examples=150)
@given(edited())
def test_edits_of_every_kind_give_what_detools_gives(pair):
    old, new = pair
    patch = patch_of(old, new)
    assert applied(old, patch, len(new)) == new == by_detools(old, patch)


@settings(max_examples=150)
@given(st.data())
def test_whatever_the_patch_says_detools_and_we_take_it_alike(data):
    old = bytes(range(200))
    plain, length, at = number(0), 0, 0
    for _ in range(data.draw(st.integers(1, 8))):
        size = data.draw(st.integers(0, len(old) - at))
        add, take = data.draw(st.binary(min_size=size, max_size=size)), data.draw(st.binary())
        goal = data.draw(st.integers(0, len(old)))
        plain += step(add, take, goal - at - size)
        length, at = length + len(add) + len(take), goal
    plain += step(take=b"!")
    patch = crafted(length + 1, plain)
    assert applied(old, patch, length + 1) == by_detools(old, patch)


def test_sections_across_every_boundary_of_a_buffer(tmp_path):
    rng = np.random.default_rng(7)
    old = rng.integers(0, 256, 1 << 20, np.uint8)
    new = old.copy()
    new[:: 1 << 12] += 1
    parts = [new[300_000:], rng.integers(0, 256, 200_000, np.uint8), new[:300_001]]
    data = np.concatenate(parts).tobytes()
    (tmp_path / "old").write_bytes(old.tobytes())
    (tmp_path / "new").write_bytes(data)
    make(tmp_path / "old", tmp_path / "new", tmp_path / "patch")
    patch = (tmp_path / "patch").read_bytes()
    assert len(patch) < 220_000
    assert applied(old.tobytes(), patch, len(data)) == data


def test_a_base_may_come_in_small_pieces():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

    old, new = bytes(range(256)) * 10, bytes(range(256)) * 10 + b"more"
    made = apply(Slow(old), io.BytesIO(patch_of(old, new)), len(new))
    assert b"".join(made) == new


def test_memory_does_not_grow_with_the_payload():
    rng = np.random.default_rng(1)
    old = rng.integers(0, 256, 16 << 20, np.uint8)
    new = np.roll(old, 12_345) + np.uint8(1)
    plain = number(0)
    # Everything before the last bytes of the base, and then those.
    cut = len(old) - 12_345
    plain += number(0) + number(0) + number(cut)
    plain += step(add=b"\1" * 12_345, move=-len(old)) + step(add=b"\1" * cut)
    patch = crafted(len(new), plain)
    tracemalloc.start()
    pieces = apply(io.BytesIO(old.tobytes()), io.BytesIO(patch), len(new))
    before = tracemalloc.get_traced_memory()[0]
    assert all(piece == new[at : at + len(piece)].tobytes() for at, piece in offsets(pieces))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - before < DICTIONARY + (1 << 20)


def offsets(pieces):
    at = 0
    for piece in pieces:
        yield at, piece
        at += len(piece)


def test_the_car_applies_without_detools():
    assert "detools" not in sys.modules["bordnetz.payload.delta"].__dict__


def test_making_says_what_is_missing_where_detools_is(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "detools", None)
    with pytest.raises(DeltaError, match="extra 'release'"):
        make(tmp_path, tmp_path, tmp_path)


# hostile

OLD = bytes(range(256)) * 40
NEW = OLD[1000:] + b"something else" + OLD[:2000]
PATCH = patch_of(OLD, NEW)


def refused(patch: bytes, length: int = len(NEW), old: bytes = OLD) -> str:
    with pytest.raises(DeltaError) as error:
        applied(old, patch, length)
    return str(error.value)


@pytest.mark.parametrize("first", [0x00, 0x02, 0x03, 0x11, 0x21, 0x81, 0xFF])
def test_other_types_and_compressions_are_refused(first):
    assert "no sequential" in refused(bytes([first]) + PATCH[1:])


def test_another_length_than_the_metadata_has_is_refused():
    for length in (0, len(NEW) - 1, len(NEW) + 1):
        assert "does not state" in refused(PATCH, length)
    assert "does not state" in refused(b"\x01" + number(-5), 5)


def test_a_patch_that_ends_early_is_refused_wherever_it_ends():
    for end in range(len(PATCH)):
        assert refused(PATCH[:end])


def test_a_patch_that_goes_on_is_refused():
    assert "goes on" in refused(PATCH + b"x")
    assert "goes on" in refused(PATCH + PATCH)
    assert "goes on" in refused(crafted(3, number(0) + step(take=b"abc") + b"x"), 3)
    assert "goes on" in refused(crafted(0, b""), 0)


def test_a_data_format_is_refused():
    assert "data format" in refused(crafted(3, number(5) + bytes(20)), 3)


@pytest.mark.parametrize(
    "plain",
    [
        number(4) + b"\1\1\1\1",
        number(1 << 60),
        number(-1) + bytes(99),
        step(b"\1") + number(4),
        number(0) + number(3 << 50),
        number(0) + number(-3),
    ],
)
def test_a_section_that_states_more_than_comes_out_is_refused_before_it_is_read(plain):
    assert "more comes out" in refused(crafted(3, number(0) + plain), 3)


@pytest.mark.parametrize("move", [-2, 254, 255, 256, 1 << 40, -(1 << 40)])
def test_reading_outside_of_the_base_is_refused(move):
    patch = crafted(4, number(0) + step(b"\0", move=move) + step(b"\0\0\0"))
    assert "another base" in refused(patch, 4, bytes(257))


def test_a_number_that_does_not_end_is_refused():
    assert "too long" in refused(b"\x01" + b"\xff" * 100)
    assert "too long" in refused(crafted(3, b"\x80" * 100), 3)


def test_steps_that_do_nothing_end():
    patch = crafted(1000, number(0) + bytes(10_000_000))
    assert len(patch) < 5_000
    begin = time.process_time()
    assert "too small" in refused(patch, 1000)
    assert time.process_time() - begin < 1


def test_a_patch_that_needs_much_memory_is_refused():
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 28}]
    small = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16}]
    plain = number(0) + step(take=b"abc")
    assert applied(b"", crafted(3, plain, filters=small), 3) == b"abc"
    assert "memory" in refused(crafted(3, plain, filters=filters), 3)


def test_what_unpacks_to_very_much_is_never_there_at_once():
    patch = crafted(10, number(0) + step(take=b"abc") + number(7) + bytes(50_000_000))
    tracemalloc.start()
    assert refused(patch, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < DICTIONARY + (1 << 20)


def test_garbage_is_refused():
    rng = random.Random(5)
    for _ in range(200):
        assert refused(b"\x01" + number(len(NEW)) + rng.randbytes(100))


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_patch_is_refused_or_gives_the_length(data):
    bad = bytearray(PATCH)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    try:
        made = applied(OLD, bytes(bad), len(NEW))
    except DeltaError:
        return
    assert len(made) == len(NEW)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(1, 300))
def test_a_hostile_stream_is_refused_or_gives_the_length(plain, length):
    try:
        made = applied(OLD, crafted(length, number(0) + plain), length)
    except DeltaError:
        return
    assert len(made) == length


def test_the_wrong_base_gives_an_error_or_other_bytes():
    other = os.urandom(len(OLD))
    assert applied(other, PATCH, len(NEW)) != NEW
    assert "another base" in refused(PATCH, old=OLD[:500])
