"""The quality of samples, beside their raw values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from decode_oracle import catalogue, frames
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.e2e import Verdict
from bordnetz.can.quality import Assessor
from bordnetz.can.table import DecodeTable
from bordnetz.series import Kind, Quality

EEC1 = 0x8CF00400
HIGHEST = {"Switch": 2, "Pedal": 8, "Speed": 15, "Distance": 32}
DBC = """VERSION ""
BU_: X
BO_ 1 Plain: 8 X
 SG_ Percent : 0|8@1+ (0.5,0) [0|100] "%" X
 SG_ Deep : 8|8@1- (1,-10) [-20|20] "degC" X
 SG_ Free : 16|8@1+ (1,0) [0|0] "" X
 SG_ Falling : 24|8@1+ (-1,0) [-100|-10] "" X
BO_ 2 Wide: 8 X
 SG_ Whole : 0|64@1+ (1,0) [5|18446744073709551000] "" X
BO_ 3 Real: 8 X
 SG_ Single : 0|32@1- (1,0) [-1.5|2.5] "" X
 SG_ Half : 32|16@1- (1,0) [0|4] "" X
BO_ 2364539904 EEC1: 8 X
 SG_ Switch : 0|2@1+ (1,0) [0|1] "" X
 SG_ Pedal : 8|8@1+ (0.4,0) [0|100] "%" X
 SG_ Speed : 16|16@1+ (0.125,0) [0|8031.875] "rpm" X
 SG_ Distance : 32|32@1+ (0.125,0) [0|526385151.875] "km" X
SIG_VALTYPE_ 3 Single : 1;
SIG_VALTYPE_ 3 Half : 1;
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ 2364539904 3;
"""
BRANCHED = """VERSION ""
BU_: X
BO_ 1 Cells: 8 X
 SG_ Index M : 0|8@1+ (1,0) [0|0] "" X
 SG_ A m0 : 8|8@1+ (1,0) [0|0] "" X
 SG_ B m1 : 8|8@1+ (1,0) [0|0] "" X
 SG_ C m2 : 8|8@1+ (1,0) [0|0] "" X
"""


@pytest.fixture(scope="module")
def loaded() -> Catalogue:
    return catalogue(DBC)


def assessed(loaded: Catalogue, rows, names=None, verdicts=None) -> dict[str, list[Quality]]:
    """Quality of all samples of some frames, by signal; ``verdicts`` by frame."""
    names = loaded.names if names is None else names
    table = DecodeTable.compile(loaded, dict.fromkeys(loaded.names, 0), names)
    block = frames(rows)
    samples = table.decode(block)
    checked = None
    if verdicts is not None:
        checked = np.array(list(verdicts), np.intp), np.array(list(verdicts.values()), np.uint8)
    return by_signal(Assessor(loaded, table.groups).assess(samples, checked))


def by_signal(samples) -> dict[str, list[Quality]]:
    found: dict[str, list[Quality]] = {}
    end = 0
    for group, width, count in zip(samples.group, samples.width, samples.count, strict=True):
        for signal in samples.groups[group].signals[:width]:
            end += count
            flags = samples.quality[end - count : end].tolist()
            found.setdefault(signal.name, []).extend(map(Quality, flags))
    return found


def test_a_value_outside_of_its_limits_is_marked_and_no_other(loaded: Catalogue) -> None:
    rows = [(0, 1, bytes([200, 246, 255, 10])), (0, 1, bytes([201, 245, 0, 9]))]
    assert assessed(loaded, rows) == {
        "Percent": [0, Quality.OUT_OF_RANGE],
        "Deep": [0, Quality.OUT_OF_RANGE],
        "Free": [0, 0],
        "Falling": [0, Quality.OUT_OF_RANGE],
    }


@given(st.integers(0, 2**64 - 1))
def test_limits_of_64_bits_hold(value: int) -> None:
    wide = catalogue(DBC)
    (flag,) = assessed(wide, [(0, 2, value.to_bytes(8, "little"))])["Whole"]
    if value < 5:
        assert flag == Quality.OUT_OF_RANGE
    elif value < 18446744073709549000:  # The limit is a double.
        assert flag == 0


@given(st.floats(width=32), st.floats(width=16))
def test_limits_of_floating_point_numbers_hold(single: float, half: float) -> None:
    real = catalogue(DBC)
    kinds = {place.signal.kind for place in real.messages[0][2].fields}
    assert kinds == {Kind.FLOAT32, Kind.FLOAT16}
    data = np.array([single], "<f4").tobytes() + np.array([half], "<f2").tobytes()
    found = assessed(real, [(0, 3, data)])
    assert (found["Single"][0] == 0) == (-1.5 <= single <= 2.5)
    assert (found["Half"][0] == 0) == (0 <= half <= 4)


@pytest.mark.parametrize(
    ("data", "flag"),
    [
        ("0164401fff000000", 0),
        ("02fe00fe000000fe", Quality.ERROR),
        ("03ff00ff000000ff", Quality.NOT_AVAILABLE),
        ("03ffffffffffffff", Quality.NOT_AVAILABLE),
    ],
)
def test_j1939_says_what_is_no_value(loaded: Catalogue, data: str, flag: Quality) -> None:
    found = assessed(loaded, [(0, EEC1, bytes.fromhex(data))])
    assert found == {name: [flag] for name in ("Switch", "Pedal", "Speed", "Distance")}


def test_what_j1939_reserves_is_out_of_range(loaded: Catalogue) -> None:
    found = assessed(loaded, [(0, EEC1, bytes.fromhex("01fc00fc000000fc"))])
    assert found["Pedal"] == found["Speed"] == found["Distance"] == [Quality.OUT_OF_RANGE]


@pytest.mark.parametrize(
    ("raw", "flag"), [(-1, 0), (2, Quality.NOT_AVAILABLE), (1, Quality.ERROR), (0, 0)]
)
def test_nmea_2000_says_it_with_the_highest_numbers_that_there_are(
    loaded: Catalogue, raw: int, flag: Quality
) -> None:
    """Of signed numbers, too; where J1939 has two ranges, these are values."""
    boat = catalogue(
        DBC.replace("Speed : 16|16@1+ (0.125,0) [0|8031.875]", "Speed : 16|16@1- (0.5,0) [0|0]")
        .replace("[0|100]", "[0|0]")
        .replace("[0|526385151.875]", "[0|0]")
        .replace("[0|1]", "[0|0]")
    )
    boat = replace(boat, nmea2000=(True,))
    top = {name: (1 << bits) - 3 + raw for name, bits in HIGHEST.items()}
    data = top["Switch"] & 3 | (top["Pedal"] & 0xFF) << 8
    data |= (top["Speed"] & 0xFFFF) << 16 | (top["Distance"] & 0xFFFF_FFFF) << 32
    found = assessed(boat, [(0, EEC1, data.to_bytes(8, "little"))])
    assert {name: found[name] for name in HIGHEST} == {name: [flag] for name in HIGHEST}


@pytest.mark.parametrize(
    ("verdict", "flag"),
    [
        (Verdict.OK, 0),
        (Verdict.FIRST, 0),
        (Verdict.WRONG_CRC, Quality.WRONG_CRC),
        (Verdict.REPEATED, Quality.REPEATED),
        (Verdict.LOST, Quality.AFTER_LOSS),
        (Verdict.OUT_OF_SEQUENCE, Quality.OUT_OF_SEQUENCE),
    ],
)
def test_the_verdict_on_a_frame_holds_for_its_samples(
    loaded: Catalogue, verdict: Verdict, flag: Quality
) -> None:
    good, bad = bytes([1, 0, 0, 20]), bytes([255, 0, 0, 20])
    rows = [(0, 1, good), (0, 2, bytes([9] * 8)), (0, 1, bad), (0, 1, good)]
    found = assessed(loaded, rows, verdicts={0: Verdict.OK, 2: verdict, 3: Verdict.OK})
    assert found["Percent"] == [0, Quality.OUT_OF_RANGE | flag, 0]
    assert found["Free"] == [0, flag, 0]
    assert found["Whole"] == [0]


def test_only_quality_that_is_asked_for_is_told(loaded: Catalogue) -> None:
    rows = [(0, 1, bytes([255, 100, 0, 0])), (0, 2, bytes(8))]
    found = assessed(loaded, rows, {"b0.Plain.Percent"}, {0: Verdict.WRONG_CRC})
    assert found["Percent"] == [Quality.OUT_OF_RANGE | Quality.WRONG_CRC]
    assert found["Deep"] == found["Falling"] == found["Whole"] == [0]


def follow(blocks: list[list[int]], names: set[str] | None = None) -> dict[str, list[bool]]:
    """Whether each sample of a branch comes after a silence: blocks of selector values."""
    branched = catalogue(BRANCHED)
    quality = branched.names if names is None else names
    table = DecodeTable.compile(branched, dict.fromkeys(branched.names, 0), quality)
    assessor = Assessor(branched, table.groups)
    found: dict[str, list[bool]] = {}
    for values in blocks:
        block = frames([(0, 1, bytes([value, 7])) for value in values])
        matches = table.match(block)
        late = assessor.follow(block, matches)
        samples = assessor.assess(table.gather(block, matches), None, late)
        for name, flags in by_signal(samples).items():
            found.setdefault(name, []).extend(bool(flag) for flag in flags)
    return found


def test_a_branch_that_was_left_out_for_two_rounds_was_stale() -> None:
    # Three values: six frames later is still in time, seven is not.
    assert follow([[0, 1, 2, 1, 2, 1, 0]])["A"] == [False, False]
    assert follow([[0, 1, 2, 1, 2, 1, 2, 0, 0]])["A"] == [False, True, False]


@given(st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=6))
def test_silence_is_counted_in_frames_over_all_blocks(blocks: list[list[int]]) -> None:
    expected: dict[str, list[bool]] = {}
    last: dict[int, int] = {}
    for number, value in enumerate(value for block in blocks for value in block):
        late = value in last and number - last[value] > 6
        expected.setdefault("ABC"[value], []).append(late)
        last[value] = number
    found = follow([block for block in blocks if block])
    assert {name: flags for name, flags in found.items() if name != "Index"} == expected


def test_a_branch_is_not_followed_where_nobody_asks_for_its_quality() -> None:
    found = follow([[0, 1, 1, 1, 1, 1, 1, 1, 0]], {"b0.Cells.B"})
    assert found["A"] == [False, False]
