"""Drives over real vcan interfaces."""

import pytest
from drive_process import balances

pytestmark = pytest.mark.vcan


def test_twenty_seconds_on_vcan_lose_no_frame(start_drive):
    drive = start_drive("--seconds", "20")
    report = drive.succeeds()
    assert on_vcan(drive)
    assert balances(report)
    assert report["dropped"] == {}
    assert report["frames"] == report["frames_sent"] == report["frames_decoded"] > 30_000
    assert report["batches"] == report["acknowledged"] > 0
    assert sum(len(batch.samples) for batch in drive.batches()) == report["samples"]
    assert not drive.left_behind()


def test_a_second_drive_leaves_vcan_to_the_first(start_drive):
    first = start_drive()
    first.until_driving()
    second = start_drive("--seconds", "2")
    second.until_driving()
    assert on_vcan(first)
    assert not on_vcan(second)
    reports = [second.succeeds()]
    first.ask_to_end()
    reports.append(first.succeeds())
    for report in reports:
        assert report["frames"] == report["frames_sent"] > 0
        assert report["dropped"] == {}
        assert balances(report)


def test_vcan_asked_for_by_name_is_refused_while_another_drive_has_it(start_drive):
    first = start_drive()
    first.until_driving()
    second = start_drive("--interface", "socketcan")
    assert second.wait() == 2
    assert "in use by another drive" in second.err
    assert "--interface unix" in second.err


def test_an_interface_that_does_not_exist_is_named(start_drive):
    drive = start_drive(
        "--interface", "socketcan", "--channel", "vcan0", "--channel", "vcan1", "--channel", "vcan9"
    )
    assert drive.wait() == 1
    assert "vcan9" in drive.err
    assert not drive.left_behind()


def on_vcan(drive):
    return "vcan0" in (drive.folder / "vehicle.toml").read_text()
