"""Days of a car within minutes: what telemetry costs does not grow, and everything arrives.

The row has a machine of its own, whose time goes on at once where nobody has work; what happens in
it is `soak_days`, who does it `soak_car`, and what must hold `soak_ledger`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

from .record import Places
from .shares import Found

_TESTS = Path(__file__).parents[1]
_LIMIT = "3000"
"""Seconds after which the machine is ended, on a machine that is busy with other things, too."""
_MACHINE = ("--engine", "uml", "--time-travel", "sim", "--timeout", _LIMIT)


def soak(places: Places, short: bool, progress: Callable[[int], None]) -> Found:
    """Three days, or two hours."""
    out = places.memory / "soak"
    out.mkdir()
    found = out / "found.json"
    wanted = (sys.executable, "-m", "faults.soak_car", found, *(["--short"] if short else []))
    said: list[str] = []
    with Popen(
        [_TESTS / "with-vcan", *_MACHINE, "--out", out, "--", *wanted],
        cwd=_TESTS,
        env={**os.environ, "PYTHONPATH": f"{_TESTS}:{_TESTS / 'telemetry'}"},
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
    ) as machine:
        for line in machine.stdout or ():
            said.append(line)
            progress(len(said))
    if machine.returncode or not found.exists():
        raise RuntimeError(f"exit code {machine.returncode}: {''.join(said)[-4000:]}")
    return Found(**json.loads(found.read_text()))
