"""Blocks of samples joined and cut, in columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bordnetz.batch.bits import I64, gather, places
from bordnetz.series import Group, Samples


def empty(groups: tuple[Group, ...]) -> Samples:
    """No samples."""
    none = np.empty(0, np.int64)
    return Samples(
        groups,
        none.astype(np.int32),
        none.astype(np.uint32),
        none.astype(np.int32),
        none,
        none,
        none,
        none,
    )


def merge(blocks: Sequence[Samples]) -> Samples:
    """Join blocks, one behind the other.

    Args:
        blocks: At least one, all over the same groups; ``order`` grows from block to block.

    Returns:
        One series for each (group, id, width) that has rows, ascending by these.
    """
    if len(blocks) == 1 and _is_merged(blocks[0]):
        return blocks[0]
    group = np.concatenate([block.group for block in blocks])
    id_ = np.concatenate([block.id for block in blocks])
    width = np.concatenate([block.width for block in blocks])
    count = np.concatenate([block.count for block in blocks]).astype(np.int64, copy=False)
    time = np.concatenate([block.time for block in blocks])
    order = np.concatenate([block.order for block in blocks])
    values = np.concatenate([block.values for block in blocks])
    quality = _quality(blocks)
    row_start = np.cumsum(count) - count
    value_start = np.cumsum(count * width) - count * width

    piece = np.lexsort((width, id_, group))
    piece = piece[count[piece] > 0]
    if not len(piece):
        return empty(blocks[0].groups)
    group, id_, width, count = group[piece], id_[piece], width[piece], count[piece]
    new = _is_new(group, id_, width)
    first = np.flatnonzero(new)
    rows = places(row_start[piece], count)

    # A series' column is the same column of all its pieces, one behind the other.
    columns = np.cumsum(np.where(new, width, 0)) - width
    column = places(np.zeros_like(count), width.astype(np.int64))
    length = np.repeat(count, width)
    start = np.repeat(value_start[piece], width) + column * length
    by_column = _in_order(np.repeat(columns, width) + column)
    length = length[by_column]
    return Samples(
        blocks[0].groups,
        group[first],
        id_[first],
        width[first],
        np.add.reduceat(count, first),
        time.take(rows, mode="clip"),
        order.take(rows, mode="clip"),
        gather(values, start[by_column], length),
        None if quality is None else gather(quality, start[by_column], length),
    )


def _quality(blocks: Sequence[Samples]) -> NDArray[np.uint8] | None:
    """The quality of all values of all blocks; None where no block has any."""
    if all(block.quality is None for block in blocks):
        return None
    return np.concatenate(
        [
            np.zeros(len(block), np.uint8) if block.quality is None else block.quality
            for block in blocks
        ]
    )


def _is_merged(block: Samples) -> bool:
    """Whether the series surely ascend, each there once and none empty."""
    key = (block.group.astype(np.int64) << 32) + block.id
    return bool((key[1:] > key[:-1]).all() and block.count.all())


def _in_order(columns: I64) -> I64:
    """The pieces of columns, column after column, those of one column in their order."""
    # numpy sorts 16 bits by radix, which takes a fifth of the time.
    small = len(columns) and int(columns.max()) <= np.iinfo(np.uint16).max
    order: I64 = columns.astype(np.uint16 if small else np.int64).argsort(kind="stable")
    return order


def _is_new(
    group: NDArray[np.int32], id_: NDArray[np.uint32], width: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Where another series begins; bool, shape (pieces,)."""
    new = np.ones(len(group), np.bool_)
    new[1:] = (np.diff(group) != 0) | (id_[1:] != id_[:-1]) | (np.diff(width) != 0)
    return new


def cut(samples: Samples, rows: int) -> tuple[Samples, Samples]:
    """Part the first ``rows`` rows to arrive from the others.

    Args:
        samples: One series for each (group, id, width).
        rows: 0 to all.
    """
    if rows >= len(samples.order):
        return samples, empty(samples.groups)
    if not rows:
        return empty(samples.groups), samples
    last = np.partition(samples.order, rows - 1)[rows - 1]
    chosen = samples.order < last
    same = (samples.order == last).nonzero()[0]
    chosen[same[: rows - np.count_nonzero(chosen)]] = True
    starts = np.cumsum(samples.count) - samples.count
    early = np.add.reduceat(chosen, starts, dtype=np.int64)
    zero = np.zeros_like(early)
    return _slice(samples, zero, early), _slice(samples, early, samples.count - early)


def _slice(samples: Samples, skip: I64, count: I64) -> Samples:
    """Of every series ``count`` rows behind the first ``skip``; series without rows go."""
    some = count > 0
    row_start = np.cumsum(samples.count) - samples.count + skip
    width = samples.width.astype(np.int64)
    value_start = np.cumsum(samples.count * width) - samples.count * width + skip
    rows = places(row_start[some], count[some])
    column = places(np.zeros(int(some.sum()), np.int64), width[some])
    start = np.repeat(value_start[some], width[some]) + column * np.repeat(
        samples.count[some], width[some]
    )
    length = np.repeat(count[some], width[some])
    return Samples(
        samples.groups,
        samples.group[some],
        samples.id[some],
        samples.width[some],
        count[some],
        samples.time.take(rows, mode="clip"),
        samples.order.take(rows, mode="clip"),
        gather(samples.values, start, length),
        None if samples.quality is None else gather(samples.quality, start, length),
    )
