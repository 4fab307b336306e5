"""What a drive shows: a picture that fits the terminal, curves, and lines where there is none."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bordnetz.laptop.drive.progress import BusLine, Progress, SignalLine, Totals
from bordnetz.laptop.drive.view import line, picture, sparkline, summary

SIZES = [(80, 24), (100, 30), (160, 50), (80, 16), (60, 20)]


def some_progress(signals=24, buses=3):
    lines = [
        SignalLine(f"powertrain.INV_Torque_{n:02}.MotorTorqueOfWheel{n:02}", "km/h", 1234.5678 * n)
        for n in range(signals)
    ]
    for number, signal in enumerate(lines):
        signal.history.extend(range(number, number + 60))
    lines[1:2] = [SignalLine("body.Doors.Front", "", 1, "Open", lines[1].history)] if lines else []
    return Progress(
        elapsed=3605.2,
        planned=7200,
        buses={
            f"bus{n}": BusLine(f"bus{n}", f"vcan{n}", 9_876_543, 20_123.4) for n in range(buses)
        },
        signals=lines,
        cloud=Totals(1234, 2, 123_456_789, 30_000_000, 8000),
        hub="127.0.0.1",
        connected=True,
        collected=464,
    )


def rendered(progress, width, height):
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(picture(progress, width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_picture_fits_the_terminal(width, height):
    lines = rendered(some_progress(), width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(("width", "height"), SIZES[:3])
def test_nothing_important_is_cut_off(width, height):
    text = "\n".join(rendered(some_progress(), width, height))
    for part in (
        "3605 of 7200 s",
        "464 signals",
        "hub connected",
        "Ctrl-C ends it",
        "bus0",
        "20,123",
        "9,876,543",
        "123,456,789",
        "0.243",
        "1,234",
        "8,000, 92% full",
        "1,236 of 1,236",
        "Open",
        "2,469.14" if width > 80 else "MotorTorqueOfWheel00",
        "km/h",
        "▇",
    ):
        assert part in text, part
    assert "…" not in text or width == 80


def test_there_are_as_many_signals_as_fit():
    progress = some_progress()
    shown = [
        sum("INV_Torque" in line or "Doors" in line for line in rendered(progress, 120, height))
        for height in (16, 24, 30, 60)
    ]
    assert shown == [3, 11, 17, 24]


def test_many_buses_leave_less_room_for_signals():
    assert len(rendered(some_progress(buses=12), 80, 24)) < 24


def test_trouble_stands_in_the_first_line():
    progress = some_progress()
    progress.connected, progress.restarts = False, 2
    first = rendered(progress, 100, 30)[0]
    assert "hub not connected" in first
    assert "telemetry started again: 2" in first


def test_dropped_frames_stand_with_their_bus():
    progress = some_progress()
    progress.buses["bus1"].dropped = 17
    (row,) = [row for row in rendered(progress, 80, 24) if "bus1" in row]
    assert "17" in row.split()


def test_the_first_picture_has_no_signals_yet():
    text = "\n".join(rendered(Progress(buses={"a": BusLine("a", "vcan0")}), 80, 24))
    assert "signals ─" not in text
    assert "0.000" in text


def test_a_plain_line_says_the_same():
    progress = some_progress()
    text = line(progress)
    for part in ("3605.2 s", "29,629,629 frames (60,370/s, 0 dropped)", "123,456,789 samples"):
        assert part in text
    assert "\n" not in text
    assert "wait" not in text
    progress.waiting, progress.restarts = 3, 1
    assert "3 messages wait" in line(progress)
    assert "started again" in line(progress)


@given(st.lists(st.floats(allow_nan=False), max_size=100))
def test_a_curve_has_a_character_a_value_and_is_as_high_as_the_value(values):
    curve = sparkline(values)
    assert len(curve) == len(values)
    heights = [ord(bar) - ord("▁") for bar in curve]
    assert all(0 <= height <= 7 for height in heights)
    for (low, below), (high, above) in zip(
        zip(values, heights, strict=True), zip(values[1:], heights[1:], strict=True), strict=False
    ):
        assert below <= above if low <= high else below >= above


def test_a_curve_spans_from_lowest_to_highest():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5, 5]) == "▁▁▁"


def test_the_summary_tells_the_books_of_each_bus_where_there_is_more_than_one():
    def books(frames, **dropped):
        return {
            "frames": frames,
            "frames_decoded": frames - sum(dropped.values()),
            "frames_not_asked": 0,
            "frames_not_data": 0,
            "frames_dropped": sum(dropped.values()),
            "dropped": dropped,
        }

    report = {
        **dict.fromkeys(("samples", "signals", "batches", "dictionaries", "acknowledged"), 1),
        **dict.fromkeys(("bytes", "bytes_per_sample", "blocks_4k", "block_fill", "seconds"), 1),
        **books(2001, short=1),
        "buses": {"a": books(2000, short=1), "b": books(1)},
        "processes": {},
    }
    text = summary(report).splitlines()
    assert text[1:3] == [
        "  a: 2,000 frames: 1,999 decoded, 0 not asked for, 0 not data, 1 dropped (1 short)",
        "  b: 1 frame: 1 decoded, 0 not asked for, 0 not data, 0 dropped",
    ]
    assert "arrived in 1 batch and 1 dictionary; 1 batch acknowledged" in text[3]
    report["buses"] = {"a": books(2001, short=1)}
    assert len(summary(report).splitlines()) == len(text) - 2
