"""The command line as such: its verbs, and how it ends when something outside is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ALL = (
    "cat",
    "dbc",
    "drive",
    "hub",
    "manifest",
    "ota",
    "release",
    "simulate",
    "store",
    "telemetry",
)
HIDE = "import sys; sys.modules.update({name: None for name in ('rich', 'cryptography')});"


def bordnetz(*arguments, code="", **options):
    start = f"{code} sys.argv = ['bordnetz', *{arguments!r}]; from bordnetz.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {start}"],
        text=True,
        stderr=subprocess.PIPE,
        **{"stdout": subprocess.PIPE, **options},
    )


def test_the_list_of_verbs_needs_none_of_their_packages():
    run = bordnetz("--help", code=HIDE)
    assert run.returncode == 0, run.stderr
    assert [line.split()[0] for line in run.stdout.split("Commands:")[1].splitlines() if line] == [
        *ALL
    ]


@pytest.mark.parametrize("verb", ALL)
def test_every_verb_explains_itself(verb):
    run = bordnetz(verb, "--help")
    assert run.returncode == 0, run.stderr
    assert "Usage:" in run.stdout


@pytest.mark.parametrize("arguments", [("drive",), ("hub", "run")])
def test_a_verb_whose_packages_are_missing_says_which(arguments, tmp_path):
    run = bordnetz(*arguments, code=HIDE, cwd=tmp_path)
    assert run.returncode == 1
    assert "install bordnetz[laptop]" in run.stderr
    assert "Traceback" not in run.stderr


def test_numpy_gets_no_threads_for_its_small_products():
    tell = "print('numpy' in sys.modules, len(os.listdir('/proc/self/task')))"
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    code = f"import atexit, os; atexit.register(lambda: {tell});"
    run = bordnetz("cat", "--help", code=code, env=environment)
    assert run.stdout.endswith("True 1\n"), run.stdout + run.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_behind_standard_output_is_a_line_and_no_traceback():
    with Path("/dev/full").open("w") as full:
        run = bordnetz("cat", str(Path(__file__).parent / "batch" / "golden" / "v1"), stdout=full)
    assert run.returncode == 1
    assert run.stderr == "bordnetz: standard output: No space left on device\n"
