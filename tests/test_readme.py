"""The README promises; its promises name the tests that attack them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+)`", README)))
LINKS = sorted(set(re.findall(r"\]\(([^)#:]+)\)", README)))


def test_every_promise_names_a_test_that_exists():
    there = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(NAMED) > 10
    assert [name for name in NAMED if f"def {name}(" not in there] == []


@pytest.mark.parametrize("target", LINKS)
def test_what_the_readme_points_to_is_there(target):
    assert (ROOT / target).exists()


def test_the_commands_that_it_teaches_are_targets_of_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    taught = set(re.findall(r"make ([a-z]+)", README))
    assert taught <= targets, taught - targets
