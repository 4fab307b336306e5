"""What telemetry says of DBC files that are not as they should be."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.vehicle import Vehicle
from bordnetz.telemetry.module import _tell_problems

TEXT = """BO_ 1 M: 2 X
 SG_ A : 0|8@1+ (.5,0) [0|0] "" X
"""


def loaded(folder: Path, late: int) -> Catalogue:
    lines = (f' SG_ Late{n} : 12|8@1+ (1,0) [0|0] "" X\n' for n in range(late))
    (folder / "car.dbc").write_text(TEXT + "".join(lines))
    bus = {"name": "can", "interface": "unix", "channel": "can", "dbc": ["car.dbc"]}
    return Catalogue.load(Vehicle.parse({"name": "car", "bus": [bus]}, folder / "vehicle.toml"))


def test_the_log_has_what_is_lost_and_how_much_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    catalogue = loaded(tmp_path, 52)
    _tell_problems(catalogue)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(catalogue.lost) == 52
    assert len(warned) == 51
    assert warned[0].endswith(
        "car.dbc:3: signal 'Late0' of message 'M': ends 4 bits after the "
        "message's 2 bytes; it is left out"
    )
    assert warned[-1] == "and 2 more of the kind"
    (info,) = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert "1 mended" in info
