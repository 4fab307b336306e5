"""Lets libFuzzer look for what no door expects: run by hand where atheris is installed.

    PYTHONPATH=tests:tests/telemetry python -m faults.fuzz DOOR FOLDER [libFuzzer options]

FOLDER keeps what was found; seeds are written into it first.  What leads to new places and is
small is worth a place among the seeds of ``make faults``.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bordnetz"]):
    from .doors import DOORS


def main(name: str, folder: Path, options: list[str]) -> None:
    """Look for as long as the options say."""
    door = next(door for door in DOORS if door.name == name)
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(door.seeds()):
        (folder / f"seed-{number}").write_bytes(one)
        door.enter(one)
    atheris.Setup([name, str(folder), *options], door.enter)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
