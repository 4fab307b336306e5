"""Drives through what a real truck and a real boat said: each frame is in one book, and right.

The oracles read the recordings with python-can, frame by frame, and decode with cantools.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import can
import cantools
import pytest
from drive_process import balances
from drive_recordings import Series, by_cantools, by_reader, pgn

from bordnetz.series import EXTENDED

TRUCK = Path("logs/truck-j1939-400s.log.gz")
TRUCK_DBC = Path("dbc/css/CSS-Electronics-SAE-J1939-DEMO.dbc")
TRUCK_PGNS = {61444, 65265}
BOAT = Path("logs/boat-nmea2000-300s.log.gz")
NMEA_DBC, GNSS_DBC = Path("dbc/css/tp_nmea.dbc"), Path("dbc/css/gnss.dbc")
POSITION = 129029

pytestmark = pytest.mark.shared


def recorded(file: Path) -> list[can.Message]:
    with can.LogReader(file) as log:
        return list(log)


def books(decoded: int, of: int) -> dict[str, object]:
    """Those of a bus of which so many frames are decoded, and nobody asked for the others."""
    return {
        "frames": of,
        "frames_decoded": decoded,
        "frames_not_asked": of - decoded,
        "frames_not_data": 0,
        "frames_dropped": 0,
        "dropped": {},
    }


def test_each_frame_of_the_truck_is_in_one_book_and_every_sample_is_cantools(start_drive, shared):
    drive = start_drive("--log", shared / TRUCK, "--dbc", shared / TRUCK_DBC, "--speed", "max")
    report = drive.succeeds()
    frames = recorded(shared / TRUCK)
    wanted = sum(pgn(frame.arbitration_id) in TRUCK_PGNS for frame in frames)
    assert 5_000 < wanted < len(frames) == 139_136
    assert report["buses"] == {"can0": books(wanted, len(frames))}
    assert balances(report)
    expected = by_cantools(frames, {"can0": shared / TRUCK_DBC}, TRUCK_PGNS)
    assert by_reader(drive.batches()) == expected
    assert sum(map(len, expected.values())) == report["samples"]


def test_each_frame_of_the_boat_is_in_one_book_and_every_sample_is_cantools(
    start_drive, shared, tmp_path
):
    """Positions come in fast packets of seven frames, by NMEA 2000; the logger's own in one."""
    drive = start_drive("--log", shared / BOAT, "--vehicle", boat(shared, tmp_path), "--speed=max")
    report = drive.succeeds()
    frames = recorded(shared / BOAT)
    by_bus = Counter(frame.channel for frame in frames)
    parts = [frame for frame in frames if is_position(frame)]
    assert len(parts) == 300 * 7
    logger = [frame for frame in frames if frame.channel == "can1"]
    assert report["frames"] == len(frames) == 84_730
    assert report["buses"] == {
        "can0": books(len(parts), by_bus["can0"]),
        "can1": books(len(logger), by_bus["can1"]),
    }
    assert balances(report)
    expected = by_cantools(logger, {"can1": shared / GNSS_DBC})
    expected.update(positions(parts, shared / NMEA_DBC))
    assert by_reader(drive.batches()) == expected
    assert sum(map(len, expected.values())) == report["samples"]
    # On Lake Ontario, where it was; the DBC file's last three signals did not come.
    ours = {name.rpartition(".")[2]: values for (name, _), values in expected.items()}
    assert {round(value, 2) for _, value in ours["latitude"]} == {43.86}
    assert {round(value, 2) for _, value in ours["longitude"]} == {-78.94}
    assert "ageOfDgnssCorrections" not in ours


def test_whoever_does_not_say_that_the_boat_speaks_nmea_2000_is_told(start_drive, shared):
    databases = [f"--dbc=can0={shared / NMEA_DBC}", f"--dbc=can1={shared / GNSS_DBC}"]
    drive = start_drive("--log", shared / BOAT, *databases, "--speed", "max")
    report = drive.succeeds()
    assert balances(report)
    assert "telemetry said" in drive.err
    assert "'gnssPositionData': has 51 bytes and a parameter group of NMEA 2000" in drive.err
    assert "say 'nmea2000 = true' of the bus in the vehicle file" in drive.err


def test_what_belongs_to_no_bus_has_a_book_of_its_own(start_drive, shared, tmp_path):
    file = boat(shared, tmp_path)
    file.write_text(file.read_text().partition('[[bus]]\nname = "can1"')[0])
    drive = start_drive("--log", shared / BOAT, "--vehicle", file, "--speed", "max")
    report = drive.succeeds()
    assert report["buses"]["(none)"] == books(0, 32_213)
    assert balances(report)
    assert drive.out.startswith("1 bus, ")
    assert "(none): 32,213 frames: 0 decoded, 32,213 not asked for" in drive.out


def boat(shared: Path, folder: Path) -> Path:
    """The boat's vehicle file."""
    file = folder / "boat.toml"
    file.write_text(
        'name = "boat"\n'
        '[[bus]]\nname = "can0"\ninterface = "virtual"\nchannel = "can0"\nnmea2000 = true\n'
        f'dbc = ["{shared / NMEA_DBC}"]\n'
        '[[bus]]\nname = "can1"\ninterface = "virtual"\nchannel = "can1"\n'
        f'dbc = ["{shared / GNSS_DBC}"]\n'
    )
    return file


def is_position(frame: can.Message) -> bool:
    return frame.is_extended_id and pgn(frame.arbitration_id) == POSITION


def positions(parts: list[can.Message], database: Path) -> Series:
    """What cantools reads in fast packets that are put together one frame after the other."""
    (message,) = cantools.database.load_file(database).messages
    series: Series = defaultdict(list)
    for first in range(0, len(parts), 7):
        packet = parts[first : first + 7]
        # One packet after the other: the counters say so.
        assert [frame.data[0] & 0x1F for frame in packet] == list(range(7))
        assert len({frame.data[0] & 0xE0 for frame in packet}) == 1
        payload = b"".join(bytes(frame.data[1:]) for frame in packet)
        payload, last = payload[1 : 1 + payload[0]], packet[-1]
        values = message.decode(payload, decode_choices=False, allow_truncated=True)
        for name, value in values.items():
            key = (f"can0.{message.name}.{name}", last.arbitration_id | EXTENDED)
            series[key].append((round(last.timestamp * 1e6) // 1000, value))
    return series
