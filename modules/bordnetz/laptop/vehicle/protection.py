"""End-to-end protection of frames: counter and CRC, for a whole block at once.

Two profiles of the AUTOSAR E2E protocol (document AUTOSAR_FO_PRS_E2EProtocol), both with the CRC
in byte 0 and the counter in the low nibble of byte 1:

- ``P01``, profile 1 in variant 1A: CRC-8 with polynomial 0x1D, initial value and final XOR 0,
  over both bytes of the data id, the low one first, then over the data from byte 1 on; the
  counter runs from 0 to 14.
- ``P02``, profile 2: CRC-8 with polynomial 0x2F, initial value and final XOR 0xFF, over the data
  from byte 1 on, then over that entry of the list of sixteen data ids which the counter selects;
  the counter runs from 0 to 15.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bordnetz.laptop.vehicle.network import Message

Bytes = NDArray[np.uint8]

MODULUS = {"P01": 15, "P02": 16}
"""How many values the counter has."""
_POLYNOMIAL = {"P01": 0x1D, "P02": 0x2F}


def crc_table(polynomial: int) -> Bytes:
    """What a CRC-8 register becomes, uint8, shape (256,), most significant bit first."""
    register = np.arange(256, dtype=np.uint16)
    for _ in range(8):
        feedback = np.where(register & 0x80, polynomial, 0)
        register = ((register << 1) ^ feedback).astype(np.uint16)
    return register.astype(np.uint8)


class Protection:
    """Counters and checksums of a fixed sequence of frames, the same in every block."""

    def __init__(self, messages: Sequence[Message], message: NDArray[np.intp]) -> None:
        """Prepare for the frames of one block.

        Args:
            messages: The messages.
            message: Which of them each frame is, shape (frames,), in order of sending.
        """
        self._parts = [
            _Part(profile, messages, message)
            for profile in MODULUS
            if any(messages[m].profile == profile for m in message)
        ]

    def apply(self, data: Bytes) -> None:
        """Write counters and checksums of the next block; ``data`` has shape (frames, bytes)."""
        for part in self._parts:
            part.apply(data)


class _Part:
    """The frames under one profile."""

    def __init__(
        self, profile: str, messages: Sequence[Message], message: NDArray[np.intp]
    ) -> None:
        chosen = np.array([messages[m].profile == profile for m in message])
        self._rows = np.flatnonzero(chosen)
        mine = message[self._rows]
        known, self._which = np.unique(mine, return_inverse=True)
        self._modulus = MODULUS[profile]
        self._table = crc_table(_POLYNOMIAL[profile])
        self._sent = np.zeros(len(known), np.int64)
        self._a_block = np.bincount(self._which)
        self._nth = np.zeros(len(mine), np.int64)
        for one in range(len(known)):
            rows = self._which == one
            self._nth[rows] = np.arange(rows.sum())
        length = np.array([messages[m].length for m in known], np.int64)
        self._length = length[self._which]
        # Profile 1 begins with the data id, profile 2 ends with an entry of the list.
        self._list: Bytes | None = None
        if profile == "P01":
            ids = np.array([messages[m].data_ids[0] for m in known], np.uint32)
            register = self._table[(ids & 0xFF).astype(np.uint8)]
            first = self._table[register ^ (ids >> 8).astype(np.uint8)]
            self._final = np.uint8(0)
        else:
            first = np.full(len(known), 0xFF, np.uint8)
            self._list = np.array([messages[m].data_ids for m in known], np.uint8)
            self._final = np.uint8(0xFF)
        self._first = first[self._which]

    def apply(self, data: Bytes) -> None:
        counter = ((self._sent[self._which] + self._nth) % self._modulus).astype(np.uint8)
        self._sent = (self._sent + self._a_block) % self._modulus
        rows = data[self._rows]
        rows[:, 1] = (rows[:, 1] & 0xF0) | counter
        register = self._first
        for position in range(1, int(self._length.max())):
            step = self._table[register ^ rows[:, position]]
            register = np.where(position < self._length, step, register)
        if self._list is not None:
            register = self._table[register ^ self._list[self._which, counter]]
        rows[:, 0] = register ^ self._final
        data[self._rows] = rows
