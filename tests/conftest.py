"""Tests that need what not every machine has are skipped with the reason; CI has it all."""

import fcntl
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SHARED = Path(__file__).parents[2] / "shared" / "data"
INTERFACES = ("vcan0", "vcan1", "vcan2")

# The longest files, which are begun first: the last one to be begun decides when all are done.
LONG = (
    "test_telemetry_hour",
    "test_days_without_cloud",
    "test_drive_update",
    "test_faults",
    "test_drive_command",
    "test_engine_head_unit",
    "test_engine_crashes",
    "test_telemetry_hub",
    "test_ota_update",
    "test_telemetry_inputs",
    "test_drive_recordings",
    "test_drive_truck_and_boat",
    "test_vehicle_signals",
    "test_decode_equals_cantools",
    "test_hub_command",
    "test_link",
    "test_link_faults",
    "test_module",
    "test_telemetry_state",
    "test_telemetry_bundle",
)

# A loaded machine is no reason to fail.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    turn = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: turn.get(item.path.stem, len(LONG)))
    missing = [name for name in INTERFACES if not Path("/sys/class/net", name).exists()]
    for item in items:
        if missing and item.get_closest_marker("vcan"):
            reason = f"no {', '.join(missing)} here; run this by tests/with-vcan"
            item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="../shared/data is not here"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, what is skipped for want of something that .ci/run should have installed has failed.

    .ci/run runs the tests for vcan apart and says so; the recordings of ../shared are not its own.
    """
    report = yield
    excused = (
        item.get_closest_marker("vcan") and os.environ.get("BORDNETZ_VCAN_ELSEWHERE") == "1"
    ) or (item.get_closest_marker("shared") and not SHARED.is_dir())
    if os.environ.get("CI") == "true" and report.skipped and not excused:
        report.outcome = "failed"
        report.longrepr = f"skipped, but CI should have what it needs: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def one_user_of_vcan(request: pytest.FixtureRequest) -> Iterator[None]:
    """There is one set of vcan interfaces, and tests may run in several processes."""
    if request.node.get_closest_marker("vcan") is None:
        yield
        return
    with Path(tempfile.gettempdir(), "bordnetz-vcan.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def shared() -> Path:
    """The folder of real recordings and databases; for tests marked ``shared``."""
    return SHARED
