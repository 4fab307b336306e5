"""The decode table: from a block of frames to columns of raw samples, in three steps.

`DecodeTable.match` finds which frame carries which group of signals, `DecodeTable.gather` reads
the bits of all of them in one go, and `DecodeTable.physical` scales, where somebody asks.  Each
step is a fixed number of numpy calls for a block, however many frames, messages and signals.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.branches import Branches
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.compile import UNKNOWN, UNWANTED, WANTED, Lists, Plan, compile_plan
from bordnetz.can.frames import FD_BYTES, Frames
from bordnetz.can.index import Index
from bordnetz.can.j1939 import Match
from bordnetz.can.layout import Layout, words
from bordnetz.series import Group, Kind, Samples

_DECODED, _SHORT, _SELECTOR = WANTED, 3, 4
"""What becomes of a frame, after `UNKNOWN` and `UNWANTED`."""
_FATES = 5

_NEVER = 0xFFFF

_NUMBERS: dict[Kind, Callable[[NDArray[np.int64]], NDArray[Any]]] = {
    Kind.UINT64: lambda raw: raw.view(np.uint64),
    Kind.FLOAT16: lambda raw: raw.astype(np.uint16).view(np.float16),
    Kind.FLOAT32: lambda raw: raw.astype(np.uint32).view(np.float32),
    Kind.FLOAT64: lambda raw: raw.view(np.float64),
}
"""How the bits of a raw value become the number."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Which frames carry which groups, and what became of all frames.

    The rows are sorted by group and id, and by arrival within them.  A frame has a row for each
    group of which it carries a signal.  For every bus, frames = ``decoded`` + ``unknown`` +
    ``unwanted`` + all of ``unusable``.

    Attributes:
        frame: intp, shape (rows,), index of the frame.
        group: intp, shape (rows,), index into `DecodeTable.groups`.
        id: uint32, shape (rows,), the frame's arbitration id, `EXTENDED` set for 29 bits.
        width: intp, shape (rows,), how many of the group's signals the frame carries, 1 or more;
            None where every frame carries all of them.
        fates: int64, shape (buses, 5), what became of all frames, in the order of the properties
            that tell it.
        lost_branches: int64, shape (buses,), multiplexers that could not be followed to wanted
            signals, for either reason, whether or not their frame brought others.
    """

    frame: NDArray[np.intp]
    group: NDArray[np.intp]
    id: NDArray[np.uint32]
    width: NDArray[np.intp] | None
    fates: NDArray[np.int64]
    lost_branches: NDArray[np.int64]

    @property
    def unknown(self) -> NDArray[np.int64]:
        """int64, shape (buses,), frames that no message claims."""
        return self.fates[:, UNKNOWN]

    @property
    def unwanted(self) -> NDArray[np.int64]:
        """int64, shape (buses,), frames that bring nothing and should not.

        Those of known messages without wanted signals, or with wanted signals only in branches
        other than theirs.
        """
        return self.fates[:, UNWANTED]

    @property
    def decoded(self) -> NDArray[np.int64]:
        """int64, shape (buses,), frames with at least one wanted signal."""
        return self.fates[:, _DECODED]

    @property
    def unusable(self) -> dict[str, NDArray[np.int64]]:
        """int64, shape (buses,) each, frames of wanted messages that brought no wanted signal.

        "short": because they end before it; "selector": because the multiplexer has a value that
        its message does not know.
        """
        return {"short": self.fates[:, _SHORT], "selector": self.fates[:, _SELECTOR]}

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.frame)

    def keep(self, rows: NDArray[np.bool_]) -> Matches:
        """Some of the rows, with the counts of all frames; ``rows`` is a mask, shape (rows,)."""
        return replace(
            self,
            frame=self.frame[rows],
            group=self.group[rows],
            id=self.id[rows],
            width=None if self.width is None else self.width[rows],
        )


class DecodeTable:
    """The wanted signals of all buses and messages, compiled; see `compile`.

    Attributes:
        buses: Names of the buses, in the order of the vehicle file.
        groups: Signals that arrive together and are wanted equally often.
    """

    buses: tuple[str, ...]
    groups: tuple[Group, ...]

    def __init__(self, buses: tuple[str, ...], plan: Plan) -> None:
        self.buses = buses
        self.groups = tuple(plan.groups)
        self._index = Index(len(buses), plan.entries)
        # By node: bus and fate in one number, so that one count tells all of them.
        fates = np.zeros(len(plan.nodes), np.intp)
        for fate in (UNKNOWN, UNWANTED):
            for bus in range(len(buses)):
                fates[fate * len(buses) + bus] = bus * _FATES + fate
        for bus, _, _, node in plan.entries:
            if node >= WANTED * len(buses):
                fates[node] = bus * _FATES + _DECODED
        self._fates = fates
        self._none_lost = np.zeros(len(buses), np.int64)
        self._groups_of = Lists([node.groups for node in plan.nodes])
        self._branches = Branches(plan.nodes, plan.selectors)
        self._layout = Layout([field for fields in plan.fields for field in fields])
        self._size = np.array([len(fields) for fields in plan.fields], np.intp)
        self._first = self._size.cumsum() - self._size
        # Only messages of many frames reach beyond the longest frame.
        reach = max((fields[-1].need for fields in plan.fields), default=0)
        self._reach = max(reach, FD_BYTES)
        self._width = np.zeros((len(plan.fields), self._reach + 1), np.int32)
        for group, fields in enumerate(plan.fields):
            for field in fields:
                self._width[group, field.need :] += 1
        # From how many bytes on a frame of a message certainly carries all that is wanted of it.
        self._certain_from = np.array(
            [
                _NEVER
                if node.selectors
                else max((plan.fields[group][-1].need for group in node.groups), default=0)
                for node in plan.nodes
            ],
            np.uint16,
        )
        self._many_ids = any(match is not Match.ID for _, _, match, _ in plan.entries)
        signals = [signal for group in plan.groups for signal in group.signals]
        self._factor = np.array([signal.factor for signal in signals], np.float64)
        self._offset = np.array([signal.offset for signal in signals], np.float64)
        self._kind = np.array([signal.kind for signal in signals], np.int8)
        self._special = bool(self._kind.any())
        # What `gather` knows of its last samples saves `physical` from finding it again.
        self._last: tuple[NDArray[np.int32] | None, NDArray[np.intp], NDArray[np.int64] | None] = (
            None,
            self._first,
            None,
        )

    @classmethod
    def compile(
        cls,
        catalogue: Catalogue,
        wanted: Mapping[str, int] | None = None,
        quality: Container[str] = (),
    ) -> DecodeTable:
        """Make the table for what is wanted.

        Args:
            catalogue: All messages of the vehicle.
            wanted: Qualified name, ``bus.message.signal``, to the shortest time between two
                samples, ns; None for all signals and every sample.  The table does not drop
                samples that come sooner: it keeps signals of different times in different groups.
            quality: Names of those whose quality is wanted, too; they are in groups of their own.

        Raises:
            CatalogueError: The catalogue has no signal of a wanted name.
        """
        return cls(catalogue.buses, compile_plan(catalogue, wanted, quality))

    def decode(self, frames: Frames) -> Samples:
        """All wanted raw values of a block of frames."""
        return self.gather(frames, self.match(frames))

    def match(self, frames: Frames, stands: NDArray[np.int64] | None = None) -> Matches:
        """Find the groups that each frame carries, and count what becomes of the frames.

        Args:
            frames: A block; its arrays may be views of larger ones.
            stands: int64, shape (n,), how many frames each one is counted as: a message that was
                put together stands for all that carried it.  None: 1.
        """
        found = self._index.find(frames)
        fate = self._fates.take(found)
        width = None
        lost = self._none_lost
        if not np.count_nonzero(self._certain_from.take(found) > frames.length):
            frame, group = self._groups_of.follow(found)
        else:
            frame, group, width, lost = self._look_closer(frames, found, fate)
        order = self._order(frames, frame, group)
        frame = frame.take(order)
        fates = np.bincount(fate, stands, len(lost) * _FATES)
        if stands is not None:  # numpy counts weights in floating-point numbers
            fates = fates.astype(np.intp)
        return Matches(
            frame,
            group.take(order),
            frames.id.take(frame),
            None if width is None else width.take(order),
            fates.reshape(-1, _FATES),
            lost,
        )

    def _look_closer(
        self, frames: Frames, found: NDArray[np.intp], fate: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp] | None, NDArray[np.int64]]:
        """Follow multiplexers and measure frames that are cut short.

        Args:
            frames: The block.
            found: intp, shape (n,), node of each frame.
            fate: intp, shape (n,), of each frame; corrected for those that bring nothing.

        Returns:
            Frame, group and width of each match; for each bus the multiplexers that could not be
            followed.
        """
        buses = len(self.buses)
        frame = (found >= WANTED * buses).nonzero()[0]
        node = found.take(frame)
        bare = np.zeros(len(frames), bool)
        bare[frame] = True
        reached = self._branches.follow(frames, frame, node)
        frame = np.concatenate((frame, reached.frame))
        node = np.concatenate((node, reached.node))
        lost = np.bincount(
            frames.bus[np.concatenate((reached.cut, reached.strange))], minlength=buses
        )
        which, group = self._groups_of.follow(node)
        frame = frame[which]
        length = np.minimum(frames.length[frame].astype(np.intp), self._reach)
        width = self._width[group, length].astype(np.intp)
        brings = width > 0
        cut = np.concatenate((reached.cut, frame[~brings]))
        frame, group, width = frame[brings], group[brings], width[brings]
        bare[frame] = False
        start = frames.bus.astype(np.intp) * _FATES
        fate[bare] = start[bare] + UNWANTED
        for rows, reason in ((reached.strange, _SELECTOR), (cut, _SHORT)):
            rows = rows[bare[rows]]
            fate[rows] = start[rows] + reason
        return frame, group, None if (width == self._size[group]).all() else width, lost

    def _order(
        self, frames: Frames, frame: NDArray[np.intp], group: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """What sorts matches by group, id and arrival."""
        # Sorting 16-bit numbers takes numpy two passes; the frames of a group are in order.
        small = group.astype(np.int16) if len(self.groups) < 1 << 15 else group
        order = small.argsort(kind="stable")
        if self._many_ids:
            key = group[order] << 32 | frames.id[frame[order]]
            if (key[1:] < key[:-1]).any():
                order = order[key.argsort(kind="stable")]
        return order

    def gather(self, frames: Frames, matches: Matches) -> Samples:
        """Read the raw values of all matches.

        Args:
            frames: The block that ``matches`` is of.
            matches: From `match`, or some of its rows.

        Returns:
            A series for each group, id and width; ``order`` is the index of the frame.
        """
        frame, group = matches.frame, matches.group
        rows = len(frame)
        edge = np.empty(rows + 1, bool)  # where a series begins, and the end of the last
        edge[0] = edge[rows] = True
        differs = np.not_equal(group[1:], group[:-1], edge[1:-1])
        if self._many_ids:
            differs |= matches.id[1:] != matches.id[:-1]
        if matches.width is not None:
            order = np.lexsort((matches.width, edge[:-1].cumsum()))
            frame, group, width = frame[order], group[order], matches.width[order]
            differs |= width[1:] != width[:-1]
        edges = edge.nonzero()[0]
        first = edges[:-1]
        count = edges[1:] - first
        group = group.take(first)
        width = self._size.take(group) if matches.width is None else width.take(first)
        field = self._fields(group, width)
        # In a small block hardly a series has more than one frame, and often none has.
        each: NDArray[np.int64] | None = None if len(first) == rows else count.repeat(width)
        series = group.astype(np.int32)
        self._last = series, field, each
        return Samples(
            groups=self.groups,
            group=series,
            id=matches.id.take(first),
            width=width.astype(np.int32),
            count=count,
            time=frames.time.take(frame),
            order=frame,
            values=self._layout.read(words(frames.data, frame), field, first.repeat(width), each),
        )

    def _fields(self, group: NDArray[Any], width: NDArray[Any]) -> NDArray[np.intp]:
        """The fields of series, those of one series after those of the other."""
        shift: NDArray[np.intp] = self._first.take(group) - (width.cumsum() - width)
        field = shift.repeat(width)
        field += np.arange(len(field))
        return field

    def physical(self, samples: Samples) -> NDArray[np.float64]:
        """Scale all values of a block at once: raw value x factor + offset.

        Args:
            samples: From this table.

        Returns:
            float64, shape (values,), in the order of ``samples.values``.  Integers above 2^53
            are rounded; `bordnetz.series.Signal.physical` keeps those of integer signals.
        """
        group, field, count = self._last
        if group is not samples.group:
            field = self._fields(samples.group, samples.width)
            count = samples.count.repeat(samples.width)
        factor, offset = self._factor.take(field), self._offset.take(field)
        if count is not None:
            factor, offset = factor.repeat(count), offset.repeat(count)
        with np.errstate(all="ignore"):  # floats of a bus may be infinite or no number
            if self._special:
                kind = self._kind.take(field)
                values = self._numbers(
                    samples.values, kind if count is None else kind.repeat(count)
                )
                values *= factor
            else:
                values = samples.values * factor
            values += offset
        return values

    @staticmethod
    def _numbers(raw: NDArray[np.int64], kind: NDArray[np.int8]) -> NDArray[np.float64]:
        """Raw values as numbers, one kind each."""
        values = raw.astype(np.float64)
        for special, number in _NUMBERS.items():
            at = (kind == special).nonzero()[0]
            values[at] = number(raw[at])
        return values
