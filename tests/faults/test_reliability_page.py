"""docs/reliability.md names rows and tests that exist, and leaves out no row of the outbox."""

import re
from pathlib import Path

from faults.rows import ROWS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text()
TESTS = ROOT / "tests"


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    there = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    assert len(named) > 15
    assert [name for name in sorted(named) if f"def {name}(" not in there] == []


def test_every_row_of_the_outbox_and_of_telemetry_has_its_line():
    begin = ("outbox-", "full-outbox-", "telemetry-")
    rows = {row.name for row in ROWS if row.name.startswith(begin)}
    named = {name for name in re.findall(r"`([a-z-]+)`", PAGE) if name.startswith(begin)}
    assert named == rows
