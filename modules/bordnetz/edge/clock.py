"""What the clocks of this machine are worth: which boot it is, and whether the time is right."""

from __future__ import annotations

import ctypes
import os
from enum import IntEnum
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_STA_UNSYNC = 0x0040
"""The clock is not synchronised (linux/timex.h)."""

_TIME_ERROR = 5
"""What adjtimex() returns for such a clock (linux/timex.h)."""


class ClockQuality(IntEnum):
    """How far the wall clock can be trusted."""

    UNKNOWN = 0
    """The kernel does not tell."""
    FREE = 1
    """Not synchronised since boot, or no longer."""
    SYNCHRONISED = 2
    """Disciplined by NTP, PTP or GNSS, as the kernel was told."""


class _Timex(ctypes.Structure):
    """The head of ``struct timex`` (linux/timex.h), and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 64),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def clock_quality() -> ClockQuality:
    """Ask the kernel, without changing anything (adjtimex with no modes needs no privilege)."""
    timex = _Timex()
    try:
        state = _libc.adjtimex(ctypes.byref(timex))
    except AttributeError:
        return ClockQuality.UNKNOWN
    if state < 0:
        return ClockQuality.UNKNOWN
    if state == _TIME_ERROR or timex.status & _STA_UNSYNC:
        return ClockQuality.FREE
    return ClockQuality.SYNCHRONISED


def boot_id(path: Path = _BOOT_ID) -> int:
    """64 bits that tell this boot from others: the first half of the kernel's boot id.

    Args:
        path: Where the kernel gives it.

    Returns:
        The number; a random one, the same for this process, where the kernel gives none.
    """
    try:
        return int(path.read_text().strip().replace("-", "")[:16], 16)
    except (OSError, ValueError):
        return _SUBSTITUTE


_SUBSTITUTE = int.from_bytes(os.urandom(8), "big")
