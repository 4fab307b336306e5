"""The channels of a recording: as the sources name them."""

import gzip
from pathlib import Path

import can
import pytest
from canhelp import read_all, vehicle_of

from bordnetz.can.errors import RecordingError
from bordnetz.can.sources.channels import channels_of
from bordnetz.can.sources.log import AT_ONCE, LogSource


def write(path: Path, *channels: object) -> Path:
    with can.Logger(path) as writer:
        for channel in channels:
            writer(can.Message(timestamp=1.0, arbitration_id=1, data=b"\1", channel=channel))
    return path


@pytest.mark.parametrize(
    ("suffix", "channels", "names"),
    [
        (".log", ["can1", "can0", "can1"], ["can0", "can1"]),
        (".log.gz", ["can1", "vcan0"], ["can1", "vcan0"]),
        (".asc", [0, 3, 0], ["0", "3"]),
        (".asc.gz", [1], ["1"]),
        (".blf", [2, 0], ["0", "2"]),
        (".trc", [1, 2], ["1", "2"]),
        (".csv", [7], ["None"]),
    ],
)
async def test_every_frame_of_a_recording_belongs_to_one_of_its_channels(
    tmp_path: Path, suffix: str, channels: list[object], names: list[str]
) -> None:
    path = write(tmp_path / f"drive{suffix}", *channels)
    # TRC counts from 1, and python-can writes what it is given.
    found = channels_of(path)
    if suffix == ".trc":
        names = [str(int(name) + 1) for name in names]
    assert found == names
    vehicle = vehicle_of(*({"interface": "virtual", "channel": name} for name in found))
    async with LogSource(path, vehicle, AT_ONCE) as source:
        blocks = await read_all(source)
    assert sum(block.unbound for block in blocks) == 0
    assert sum(block.received.sum() for block in blocks) == len(channels)


@pytest.mark.parametrize("suffix", [".log.gz", ".asc.gz"])
def test_a_line_without_end_costs_no_channel(tmp_path: Path, suffix: str) -> None:
    name = "can0" if suffix == ".log.gz" else 0
    path = write(tmp_path / f"drive{suffix}", name)
    whole = gzip.decompress(path.read_bytes())
    with gzip.open(path, "wb") as file:
        for _ in range(16):
            file.write(b"0" * (1 << 20))
        file.write(b"\n" + whole)
    assert channels_of(path) == [str(name)]


def test_a_cut_recording_has_the_channels_before_the_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "drive.log.gz", *(["can0", "can1"] * 5000))
    path.write_bytes(path.read_bytes()[:-20])
    assert channels_of(path) == ["can0", "can1"]


def test_channels_that_no_vehicle_file_can_name_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "drive.log"
    path.write_bytes(b"(1.0) can\xff 001#\n(1.0) can0 001#\n(1.0) can9 001#")
    assert channels_of(path) == ["can0"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent.log", None, "cannot be read: No such file or directory"),
        ("absent.asc", None, "cannot be read: No such file or directory"),
        ("drive.mp3", b"", r"no recording that can be read \(ValueError\)"),
        ("drive.log.gz", b"no gzip", "cannot be read: Not a gzipped file"),
        (
            "drive.log",
            b"".join(b"(1.0) can%d 001#\n" % n for n in range(99)),
            "over 64 channels; is this a CAN recording?",
        ),
    ],
)
def test_what_is_no_recording_is_told(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=f"^{path}: {reason}"):
        channels_of(path)
