"""Recordings: written by python-can's writers, cut, broken, paced."""

import gzip
import random
import re
import tracemalloc
from contextlib import ExitStack
from pathlib import Path

import can
import numpy as np
import pytest
from canhelp import read_all, vehicle_of

from bordnetz.can.errors import RecordingError
from bordnetz.can.frames import BRS, FDF, Block, Frames
from bordnetz.can.sources.log import AT_ONCE, LogSource
from bordnetz.can.vehicle import Vehicle
from bordnetz.series import EXTENDED

START = 1_700_000_000.0


def vehicle_on(*channels: str | int) -> Vehicle:
    return vehicle_of(*({"interface": "socketcan", "channel": str(c)} for c in channels))


async def load(path: Path, vehicle: Vehicle, **more: object) -> Block:
    async with LogSource(path, vehicle, AT_ONCE, **more) as source:
        return Block.concat([Block.of(len(vehicle.buses)), *await read_all(source)])


def messages(count: int, channel: object, fd: bool = False) -> list[can.Message]:
    dice = random.Random(1)
    made = []
    for index in range(count):
        is_fd = fd and index % 3 == 0
        extended = dice.random() < 0.5
        made.append(
            can.Message(
                timestamp=START + index / 1000,
                arbitration_id=dice.randrange(0x1FFFFFFF if extended else 0x7FF),
                is_extended_id=extended,
                is_fd=is_fd,
                bitrate_switch=is_fd,
                data=dice.randbytes(dice.choice([12, 48, 64]) if is_fd else index % 9),
                channel=channel,
            )
        )
    return made


def write(path: Path, content: list[can.Message]) -> Path:
    """A file from python-can's own writer, which does not compress BLF."""
    written = path.with_suffix("") if path.name.endswith(".blf.gz") else path
    with can.Logger(written) as writer:
        for message in content:
            writer(message)
    if written != path:
        path.write_bytes(gzip.compress(written.read_bytes()))
    return path


def agree(frames: Frames, content: list[can.Message], exact_time: bool = True) -> None:
    ids = [m.arbitration_id | (EXTENDED if m.is_extended_id else 0) for m in content]
    assert frames.id.tolist() == ids
    assert [
        bytes(row[:length]) for row, length in zip(frames.data, frames.length.tolist(), strict=True)
    ] == [bytes(m.data) for m in content]
    if exact_time:
        times = [round(m.timestamp * 1e6) * 1000 for m in content]
        assert np.abs(frames.time - np.array(times, np.int64)).max(initial=0) <= 1000


@pytest.mark.parametrize(
    ("suffix", "channel", "fd"),
    [
        (".log", "can0", False),
        (".log", "can0", True),
        (".log.gz", "can0", True),
        (".asc", 0, False),
        (".asc", 0, True),
        (".asc.gz", 0, False),
        (".blf", 0, False),
        (".blf", 0, True),
        (".blf.gz", 0, False),
        (".trc", 0, False),
        (".csv", None, False),
        (".db", None, False),
    ],
)
async def test_what_python_can_writes_is_read(
    tmp_path: Path, suffix: str, channel: object, fd: bool
) -> None:
    # python-can's writer of .db files loses all but the first 501 messages when it is stopped.
    content = messages(400 if suffix == ".db" else 4000, channel, fd)
    path = write(tmp_path / f"drive{suffix}", content)
    # TRC counts channels from 1, and python-can's reader keeps that.
    block = await load(path, vehicle_on(1 if suffix == ".trc" else channel))
    agree(block.classic, [m for m in content if not m.is_fd])
    agree(block.fd, [m for m in content if m.is_fd])
    assert block.received.tolist() == [len(content)]
    assert block.problems == ()
    assert (block.unbound, block.illegible) == (0, 0)
    if fd:
        assert set(block.fd.flags.tolist()) == {FDF | BRS}


async def test_channels_are_bound_to_the_buses_that_name_them(tmp_path: Path) -> None:
    content = messages(90, "can0")
    for index, message in enumerate(content):
        message.channel = ["can0", "can1", "can7"][index % 3]
    block = await load(write(tmp_path / "a.log", content), vehicle_on("can1", "can0"))
    assert block.received.tolist() == [30, 30]
    assert block.unbound == 30
    agree(block.classic[block.classic.bus == 0], content[1::3])
    agree(block.classic[block.classic.bus == 1], content[0::3])


async def test_channels_of_other_forms_are_bound_and_counted_too(tmp_path: Path) -> None:
    content = messages(90, 0)
    for index, message in enumerate(content):
        message.channel = index % 3
    block = await load(write(tmp_path / "a.blf", content), vehicle_on(1, 0))
    assert block.received.tolist() == [30, 30]
    assert block.unbound == 30
    agree(block.classic[block.classic.bus == 0], content[1::3])


LINES = """\
(1700000000.000001) can0 123#0102
(1700000000.000002) can1 00000123#
(12.5) can0 7FF##5AABBCCDDEEFF00112233445566
(1700000000.123456789) can0 123#R8
(1700000000.000003) can9 00000001#R

(1700000000.000004) can0 20000080#0000000000000000
(1700000000.000005) can0 1FFFFFFF#ffFF T
(0000000005.000000) can0 001#1122334455667788_B R
(1700000000.000006) can9 123#01
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_every_kind_of_candump_line_is_understood(tmp_path: Path, end: str) -> None:
    path = tmp_path / "kinds.log"
    path.write_text(LINES, newline=end)
    block = await load(path, vehicle_on("can0", "can1"))
    assert block.classic.id.tolist() == [0x123, EXTENDED | 0x123, EXTENDED | 0x1FFFFFFF, 1]
    assert block.classic.bus.tolist() == [0, 1, 0, 0]
    assert block.classic.time.tolist() == [
        1_700_000_000_000_001_000,
        1_700_000_000_000_002_000,
        1_700_000_000_000_005_000,
        5_000_000_000,
    ]
    assert block.classic.length.tolist() == [2, 0, 2, 8]
    assert block.fd.time.tolist() == [12_500_000_000]
    assert block.fd.flags.tolist() == [BRS | FDF]
    assert block.fd.length.tolist() == [13]
    assert block.remote.tolist() == [1, 0]
    assert block.error.tolist() == [1, 0]
    assert block.received.tolist() == [6, 1]
    assert block.unbound == 2
    assert block.problems == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("(1700000000.000003) can0 123#010", "no frame in candump's form"),
        ("(1700000000.000003) can0 1234#01", "no frame in candump's form"),
        ("(1700000000.000003) can0 12G#01", "no frame in candump's form"),
        ("(1700000000.000003) can0 123###0", "no frame in candump's form"),
        ("(9999999999.000003) can0 123#01", "no frame in candump's form"),
        ("(1700000000.000003) can0 123#R9", "no frame in candump's form"),
        ("(1700000000.000003) can0", "no frame in candump's form"),
        ("(1700000000.000003) can0 123##1" + "00" * 65, "no frame in candump's form"),
        ("(1700000000.000003) can0 800#01", "an id or a length that no frame has"),
        ("(1700000000.000003) can0 80000123#01", "an id or a length that no frame has"),
        ("(1700000000.000003) can0 123#" + "00" * 9, "an id or a length that no frame has"),
    ],
)
async def test_a_broken_line_is_counted_with_its_position_and_reading_goes_on(
    tmp_path: Path, line: str, reason: str
) -> None:
    good = [f"(1700000000.{i:06d}) can0 {i:03X}#AA\n" for i in range(20)]
    path = tmp_path / "broken.log"
    path.write_text("".join([*good[:10], line, "\n", *good[10:]]))
    block = await load(path, vehicle_on("can1", "can0"))
    assert block.classic.id.tolist() == list(range(20))
    assert block.received.sum() + block.illegible == 21
    assert block.broken.sum() + block.illegible == 1
    assert block.problems == (f"{path}: line 11: {reason}",)


async def test_noise_is_counted_line_by_line_and_its_report_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "noise.log"
    noise = [random.Random(i).randbytes(30).replace(b"\n", b"") for i in range(5000)]
    path.write_bytes(b"\n".join(noise) + b"\n")
    block = await load(path, vehicle_on("can0"))
    assert block.illegible == 5000
    assert len(block.problems) == 21
    assert block.problems[-1] == f"{path}: further problems are counted, but not told"


async def test_the_content_of_a_broken_line_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "private.log"
    path.write_text("(1700000000.000003) can0 123#57304C3030303034334D42353431333236X\n")
    block = await load(path, vehicle_on("can0"))
    assert "5730" not in str(block.problems)
    assert block.broken.tolist() == [1]


async def test_a_line_without_end_is_bounded_and_what_follows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.log.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"(1700000000.000001) can0 001#01\n")
        file.write(b"(1700000000.000002) can0 002#" + b"0" * (40 << 20) + b"\n")
        file.write(b"(1700000000.000003) can0 003#01\n")
    block = await load(path, vehicle_on("can0"))
    assert block.classic.id.tolist() == [1, 3]
    assert block.illegible == 1
    assert block.problems == (f"{path}: line 2: no frame in candump's form",)


async def test_a_last_line_that_was_cut_is_not_taken_for_a_shorter_frame(tmp_path: Path) -> None:
    path = tmp_path / "cut.log"
    path.write_text("(1700000000.000001) can0 001#0102\n(1700000000.000002) can0 002#01")
    block = await load(path, vehicle_on("can0"))
    assert block.classic.id.tolist() == [1]
    assert block.broken.tolist() == [1]
    reason = "the file ends without a newline, so it may be cut off; add one if it is whole"
    assert block.problems == (f"{path}: line 2: {reason}",)


async def test_of_a_cut_gzip_file_every_whole_line_is_used(tmp_path: Path) -> None:
    content = messages(5000, "can0")
    whole = write(tmp_path / "whole.log.gz", content).read_bytes()
    for part in (0.05, 0.5, 0.99):
        path = tmp_path / "cut.log.gz"
        path.write_bytes(whole[: int(len(whole) * part)])
        block = await load(path, vehicle_on("can0"))
        count = len(block.classic)
        assert part * 4000 < count + 500 < 5501
        agree(block.classic, content[:count])
        assert block.illegible == 1
        end = "Compressed file ended before the end-of-stream marker was reached"
        assert block.problems == (f"{path}: broken after line {count}: {end}",)


async def test_a_gzip_file_with_a_flipped_bit_tells_where_it_broke(tmp_path: Path) -> None:
    content = messages(5000, "can0")
    path = write(tmp_path / "flipped.log.gz", content)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    block = await load(path, vehicle_on("can0"))
    assert block.illegible >= 1
    assert block.problems[-1].startswith(f"{path}: broken after line ")


@pytest.mark.parametrize("suffix", [".asc", ".blf", ".trc", ".csv", ".blf.gz", ".asc.gz"])
@pytest.mark.parametrize("part", [0.5, 0.7, 0.9])
async def test_of_a_cut_file_what_was_readable_is_used_and_the_position_told(
    tmp_path: Path, suffix: str, part: float
) -> None:
    channel = None if suffix == ".csv" else 0
    content = messages(9000, channel)
    whole = write(tmp_path / f"whole{suffix}", content).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(len(whole) * part)])
    block = await load(path, vehicle_on(1 if suffix == ".trc" else channel))
    count = len(block.classic)
    assert 0 < count < 9000
    agree(block.classic, content[:count], exact_time=False)
    assert block.illegible == 1
    place = {".blf": "broken after frame ", ".blf.gz": "broken after frame "}
    place[".asc.gz"] = "broken after line "
    assert block.problems[0].startswith(f"{path}: {place.get(suffix, 'line ')}")
    assert len(block.problems) == 1


def spoil(path: Path, number: int, line: str) -> None:
    """Put ``line`` in the place of the frame of this number, which has the id 0x100 + number."""
    lines = path.read_text().splitlines()
    frame = re.compile(rf"[^;]*\b(?:0x)?0*{0x100 + number:x}\b", re.IGNORECASE)
    (at,) = [n for n, text in enumerate(lines) if frame.match(text)]
    lines[at] = line
    path.write_text("\n".join(lines) + "\n")


def numbered(suffix: str, count: int = 20) -> list[can.Message]:
    channel = None if suffix.startswith(".csv") else 0
    return [
        can.Message(
            timestamp=START + n,
            arbitration_id=0x100 + n,
            is_extended_id=False,
            data=b"\xaa\xbb",
            channel=channel,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("suffix", "line", "reason"),
    [
        (".asc", " 1.0 1 zzz Rx d 2 AA BB", "no frame (ValueError)"),
        (".asc", " 1.0 1 109 Rx d", "no frame (ValueError)"),
        (".asc", " 1.0 1 109 Rx d 2 AA GG", "no frame (ValueError)"),
        (".asc", " 1.0 1 109 Rx d 2 AA", "an id, a length or a time that no frame has"),
        (".asc", f" 1.0 1 {'1' * 40} Rx d 2 AA BB", "an id, a length or a time that no frame has"),
        (".asc", " 1.0 CANFD 1 Rx 109", "no frame (ValueError)"),
        (".asc", " xx 1 109 Rx d 2 AA BB", "no frame"),
        (".asc", " 1.0 1 " + "1" * 70_000, "over 65536 bytes"),
        (".trc", "10 1.0 DT 1 zzz Rx - 2 AA BB", "no frame (ValueError)"),
        (".trc", "10 1.0 DT 1 0109 Rx", "no frame"),
        (".trc", "10 xx", "no frame"),
        (".trc", "10 1.0 DT 1 0109 Rx - 2 AA", "an id, a length or a time that no frame has"),
        (".trc", "10 1.0 DT 1 0109 Rx - 2 AA GG", "no frame (ValueError)"),
        (".trc", "9" * 70_000, "over 65536 bytes"),
        (".csv", "1.0,0x109,0,0,0,2", "no frame (ValueError)"),
        (".csv", "1.0,zzz,0,0,0,2,qrs=", "no frame (ValueError)"),
        (".csv", "1.0,0x109,0,0,0,2,q", "no frame (Error)"),
        (".csv", "1.0,0x109,0,0,0,1,qrs=", "an id, a length or a time that no frame has"),
        (".csv", "nan,0x109,0,0,0,2,qrs=", "an id, a length or a time that no frame has"),
        (".csv", f"1.0,{'9' * 40},0,0,0,2,qrs=", "an id, a length or a time that no frame has"),
        (".csv", f"1.0,0x109,0,0,0,{'9' * 40},qrs=", "an id, a length or a time that no frame has"),
        (".csv", "9" * 70_000, "over 65536 bytes"),
    ],
    ids=range(22),
)
async def test_after_a_broken_line_of_any_text_form_reading_goes_on(
    tmp_path: Path, suffix: str, line: str, reason: str
) -> None:
    path = write(tmp_path / f"spoilt{suffix}", numbered(suffix))
    spoil(path, 9, line)
    block = await load(path, vehicle_on(1 if suffix == ".trc" else 0))
    number = path.read_text().splitlines().index(line) + 1
    assert block.classic.id.tolist() == [0x100 + n for n in range(20) if n != 9]
    assert block.problems == (f"{path}: line {number}: {reason}",)
    assert block.broken.sum() + block.illegible == 1
    times = block.classic.time.tolist()
    assert [time - times[0] for time in times] == [n * 10**9 for n in range(20) if n != 9]


@pytest.mark.parametrize("suffix", [".asc", ".trc", ".csv"])
async def test_every_second_line_may_be_broken(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"spoilt{suffix}", numbered(suffix, 60))
    line = {".asc": "1.0 1 z Rx d 2 AA BB", ".trc": "1 1.0 DT 1 z Rx - 2 AA BB", ".csv": "z"}
    for number in range(0, 60, 2):
        spoil(path, number, line[suffix])
    block = await load(path, vehicle_on(1 if suffix == ".trc" else 0))
    assert block.classic.id.tolist() == [0x100 + n for n in range(1, 60, 2)]
    assert block.illegible == 30
    assert len(block.problems) == 21


@pytest.mark.parametrize(
    ("suffix", "lines"),
    [
        (
            ".asc",
            [
                "// comment with Rx in it",
                " 1.0 1  Statistic: D 1 R 0 XD 0 XR 0 E 0 O 0 B 3.04%",
                " 1.0 CAN 1 Status:chip status error active",
                " 1.0 J1939TP FEE3p 6 0 0 - Rx d 23 A0 0F",
                " 1.0 L1 33 Rx 2 AA BB",
                "End TriggerBlock",
                "",
            ],
        ),
        (
            ".trc",
            [
                "; comment DT Rx",
                "  7 1.0 ST 1 - Rx - 4 00 00 00 08",
                "  8 1.0 ER 1 - Rx - 5 04 00 02 00 00",
                "  9 1.0 EC 1 - Rx - 2 00 00",
                "",
            ],
        ),
        (".csv", ["", "  "]),
    ],
)
async def test_lines_of_a_text_form_that_are_no_frames_are_not_broken(
    tmp_path: Path, suffix: str, lines: list[str]
) -> None:
    path = write(tmp_path / f"events{suffix}", numbered(suffix))
    spoil(path, 9, "\n".join(lines))
    block = await load(path, vehicle_on(1 if suffix == ".trc" else 0))
    assert block.received.sum() == 19
    assert block.problems == ()
    assert block.illegible == 0


async def test_an_asc_file_without_the_end_of_its_header_loses_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "short.asc"
    path.write_text(
        "\ndate Sun Nov 22 17:00:00.000 2020\nbase dec  timestamps absolute\n"
        " 1.0 1 100 Rx d 1 17\n 2.0 1 zzz Rx d 1 17\n 3.0 1 101 Rx d 1 18\n"
    )
    block = await load(path, vehicle_on(0))
    assert block.classic.id.tolist() == [100, 101]
    assert block.classic.data[:, 0].tolist() == [17, 18]
    assert block.problems == (f"{path}: line 5: no frame (ValueError)",)


async def test_a_broken_header_costs_only_its_line(tmp_path: Path) -> None:
    path = tmp_path / "header.asc"
    path.write_text(
        "date no day at all\nbase dec  timestamps absolute\ninternal events logged\n"
        " 1.0 1 100 Rx d 1 17\n"
    )
    block = await load(path, vehicle_on(0))
    assert block.classic.id.tolist() == [100]
    assert block.problems == (f"{path}: line 1: no frame (ValueError)",)


async def test_a_trc_file_without_columns_is_told_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "header.trc"
    path.write_text(";$FILEVERSION=2.1\n;$STARTTIME=44000.0\n" + "1 1.0 DT 1 0109 Rx - 0\n" * 3)
    block = await load(path, vehicle_on(1))
    assert len(block.classic) == 0
    assert block.illegible == 4
    assert block.problems[0] == f"{path}: line 3: no frame (ValueError)"


async def test_can_fd_frames_of_a_trc_file_have_their_lengths(tmp_path: Path) -> None:
    path = tmp_path / "fd.trc"
    path.write_text(
        ";$FILEVERSION=2.1\n;$STARTTIME=44000.0\n;$COLUMNS=N,O,T,B,I,d,R,l,D\n"
        + "".join(
            f"1 1.0 FB 1 0109 Rx - {length} {' '.join(['AA'] * length)}\n"
            for length in (1, 8, 12, 64)
        )
    )
    block = await load(path, vehicle_on(1))
    assert block.fd.length.tolist() == [1, 8, 12, 64]
    assert block.problems == ()


@pytest.mark.parametrize("suffix", [".asc.gz", ".csv.gz", ".trc.gz"])
async def test_a_text_line_without_end_is_bounded_and_what_follows_is_read(
    tmp_path: Path, suffix: str
) -> None:
    path = write(tmp_path / f"long{suffix}", numbered(suffix))
    *head, tail = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    with gzip.open(path, "wb") as file:
        file.writelines(head)
        for _ in range(64):
            file.write(b"0" * (1 << 20))
        file.write(b"\n" + tail)
    tracemalloc.start()
    block = await load(path, vehicle_on(1 if suffix == ".trc.gz" else 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    assert len(block.classic) >= 19
    assert block.illegible == 1
    assert block.problems[0].endswith(": over 65536 bytes")


async def test_the_content_of_broken_lines_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "private.trc", numbered(".trc"))
    spoil(path, 9, "10 WVWZZZ")
    block = await load(path, vehicle_on(1))
    assert "WVWZZZ" not in caplog.text + str(block.problems)
    assert block.illegible == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent.log", None, "cannot be read: No such file or directory"),
        ("absent.db", None, "cannot be read: No such file or directory"),
        ("drive.mp3", b"", "no recording that can be read"),
        ("drive", b"", "no recording that can be read"),
        ("drive.gz", b"", "no recording that can be read"),
        ("drive.blf", b"not Vector's", "no recording that can be read"),
    ],
)
async def test_a_file_that_cannot_be_opened_is_told(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        await load(path, vehicle_on("can0"))
    assert str(caught.value).startswith(f"{path}: {reason}")
    assert path.exists() == (content is not None)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.mark.parametrize("speed", [1.0, 20.0, 0.5])
async def test_a_paced_recording_gives_each_frame_at_its_time(tmp_path: Path, speed: float) -> None:
    content = messages(7000, "can0", fd=True)
    path = write(tmp_path / "paced.log", content)
    clock = Clock()
    source = LogSource(path, vehicle_on("can0"), speed, clock, clock.sleep)
    with ExitStack() as resources:
        source._open(resources)
        seen = [(clock.now - 100.0, block) for block in source._read()]
    for now, block in seen:
        for frames in (block.classic, block.fd):
            due = (frames.time / 1e9 - START) / speed
            assert (due <= now + 1e-6).all()
            assert (due >= now - 0.02 - 0.001 / speed).all()
        assert block.received.sum() == len(block.classic) + len(block.fd)
    whole = Block.concat([block for _, block in seen])
    agree(whole.classic, [m for m in content if not m.is_fd])
    agree(whole.fd, [m for m in content if m.is_fd])
    assert min(clock.naps) >= 0.0099


async def test_a_recorded_clock_that_steps_back_does_not_stop_a_paced_replay(
    tmp_path: Path,
) -> None:
    path = tmp_path / "stepping.log"
    times = [1000.0, 1000.5, 400.0, 400.1, 1000.6]
    path.write_text("".join(f"({t:.6f}) can0 00{i}#\n" for i, t in enumerate(times)))
    clock = Clock()
    async with LogSource(path, vehicle_on("can0"), 1.0, clock, clock.sleep) as source:
        blocks = await read_all(source)
    assert Frames.concat([block.classic for block in blocks]).id.tolist() == [0, 1, 2, 3, 4]
    assert clock.now - 100.0 < 0.7


async def test_closing_ends_a_replay_that_waits_for_the_next_frame(tmp_path: Path) -> None:
    path = tmp_path / "slow.log"
    path.write_text("(1000.0) can0 001#\n(9000.0) can0 002#\n")
    async with LogSource(path, vehicle_on("can0")) as source:
        block = await anext(source)
        assert block.classic.id.tolist() == [1]
        await source.close()
        assert await read_all(source) == []


async def test_at_full_speed_the_file_waits_for_its_consumer(tmp_path: Path) -> None:
    path = tmp_path / "large.log"
    path.write_text(
        "".join(f"(1700000000.000000) can0 {i % 2048:03X}#0102\n" for i in range(120_000))
    )
    async with LogSource(path, vehicle_on("can0"), AT_ONCE) as source:
        first = await anext(source)
        assert len(first.classic) <= 4000
        rest = await read_all(source)
    assert len(first.classic) + sum(len(block.classic) for block in rest) == 120_000


@pytest.mark.shared
@pytest.mark.parametrize("name", ["truck-j1939-400s", "boat-nmea2000-300s"])
async def test_a_real_recording_is_read_as_python_can_reads_it(shared: Path, name: str) -> None:
    path = shared / "logs" / f"{name}.log.gz"
    block = await load(path, vehicle_on("can0", "can1"))
    content = list(can.LogReader(path))
    for bus, channel in enumerate(("can0", "can1")):
        of_bus = block.classic[block.classic.bus == bus]
        agree(of_bus, [message for message in content if message.channel == channel])
    assert block.received.sum() == len(content)
    assert block.problems == ()
