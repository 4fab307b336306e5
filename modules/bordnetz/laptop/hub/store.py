"""What the hub keeps on disk: messages on their way, sessions, and twins, in one SQLite file.

A message is here before its PUBACK leaves.  The file survives the death of the process at any
moment; it is not forced to the disk at every commit, so the last moments before a power cut may
be lost, as they may be with the real hub.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bordnetz.laptop.hub.topics import Event

_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    priority INTEGER NOT NULL,
    expires REAL NOT NULL,
    received REAL NOT NULL,
    module TEXT NOT NULL,
    output TEXT NOT NULL,
    properties TEXT NOT NULL,
    system TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_priority ON message (endpoint, priority, id);
CREATE INDEX IF NOT EXISTS by_expiry ON message (expires);
CREATE TABLE IF NOT EXISTS session (module TEXT PRIMARY KEY, subscriptions TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS twin (module TEXT PRIMARY KEY, document TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a route leads: an input of a module, or ``$upstream`` (`UPSTREAM`)."""

    module: str
    input: str

    @property
    def name(self) -> str:
        """As Edge hub names it in its metrics."""
        return f"{self.module}/{self.input}" if self.module else "iothub"


UPSTREAM = Endpoint("", "")


@dataclass(frozen=True, slots=True)
class Stored:
    """A message in the store.

    Attributes:
        id: Grows with every message, never used twice.
        module: Who sent it.
        expires: End of its time to live, seconds since the Unix epoch.
        received: When it came, likewise.
    """

    id: int
    endpoint: Endpoint
    priority: int
    expires: float
    received: float
    module: str
    event: Event
    body: bytes


@dataclass(frozen=True, slots=True)
class Expired:
    """A message whose time to live has ended."""

    module: str
    output: str


class Store:
    """The hub's file.  Methods raise ``sqlite3.Error`` where the disk refuses."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it."""
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        rows = self._db.execute(
            "SELECT endpoint, priority, count(*) FROM message GROUP BY endpoint, priority"
        )
        self._lengths = Counter({(name, priority): count for name, priority, count in rows})

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def lengths(self) -> Mapping[tuple[str, int], int]:
        """Messages waiting, by endpoint name and priority; queues once used stay with 0."""
        return self._lengths

    def put(
        self,
        module: str,
        event: Event,
        body: bytes,
        received: float,
        deliveries: Iterable[tuple[Endpoint, int, float]],
    ) -> None:
        """Stores a message once for each endpoint, all or none.

        Args:
            module: Who sent it.
            event: Its output and properties.
            body: The payload.
            received: Seconds since the Unix epoch.
            deliveries: Endpoint, priority (0 highest) and expiry (seconds since the epoch).
        """
        properties, system = json.dumps(event.properties), json.dumps(event.system)
        rows = [
            (to.name, priority, expires, received, module, event.output, properties, system, body)
            for to, priority, expires in deliveries
        ]
        self._db.execute("BEGIN")
        try:
            self._db.executemany(
                "INSERT INTO message (endpoint, priority, expires, received, module, output, "
                "properties, system, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._lengths.update((key, priority) for key, priority, *_ in rows)

    def waiting(self, endpoint: Endpoint, skip: Iterable[int] = ()) -> Stored | None:
        """The next message of an endpoint in order of priority and arrival, or None.

        Args:
            endpoint: Where it goes.
            skip: Ids that are under way already; few.
        """
        under_way = set(skip)
        rows = self._db.execute(
            "SELECT id FROM message WHERE endpoint = ? ORDER BY priority, id LIMIT ?",
            (endpoint.name, len(under_way) + 1),
        )
        number = next((number for (number,) in rows if number not in under_way), None)
        if number is None:
            return None
        row = self._db.execute(
            "SELECT priority, expires, received, module, output, properties, system, body "
            "FROM message WHERE id = ?",
            (number,),
        ).fetchone()
        priority, expires, received, module, output, properties, system, body = row
        event = Event(output, json.loads(properties), json.loads(system))
        return Stored(number, endpoint, priority, expires, received, module, event, body)

    def inputs_waiting(self, module: str) -> list[Endpoint]:
        """Inputs of a module for which messages wait."""
        return [
            endpoint
            for key in {key for (key, _), count in self._lengths.items() if count}
            if (endpoint := _endpoint(key)).module == module and module
        ]

    def remove(self, number: int) -> None:
        """Removes a delivered message; nothing happens if it is gone already."""
        for key, priority in self._db.execute(
            "DELETE FROM message WHERE id = ? RETURNING endpoint, priority", (number,)
        ).fetchall():
            self._lengths[key, priority] -= 1

    def expire(self, now: float) -> list[Expired]:
        """Removes messages whose time to live has ended."""
        rows = self._db.execute(
            "DELETE FROM message WHERE expires <= ? RETURNING endpoint, priority, module, output",
            (now,),
        ).fetchall()
        for key, priority, *_ in rows:
            self._lengths[key, priority] -= 1
        return [Expired(module, output) for _, _, module, output in rows]

    def subscriptions(self, module: str) -> dict[str, int] | None:
        """A kept session's filters with their QoS, or None where there is no session."""
        row = self._db.execute(
            "SELECT subscriptions FROM session WHERE module = ?", (module,)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def keep_session(self, module: str, subscriptions: Mapping[str, int]) -> None:
        """Keeps a session's filters."""
        self._db.execute(
            "INSERT OR REPLACE INTO session VALUES (?, ?)", (module, json.dumps(subscriptions))
        )

    def forget_session(self, module: str) -> None:
        """Forgets a session."""
        self._db.execute("DELETE FROM session WHERE module = ?", (module,))

    def twin(self, module: str) -> dict[str, Any] | None:
        """A twin's stored document, or None."""
        row = self._db.execute("SELECT document FROM twin WHERE module = ?", (module,)).fetchone()
        return None if row is None else json.loads(row[0])

    def keep_twin(self, module: str, document: Mapping[str, Any]) -> None:
        """Stores a twin's document."""
        self._db.execute(
            "INSERT OR REPLACE INTO twin VALUES (?, ?)", (module, json.dumps(document))
        )


def _endpoint(key: str) -> Endpoint:
    module, slash, name = key.partition("/")
    return Endpoint(module, name) if slash else UPSTREAM
