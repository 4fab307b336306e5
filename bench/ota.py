"""Updates: looking for them, installing a large file and a delta, and going on after a kill.

What the car does runs in processes of their own (`bench.ota_car`), over HTTPS from a store or from
a folder, with metadata that the release tool has signed.
"""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench import ota_delta, ota_process, ota_resume
from bench.ota_release import CountingStore, OneCar
from bench.ota_row import at_most

BUILD = Path(__file__).parents[1] / "build"
MB = 1_000_000
LENGTH = 100 * MB
ROUNDS = 7
MOST_RATIO = 1.5
"""Of what is verified and installed to the SHA-256 and a synced copy of the same file."""
MOST_MEMORY, MOST_GROWTH = 60, 8
"""MiB."""
MOST_CHECK = 25
"""Milliseconds of CPU."""


def rows() -> tuple[list[dict[str, Any]], list[str]]:
    """All rows, and why some are left out."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        found = large(Path(name))
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        found += ota_resume.rows(Path(name))
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        more, why = ota_delta.rows(Path(name), BUILD / "bench")
    return found + more, why


def large(folder: Path) -> list[dict[str, Any]]:
    """A file from a folder, and then looks that find nothing new."""
    made = OneCar(folder)
    payload = folder / "payload"
    with payload.open("wb") as file:
        for _ in range(LENGTH // MB):
            file.write(random.randbytes(MB))
    small = folder / "small"
    small.write_bytes(random.randbytes(1000))
    made.give(small)
    first = shutil.copytree(made.published, folder / "first")
    made.give(payload, level=1)
    cars = folder / "cars"
    cars.mkdir()
    about = {"roots": str(made.roots)}
    done = ota_process.run(
        "rounds",
        place=str(cars),
        sticks=[str(first), str(made.published)],
        payload=str(payload),
        count=ROUNDS,
        **about,
    )
    folder_check = ota_process.run(
        "check", place=done["car"], stick=str(made.published), reference=None, ca=None, **about
    )
    with CountingStore(made.published, folder / "store") as store:
        check = ota_process.run("check", place=done["car"], stick=None, **store.asked, **about)
    return [*_installed(done), *_looked(check, folder_check)]


def _installed(done: dict[str, Any]) -> list[dict[str, Any]]:
    both = [(one["ours"], one["peer"]) for one in done["rounds"]]
    (wall, cpu), (peer_wall, peer_cpu) = (
        [statistics.median(part) for part in zip(*side, strict=True)]
        for side in zip(*both, strict=True)
    )
    ratio = statistics.median(ours[0] / peer[0] for ours, peer in both)
    cpu_ratio = statistics.median(ours[1] / peer[1] for ours, peer in both)
    what = "ota: verify and install 100 MB from a folder"
    return [
        {
            "name": f"{what}, beside SHA-256 and synced copy (budget: their ratio)",
            "value": wall * 1e3,
            "unit": "ms",
            "ratio": ratio,
            "budget": MOST_RATIO,
            "peer": peer_wall * 1e3,
            "ok": ratio <= MOST_RATIO,
        },
        {
            "name": f"{what}, CPU time alone",
            "value": cpu * 1e3,
            "unit": "ms",
            "ratio": cpu_ratio,
            "budget": None,
            "peer": peer_cpu * 1e3,
            "ok": True,
        },
        at_most(
            f"{what}, memory of the process (hub's SDK left out)", done["peak"], "MiB", MOST_MEMORY
        ),
        at_most(f"{what}, growth of it", done["peak"] - done["before"], "MiB", MOST_GROWTH),
    ]


def _looked(https: dict[str, Any], folder: dict[str, Any]) -> list[dict[str, Any]]:
    what = "ota: look for updates, nothing new"
    return [
        at_most(f"{what}, over HTTPS", https["cpu"] * 1e3, "ms CPU", MOST_CHECK),
        at_most(f"{what}, in a folder", folder["cpu"] * 1e3, "ms CPU", MOST_CHECK),
    ]


if __name__ == "__main__":
    measured, left_out = rows()
    for row in measured:
        budget = "" if row["budget"] is None else f" (budget {row['budget']})"
        ratio = "" if row["ratio"] is None else f", ratio {row['ratio']:.2f}"
        print(f"{row['name']}: {row['value']:.3f} {row['unit']}{ratio}{budget}")
    print(*left_out, sep="\n")
