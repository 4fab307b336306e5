"""The frames of a soak: numbered, and each with what follows from its number.

Whoever reads the batches can so tell of every sample whether it came, how often, and unchanged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.frames import CLASSIC_BYTES, Frames
from bordnetz.series import Samples

RATE = 50
"""Frames/s while the car drives."""
SIGNALS = 3
ID = 0x100
DBC = """VERSION ""
BS_:
BU_: X
BO_ 256 Motor: 8 X
 SG_ Number : 0|32@1+ (1,0) [0|0] "" X
 SG_ Speed : 32|16@1+ (0.5,0) [0|0] "km/h" X
 SG_ Gear : 48|8@1+ (1,0) [0|0] "" X
"""

Numbers = NDArray[np.int64]

_SPEEDS = np.random.default_rng(0).integers(0, 4_001, 65_521)
"""Raw; noise, which leaves a batch nothing to foresee."""


def _follows(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """Raw speed, which never rests, and gear, which seldom changes."""
    return _SPEEDS[numbers % len(_SPEEDS)], numbers // (60 * RATE) % 6


def frames(numbers: Numbers) -> Frames:
    """Frames with these numbers."""
    n = len(numbers)
    speed, gear = _follows(numbers)
    data = np.zeros((n, CLASSIC_BYTES), np.uint8)
    data[:, :4] = numbers.astype("<u4").view(np.uint8).reshape(n, 4)
    data[:, 4:6] = speed.astype("<u2").view(np.uint8).reshape(n, 2)
    data[:, 6] = gear
    return Frames(
        time=np.zeros(n, np.int64),
        bus=np.zeros(n, np.uint8),
        id=np.full(n, ID, np.uint32),
        flags=np.zeros(n, np.uint8),
        length=np.full(n, CLASSIC_BYTES, np.uint8),
        data=data,
    )


def read(samples: Samples) -> tuple[Numbers, int]:
    """The numbers of the frames that samples came from, and how many have what does not follow."""
    values = samples.values.reshape(-1)
    found, odd, at = [], 0, 0
    for width, count in zip(samples.width.tolist(), samples.count.tolist(), strict=True):
        part = values[at : at + width * count].reshape(width, count)
        at += width * count
        found.append(part[0])
        odd += count if width != SIGNALS else int((part[1:] != _follows(part[0])).any(axis=0).sum())
    return np.concatenate(found) if found else np.zeros(0, np.int64), odd
