"""The cloud's end of a drive: reads what arrives at ``$upstream`` and adds it up."""

from __future__ import annotations

from bordnetz.batch.errors import BatchError
from bordnetz.batch.reader import Reader
from bordnetz.laptop.drive.progress import Totals
from bordnetz.laptop.hub.upstream import Upstream


class Cloud:
    """Adds up messages as they arrive; what arrives twice counts once.

    Args:
        upstream: Where they arrive.

    Attributes:
        totals: So far.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.totals = Totals()
        self._upstream = upstream
        self._reader = Reader()
        self._last = 0
        self._seen: set[str] = set()

    def look(self) -> None:
        """Take what has arrived since the last look."""
        totals = self.totals
        for arrival in self._upstream.messages(self._last):
            self._last = arrival.n
            name = arrival.properties.get("batch", f"{arrival.n}")
            if name in self._seen:
                continue
            self._seen.add(name)
            totals.metered += arrival.metered
            totals.blocks += arrival.blocks
            if arrival.properties.get("schema", "").startswith("dictionary"):
                totals.dictionaries += 1
            else:
                totals.batches += 1
            try:
                for batch in self._reader.read(self._upstream.body(arrival)):
                    totals.samples += len(batch.samples)
            except BatchError:
                totals.damaged += 1
            totals.unread = self._reader.waiting
