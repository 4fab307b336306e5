from __future__ import annotations

from pathlib import Path

import pytest
from decode_oracle import catalogue, vehicle

from bordnetz.can.catalogue import Catalogue, CatalogueError
from bordnetz.series import EXTENDED, Kind

ENGINE = """VERSION ""
BU_: X
BO_ 256 Engine: 8 X
 SG_ Speed : 0|16@1+ (0.25,0) [0|0] "1/min" X
 SG_ Torque : 16|16@1- (2,-100) [0|0] "Nm" X
 SG_ Gear : 32|4@1+ (1,0) [0|0] "" X
VAL_ 256 Gear 2 "second" 0 "neutral" 1 "first" ;
"""


def write(folder: Path, **texts: str | bytes) -> dict[str, Path]:
    files = {}
    for name, text in texts.items():
        files[name] = folder / f"{name}.dbc"
        files[name].write_bytes(text if isinstance(text, bytes) else text.encode())
    return files


def load(*files: Path, bus: str = "can") -> Catalogue:
    return Catalogue.load(vehicle({bus: files}))


def one(message: str, tail: str = "") -> Catalogue:
    return catalogue(f'VERSION ""\nBU_: X\n{message}\n{tail}')


def problems(loaded: Catalogue) -> list[tuple[str, str, str]]:
    return [(p.message, p.signal, p.reason) for p in loaded.problems]


def test_signals_are_named_by_bus_message_and_signal() -> None:
    assert catalogue(ENGINE, ENGINE).names == tuple(
        f"{bus}.Engine.{signal}" for bus in ("b0", "b1") for signal in ("Speed", "Torque", "Gear")
    )


def test_a_signal_says_how_it_is_read() -> None:
    fields = catalogue(ENGINE).messages[0][0].fields
    speed, torque, gear = (field.signal for field in fields)
    assert (speed.unit, speed.factor, speed.offset, speed.kind) == ("1/min", 0.25, 0.0, Kind.INT)
    assert (torque.factor, torque.offset) == (2, -100)
    assert isinstance(torque.factor, int)
    assert gear.choices == ((0, "neutral"), (1, "first"), (2, "second"))


def test_an_integer_factor_that_could_overflow_becomes_a_float() -> None:
    loaded = one('BO_ 1 M: 8 X\n SG_ S : 0|63@1+ (3,0) [0|0] "" X')
    assert isinstance(loaded.messages[0][0].fields[0].signal.factor, float)


def test_the_digest_is_of_the_content_and_of_the_bus_it_is_bound_to(tmp_path: Path) -> None:
    files = write(tmp_path, one=ENGINE, copy=ENGINE, other=ENGINE.replace("0.25", "0.5"))
    digest = load(files["one"]).digest
    assert len(digest) == 32
    assert load(files["copy"]).digest == digest
    assert load(files["other"]).digest != digest
    assert load(files["one"], bus="other").digest != digest


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"gone\.dbc: .*cannot be read.*vehicle file"):
        load(tmp_path / "gone.dbc")


def test_a_broken_file_is_named_with_line_and_column(tmp_path: Path) -> None:
    files = write(tmp_path, broken=ENGINE.replace("BO_ 256 Engine", "BO_ 256 4Engine"))
    with pytest.raises(CatalogueError, match=r"broken\.dbc: .*line 3, column 9.*correct the file"):
        load(files["broken"])


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"\0" * 100, b"hello", b"BO_", b'VERSION "'])
def test_what_is_no_dbc_file_is_refused(tmp_path: Path, content: bytes) -> None:
    files = write(tmp_path, no=content)
    with pytest.raises(CatalogueError, match=r"no\.dbc: "):
        load(files["no"])


@pytest.mark.parametrize(
    "line",
    [
        "BO_ 1 M: 99999999999 X",
        'BO_ 1 M: 8 X\n SG_ S : 0|9999999999@1+ (1,0) [0|0] "" X',
        "BO_ 1 M: 8 X\nSG_MUL_VAL_ 1 B A 0-4294967295;",
    ],
)
def test_absurd_numbers_are_refused_before_they_cost_memory(line: str) -> None:
    with pytest.raises(CatalogueError, match=r"0\.dbc: line \d+: .*correct the file"):
        one(line)


def test_two_messages_with_one_id_are_both_named_with_their_files(tmp_path: Path) -> None:
    files = write(tmp_path, first=ENGINE, second=ENGINE.replace("Engine", "Motor"))
    with pytest.raises(CatalogueError) as error:
        load(*files.values())
    for part in ("bus 'can'", "'Engine' (id 0x100)", "first.dbc", "'Motor'", "second.dbc"):
        assert part in str(error.value)


def test_one_id_may_be_used_on_two_buses_and_with_11_and_29_bits() -> None:
    standard, extended = catalogue(
        ENGINE + ENGINE.split("BU_: X\n")[1].replace("256", str(256 | EXTENDED)), ENGINE
    ).messages[0]
    assert (standard.id, extended.id) == (256, 256 | EXTENDED)


def test_messages_of_one_name_are_told_apart_by_their_ids() -> None:
    text = ENGINE + ENGINE.split("BU_: X\n")[1].replace("256", "257")
    loaded = catalogue(text)
    assert [m.name for m in loaded.messages[0]] == ["Engine@100", "Engine@101"]
    assert len(loaded.problems) == 2
    assert "'Engine@101'" in str(loaded.problems[1])


def test_text_may_be_utf_8_or_cp1252(tmp_path: Path) -> None:
    text = ENGINE.replace("1/min", "°C")
    files = write(tmp_path, utf=text, bom=text.encode("utf-8-sig"), windows=text.encode("cp1252"))
    for file in files.values():
        assert load(file).messages[0][0].fields[0].signal.unit == "°C"


def test_line_ends_of_windows_do_not_matter(tmp_path: Path) -> None:
    files = write(tmp_path, windows=ENGINE.replace("\n", "\r\n"))
    assert load(files["windows"]).names == load(*write(tmp_path, unix=ENGINE).values()).names


def test_an_unusable_signal_is_reported_and_its_neighbours_stay() -> None:
    loaded = one(
        "BO_ 1 M: 8 X\n"
        ' SG_ Good : 0|8@1+ (1,0) [0|0] "" X\n'
        ' SG_ Long : 0|65@1+ (1,0) [0|0] "" X\n'
        ' SG_ Late : 60|8@1+ (1,0) [0|0] "" X\n'
        ' SG_ Odd : 0|24@1- (1,0) [0|0] "" X\n'
        ' SG_ Huge : 0|8@1+ (1e999,0) [0|0] "" X\n'
        ' SG_ Good : 8|8@1+ (1,0) [0|0] "" X',
        "SIG_VALTYPE_ 1 Odd : 1;",
    )
    assert loaded.names == ("b0.M.Good",)
    reasons = {signal: reason for _, signal, reason in problems(loaded)}
    assert reasons.keys() == {"Long", "Late", "Odd", "Huge", "Good"}
    assert "65 bits" in reasons["Long"]
    assert "4 bits after the message's 8 bytes" in reasons["Late"]
    assert "floating-point number of 24 bits" in reasons["Odd"]
    assert "factor" in reasons["Huge"]
    assert "twice" in reasons["Good"]
    assert any("0.dbc: signal 'Late' of message 'M': ends" in str(p) for p in loaded.problems)


def test_overlapping_signals_are_both_usable() -> None:
    loaded = one('BO_ 1 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n SG_ B : 4|8@1+ (1,0) [0|0] "" X')
    assert loaded.names == ("b0.M.A", "b0.M.B")
    assert not loaded.problems


def test_a_branch_whose_multiplexer_is_unusable_is_reported() -> None:
    loaded = one(
        'BO_ 1 M: 8 X\n SG_ A M : 60|8@1+ (1,0) [0|0] "" X\n SG_ B m0 : 8|8@1+ (1,0) [0|0] "" X\n'
        ' SG_ C : 16|8@1+ (1,0) [0|0] "" X'
    )
    assert loaded.names == ("b0.M.C",)
    assert [signal for _, signal, _ in problems(loaded)] == ["A", "B"]


def test_signals_that_belong_to_no_message_are_reported() -> None:
    loaded = one(
        'BO_ 3221225472 VECTOR__INDEPENDENT_SIG_MSG: 0 X\n SG_ S : 0|8@1+ (1,0) [0|0] "" X'
    )
    assert not loaded.names
    assert problems(loaded) == [
        ("VECTOR__INDEPENDENT_SIG_MSG", "", "holds signals of no message; they are left out")
    ]


J1939 = """VERSION ""
BU_: X
BO_ 2364540158 EEC1: 8 X
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|0] "rpm" X
BO_ 2566844926 CCVS1: 8 X
 SG_ Speed : 8|16@1+ (1,0) [0|0] "" X
BO_ 256 Plain: 8 X
 SG_ S : 8|16@1+ (1,0) [0|0] "" X
"""
PROTOCOL = 'BA_DEF_ "ProtocolType" STRING ;\nBA_DEF_DEF_ "ProtocolType" "";\n'
FORMAT = (
    'BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";\n'
    'BA_DEF_DEF_ "VFrameFormat" "{}";\n'
)


@pytest.mark.parametrize(
    ("attributes", "by_pgn"),
    [
        ("", [False, False]),
        (PROTOCOL + 'BA_ "ProtocolType" "J1939";\n', [True, True]),
        (FORMAT.format("J1939PG"), [True, True]),
        (FORMAT.format("StandardCAN") + 'BA_ "VFrameFormat" BO_ 2364540158 3;\n', [True, False]),
        (
            PROTOCOL
            + FORMAT.format("J1939PG")
            + 'BA_ "ProtocolType" "J1939";\nBA_ "VFrameFormat" BO_ 2364540158 1;\n',
            [False, True],
        ),
    ],
)
def test_attributes_tell_which_29_bit_messages_are_j1939(
    attributes: str, by_pgn: list[bool]
) -> None:
    assert [m.by_pgn for m in catalogue(J1939 + attributes).messages[0]] == [*by_pgn, False]


def test_j1939_messages_of_one_parameter_group_are_matched_by_their_whole_ids() -> None:
    text = J1939.replace("2566844926", str(0x8CF00401)) + FORMAT.format("J1939PG")
    loaded = catalogue(text)
    assert not any(m.by_pgn for m in loaded.messages[0])
    assert [p.message for p in loaded.problems] == ["EEC1", "CCVS1"]
    assert "shares PGN 61444" in str(loaded.problems[0])
