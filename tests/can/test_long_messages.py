"""From DBC file to values for messages that need many frames."""

from __future__ import annotations

from pathlib import Path

import cantools
import numpy as np
import pytest
import transport_sender as sender
from decode_oracle import (
    assert_physical_equal,
    assert_raw_equal,
    by_cantools,
    by_table,
    frames,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_sender import ENGINE, TOOL

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.table import DecodeTable
from bordnetz.can.transport.assembler import Assembler
from bordnetz.can.vehicle import Vehicle, VehicleError
from bordnetz.series import EXTENDED

DM1, MAP = 0xFECA, 0xD900
ANSWER, SHORT = 0x7E8, 0x100
HEAD = """VERSION ""
BS_:
BU_: X
"""
J1939 = """BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
"""


def j1939(group: int, name: str, length: int, *signals: str) -> str:
    number = EXTENDED | 0x18000000 | group << 8 | 0xFE
    lines = "\n".join(f" SG_ {signal} X" for signal in signals)
    return f'BO_ {number} {name}: {length} X\n{lines}\nBA_ "VFrameFormat" BO_ {number} 3;\n'


def spread(length: int) -> list[str]:
    """Signals all over a message, of both byte orders and signs, most across an edge of words."""
    made = []
    for at in range(0, length - 10, 11):
        made.append(f'L{at} : {8 * at + 3}|{37 - at % 5}@1- (1,0) [0|0] ""')
        made.append(f'B{at} : {8 * at + 46}|{41 - at % 7}@0+ (0.5,3) [0|0] ""')
    return [*made, f'Last : {8 * length - 8}|8@1+ (1,0) [0|0] ""'] if length % 11 else made


def load(tmp_path: Path, *texts: str, **bus) -> Catalogue:
    """A catalogue of one bus."""
    (tmp_path / "bus.dbc").write_text(HEAD + "".join(_sections(texts)))
    content = {"name": "b", "interface": "unix", "channel": "b", "dbc": ["bus.dbc"], **bus}
    return Catalogue.load(
        Vehicle.parse({"name": "test", "bus": [content]}, tmp_path / "vehicle.toml")
    )


def _sections(texts):
    """Messages first, attributes behind: a DBC file has them in this order."""
    lines = [line for text in texts for line in text.splitlines(keepends=True)]
    attributes = [line for line in lines if line.startswith("BA_ ")]
    yield from (line for line in lines if line not in attributes)
    if attributes:
        yield J1939
        yield from attributes


def decoded(catalogue: Catalogue, block) -> tuple[DecodeTable, list, list, list]:
    """Table, messages as (id, data), and for each its raw values and physical ones."""
    table = DecodeTable.compile(catalogue)
    assembler = Assembler.compile(catalogue, table.groups)
    assert assembler is not None
    messages, raw, physical = [], [], []
    for portion, stands in assembler.take(block).messages():
        matches = table.match(portion, stands)
        samples = table.gather(portion, matches)
        raw += by_table(samples, len(portion))
        physical += by_table(samples, len(portion), table.physical(samples))
        for row in range(len(portion)):
            data = portion.data[row, : portion.length[row]].tobytes()
            messages.append((int(portion.id[row]), data))
    return table, messages, raw, physical


def payload(length: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, length).astype(np.uint8).tobytes()


@pytest.mark.parametrize("length", [9, 60, 1785])
def test_a_parameter_group_of_any_length_decodes_as_cantools_says(tmp_path, length):
    catalogue = load(tmp_path, j1939(MAP, "Map", length, *spread(length)))
    assert not catalogue.problems
    sent = sender.directed(MAP, payload(length), ENGINE, TOOL)
    _, messages, raw, physical = decoded(catalogue, frames([(0, *one) for one in sent]))
    assert messages == [(EXTENDED | 0x18D90000 | TOOL << 8 | ENGINE, payload(length))]
    (message,) = cantools.database.load_file(tmp_path / "bus.dbc", strict=False).messages
    expected = by_cantools(message, payload(length))
    assert len(expected) == len(spread(length))
    assert_raw_equal(raw[0], expected)
    assert_physical_equal(physical[0], expected, message)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 99)), min_size=1, max_size=8))
def test_answers_of_any_length_bring_what_lies_in_them(tmp_path_factory, answers):
    folder = tmp_path_factory.mktemp("dbc")
    lines = "\n".join(f" SG_ {signal} X" for signal in spread(300))
    text = f"BO_ {ANSWER} Answer: 300 X\n{lines}\n"
    catalogue = load(folder, text, isotp=[{"response": ANSWER}])
    sent = [one for answer in answers for one in sender.isotp(ANSWER, payload(*answer))]
    _, messages, raw, _ = decoded(catalogue, frames([(0, *one) for one in sent]))
    assert [data for _, data in messages] == [payload(*answer) for answer in answers]
    (message,) = cantools.database.load_file(folder / "bus.dbc", strict=False).messages
    for values, (_, data) in zip(raw, messages, strict=True):
        assert_raw_equal(values, by_cantools(message, data))


def test_multiplexers_of_a_long_answer_are_followed(tmp_path):
    text = f"""BO_ {ANSWER} Answer: 300 X
 SG_ Service M : 0|8@1+ (1,0) [0|0] "" X
 SG_ Near m98 : 8|8@1+ (1,0) [0|0] "" X
 SG_ Far m98 : 2320|8@1+ (0.5,0) [0|0] "%" X
 SG_ Other m97 : 2320|8@1+ (1,0) [0|0] "" X
"""
    catalogue = load(tmp_path, text, isotp=[{"response": ANSWER}])
    content = bytes([98, 5]) + bytes(288) + bytes([77]) + bytes(9)
    sent = sender.isotp(ANSWER, content) + sender.isotp(ANSWER, content[:9])
    _, _, raw, _ = decoded(catalogue, frames([(0, *one) for one in sent]))
    assert raw == [{"Service": 98, "Near": 5, "Far": 77}, {"Service": 98, "Near": 5}]


def test_every_frame_of_a_message_is_in_the_book_of_the_message(tmp_path):
    text = f"""BO_ {ANSWER} Answer: 300 X
 SG_ Service M : 0|8@1+ (1,0) [0|0] "" X
 SG_ Far m98 : 2320|8@1+ (1,0) [0|0] "" X
"""
    catalogue = load(tmp_path, text, isotp=[{"response": ANSWER}])
    table = DecodeTable.compile(catalogue, {"b.Answer.Far": 0})
    assembler = Assembler.compile(catalogue, table.groups)
    answers = [
        bytes([98]) + bytes(299),  # decoded
        bytes([98]) + bytes(99),  # short
        bytes([97]) + bytes(49),  # no value that the multiplexer knows
    ]
    lengths = [len(sender.isotp(ANSWER, answer)) for answer in answers]
    sent = [one for answer in answers for one in sender.isotp(ANSWER, answer)]
    ((portion, stands),) = assembler.take(frames([(0, *one) for one in sent])).messages()
    matches = table.match(portion, stands)
    assert matches.decoded == lengths[0]
    assert {reason: int(n[0]) for reason, n in matches.unusable.items()} == {
        "short": lengths[1],
        "selector": lengths[2],
    }


def test_a_signal_is_left_out_where_no_message_of_its_protocol_reaches(tmp_path):
    far = 'Far : {at}|8@1+ (1,0) [0|0] ""'
    catalogue = load(
        tmp_path,
        j1939(DM1, "Dm1", 2000, 'Near : 0|8@1+ (1,0) [0|0] ""', far.format(at=8 * 1785)),
        f"BO_ {ANSWER} Answer: 5000 X\n SG_ {far.format(at=8 * 4095)} X\n"
        f" SG_ {far.format(at=8 * 4096).replace('Far', 'Farther')} X\n",
        f'BO_ {SHORT} Short: 100 X\n SG_ Select M : 512|8@1+ (1,0) [0|0] "" X\n'
        f' SG_ Near m1 : 0|8@1+ (1,0) [0|0] "" X\n',
        isotp=[{"request": 0x7E0, "response": ANSWER}],
    )
    assert catalogue.names == ("b.Dm1.Near", "b.Answer.Far")
    told = {f"{problem.message}.{problem.signal}": problem.reason for problem in catalogue.problems}
    assert told.keys() == {"Dm1.Far", "Answer.Farther", "Short.Select", "Short.Near"}
    assert "byte 1785, where no message of J1939 reaches" in told["Dm1.Far"]
    assert "name its id under 'isotp' of the bus" in told["Short.Select"]
    assert "its multiplexer 'Select' cannot be read" in told["Short.Near"]


def test_nothing_is_put_together_where_nothing_wanted_can_have_many_frames(tmp_path):
    text = f'BO_ {SHORT} Short: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] "" X\n'
    catalogue = load(
        tmp_path,
        text,
        j1939(DM1, "Dm1", 8, 'Lamp : 0|8@1+ (1,0) [0|0] ""'),
        isotp=[{"response": ANSWER}],
    )
    some = DecodeTable.compile(catalogue, {"b.Short.S": 0})
    assert Assembler.compile(catalogue, some.groups) is None
    assert Assembler.compile(catalogue, DecodeTable.compile(catalogue).groups) is not None


def test_a_group_that_its_file_makes_short_is_put_together_where_a_sender_has_more(tmp_path):
    catalogue = load(tmp_path, j1939(DM1, "Dm1", 8, 'Spn : 16|19@1+ (1,0) [0|0] ""'))
    sent = sender.broadcast(DM1, b"\x40\xff\x6e\x00\x03\x01" + payload(8), ENGINE)
    _, messages, raw, _ = decoded(catalogue, frames([(0, *one) for one in sent]))
    assert messages[0][0] == EXTENDED | 0x18FECA00
    assert raw == [{"Spn": 0x6E | (3 & 7) << 16}]


def test_the_digest_of_a_catalogue_changes_with_the_ids_of_isotp(tmp_path):
    text = f'BO_ {ANSWER} Answer: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] "" X\n'
    digests = {
        load(tmp_path, text, **settings).digest
        for settings in (
            {},
            {"isotp": [{"response": ANSWER}]},
            {"isotp": [{"response": ANSWER, "length_byte": True}]},
        )
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("isotp", "reason"),
    [
        ([{}], "bus[0].isotp[0]: request, response, or both should be there"),
        ([{"request": 0x2000_0000}], "bus[0].isotp[0].request: "),
        ([{"request": "7E0"}], "bus[0].isotp[0].request: "),
        (
            [{"request": 0x7E0, "response": 0x7E8}, {"response": 0x7E8}],
            "isotp[1].response: 0x7E8 is taken by isotp[0].response",
        ),
        ([{"request": 1, "padding": 0}], "bus[0].isotp[0].padding: "),
    ],
)
def test_ids_of_isotp_that_make_no_sense_are_refused_with_their_place(tmp_path, isotp, reason):
    with pytest.raises(VehicleError) as refused:
        load(tmp_path, isotp=isotp)
    assert reason in str(refused.value)
