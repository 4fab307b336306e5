from __future__ import annotations

from pathlib import Path

import pytest
from decode_oracle import catalogue, vehicle

from bordnetz.can.catalogue import Catalogue, CatalogueError
from bordnetz.can.j1939 import Match
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
    files = write(tmp_path, broken=ENGINE.replace("BO_ 256 Engine", "BO_ 256 : Engine"))
    with pytest.raises(CatalogueError, match=r"broken\.dbc: .*line 3, column 9.*correct the file"):
        load(files["broken"])


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"\0" * 100, b"hello", b"BO_", b'VERSION "'])
def test_what_is_no_dbc_file_is_refused(tmp_path: Path, content: bytes) -> None:
    files = write(tmp_path, no=content)
    with pytest.raises(CatalogueError, match=r"no\.dbc: "):
        load(files["no"])


@pytest.mark.parametrize("content", [b"NS_ A B", b"VERSION " + b"x" * 100_000, b"BO_ " * 9000])
def test_the_text_of_an_error_has_a_line_and_is_short(tmp_path: Path, content: bytes) -> None:
    files = write(tmp_path, no=content)
    with pytest.raises(CatalogueError, match=r"no\.dbc: line \d+.*correct the file") as error:
        load(files["no"])
    assert len(str(error.value)) < 400


def selecting(*ranges: str) -> str:
    """Multiplexers of 16 bits, each one under all values of the one before."""
    lines = [f' SG_ S{n} m0M : 0|16@1+ (1,0) [0|0] "" X' for n in range(1, len(ranges) + 1)]
    said = [f"SG_MUL_VAL_ 1 S{n} S{n - 1} {values};" for n, values in enumerate(ranges, 1)]
    return "\n".join(['BO_ 1 M: 8 X\n SG_ S0 M : 0|16@1+ (1,0) [0|0] "" X', *lines, *said])


@pytest.mark.parametrize(
    "text",
    [
        "BO_ 1 M: 99999999999 X",
        'BO_ 1 M: 8 X\n SG_ S : 0|9999999999@1+ (1,0) [0|0] "" X',
        f'BO_ 1 M: 8 X\n SG_ S : {"9" * 5000}|1@1+ (1,0) [0|0] "" X',
        f'BO_ 1 M: 8 X\n SG_ S : 0|1@1+ (1e{"9" * 5000},0) [0|0] "" X',
        selecting("0-99999999999999999"),
        selecting("0-65535", "0-65535", "0-65535", "0-65535", "0-65535"),
        'BO_ 1 M: 8 X\nBA_DEF_ BO_ "Life" INT 0 1;\nBA_ "Life" BO_ 1 1e999999999;',
        'BA_DEF_ "Life" INT 0 1e999999999;\nBO_ 1 M: 8 X',
        "BO_ 1 M: 8 X\nBO_TX_BU_ 1 : " + ",".join(f"N{n}" for n in range(200_000)) + ";",
        "BO_ 1 M: 8 X\n" + 'CM_ "text";\n' * 50_000,
    ],
    ids=range(10),
)
def test_absurd_numbers_cost_neither_time_nor_memory_nor_another_message(text: str) -> None:
    loaded = one(f'{text}\nBO_ 2 Good: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] "" X')
    assert "b0.Good.S" in loaded.names


@pytest.mark.parametrize(
    "text",
    [
        "SG_MUL_VAL_ \n" * 120_000,
        "SG_MUL_VAL_ 1 B A 0-1,\n" * 120_000,
        'BO_ 1 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] "" X' + ',X\nVAL_ "' * 120_000 + '"',
        "BO_ 1 M: 8 X\n" + "BO_ 1 M: X\n" * 50_000 + "!",
    ],
    ids=range(4),
)
def test_a_large_file_that_is_wrong_is_refused_in_linear_time(text: str) -> None:
    with pytest.raises(CatalogueError, match=r"0\.dbc: line \d+"):
        one(text)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    files = write(tmp_path, large=b"\n" * ((8 << 20) + 1))
    with pytest.raises(CatalogueError, match=r"large\.dbc: over 8 MiB; is this a DBC file\?"):
        load(files["large"])


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
    assert any("0.dbc:6: signal 'Late' of message 'M': ends" in str(p) for p in loaded.problems)


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
        (
            "VECTOR__INDEPENDENT_SIG_MSG",
            "",
            "holds signals of no message; they are left out",
        )
    ]


@pytest.mark.parametrize(
    ("line", "signal", "reason"),
    [
        ('SG_ S : 0|0@1+ (1,0) [0|0] "" X', "S", "has 0 bits, not 1 to 64; it is left out"),
        (
            'SG_ S : 0|1.5@1+ (1,0) [0|0] "" X',
            "S",
            "its length '1.5' is no integer of up to 20 digits; it is left out",
        ),
        (
            'SG_ S x : 0|8@1+ (1,0) [0|0] "" X',
            "S",
            "its mark 'x' is none of M, m0, m0M; it is left out",
        ),
        (f"BO_ {1 << 30} S: 8 X", "", "its id 1073741824 has more than 29 bits; it is left out"),
        ("BO_ 1e3 S: 8 X", "", "its id '1e3' is no integer of up to 20 digits; it is left"),
        ('VAL_ 1 S 0 "off" ;', "S", "is not there, but VAL_ is said of it"),
        ('VAL_ 7 S 0 "off" ;', "S", "is not there, but VAL_ is said of it"),
        ("SIG_VALTYPE_ 1 S : 1;", "S", "is not there, but SIG_VALTYPE_ is said of it"),
        ('VAL_ 2147483649 Good 0.5 "off" ;', "Good", "its raw value '0.5' is no integer"),
        ('BA_ "VFrameFormat" BO_ 2147483649 99;', "", "VFrameFormat is 99, not one of 0 t"),
        ('BA_DEF_DEF_ "VFrameFormat" 99;', "", "VFrameFormat is 99, not one of 0 to 3; that is i"),
    ],
)
def test_a_statement_that_is_wrong_costs_only_what_it_is_about(
    line: str, signal: str, reason: str
) -> None:
    good = 'BO_ 2147483649 Good: 8 X\n SG_ Good : 0|8@1+ (1,0) [0|0] "" X'
    loaded = one(f"BO_ 1 M: 8 X\n{line}\n{good}")
    assert loaded.names == ("b0.Good.Good",)
    (problem,) = loaded.problems
    assert problem.signal == signal
    assert problem.reason.startswith(reason)


def test_a_multiplexer_value_that_its_bits_cannot_hold_is_left_out() -> None:
    loaded = one(
        "BO_ 1 M: 16 X\n"
        ' SG_ S M : 0|2@1+ (1,0) [0|0] "" X\n'
        ' SG_ A m3 : 8|8@1+ (1,0) [0|0] "" X\n'
        ' SG_ B m4 : 16|8@1+ (1,0) [0|0] "" X\n'
        ' SG_ C m0 : 24|8@1+ (1,0) [0|0] "" X',
        "SG_MUL_VAL_ 1 C S 2-99999999;",
    )
    branches = {f.signal.name: f.branch for f in loaded.messages[0][0].fields}
    assert branches == {"S": (), "A": (("S", (3,)),), "C": (("S", (0, 2, 3)),)}
    assert problems(loaded) == [
        ("M", "B", "is selected by values that 'S' cannot have; they are left out"),
        ("M", "B", "no value of its multiplexer 'S' selects it; it is left out"),
        ("M", "C", "is selected by values that 'S' cannot have; they are left out"),
    ]


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, 2**64 + 1])
def test_a_multiplexer_value_beyond_63_bits_is_left_out(value: int) -> None:
    loaded = one(
        'BO_ 1 M: 16 X\n SG_ a M : 0|64@1+ (1,0) [0|0] "" X\n'
        f' SG_ b m{value} : 64|8@1+ (1,0) [0|0] "" X\n SG_ c m1 : 64|8@1+ (1,0) [0|0] "" X'
    )
    assert loaded.names == ("b0.M.a", "b0.M.c")
    assert loaded.messages[0][0].fields[0].selects == (1,)
    assert {signal for _, signal, _ in problems(loaded)} == {"b"}


def test_a_multiplexed_signal_of_no_multiplexer_is_reported() -> None:
    loaded = one('BO_ 1 M: 8 X\n SG_ A m1 : 0|8@1+ (1,0) [0|0] "" X')
    assert problems(loaded) == [
        ("M", "A", "its multiplexer is not told; it is read from every frame")
    ]


def test_signals_under_too_many_multiplexers_are_left_out() -> None:
    loaded = one(selecting(*["1-1"] * 12))
    assert loaded.names == tuple(f"b0.M.S{n}" for n in range(9))
    assert {reason for _, _, reason in problems(loaded)} == {
        "it lies under more than 8 multiplexers, or under itself; it is left out"
    }


def test_long_names_stand_in_attributes() -> None:
    loaded = one(
        'BO_ 1 M: 8 X\n SG_ A M : 0|8@1+ (1,0) [0|0] "" X\n SG_ B m1 : 8|8@1+ (1,0) [0|0] "" X',
        'BA_ "SystemMessageLongSymbol" BO_ 1 "Messages";\n'
        'BA_ "SystemSignalLongSymbol" SG_ 1 A "Alpha";\n',
    )
    assert loaded.names == ("b0.Messages.Alpha", "b0.Messages.B")
    assert loaded.messages[0][0].fields[1].branch == (("Alpha", (1,)),)


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
        (PROTOCOL.replace('""', '"J1939"'), [True, True]),
        (PROTOCOL.replace('""', '"J1939"') + 'BA_ "ProtocolType" "CAN";\n', [False, False]),
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
    assert [m.match is Match.PGN for m in catalogue(J1939 + attributes).messages[0]] == [
        *by_pgn,
        False,
    ]


def test_j1939_messages_of_one_parameter_group_are_matched_by_their_addresses() -> None:
    text = J1939.replace("2566844926", str(0x8CF00401)) + FORMAT.format("J1939PG")
    loaded = catalogue(text)
    assert [m.match for m in loaded.messages[0]] == [Match.ADDRESSES, Match.ADDRESSES, Match.ID]
    assert problems(loaded) == [
        (name, "", "shares its PGN with others; it is matched by its addresses")
        for name in ("EEC1", "CCVS1")
    ]


def test_j1939_messages_that_only_the_priority_tells_apart_are_matched_by_their_whole_ids() -> None:
    text = J1939.replace("2566844926", str(0x98F004FE)) + FORMAT.format("J1939PG")
    loaded = catalogue(text)
    assert [m.match for m in loaded.messages[0]] == [Match.ID] * 3
    assert problems(loaded)[2:] == [
        (name, "", "shares PGN and addresses; it is matched by its whole id")
        for name in ("EEC1", "CCVS1")
    ]


CYCLES = """BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_DEF_ "GenMsgCycleTime" 500;
"""


def test_a_message_says_its_length_and_its_cycle() -> None:
    tail = CYCLES + 'BA_ "GenMsgCycleTime" BO_ 1 20;'
    loaded = one("BO_ 1 M: 6 X\nBO_ 2 N: 8 X", tail)
    assert [(m.length, m.cycle) for m in loaded.messages[0]] == [(6, 20), (8, 500)]


def test_a_message_of_a_file_without_cycles_has_none() -> None:
    assert one("BO_ 1 M: 6 X").messages[0][0].cycle == 0


@pytest.mark.parametrize("value", ["-1", "1e300", "99999999999999999999"])
def test_a_cycle_that_cannot_be_is_reported_and_none_is_known(value: str) -> None:
    loaded = one("BO_ 1 M: 6 X", CYCLES + f'BA_ "GenMsgCycleTime" BO_ 1 {value};')
    assert loaded.messages[0][0].cycle == 0
    ((message, signal, reason),) = problems(loaded)
    assert (message, signal) == ("M", "")
    assert f"GenMsgCycleTime is '{value}'" in reason


def test_a_signal_says_the_limits_that_its_file_sets() -> None:
    loaded = one(
        "BO_ 1 M: 8 X\n"
        ' SG_ A : 0|8@1+ (0.5,-40) [-40|80.5] "" X\n'
        ' SG_ B : 8|8@1+ (1,0) [0|0] "" X\n'
        ' SG_ C : 16|8@1+ (1,0) [9|3] "" X'
    )
    fields = loaded.messages[0][0].fields
    assert [field.limits for field in fields] == [(-40.0, 80.5), None, None]
