"""Telemetry's bundles: a side each, named by its hash, and telemetry has the last word.

Telemetry reads the folder, and never writes to it.  It looks at ``current`` when it starts; while
it runs it is told which bundle to use, and answers.  What it refuses is rolled back, and it is told
to use the old one again, or, where there is none, the vehicle's own file.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Protocol

from bordnetz.ota.installers.installer import Activation, InstallError, Job, UnhealthyError
from bordnetz.ota.installers.linked import Begun, LinkedInstaller
from bordnetz.ota.installers.side import Side
from bordnetz.ota.installers.trouble import TroubleError

__all__ = ["Answer", "Bundles", "DataInstaller"]

log = logging.getLogger(__name__)

_HASH = re.compile(r"[0-9a-f]{64}")


class Answer(Protocol):
    """What telemetry says of a bundle."""

    @property
    def accepted(self) -> bool:
        """Whether it runs with it."""

    @property
    def reason(self) -> str:
        """Why it does not."""


class Bundles(Protocol):
    """The way to telemetry."""

    def ask(self, sha256: str, path: str) -> Answer | None:
        """Have it use a bundle, told again and again until it answers.

        Args:
            sha256: Its hash; "" for the vehicle's own file.
            path: Where it lies; "" likewise.

        Returns:
            The answer; None where none came in time.
        """


class DataInstaller(LinkedInstaller):
    """The folder of bundles."""

    kinds = frozenset({"bundle"})

    def __init__(self, root: Path, telemetry: Bundles) -> None:
        """Describe it.

        Args:
            root: The folder; nothing else should lie in it.
            telemetry: The way to it.
        """
        super().__init__(root)
        self._telemetry = telemetry

    @property
    def current(self) -> tuple[str, str]:
        """Hash and path of the bundle that telemetry is to use; both "" for the vehicle's own file.

        Raises:
            TroubleError: The link cannot be read.
        """
        return self._told(self._active())

    def verify(self, job: Job) -> None:
        """See that the link is right, and have telemetry use it."""
        super().verify(job)
        begun = self._must(job)
        self._write(begun.model_copy(update={"shown": True}))
        answer = self._telemetry.ask(*self._told(begun.new))
        if answer is None:
            raise TroubleError("telemetry does not answer; see whether it runs, and the routes")
        if not answer.accepted:
            raise UnhealthyError(f"telemetry refuses the bundle: {answer.reason}")

    def rollback(self, job: Job) -> Activation:
        """Have the link point to the old bundle, and telemetry use it."""
        begun = self._begun(job)
        super().rollback(job)
        if begun is not None and begun.shown:
            self._return(begun)
        return Activation.DONE

    def _return(self, begun: Begun) -> None:
        answer = self._telemetry.ask(*self._told(begun.old))
        if answer is None:
            # Who does not run finds the old link when it starts.
            log.warning("telemetry does not answer that it is back at the old bundle")
        elif not answer.accepted:
            raise InstallError(f"telemetry refuses the old bundle, too: {answer.reason}")

    def _told(self, side: str) -> tuple[str, str]:
        return (side, str(self._root / side)) if side else ("", "")

    def _choose(self, job: Job, active: str) -> str:
        del active
        return job.new.sha256

    def _single(self, side: Side) -> bool:
        del side
        return False

    def _is_side(self, name: str) -> bool:
        return _HASH.fullmatch(name) is not None
