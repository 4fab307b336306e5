"""The cloud's end of a drive: reads what arrives at ``$upstream`` and adds it up."""

from __future__ import annotations

from collections import defaultdict

from bordnetz.batch.errors import BatchError
from bordnetz.batch.reader import Reader
from bordnetz.laptop.drive.progress import Totals
from bordnetz.laptop.hub.upstream import Arrival, Upstream

MODULE = "telemetry"
"""Whose messages are added up."""


class Cloud:
    """Adds up telemetry's messages as they arrive; what arrives twice counts once.

    Args:
        upstream: Where they arrive.

    Attributes:
        totals: So far.
        signals: Qualified names of all signals that samples came of.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.totals = Totals()
        self.signals: set[str] = set()
        self._upstream = upstream
        self._reader = Reader()
        self._last = 0
        # Sequences by outbox: together they name a message for ever.
        self._seen: defaultdict[str, set[int]] = defaultdict(set)

    def look(self) -> None:
        """Take what has arrived since the last look."""
        for arrival in self._upstream.messages(self._last):
            self._last = arrival.n
            if arrival.module != MODULE:
                continue
            outbox, _, sequence = arrival.properties.get("batch", "").rpartition("-")
            if not sequence.isdecimal():
                self.totals.damaged += 1
            elif int(sequence) not in self._seen[outbox]:
                self._seen[outbox].add(int(sequence))
                self._take(arrival)

    def missing(self) -> int:
        """Messages that have not come, though later ones of the same outbox have."""
        return sum(max(sequences) - len(sequences) for sequences in self._seen.values())

    def _take(self, arrival: Arrival) -> None:
        totals = self.totals
        totals.metered += arrival.metered
        totals.blocks += arrival.blocks
        if arrival.properties.get("schema", "").startswith("dictionary"):
            totals.dictionaries += 1
        else:
            totals.batches += 1
        waited = self._reader.damaged
        try:
            for batch in self._reader.read(self._upstream.body(arrival)):
                totals.samples += len(batch.samples)
                for number in set(batch.samples.group.tolist()):
                    self.signals.update(batch.samples.groups[number].names())
        except BatchError:
            totals.damaged += 1
        totals.damaged += self._reader.damaged - waited
        totals.unread = self._reader.waiting
