"""The transport protocol of SAE J1939-21: frames of TP.CM and TP.DT as packets.

A broadcast (BAM) is announced and then sent; a message to one destination is announced by a
request (RTS), and the receiver clears packets to be sent (CTS), some of them again, until it
acknowledges the end.  Sessions are told apart by bus, source and destination.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.frames import Frames
from bordnetz.can.transport.packets import Packets, Role
from bordnetz.series import EXTENDED

CONNECTION = 0xEC00
"""The group of TP.CM, which announces messages and controls their flow (SAE J1939-21, 5.10.3)."""
DATA = 0xEB00
"""The group of TP.DT, which carries them, 7 bytes a frame (SAE J1939-21, 5.10.4)."""
LONGEST = 1785
"""Bytes of a message: 255 packets."""

_GROUP = np.uint32(EXTENDED | 0x03FF_0000)
"""The bits of an id that tell these two groups from all others."""
_CONNECTION_ID = np.uint32(EXTENDED | CONNECTION << 8)
_DATA_ID = np.uint32(EXTENDED | DATA << 8)

_RTS, _CTS, _END, _BAM, _ABORT = 16, 17, 19, 32, 255
"""Control bytes of TP.CM (SAE J1939-21, 5.10.3.1 to 5.10.3.5)."""
_ALL = 0xFF
"""The destination of what is for everybody."""
_STEP = 7
_SPACE = 1 << 62
"""Set in the keys of sessions, which keeps them apart from those of ISO-TP."""

_T1 = 750_000_000
"""ns, between two packets of a broadcast (T1 of SAE J1939-21, 5.10.2.4)."""
_T2 = 1_250_000_000
"""ns, T2 and T3 there: between packets and what the receiver says about them."""


def is_transport(ids: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which arbitration ids are of TP.CM or TP.DT; bool, shape (n,)."""
    group = ids & _GROUP
    group -= _DATA_ID
    found: NDArray[np.bool_] = group <= _CONNECTION_ID - _DATA_ID  # there is none between them
    return found


class J1939:
    """Reads frames of the J1939 transport protocol.

    Args:
        groups: The parameter groups that are wanted, by bus and number, and the priority that
            the ids of their messages get: transport frames do not tell it.
    """

    def __init__(self, groups: Mapping[tuple[int, int], int]) -> None:
        keys = sorted(bus << 18 | number for bus, number in groups)
        self._keys = np.array(keys, np.int64)
        self._priority = np.array([groups[k >> 18, k & 0x3FFFF] for k in keys], np.int64)

    def packets(self, frames: Frames, rows: NDArray[np.intp]) -> Packets:
        """The packets of some frames of TP.CM and TP.DT.

        Args:
            frames: A block of classic CAN.
            rows: intp, which of them, ascending.
        """
        ids = frames.id[rows].astype(np.int64)
        bus = frames.bus[rows].astype(np.int64) << 16 | _SPACE
        source, destination = ids & 0xFF, ids >> 8 & 0xFF
        data = frames.data[rows].astype(np.int64)
        length = frames.length[rows]
        control, number = data[:, 0], data[:, 5] | data[:, 6] << 8 | (data[:, 7] & 3) << 16
        whole = length == 8
        made = Packets.blank(rows, bus | source << 8 | destination)

        part = ids >> 16 & 0xFF == DATA >> 8
        made.role[part & (length > 1)] = Role.PART
        made.begin[:] = 1
        made.number[:] = control
        made.size[:] = length - np.int64(1)

        managing = ~part & whole
        total = data[:, 1] | data[:, 2] << 8
        need = -(-total // _STEP)
        broadcast = managing & (control == _BAM)
        announces = broadcast & (destination == _ALL)
        announces |= managing & (control == _RTS) & (destination != _ALL)
        announces &= (total > 0) & (total <= LONGEST) & (data[:, 3] == need)
        made.role[announces] = Role.START
        group = frames.bus[rows].astype(np.int64) << 18 | number
        place = np.minimum(self._keys.searchsorted(group), len(self._keys) - 1)
        known = self._keys[place] == group
        names = announces | (managing & (control == _ABORT))
        made.wanted[names] = known[names]
        made.about[:] = number
        directed = number & 0xFF00 < 0xF000
        made.id[:] = (
            EXTENDED
            | self._priority[place] << 26
            | number << 8
            | np.where(directed, destination << 8, 0)
            | source
        )
        made.step[:] = _STEP
        made.total[:] = total
        made.need[:] = need
        made.wrap[:] = 0xFF
        made.ordered[:] = broadcast
        made.limit[:] = np.where(broadcast, _T1, _T2)

        # What the receiver says is about packets that go the other way.
        answers = managing & ((control == _CTS) | (control == _END))
        made.role[answers] = Role.CONTROL
        back = bus | destination << 8 | source
        made.key[answers] = back[answers]
        # Both sides may abort, and only the group tells which of two messages it is about.
        aborts = managing & (control == _ABORT)
        made.role[aborts] = Role.ABORT
        if not aborts.any():
            return made
        others = made[aborts]
        others.key[:] = back[aborts]
        return Packets.merge([made, others])
