"""The groups of rows, and how a group is measured: in a process of its own, again if it misses."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.row import Row

GROUPS = {
    "decode": "decoding, against cantools",
    "start": "process start, as the decoder and as the telemetry module",
    "capture": "receiving, against python-can",
    "ceiling": "the most that one core takes",
    "validity": "checks of frames and quality of samples, as a share of capture and decoding",
    "encode": "encoding batches",
    "share": "share of a core at a steady load, against python-can and cantools",
    "process": "the telemetry process at a steady load, with a hub",
    "peers": "decoders of other projects",
    "wire": "wire size, against the row layout",
    "release": "signing a fleet's metadata, against its signatures alone",
    "ota": "updates: a large file, downloads that are killed, a delta",
}
"""Module ``bench.NAME``, which has `rows`, and what it measures.

``rows()`` gives the rows, or the rows and lines that say what is left out and why.
"""

QUICK = {"quick": "ratios that a change must not spoil"}
"""Not among the others: its rows are theirs, measured in less time."""

LIMIT = 15 * 60.0
"""Seconds for everything: a group is measured again only if that fits."""

_LONGEST = 300.0
"""Seconds for one group: more, and it hangs."""

_OF_THREE = 2

Run = Callable[[str], tuple[list[Row], list[str]]]
"""Measures a group once: its rows, and what is left out."""


class GroupError(Exception):
    """A group could not be measured."""


@dataclass(slots=True)
class Result:
    """A group as measured.

    Attributes:
        rows: With the verdict over all runs; ``runs`` says how many it took.
        left_out: Lines that say what could not be measured here, and why.
        seconds: On the wall, all runs together.
    """

    rows: list[Row]
    left_out: list[str]
    seconds: float


def measure(name: str, time_left: Callable[[], float], run: Run | None = None) -> Result:
    """Measure a group, and again while a row that missed its budget may have had bad luck.

    Args:
        name: One of `GROUPS`.
        time_left: Seconds that may still be spent.
        run: Measures once; None: in a new process.

    Raises:
        GroupError: It could not be measured.
    """
    run = run or _in_process
    began = time.monotonic()
    first, left_out = run(name)
    tries = {row["name"]: [row] for row in first}
    while not all(map(decided, tries.values())):
        spent = time.monotonic() - began
        if time_left() < spent:
            left_out.append(f"There was no time to measure {name} again.")
            break
        for row in run(name)[0]:
            if row["name"] in tries and not decided(tries[row["name"]]):
                tries[row["name"]].append(row)
    rows = [
        runs[-1] | {"runs": len(runs), "ok": runs[-1]["ok"] and decided(runs)}
        for runs in tries.values()
    ]
    return Result(rows, left_out, time.monotonic() - began)


def decided(runs: list[Row]) -> bool:
    """Whether a row has kept its budget at once, or kept or missed it in two runs of three."""
    return runs[0]["ok"] or sum(row["ok"] == runs[-1]["ok"] for row in runs) == _OF_THREE


def _in_process(name: str) -> tuple[list[Row], list[str]]:
    """One run in a new process: neither heap nor caches of another group show in the figures."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        command = [sys.executable, "-m", "bench.groups", name, answer.name]
        try:
            subprocess.run(command, check=True, timeout=_LONGEST, stdout=subprocess.DEVNULL)
        except subprocess.SubprocessError as error:
            raise GroupError(f"{name}: {error}") from error
        found: dict[str, Any] = json.loads(Path(answer.name).read_text())
    return found["rows"], found["left_out"]


def _once(name: str) -> tuple[list[Row], list[str]]:
    found = import_module(f"bench.{name}").rows()
    return found if isinstance(found, tuple) else (found, [])


def main(arguments: list[str]) -> None:
    """Measure one group in this process, and write what it gives as JSON."""
    name, answer = arguments
    rows, left_out = _once(name)
    Path(answer).write_text(json.dumps({"rows": rows, "left_out": left_out}))


if __name__ == "__main__":
    main(sys.argv[1:])
