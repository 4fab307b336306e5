"""CRC-8 of many frames at once.

A CRC is linear over the bits that it covers, so that the checksum of a frame is the XOR of what
each of its bytes adds, and what a byte adds depends on its value and on how many bytes follow it.
With a table of these contributions a frame's CRC is one look-up a byte, all of them independent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

J1850 = 0x1D
"""Polynomial of SAE J1850, which AUTOSAR E2E profile 1 takes (AUTOSAR_SWS_CRCLibrary)."""
H2F = 0x2F
"""Polynomial 0x2F, which AUTOSAR E2E profile 2 takes (AUTOSAR_SWS_CRCLibrary)."""


def crc_table(polynomial: int) -> NDArray[np.uint8]:
    """What a CRC-8 register becomes, uint8, shape (256,), most significant bit first."""
    register = np.arange(256, dtype=np.uint16)
    for _ in range(8):
        feedback = np.where(register & 0x80, polynomial, 0)
        register = ((register << 1) ^ feedback).astype(np.uint16)
    return register.astype(np.uint8)


def contributions(polynomial: int, most: int) -> NDArray[np.uint8]:
    """What a byte adds to a CRC-8 that begins with a register of 0 and ends without final XOR.

    A register that begins with another value adds what a byte of that value before the first one
    would: that is its initial value's contribution.

    Args:
        polynomial: The polynomial without its highest bit.
        most: No byte has more bytes behind it.

    Returns:
        uint8, shape (most + 1, 256): by the number of covered bytes that follow, and value.
    """
    step = crc_table(polynomial)
    rows = [step]
    for _ in range(most):
        rows.append(step[rows[-1]])
    return np.stack(rows)
