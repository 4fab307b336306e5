"""The quality of samples on the wire: runs of equal flags over all values that have one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64

Flags = NDArray[np.uint8]


def encode_flags(flags: Flags) -> tuple[bytes, list[int]]:
    """Flags as runs: what each has, and how long it is.

    Args:
        flags: uint8, shape (n,); almost always all 0, which is one run.
    """
    if not len(flags):
        return b"", []
    edge = np.ones(len(flags) + 1, bool)
    np.not_equal(flags[1:], flags[:-1], out=edge[1:-1])
    edges = edge.nonzero()[0]
    return flags[edges[:-1]].tobytes(), np.diff(edges).tolist()


def decode_flags(flags: bytes, runs: Sequence[int], count: int) -> Flags:
    """The inverse of `encode_flags`.

    Args:
        flags: Untrusted, as ``runs``.
        runs: See `encode_flags`.
        count: How many flags there are.

    Raises:
        ValueError: These are not so many.
    """
    if len(flags) != len(runs):
        raise ValueError(f"{len(flags)} flags for {len(runs)} runs of quality")
    lengths: I64 = np.array(runs, np.int64)
    if int(lengths.sum()) != count:
        raise ValueError(f"quality of {int(lengths.sum())} values, expected {count}")
    return np.frombuffer(flags, np.uint8).repeat(lengths)
