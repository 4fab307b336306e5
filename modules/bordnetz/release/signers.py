"""Keys at work: from their names in the settings to signers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from securesystemslib.signer import Signer

from bordnetz.release.errors import ReleaseError
from bordnetz.release.settings import KeyEntry, Settings
from bordnetz.uptane import keys


class Signers:
    """Signers by the names of their keys, each loaded when it is first needed."""

    def __init__(
        self, folder: Path, settings: Settings, environment: Mapping[str, str] = os.environ
    ) -> None:
        """Load nothing yet.

        Args:
            folder: The release folder.
            settings: Which keys there are.
            environment: Where a token's PIN may be.
        """
        self._folder = folder
        self._settings = settings
        self._environment = environment
        self._loaded: dict[str, Signer] = {}

    def of(self, name: str) -> Signer:
        """The signer of one key.

        Raises:
            SigningKeyError: The key cannot be used.
            ReleaseError: It is another key than the one in the settings.
        """
        if name not in self._loaded:
            entry = self._settings.keys[name]
            signer = keys.load(entry.private, self._folder, self._environment)
            if signer.public_key.keyid != entry.keyid:
                raise ReleaseError(
                    f"key {name!r}: {shown(entry)} holds another key than the one that is in "
                    "use; bring the right one back, or replace it with: bordnetz release rotate"
                )
            self._loaded[name] = signer
        return self._loaded[name]

    def role(self, role: str) -> list[Signer]:
        """The signers of a role, as many as its threshold asks for.

        Args:
            role: ``repository/role``.

        Raises:
            SigningKeyError: Too few of its keys can be used.
            ReleaseError: One is another key than the one in the settings.
        """
        its = self._settings.roles[role]
        found: list[Signer] = []
        problem: keys.SigningKeyError | None = None
        for name in its.keys:
            try:
                found.append(self.of(name))
            except keys.SigningKeyError as error:
                problem = error
        if len(found) < its.threshold and problem is not None:
            raise problem
        return found


def shown(entry: KeyEntry) -> str:
    """Where a private key is, for texts."""
    return entry.private.partition("?")[0]
