"""A release folder: settings, database, payloads and signed metadata, under one lock."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from bordnetz.release import database
from bordnetz.release.errors import ReleaseError
from bordnetz.release.settings import FILE, ROLES, Repository, Settings

_NEXT = "release.next.json"


class Release:
    """An open release folder; nobody else changes it until it is closed.

    Attributes:
        folder: Where it is.
        settings: Whose keys sign what.
        db: The database.
    """

    def __init__(self, folder: Path) -> None:
        """Open it.

        Raises:
            ReleaseError: It is none, or another command works on it.
        """
        self.folder = folder
        self.settings = Settings.load(folder)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Read under the lock: what was here before may have changed.
            self.settings = Settings.load(folder)
            self.db: sqlite3.Connection = database.connect(folder)
            self._end_a_change_of_keys()
        except BlockingIOError:
            os.close(self._lock)
            raise ReleaseError(
                f"{folder}: another command works on this release; wait until it has ended"
            ) from None
        except ReleaseError:
            os.close(self._lock)
            raise

    @property
    def payloads(self) -> Path:
        """Payloads and their deliveries, by ``<sha256>.<name>``."""
        return self.folder / "payloads"

    @property
    def directors(self) -> Path:
        """The vehicles' metadata as last signed, a folder each."""
        return self.folder / "director"

    def propose(self, settings: Settings) -> None:
        """Write new settings beside the old ones; they hold once new roots are in the database.

        So a power cut leaves both old or both new: see `accept`.
        """
        settings.save(self.folder / _NEXT)

    def accept(self) -> None:
        """Let the proposed settings hold: the roots that go with them are in the database."""
        (self.folder / _NEXT).replace(self.folder / FILE)
        self.settings = Settings.load(self.folder)

    def _end_a_change_of_keys(self) -> None:
        if not (self.folder / _NEXT).exists():
            return
        proposed = Settings.load(self.folder, _NEXT)
        if all(self._has_root_of(proposed, repository) for repository in ROLES):
            self.accept()
        else:
            (self.folder / _NEXT).unlink()

    def _has_root_of(self, settings: Settings, repository: Repository) -> bool:
        (data,) = self.db.execute(
            "SELECT data FROM root WHERE repository = ? ORDER BY version DESC LIMIT 1",
            (repository,),
        ).fetchone()
        signed = json.loads(data)["signed"]
        found = {role: its["keyids"] for role, its in signed["roles"].items()}
        if "custom" in signed:
            found["time"] = signed["custom"]["timeKeys"]
        return all(
            sorted(found[role]) == sorted(settings.keyids(f"{repository}/{role}"))
            for role in ROLES[repository]
        )

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """All of what is done in it reaches the disk, or nothing."""
        return database.transaction(self.db)

    def close(self) -> None:
        """Let others at it."""
        self.db.close()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
