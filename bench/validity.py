"""Checks of frames and quality of samples: what they add to capture and decoding.

Every message with room for a checksum and a counter is protected by E2E profile 2, and every
message has its cycle looked at, in blocks of 0.1 s of three buses with 2,000 frames/s each.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np

from bench.ceiling import from_sockets
from bench.decode import SHARED, Trace, demo_trace, in_turns, vw_trace
from bench.row import Row, at_most
from bordnetz.can.checks import Profile2
from bordnetz.can.crc import H2F, crc_table
from bordnetz.can.dbc import Message
from bordnetz.can.e2e import Protected
from bordnetz.can.frames import Frames
from bordnetz.can.quality import Assessor
from bordnetz.can.table import DecodeTable
from bordnetz.can.validity import Count, Validity, Watched

BLOCK = 600
"""Frames."""

MOST = 40.0
"""Percent of capture and decoding."""

_ROUNDS = 5
_DATA_ID = 0x5A
_PROFILE = Profile2(name="bench.M", profile="P02", data_ids=(_DATA_ID,) * 16)


def rows() -> list[Row]:
    """Percent of the CPU time of capture and decoding."""
    trace = vw_trace() if SHARED.is_dir() else demo_trace()
    frames, watched = protect(trace)
    blocks = [frames[at : at + BLOCK] for at in range(0, len(frames), BLOCK)]
    names = trace.catalogue.names
    table = DecodeTable.compile(trace.catalogue, dict.fromkeys(names, 0), names)
    validity = Validity(trace.catalogue, watched, table.groups)
    assessor = Assessor(trace.catalogue, table.groups)
    samples = [table.decode(block) for block in blocks]
    matches = [table.match(block) for block in blocks]

    def check() -> None:
        for block in blocks:
            validity.look(block)

    def judge() -> None:
        for block, some, found in zip(blocks, samples, matches, strict=True):
            assessor.assess(some, validity.look(block), assessor.follow(block, found))

    both = from_sockets(trace)
    base = statistics.median(both() for _ in range(_ROUNDS))
    spent = {
        name: 1e6 * statistics.median(times) / len(frames)
        for name, times in in_turns({"checks": check, "quality": judge}).items()
    }
    looked, wrong = (int(validity.counts[count].sum()) for count in (Count.FRAMES, Count.WRONG_CRC))
    if looked < len(frames) or wrong:
        raise AssertionError(f"{looked} frames were looked at, {wrong} had a wrong CRC")
    what = f"of capture and decoding, {BLOCK} frames a block ({trace.name})"
    budget = MOST if SHARED.is_dir() else None
    return [
        at_most(f"checks of all frames, share {what}", 100 * spent["checks"] / base, "%", budget),
        at_most(
            f"checks, and quality of all samples, share {what}",
            100 * spent["quality"] / base,
            "%",
        ),
    ]


def protect(trace: Trace) -> tuple[Frames, list[Watched]]:
    """The trace with counters and checksums that are right, and what to look at in it."""
    frames = trace.frames
    data = frames.data.copy()
    step = crc_table(H2F)
    watched = []
    for bus, (name, messages) in enumerate(
        zip(trace.catalogue.buses, trace.catalogue.messages, strict=True)
    ):
        for message in messages:
            mine = ((frames.bus == bus) & (frames.id == message.id)).nonzero()[0]
            protected = None
            if _has_room(message) and len(mine):
                protected = Protected.by_profile(_PROFILE, message.length)
                data[mine, 1] = data[mine, 1] & 0xF0 | np.arange(len(mine)) % 16
                register = np.full(len(mine), 0xFF, np.uint8)
                for byte in range(1, message.length):
                    register = step[register ^ data[mine, byte]]
                data[mine, 0] = step[register ^ _DATA_ID] ^ 0xFF
            gap = np.median(np.diff(frames.time[mine])) if len(mine) > 1 else 0
            cycle = max(round(gap / 1e6), 1)
            watched.append(Watched(bus, f"{name}.{message.name}", message, protected, cycle))
    return replace(frames, data=data), watched


def _has_room(message: Message) -> bool:
    """Whether there are 8 bits in byte 0 and 4 in byte 1 that are signals of their own."""
    places = {(place.start, place.length) for place in message.fields if not place.big_endian}
    return {(0, 8), (8, 4)} <= places and message.length <= 8


if __name__ == "__main__":
    for row in rows():
        print(f"{row['name']}: {row['value']:.1f} {row['unit']}")
