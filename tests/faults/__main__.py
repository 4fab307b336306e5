"""``make faults``: every row of faults, cheapest first; the counts on screen, JSON in build/."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from .replay import KEPT
from .rows import ROWS, Row
from .scenario import Child
from .shares import Found, places
from .system import own_mounts

_EVERY = 10.0
"""Seconds between two words on a long row."""


def main() -> None:
    """Run, print, write; the exit code is 1 if anything is violated, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("--only", default="", help=f"rows, separated by commas: {', '.join(names)}")
    parser.add_argument("--short", action="store_true", help="few tries a row")
    parser.add_argument("--output", type=Path, default=Path("build/faults.json"))
    arguments = parser.parse_args()
    only = [name for name in arguments.only.split(",") if name]
    if unknown := set(only) - set(names):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen = [
        row for row in ROWS if (row.name in only if only else row.short or not arguments.short)
    ]
    shutil.rmtree(KEPT, ignore_errors=True)
    report = [_run(row, short=arguments.short) for row in chosen]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"rows": report}, indent=2) + "\n")
    _say(f"\n{'row':32} {'tried':>7} {'violations':>10} {'seconds':>8}")
    for row in report:
        tail = f"  {row['skipped']}" if row["skipped"] else ""
        counts = f"{row['tried']:7} {row['violations']:10} {row['seconds']:8.1f}"
        _say(f"{row['name']:32} {counts}{tail}")
    tried, violations = (sum(row[key] for row in report) for key in ("tried", "violations"))
    _say(f"{'all':32} {tried:7} {violations:10} {sum(row['seconds'] for row in report):8.1f}")
    _say(f"Written to {arguments.output}")
    sys.exit(1 if violations else 0)


def _run(row: Row, *, short: bool) -> dict[str, Any]:
    _say(f"{row.name}: {row.what}")
    began = time.monotonic()
    missing = row.missing()
    if missing is not None:
        # CI has all that is needed.
        violations = int(os.environ.get("CI") == "true")
        _say(f"  {'FAILED' if violations else 'left out'}: {missing}")
        return _line(row, Found(0, violations, [missing]), 0.0, missing)
    # What is mounted goes with the child.
    ended = Child(lambda: _found(row, short=short)).wait(None)
    found = ended.value or Found(0, 1, [f"the harness fails: {ended.crashed or ended}"])
    seconds = time.monotonic() - began
    verdict = "VIOLATED" if found.violations else "ok"
    _say(f"  {found.tried} tried, {found.violations} violations, {seconds:.1f} s: {verdict}")
    for line in (*found.words, *found.figures):
        _say(f"    {line}")
    return _line(row, found, seconds, None)


def _line(row: Row, found: Found, seconds: float, skipped: str | None) -> dict[str, Any]:
    return {
        "name": row.name,
        "what": row.what,
        "tried": found.tried,
        "violations": found.violations,
        "seconds": round(seconds, 1),
        "found": found.words,
        "figures": found.figures,
        "skipped": skipped,
    }


def _found(row: Row, *, short: bool) -> Found:
    own_mounts()
    # What is told to an operator is told thousands of times here.
    logging.disable()
    said = time.monotonic()

    def progress(tried: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _EVERY:
            said = time.monotonic()
            _say(f"  {tried} tried so far")

    with places() as where:
        found = row.work(where, short, progress)
    return found if found.tried else Found(0, 1, ["nothing was tried"])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
