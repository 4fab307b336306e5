"""What the car tells of itself: version manifests with a sequence that never comes twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from securesystemslib.signer import Signer

from bordnetz.edge import durable
from bordnetz.ota.installers.installer import Installed
from bordnetz.uptane.manifest import MAX_ATTACKS, Attack, EcuReport, make
from bordnetz.uptane.manifest import Installed as Image

_FILE = "manifest.json"
_LIMIT = 65_536

_REPOSITORIES: dict[str, Literal["director", "image", ""]] = {
    "director": "director",
    "image": "image",
}


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    sequence: int = Field(0, ge=0)
    attacks: list[Attack] = Field(default=[], max_length=MAX_ATTACKS)


class Manifests:
    """Makes and signs manifests.  One thread at a time."""

    def __init__(
        self,
        state: Path,
        vehicle_id: str,
        primary: str,
        hardware: Mapping[str, str],
        signer: Signer,
        clock: Callable[[], int],
        attested: Callable[[], int],
    ) -> None:
        """Take up sequence and attacks of the last run.

        Args:
            state: The module's folder.
            vehicle_id: Of the vehicle.
            primary: Id of the ECU that signs.
            hardware: Hardware ids, by ECU.
            signer: The primary's key.
            clock: Trusted time, seconds since 1970 UTC.
            attested: The latest time that was verified, likewise.

        Raises:
            DurableError: The disk cannot be read.
        """
        self._path = state / _FILE
        self._vehicle_id = vehicle_id
        self._primary = primary
        self._hardware = dict(hardware)
        self._signer = signer
        self._clock = clock
        self._attested = attested
        self._kept = _read(self._path, clock())

    def saw(self, kind: str, repository: str = "", role: str = "") -> bool:
        """Keep an attack or failure for the manifests to come.

        Args:
            kind: A word of `bordnetz.uptane.errors.Kind`, or one of the engine's.
            repository: Where metadata was concerned: whose.
            role: Likewise: of which role.

        Returns:
            Whether it is another one than the last, and worth a word of its own.

        Raises:
            DurableError: The disk does not take it.
        """
        attacks = self._kept.attacks
        attack = Attack(
            kind=kind,
            repository=_REPOSITORIES.get(repository, ""),
            role=role if len(role) <= 64 else "",
            time=self._clock(),
        )
        if attacks and attacks[-1].model_copy(update={"time": attack.time}) == attack:
            return False
        self._keep(self._kept.sequence, [*attacks, attack][-MAX_ATTACKS:])
        return True

    def make(self, installed: Mapping[str, Installed | None]) -> bytes:
        """A manifest of what is installed now; its sequence is used up when this returns.

        Args:
            installed: By ECU.

        Raises:
            DurableError: The disk does not take the sequence.
            SigningKeyError: The key cannot be used.
        """
        sequence, now = self._kept.sequence + 1, self._attested()
        self._keep(sequence, self._kept.attacks)
        reports = [
            EcuReport(
                ecu=ecu,
                hardware_id=hardware,
                installed=_image(installed.get(ecu)),
                time=now,
                sequence=sequence,
            )
            for ecu, hardware in self._hardware.items()
        ]
        return make(
            vehicle_id=self._vehicle_id,
            primary=self._primary,
            ecus=reports,
            time=now,
            sequence=sequence,
            signer=self._signer,
            attacks=self._kept.attacks,
        )

    def _keep(self, sequence: int, attacks: list[Attack]) -> None:
        kept = _Kept(sequence=sequence, attacks=attacks)
        durable.write(self._path, kept.model_dump_json().encode())
        self._kept = kept


def _image(installed: Installed | None) -> Image | None:
    if installed is None or not installed.name or not installed.sha256:
        return None
    return Image(
        name=installed.name,
        length=installed.length,
        hashes={"sha256": installed.sha256},
        counter=installed.counter,
    )


def _read(path: Path, now: int) -> _Kept:
    data = durable.read(path, _LIMIT)
    if data is None:
        return _Kept()
    try:
        return _Kept.model_validate(json.loads(data))
    except (ValueError, ValidationError):
        # The time is far above every sequence that counts one by one, so none comes twice.
        return _Kept(sequence=now)
