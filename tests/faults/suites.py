"""Tests that do such things already, as rows: tried is a test, a violation one that fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from .record import Places
from .shares import Found

_ROOT = Path(__file__).parents[2]


def suite(*files: str) -> Callable[[Places, bool, Callable[[int], None]], Found]:
    """Run these files of tests."""

    def work(places: Places, _short: bool, _progress: Callable[[int], None]) -> Found:
        report = places.memory / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", *files, f"--junitxml={report}"]
        run = subprocess.run(
            [*command, "-p", "no:cacheprovider"],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if not report.exists():
            raise RuntimeError(run.stdout)
        found = Found()
        for case in ElementTree.parse(report).iter("testcase"):
            failed = [one.get("message", "") for one in case if one.tag in ("failure", "error")]
            found.add(case.get("name", ""), failed)
        return found

    return work
