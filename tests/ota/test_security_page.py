"""docs/security.md: every test that it names is there and runs, and every rule has one."""

import ast
import re

import pytest
from pages import ROOT, Page

from bordnetz.laptop.update.attacks import ATTACKS
from bordnetz.release.settings import Days
from bordnetz.uptane.errors import Kind

PAGE = Page("security.md")
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE.text)))
UPTANE = ("attack", "rule", "kind", "where", "tests")
STOLEN = PAGE.table("stolen", "possible", "not")
ATTACK_ROWS = PAGE.table(*UPTANE)
KIND_ROWS = PAGE.table("kind", "rule", "where", "tests")
OTHER_ROWS = PAGE.table("threat", "rule", "where", "tests")

# Uptane Standard 2.1, "Threat model and attack strategies".
STRATEGIES = [
    "eavesdrop",
    "drop request",
    "slow retrieval",
    "freeze",
    "partial bundle installation",
    "rollback",
    "endless data",
    "mixed bundles",
    "mix and match",
    "arbitrary software",
]


def functions():
    """Every test there is, by name, with its decorators and its first statement."""
    found = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if function and node.name.startswith("test_"):
                found.setdefault(node.name, []).append(node)
    return found


TESTS = functions()


def skipped(node):
    """Whether a test never runs, or never fails, on any machine."""
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if re.search(r"\b(skip|xfail)$", ast.unparse(called)):
            return True
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return bool(body) and re.match(r"(pytest\.)?(skip|xfail)\(", ast.unparse(body[0])) is not None


def named_in(cell):
    return re.findall(r"`(test_\w+)`", cell)


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_the_page_names_is_there_and_is_not_skipped(name):
    assert name in TESTS, "there is no such test any more"
    assert not any(skipped(node) for node in TESTS[name])


def test_a_skipped_test_would_be_noticed():
    source = """
@pytest.mark.skip(reason="x")
def test_a(): pass
@pytest.mark.xfail
def test_b(): pass
def test_c():
    "Text."
    pytest.skip("never")
@pytest.mark.skipif(no_disk, reason="x")
def test_d(): pass
def test_e():
    if no_disk:
        pytest.skip("here")
"""
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in nodes if skipped(node)] == ["test_a", "test_b", "test_c"]


def test_every_attack_of_uptanes_list_has_a_row_with_tests():
    assert [row[0] for row in ATTACK_ROWS] == STRATEGIES
    for attack, *_, tests in ATTACK_ROWS:
        assert named_in(tests), attack


def test_every_attack_is_judged_for_every_set_of_keys():
    sets = ("nothing", "director: snapshot, timestamp", "director: all")
    matrix = PAGE.table("attack", *sets, "image: snapshot, timestamp", "image: all", "both: all")
    assert [row[0] for row in matrix] == STRATEGIES
    assert all(len(row) == 7 and all(row) for row in matrix)
    days = Days()
    freeze = next(row for row in matrix if row[0] == "freeze")
    assert freeze[1] == f"{days.timestamp} days"
    assert freeze[2] == freeze[4] == f"{days.targets} days"


def test_every_kind_of_refusal_has_a_row_with_tests():
    kinds = [re.findall(r"`(\w+)`", row[2]) for row in ATTACK_ROWS]
    kinds += [re.findall(r"`(\w+)`", row[0]) for row in KIND_ROWS]
    named = [kind for found in kinds for kind in found]
    assert sorted(named) == sorted(kind.value for kind in Kind)
    for kind, *_, tests in KIND_ROWS:
        assert named_in(tests), kind


def test_every_kind_is_told_by_something():
    sources = [
        path.read_text()
        for path in (ROOT / "modules/bordnetz").rglob("*.py")
        if path.name != "errors.py"
    ]
    for kind in Kind:
        assert any(f"Kind.{kind.name}" in text for text in sources), kind


def test_every_other_threat_has_a_test():
    for threat, *_, tests in OTHER_ROWS:
        assert named_in(tests), threat


def test_every_set_of_stolen_keys_has_a_test_of_what_it_is_not_good_for():
    compromised = ROOT / "tests/uptane/test_compromised_keys.py"
    for stolen, possible, refused in STOLEN:
        assert named_in(refused) or "(the same test)" in refused, stolen
        assert named_in(possible + refused), stolen
    there = set(re.findall(r"^def (test_\w+)", compromised.read_text(), re.MULTILINE))
    table = {name for row in STOLEN for cell in row for name in named_in(cell)}
    assert there <= table | set(NAMED), there - table - set(NAMED)


@pytest.mark.parametrize(
    "path",
    sorted(
        {
            path
            for row in [*ATTACK_ROWS, *KIND_ROWS, *OTHER_ROWS]
            for path in re.findall(r"`([\w/]+\.py)`", row[-2])
        }
    ),
)
def test_the_code_that_a_rule_stands_in_is_there(path):
    assert (ROOT / "modules/bordnetz" / path).is_file()


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_what_a_drive_attacks_is_a_row_of_the_page(attack):
    words = {word for row in [*ATTACK_ROWS, *KIND_ROWS] for word in re.findall(r"`(\w+)`", row[2])}
    words |= {row[0].strip("`") for row in KIND_ROWS} | {"partialBundle"}
    assert attack in words
