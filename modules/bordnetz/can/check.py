"""What of DBC files is used, and what is not, as a person or a script reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bordnetz.can.catalogue import Catalogue, Problem
from bordnetz.can.errors import CatalogueError
from bordnetz.can.vehicle import Vehicle
from bordnetz.errors import BordnetzError

CLEAN, LOST, UNUSABLE = 0, 1, 2
"""Exit codes: nothing is lost; something is; a file cannot be used at all."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One DBC file.

    Attributes:
        file: As it was named.
        messages: That can be used.
        signals: That can be read.
        problems: In the order of their lines.
        error: Why the file cannot be used at all; "" if it can.
    """

    file: Path
    messages: int = 0
    signals: int = 0
    problems: tuple[Problem, ...] = ()
    error: str = ""

    @property
    def lost(self) -> int:
        """How many problems cost something."""
        return sum(not problem.mended for problem in self.problems)

    @property
    def mended(self) -> int:
        """How many cost nothing."""
        return len(self.problems) - self.lost

    def code(self, *, strict: bool) -> int:
        """The exit code.

        Args:
            strict: Take what is mended for lost.
        """
        if self.error:
            return UNUSABLE
        return LOST if self.lost or (strict and self.problems) else CLEAN

    def lines(self) -> Iterator[str]:
        """As text: a line a problem, in the form that editors and compilers use, then a summary."""
        if self.error:
            yield f"{self.file}: unusable: {self.error}"
            return
        for problem in self.problems:
            place = f"{self.file}:{problem.line}" if problem.line else f"{self.file}"
            of = ".".join(name for name in (problem.message, problem.signal) if name)
            kind = "mended" if problem.mended else "lost"
            yield f"{place}: {kind}: {of + ': ' if of else ''}{problem.reason}"
        yield (
            f"{self.file}: {self.messages} messages, {self.signals} signals; "
            f"{self.lost} lost, {self.mended} mended"
        )

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "file": str(self.file),
            "error": self.error or None,
            "messages": self.messages,
            "signals": self.signals,
            "lost": self.lost,
            "mended": self.mended,
            "problems": [
                {
                    "line": problem.line or None,
                    "message": problem.message or None,
                    "signal": problem.signal or None,
                    "reason": problem.reason,
                    "mended": problem.mended,
                }
                for problem in self.problems
            ],
        }


def check(file: Path) -> Checked:
    """Load a file as a vehicle would that has it on one bus."""
    bus = {"name": "can", "interface": "unix", "channel": "can", "dbc": [str(file.absolute())]}
    try:
        loaded = Catalogue.load(Vehicle.parse({"name": "check", "bus": [bus]}, file.absolute()))
    except CatalogueError as error:
        # The file's name stands before it already.
        return Checked(file, error=str(error).removeprefix(f"{file.absolute()}: "))
    except BordnetzError as error:
        return Checked(file, error=str(error))
    return Checked(
        file,
        messages=len(loaded.messages[0]),
        signals=len(loaded.names),
        problems=tuple(sorted(loaded.problems, key=lambda problem: problem.line)),
    )
