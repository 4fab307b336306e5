"""Which frames the kernel hands over: id filters of SocketCAN, made from what is wanted.

An `Interest` is a bus, an id and the bits of the id that count.  What a decode table reads comes
from `interests`; whoever needs more frames, for instance to put a message of several frames
together, adds interests of its own to the set.  `Filters.of` makes of those of one bus what the
kernel takes, which is never less than they ask for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bordnetz.can.frames import REMOTE
from bordnetz.can.j1939 import Match
from bordnetz.series import EXTENDED, Group

if TYPE_CHECKING:  # Who only opens sockets needs no DBC files, nor the time to load their loader.
    from bordnetz.can.catalogue import Catalogue

MOST_FILTERS = 512
"""Filters that a socket takes (``CAN_RAW_FILTER_MAX`` of linux/can.h)."""

WIDEST = 4
"""Bits that merging may leave out of account: each filter then lets through 16 times what is
wanted at most.  With more of them it costs the kernel more than it spares us."""

_KIND = EXTENDED | REMOTE
"""An id of 11 bits is another one than that of 29 bits with the same number, and a request for
data is none; the kernel finds whole ids by a hash only if a filter says so."""
_STANDARD = 0x7FF
_WHOLE = 0x1FFF_FFFF
_PDU2 = 0xF0_0000


class Interest(NamedTuple):
    """Frames of a bus that somebody wants: all whose id equals ``id`` in the bits of ``mask``.

    Attributes:
        bus: Index of the bus in the vehicle file.
        id: Arbitration id, `bordnetz.series.EXTENDED` set for 29 bits.
        mask: The bits that count, `EXTENDED` and `bordnetz.can.frames.REMOTE` among them.
    """

    bus: int
    id: int
    mask: int

    @classmethod
    def of(cls, bus: int, frame_id: int, match: Match = Match.ID) -> Interest:
        """In a message.

        Args:
            bus: Index of the bus.
            frame_id: The message's arbitration id, `EXTENDED` set for 29 bits.
            match: What of it tells the message, as `bordnetz.can.index.Index` matches frames.
        """
        mask = _WHOLE if frame_id & EXTENDED else _STANDARD
        if frame_id & EXTENDED and match is Match.ADDRESSES:
            mask = 0x03FF_FFFF  # all but the priority
        elif frame_id & EXTENDED and match is Match.PGN:
            # The destination, which format PDU1 has in its place, is no part of the group.
            mask = 0x03FF_FF00 if frame_id & 0xFF_0000 >= _PDU2 else 0x03FF_0000
        return cls(bus, frame_id & (mask | EXTENDED), mask | _KIND)


def interests(catalogue: Catalogue, groups: Iterable[Group]) -> frozenset[Interest]:
    """What a decode table reads.

    Args:
        catalogue: The one that the table was made from.
        groups: The table's groups.
    """
    bus = {name: index for index, name in enumerate(catalogue.buses)}
    matches = [{message.id: message.match for message in known} for known in catalogue.messages]
    return frozenset(
        Interest.of(bus[group.bus], group.id, matches[bus[group.bus]][group.id]) for group in groups
    )


@dataclass(frozen=True, slots=True)
class Filters:
    """What a socket lets through.

    Attributes:
        kind: For people: ``exact``, just what is wanted; ``merged``, some more, as there are too
            many for the kernel; ``all``, everything; ``none``, nothing but error frames.
        pairs: Id and mask of each filter; a frame passes if it passes any.
    """

    kind: str
    pairs: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, wanted: Iterable[Interest]) -> Filters:
        """The filters for interests in one bus."""
        pairs = {(one.id, one.mask) for one in wanted}
        kind = "exact" if pairs else "none"
        if len(pairs) > MOST_FILTERS:
            if len(pairs) > MOST_FILTERS << WIDEST:
                return ALL  # It would take seconds to find out that so many cannot be merged.
            pairs = _joined(pairs)
            if len(pairs) > MOST_FILTERS:
                kind = "merged"
                for _ in range(WIDEST):
                    pairs = _joined(_widened(pairs))
                    if len(pairs) <= MOST_FILTERS:
                        break
                else:
                    return ALL
        return cls(kind, tuple(sorted(pairs)))

    def packed(self) -> bytes:
        """As ``CAN_RAW_FILTER`` takes them: an array of `struct can_filter`."""
        return b"".join(struct.pack("=II", *pair) for pair in self.pairs)


ALL = Filters("all", ((0, 0),))
"""Lets everything through, as a new socket does."""


def by_bus(wanted: Iterable[Interest] | None, buses: int) -> Sequence[Filters]:
    """The filters of each bus.

    Args:
        wanted: In all buses; None: everything.
        buses: How many buses there are.
    """
    if wanted is None:
        return [ALL] * buses
    sorted_out: list[list[Interest]] = [[] for _ in range(buses)]
    for one in wanted:
        sorted_out[one.bus].append(one)
    return [Filters.of(of_one) for of_one in sorted_out]


def _joined(pairs: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """The same ids in fewer filters: two that differ in one bit alone are one without it."""
    before = 0
    while len(pairs) != before:
        before = len(pairs)
        for bit in _bits():
            twins = {
                (number, mask)
                for number, mask in pairs
                if mask & bit and not number & bit and (number | bit, mask) in pairs
            }
            for number, mask in twins:
                pairs -= {(number, mask), (number | bit, mask)}
                pairs.add((number, mask & ~bit))
    return pairs


def _widened(pairs: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Without the bit without which they are the fewest."""
    return min(
        ({(number & ~bit, mask & ~bit) for number, mask in pairs} for bit in _bits()), key=len
    )


def _bits() -> Iterable[int]:
    return (1 << place for place in range(_WHOLE.bit_length()))
