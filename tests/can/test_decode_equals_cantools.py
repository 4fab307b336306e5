from __future__ import annotations

import gzip
from pathlib import Path

import cantools
import pytest
from conformance.compare import Tally, compare_file, compare_text
from conformance.generated import databases
from conformance.payloads import GENERATED, SAMPLE
from decode_oracle import assert_raw_equal, by_cantools, by_table, frames, vehicle
from hypothesis import given, settings
from hypothesis import strategies as st

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.table import DecodeTable
from bordnetz.series import EXTENDED

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "dbc"


@given(databases(8), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_every_value_of_a_classic_frame_equals_cantools(text: str, seed: int) -> None:
    assert compare_text(text, 8, GENERATED, seed).told == []


@given(databases(64), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_every_value_of_a_can_fd_frame_equals_cantools(text: str, seed: int) -> None:
    assert compare_text(text, 64, GENERATED, seed).told == []
    # A message may come in a classic frame, too, which is then a short one.
    assert compare_text(text, 8, GENERATED, seed).told == []


def test_every_value_of_the_demo_vehicle_equals_cantools() -> None:
    files = sorted((ROOT / "dbc").glob("*.dbc"))
    assert files
    for file in files:
        tally = compare_file(file, GENERATED)
        assert tally.told == []
        assert tally.values > 1000


@pytest.mark.shared
@pytest.mark.slow
def test_every_value_of_real_databases_equals_cantools() -> None:
    """The same as ``make conformance``, of few frames of each message."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data/dbc is not here")
    total = Tally()
    for file in sorted(SHARED.glob("*/*.dbc")):
        total += compare_file(file, SAMPLE)
    assert total.told == []
    assert total.files > 60
    assert total.mended >= 10
    assert total.by_bits > 150
    assert total.values > 50_000


@pytest.mark.shared
def test_a_recording_of_a_truck_equals_cantools() -> None:
    log = SHARED.parent / "logs" / "truck-j1939-400s.log.gz"
    if not log.is_file():
        pytest.skip("../shared/data/logs is not here")
    dbc = SHARED / "css" / "CSS-Electronics-SAE-J1939-DEMO.dbc"
    rows = []
    with gzip.open(log, "rt") as lines:
        for line in lines:
            name, _, data = line.split()[2].partition("#")
            rows.append((0, int(name, 16) | EXTENDED, bytes.fromhex(data)))
    assert len(rows) == 139_136
    table = DecodeTable.compile(Catalogue.load(vehicle({"bus": [dbc]})))
    # As in the database, of all sources: the log's engine is 0x00, the database says 0xFE.
    messages = {m.frame_id >> 8 & 0x3FFFF: m for m in cantools.database.load_file(dbc).messages}
    decoded = 0
    for at in range(0, len(rows), 3000):
        part = rows[at : at + 3000]
        ours = by_table(table.decode(frames(part)), len(part))
        for (_, frame_id, data), values in zip(part, ours, strict=True):
            message = messages.get(frame_id >> 8 & 0x3FFFF)
            assert_raw_equal(values, by_cantools(message, data) if message else {})
            decoded += bool(values)
    assert decoded > 1000
