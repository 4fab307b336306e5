"""From python-can's messages to columns, many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import can
import numpy as np
from can.util import CAN_FD_DLC
from numpy.typing import NDArray

from bordnetz.can.frames import BRS, CLASSIC_BYTES, ESI, FD_BYTES, FDF, Block, Frames
from bordnetz.series import EXTENDED

UNBOUND = -1
"""In place of a bus: the frame's channel belongs to none."""

_BROKEN = "an id, a length or a time that no frame has"
_TOO_LARGE = 1 << 32
"""For an id or a length of a frame."""
_LATEST = 9.2e9
"""Seconds since the Unix epoch that still fit into 64 bits of nanoseconds: the year 2261."""


def to_block(
    messages: Sequence[can.Message],
    bus: NDArray[np.int64],
    buses: int,
    position: Callable[[int], str] | None = None,
) -> Block:
    """Columns of what python-can read.

    Args:
        messages: In order of arrival.
        bus: int64, shape (messages,), index of each message's bus, or `UNBOUND`.
        buses: How many buses the vehicle has.
        position: Tells where the message of an index stands in its recording, if it is of one.

    Returns:
        Data frames and counts.  A message is broken if its length is not that of its data, if
        its id has too many bits, or if it tells no time.
    """
    bound = bus != UNBOUND
    chosen = [m for m, one in zip(messages, bound.tolist(), strict=True) if one]
    bus = bus[bound]
    is_error = np.array([m.is_error_frame for m in chosen], bool)
    is_remote = np.array([m.is_remote_frame for m in chosen], bool) & ~is_error
    is_fd = np.array([m.is_fd for m in chosen], bool)
    extended = np.array([m.is_extended_id for m in chosen], bool)
    # A recording may say any number, of however many digits.
    ids = np.array([max(-1, min(m.arbitration_id, _TOO_LARGE)) for m in chosen], np.int64)
    length = np.array([max(-1, min(m.dlc, _TOO_LARGE)) for m in chosen], np.int64)
    carried = np.array([len(m.data) for m in chosen], np.int64)
    # python-can's TRC reader tells the code of a length that CAN FD frames carry on the bus.
    is_code = is_fd & (carried > length)
    length[is_code] = np.array(CAN_FD_DLC)[length[is_code].clip(0, 15)]
    seconds = np.array([m.timestamp for m in chosen], np.float64)

    usable = (length == carried) & (length <= np.where(is_fd, FD_BYTES, CLASSIC_BYTES))
    usable &= (ids >= 0) & (ids <= np.where(extended, 0x1FFF_FFFF, 0x7FF))
    usable &= np.abs(seconds) < _LATEST  # False for what is no number, too.
    data = usable & ~is_error & ~is_remote
    broken = ~usable & ~is_error & ~is_remote
    problems: tuple[str, ...] = ()
    if position is not None:
        of_broken = np.flatnonzero(bound)[broken].tolist()
        problems = tuple(f"{position(row)}: {_BROKEN}" for row in of_broken)

    def frames(picked: NDArray[np.bool_], width: int) -> Frames:
        rows = np.flatnonzero(picked)
        fdf = FDF if width == FD_BYTES else 0
        flags = [
            fdf | (BRS if m.bitrate_switch else 0) | (ESI if m.error_state_indicator else 0)
            for m in (chosen[row] for row in rows)
        ]
        padded = b"".join([chosen[row].data.ljust(width, b"\0") for row in rows])
        return Frames(
            # A float of today's seconds tells microseconds, no more: do not invent digits.
            time=np.rint(seconds[rows] * 1e6).astype(np.int64) * 1000,
            bus=bus[rows].astype(np.uint8),
            id=np.where(extended[rows], ids[rows] | EXTENDED, ids[rows]).astype(np.uint32),
            flags=np.array(flags, np.uint8),
            length=length[rows].astype(np.uint8),
            data=np.frombuffer(padded, np.uint8).reshape(-1, width),
        )

    return Block.of(
        buses,
        frames(data & ~is_fd, CLASSIC_BYTES),
        frames(data & is_fd, FD_BYTES),
        remote=np.bincount(bus[is_remote], minlength=buses),
        error=np.bincount(bus[is_error], minlength=buses),
        broken=np.bincount(bus[broken], minlength=buses),
        unbound=len(messages) - len(chosen),
        problems=problems,
    )
