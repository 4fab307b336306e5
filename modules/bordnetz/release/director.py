"""The director's metadata of each vehicle: the hot path of the release tool.

Uptane Standard 2.1, "Director repository".  For millions of vehicles it is bytes put together
from templates, not objects: vehicles with the same ECUs and the same campaign differ in their id
alone.  What comes out is canonical JSON, byte for byte what securesystemslib makes of it.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer

from bordnetz.release import canonical

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A vehicle that is due.

    Attributes:
        name: Its id.
        model: Which set of ECUs it has.
        campaign: Which campaign it gets; None: none.
        targets: Version of its targets metadata; None: it has none yet, nor a folder.
        with_targets: Whether the targets are signed too, not only snapshot and timestamp.
    """

    name: str
    model: int
    campaign: int | None
    targets: int | None
    with_targets: bool


@dataclass(frozen=True, slots=True)
class Terms:
    """What all metadata of a run has in common.

    Attributes:
        run: Its version.
        targets: When targets expire, as metadata writes it.
        snapshot: When snapshots expire.
        timestamp: When timestamps expire.
    """

    run: int
    targets: str
    snapshot: str
    timestamp: str


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign, as the database has it.

    Attributes:
        settings: As they stand in the metadata.
        targets: Name of the image, and the ECU that it is for (None: all of its hardware).
    """

    settings: dict[str, Any]
    targets: list[tuple[str, str | None]]


class Templates:
    """What stands before and behind a vehicle's id in its targets metadata."""

    def __init__(
        self,
        terms: Terms,
        models: Mapping[int, Mapping[str, str]],
        campaigns: Mapping[int, Campaign],
        images: Mapping[str, dict[str, Any]],
    ) -> None:
        """Make none yet.

        Args:
            terms: Of this run.
            models: ECU id to hardware id, by model.
            campaigns: By their numbers.
            images: Entries of the image repository's targets metadata, by name.
        """
        self._terms = terms
        self._models = models
        self._campaigns = campaigns
        self._images = images
        self._made: dict[tuple[int, int | None], tuple[bytes, bytes]] = {}

    def get(self, model: int, campaign: int | None) -> tuple[bytes, bytes]:
        """For vehicles of a model in a campaign."""
        key = (model, campaign)
        if key not in self._made:
            self._made[key] = self._make(model, campaign)
        return self._made[key]

    def _make(self, model: int, campaign: int | None) -> tuple[bytes, bytes]:
        custom: dict[str, Any] = {"vehicleId": "@"}
        targets: dict[str, Any] = {}
        if campaign is not None:
            ecus = self._models[model]
            plan = self._campaigns[campaign]
            for name, assigned in assign(plan.targets, ecus, self._images).items():
                entry = self._images[name]
                targets[name] = {
                    **entry,
                    "custom": {
                        **entry["custom"],
                        "ecus": {ecu: {"hardwareId": ecus[ecu]} for ecu in assigned},
                    },
                }
            if targets:
                here = {ecu for entry in targets.values() for ecu in entry["custom"]["ecus"]}
                custom["campaign"] = _within(plan.settings, here)
        signed = canonical.encode(
            {
                "_type": "targets",
                "custom": custom,
                "expires": self._terms.targets,
                "spec_version": canonical.SPEC_VERSION,
                "targets": targets,
                "version": self._terms.run,
            }
        )
        # An "@" is in no name, so that this is the one place.
        head, _, tail = signed.partition(b'"vehicleId":"@"')
        return head + b'"vehicleId":', tail


def assign(
    targets: Iterable[tuple[str, str | None]],
    ecus: Mapping[str, str],
    images: Mapping[str, dict[str, Any]],
) -> dict[str, list[str]]:
    """Which ECUs of a vehicle get which image.

    Args:
        targets: Image and ECU (None: every ECU of hardware that the image is for).
        ecus: ECU id to hardware id.
        images: By name, as in `Templates`.

    Returns:
        Image to ECUs; images that fit none are left out.
    """
    found: dict[str, list[str]] = {}
    for name, wanted in targets:
        hardware = images[name]["custom"]["hardwareIds"]
        fit = [
            ecu
            for ecu, its in ecus.items()
            if its in hardware and (wanted is None or wanted == ecu)
        ]
        if fit:
            found.setdefault(name, []).extend(ecu for ecu in fit if ecu not in found.get(name, []))
    return found


def _within(settings: dict[str, Any], ecus: set[str]) -> dict[str, Any]:
    """A campaign's settings for a vehicle of which these ECUs get something."""
    groups = [[ecu for ecu in group if ecu in ecus] for group in settings.get("groups", [])]
    after = {
        ecu: [one for one in before if one in ecus]
        for ecu, before in settings.get("after", {}).items()
        if ecu in ecus
    }
    return {
        **settings,
        "groups": [group for group in groups if group],
        "after": {ecu: before for ecu, before in after.items() if before},
    }


class _Role:
    """A role's key at work."""

    def __init__(self, signer: Signer) -> None:
        self._sign = signer.sign
        self._head = b'{"signatures":[{"keyid":"%s","sig":"' % signer.public_key.keyid.encode()

    def sign(self, signed: bytes) -> bytes:
        """Metadata as it is published."""
        signature = self._sign(signed).signature.encode()
        return b'%s%s"}],"signed":%s}' % (self._head, signature, signed)


def sign(
    vehicles: Iterable[Vehicle],
    templates: Templates,
    terms: Terms,
    keys: Mapping[str, Signer],
    time: bytes,
    folder: Path,
) -> Iterable[int]:
    """Sign the metadata of vehicles and write it, a folder each.

    Each folder has ``targets.json``, ``snapshot.json``, ``timestamp.json`` and ``time.json`` as
    last signed.  They are written in place, for nobody reads them until the run is on record as
    finished; one that is not is done again, under another version.

    Args:
        vehicles: Those due.
        templates: Of this run.
        terms: Of this run.
        keys: Signers of ``targets``, ``snapshot`` and ``timestamp``.
        time: The signed time, the same for all.
        folder: Of the vehicles' folders.

    Yields:
        How many vehicles are done, every thousand.

    Raises:
        OSError: The disk does not take it.
        SigningKeyError: A key cannot be used.
    """
    sign_targets, sign_snapshot, sign_timestamp = (
        _Role(keys[role]).sign for role in ("targets", "snapshot", "timestamp")
    )
    spec, run = canonical.SPEC_VERSION.encode(), b"%d" % terms.run
    snapshot_head, timestamp_head = (
        b'{"_type":"%s","expires":"%s","meta":{"%s.json":{"hashes":{"sha256":"'
        % (role, expires.encode(), named)
        for role, expires, named in (
            (b"snapshot", terms.snapshot, b"targets"),
            (b"timestamp", terms.timestamp, b"snapshot"),
        )
    )
    tail = b'}},"spec_version":"%s","version":%s}' % (spec, run)
    root = os.fspath(folder)
    done = 0
    for vehicle in vehicles:
        name = vehicle.name
        base = f"{root}/{name}/"
        if vehicle.targets is None:
            os.makedirs(base, exist_ok=True)  # noqa: PTH103 (a Path a vehicle costs more than this)
        if vehicle.with_targets:
            head, rest = templates.get(vehicle.model, vehicle.campaign)
            targets = sign_targets(b'%s"%s"%s' % (head, name.encode(), rest))
            _write(base + "targets.json", targets)
            version = run
        else:
            targets = _read(base + "targets.json")
            version = b"%d" % vehicle.targets if vehicle.targets is not None else run
        snapshot = sign_snapshot(
            b'%s%s"},"length":%d,"version":%s%s'
            % (snapshot_head, sha256(targets).hexdigest().encode(), len(targets), version, tail)
        )
        _write(base + "snapshot.json", snapshot)
        timestamp = sign_timestamp(
            b'%s%s"},"length":%d,"version":%s%s'
            % (timestamp_head, sha256(snapshot).hexdigest().encode(), len(snapshot), run, tail)
        )
        _write(base + "timestamp.json", timestamp)
        _write(base + "time.json", time)
        done += 1
        if done % 1000 == 0:
            yield done
    yield done


def parse_campaign(settings: str, targets: str) -> Campaign:
    """From the database's columns."""
    return Campaign(json.loads(settings), [(name, ecu) for name, ecu in json.loads(targets)])


def _write(path: str, data: bytes) -> None:
    # In place: a file that is truncated or replaced costs ext4 ten times as much.
    descriptor = os.open(path, _FLAGS, 0o644)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if os.fstat(descriptor).st_size > len(data):
            os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 1 << 24)
    finally:
        os.close(descriptor)
