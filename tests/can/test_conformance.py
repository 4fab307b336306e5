"""The comparison itself: what it leaves out or overlooks, nothing else would find."""

from __future__ import annotations

import random
from pathlib import Path

import cantools
import pytest
from conformance.bits import by_bits
from conformance.compare import cantools_decodes, compare, compare_file, said_differently
from conformance.payloads import GENERATED, WHOLE, payloads
from conformance.peer import load, mark_multiplexers
from decode_oracle import assert_raw_equal, by_cantools, catalogue

from bordnetz.can.table import DecodeTable

TEXT = """VERSION ""
BU_: X
BO_ 1 M: 8 X
 SG_ Select M : 7|4@0+ (1,0) [0|0] "" X
 SG_ Always : 11|12@0- (0.5,1) [0|0] "" X
 SG_ One m1 : 24|16@1- (1,0) [0|0] "" X
 SG_ Two m2 : 32|32@1- (1,0) [0|0] "" X
SIG_VALTYPE_ 1 Two : 1;
"""


def database(text: str) -> cantools.database.Database:
    return cantools.database.load_string(text, "dbc", strict=False)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("11|12@0-", "10|12@0-"),
        ("11|12@0-", "11|12@0+"),
        ("24|16@1-", "24|16@0-"),
        ("(0.5,1)", "(0.5,2)"),
        ("One m1", "One m3"),
        ("One m1", "One"),
        ("SIG_VALTYPE_ 1 Two : 1;", ""),
    ],
)
def test_a_signal_that_is_read_in_another_way_is_noticed(here: str, there: str) -> None:
    table = DecodeTable.compile(catalogue(TEXT))
    assert compare(database(TEXT), table, 8, GENERATED, 1).mismatches == 0
    tally = compare(database(TEXT.replace(here, there)), table, 8, GENERATED, 1)
    assert tally.mismatches > 0
    assert tally.told[0].startswith("M ")


@pytest.mark.parametrize(
    ("here", "there", "told"),
    [
        ('"km/h"', '"mph"', "Speed has the unit km/h instead of mph"),
        ("[0|250]", "[0|260]", "Speed has the limits (0.0, 250.0)"),
        ('1 "on"', '1 "off"', "Speed has the texts ((1, 'on'),) instead of {1: 'off'}"),
        ("BO_ 1 20", "BO_ 1 30", "cycle 20 instead of 30"),
    ],
)
def test_what_is_said_of_a_signal_is_compared(here: str, there: str, told: str) -> None:
    text = (
        'VERSION ""\nBO_ 1 M: 8 X\n SG_ Speed : 0|8@1+ (1,0) [0|250] "km/h" X\n'
        'VAL_ 1 Speed 1 "on" ;\nBA_DEF_ BO_ "GenMsgCycleTime" INT 0 100;\n'
        'BA_DEF_DEF_ "GenMsgCycleTime" 0;\nBA_ "GenMsgCycleTime" BO_ 1 20;\n'
    )
    (ours,) = catalogue(text).messages[0]
    assert list(said_differently(ours, *database(text).messages)) == []
    assert list(said_differently(ours, *database(text.replace(here, there)).messages)) == [told]


def test_signals_read_bit_by_bit_are_those_of_cantools() -> None:
    (message,) = database(TEXT).messages
    for data in payloads(message, WHOLE, random.Random(1)):
        assert_raw_equal(by_bits(message, data), by_cantools(message, data))


def test_the_frames_have_every_bit_every_branch_and_every_length() -> None:
    (message,) = database(TEXT).messages
    frames = list(payloads(message, WHOLE, random.Random(1)))
    alone = {int.from_bytes(data, "little") for data in frames if len(data) == 8}
    assert {1 << place for place in range(64)} <= alone
    assert {0, (1 << 64) - 1} <= alone
    assert {len(data) for data in frames} == set(range(10))
    assert {1, 2} < {data[0] >> 4 for data in frames if data}


def test_what_cantools_cannot_decode_is_compared_bit_by_bit(tmp_path: Path) -> None:
    file = tmp_path / "overlapping.dbc"
    file.write_text(TEXT.replace("24|16@1-", "60|16@1-").replace("11|12@0-", "8|12@1-"))
    (message,) = load(file).database.messages
    assert not cantools_decodes(message)
    tally = compare_file(file, GENERATED)
    assert (tally.by_bits, tally.mismatches) == (1, 0)
    assert tally.values > tally.frames


def test_a_file_that_cantools_refuses_is_compared_as_it_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "refused.dbc"
    text = TEXT.replace("BO_ 1 M", "BO_ 99999999 M").replace("VALTYPE_ 1", "VALTYPE_ 99999999")
    file.write_text(text.replace("Always", "0Always") + 'VAL_ 99999999 Gone 1 "x";\nCM_ "text"')
    peer = load(file)
    (message,) = peer.database.messages
    assert peer.mended
    assert message.is_extended_frame
    assert [signal.name for signal in message.signals] == ["Select", "_0Always", "One", "Two"]
    assert compare_file(file, GENERATED).told == []


def test_a_lone_m_is_taken_for_the_multiplexer_of_its_message_alone() -> None:
    lone = TEXT.replace("Select M ", "Select m ")
    assert mark_multiplexers(lone) == TEXT
    assert mark_multiplexers(TEXT.replace("One m1", "One m")) == TEXT.replace("One m1", "One m")
