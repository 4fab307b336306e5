"""Recordings of the demo's buses, and what cantools reads in recordings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import can
import cantools
import numpy as np

from bordnetz.batch.message import Batch
from bordnetz.can.frames import FDF
from bordnetz.can.j1939 import parameter_group
from bordnetz.can.vehicle import Vehicle
from bordnetz.laptop.vehicle.traffic import Traffic
from bordnetz.series import EXTENDED

DBC = Path(__file__).parents[2] / "dbc"
BEGAN = 1_760_000_000_000_000_000

Series = dict[tuple[str, int], list[tuple[int, float]]]
"""Time in ms and physical value of every sample, by qualified name and arbitration id."""


def demo_frames(seconds: int) -> list[can.Message]:
    """What the demo's buses carry, on channels vcan0 to vcan2."""
    vehicle = Vehicle.load(DBC / "vehicle.toml")
    messages = []
    for burst in Traffic(vehicle, seed=1).bursts(BEGAN):
        if burst.due >= seconds * 1_000_000_000:
            return messages
        frames = burst.frames
        for row in range(len(frames)):
            number, length = int(frames.id[row]), int(frames.length[row])
            messages.append(
                can.Message(
                    timestamp=(BEGAN + burst.due) // 1000 / 1e6,
                    arbitration_id=number & ~EXTENDED,
                    is_extended_id=bool(number & EXTENDED),
                    is_fd=bool(frames.flags[row] & FDF),
                    data=frames.data[row, :length].tobytes(),
                    channel=vehicle.buses[burst.bus].channel,
                )
            )
    raise AssertionError("traffic has no end")


def write(path: Path, messages: Iterable[can.Message]) -> Path:
    """A recording in the form that the suffix tells."""
    with can.Logger(path) as log:
        for message in messages:
            log(message)
    return path


def by_cantools(
    messages: Iterable[can.Message], databases: dict[str, Path], pgns: set[int] | None = None
) -> Series:
    """What cantools decodes.

    Args:
        messages: A recording.
        databases: DBC file by channel; channel and bus have the same name.
        pgns: J1939: only these, found by their parameter group number.
    """
    loaded = {channel: cantools.database.load_file(file) for channel, file in databases.items()}
    by_id = {
        channel: {(m.frame_id, m.is_extended_frame): m for m in database.messages}
        for channel, database in loaded.items()
    }
    names = {channel: [m.name for m in database.messages] for channel, database in loaded.items()}
    series: Series = defaultdict(list)
    for message in messages:
        database, number = loaded[str(message.channel)], message.arbitration_id
        if pgns is None:
            found = by_id[str(message.channel)][number, message.is_extended_id]
        else:
            group = pgn(number)
            if group not in pgns:
                continue
            found = next(m for m in database.messages if pgn(m.frame_id) == group)
        number |= EXTENDED if message.is_extended_id else 0
        values = found.decode(bytes(message.data), decode_choices=False)
        shared = names[str(message.channel)].count(found.name) > 1
        called = f"{found.name}@{number:03X}" if shared else found.name
        for name, value in values.items():
            key = (f"{message.channel}.{called}.{name}", number)
            series[key].append((round(message.timestamp * 1e6) // 1000, value))
    return series


def pgn(number: int) -> int:
    return int(parameter_group(np.array([number], np.uint32))[0])


def by_reader(batches: Iterable[Batch]) -> Series:
    """What arrived in the cloud."""
    series: Series = defaultdict(list)
    for batch in batches:
        for name, number, times, values in columns(batch):
            series[name, number] += zip((times // 1_000_000).tolist(), values.tolist(), strict=True)
    return series


def columns(batch: Batch) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    samples = batch.samples
    row = value = 0
    for s, count in enumerate(samples.count.tolist()):
        group = samples.groups[samples.group[s]]
        times = samples.time[row : row + count]
        row += count
        names = group.names()
        for signal in range(samples.width[s]):
            raw = samples.values[value : value + count]
            value += count
            physical = group.signals[signal].physical(raw)
            yield names[signal], int(samples.id[s]), times, physical


def assert_same(ours: Series, theirs: Series) -> int:
    """Every sample of ``theirs`` is in ``ours``, none more of these series; how many there are."""
    total = 0
    for key, expected in theirs.items():
        got = ours.get(key, [])
        assert got == expected, key
        total += len(got)
    return total
