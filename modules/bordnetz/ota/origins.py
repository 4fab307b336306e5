"""Where an update may come from now: a stick that is plugged in, and what the twin refers to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bordnetz.ota.config import Desired, Reference
from bordnetz.ota.folder import FolderSource
from bordnetz.ota.http import HttpSource
from bordnetz.ota.source import PayloadSource, Source


@dataclass(frozen=True, slots=True)
class Origin:
    """One place with both repositories and the payloads.

    Attributes:
        stick: The folder that it is; None: an address.
        reference: The addresses; None: a folder.
        proxy: For addresses.
        ca: Likewise: certificates that are trusted instead of the system's.
        vehicle_id: Whose director repository it is.
    """

    stick: Path | None
    reference: Reference | None
    proxy: str | None
    ca: Path | None
    vehicle_id: str

    @contextmanager
    def director(self) -> Iterator[PayloadSource]:
        """This vehicle's director repository.

        Raises:
            AddressError: The address cannot be used.
            UnreachableError: The certificates cannot be read.
        """
        with self._open("director", self.vehicle_id) as source:
            yield source

    @contextmanager
    def image(self) -> Iterator[PayloadSource]:
        """The image repository's metadata; raises as `director`."""
        with self._open("image") as source:
            yield source

    @contextmanager
    def time(self) -> Iterator[Source | None]:
        """The time server, None where there is none to ask; raises as `director`."""
        if self.reference is None or self.reference.time is None:
            yield None
            return
        with self._open("time") as source:
            yield source

    @contextmanager
    def targets(self) -> Iterator[PayloadSource]:
        """The payloads; raises as `director`."""
        with self._open("targets") as source:
            yield source

    @contextmanager
    def _open(self, what: str, *below: str) -> Iterator[PayloadSource]:
        if self.stick is not None:
            yield FolderSource(self.stick.joinpath(what, *below))
            return
        with ExitStack() as stack:
            url = getattr(self.reference, what)
            yield stack.enter_context(HttpSource(url, proxy=self.proxy, ca=self.ca))


class Origins:
    """All of them, the nearest first."""

    def __init__(self, vehicle_id: str, offline: Path | None, ca: Path | None) -> None:
        """Name what does not change.

        Args:
            vehicle_id: Of the vehicle.
            offline: Where a stick's folder appears; None: nowhere.
            ca: Certificates that are trusted instead of the system's.
        """
        self._vehicle_id = vehicle_id
        self._offline = offline
        self._ca = ca

    @property
    def offline(self) -> bool:
        """Whether a stick can come."""
        return self._offline is not None

    @property
    def stick(self) -> Path | None:
        """The folder of a stick that has something for this vehicle; None: there is none."""
        stick = self._offline
        if stick is None:
            return None
        there = (stick / "director" / self._vehicle_id / "timestamp.json").is_file()
        return stick if there else None

    @property
    def stick_origin(self) -> Origin | None:
        """That folder, to look in."""
        stick = self.stick
        return None if stick is None else Origin(stick, None, None, None, self._vehicle_id)

    def network(self, config: Desired) -> Origin | None:
        """What the twin refers to; None: to nothing."""
        reference = config.campaign
        if reference is None:
            return None
        return Origin(None, reference, config.proxy, self._ca, self._vehicle_id)

    def now(self, config: Desired) -> list[Origin]:
        """Those that there are, the nearest first."""
        return [origin for origin in (self.stick_origin, self.network(config)) if origin]
