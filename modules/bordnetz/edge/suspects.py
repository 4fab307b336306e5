"""Messages during which the connection broke again and again.

Such a message may be why: a hub that takes less than we believe cuts the link on it, every time.
Or it may have had bad luck.  It is not given up, but goes to the back: it is sent again after a
while that doubles, and at most one of its kind at a time, so that it never blocks the others.
"""

from __future__ import annotations

from bordnetz.edge.outbox import Entry

STRIKES = 3
"""So many times in a row make a message suspect."""

FIRST, LAST = 60.0, 3600.0
"""Seconds that a suspect waits, after the last strike that made it one and at most."""

_REMEMBERED = 4096
"""Messages; of more, the one struck longest ago is forgotten: it may have left the outbox."""


class Suspects:
    """Counts strikes; an `outbox.Entry` is known by its name."""

    def __init__(self) -> None:
        self._strikes: dict[tuple[int, int], int] = {}

    def __contains__(self, entry: Entry) -> bool:
        return self._strikes.get((entry.outbox, entry.sequence), 0) >= STRIKES

    def __len__(self) -> int:
        return sum(strikes >= STRIKES for strikes in self._strikes.values())

    def strike(self, entry: Entry) -> None:
        """The connection broke while it was under way."""
        name = (entry.outbox, entry.sequence)
        self._strikes[name] = self._strikes.pop(name, 0) + 1
        if len(self._strikes) > _REMEMBERED:
            del self._strikes[next(iter(self._strikes))]

    def clear(self, entry: Entry) -> None:
        """The hub has it."""
        self._strikes.pop((entry.outbox, entry.sequence), None)

    def wait(self, entry: Entry) -> float:
        """Seconds before it may be sent again; 0 for at once."""
        beyond = self._strikes.get((entry.outbox, entry.sequence), 0) - STRIKES
        return 0.0 if beyond < 0 else float(min(LAST, FIRST * 2 ** min(beyond, 32)))
