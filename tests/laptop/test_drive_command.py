"""Whole drives by the command line, on Unix sockets, ended in every way."""

import json
import os
import signal
import socket
import tempfile
from pathlib import Path

import pytest
from drive_process import balances

KEYS = {
    "frames",
    "frames_not_asked",
    "frames_not_data",
    "frames_dropped",
    "samples",
    "batches",
    "acknowledged",
    "bytes",
    "bytes_per_sample",
    "blocks_4k",
    "block_fill",
}


def went_well(drive, report):
    """Everything that was sent came in, is accounted for, and can be read in the cloud."""
    assert report.keys() >= KEYS
    assert balances(report)
    assert report["frames"] == report["frames_sent"] == report["frames_decoded"] > 0
    assert report["frames_dropped"] == report["restarts"] == 0
    assert report["batches"] == report["acknowledged"] > 0
    messages = drive.arrived()
    assert len(dict(messages)) == len(messages) == report["batches"] + report["dictionaries"]
    batches = drive.batches()
    assert len(batches) == report["batches"]
    assert sum(len(batch.samples) for batch in batches) == report["samples"]
    sizes = [json.loads(line)["metered"] for line in index(drive)]
    assert sum(sizes) == report["bytes"]
    assert sum(-(-size // 4096) for size in sizes) == report["blocks_4k"]
    assert report["bytes_per_sample"] == round(report["bytes"] / report["samples"], 4)
    assert report["block_fill"] == round(report["bytes"] / report["blocks_4k"] / 4096, 4)
    assert not drive.left_behind()


def index(drive):
    return (drive.folder / "hub" / "upstream" / "index.jsonl").read_text().splitlines()


def test_a_drive_loses_nothing_and_its_report_is_what_arrived(start_drive):
    drive = start_drive("--interface", "unix", "--seconds", "8")
    report = drive.succeeds()
    went_well(drive, report)
    assert report["signals"] > 400
    assert report["bytes_per_sample"] < 1
    for name in ("hub", "telemetry", "vehicle"):
        cost = report["processes"][name]
        assert cost["cpu_seconds"] > 0
        assert cost["rss_mib"] > 10
    assert f"bordnetz cat {drive.folder}/hub/upstream" in drive.out
    assert "0 dropped" in drive.out
    assert drive.err == ""


def test_two_drives_at_once_do_not_disturb_each_other(start_drive):
    drives = [start_drive("--interface", "unix", "--seconds", "3", "--seed", s) for s in "12"]
    for drive in drives:
        went_well(drive, drive.succeeds())
    boxes = [{name.partition("-")[0] for name, _ in drive.arrived()} for drive in drives]
    assert all(len(box) == 1 for box in boxes)
    assert boxes[0] != boxes[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_drive_that_is_asked_to_end_reports_and_leaves_nothing_behind(start_drive, number):
    """A terminal sends its signals to all processes in front; those of the drive must not mind."""
    drive = start_drive("--interface", "unix")
    drive.until_driving()
    drive.until("frames come", lambda: status(drive)["frames"]["received"])
    os.killpg(drive.process.pid, number)
    went_well(drive, drive.succeeds())


def test_a_second_ctrl_c_ends_at_once_and_leaves_nothing_behind(start_drive):
    drive = start_drive("--interface", "unix")
    drive.until_driving()
    # What is on its way cannot arrive, so that the first one waits.
    drive.control.fault("upstream-offline")
    drive.until("frames come", lambda: status(drive)["frames"]["received"])
    drive.ask_to_end()
    drive.until("stops", lambda: not drive.pids("simulate"))
    drive.ask_to_end()
    assert drive.wait() == 130
    assert "ended at once" in drive.err
    assert not drive.left_behind()


def test_a_drive_that_is_asked_to_end_before_it_began_leaves_nothing_behind(start_drive):
    drive = start_drive("--interface", "unix")
    drive.until("starts", lambda: drive.pids("hub"))
    drive.ask_to_end()
    assert drive.wait() == 130
    assert "before the drive began" in drive.err
    assert not drive.left_behind()


def test_a_module_that_cannot_start_ends_the_drive_with_what_it_said(start_drive, tmp_path):
    broken = tmp_path / "template.json"
    broken.write_text("{}")
    drive = start_drive("--manifest", broken)
    assert drive.wait() == 1
    assert "hub ended with exit code" in drive.err
    assert str(broken) in drive.err
    assert not drive.left_behind()


def test_a_channel_that_does_not_exist_is_named_by_the_module(start_drive, tmp_path):
    (tmp_path / "a.dbc").write_text('VERSION ""\nBO_ 1 M: 8 N\n SG_ S : 0|8@1+ (1,0) [0|0] "" N\n')
    options = ("--interface", "unix", "--channel", tmp_path / "no" / "where.sock")
    drive = start_drive(*options, "--dbc", tmp_path / "a.dbc")
    assert drive.wait() == 1
    assert "telemetry ended with exit code" in drive.err
    assert "where.sock" in drive.err
    assert not drive.left_behind()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("this is no DBC file\n", "nothing.dbc"),
        ('VERSION ""\nBU_: A\n', "no DBC file has a signal that can be used"),
    ],
    ids=["broken", "empty"],
)
def test_a_dbc_file_of_no_use_ends_the_drive_with_the_reason(start_drive, tmp_path, text, told):
    (tmp_path / "nothing.dbc").write_text(text)
    options = ("--interface", "unix", "--channel", tmp_path / "bus.sock")
    drive = start_drive(*options, "--dbc", tmp_path / "nothing.dbc")
    assert drive.wait() == 1
    assert told in drive.err
    assert not drive.left_behind()


def test_frames_of_a_real_bus_are_collected_until_the_drive_ends(start_drive, tmp_path):
    """Without the simulated car, and while frames keep coming, the books still balance."""
    (tmp_path / "a.dbc").write_text('VERSION ""\nBO_ 1 M: 8 N\n SG_ S : 0|8@1+ (1,0) [0|0] "" N\n')
    here = tempfile.mkdtemp()
    channel = str(Path(here, "bus"))
    drive = start_drive("--interface", "unix", "--channel", channel, "--dbc", tmp_path / "a.dbc")
    drive.until_driving()
    frame = (1).to_bytes(4, "little") + bytes([8, 0, 0, 0]) + bytes(8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bus:
        bus.connect(channel)

        def busy():
            bus.send(frame)
            return status(drive)["frames"]["received"] > 20

        drive.until("frames come", busy)
        drive.ask_to_end()
        while drive.process.poll() is None:
            try:
                bus.send(frame)
            except OSError:
                break
        report = drive.succeeds()
    assert balances(report)
    assert report["samples"] > 20
    assert report["frames_sent"] is None
    assert not drive.pids()
    Path(here).rmdir()


def status(drive):
    return drive.control.call("telemetry", "status")[1]
