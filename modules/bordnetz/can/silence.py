"""Branches of multiplexers that were left out for long, so that what was known of them was stale.

A multiplexer takes turns.  A branch that has not come for `ROUNDS` rounds, that is, for so many
times as many frames of its message as the multiplexer knows values, was left out: its signals
have kept their last values for longer than their receiver could expect.  The first sample after
that is marked, for only then it is sure that the branch was left out and not the sender silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.dbc import Message
from bordnetz.can.frames import Frames
from bordnetz.can.index import Index
from bordnetz.can.slots import Slots
from bordnetz.can.table import Matches
from bordnetz.series import Group

ROUNDS = 2

Rows = NDArray[np.int64]
"""Rows of matches or samples as one number each: the group, and in the low 32 bits the frame."""


def rows(group: NDArray[np.integer], frame: NDArray[np.integer]) -> Rows:
    """Rows by their groups and frames."""
    return group.astype(np.int64) << 32 | frame.astype(np.int64)


class Silence:
    """Follows the branches of some groups from block to block.

    Args:
        catalogue: All messages.
        groups: The decode table's; branches whose quality is asked for are followed.
    """

    def __init__(self, catalogue: Catalogue, groups: Sequence[Group]) -> None:
        followed = {(group.bus, group.id) for group in groups if group.quality and group.branch}
        nothing = len(catalogue.buses)
        self._first = nothing + 1
        entries = []
        values: dict[tuple[str, int], dict[str, int]] = {}
        for bus, (name, messages) in enumerate(
            zip(catalogue.buses, catalogue.messages, strict=True)
        ):
            for message in messages:
                number = nothing
                if (name, message.id) in followed:
                    number = self._first + len(values)
                    values[name, message.id] = _known_values(message)
                entries.append((bus, message.id, message.match, number))
        self._index = Index(len(catalogue.buses), entries)
        self._most = np.array(
            [
                ROUNDS * prod(values[group.bus, group.id][name] for name, _ in group.branch)
                if group.quality and group.branch
                else 0
                for group in groups
            ],
            np.int64,
        )
        # By sender of a message: its frames so far.  By branch of a sender: their number when it
        # came last, -1 before that.
        self._senders, self._sent = Slots(), np.zeros(Slots.LIMIT, np.int64)
        self._branches, self._last = Slots(), np.full(Slots.LIMIT, -1, np.int64)

    def __bool__(self) -> bool:
        """Whether there is a branch to follow."""
        return bool(self._most.any())

    def follow(self, frames: Frames, matches: Matches) -> Rows:
        """The rows of matches that come after a silence of their branch.

        Args:
            frames: A block.
            matches: All of the block.
        """
        number = self._numbers(frames)
        followed = self._most.take(matches.group).nonzero()[0]
        group, frame = matches.group.take(followed), matches.frame.take(followed)
        if not len(group):
            return np.empty(0, np.int64)
        id_ = matches.id.take(followed)
        edge = np.ones(len(group) + 1, bool)
        edge[1:-1] = (group[1:] != group[:-1]) | (id_[1:] != id_[:-1])
        edges = edge.nonzero()[0]
        first = edges[:-1]
        slot = self._branches.of(group.take(first), id_.take(first))
        mine = number.take(frame)
        away = np.empty(len(mine), np.int64)
        away[1:] = mine[1:] - mine[:-1]
        last = self._last.take(slot)
        away[first] = np.where(last < 0, 0, mine.take(first) - last)
        self._last[slot] = mine.take(edges[1:] - 1)
        late = (away > self._most.take(group)).nonzero()[0]
        return rows(group.take(late), frame.take(late))

    def _numbers(self, frames: Frames) -> NDArray[np.int64]:
        """How many frames of its sender were before each frame; int64, shape (n,)."""
        found = self._index.find(frames)
        frame = (found >= self._first).nonzero()[0]
        message = found.take(frame)
        sender = rows(message, frames.id.take(frame))
        order = sender.argsort(kind="stable")
        frame, message, sender = frame.take(order), message.take(order), sender.take(order)
        edge = np.ones(len(frame) + 1, bool)
        np.not_equal(sender[1:], sender[:-1], out=edge[1:-1])
        edges = edge.nonzero()[0]
        first, count = edges[:-1], np.diff(edges)
        slot = self._senders.of(message.take(first), frames.id.take(frame.take(first)))
        numbers = np.zeros(len(frames), np.int64)
        numbers[frame] = np.arange(len(frame)) + (self._sent.take(slot) - first).repeat(count)
        self._sent[slot] += count
        return numbers


def _known_values(message: Message) -> dict[str, int]:
    """How many values each multiplexer of a message knows."""
    return {place.signal.name: len(place.selects) for place in message.fields if place.selects}
