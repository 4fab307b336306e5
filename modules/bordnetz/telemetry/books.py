"""The books of the frames: what came in, and what became of it.

For every bus, received = decoded + not asked for + not data + dropped by reason, whenever one
looks: frames are booked when their fate is known, a moment after they came, and frames of a
message of many when that is whole or lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.frames import Block
from bordnetz.can.table import Matches
from bordnetz.can.transport import packets
from bordnetz.can.transport.assembler import Assembled

NO_BUS = "(none)"
"""Where frames are booked that belong to no bus of the vehicle file; its names have no brackets."""

REASONS = ("lost", "broken", "short", "selector", *packets.REASONS)
"""Why a frame was dropped: the socket overflowed; no frame; it ended before its first wanted
signal; its multiplexer had a value that the DBC file does not know; it is one of many of a message
that did not become whole, see `bordnetz.can.transport.packets.Fate`."""


class Books:
    """Counts frames by bus and fate.

    Args:
        buses: Names of the buses, in the order of the vehicle file.
    """

    def __init__(self, buses: Sequence[str]) -> None:
        self._buses = tuple(buses)
        # Frames of no bus have the last row.
        self.received = self._zeros()
        self.decoded = self._zeros()
        self.not_asked = self._zeros()
        self.not_data = self._zeros()
        self.dropped = {reason: self._zeros() for reason in REASONS}

    def _zeros(self) -> NDArray[np.int64]:
        return np.zeros(len(self._buses) + 1, np.int64)

    def arrived(self, block: Block) -> None:
        """Book a block as it came: everything but its data frames is settled at once."""
        self.received[:-1] += block.received + block.lost
        self.received[-1] += block.unbound + block.illegible
        self.not_data[:-1] += block.remote + block.error
        self.not_asked[-1] += block.unbound
        self.dropped["lost"][:-1] += block.lost
        self.dropped["broken"][:-1] += block.broken
        self.dropped["broken"][-1] += block.illegible

    def matched(self, matches: Matches, decoded: NDArray[np.int64]) -> None:
        """Book data frames as matched.

        Args:
            matches: Of a block.
            decoded: int64, shape (buses,), its frames that are kept: less than the matches tell
                where a rule's shortest interval left some out.
        """
        self.decoded[:-1] += decoded
        self.not_asked[:-1] += matches.unknown + matches.unwanted + matches.decoded - decoded
        for reason, count in matches.unusable.items():
            self.dropped[reason][:-1] += count

    def assembled(self, assembled: Assembled) -> None:
        """Book transport frames, all but those whose message is whole: `matched` books them."""
        self.received[:-1] -= assembled.held
        self.not_asked[:-1] += assembled.not_asked
        for reason, count in assembled.dropped.items():
            self.dropped[reason][:-1] += count

    def totals(self) -> dict[str, Any]:
        """All buses together."""
        return self._page(slice(None))

    def by_bus(self) -> dict[str, dict[str, Any]]:
        """Each bus, and `NO_BUS` where it has frames."""
        pages = {
            name: self._page(slice(row, row + 1)) for row, name in enumerate((*self._buses, NO_BUS))
        }
        if not pages[NO_BUS]["received"]:
            del pages[NO_BUS]
        return pages

    def _page(self, rows: slice) -> dict[str, Any]:
        dropped = {reason: int(count[rows].sum()) for reason, count in self.dropped.items()}
        return {
            "received": int(self.received[rows].sum()),
            "decoded": int(self.decoded[rows].sum()),
            "notAsked": int(self.not_asked[rows].sum()),
            "notData": int(self.not_data[rows].sum()),
            "dropped": {reason: count for reason, count in dropped.items() if count},
        }
