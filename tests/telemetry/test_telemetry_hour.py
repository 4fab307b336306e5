"""An hour without a hub, in a machine whose clock jumps ahead whenever nobody has work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
KERNELS = [*CACHE.glob("with-vcan/linux-uml-*"), *TESTS.glob("linux-uml-*.xz")]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not (KERNELS or os.environ.get("WITH_VCAN_UML")),
    reason="no kernel with simulated time; tests/with-vcan --engine uml --prepare builds it",
)
def test_after_an_hour_without_a_hub_everything_arrives():
    run = subprocess.run(
        [
            *(TESTS / "with-vcan", "--engine", "uml", "--time-travel", "skip"),
            *("--", sys.executable, TESTS / "telemetry" / "hour_without_hub.py"),
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    outcome = json.loads(run.stdout.splitlines()[-1])
    status = outcome["status"]
    assert outcome["seconds"] > 3600
    assert status["upSeconds"] > 3600
    assert status["frames"] == {
        "received": 360,
        "decoded": 360,
        "notAsked": 0,
        "notData": 0,
        "dropped": {},
    }
    assert status["samples"] == {
        "decoded": 360,
        "stored": 360,
        "held": 0,
        "dropped": {},
        "givenUp": {},
    }
    assert outcome["arrived"].count("batch.1") == status["batches"] > 10
    assert outcome["exit"] == 0
