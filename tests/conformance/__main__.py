"""``make conformance``: all frames of all DBC files; a line a file, JSON in build/."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from .compare import Tally, compare_file, compare_text
from .generated import databases
from .payloads import GENERATED, WHOLE

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "dbc"
_GENERATED = 1000
"""Databases that are drawn: of each width."""
_COLUMNS = ("messages", "by_bits", "frames", "values", "mismatches")


def main() -> None:
    """Compare, print, write; the exit code is 1 for a mismatch, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="DBC files; those of all by default")
    parser.add_argument("--seed", type=int, default=1, help="of random data")
    parser.add_argument("--output", type=Path, default=Path("build/conformance.json"))
    arguments = parser.parse_args()
    files = arguments.files or [*sorted((ROOT / "dbc").glob("*.dbc")), *_shared()]
    seed = arguments.seed
    began = time.monotonic()
    total, rows = Tally(), []
    _say(f"{'file':48}" + "".join(f"{_head(column):>12}" for column in _COLUMNS))
    # What takes long first, so that no core waits for it at the end.
    files.sort(key=lambda file: -file.stat().st_size)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        running = {}
        if not arguments.files:
            for width in (8, 64):
                drawn = pool.submit(_compare_generated, width, seed)
                running[drawn] = f"{_GENERATED} drawn at random, {width} bytes"
        running |= {pool.submit(compare_file, file, WHOLE, seed): file.name for file in files}
        for done in as_completed(running):
            tally = done.result()
            total += tally
            rows.append({"file": running[done]} | dataclasses.asdict(tally))
            _say(_row(running[done] + (" *" if tally.mended else ""), tally))
            for words in tally.told:
                _say(f"    {words}")
    _say(_row(f"all, of them {total.files} files", total))
    _say("* cantools loads it only mended; by bits: messages that it loads but cannot decode")
    left_out = [] if _shared() else ["Databases of real cars are not here (../shared): left out"]
    for words in left_out:
        _say(words)
    seconds = round(time.monotonic() - began, 1)
    report = {"all": dataclasses.asdict(total), "files": rows, "left_out": left_out}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report | {"seconds": seconds}, indent=2) + "\n")
    _say(f"{seconds:.0f} s; written to {arguments.output}")
    sys.exit(1 if total.mismatches or not total.values else 0)


def _compare_generated(width: int, seed: int) -> Tally:
    """Compare databases that are drawn at random."""
    total = Tally()

    @seeded(seed)
    @settings(
        max_examples=_GENERATED,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(databases(width), st.integers(0, 2**32))
    def compare_one(text: str, chance: int) -> None:
        nonlocal total
        total += compare_text(text, width, GENERATED, chance)

    compare_one()
    return total


def _shared() -> list[Path]:
    return sorted(SHARED.glob("*/*.dbc"))


def _head(column: str) -> str:
    return column.replace("_", " ")


def _row(name: str, tally: Tally) -> str:
    return f"{name:48}" + "".join(f"{getattr(tally, column):12,}" for column in _COLUMNS)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
