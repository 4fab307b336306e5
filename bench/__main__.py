"""``make bench``: every budget in one run, beside its peer; the table on screen, JSON in build/.

The exit code is 0 if every row keeps its budget, 1 if one misses it in two runs of three, and 2 if
a group could not be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import groups, machine
from bench.row import Row


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"))
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        choices=[*groups.GROUPS, *groups.QUICK],
        help=f"only this group, and others so named: {', '.join(groups.GROUPS)}",
    )
    arguments = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=140)
    about = machine.describe()
    console.print(machine.words(about))
    began = time.monotonic()
    rows: list[Row] = []
    left_out: list[str] = []
    failed = False
    known = groups.GROUPS | groups.QUICK
    chosen = [name for name in known if name in (arguments.only or groups.GROUPS)]
    for number, name in enumerate(chosen, 1):
        words = f"{name} ({number} of {len(chosen)}): {known[name]}"
        with console.status(f"{words} ..."):
            try:
                found = groups.measure(name, lambda: groups.LIMIT - (time.monotonic() - began))
            except groups.GroupError as error:
                failed = True
                console.print(f"[red]{error}[/]")
                continue
        missed = sum(not row["ok"] for row in found.rows)
        console.print(f"{words}: {found.seconds:.0f} s{f', {missed} missed' if missed else ''}")
        rows += [{"group": name} | row for row in found.rows]
        left_out += found.left_out
    report = {
        "machine": about,
        "seconds": round(time.monotonic() - began, 1),
        "rows": rows,
        "left_out": left_out,
    } | _series(rows)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    console.print(table(rows))
    for words in left_out:
        console.print(words)
    console.print(f"{report['seconds']:.0f} s; written to {arguments.output}")
    if failed:
        sys.exit(2)
    sys.exit(0 if all(row["ok"] for row in rows) else 1)


def _series(rows: list[Row]) -> dict[str, Any]:
    """Ratios by frames a block, and bytes a sample by seconds a batch, for who plots them."""
    sized = [row for row in rows if "seconds" in row]
    return {
        "decode": {
            str(row["block"]): row["ratio"]
            for row in rows
            if "block" in row and "physical" in row["name"]
        },
        "wire": {f"{row['seconds']}s": row["value"] for row in sized},
        "wire_peer": {f"{row['seconds']}s": row["peer"] for row in sized},
    }


def table(rows: list[Row]) -> Table:
    """The rows as a person reads them."""
    drawn = Table(box=None, pad_edge=False)
    for name, side in (
        ("what", "left"),
        ("ours", "right"),
        ("unit", "left"),
        ("peer", "right"),
        ("", "left"),
        ("peer / ours", "right"),
        ("budget", "right"),
        ("", "left"),
    ):
        drawn.add_column(name, justify=side)
    for row in rows:
        value, peer, budget = row["value"], row["peer"], row["budget"]
        drawn.add_row(
            row["name"],
            f"{value:.3f}",
            row["unit"],
            "" if peer is None else f"{peer:.3f}",
            row.get("versus", ""),
            "" if not peer else f"{peer / value:.1f}",
            "" if budget is None else f"{budget:.3g}",
            "" if budget is None else "[green]ok[/]" if row["ok"] else "[red]missed[/]",
        )
    return drawn


if __name__ == "__main__":
    main()
