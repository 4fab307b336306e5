"""``make faults`` itself, with few tries a row: it finds what is wrong, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.rows import ROWS

TESTS = Path(__file__).parents[1]
SHORT = [row for row in ROWS if row.short]


def faults(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faults", *arguments],
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS / 'telemetry'}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What all rows have found, each in its short form."""
    output = tmp_path_factory.mktemp("faults") / "faults.json"
    run = faults("--short", "--output", str(output))
    rows = {row["name"]: row for row in json.loads(output.read_text())["rows"]}
    assert run.returncode == any(row["violations"] for row in rows.values()), run.stderr
    return rows


# All rows are run for the first of these.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("row", SHORT, ids=[row.name for row in SHORT])
def test_the_fault_does_no_harm(row, found):
    missing = row.missing()
    if missing is not None:
        pytest.skip(missing)
    assert found[row.name]["violations"] == 0, "\n".join(found[row.name]["found"])
    assert found[row.name]["tried"] > 0


def test_a_row_that_does_not_exist_is_told():
    run = faults("--only", "nonsense")
    assert run.returncode == 2
    assert "no such row: nonsense; there are attacks," in run.stderr
