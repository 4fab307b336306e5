"""SAE J1939 identifiers: what names a parameter group in a 29-bit arbitration id."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PDU2 = 0xF000
"""The first PDU format, shifted into place, whose specific byte extends the group's number
instead of naming the destination (SAE J1939-21, protocol data unit formats 1 and 2)."""


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
