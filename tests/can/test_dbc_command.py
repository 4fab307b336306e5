"""``bordnetz dbc``: what a person, an editor and a script see of DBC files."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conformance.bits import places as bit_places
from conformance.generated import databases
from conformance.peer import load
from hypothesis import given, settings

from bordnetz.can.dbc import parse, parse_as_stated
from bordnetz.can.grid import draw, places
from bordnetz.can.show import Shown, details, document, tree
from bordnetz.cli import bordnetz

ROOT = Path(__file__).parents[2]
CAR = """VERSION ""
BU_: ECU Display
BO_ 256 Engine: 8 ECU
 SG_ Mode M : 7|4@0+ (1,0) [0|15] "" Display
 SG_ Speed : 8|16@1+ (0.25,-10) [0|8000] "1/min" Display,Vector__XXX
 SG_ Torque m1 : 31|12@0- (1,0) [0|0] "Nm" Display
 SG_ Heat m2 : 24|8@1+ (1,0) [0|0] "" Display
 SG_ Late : 60|8@1+ (1,0) [0|0] "" Display
BO_ 2566844926 Wide: 24 ECU
 SG_ Far : 160|32@1+ (1,0) [0|0] "" Display
CM_ SG_ 256 Speed "How fast it turns.";
CM_ BO_ 256 "All about the engine.";
VAL_ 256 Mode 1 "pulling" 2 "heating" ;
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_ "GenMsgCycleTime" BO_ 256 20;
"""
MENDED = CAR.replace(' SG_ Late : 60|8@1+ (1,0) [0|0] "" Display\n', "").replace('" ;', '"')
CLEAN = MENDED.replace('"heating"', '"heating";')


@pytest.fixture
def car(tmp_path: Path) -> Path:
    return written(tmp_path, CAR)


def written(folder: Path, text: str, name: str = "car.dbc") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def run(*arguments: object, width: int = 80) -> Result:
    return CliRunner().invoke(bordnetz, ["dbc", *map(str, arguments)])


def shown(text: str) -> list[Shown]:
    pairs, problems = parse_as_stated(text.encode(), Path("car.dbc"))
    return [Shown(s, m, [p for p in problems if p.is_of(m.name)]) for s, m in pairs]


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (CLEAN, [], 0),
        (CLEAN, ["--strict"], 0),
        (MENDED, [], 0),
        (MENDED, ["--strict"], 1),
        (CAR, [], 1),
        ("hello", [], 2),
    ],
)
def test_the_exit_code_says_whether_something_is_lost(
    tmp_path: Path, text: str, options: list[str], code: int
) -> None:
    file = written(tmp_path, text)
    assert run("check", file, *options).exit_code == code
    assert run("check", file, *options, "--json").exit_code == code


def test_the_worst_of_several_files_decides(tmp_path: Path) -> None:
    files = [
        written(tmp_path, text, f"{n}.dbc") for n, text in enumerate((CLEAN, "hello", CAR, MENDED))
    ]
    result = run("check", *files, tmp_path / "gone.dbc")
    assert result.exit_code == 2
    assert result.stdout.splitlines()[-1] == "5 files: 2 unusable, 1 lost, 1 mended"
    assert run("check", files[0], files[2]).exit_code == 1


def test_each_problem_is_a_line_with_its_place(car: Path) -> None:
    assert run("check", car).stdout.splitlines() == [
        f"{car}:8: lost: Engine.Late: ends 4 bits after the message's 8 bytes; it is left out",
        f"{car}: 2 messages, 5 signals; 1 lost, 0 mended",
    ]


def test_a_file_that_is_none_is_told_with_its_place(tmp_path: Path) -> None:
    file = written(tmp_path, "hello\n")
    (line,) = run("check", file).stdout.splitlines()
    assert line.startswith(f"{file}: unusable: line 1, column 1: 'hello' is not expected there")
    assert run("show", file).exit_code == 1
    assert str(file) in str(run("show", file).exception)


def test_problems_as_json(car: Path) -> None:
    document = json.loads(run("check", "--json", car).stdout)
    assert document == {
        "files": [
            {
                "file": str(car),
                "error": None,
                "messages": 2,
                "signals": 5,
                "lost": 1,
                "mended": 0,
                "problems": [
                    {
                        "line": 8,
                        "message": "Engine",
                        "signal": "Late",
                        "reason": "ends 4 bits after the message's 8 bytes; it is left out",
                        "mended": False,
                    }
                ],
            }
        ],
        "lost": 1,
        "mended": 0,
        "unusable": 0,
    }


def test_messages_of_one_name_are_mended_with_their_lines(tmp_path: Path) -> None:
    file = written(tmp_path, "BO_ 1 M: 8 X\nBO_ 2 M: 8 X\n")
    result = run("check", file)
    assert result.exit_code == 0
    assert [line.split(": ")[:2] for line in result.stdout.splitlines()[:2]] == [
        [f"{file}:1", "mended"],
        [f"{file}:2", "mended"],
    ]


def test_all_messages_are_shown_as_trees(car: Path) -> None:
    assert run("show", car).stdout.splitlines() == [
        f"{car}: 2 messages, 5 signals",
        "",
        "0x100  Engine  8 bytes  every 20 ms  sent by ECU",
        "  signal              start  type       scale        unit   range      texts  read by",
        "  Mode (multiplexer)  7      uint4 big                      0 .. 15    2      Display",
        "    Mode = 1",
        "      Torque          31     int12 big               Nm                       Display",
        "    Mode = 2",
        "      Heat            24     uint8                                            Display",
        "  Speed               8      uint16     x 0.25 - 10  1/min  0 .. 8000         Display",
        "  ! Late (line 8): ends 4 bits after the message's 8 bytes; it is left out",
        "",
        "0x18FEF1FE  Wide  24 bytes  sent by ECU",
        "  signal  start  type    read by",
        "  Far     160    uint32  Display",
        "",
        f"1 lost, 0 mended: bordnetz dbc check {car} tells what",
    ]


def test_the_bits_of_a_message_are_drawn_with_each_branch() -> None:
    page = (ROOT / "docs" / "dbc.md").read_text()
    drawn = page.partition("## `bordnetz dbc show")[2].split("```")[1].strip().splitlines()
    assert list(details(shown(CAR)[0], 64)) == drawn


TOLD = [
    (heading, cell.replace("\\|", "|"))
    for heading in ("Mended", "Lost")
    for cell in re.findall(
        r"^\| `(.*?)` \|",
        (ROOT / "docs" / "dbc.md").read_text().partition(f"### {heading}\n")[2].partition("###")[0],
        re.MULTILINE,
    )
]


@pytest.mark.parametrize(("heading", "line"), TOLD)
def test_each_example_of_the_page_is_what_it_says(heading: str, line: str) -> None:
    text = 'BO_ 1 M: 8 X\n SG_ Old : 0|8@1+ (1,0) [0|0] "" X\n{}\nBO_ 2 Other: 8 X\n'
    if line.startswith("SG_ Lone"):
        line += '\n SG_ One m0 : 2|6@1+ (1,0) [0|0] "" X'
    messages, problems = parse(text.format(line).encode(), Path("car.dbc"))
    assert problems
    assert all(problem.mended == (heading == "Mended") for problem in problems)
    assert all(problem.line == 3 for problem in problems)
    assert {"M", "Other"} <= {message.name for message in messages}
    assert "Old" in [field.signal.name for field in messages[0].fields]


def test_the_page_has_examples_of_both() -> None:
    assert [heading for heading, _ in TOLD].count("Mended") > 10
    assert [heading for heading, _ in TOLD].count("Lost") > 8


def test_unused_bytes_of_a_long_frame_are_drawn_as_one_row(car: Path) -> None:
    lines = run("show", car, "Wide").stdout.splitlines()
    assert [
        line.split("│")[0].strip() for line in lines if "│" in line and line.strip()[0] != "│"
    ] == [
        "0-19",
        *("20", "21", "22", "23"),
    ]


def test_signals_that_overlap_are_both_named() -> None:
    text = 'BO_ 1 M: 2 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n SG_ B : 4|8@1+ (1,0) [0|0] "" X\n'
    lines = list(details(shown(text)[0], 80))
    assert "    0 │ A+B" in "\n".join(lines)
    assert "  A and B overlap" in lines


@pytest.mark.parametrize("wish", ["Engine", "Eng*", "256", "0x100", "0X100"])
def test_a_message_is_asked_for_by_name_glob_or_id(car: Path, wish: str) -> None:
    result = run("show", car, wish)
    assert result.exit_code == 0
    assert "Engine" in result.stdout
    assert "Wide" not in result.stdout


def test_a_message_that_is_not_there_is_told_with_names_that_are_near(car: Path) -> None:
    result = run("show", car, "Engin")
    assert result.exit_code == 1
    assert "there is no message 'Engin'" in str(result.exception)
    assert "did you mean Engine?" in str(result.exception)


def test_messages_as_json(car: Path) -> None:
    engine, wide = json.loads(run("show", "--json", car).stdout)
    assert (engine["name"], engine["id"], engine["extended"], engine["cycleMs"]) == (
        "Engine",
        256,
        False,
        20,
    )
    assert (wide["id"], wide["extended"], wide["length"]) == (0x18FEF1FE, True, 24)
    speed = next(signal for signal in engine["signals"] if signal["name"] == "Speed")
    assert speed == {
        "name": "Speed",
        "start": 8,
        "length": 16,
        "byteOrder": "little",
        "type": "uint16",
        "factor": 0.25,
        "offset": -10.0,
        "unit": "1/min",
        "minimum": 0.0,
        "maximum": 8000.0,
        "choices": [],
        "multiplexer": False,
        "branch": [],
        "receivers": ["Display"],
        "comment": "How fast it turns.",
        "line": 5,
    }
    torque = next(signal for signal in engine["signals"] if signal["name"] == "Torque")
    assert torque["branch"] == [{"signal": "Mode", "values": [1]}]
    assert [left["signal"] for left in engine["leftOut"]] == ["Late"]


def test_what_a_file_says_gives_the_terminal_no_commands(tmp_path: Path) -> None:
    file = written(tmp_path, CAR.replace("How fast", "\x1b]0;owned\x07How\x9b fast"))
    for arguments in (("show", file, "Engine"), ("check", file), ("show", file)):
        assert not set(run(*arguments).stdout) & {"\x1b", "\x07", "\x9b"}


def test_a_signal_lies_where_cantools_says(car: Path) -> None:
    (engine, wide), database = shown(CAR), load(car).database
    for each, message in zip((engine, wide), database.messages, strict=True):
        for signal in each.stated.signals:
            theirs = bit_places(message.get_signal_by_name(signal.key))
            assert places(signal) == [(place // 8, place % 8) for place in theirs]


@given(databases(64))
@settings(max_examples=50, deadline=None)
def test_every_database_is_shown_and_no_line_of_a_drawing_is_too_wide(text: str) -> None:
    for each in shown(text):
        width = random.Random(text).choice([40, 80, 120, 300])
        assert len(list(tree(each, width))) > 1
        assert json.dumps(document(each))
        drawn = [line for line in details(each, width) if "│" in line or "─" in line]
        assert drawn
        assert all(len(line) <= width for line in drawn)
        assert len({len(line) for line in drawn if not line.strip().startswith("⋮")}) == 1


def test_the_demo_car_is_clean_and_can_be_shown() -> None:
    files = sorted((ROOT / "dbc").glob("*.dbc"))
    assert run("check", "--strict", *files).exit_code == 0
    for file in files:
        assert run("show", file, "*").exit_code == 0


def test_a_drawing_of_no_signals_is_empty_bytes() -> None:
    assert list(draw({}, range(1), 40)) == [
        "        7   6   5   4   3   2   1   0",
        "      ┌───────────────────────────────┐",
        "    0 │                               │",
        "      └───────────────────────────────┘",
    ]
