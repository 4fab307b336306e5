"""Writes the golden files of the schema version at hand: run once when a version is released.

    python tests/batch/golden_write.py

Each batch is a .bin file with the numbers that it holds beside it as .json.  Files that are there
are never written again: they are what vehicles in the field have sent.
"""

import json
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
from batch_samples import DICTIONARY, GROUPS, START, column

from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.losses import Loss, LossCause, encode_losses
from bordnetz.batch.message import (
    MAJOR,
    Clock,
    Resolution,
    Stamp,
    encode_batch,
    encode_dictionary,
    encode_gaps,
)
from bordnetz.series import Cause, Gap, Group, Quality, Samples, Signal

FOLDER = Path(__file__).parent / "golden" / f"v{MAJOR}"
FIELDS = ("group", "id", "width", "count", "time", "values")
AHEAD = START - 5_000_000_000_000
STYLES = ("smooth", "noise", "walk", "rare", "constant", "counter", "checksum", "wild", "ramp")


def tempers() -> tuple[Samples, Dictionary]:
    """A column of every temper, two that follow another, and one of cubic growth."""
    rows = 160
    columns = [column(rows, style, 7) for style in STYLES]
    columns += [columns[0] * 3 // 2 + 5, -columns[0] + np.arange(rows) % 2]
    columns.append(np.arange(rows, dtype=np.int64) ** 3)
    signals = tuple(Signal(f"S{index}") for index in range(len(columns)))
    groups = (Group("bench", "Tempers", 0x7FF, signals=signals),)
    samples = Samples(
        groups,
        np.array([0], np.int32),
        np.array([0x7FF], np.uint32),
        np.array([len(columns)], np.int32),
        np.array([rows]),
        START + np.arange(rows) * 10_000_000,
        np.arange(rows),
        np.concatenate(columns),
    )
    return samples, Dictionary(groups, bytes(32), bytes(32))


def truck() -> Samples:
    """Two sources of one J1939 message, a frame cut short, a step back of the clock."""
    return Samples(
        GROUPS,
        np.array([0, 2, 2, 3], np.int32),
        np.array([0x100, GROUPS[2].id, GROUPS[2].id + 0x21, 0x102], np.uint32),
        np.array([3, 2, 2, 1], np.int32),
        np.array([4, 2, 2, 1]),
        START + np.array([0, 1000, 2000, 3000, 500, -3_600_000_000_000, 700, 800, 10**9]),
        np.array([0, 2, 4, 6, 1, 8, 3, 5, 7]),
        np.concatenate(
            (np.arange(12) ** 5, [-1, 2**63 - 1, -(2**63), 0, 5, 6, 7, 8], [0x3FF0 << 48])
        ),
    )


def repeating() -> Samples:
    """What zstandard makes smaller: the same eight values over and over."""
    rows = 800
    return Samples(
        GROUPS,
        np.array([1], np.int32),
        np.array([0x101], np.uint32),
        np.array([1], np.int32),
        np.array([rows]),
        START + np.arange(rows) * 10_000_000,
        np.arange(rows),
        np.tile(np.array([9, 200, 31, 4, 150, 77, 250, 13]), rows // 8),
    )


def judged() -> tuple[Samples, Dictionary]:
    """A truck of which something is said against every kind of value, and nothing of a group."""
    groups = tuple(replace(group, quality=group.message != "Motor") for group in GROUPS)
    samples = truck()
    quality = np.zeros(len(samples.values), np.uint8)
    quality[12:] = [*Quality, Quality.ERROR | Quality.AFTER_LOSS]
    return replace(samples, groups=groups, quality=quality), Dictionary(
        groups, bytes(32), bytes(32)
    )


def gaps() -> tuple[Gap, ...]:
    """Every cause, one gap that lasts, one of no length, one before 1970."""
    return (
        Gap("drive", Cause.DOWN, START),
        Gap("drive", Cause.DOWN, START, START + 4_000_000_000),
        Gap("truck", Cause.ABSENT, START, START),
        Gap("truck", Cause.FAILED, -7_000_000, 5_000_000),
        Gap("truck", Cause.UNKNOWN, START),
    )


def losses() -> tuple[Loss, ...]:
    """Every cause: with both clocks, with one, with none, before 1970."""
    end = START + 90_000_000_000
    return (
        Loss(LossCause.BUDGET, "default", 7, 12, 3_400, START, end, Clock.SYNCHRONISED, AHEAD),
        Loss(LossCause.AGE, "cold start", 2**64 - 1, 1, 0, START, START, Clock.UNKNOWN, AHEAD),
        Loss(LossCause.SIZE, "default", 8, 1, 2**40, -7_000_000, end, Clock.UNSYNCHRONISED),
        Loss(LossCause.DISK, "", 0, 3, 5, START, end),
        Loss(LossCause.DAMAGED, "", batches=2),
        Loss(LossCause.UNKNOWN, "", batches=1),
    )


def main() -> None:
    """Write what is not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stamp = Stamp(0xFEDCBA9876543210, Clock.SYNCHRONISED)
    micro = Stamp(1, Clock.UNSYNCHRONISED, Resolution.MICROSECOND, "cold start", 12)
    live = replace(micro, ahead=AHEAD)
    by_boot = replace(truck(), time=truck().time - AHEAD)
    told = [
        replace(gap, start=gap.start - AHEAD, end=gap.end and gap.end - AHEAD) for gap in gaps()[:3]
    ]
    samples, own = tempers()
    messages = {
        "0-dictionary": encode_dictionary(DICTIONARY, 1).finish(5, 1),
        "1-tempers": encode_batch(samples, own, stamp, embed=True).finish(2**64 - 1, 300),
        "2-truck": encode_batch(truck(), DICTIONARY, micro).finish(5, 2),
        "3-repeating": encode_batch(repeating(), DICTIONARY, stamp).finish(5, 3),
        "4-judged": encode_batch(judged()[0], judged()[1], micro, embed=True)
        .telling(gaps(), micro)
        .finish(5, 4),
        "5-gaps": encode_gaps(gaps(), DICTIONARY, stamp).finish(5, 5),
        "6-since-boot": encode_batch(by_boot, DICTIONARY, live).telling(told, live).finish(5, 6),
        "7-losses": encode_losses(losses()).finish(5, 7),
    }
    nothing = replace(truck(), **{name: np.empty(0, np.int64) for name in FIELDS})
    contents = {
        "1-tempers": samples,
        "2-truck": truck(),
        "3-repeating": repeating(),
        "4-judged": judged()[0],
        "5-gaps": nothing,
        "6-since-boot": truck(),
        "7-losses": nothing,
    }
    for name, message in messages.items():
        file = FOLDER / f"{name}.bin"
        if file.exists():
            continue
        file.write_bytes(message)
        if name in contents:
            held = contents[name]
            text = {field: getattr(held, field).tolist() for field in FIELDS}
            if held.quality is not None:
                text["quality"] = held.quality.tolist()
            if name in ("4-judged", "5-gaps", "6-since-boot"):
                some = gaps()[:3] if name == "6-since-boot" else gaps()
                text["gaps"] = [[gap.bus, gap.cause, gap.start, gap.end] for gap in some]
            if name == "6-since-boot":
                text["ahead"] = AHEAD
            if name == "7-losses":
                text["losses"] = [astuple(loss) for loss in losses()]
            file.with_suffix(".json").write_text(json.dumps(text) + "\n")


if __name__ == "__main__":
    main()
