"""ISO 15765-2 (ISO-TP) on classic CAN and CAN FD: its frames as packets.

With normal addressing the arbitration id tells everything.  With extended and mixed addressing a
byte before all others is a part of the address: one id carries several conversations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.frames import Frames
from bordnetz.can.transport.packets import Packets, Role

LONGEST = 4095
"""Bytes of a message; more of them need the escape of a first frame, and are not put together."""

_SINGLE, _FIRST, _CONSECUTIVE, _FLOW = 0, 1, 2, 3
"""The frame's type, in the first four bits (ISO 15765-2:2016, 9.6.1, table 9)."""
_OVERFLOW = 2
"""Flow status: the receiver has no room for the message; 0 and 1 let it go on (there, 9.6.5.2)."""
_SHORT = 8
"""Up to this many bytes of a frame a single frame tells its length in the first byte (9.6.2)."""

_SPACE = 1 << 60
"""Set in the keys of sessions, which keeps them apart from those of the other protocols."""

_LIMIT = 2_000_000_000
"""ns, N_Bs and N_Cr of ISO 15765-2:2016, 9.8, one after the other: whoever hears one direction
alone does not hear the flow control between two frames."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Messages under one arbitration id of one bus, with one address.

    Attributes:
        bus: Index of the bus.
        id: Arbitration id, `bordnetz.series.EXTENDED` set for 29 bits.
        partner: The id under which its receiver answers with flow control; None: unknown.
        address: The byte before all others, N_TA or N_AE (ISO 15765-2:2016, 9.4); None: there is
            none.  All flows under an id have one, or none has.
        partner_address: That of the receiver's answers.
        length_byte: The DBC file counts from the byte before the message, which holds the lowest
            byte of its length.
        wanted: Whether somebody wants the messages.
    """

    bus: int
    id: int
    partner: int | None
    length_byte: bool
    wanted: bool
    address: int | None = None
    partner_address: int | None = None

    @property
    def key(self) -> int:
        """What tells its sessions from all others."""
        return _key(self.bus, self.id, self.address)

    @property
    def partner_key(self) -> int:
        """The same of its partner's; -1 where that is unknown."""
        if self.partner is None:
            return -1
        return _key(self.bus, self.partner, self.partner_address)


def _key(bus: int, number: int, address: int | None) -> int:
    return _SPACE | (bus << 32 | number) << 9 | (0 if address is None else 0x100 | address)


class IsoTp:
    """Reads frames of ISO-TP.

    Args:
        flows: All ids that carry it, those of partners included.
    """

    def __init__(self, flows: Sequence[Flow]) -> None:
        flows = sorted(flows, key=lambda flow: flow.key)
        self._keys = np.array([flow.key for flow in flows], np.int64)
        self._addressed = np.unique([f.key & ~0x1FF for f in flows if f.address is not None])
        # An id without a partner controls no flow: its frames of control get a key of their own.
        self._partner = np.array([flow.partner_key for flow in flows], np.int64)
        self._shift = np.array([flow.length_byte for flow in flows], np.int64)
        self._wanted = np.array([flow.wanted for flow in flows], bool)
        wanted = {flow.key for flow in flows if flow.wanted}
        self._partner_wanted = np.array([key in wanted for key in self._partner.tolist()], bool)

    def packets(self, frames: Frames, rows: NDArray[np.intp]) -> Packets:
        """The packets of some frames under the ids of the flows.

        Args:
            frames: A block, of classic CAN or CAN FD.
            rows: intp, which of them, ascending.
        """
        key = _SPACE | (frames.bus[rows].astype(np.int64) << 32 | frames.id[rows]) << 9
        data = frames.data[rows, :8].astype(np.int64)
        whole = frames.length[rows].astype(np.int64)
        before = np.zeros(len(rows), np.int64)
        if len(self._addressed):
            named = np.isin(key, self._addressed) & (whole > 0)
            key[named] |= 0x100 | data[named, 0]
            data[named, :7] = frames.data[rows[named], 1:8]
            before[named] = 1
        flow = np.minimum(self._keys.searchsorted(key), len(self._keys) - 1)
        known = self._keys[flow] == key
        length = whole - before
        kind, low = data[:, 0] >> 4, data[:, 0] & 0xF
        kind[(length == 0) | ~known] = -1
        made = Packets.blank(rows, key)
        made.wanted[:] = known & self._wanted[flow]
        made.id[:] = frames.id[rows]
        made.shift[:] = self._shift[flow]
        made.wrap[:] = 0xF
        made.limit[:] = _LIMIT
        made.number[:] = low
        made.size[:] = length - 1
        made.begin[:] = 1
        self._single(made, kind, low, data, whole, length)
        self._first(made, kind, low, data, whole, length)
        made.begin[:] += before
        made.role[(kind == _CONSECUTIVE) & (length > 1)] = Role.PART
        control = (kind == _FLOW) & (length > 2) & (low <= _OVERFLOW)
        made.role[control] = Role.CONTROL
        made.role[control & (low == _OVERFLOW)] = Role.ABORT
        made.key[control] = self._partner[flow[control]]
        made.wanted[control] = self._partner_wanted[flow[control]]
        return made

    def _single(
        self,
        made: Packets,
        kind: NDArray[np.int64],
        low: NDArray[np.int64],
        data: NDArray[np.int64],
        whole: NDArray[np.int64],
        length: NDArray[np.int64],
    ) -> None:
        """Single frames: the length is in the first byte, in long frames in the second."""
        escaped = (low == 0) & (whole > _SHORT)
        begin = np.where(escaped, 2, 1)
        total = np.where(escaped, data[:, 1], low)
        good = (kind == _SINGLE) & (total > 0) & (begin + total <= length)
        good &= escaped | (whole <= _SHORT)
        made.role[good] = Role.WHOLE
        made.begin[good] = begin[good]
        made.head[good] = made.total[good] = total[good]

    def _first(
        self,
        made: Packets,
        kind: NDArray[np.int64],
        low: NDArray[np.int64],
        data: NDArray[np.int64],
        whole: NDArray[np.int64],
        length: NDArray[np.int64],
    ) -> None:
        """First frames: the length has 12 bits or, behind 12 of zero, 32."""
        total = low << 8 | data[:, 1]
        escaped = total == 0
        long = data[:, 2] << 24 | data[:, 3] << 16 | data[:, 4] << 8 | data[:, 5]
        total = np.where(escaped, long, total)
        # A message that fits a single frame has none, nor an escape where 12 bits are enough.
        least = np.where(escaped, LONGEST + 1, length - (whole > _SHORT))
        good = (kind == _FIRST) & (whole >= _SHORT) & (total >= least)
        begin = np.where(escaped, 6, 2)
        made.role[good] = Role.START
        made.begin[good] = begin[good]
        made.head[good] = (length - begin)[good]
        made.step[good] = (length - 1)[good]
        made.total[good] = total[good]
        made.need[good] = -(-(total - length + begin) // np.maximum(length - 1, 1))[good]
