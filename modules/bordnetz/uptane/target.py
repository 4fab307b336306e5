"""What verified metadata asks for: a payload for one ECU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bordnetz.uptane.custom import Campaign, Delivery, PayloadKind


@dataclass(frozen=True, slots=True)
class Target:
    """A payload that both repositories name, for one ECU of this vehicle.

    Attributes:
        ecu: Id of the ECU.
        hardware_id: Of the ECU.
        name: Of the target in the metadata.
        length: Bytes of the plain payload.
        hashes: Of the plain payload: algorithm to hexadecimal digest; ``sha256`` is always there.
        counter: Its release counter.
        kind: What the payload is.
        deliveries: How it may travel.
    """

    ecu: str
    hardware_id: str
    name: str
    length: int
    hashes: Mapping[str, str]
    counter: int
    kind: PayloadKind
    deliveries: tuple[Delivery, ...]

    @property
    def sha256(self) -> str:
        """Of the plain payload, in hexadecimal."""
        return self.hashes["sha256"]


@dataclass(frozen=True, slots=True)
class Verified:
    """What the full verification ended with.

    Attributes:
        campaign: How to install; None where the director asks for nothing.
        targets: A payload for each ECU that the director names, in the metadata's order.
        director_version: Of the director's targets metadata.
        expires: When the first of all metadata used expires, seconds since 1970 UTC.
    """

    campaign: Campaign | None
    targets: tuple[Target, ...]
    director_version: int
    expires: int
