"""Files and trees that others read below ``<root>/current``: two sides and a link.

    <root>/current/maps.db      a payload of kind "file", under its own name
    <root>/current/...          a payload of kind "tree"

Who reads them opens a path below ``current`` and keeps what it has open; the other side stays until
the attempt is cleaned up.
"""

from __future__ import annotations

from pathlib import Path

from bordnetz.ota.installers import health
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.installer import Job
from bordnetz.ota.installers.linked import LinkedInstaller

__all__ = ["FileInstaller"]

_SIDES = ("a", "b")


class FileInstaller(LinkedInstaller):
    """One such folder."""

    kinds = frozenset({"file", "tree"})

    def __init__(self, root: Path, check: Command | None) -> None:
        """Describe it.

        Args:
            root: The folder; nothing else should lie in it.
            check: Says by its exit whether those who read it are well; None: nobody is asked.
        """
        super().__init__(root)
        self._check = check

    def verify(self, job: Job) -> None:
        """See that the new version is the active one, and that those who read it are well."""
        super().verify(job)
        health.check(self._check, "the new version")

    def _choose(self, job: Job, active: str) -> str:
        del job
        return _SIDES[1] if active == _SIDES[0] else _SIDES[0]

    def _is_side(self, name: str) -> bool:
        return name in _SIDES
