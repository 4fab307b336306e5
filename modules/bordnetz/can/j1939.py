"""SAE J1939 identifiers: what names a parameter group in a 29-bit arbitration id."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_PDU2 = 0xF000
"""The first PDU format, shifted into place, whose specific byte extends the group's number
instead of naming the destination (SAE J1939-21, protocol data unit formats 1 and 2)."""


_PRIORITY = 7 << 26
"""The bits of an id that tell its priority (SAE J1939-21)."""


class Match(IntEnum):
    """What of an arbitration id tells the message; `Index` tries one after the other."""

    ID = 0
    """All of it."""
    ADDRESSES = 1
    """All but the priority: parameter group, source and, in format PDU1, destination."""
    PGN = 2
    """The parameter group number."""

    def key(self, ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """What has to be equal in 29-bit ids; uint32, shape (n,), as ``ids``."""
        if self is Match.PGN:
            return parameter_group(ids)
        return ids & ~np.uint32(_PRIORITY) if self is Match.ADDRESSES else ids


def parameter_group(ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The parameter group numbers (PGN) of 29-bit arbitration ids.

    Priority and source address are no part of a PGN; nor is the destination address, which ids
    of format PDU1 carry in the place of the group extension.

    Args:
        ids: uint32, shape (n,), with or without `bordnetz.series.EXTENDED`.

    Returns:
        uint32, shape (n,), 18 bits: extended data page, data page, PDU format, group extension.
    """
    groups = (ids >> np.uint32(8)) & np.uint32(0x3FFFF)
    directed = (groups & np.uint32(0xFF00)) < _PDU2
    return np.where(directed, groups & np.uint32(0x3FF00), groups)
