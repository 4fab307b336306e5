"""The bytes of whole messages, moved from the frames that carried them into rows of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.frames import FD_BYTES, Frames
from bordnetz.can.transport.packets import Packets
from bordnetz.can.transport.sessions import Resolution

_MOST_ROWS = 3072
_MOST_BYTES = 1 << 20
"""Of one portion: a message in it takes as much room as the longest."""


def messages(
    frames: Frames, packets: Packets, found: Resolution, counted: NDArray[np.bool_]
) -> Iterator[tuple[Frames, NDArray[np.int64]]]:
    """Whole messages in the order of their last frames, in portions of bounded size.

    Args:
        frames: What ``packets`` point into.
        packets: All packets.
        found: Of ``packets``.
        counted: bool, shape (frames,), which frames the messages stand for in the books.

    Yields:
        Messages as if each were a frame: time of the last frame's reception, id and length of
        the message, and data uint8, shape (n, 64) or, where one is longer,
        the next power of two.  Then int64, shape (n,):
        how many frames each one stands for.
    """
    heads = found.piece[found.place == 0]
    length = packets.total[heads] + packets.shift[heads]
    sizes = np.bincount(found.message, minlength=len(heads))
    stands = np.bincount(
        found.owner[(found.owner >= 0) & counted[packets.row]], minlength=len(heads)
    )
    ends = sizes.cumsum()
    done = 0
    while done < len(heads):
        stop = _portion(length, done)
        pieces = slice(ends[done] - sizes[done], ends[stop - 1])
        data = _data(frames, packets, found, pieces, heads[done:stop], length[done:stop], done)
        last = packets.row[found.last[done:stop]]
        yield (
            Frames(
                time=frames.time[last],
                bus=frames.bus[last],
                id=packets.id[heads[done:stop]],
                flags=frames.flags[last],
                length=length[done:stop].astype(np.uint16),
                data=data,
            ),
            stands[done:stop],
        )
        done = stop


def _portion(length: NDArray[np.int64], start: int) -> int:
    """Where a portion ends that begins with message ``start``."""
    longest = np.maximum.accumulate(length[start : start + _MOST_ROWS])
    room = np.arange(1, len(longest) + 1) * 2 * longest <= _MOST_BYTES
    return start + max(1, int(room.sum()))


def _data(
    frames: Frames,
    packets: Packets,
    found: Resolution,
    pieces: slice,
    heads: NDArray[np.intp],
    length: NDArray[np.int64],
    first: int,
) -> NDArray[np.uint8]:
    """The data of the messages whose first is number ``first``."""
    message, piece, place = (column[pieces] for column in (found.message, found.piece, found.place))
    width = FD_BYTES
    while width < length.max():
        width *= 2
    data = np.zeros((len(heads), width), np.uint8)
    # A message with its length before it begins with the lowest byte of it.
    head = heads[message - first]
    shift = packets.shift[heads]
    data[shift > 0, 0] = (packets.total[heads] & 0xFF)[shift > 0]
    opening = place == 0
    total, step = packets.total[head], packets.step[head]
    offset = np.where(opening, 0, packets.head[head] + (place - 1) * step)
    size = np.where(
        opening, np.minimum(packets.head[head], total), np.minimum(step, total - offset)
    )
    source = packets.row[piece] * frames.data.shape[1] + packets.begin[piece]
    target = (message - first) * width + packets.shift[head] + offset
    # Byte by byte: how far each one is from the first byte of its piece.
    within = np.arange(size.sum()) - (size.cumsum() - size).repeat(size)
    data.reshape(-1)[target.repeat(size) + within] = frames.data.reshape(-1)[
        source.repeat(size) + within
    ]
    return data
