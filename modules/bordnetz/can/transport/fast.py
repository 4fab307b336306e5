"""Fast packets of NMEA 2000: frames as packets.

Up to 223 bytes travel in up to 32 frames of one arbitration id, one after the other and without
flow control.  The first byte of each has a sequence counter of 3 bits, which tells a message from
the next of the same id, and a frame counter of 5 bits; the second byte of the first frame is the
message's length.  Frames do not tell that they are fast packets: the parameter group does.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.frames import Frames
from bordnetz.can.j1939 import parameter_group
from bordnetz.can.transport.packets import Packets, Role
from bordnetz.series import EXTENDED

LONGEST = 223
"""Bytes of a message: 6 in the first frame and 7 in each of 31 others."""

_HEAD, _STEP = 6, 7
_FRAME_BYTES = 8
_LIMIT = 750_000_000
"""ns, between two frames of a message, as of J1939's broadcasts (T1)."""
_SPACE = 1 << 61
"""Set in the keys of sessions, which keeps them apart from those of the other protocols."""
_NUMBER = 0x1FFF_FFFF

_FIRST, _LAST = 0x1ED00, 0x1FFFF
"""The parameter groups in which NMEA 2000 has fast packets."""
_MIXED_FIRST, _MIXED_LAST = 0x1F000, 0x1FEFF
"""Those among them in which it has messages of one frame, too; which ones, its appendix B says.
The others are for commands and lists (0x1ED00, 0x1EE00) and for manufacturers (0x1EF00, from
0x1FF00 on)."""


def in_range(group: int) -> bool:
    """Whether a parameter group is of those that may be fast packets."""
    return _FIRST <= group <= _LAST


def is_fast(group: int, length: int) -> bool:
    """Whether messages of a parameter group come as fast packets on a bus of NMEA 2000.

    Args:
        group: Its number.
        length: Bytes of the message by its DBC file; where a group may be either, those longer
            than a frame can only be fast packets.
    """
    if _MIXED_FIRST <= group <= _MIXED_LAST:
        return length > _FRAME_BYTES
    return in_range(group)


class Fast:
    """Reads frames of fast packets.

    Args:
        groups: The parameter groups that come as such and are wanted, by bus and number.
    """

    def __init__(self, groups: Iterable[tuple[int, int]]) -> None:
        self.groups = frozenset(groups)
        self._keys = np.array(sorted(bus << 18 | number for bus, number in self.groups), np.int64)

    def claim(self, frames: Frames) -> NDArray[np.bool_]:
        """Which frames are of these groups; bool, shape (n,)."""
        key = frames.bus.astype(np.int64) << 18 | parameter_group(frames.id)
        place = np.minimum(self._keys.searchsorted(key), len(self._keys) - 1)
        found: NDArray[np.bool_] = self._keys[place] == key
        found &= frames.id >= np.uint32(EXTENDED)
        return found

    def packets(self, frames: Frames, rows: NDArray[np.intp]) -> Packets:
        """The packets of some frames of these groups.

        Args:
            frames: A block of classic CAN.
            rows: intp, which of them, ascending.
        """
        ids = frames.id[rows]
        counters, total = frames.data[rows, :2].astype(np.int64).T
        length = frames.length[rows].astype(np.int64)
        sequence, number = counters >> 5, counters & 0x1F
        conversation = frames.bus[rows].astype(np.int64) << 29 | (ids & np.uint32(_NUMBER))
        made = Packets.blank(rows, _SPACE | sequence << 37 | conversation)
        made.role[(number > 0) & (length > 1)] = Role.PART
        opens = (number == 0) & (total > 0) & (total <= LONGEST)
        opens &= length >= np.minimum(total, _HEAD) + 2
        made.role[opens] = np.where(total > _HEAD, Role.START, Role.WHOLE)[opens]
        made.id[:] = ids
        made.number[:] = number
        made.size[:] = length - 1
        made.begin[:] = np.where(number > 0, 1, 2)
        made.head[:] = np.minimum(total, _HEAD)
        made.step[:] = _STEP
        made.total[:] = total
        made.need[:] = -(-np.maximum(total - _HEAD, 0) // _STEP)
        made.wrap[:] = 0x1F
        made.limit[:] = _LIMIT
        return made
