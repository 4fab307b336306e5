"""``make bench``: every budget in one run, beside its peer; the table on screen, JSON in build/."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import decode, ota, release, wire

NEEDS_SHARED = "left out: its recordings and databases are not here (../shared)"


def main() -> None:
    """Measure, print, write; the exit code is 1 if a budget is missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"))
    arguments = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=120)
    with console.status("decode, against cantools ..."):
        decoded = decode.rows()
    with console.status("wire size, against the row layout ..."):
        sized = wire.rows()
    with console.status("release, against its signatures alone ..."):
        signed = release.rows()
    with console.status("updates: a large file, downloads that are killed, a delta ..."):
        updated, left_out = ota.rows()
    if not sized:
        left_out.insert(0, f"Wire size {NEEDS_SHARED}")
    report: dict[str, Any] = {
        "rows": decoded + sized + signed + updated,
        "decode": decode.ratios(decoded),
        "wire": wire.wire(sized),
        "wire_peer": wire.wire_peer(sized),
        "left_out": left_out,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    console.print(table(report["rows"]))
    for words in left_out:
        console.print(words)
    console.print(f"Written to {arguments.output}")
    sys.exit(0 if all(row["ok"] for row in report["rows"]) else 1)


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows as a person reads them."""
    drawn = Table(box=None, pad_edge=False)
    for name, side in (
        ("what", "left"),
        ("ours", "right"),
        ("unit", "left"),
        ("peer", "right"),
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
            "" if not peer else f"{peer / value:.1f}",
            "" if budget is None else f"{budget:g}",
            "" if budget is None else "[green]ok[/]" if row["ok"] else "[red]missed[/]",
        )
    return drawn


if __name__ == "__main__":
    main()
