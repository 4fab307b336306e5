"""What cantools reads from frames, and what a decode table reads, in one comparable form."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cantools.database.can import Message
from cantools.database.errors import DecodeError
from cantools.database.utils import decode_data

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import Frames
from bordnetz.can.vehicle import Vehicle
from bordnetz.series import EXTENDED, Kind, Samples

Value = int | float
Decoded = dict[str, Value]


def vehicle(buses: dict[str, Sequence[Path | str]]) -> Vehicle:
    return Vehicle.parse(
        {
            "name": "test",
            "bus": [
                {"name": n, "interface": "unix", "channel": n, "dbc": [str(f) for f in files]}
                for n, files in buses.items()
            ],
        },
        Path("/test.toml"),
    )


def catalogue(*texts: str) -> Catalogue:
    """A catalogue of buses b0, b1, ... with one DBC file each."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, text in enumerate(texts):
            files.append(Path(folder, f"{number}.dbc"))
            files[-1].write_bytes(text.encode())
        return Catalogue.load(vehicle({f"b{n}": [file] for n, file in enumerate(files)}))


def frames(rows: Iterable[tuple[int, int, bytes]], width: int = 8) -> Frames:
    """Frames of (bus, id, data), a millisecond apart."""
    rows = list(rows)
    return Frames(
        time=np.arange(len(rows), dtype=np.int64) * 1_000_000,
        bus=np.array([bus for bus, _, _ in rows], np.uint8),
        id=np.array([frame_id for _, frame_id, _ in rows], np.uint32),
        flags=np.zeros(len(rows), np.uint8),
        length=np.array([len(data) for _, _, data in rows], np.uint8),
        data=np.frombuffer(
            b"".join(data.ljust(width, b"\0") for _, _, data in rows), np.uint8
        ).reshape(-1, width),
    )


def arbitration_id(message: Message) -> int:
    return message.frame_id | (EXTENDED if message.is_extended_frame else 0)


def by_cantools(message: Message, data: bytes) -> Decoded:
    """All raw values that lie in the data; an unknown selector value costs its branches only."""
    try:
        decoded: Any = message.decode(
            data, decode_choices=False, scaling=False, allow_truncated=True
        )
    except DecodeError:
        decoded = {}
        _visit(message, message._codecs, data, decoded)
    return decoded


def _visit(message: Message, node: Any, data: bytes, decoded: Decoded) -> None:
    here = decode_data(
        data, message.length, node["signals"], node["formats"], False, False, True, True
    )
    decoded.update(here)
    for selector, branches in node["multiplexers"].items():
        if selector in here and here[selector] in branches:
            _visit(message, branches[here[selector]], data, decoded)


def by_table(samples: Samples, count: int, physical: Any = None) -> list[Decoded]:
    """The same of all frames of a block, by index of the frame."""
    decoded: list[Decoded] = [{} for _ in range(count)]
    row = value = 0
    for series in range(len(samples.group)):
        group = samples.groups[samples.group[series]]
        rows = int(samples.count[series])
        order = samples.order[row : row + rows].tolist()
        row += rows
        for signal in group.signals[: samples.width[series]]:
            raw = samples.values[value : value + rows]
            if physical is not None:
                numbers = physical[value : value + rows].tolist()
            elif signal.kind in (Kind.INT, Kind.UINT64):
                numbers = (raw.view(np.uint64) if signal.kind is Kind.UINT64 else raw).tolist()
            else:
                kind = {Kind.FLOAT16: "f2", Kind.FLOAT32: "f4", Kind.FLOAT64: "f8"}[signal.kind]
                bits = raw.astype(np.uint64).astype(kind.replace("f", "u"))
                with np.errstate(invalid="ignore"):  # a signalling NaN
                    numbers = bits.view(kind).astype(float).tolist()
            value += rows
            for frame, number in zip(order, numbers, strict=True):
                assert signal.name not in decoded[frame]
                decoded[frame][signal.name] = number
    assert value == len(samples.values)
    assert row == len(samples.time) == len(samples.order)
    return decoded


def assert_raw_equal(ours: Decoded, theirs: Decoded) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == value or (math.isnan(ours[name]) and math.isnan(value)), name


def assert_physical_equal(ours: Decoded, raw: Decoded, message: Message) -> None:
    assert ours.keys() == raw.keys()
    for name, value in ours.items():
        signal = message.get_signal_by_name(name)
        expected = float(signal.raw_to_scaled(raw[name], decode_choices=False))
        if abs(raw[name]) <= 1 << 53 or signal.is_float:
            assert value == expected or (math.isnan(value) and math.isnan(expected)), name
        else:  # a column of float64 rounds the raw value first, Python the exact product
            assert math.isclose(value, expected, rel_tol=1e-15, abs_tol=1024), name
