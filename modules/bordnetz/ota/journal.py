"""The job engine's memory: attempts under way, final reports, and what is not to be tried again.

Everything is written before it is relied on, and is on the disk when a method returns.  What has
no end by itself is bounded: the oldest goes.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from bordnetz.ota.attempt import Attempt, shown
from bordnetz.ota.database import DamagedError, Database
from bordnetz.uptane.target import Target

__all__ = ["Failed", "Journal"]

_APPLICATION = 0x626F7461
_VERSION = 1

KEPT = 300
"""Closed attempts; more than one campaign can have groups, which look for each other's results."""

_REMEMBERED = 1024
"""Rows of each kind that would otherwise grow for ever."""

_SEAL = 8

_DOUBLED = 5
"""How often the wait for what has failed is doubled at most."""

_SCHEMA = """
CREATE TABLE attempt (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL
) STRICT;
CREATE TABLE report (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL
) STRICT;
CREATE TABLE failed (
    number INTEGER PRIMARY KEY,
    ecu TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    counter INTEGER NOT NULL,
    since INTEGER NOT NULL,
    wait INTEGER,
    times INTEGER NOT NULL,
    words TEXT NOT NULL,
    UNIQUE (ecu, sha256)
) STRICT;
CREATE TABLE counter (ecu TEXT PRIMARY KEY, counter INTEGER NOT NULL) STRICT;
CREATE TABLE campaign (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    received INTEGER NOT NULL DEFAULT 0,
    dismissed TEXT,
    consent TEXT
) STRICT;
CREATE TABLE sweep (done INTEGER NOT NULL) STRICT
"""


@dataclass(frozen=True, slots=True)
class Failed:
    """A version that did not do on a target.

    Attributes:
        target: Which.
        words: Why.
        wait: Seconds until it may be tried again all the same, doubled each time that it fails
            again; None: only once the director has raised its counter.
    """

    target: Target
    words: str
    wait: int | None = None


class Journal:
    """Everything that the engine knows after a restart.  Any thread may call it."""

    def __init__(self, database: Database) -> None:
        """Take an open database; see `open`."""
        self._database = database

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file, or make it.

        Raises:
            DatabaseError: The disk does not take it.
            LockedError: Another process has it.
        """
        return cls(Database(path, _APPLICATION, _VERSION, _SCHEMA))

    @property
    def set_aside(self) -> int:
        """Files that could not be used and were moved aside since this object was made."""
        return self._database.set_aside

    def close(self) -> None:
        """Close the file and let others have it."""
        self._database.close()

    # -- attempts

    def attempts(self) -> list[Attempt]:
        """Those that are not closed, in the order in which they were begun."""
        with self._database.transaction() as db:
            found = db.execute("SELECT body FROM attempt ORDER BY number").fetchall()
            try:
                return [Attempt.model_validate_json(_opened(body)) for (body,) in found]
            except ValidationError as error:
                raise DamagedError("an attempt in it is unreadable") from error

    def add(self, attempts: list[Attempt]) -> None:
        """Begin attempts, all of them or none."""
        with self._database.transaction() as db:
            for attempt in attempts:
                row = (attempt.id, _sealed(attempt.model_dump_json()))
                db.execute("INSERT INTO attempt (id, body) VALUES (?, ?)", row)

    def save(
        self,
        attempt: Attempt,
        *,
        failed: Failed | None = None,
        counters: Mapping[str, int] | None = None,
        received: int = 0,
        now: int = 0,
    ) -> None:
        """Write down what has become of an attempt.

        Args:
            attempt: As it is now.
            failed: A version that is not to be tried again.
            counters: Release counters by ECU that are not to sink any more.
            received: Bytes that have come for its campaign.
            now: With ``failed``: seconds since 1970 UTC.

        Raises:
            DatabaseError: Nothing of it is written.
        """
        with self._database.transaction() as db:
            row = (_sealed(attempt.model_dump_json()), attempt.id)
            db.execute("UPDATE attempt SET body = ? WHERE id = ?", row)
            if failed is not None:
                _fail(db, failed, now)
            for ecu, counter in (counters or {}).items():
                db.execute(
                    "INSERT INTO counter VALUES (?, ?)"
                    " ON CONFLICT DO UPDATE SET counter = max(counter, excluded.counter)",
                    (ecu, counter),
                )
            if received:
                _campaign(db, attempt.campaign.id)
                db.execute(
                    "UPDATE campaign SET received = received + ? WHERE id = ?",
                    (received, attempt.campaign.id),
                )

    def close_attempt(self, attempt: Attempt) -> None:
        """Keep its report alone."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM attempt WHERE id = ?", (attempt.id,))
            db.execute(
                "INSERT OR IGNORE INTO report (id, body) VALUES (?, ?)",
                (attempt.id, _sealed(json.dumps(attempt.report))),
            )
            _bound(db, "report", KEPT)

    def reports(self, most: int) -> list[dict[str, Any]]:
        """Final reports of closed attempts, the newest first."""
        with self._database.transaction() as db:
            query = "SELECT body FROM report ORDER BY number DESC LIMIT ?"
            return [_parsed(body) for (body,) in db.execute(query, (most,))]

    def report(self, attempt: str) -> dict[str, Any] | None:
        """Final report of one closed attempt; None where there is none of this id."""
        with self._database.transaction() as db:
            row = db.execute("SELECT body FROM report WHERE id = ?", (attempt,)).fetchone()
            return None if row is None else _parsed(row[0])

    # -- what is not to be tried again

    def failed(self, target: Target, now: int) -> str | None:
        """Why a version is not to be tried on its target; None: it may be."""
        with self._database.transaction() as db:
            row = db.execute(
                "SELECT since, wait, words FROM failed"
                " WHERE ecu = ? AND sha256 = ? AND counter >= ?",
                (target.ecu, target.sha256, target.counter),
            ).fetchone()
        if row is None:
            return None
        since, wait, words = row
        if wait is None:
            return f"{words}; it waits for a higher release counter"
        # A clock that has been set back must not make a short while a long one.
        return f"{words}; it is tried again later" if since <= now < since + wait else None

    def counters(self) -> dict[str, int]:
        """The release counters of all versions ever committed, by ECU."""
        with self._database.transaction() as db:
            return dict(db.execute("SELECT ecu, counter FROM counter").fetchall())

    # -- campaigns

    def received(self, campaign: str) -> int:
        """Bytes that have come for a campaign."""
        return int(self._of(campaign, "received") or 0)

    def dismiss(self, campaign: str, words: str) -> None:
        """A campaign is not to be begun again."""
        with self._database.transaction() as db:
            _campaign(db, campaign)
            db.execute("UPDATE campaign SET dismissed = ? WHERE id = ?", (shown(words), campaign))

    def dismissed(self, campaign: str) -> str | None:
        """Why a campaign is not to be begun again; None: it may be."""
        words = self._of(campaign, "dismissed")
        return None if words is None else str(words)

    def consent(self, campaign: str) -> str | None:
        """What `keep_consent` has kept."""
        body = self._of(campaign, "consent")
        return None if body is None else str(body)

    def keep_consent(self, campaign: str, body: str) -> None:
        """Keep what the driver has answered."""
        with self._database.transaction() as db:
            _campaign(db, campaign)
            db.execute("UPDATE campaign SET consent = ? WHERE id = ?", (body, campaign))

    def _of(self, campaign: str, column: str) -> int | str | None:
        with self._database.transaction() as db:
            query = f"SELECT {column} FROM campaign WHERE id = ?"  # noqa: S608 - a constant
            row = db.execute(query, (campaign,)).fetchone()
            return None if row is None else row[0]

    # -- after a loss

    def begin_sweep(self) -> int | None:
        """Begin to clean up after attempts before this file.

        Returns:
            How often that was begun before; None: it is done, or need not be.
        """
        with self._database.transaction() as db:
            begun, done = db.execute("SELECT count(*), ifnull(max(done), 0) FROM sweep").fetchone()
            if done:
                return None
            db.execute("INSERT INTO sweep VALUES (0)")
            return int(begun)

    def end_sweep(self) -> None:
        """Write down that it is done."""
        with self._database.transaction() as db:
            db.execute("INSERT INTO sweep VALUES (1)")


def _fail(db: sqlite3.Connection, failed: Failed, now: int) -> None:
    target = failed.target
    row = db.execute(
        "SELECT times FROM failed WHERE ecu = ? AND sha256 = ? AND counter = ?",
        (target.ecu, target.sha256, target.counter),
    ).fetchone()
    times = 0 if row is None else row[0] + 1
    wait = None if failed.wait is None else failed.wait << min(times, _DOUBLED)
    db.execute(
        "INSERT OR REPLACE INTO failed (ecu, sha256, counter, since, wait, times, words)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            target.ecu,
            target.sha256,
            target.counter,
            now,
            wait,
            times,
            shown(failed.words),
        ),
    )
    _bound(db, "failed", _REMEMBERED)


def _campaign(db: sqlite3.Connection, campaign: str) -> None:
    db.execute("INSERT OR IGNORE INTO campaign (id) VALUES (?)", (campaign,))
    _bound(db, "campaign", _REMEMBERED)


def _bound(db: sqlite3.Connection, table: str, most: int) -> None:
    db.execute(
        f"DELETE FROM {table} WHERE number <= (SELECT max(number) FROM {table}) - ?",  # noqa: S608
        (most,),
    )


def _parsed(body: str) -> dict[str, Any]:
    try:
        report = json.loads(_opened(body))
    except ValueError as error:
        raise DamagedError("a report in it is unreadable") from error
    if not isinstance(report, dict):
        raise DamagedError("a report in it is no object")
    return report


def _sealed(body: str) -> str:
    """With a checksum in front, for SQLite has none: flash that forgets a bit is found out."""
    return f"{zlib.crc32(body.encode()):08x}{body}"


def _opened(text: object) -> str:
    """What was sealed; a column's type holds for what SQLite has written, not for what is there."""
    body = text[_SEAL:] if isinstance(text, str) else ""
    if text != _sealed(body):
        raise DamagedError("a row in it is not what was written")
    return body
