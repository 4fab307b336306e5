"""Stored metadata: the files of the last verification that ended well, all of it together.

The files are called by their sha256; an index says which of them is which role's, and is replaced
in one step, so that never half of one verification and half of another is found.  What is damaged
is as good as not there: it is fetched again.  Nothing here is believed for having been stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError

from bordnetz.edge import durable
from bordnetz.edge.durable import DurableError
from bordnetz.uptane.custom import Sha256

__all__ = ["Cache"]

_INDEX = "index.json"
_INDEX_LIMIT = 64 * 1024
_FILE_LIMIT = 8 * 1024 * 1024
"""Bytes; no metadata has more."""

_Role = Annotated[str, StringConstraints(max_length=1024)]
_Entries = TypeAdapter(dict[_Role, dict[_Role, Sha256]])


class Cache:
    """The folder with stored metadata.

    Attributes:
        damaged: Something that should be there is not, or not as it was.
    """

    def __init__(self, folder: Path) -> None:
        """Open it, or make it; what a crash has left behind goes.

        Args:
            folder: For this alone.

        Raises:
            DurableError: The disk does not take it.
        """
        self._folder = folder
        durable.make_folder(folder)
        self._entries = self._read_index()
        self._clean()
        self.damaged = False
        for repository, roles in self._entries.items():
            for role in roles:
                self.read(repository, role, _FILE_LIMIT)

    def read(self, repository: str, role: str, limit: int) -> bytes | None:
        """What is stored of a role; None where that is nothing, damaged or too long.

        Args:
            repository: Its name.
            role: Its name.
            limit: Bytes that it may have.
        """
        digest = self._entries.get(repository, {}).get(role)
        if digest is None:
            return None
        data = self._read(digest, _FILE_LIMIT)
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            self.damaged = True
            return None
        return data if len(data) <= limit else None

    def store(
        self, files: Mapping[str, Mapping[str, bytes]], instead: Collection[str] = ()
    ) -> None:
        """Store files; all of them are on the disk when this returns, or none is in use.

        Args:
            files: By repository and role.
            instead: Repositories of which nothing else is kept.

        Raises:
            DurableError: The disk does not take them; what is stored is as before.
        """
        entries = {name: dict(roles) for name, roles in self._entries.items()}
        content: dict[str, bytes] = {}
        for repository, roles in files.items():
            known = {} if repository in instead else entries.get(repository, {})
            digests = {role: hashlib.sha256(data).hexdigest() for role, data in roles.items()}
            content.update(zip(digests.values(), roles.values(), strict=True))
            entries[repository] = {**known, **digests}
        missing = [digest for digest in content if not self._holds(digest, content[digest])]
        if entries == self._entries and not missing:
            return
        for digest in missing:
            durable.write(self._folder / digest, content[digest])
        index = json.dumps(entries, sort_keys=True).encode()
        durable.write(self._folder / _INDEX, index)
        self._entries = entries
        self._clean()

    def _holds(self, digest: str, data: bytes) -> bool:
        return self._read(digest, len(data)) == data

    def _read(self, name: str, limit: int) -> bytes | None:
        try:
            return durable.read(self._folder / name, limit)
        except DurableError:
            return None

    def _read_index(self) -> dict[str, dict[str, str]]:
        data = self._read(_INDEX, _INDEX_LIMIT)
        try:
            return {} if data is None else _Entries.validate_json(data)
        except ValidationError:
            return {}

    def _clean(self) -> None:
        """Remove what no entry names."""
        durable.sweep(self._folder)
        named = {digest for roles in self._entries.values() for digest in roles.values()}
        try:
            found = list(self._folder.iterdir())
        except OSError as error:
            raise DurableError(f"cannot look into {self._folder}: {error.strerror}") from error
        for path in found:
            if path.name != _INDEX and path.name not in named:
                durable.remove(path)
