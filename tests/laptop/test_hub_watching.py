from __future__ import annotations

import asyncio

import numpy as np

from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.message import Clock, Stamp, encode_batch, encode_dictionary, encode_gaps
from bordnetz.laptop.hub.store import UPSTREAM, Stored
from bordnetz.laptop.hub.topics import Event
from bordnetz.laptop.hub.upstream import Upstream, UpstreamWriter
from bordnetz.laptop.hub.watching import Viewer, last_values, watch
from bordnetz.series import Cause, Gap, Group, Samples, Signal

GROUPS = (
    Group(
        bus="drive",
        message="Motor",
        id=0x100,
        signals=(
            Signal("Speed", "km/h", factor=0.5),
            Signal("Gear", choices=((0, "Park"), (3, "Drive"))),
        ),
    ),
)
SECOND = 1_000_000_000


def _samples() -> Samples:
    return Samples(
        groups=GROUPS,
        group=np.array([0], np.int32),
        id=np.array([0x100], np.uint32),
        width=np.array([2], np.int32),
        count=np.array([3], np.int64),
        time=np.array([1, 2, 3], np.int64) * SECOND,
        order=np.arange(3, dtype=np.int64),
        values=np.array([10, 20, 107, 0, 0, 3], np.int64),
    )


def _put(folder, *bodies: bytes, **system: str) -> list[list[str]]:
    """The lines that a viewer shows for each message, when it sees the last one only."""
    writer = UpstreamWriter(folder)
    for body in bodies:
        event = Event("batches", {"schema": "1"}, system)
        writer.append(Stored(1, UPSTREAM, 0, 9e9, 5.0, "telemetry", event, body))
    writer.close()
    upstream = Upstream(folder)
    last = list(upstream.messages())[-1]
    return list(Viewer(upstream).lines(last))


def test_the_last_values_of_a_batch_are_physical_and_named():
    assert last_values(_samples()) == {
        "drive.Motor.Speed": ("53.5 km/h", 3),
        "drive.Motor.Gear": ("Drive", 3),
    }


def test_a_batch_is_shown_with_a_dictionary_that_came_long_before(tmp_path):
    dictionary = Dictionary(GROUPS, b"v" * 32, b"c" * 32)
    stamp = Stamp(boot=1, clock=Clock.SYNCHRONISED)
    first, *lines = _put(
        tmp_path,
        encode_dictionary(dictionary, 1).finish(7, 1),
        b"something else",
        encode_batch(_samples(), dictionary, stamp).finish(7, 2),
    )
    assert "#3 telemetry/batches" in first
    assert "schema=1" in first
    assert lines[0].startswith("  batch 2: 6 samples of 2 signals, ")
    assert lines[1:] == [
        "    drive.Motor.Gear = Drive (3)",
        "    drive.Motor.Speed = 53.5 km/h (3)",
    ]


def test_a_bus_that_was_not_listened_to_is_shown(tmp_path):
    dictionary = Dictionary(GROUPS, b"v" * 32, b"c" * 32)
    gap = Gap("drive", Cause.ABSENT, 1_700_000_000 * SECOND, 1_700_000_002 * SECOND)
    _, head, line = _put(
        tmp_path,
        encode_dictionary(dictionary, 1).finish(7, 1),
        encode_gaps([gap], dictionary, Stamp(boot=1)).finish(7, 2),
    )
    assert head.startswith("  batch 2: 0 samples of 0 signals, ")
    assert line == (
        "    bus drive not listened to (absent) since 2023-11-14T22:13:20.000Z, for 2.000 s"
    )


def test_a_batch_whose_dictionary_has_not_come_says_so(tmp_path):
    dictionary = Dictionary(GROUPS, b"v" * 32, b"c" * 32)
    batch = encode_batch(_samples(), dictionary, Stamp(boot=1)).finish(7, 2)
    _, line = _put(tmp_path, batch)
    assert line == f"  waits for dictionary {dictionary.digest.hex()[:16]}"


def test_texts_are_shown_and_control_characters_are_not_obeyed(tmp_path, capsys):
    (line,) = _put(tmp_path, b'{"a": 1}', contentType="application/json")
    assert line.endswith('{"a": 1}')
    _put(tmp_path, b"\x1b[2Jhidden\n", contentType="text/plain")
    asyncio.run(watch(Upstream(tmp_path), 1, 1))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(r"\x1b[2Jhidden\n")
    (line,) = _put(tmp_path, b"x" * 1000, contentType="text/plain")
    assert line.endswith("xxx...")
    (line,) = _put(tmp_path, b"\x00\x01\x02")
    assert line.endswith("schema=1")
