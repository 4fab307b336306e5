"""Counters and checksums of the simulated vehicle, against other people's computations."""

import numpy as np
import pytest
from cantools.autosar.end_to_end import compute_profile2_crc
from crccheck.crc import Crc
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.laptop.vehicle.network import Message
from bordnetz.laptop.vehicle.protection import Protection


def message(profile, data_ids, length=8, name="M"):
    return Message(0, name, 1, length, False, 10, 0, profile, data_ids, None, ())


def protect(messages, order, payloads):
    data = np.zeros((len(order), 8), np.uint8)
    for row, payload in enumerate(payloads):
        data[row, : len(payload)] = list(payload)
    Protection(messages, np.array(order, np.intp)).apply(data)
    return data


def profile1(data_id, data):
    """The CRC of profile 1, by the book and by crccheck."""
    covered = data_id.to_bytes(2, "little") + bytes(data[1:])
    return Crc(8, 0x1D, initvalue=0, xor_output=0).calc(covered)


def test_profile_1_gives_the_example_of_the_autosar_document():
    # AUTOSAR_FO_PRS_E2EProtocol, example of profile 1: data id 0x123, mode BOTH, eight bytes of
    # zeros, first counter values.
    data = protect([message("P01", (0x123,))], [0, 0], [b"", b""])
    assert data.tolist() == [[0xCC, 0, 0, 0, 0, 0, 0, 0], [0x91, 1, 0, 0, 0, 0, 0, 0]]


payload = st.binary(min_size=8, max_size=8)


@given(st.integers(0, 0xFFFF), st.lists(payload, min_size=1, max_size=40), st.integers(2, 8))
def test_profile_1_is_what_crccheck_computes(data_id, payloads, length):
    payloads = [p[:length] for p in payloads]
    data = protect([message("P01", (data_id,), length)], [0] * len(payloads), payloads)
    for nth, row in enumerate(data):
        assert row[1] & 0x0F == (nth % 15) | (payloads[nth][1] & 0)
        assert row[0] == profile1(data_id, row[:length])
        assert not row[length:].any()


@given(
    st.lists(st.integers(0, 255), min_size=16, max_size=16),
    st.lists(payload, min_size=1, max_size=40),
    st.integers(2, 8),
)
def test_profile_2_is_what_cantools_computes(data_ids, payloads, length):
    payloads = [bytes([0, p[1] & 0xF0]) + p[2:length] for p in payloads]
    data = protect([message("P02", tuple(data_ids), length)], [0] * len(payloads), payloads)
    for nth, row in enumerate(data):
        assert row[1] & 0x0F == nth % 16
        assert row[0] == compute_profile2_crc(bytes(row[:length]), data_ids[nth % 16])


def test_each_message_counts_for_itself_and_goes_on_in_the_next_block():
    messages = [
        message("P01", (1,)),
        message("None", ()),
        message("P02", tuple(range(16))),
        message("P01", (2,)),
    ]
    order = np.array([0, 2, 1, 0, 3, 2, 0], np.intp)
    protection = Protection(messages, order)
    counted: dict[int, list[int]] = {0: [], 1: [], 2: [], 3: []}
    for _ in range(12):
        data = np.zeros((len(order), 8), np.uint8)
        protection.apply(data)
        for which, row in zip(order, data, strict=True):
            counted[which].append(int(row[1]))
    assert counted[0] == [n % 15 for n in range(36)]
    assert counted[3] == [n % 15 for n in range(12)]
    assert counted[2] == [n % 16 for n in range(24)]
    assert counted[1] == [0] * 12


@pytest.mark.parametrize("bit", range(64))
def test_a_flipped_bit_does_not_go_unnoticed(bit):
    row = protect([message("P01", (0x2A51,))], [0], [bytes(range(8))])[0]
    # The payload's own low nibble of byte 1 is the counter's.
    flipped = bytearray(row.tobytes())
    flipped[bit // 8] ^= 1 << bit % 8
    assert flipped[0] != profile1(0x2A51, flipped)
