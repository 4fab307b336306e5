"""``make faults`` itself, with few tries a row: it finds what is wrong, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.rows import ROWS

TESTS = Path(__file__).parents[1]


def faults(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faults", *arguments],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )


SHORT = [row for row in ROWS if row.short]


@pytest.mark.parametrize("row", SHORT, ids=[row.name for row in SHORT])
def test_the_fault_does_no_harm(row, tmp_path):
    missing = row.missing()
    if missing is not None:
        pytest.skip(missing)
    output = tmp_path / "faults.json"
    run = faults("--short", "--only", row.name, "--output", str(output))
    assert run.returncode == 0, run.stdout + run.stderr
    (found,) = json.loads(output.read_text())["rows"]
    assert found["name"] == row.name
    assert found["tried"] > 0
    assert found["violations"] == 0


def test_a_row_that_does_not_exist_is_told():
    run = faults("--only", "nonsense")
    assert run.returncode == 2
    assert "no such row: nonsense; there are attacks," in run.stderr
