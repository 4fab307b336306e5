"""DBC files as they are found: what is mended, what is left out, and that neither costs more."""

from __future__ import annotations

from pathlib import Path

import pytest
from decode_oracle import vehicle
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bordnetz.can.catalogue import Catalogue, CatalogueError, Problem
from bordnetz.can.dbc import Message, parse
from bordnetz.series import EXTENDED

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "dbc" / "opendbc"
FILE = Path("car.dbc")
BEFORE = 'BO_ 1 Before: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] "" X\n'
BEHIND = 'BO_ 2 Behind: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] "" X\n'
SIGNAL = ' SG_ {} : 8|8@1+ (1,0) [0|0] "" X\n'


def read(text: str) -> tuple[dict[str, Message], list[Problem]]:
    messages, problems = parse(f'VERSION ""\nBU_: X\n{text}'.encode(), FILE)
    return {message.name: message for message in messages}, problems


def names(message: Message) -> list[str]:
    return [field.signal.name for field in message.fields]


def told(problems: list[Problem]) -> list[tuple[int, str, str, str]]:
    return [(p.line, p.message, p.signal, p.reason) for p in problems]


@pytest.mark.parametrize(
    ("text", "message", "signal", "reason"),
    [
        ('CM_ SG_ 1 "no name";', "Before", "", "a comment names no signal; it is taken for the me"),
        ('CM_ 1 S "no kind";', "Before", "S", "a comment does not say of what it is; it is taken"),
        ('CM_ "no semicolon"', "", "", "a semicolon is missing"),
        ('VAL_ 1 S 1 "no semicolon"', "Before", "S", "a semicolon is missing"),
        ('VAL_ 1 Gone 1 "on" ;', "Before", "Gone", "is not there, but VAL_ is said of it"),
        ('CM_ BO_ 1 "a "word".";', "Before", "", "column 15: 'word\".\";' is not expected there"),
        ('CM_ BO_ 1 "open;', "Before", "", "line 7, column "),
        ("BO_TX_BU_ 1 : X,;", "", "", None),
        ('BA_ "Other" BO_ 1 Word;', "", "", None),
        ('BA_REL_ "R" BU_SG_REL_ X SG_ 1 S "broken', "", "", None),
        ("VAL_TABLE_ T 1 on 2 off", "", "", None),
    ],
)
def test_what_frames_do_not_need_is_mended_and_costs_nothing(
    text: str, message: str, signal: str, reason: str | None
) -> None:
    messages, problems = read(f"{BEFORE}{text}\n{BEHIND}")
    assert {name: names(each) for name, each in messages.items()} == {
        "Before": ["S"],
        "Behind": ["S"],
    }
    assert [(p.line, p.message, p.signal, p.mended) for p in problems] == (
        [] if reason is None else [(5, message, signal, True)]
    )
    assert all(problem.reason.startswith(reason or "") for problem in problems)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('SG_ T : 8|8@1+ (.25,0) [0|0] "" X', "'.25' is written without the 0 before its point"),
        ('SG_ T : 8|8@1+ (0.25,0) [-.5|0] "" X', "'-.5' is written without the 0 before its point"),
        ("SG_ T : 8|8@1+ (0.25,0) [0|0]", "it has no unit, no receivers"),
        ("SG_ T : 8|8@1+ (0.25,0)", "it has no limits, no unit, no receivers"),
        ('SG_ T : 8|8@1+ (0.25,0) [0|0] ""', "it has no receivers"),
        (
            'SG_ T : 8|8@1+ (0.25,0) [0,0] "" X',
            "it has no limits, no unit, no receivers; '[0,0] \"\" X' behind it is ignored",
        ),
        ('SG_ T : 8|8@1+ (0.25,0) [0|0] "" X; x', "'; x' behind it is ignored"),
        ('SG_ T : 8|8@1+ (0.25,0) [0|0] "" X Y', ""),
        ('SG_ T:8|8@1+(0.25,0)[0|0]""X,Y', ""),
        ('SG_ T : 8|8@1+ (0.25,0) [0|0] "" X // text', ""),
    ],
)
def test_a_signal_that_can_be_understood_is_read(line: str, reason: str) -> None:
    messages, problems = read(f"{BEFORE} {line}\n{SIGNAL.format('U')}{BEHIND}")
    field = next(f for f in messages["Before"].fields if f.signal.name == "T")
    assert (field.start, field.length, field.signal.factor) == (8, 8, 0.25)
    assert names(messages["Before"]) == ["S", "T", "U"]
    assert "; ".join(problem.reason for problem in problems).startswith(reason)
    assert all(
        (p.line, p.message, p.signal, p.mended) == (5, "Before", "T", True) for p in problems
    )


def test_an_id_of_29_bits_needs_no_mark() -> None:
    messages, problems = read(
        'BO_ 419361278 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] "" X\nVAL_ 419361278 S 1 "on" ;\n'
    )
    assert messages["M"].id == 419361278 | EXTENDED
    assert messages["M"].fields[0].signal.choices == ((1, "on"),)
    assert told(problems) == [
        (3, "M", "", "its id 419361278 has 29 bits; 2147483648 is added to say so")
    ]
    assert problems[0].mended


def test_a_name_may_begin_with_a_digit() -> None:
    messages, problems = read(
        'BO_ 3 2017_5: 8 X\n SG_ 0_COUNTER m1 : 0|8@1+ (1,0) [0|0] "" X\n'
        ' SG_ 1M M : 8|8@1+ (1,0) [0|0] "" X\nVAL_ 3 0_COUNTER 1 "on" ;\n'
    )
    counter = next(f for f in messages["2017_5"].fields if f.signal.name == "0_COUNTER")
    assert counter.branch == (("1M", (1,)),)
    assert counter.signal.choices == ((1, "on"),)
    assert {p.reason for p in problems} == {"its name begins with a digit"}
    assert all(p.mended for p in problems)


def test_a_name_loses_what_qualified_names_give_a_meaning() -> None:
    messages, problems = read('BO_ 3 a.b: 8 X\n SG_ v-1(km/h) : 0|8@1+ (1,0) [0|0] "" X\n')
    assert names(messages["a_b"]) == ["v_1_km_h_"]
    assert [p.mended for p in problems] == [True, True]


def test_a_message_without_sender_or_colon_is_read() -> None:
    messages, problems = read(f"BO_ 3 M 8\n{SIGNAL.format('S')}{BEHIND}")
    assert names(messages["M"]) == ["S"]
    assert told(problems) == [
        (3, "M", "", "the ':' behind its name is missing"),
        (3, "M", "", "its sender is missing"),
    ]


def test_a_lone_m_is_the_multiplexer_that_its_message_lacks() -> None:
    messages, problems = read(
        'BO_ 3 M: 8 X\n SG_ A m : 0|8@1+ (1,0) [0|0] "" X\n SG_ B m1 : 8|8@1+ (1,0) [0|0] "" X\n'
    )
    assert messages["M"].fields[1].branch == (("A", (1,)),)
    assert [(p.line, p.signal, p.mended) for p in problems] == [(4, "A", True)]


@pytest.mark.parametrize(
    ("text", "signal", "reason"),
    [
        (" SG_ T : 8|8@1 (1,0)", "T", "column 16: '(1,0)' is not expected there; SG_ is left out"),
        (
            " SG_ T : 8|8",
            "T",
            "line 6, column 1: 'BO_ 2 Behind: 8 X' is not expected there; SG_ is",
        ),
        (' SG_ T : 8|8@1+ (1,0,) [0|0] "" X', "T", "column 21: ',) [0|0] \"\" X' is not expected"),
        (" SG_", "", "line 6, column 1: 'BO_ 2 Behind: 8 X' is not expected there; SG_ is left"),
        ("VAL_ 1 S 1 on ;", "S", "column 10: '1 on ;' is not expected there; VAL_ is left out"),
        ("SIG_VALTYPE_ 1 S : single;", "S", "column 20: 'single;' is not expected there; SIG_"),
        ("hello, world", "", "column 1: 'hello, world' is not expected there; that is left out"),
    ],
)
def test_what_cannot_be_understood_is_left_out_alone(text: str, signal: str, reason: str) -> None:
    messages, problems = read(f"{BEFORE}{text}\n{BEHIND}")
    assert {name: names(each) for name, each in messages.items()} == {
        "Before": ["S"],
        "Behind": ["S"],
    }
    (problem,) = problems
    assert (problem.line, problem.signal, problem.mended) == (5, signal, False)
    assert problem.reason.startswith(reason)


@pytest.mark.parametrize("bits", ["0", "65", "18446744073709551616"])
def test_a_multiplexer_of_impossible_length_costs_itself_and_its_branches(bits: str) -> None:
    text = f"""BO_ 3 Muxed: 8 X
 SG_ Top M : 0|{bits}@1- (1,0) [0|0] "" X
 SG_ Low m1 : 8|8@1+ (1,0) [0|0] "" X
VAL_ 3 Top 1 "one" ;
"""
    messages, problems = read(f"{BEFORE}{text}{BEHIND}")
    assert {name: names(each) for name, each in messages.items()} == {
        "Before": ["S"],
        "Muxed": [],
        "Behind": ["S"],
    }
    assert [problem.signal for problem in problems] == ["Top", "Low"]


@pytest.mark.parametrize("header", ["BO_ 3 : 8 X", "BO_ x M: 8 X", "B0_ 3 M: 8 X", "BO 3 M : 8 X"])
def test_signals_of_a_message_that_cannot_be_read_do_not_become_those_of_another(
    header: str,
) -> None:
    messages, problems = read(f"{BEFORE}{header}\n{SIGNAL.format('T')}{BEHIND}")
    assert {name: names(each) for name, each in messages.items()} == {
        "Before": ["S"],
        "Behind": ["S"],
    }
    (problem,) = problems
    assert (problem.line, problem.mended) == (5, False)
    assert "the message cannot be read; it is left out with its signals (1)" in problem.reason


def test_of_two_messages_with_one_id_in_a_file_the_first_is_used() -> None:
    again = BEFORE.replace("Before", "Again")
    messages, problems = read(f"{BEFORE}{again}{BEHIND}")
    assert list(messages) == ["Before", "Behind"]
    assert told(problems) == [
        (
            5,
            "Again",
            "",
            "its id is that of message 'Before', line 3; it is left out with its signals (1)",
        )
    ]


def test_a_text_without_its_second_quotation_mark_costs_its_own_statement_only() -> None:
    messages, problems = read(
        f'{BEFORE}VAL_ 1 S 0 "off 1 "on" ;\nCM_ SG_ 1 S "open;\nCM_ BO_ 1 "text";\n{BEHIND}'
        'VAL_ 2 S 1 "on" ;\n'
    )
    assert messages["Before"].fields[0].signal.choices == ()
    assert messages["Behind"].fields[0].signal.choices == ((1, "on"),)
    assert [(p.line, p.mended) for p in problems] == [(5, False), (6, True)]


def test_a_comment_may_have_lines_that_look_like_statements() -> None:
    messages, problems = read(f'{BEFORE}CM_ BO_ 1 "was:\nBO_ 9 Old: 8 X\n";\n{BEHIND}')
    assert list(messages) == ["Before", "Behind"]
    assert problems == []


def test_statements_may_stand_on_one_line_or_on_many() -> None:
    text = BEFORE + BEHIND + 'VAL_ 1 S 1 "on" ; VAL_ 2 S 1 "on" ;'
    for form in (text.replace("\n", " "), text.replace(" : ", "\n:\n"), text.replace("\n", "\r\n")):
        messages, problems = read(form)
        assert problems == []
        assert [names(message) for message in messages.values()] == [["S"], ["S"]]
        assert all(m.fields[0].signal.choices == ((1, "on"),) for m in messages.values())


def test_problems_of_a_hostile_file_are_counted_beyond_ten_thousand() -> None:
    _, problems = read(BEFORE + 'VAL_ 9 Gone 1 "x" ;\n' + "BO_ 1 M: 8 X\n" * 12_000)
    assert [p.reason for p in problems[10_000:]] == [
        "and 2000 more that are not mended",
        "and 1 more that are mended",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "VAL_ //;",
        "SG_MUL_VAL_ 1 S S 0-1,2-3;//x,",
        'CM_ BU_ x\\";',
        '.5(SIG_VALTYPE_ 1 S : 1;BU_:M\\"',
        ";BS_:.;0",
        'BA_DEF_ "a" B "\n',
        'VAL_ 1 S 1 "\n',
        'CM_ "\n"',
    ],
)
def test_hostile_text_is_read_in_linear_time(line: str) -> None:
    # In the square of its size two megabytes take minutes, which the tests' time limit ends.
    try:
        messages, _ = read(BEFORE + line * (2_000_000 // len(line)))
    except CatalogueError:
        return
    assert "Before" in messages


def test_a_file_with_more_statements_that_cannot_be_read_is_none() -> None:
    with pytest.raises(CatalogueError, match=r"line 1000\d: over 10000 statements .*DBC file\?"):
        read(BEFORE + "SG_\n" * 12_000)


@pytest.mark.shared
def test_every_database_of_a_real_car_loads() -> None:
    if not SHARED.is_dir():
        pytest.skip("../shared/data/dbc is not here")
    files = sorted(SHARED.glob("*.dbc"))
    assert len(files) == 57
    for file in files:
        catalogue = Catalogue.load(vehicle({"can": [file]}))
        assert catalogue.names, file
        assert all(p.line and p.reason and (p.message or p.mended) for p in catalogue.problems), (
            file
        )
        lost = [p for p in catalogue.problems if not p.mended]
        # Signals that end behind their message, and ids that no frame can have.
        assert all("after the message's" in p.reason or "29 bits" in p.reason for p in lost), file


WORDS = st.sampled_from(
    [
        *("BO_ 1 M: 8 X\n", ' SG_ S : 0|8@1+ (1,0) [0|0] "" X\n', 'VAL_ 1 S 0 "off" 1 "on" ;\n'),
        *("SG_MUL_VAL_ 1 S S 0-1,2-3;\n", "SIG_VALTYPE_ 1 S : 1;\n", 'CM_ SG_ 1 S "text";\n'),
        *('BA_DEF_ BO_ "VFrameFormat" ENUM "a","J1939PG";\n', 'BA_ "VFrameFormat" BO_ 1 1;\n'),
        *("BO_", " SG_ ", "VAL_", "CM_", "BA_", "NS_ :\n", "BS_:", "BU_: A B\n", "//", "\\"),
        *('"', ";", ":", ",", "|", "@", "(", ")", "[", "]", "+", "-", ".", " ", "\n", "\r\n"),
        *("m", "M", "m0", "m1M", "1", "0", "8", "64", "1e999", "-0.5", ".5", "4294967295", "x"),
    ]
)


@given(st.lists(st.one_of(WORDS, st.text(max_size=3)), max_size=60))
@settings(max_examples=400, deadline=None)
@example(["BO_ 1 M: 8 X\n", " SG_ ", "x", " : "])
def test_any_text_is_read_or_refused_and_costs_no_message_behind_it(words: list[str]) -> None:
    text = "".join(words)
    try:
        messages, _ = parse(f"{text}\n".encode(), FILE)
        refusal = ""
    except CatalogueError as error:
        messages, refusal = [], str(error)
    assert refusal == "" or "car.dbc: line " in refusal
    quotes = text.count('"')
    more, problems = parse(f"{text}\n{BEFORE.replace('BO_ 1', 'BO_ 77')}".encode(), FILE)
    if quotes == 0:  # An open comment may hold what looks like a message.
        assert [names(m) for m in more if m.id == 77] == [["S"]]
    assert len(more) >= len(messages) - quotes
    for problem in problems:
        assert 0 <= problem.line <= text.count("\n") + 4
        assert len(str(problem)) < 600
