"""``release.db``: vehicles, images, campaigns, and what was signed and published.

Sized for millions of vehicles: what many have in common (their set of ECUs, their campaign) is a
row of its own, and a signing run marks and clears in single statements.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bordnetz.release.errors import ReleaseError

FILE = "release.db"
_APPLICATION = 0x626F726C
_VERSION = 1

DUE_REFRESH, DUE_TARGETS = 1, 2
"""What of a vehicle must be signed: snapshot and timestamp, or targets too."""

_SCHEMA = """
CREATE TABLE state (
    run INTEGER NOT NULL,           -- the last one begun; the version of what it signs
    finished INTEGER NOT NULL,      -- the last one ended
    image_due INTEGER NOT NULL,     -- whether the image repository's targets must be signed
    keys_changed INTEGER NOT NULL   -- whether there are roots that nothing was signed under yet
) STRICT;
INSERT INTO state VALUES (0, 0, 1, 1);
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    targets_expire INTEGER NOT NULL,
    timestamp_expire INTEGER NOT NULL
) STRICT;
CREATE TABLE root (
    repository TEXT NOT NULL,
    version INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (repository, version)
) STRICT;
CREATE TABLE metadata (             -- the image repository's
    role TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE model (                -- a set of ECUs
    id INTEGER PRIMARY KEY,
    ecus TEXT NOT NULL UNIQUE       -- JSON, ECU id to hardware id, sorted
) STRICT;
CREATE TABLE vehicle (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    model INTEGER NOT NULL REFERENCES model,
    primary_ecu TEXT NOT NULL,
    key TEXT NOT NULL,              -- public, as TUF's JSON
    serials TEXT NOT NULL,          -- JSON, ECU id to serial
    campaign INTEGER REFERENCES campaign,   -- assigned
    signed_campaign INTEGER,        -- in its targets metadata
    due INTEGER NOT NULL DEFAULT 2,   -- DUE_TARGETS
    targets INTEGER,                -- version, the run's number
    snapshot INTEGER,
    sequence INTEGER,               -- of the last manifest accepted
    reported INTEGER,               -- the time it names
    attacks TEXT,                   -- JSON, those that it names
    refused TEXT                    -- why the last manifest was not accepted
) STRICT;
CREATE INDEX vehicle_due ON vehicle (id) WHERE due > 0;
CREATE INDEX vehicle_refused ON vehicle (id) WHERE refused IS NOT NULL;
CREATE INDEX vehicle_model ON vehicle (model);
CREATE INDEX vehicle_campaign ON vehicle (campaign);
CREATE INDEX vehicle_attacks ON vehicle (id) WHERE attacks IS NOT NULL;
CREATE TABLE tag (
    tag TEXT NOT NULL,
    vehicle INTEGER NOT NULL REFERENCES vehicle,
    PRIMARY KEY (tag, vehicle)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_vehicle ON tag (vehicle);
CREATE TABLE installed (            -- as the last accepted manifest has it
    vehicle INTEGER NOT NULL REFERENCES vehicle,
    ecu TEXT NOT NULL,
    name TEXT,
    sha256 TEXT,
    counter INTEGER,
    PRIMARY KEY (vehicle, ecu)
) STRICT, WITHOUT ROWID;
CREATE INDEX installed_sha256 ON installed (sha256);
CREATE TABLE manifest (             -- the newest accepted ones of a vehicle
    vehicle INTEGER NOT NULL REFERENCES vehicle,
    sequence INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    PRIMARY KEY (vehicle, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE image (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL,
    length INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    custom TEXT NOT NULL            -- JSON, as it stands in the metadata
) STRICT;
CREATE TABLE hardware (
    hardware TEXT NOT NULL,
    counter INTEGER NOT NULL,
    image INTEGER NOT NULL REFERENCES image,
    PRIMARY KEY (hardware, counter)
) STRICT, WITHOUT ROWID;
CREATE TABLE campaign (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,         -- JSON, as it stands in the metadata
    targets TEXT NOT NULL           -- JSON, [[image name, ECU id or null], ...]
) STRICT;
CREATE TABLE destination (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE published (            -- files outside the vehicles' folders
    destination INTEGER NOT NULL REFERENCES destination,
    path TEXT NOT NULL,
    PRIMARY KEY (destination, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE published_vehicle (
    destination INTEGER NOT NULL REFERENCES destination,
    vehicle INTEGER NOT NULL REFERENCES vehicle,
    root INTEGER NOT NULL,
    targets INTEGER NOT NULL,
    snapshot INTEGER NOT NULL,
    old_targets INTEGER,            -- the one before, still there for who is reading it
    old_snapshot INTEGER,
    PRIMARY KEY (destination, vehicle)
) STRICT, WITHOUT ROWID;
"""


def create(folder: Path) -> None:
    """Make an empty database.

    Raises:
        ReleaseError: The disk does not take it.
    """
    with _told(folder):
        connection = sqlite3.connect(folder / FILE, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        finally:
            connection.close()


def connect(folder: Path) -> sqlite3.Connection:
    """Open the database.

    Raises:
        ReleaseError: There is none, or it is not ours.
    """
    path = folder / FILE
    if not path.is_file():
        raise ReleaseError(f"{path}: the database is missing; restore the folder from its backup")
    with _told(folder):
        connection = sqlite3.connect(path, isolation_level=None)
        found = (
            connection.execute("PRAGMA application_id").fetchone()[0],
            connection.execute("PRAGMA user_version").fetchone()[0],
        )
        if found != (_APPLICATION, _VERSION):
            connection.close()
            raise ReleaseError(
                f"{path}: no database of this version of the release tool (version {found[1]})"
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of what is done in it reaches the disk, or nothing.

    Raises:
        ReleaseError: The disk does not take it.
    """
    with _told(Path()):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise ReleaseError(f"{folder / FILE}: {error}; is the disk full, or not ours?") from error
    except sqlite3.DatabaseError as error:
        raise ReleaseError(
            f"{folder / FILE}: {error}; if it is damaged, restore it from its backup"
        ) from error
