"""The telemetry module ends in the middle of a drive: what it had stored arrives all the same."""

import os
import signal

import pytest
from drive_process import balances

from bordnetz.edge.outbox import Outbox


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_stored_batch_is_lost_when_the_module_ends(start_drive, number):
    drive = start_drive("--interface", "unix")
    drive.until_driving()
    control = drive.control
    control.set("telemetry", {"batchWindow": 0.3, "priority": 0})
    drive.until("batches arrive", lambda: arrived(drive) >= 3)
    # From here on nothing leaves the outbox.
    control.fault("withhold-puback", module="telemetry")
    drive.until("the outbox fills", lambda: waiting(drive) >= 4)
    (first,) = drive.pids("telemetry")
    os.kill(first, number)
    drive.until("it is started again", lambda: drive.pids("telemetry") not in ([], [first]))
    control.fault("withhold-puback", module="telemetry", off=True)
    before = arrived(drive)
    drive.until("batches arrive again", lambda: arrived(drive) > before + 3)
    drive.ask_to_end()
    assert drive.wait() == 1

    report = drive.report
    assert report["restarts"] == 1
    assert balances(report)
    assert report["batches"] == report["acknowledged"]
    assert "telemetry ended and was started again, 1 in all" in drive.err
    assert drive.err.count("bordnetz drive:") == 1
    with Outbox(drive.folder / "telemetry" / "outbox", 10_000_000) as outbox:
        assert len(outbox) == 0
        stored = {f"{outbox.id:016x}-{sequence}" for sequence in range(1, outbox.last + 1)}
    assert set(dict(drive.arrived())) == stored
    assert sum(len(batch.samples) for batch in drive.batches()) == report["samples"]
    assert not drive.left_behind()


def test_a_module_that_ends_while_it_reads_a_recording_ends_the_drive(start_drive, tmp_path):
    """Started again, it would read the frames a second time."""
    log = tmp_path / "vcan.log"
    log.write_text("".join(f"({second}.000000) vcan1 0B2#00\n" for second in range(1, 600)))
    drive = start_drive("--log", log)
    drive.until_driving()
    (module,) = drive.pids("telemetry")
    os.kill(module, signal.SIGKILL)
    assert drive.wait() == 1
    assert "telemetry ended with exit code -9" in drive.err
    assert not drive.left_behind()


def test_a_hub_that_ends_ends_the_drive(start_drive):
    drive = start_drive("--interface", "unix")
    drive.until_driving()
    (hub,) = drive.pids("hub")
    os.kill(hub, signal.SIGTERM)
    assert drive.wait() == 1
    assert "hub ended with exit code 0" in drive.err
    assert not drive.left_behind()


def arrived(drive):
    return int(drive.control.status()["upstream"]["messages"])


def waiting(drive):
    return drive.control.call("telemetry", "status")[1]["outbox"]["messages"]
