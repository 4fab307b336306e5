"""Every fault of the hub, alone and in pairs, for up to an hour each: the row ``hub-knobs``.

Modules, hub and SDK are real; the machines that they run in let idle waits pass at once
(``tests/with-vcan --time-travel skip``), so that an hour takes half a minute.

plan     which faults when
bench    hub, module and faults, inside a machine
module   the module, which tells what it does
outcome  what was seen of a try
checks   what must hold after it
order    of these, that the most urgent message leaves first
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from .knobs_outcome import Figures
from .knobs_plan import LONGEST, draw, names
from .record import Places
from .shares import Found

SHORT = ("go-silent", "drop-link+hub-killed", "refuse-auth+cap-packets")
_BRIEFLY = 60.0
_EACH = 6
"""Tries of one machine: one module and one outbox live through them all."""
_TIMEOUT = 1800
_TESTS = Path(__file__).parents[1]


def hub_knobs(places: Places, short: bool, progress: Callable[[int], None]) -> Found:
    """All tries, with a machine a core at a time."""
    longest = _BRIEFLY if short else LONGEST
    tries = [SHORT] if short else _loads([*names()])
    found, figures = Found(), list[Figures]()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        running = [
            pool.submit(_machine, places.memory / str(number), some, longest)
            for number, some in enumerate(tries)
        ]
        for one in as_completed(running):
            for name, wrong, numbers in one.result():
                found.add(name, wrong)
                figures += [Figures(**numbers)] if numbers else []
            progress(found.tried)
    if figures:
        found.figures.append(f"{len(figures)} tries, {Figures.joined(figures)}")
    return found


def _loads(every: list[str]) -> list[Sequence[str]]:
    """Shares of about the same length, each with long tries and short ones."""
    every.sort(key=lambda name: draw(name).end, reverse=True)
    count = -(-len(every) // _EACH)
    return [every[first::count] for first in range(count)]


def _machine(
    out: Path, some: Sequence[str], longest: float
) -> list[tuple[str, list[str], dict[str, Any] | None]]:
    """Some tries on one machine: of each its name, what is wrong, and its figures."""
    out.mkdir()
    command: list[str | Path] = [_TESTS / "with-vcan", "--engine", "uml", "--time-travel", "skip"]
    command += ["--timeout", str(_TIMEOUT), "--out", out, "--"]
    command += [sys.executable, "-m", "faults.knobs_bench", out / "found.jsonl"]
    run = subprocess.run(
        [*command, json.dumps(some), str(longest)],
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    result = []
    if (out / "found.jsonl").exists():
        lines = map(json.loads, (out / "found.jsonl").read_text().splitlines())
        result = [(line["name"], line["wrong"], line["figures"]) for line in lines]
    if run.returncode:
        left = [name for name in some if name not in {name for name, _, _ in result}]
        words = f"the machine ended with {run.returncode}: {run.stdout[-1000:]}"
        result.append((f"{left}", [words], None))
    return result
