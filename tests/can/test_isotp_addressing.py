"""ISO-TP with a byte of address before all others: extended and mixed addressing."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from itertools import pairwise

import pytest
import transport_sender as sender
from hypothesis import given, settings
from hypothesis import strategies as st
from test_long_messages import load
from test_transport import Outcome, frames, payload
from transport_model import MS, Model

from bordnetz.can.table import DecodeTable
from bordnetz.can.transport.assembler import Assembler
from bordnetz.can.transport.isotp import Flow
from bordnetz.can.transport.packets import REASONS
from bordnetz.can.vehicle import Vehicle, VehicleError
from bordnetz.series import EXTENDED

TESTER, MOTOR, BRAKE = 0x6F1, 0x612, 0x629
MIXED = EXTENDED | 0x18CE10F1
NORMAL = 0x7E8
PAIRS = {
    (TESTER, 0x12): (MOTOR, 0xF1),
    (TESTER, 0x29): (BRAKE, 0xF1),
    (MOTOR, 0xF1): (TESTER, 0x12),
    (BRAKE, 0xF1): (TESTER, 0x29),
    (MIXED, 0x05): (None, None),
    (MIXED, 0x06): (None, None),
    (NORMAL, None): (None, None),
}
WANTED = {one: one[0] != TESTER for one in PAIRS}
FLOWS = [
    Flow(0, one, other, False, WANTED[one, address], address, partner)
    for (one, address), (other, partner) in PAIRS.items()
]


def talk(content: bytes, one: int, address: int | None, size: int = 8) -> list[sender.Sent]:
    other, partner = PAIRS.get((one, address), (None, None))
    addresses = None if address is None else (address, partner or 0)
    return sender.isotp(one, content, size, other, addresses)


def assembler() -> Assembler:
    return Assembler(1, {}, FLOWS)


@pytest.mark.parametrize("length", [1, 6, 7, 8, 12, 61, 62, 4095])
def test_a_message_comes_whole(length: int) -> None:
    got = Outcome(assembler(), frames(talk(payload(length), MOTOR, 0xF1)))
    assert got.messages == [(MOTOR, payload(length))]
    assert not got.lost()


@pytest.mark.parametrize("size", [8, 12, 20, 64])
@pytest.mark.parametrize("length", [1, 6, 7, 9, 10, 17, 18, 61, 62, 400, 4095])
def test_a_message_comes_whole_in_frames_of_every_length_of_can_fd(size: int, length: int) -> None:
    got = Outcome(assembler(), frames(talk(payload(length), MIXED, 0x05, size), 64))
    assert got.messages == [(MIXED, payload(length))]


def test_conversations_under_one_id_are_told_apart_by_their_address() -> None:
    one, other = talk(payload(50, 1), MIXED, 0x05), talk(payload(60, 2), MIXED, 0x06)
    mixed = [each[at] for at in range(12) for each in (one, other) if at < len(each)]
    got = Outcome(assembler(), frames(mixed))
    assert got.messages == [(MIXED, payload(50, 1)), (MIXED, payload(60, 2))]
    assert not got.lost()


def test_what_is_for_an_address_that_nobody_named_is_not_asked_for() -> None:
    strange = talk(payload(40), MOTOR, 0xF2)
    got = Outcome(assembler(), frames([*strange, (MOTOR, b"")]))
    assert not got.messages
    assert not got.lost()
    assert got.not_asked == len(strange) + 1


def test_flow_control_finds_the_message_by_its_address() -> None:
    sent = talk(payload(40), MOTOR, 0xF1)
    stop = (TESTER, bytes([0x12, 0x32, 0, 0]))
    other = (TESTER, bytes([0x29, 0x32, 0, 0]))
    assert Outcome(assembler(), frames([*sent[:3], other, *sent[3:]])).messages
    got = Outcome(assembler(), frames([*sent[:3], stop]))
    assert got.lost() == {"aborted": 3}  # first and consecutive frame, and who says it


@st.composite
def conversations(draw, width: int):
    talks = [
        talk(
            payload(draw(st.integers(1, 70)), draw(st.integers(0, 99))),
            *draw(st.sampled_from([*PAIRS, (MOTOR, 0x77)])),
            draw(st.sampled_from([8] if width == 8 else [8, 12, 32, 64])),
        )
        for _ in range(draw(st.integers(1, 5)))
    ]
    rows, now = [], 10_000
    fates = st.sampled_from(["as it is"] * 16 + ["lost", "twice", "cut", "overflow", "noise"])
    while any(talks):
        number, data = draw(st.sampled_from([talk for talk in talks if talk])).pop(0)
        now += draw(st.sampled_from([0] * 12 + [1, 1, 1900, 2100]))
        fate = draw(fates)
        if fate == "cut":
            data = data[: draw(st.integers(0, len(data)))]
        elif fate == "overflow":
            rows.append((now, TESTER, bytes([draw(st.sampled_from([0x12, 0x29])), 0x32, 0, 0])))
        elif fate == "noise":
            start = draw(st.sampled_from([b"", b"\x05", b"\xf1"]))
            noise = payload(draw(st.integers(0, 7)), draw(st.integers(0, 99)))
            rows.append((now, number, start + noise))
        rows += [(now, number, data)] * (0 if fate == "lost" else 2 if fate == "twice" else 1)
    return rows


@pytest.mark.parametrize("width", [8, 64])
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_messages_and_books_are_those_of_a_state_machine_with_addresses_too(width, data) -> None:
    rows = data.draw(conversations(width))
    cuts = data.draw(st.lists(st.integers(0, 200), max_size=6))
    flows = {one[0] if one[1] is None else one: wanted for one, wanted in WANTED.items()}
    partners = {one: other for one, other in PAIRS.items() if other[0] is not None}
    model = Model(set(), flows, partners, frozenset({TESTER, MOTOR, BRAKE, MIXED}))
    for number, (time, arbitration_id, content) in enumerate(rows):
        model.frame(number, time * MS, arbitration_id, content)
    model.finish()
    whole = frames(rows, width)
    edges = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    got = Outcome(assembler(), *(whole[a:b] for a, b in pairwise(edges)))
    got.give_up()
    assert got.messages == [(one, content) for _, one, content in model.messages]
    fates = list(model.fates.values())
    assert got.lost() == {reason: n for reason in REASONS if (n := fates.count(reason))}
    assert got.not_asked == fates.count("not asked")
    assert got.carried == fates.count("complete")
    assert got.held == 0


# -- from the vehicle file on


def test_the_vehicle_file_names_addresses(tmp_path) -> None:
    text = f'BO_ {MOTOR} Motor: 20 X\n SG_ Last : 152|8@1+ (1,0) [0|0] "" X\n'
    isotp = [
        {"request": TESTER, "request_address": 0x12, "response": MOTOR, "response_address": 0xF1},
        {"request": TESTER, "request_address": 0x29, "response": BRAKE, "response_address": 0xF1},
    ]
    catalogue = load(tmp_path, text, isotp=isotp)
    table = DecodeTable.compile(catalogue)
    made = Assembler.compile(catalogue, table.groups)
    sent = talk(payload(20), MOTOR, 0xF1)
    ((portion, stands),) = made.take(frames(sent)).messages()
    samples = table.gather(portion, table.match(portion, stands))
    assert samples.values.tolist() == [payload(20)[-1]]


@pytest.mark.parametrize(
    ("isotp", "said"),
    [
        ([{"request": 1, "response_address": 1}], "response_address for a response"),
        ([{"request": 1, "response": 2, "request_address": 1}], "should both be there, or none"),
        ([{"request": 1, "request_address": 256}], "bus[0].isotp[0].request_address: "),
        (
            [{"request": 1, "request_address": 1}, {"response": 1}],
            "isotp[1].response: 0x1 is taken by isotp[0].request",
        ),
        (
            [{"request": 1}, {"response": 1, "response_address": 2}],
            "isotp[1].response: 0x1 is taken by isotp[0].request",
        ),
        (
            [{"request": 1, "request_address": 7}, {"response": 1, "response_address": 7}],
            "isotp[1].response: 0x1 is taken by isotp[0].request",
        ),
    ],
)
def test_addresses_that_make_no_sense_are_refused_with_their_place(tmp_path, isotp, said) -> None:
    bus = {"name": "b", "interface": "unix", "channel": "b", "isotp": isotp}
    with pytest.raises(VehicleError) as refused:
        Vehicle.parse({"name": "test", "bus": [bus]}, tmp_path / "vehicle.toml")
    assert said in str(refused.value)


# -- as the kernel speaks it

_SOL_CAN_ISOTP, _OPTIONS, _EXTEND_ADDRESS, _RX_EXTEND_ADDRESS = 106, 1, 0x002, 0x200
"""linux/can/isotp.h."""
_SO_RCVBUFFORCE = 33
"""asm-generic/socket.h."""


def end(interface: str, rx: int, tx: int, rx_address: int, tx_address: int) -> socket.socket:
    made = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP)
    flags = _EXTEND_ADDRESS | _RX_EXTEND_ADDRESS
    options = struct.pack("=IIBBBB", flags, 0, tx_address, 0xCC, 0xCC, rx_address)
    made.setsockopt(_SOL_CAN_ISOTP, _OPTIONS, options)
    made.bind((interface, rx, tx))
    made.settimeout(60)
    return made


@pytest.mark.vcan
def test_messages_that_the_kernel_sends_come_whole() -> None:
    contents = [payload(length, length) for length in (1, 6, 7, 13, 100, 4095)]
    heard: list[sender.Sent] = []
    with (
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as raw,
        end("vcan0", TESTER, MOTOR, 0x12, 0xF1) as ecu,
        end("vcan0", MOTOR, TESTER, 0xF1, 0x12) as tester,
    ):
        raw.bind(("vcan0",))
        raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)

        def speak() -> None:
            for content in contents:
                ecu.send(content)

        speaking = threading.Thread(target=speak)
        speaking.start()
        for content in contents:
            assert tester.recv(8192) == content
        speaking.join()
        # Who has a message has all of its frames behind it, and so has who listens.
        with suppress(BlockingIOError):
            while True:
                number, length, data = struct.unpack("=IB3x8s", raw.recv(16, socket.MSG_DONTWAIT))
                heard.append((number, data[:length]))
    got = Outcome(assembler(), frames(heard))
    assert got.messages == [(MOTOR, content) for content in contents]
    assert not got.lost()
