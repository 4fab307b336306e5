"""What the job engine is given to work with, where that is not a class of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from bordnetz.errors import BordnetzError
from bordnetz.ota.installers.installer import Installer
from bordnetz.uptane.target import Target


class HaltedError(BordnetzError):
    """The engine wants no more bytes for now: it stops, or the attempt is cancelled."""


class Payloads(Protocol):
    """Where plain payloads come from."""

    def obtain(
        self,
        target: Target,
        installer: Installer,
        budget: int | None,
        received: Callable[[int], None],
    ) -> Path:
        """Have the verified plain payload in a file; at once, if it is there already.

        Args:
            target: Which.
            installer: Of its ECU: what is active there may be what a delta starts from.
            budget: Bytes that may still come over the air for it; None: as many as it takes.
            received: Is to be told of bytes as they have come; may raise `HaltedError`, which is
                to be let through.

        Raises:
            NeedsUrlError: A new address is needed.
            UnreachableError: Later it may work, without doing anything else.
            DurableError: Likewise; the disk does not take it.
            SourceError: Trying again does not help.
            UptaneError: What comes is not what was asked for.
            HaltedError: See ``received``.
        """

    def discard(self, target: Target) -> None:
        """Leave nothing of it on the disk.

        Raises:
            DurableError: The disk does not do it.
        """

    def sweep(self, keep: Collection[Target]) -> None:
        """Leave nothing on the disk but what there is of these.

        Raises:
            DurableError: The disk does not do it.
        """


class Reporter(Protocol):
    """Who is told."""

    def state(self, status: Mapping[str, Any]) -> None:
        """Something has changed; often while bytes come, so that the caller's pace is no measure.

        Args:
            status: What `Engine.status` says.
        """

    def final(self, report: Mapping[str, Any]) -> None:
        """An attempt is at its end.  When this returns, the report will not get lost.

        After a crash, or where the journal did not take that it has returned, it is called again
        with an equal report, so that whoever passes it on has to look at the attempt's id.

        Raises:
            BordnetzError: It cannot be kept now; it is called again later.
        """


class Clock(Protocol):
    """Two clocks."""

    def now(self) -> int:
        """Seconds since 1970 UTC, as far as they are trusted."""

    def monotonic(self) -> float:
        """Seconds since some moment of this boot of the machine, never set."""
