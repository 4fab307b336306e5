"""End-to-end protection: examples of the standard, frames of real cars, and a slow oracle."""

from __future__ import annotations

import numpy as np
import pytest
from e2e_oracle import Sender, p01_crc, p02_crc
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.can.checks import Profile1, Profile2
from bordnetz.can.dbc import Field
from bordnetz.can.e2e import Protected, Protections, Verdict
from bordnetz.can.frames import Frames
from bordnetz.series import Signal

MODES = ("both", "alternating", "low", "nibble")

REAL = {
    # Frames of real VW cars, one of each counter value, as opendbc's tests of checksums have them
    # (MIT); which data ids they are protected with has been known from reverse engineering.
    "LWI_01": (
        [0x86] * 16,
        (
            "6b00bd0000000000 ee010a0000000000 d802a90000000000 0303bea212000000 7b04312003000000 "
            "8b05e28509000000 6306132100000000 6607050000000000 49080d0000000000 5f097e6001000000 "
            "af0a722000000000 590b1b0000000000 a80c060000000000 bc0d722000000000 f90e0f0000000000 "
            "600f62c000000000"
        ),
    ),
    "ESP_05": (
        [0x07] * 16,
        (
            "908064000000e710 f48164000000e710 908263000000e810 a08363000000e610 e78463000000e810 "
            "2e8578040000ea30 7b8663000000e610 718779040000d030 508879040000ea30 818964000000e110 "
            "6a8a68000004d010 178b6a040000e610 c78c63000000d110 538d64040000e210 248e63000000e710 "
            "3f8f82040000e630"
        ),
    ),
    "ESP_21": (
        [
            *(0xB4, 0xEF, 0xF8, 0x49, 0x1E, 0xE5, 0xC2, 0xC0),
            *(0x97, 0x19, 0x3C, 0xC9, 0xF1, 0x98, 0xD6, 0x61),
        ],
        (
            "66d01f8045050000 87d11f8052050000 cdd21f8050060000 fdd31f8035020000 fad41f8022050000 "
            "fdd51f8084040000 2ed61f80f0030000 9fd71f8000000000 1ed81f80b3030000 61d91f806d050000 "
            "44da1f8047020000 86db1f803a020000 39dc1f80cb010000 19dd1f8000000000 8cde1f80ba040000 "
            "fbdf1f8046000000"
        ),
    ),
}


def block(rows: list[bytes], width: int = 8) -> Frames:
    data = np.zeros((len(rows), width), np.uint8)
    for row, content in zip(data, rows, strict=True):
        row[: len(content)] = list(content)
    none = np.zeros(len(rows), np.uint8)
    return Frames(
        time=np.arange(len(rows), dtype=np.int64),
        bus=none,
        id=np.ones(len(rows), np.uint32),
        flags=none,
        length=np.array([len(content) for content in rows], np.uint8),
        data=data,
    )


def judge(protections: Protections, rows: list[bytes], width: int = 8, message: int = 0):
    """Verdicts and missing frames of frames of one message."""
    n = len(rows)
    verdict, missing = protections.judge(
        block(rows, width),
        np.arange(n),
        np.full(n, message),
        np.full(min(n, 1), message),
        np.unique([0, n]),
    )
    return [Verdict(v).name for v in verdict.tolist()], missing.tolist()


def p01(data_id: int, mode: str = "both", length: int = 8) -> Protected:
    profile = Profile1(name="b.M", profile="P01", data_id=data_id, data_id_mode=mode)
    return Protected.by_profile(profile, length)


def p02(data_ids: list[int], length: int = 8) -> Protected:
    return Protected.by_profile(Profile2(name="b.M", profile="P02", data_ids=data_ids), length)


def bare(start: int, length: int, modulus: int | None = None, big: bool = False) -> Protected:
    return Protected.by_counter(Field(Signal("C"), start, length, big, False, ()), modulus)


@pytest.mark.parametrize(
    ("mode", "first", "second"),
    [
        ("both", "cc00000000000000", "9101000000000000"),
        ("alternating", "ce00000000000000", "0201000000000000"),
        ("low", "ce00000000000000", "9301000000000000"),
        ("nibble", "2a10000000000000", "7711000000000000"),
    ],
)
def test_profile_1_takes_the_examples_of_the_autosar_document(
    mode: str, first: str, second: str
) -> None:
    # AUTOSAR_FO_PRS_E2EProtocol, examples of profile 1: data id 0x123, eight bytes of zeros.
    rows = [bytes.fromhex(first), bytes.fromhex(second)]
    assert judge(Protections([p01(0x123, mode)]), rows)[0] == ["FIRST", "OK"]


def test_profile_2_takes_the_example_of_the_autosar_document() -> None:
    # AUTOSAR_FO_PRS_E2EProtocol, example of profile 2: all data ids 0, counter 1.
    assert judge(Protections([p02([0] * 16)]), [bytes.fromhex("4501000000000000")])[0] == ["FIRST"]


@pytest.mark.parametrize("name", REAL)
def test_frames_of_real_cars_are_all_right(name: str) -> None:
    data_ids, frames = REAL[name]
    rows = [bytes.fromhex(row) for row in frames.split()]
    verdicts, missing = judge(Protections([p02(data_ids)]), rows * 2)
    assert verdicts == ["FIRST"] + ["OK"] * 31
    assert not any(missing)


@given(
    st.lists(st.binary(min_size=2, max_size=8), min_size=1, max_size=12),
    st.integers(0, 0xFFF),
    st.sampled_from(MODES),
)
def test_each_flipped_bit_of_a_frame_under_profile_1_is_noticed(
    rows: list[bytes], data_id: int, mode: str
) -> None:
    for row in rows:
        data = bytearray(row)
        data[1] = data[1] & 0xF0 | data[1] % 15
        if mode == "nibble":
            data[1] = data[1] & 0x0F | data_id >> 8 << 4
        data[0] = p01_crc(bytes(data), data_id, mode)
        flipped = []
        for bit in range(8 * len(data)):
            wrong = bytearray(data)
            wrong[bit // 8] ^= 1 << bit % 8
            flipped.append(bytes(wrong))
        protections = Protections([p01(data_id, mode, len(data))])
        verdicts, _ = judge(protections, [bytes(data), *flipped])
        assert verdicts[0] == "FIRST"
        # A flipped counter may select the other byte of the data id, which may well be as before.
        assert verdicts.count("WRONG_CRC") >= len(flipped) - (4 if mode == "alternating" else 0)


@st.composite
def traffic(draw: st.DrawFn) -> tuple[list[Protected], list[list[tuple[int, bytes]]], int]:
    """Messages, and blocks of their frames, right and wrong, of one width."""
    width = draw(st.sampled_from([8, 64]))
    length = st.integers(2, width)
    messages = draw(
        st.lists(
            st.one_of(
                st.builds(p01, st.integers(0, 0xFFF), st.sampled_from(MODES), length),
                st.builds(p02, st.lists(st.integers(0, 255), min_size=16, max_size=16), length),
                st.builds(bare, st.integers(0, 40), st.integers(2, 16), st.none(), st.booleans()),
                st.builds(bare, st.integers(0, 40), st.just(5), st.integers(2, 32)),
            ),
            min_size=1,
            max_size=4,
        )
    )
    messages.sort(key=lambda one: one.profile is None)
    counters = [0] * len(messages)
    blocks = []
    for _ in range(draw(st.integers(1, 3))):
        rows = []
        for which in draw(st.lists(st.integers(0, len(messages) - 1), max_size=12)):
            one = messages[which]
            counters[which] += draw(st.sampled_from([1, 1, 1, 0, 2, 3, -1]))
            size = draw(st.sampled_from([one.length, width, max(one.length - 1, 0)]))
            data = bytearray(draw(st.binary(min_size=size, max_size=size)))
            if one.profile is not None and len(data) >= 2:
                data[1] = data[1] & 0xF0 | counters[which] % one.modulus
                if draw(st.integers(0, 9)):
                    if getattr(one.profile, "data_id_mode", "") == "nibble":
                        data[1] = data[1] & 0x0F | one.profile.data_id >> 8 << 4
                    data[0] = crc_of(one, bytes(data[: one.length]))
            rows.append((which, bytes(data)))
        blocks.append(rows)
    return messages, blocks, width


def crc_of(one: Protected, data: bytes) -> int:
    if isinstance(one.profile, Profile1):
        return p01_crc(data, one.profile.data_id, one.profile.data_id_mode)
    assert one.profile is not None
    return p02_crc(data, list(one.profile.data_ids))


def counter_of(one: Protected, data: bytes) -> int | None:
    """The counter, read bit by bit; None where the frame ends before it."""
    place = one.counter
    if place.need > len(data):
        return None
    value = 0
    for n in range(place.length):
        bit = place.start + n
        if place.big_endian:
            value = value << 1 | data[bit // 8] >> 7 - bit % 8 & 1
        else:
            value |= (data[bit // 8] >> bit % 8 & 1) << n
    return value


def by_the_book(one: Protected, sender: Sender, data: bytes) -> str:
    counter = counter_of(one, data)
    if one.profile is None:
        return sender.judge(
            one.modulus if counter is None else counter, one.modulus, crc_right=True
        )
    right = len(data) >= one.length and data[0] == crc_of(one, data[: one.length])
    if right and getattr(one.profile, "data_id_mode", "") == "nibble":
        right = data[1] >> 4 == one.profile.data_id >> 8
    return sender.judge(counter or 0, one.modulus, crc_right=right)


@given(traffic())
def test_every_verdict_is_that_of_the_slow_oracle(case) -> None:
    messages, blocks, width = case
    protections = Protections(messages)
    senders = [Sender() for _ in messages]
    missing_of = [0] * len(messages)
    for rows in blocks:
        order = sorted(range(len(rows)), key=lambda n: rows[n][0])
        which = np.array([rows[n][0] for n in order], np.intp)
        first = np.flatnonzero(np.diff(which, prepend=-1))
        edges = np.append(first, len(which)) if len(which) else np.zeros(1, np.intp)
        verdict, missing = protections.judge(
            block([data for _, data in rows], width),
            np.array(order, np.intp),
            which,
            which[first].astype(np.int64),
            edges,
        )
        expected = {}
        for n, (message, data) in enumerate(rows):
            expected[n] = by_the_book(messages[message], senders[message], data)
        assert [Verdict(v).name for v in verdict.tolist()] == [expected[n] for n in order]
        for message, count in zip(which.tolist(), missing.tolist(), strict=True):
            missing_of[message] += count
    assert missing_of == [sender.counts.get("missing", 0) for sender in senders]


def test_a_lost_frame_says_how_many_are_missing() -> None:
    protections = Protections([bare(0, 8)])
    assert judge(protections, [b"\x05", b"\x06", b"\x09", b"\x09", b"\x08"]) == (
        ["FIRST", "OK", "LOST", "REPEATED", "OUT_OF_SEQUENCE"],
        [0, 0, 2, 0, 0],
    )


def test_the_counter_goes_on_from_block_to_block() -> None:
    protections = Protections([bare(0, 4)])
    assert judge(protections, [b"\x0e"])[0] == ["FIRST"]
    assert judge(protections, [])[0] == []
    assert judge(protections, [b"\x0f", b"\x00"])[0] == ["OK", "OK"]
    assert judge(protections, [b"\x02"]) == (["LOST"], [1])


def test_the_counter_of_a_frame_with_a_wrong_crc_counts_for_nothing() -> None:
    data_ids = list(range(16))
    rows = []
    for counter in (3, 4, 5):
        data = bytes([0, counter, 9, 9])
        rows.append(bytes([p02_crc(data, data_ids)]) + data[1:])
    rows[1] = bytes([rows[1][0] ^ 1]) + rows[1][1:]
    assert judge(Protections([p02(data_ids, 4)]), rows) == (
        ["FIRST", "WRONG_CRC", "LOST"],
        [0, 0, 1],
    )


def test_a_frame_that_ends_before_its_protection_is_wrong() -> None:
    assert judge(Protections([p02([0] * 16)]), [b"", b"\x45\x01"])[0] == ["WRONG_CRC"] * 2
    assert judge(Protections([bare(8, 4)]), [b"\x00", b""])[0] == ["OUT_OF_SEQUENCE"] * 2


def test_what_follows_a_message_in_a_longer_frame_is_padding() -> None:
    data = bytes([0, 1, 7])
    right = bytes([p02_crc(data, [5] * 16)]) + data[1:]
    for width in (8, 16, 64, 128):  # those that are put together of several have any
        protections = Protections([p02([5] * 16, 3)])
        assert judge(protections, [right + b"\xaa\xbb"], width)[0] == ["FIRST"]


def test_messages_with_bare_counters_come_last() -> None:
    with pytest.raises(ValueError, match="should come last"):
        Protections([bare(0, 4), p01(1)])
