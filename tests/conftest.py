"""Tests that need what not every machine has: skipped with the reason, or failed in CI."""

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"
INTERFACES = ("vcan0", "vcan1", "vcan2")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in INTERFACES if not Path("/sys/class/net", name).exists()]
    elsewhere = os.environ.get("BORDNETZ_VCAN_ELSEWHERE") == "1"
    for item in items:
        if missing and item.get_closest_marker("vcan"):
            reason = f"no {', '.join(missing)} here; run this by tests/with-vcan"
            if elsewhere or os.environ.get("CI") != "true":
                item.add_marker(pytest.mark.skip(reason=reason))
            else:
                item.fixturenames.insert(0, "_fails_without_vcan")
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="../shared/data is not here"))


@pytest.fixture
def _fails_without_vcan() -> None:
    pytest.fail("CI should have run this where vcan0..2 are, or set BORDNETZ_VCAN_ELSEWHERE=1")


@pytest.fixture
def shared() -> Path:
    """The folder of real recordings and databases; for tests marked ``shared``."""
    return SHARED
