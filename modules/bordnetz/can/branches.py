"""Multiplexing: which branches of a message's tree the frames of a block carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.compile import Lists, Node, Selector
from bordnetz.can.frames import Frames
from bordnetz.can.layout import Layout, words

_NONE = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True)
class Reached:
    """Nodes that frames reach through multiplexers.

    Attributes:
        frame: intp, shape (pairs,), index of the frame.
        node: intp, shape (pairs,), a branch that it carries.
        cut: intp, frames that end before a multiplexer on the way to wanted signals; a frame
            is named once for each such multiplexer.
        strange: intp, frames in which such a multiplexer has a value that its message does not
            know; as in ``cut``.
    """

    frame: NDArray[np.intp]
    node: NDArray[np.intp]
    cut: NDArray[np.intp]
    strange: NDArray[np.intp]


class Branches:
    """All multiplexers of a decode table, read level by level for all frames together."""

    def __init__(self, nodes: Sequence[Node], selectors: Sequence[Selector]) -> None:
        self._selectors = Lists([node.selectors for node in nodes])
        self._layout = Layout([selector.place for selector in selectors])
        self._need = np.array([selector.place.need for selector in selectors], np.int64)
        # A pair of selector and value is a key into lists of nodes.  Values may have 64 bits,
        # so their rank among all values stands for them.
        known = {value for selector in selectors for value in selector.place.selects}
        self._values = np.array(sorted(known), np.int64)
        rank = {value: number for number, value in enumerate(self._values.tolist())}
        pairs = {
            number * len(rank) + rank[value]: selector.branches.get(value, ())
            for number, selector in enumerate(selectors)
            for value in selector.place.selects
        }
        self._pairs = np.array(sorted(pairs), np.int64)
        self._nodes = Lists([pairs[key] for key in sorted(pairs)])

    def follow(self, frames: Frames, frame: NDArray[np.intp], node: NDArray[np.intp]) -> Reached:
        """All branches below the given nodes.

        Args:
            frames: The block.
            frame: intp, shape (pairs,), index of a frame.
            node: intp, shape (pairs,), a node that it carries.
        """
        reached, cut, strange = [(_NONE, _NONE)], [_NONE], [_NONE]
        # As many rounds as multiplexers are nested; each one takes all frames together.
        while len((found := self._selectors.follow(node))[0]):
            which, selector = found
            frame = frame[which]
            whole = self._need[selector] <= frames.length[frame]
            cut.append(frame[~whole])
            frame, selector = frame[whole], selector[whole]
            value = self._layout.read(words(frames.data, frame), selector, np.arange(len(frame)))
            key, known = self._find(selector, value)
            strange.append(frame[~known])
            which, node = self._nodes.follow(key[known])
            frame = frame[known][which]
            reached.append((frame, node))
        return Reached(
            frame=np.concatenate([frame for frame, _ in reached]),
            node=np.concatenate([node for _, node in reached]),
            cut=np.concatenate(cut),
            strange=np.concatenate(strange),
        )

    def _find(
        self, selector: NDArray[np.intp], value: NDArray[np.int64]
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The key of each pair of selector and value, and whether there is one."""
        if not len(self._pairs):
            return np.zeros(len(value), np.intp), np.zeros(len(value), bool)
        rank = np.minimum(self._values.searchsorted(value), len(self._values) - 1)
        pair = selector * len(self._values) + rank
        key = np.minimum(self._pairs.searchsorted(pair), len(self._pairs) - 1)
        return key, (self._values[rank] == value) & (self._pairs[key] == pair)
