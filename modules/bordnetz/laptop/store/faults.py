"""What the store does wrong on request, and with which files."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from bordnetz.errors import BordnetzError

FAULTS = {
    "endless": "answers with bytes without end",
    "slow": "answers with one byte a second",
    "drop": "cuts the connection after half of the answer",
    "forbid": "answers 403, as for a signature that has ended",
    "lose": "answers 404",
    "flip": "flips one bit in the middle of the answer",
}


class FaultError(BordnetzError):
    """A fault that is not one."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and the files that it strikes.

    Attributes:
        kind: A key of `FAULTS`.
        pattern: Glob over the file's path below the folder; ``*`` also spans slashes.
    """

    kind: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``KIND=GLOB``.

        Raises:
            FaultError: It is not of that form.
        """
        kind, equals, pattern = text.partition("=")
        if kind not in FAULTS or not equals or not pattern:
            raise FaultError(
                f"'{text}' is no fault; give KIND=GLOB, KIND one of {', '.join(FAULTS)}"
            )
        return cls(kind, pattern)

    def strikes(self, path: str) -> bool:
        """Whether the file at ``path`` is concerned."""
        return fnmatch.fnmatchcase(path, self.pattern)
