"""What is refused, told apart by what an operator has to think of it."""

from __future__ import annotations

from enum import StrEnum

from bordnetz.errors import BordnetzError


class Kind(StrEnum):
    """Why metadata or an image was refused; the words of reports.

    The first block are attacks of the Uptane Standard 2.1, "Threat model and attack strategies",
    without those that no rule of their own withstands; the second are defects that need no
    attacker.
    """

    ROLLBACK = "rollback"
    FREEZE = "freeze"
    ENDLESS_DATA = "endlessData"
    SLOW_RETRIEVAL = "slowRetrieval"
    MIX_AND_MATCH = "mixAndMatch"
    ARBITRARY_SOFTWARE = "arbitrarySoftware"

    BAD_SIGNATURE = "badSignature"
    BAD_METADATA = "badMetadata"
    WRONG_VEHICLE = "wrongVehicle"
    UNKNOWN_ECU = "unknownEcu"
    REPEATED_ECU = "repeatedEcu"
    WRONG_HARDWARE = "wrongHardware"
    TIME = "time"
    MISSING = "missing"


class UptaneError(BordnetzError):
    """Metadata, an image, a time or a manifest is refused.

    Attributes:
        kind: Why.
        repository: ``director`` or ``image``; "" where neither is concerned.
        role: Of the metadata, as ``targets``; "" where none is concerned.
    """

    def __init__(self, kind: Kind, text: str, repository: str = "", role: str = "") -> None:
        """Say it.

        Args:
            kind: Why.
            text: What, where and what to do, without keys, tokens or the content refused.
            repository: As above.
            role: As above.
        """
        place = "/".join(part for part in (repository, role) if part)
        super().__init__(f"{place}: {text}" if place else text)
        self.kind = kind
        self.repository = repository
        self.role = role
