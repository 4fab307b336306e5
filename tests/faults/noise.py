"""Batches that no coding makes smaller, each of a second of its own."""

from __future__ import annotations

import numpy as np

from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.message import Stamp, encode_batch
from bordnetz.series import Group, Samples, Signal
from bordnetz.telemetry.backlog import Parcel
from bordnetz.telemetry.messages import batch_parcel

SECOND = 1_000_000_000
GROUPS = (Group("drive", "Noise", 0x100, signals=(Signal("Level"),)),)
DICTIONARY = Dictionary(GROUPS, bytes(32), bytes(32))


def noise(second: int, rows: int) -> Parcel:
    """A batch of so many samples, the first one at a second since the epoch."""
    samples = Samples(
        GROUPS,
        np.array([0], np.int32),
        np.array([0x100], np.uint32),
        np.array([1], np.int32),
        np.array([rows]),
        second * SECOND + np.arange(rows) * 100_000,
        np.arange(rows),
        np.random.default_rng(second).integers(-(2**62), 2**62, rows),
    )
    return batch_parcel(encode_batch(samples, DICTIONARY, Stamp(7)), DICTIONARY, 5)
