"""Drives through recordings: every frame is read, every sample is cantools'."""

from pathlib import Path

import can
import pytest
from drive_process import balances
from drive_recordings import DBC, assert_same, by_cantools, by_reader, demo_frames, pgn, write

BUSES = {"vcan0": "powertrain", "vcan1": "chassis", "vcan2": "body"}
TRUCK = Path("logs/truck-j1939-400s.log.gz")
TRUCK_DBC = Path("dbc/css/CSS-Electronics-SAE-J1939-DEMO.dbc")
TRUCK_PGNS = {61444, 65265}
OTHER_SOURCE = 0xA7


@pytest.fixture(scope="module")
def demo():
    return demo_frames(4)


def test_a_recording_of_three_channels_is_cantools_to_the_last_sample(start_drive, tmp_path, demo):
    log = write(tmp_path / "demo.log", demo)
    databases = {channel: DBC / f"{name}.dbc" for channel, name in BUSES.items()}
    options = [f"--dbc={channel}={file}" for channel, file in databases.items()]
    drive = start_drive("--log", log, "--speed", "max", *options)
    report = drive.succeeds()
    assert report["frames"] == report["frames_decoded"] == len(demo)
    expected = by_cantools(demo, databases)
    assert assert_same(by_reader(drive.batches()), expected) == report["samples"]
    assert not drive.left_behind()


def test_the_demos_own_vehicle_file_reads_a_recording_of_its_channels(start_drive, tmp_path, demo):
    log = write(tmp_path / "demo.log.gz", demo)
    report = start_drive("--log", log, "--speed", "max").succeeds()
    assert report["frames"] == report["frames_decoded"] == len(demo)


@pytest.mark.parametrize("suffix", [".asc", ".blf"])
def test_recordings_of_other_forms_are_read(start_drive, tmp_path, demo, suffix):
    chassis = [message for message in demo if message.channel == "vcan1"]
    numbered = [_on_channel(message, 1) for message in chassis]
    log = write(tmp_path / f"chassis{suffix}", numbered)
    drive = start_drive("--log", log, "--speed", "max", "--dbc", DBC / "chassis.dbc")
    report = drive.succeeds()
    assert report["frames"] == report["frames_decoded"] == len(chassis)
    assert report["samples"] > 0
    assert sum(len(batch.samples) for batch in drive.batches()) == report["samples"]


def test_a_broken_line_is_counted_and_told_and_costs_nothing_else(start_drive, tmp_path, demo):
    log = write(tmp_path / "demo.log", demo)
    lines = log.read_text().splitlines()
    lines.insert(1000, "(1760000001.000000) vcan1 0B2#01020")
    log.write_text("\n".join(lines) + "\n")
    drive = start_drive("--log", log, "--speed", "max")
    report = drive.succeeds()
    assert report["frames"] == len(demo) + 1
    assert report["frames_decoded"] == len(demo)
    assert report["frames_dropped"] == 1
    assert report["dropped"] == {"broken": 1}
    assert balances(report)
    assert "1 dropped (1 broken)" in drive.out
    assert "line 1001" in drive.err


def test_a_recording_is_read_ten_times_faster(start_drive, tmp_path):
    frames = demo_frames(12)
    log = write(tmp_path / "demo.log", frames)
    report = start_drive("--log", log, "--speed", "10").succeeds()
    assert report["frames"] == report["frames_decoded"] == len(frames)
    assert report["seconds"] >= 1.1


def test_a_recording_that_is_ended_early_balances_too(start_drive, tmp_path):
    frames = demo_frames(6)
    log = write(tmp_path / "demo.log", frames)
    drive = start_drive("--log", log, "--speed", "0.2")
    drive.until_driving()
    drive.until("frames come", lambda: _received(drive) > 500)
    drive.ask_to_end()
    report = drive.succeeds()
    assert 500 < report["frames"] < len(frames)
    assert balances(report)
    assert sum(len(batch.samples) for batch in drive.batches()) == report["samples"]


@pytest.mark.shared
def test_two_senders_of_one_parameter_group_stay_apart(start_drive, shared, tmp_path):
    """The truck's frames, and copies with other values under another source address."""
    with can.LogReader(shared / TRUCK) as log:
        truck = [message for message in log if pgn(message.arbitration_id) in TRUCK_PGNS]
    both = []
    for message in truck:
        data = bytes(byte ^ 0x15 for byte in message.data)
        number = message.arbitration_id & ~0xFF | OTHER_SOURCE
        copy = can.Message(
            timestamp=message.timestamp, arbitration_id=number, data=data, channel=message.channel
        )
        both += [message, copy]
    log = write(tmp_path / "both.log", both)
    drive = start_drive("--log", log, "--dbc", shared / TRUCK_DBC, "--speed", "max")
    report = drive.succeeds()
    assert report["frames"] == report["frames_decoded"] == 2 * len(truck)
    expected = by_cantools(both, {"can0": shared / TRUCK_DBC}, TRUCK_PGNS)
    assert len({number & 0xFF for _, number in expected}) == 2
    assert assert_same(by_reader(drive.batches()), expected) == report["samples"]


def _on_channel(message, channel):
    return can.Message(
        timestamp=message.timestamp,
        arbitration_id=message.arbitration_id,
        is_extended_id=message.is_extended_id,
        is_fd=message.is_fd,
        data=message.data,
        channel=channel,
    )


def _received(drive):
    return drive.control.call("telemetry", "status")[1]["frames"]["received"]
