"""A director and an image repository in memory that do as they are told, good or bad.

`Repo` is one repository: change what its roles say, then `publish`, or put anything into `files`.
`Client` verifies one, `Car` both as a vehicle does; what they have to remember, they keep in
memory.  `Pair` is both repositories and the signed time.
"""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from bordnetz.uptane.floor import Floor
from bordnetz.uptane.repository import IMAGE, Repository
from bordnetz.uptane.steps import Need, drive
from bordnetz.uptane.target import Verified
from bordnetz.uptane.time import TimeLimits, make_time
from bordnetz.uptane.trust import Ecu, Roots, Trust, Vehicle

DAY = 86_400
NOW = 1_790_000_000
VEHICLE = "vehicle-1"
TOP = ("root", "timestamp", "snapshot", "targets")


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def new_signer() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


class Repo:
    """One repository; `files` is what it serves."""

    def __init__(self, now: int = NOW) -> None:
        self.files: dict[str, bytes] = {}
        self.signers: dict[str, list[CryptoSigner]] = {role: [new_signer()] for role in TOP}
        expires = moment(now + 30 * DAY)
        self.root = Root(expires=moment(now + 365 * DAY))
        for role, signers in self.signers.items():
            self.root.add_key(signers[0].public_key, role)
        self.timestamp = Timestamp(expires=expires)
        self.snapshot = Snapshot(expires=expires)
        self.targets = Targets(expires=expires)
        self.delegated: dict[str, Targets] = {}
        self.hashes = True
        self.write_root()
        self.publish(bump=False)

    def signed(self, role: str) -> Signed:
        top = {"timestamp": self.timestamp, "snapshot": self.snapshot, "targets": self.targets}
        return {**top, **self.delegated}[role]

    def sign(
        self, role: str, signed: Signed, signers: Iterable[CryptoSigner] | None = None
    ) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in self.signers[role] if signers is None else signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(JSONSerializer(compact=True))

    def write(self, role: str) -> bytes:
        """Sign a role as it is now and serve it."""
        signed = self.signed(role)
        data = self.sign(role, signed)
        name = f"{role}.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        self.files[name] = data
        return data

    def publish(self, *, bump: bool = True) -> None:
        """Serve everything below root, all of it with a new version."""
        for role in ["targets", *self.delegated]:
            self.publish_role(role, bump=bump)
        self.publish_snapshot(bump=bump)
        self.publish_timestamp(bump=bump)

    def publish_role(self, role: str, *, bump: bool = True) -> None:
        signed = self.signed(role)
        signed.version += bump
        data = self.write(role)
        self.snapshot.meta[f"{role}.json"] = self.meta(signed.version, data)

    def publish_snapshot(self, *, bump: bool = True) -> None:
        self.snapshot.version += bump
        data = self.write("snapshot")
        self.timestamp.snapshot_meta = self.meta(self.snapshot.version, data)

    def publish_timestamp(self, *, bump: bool = True) -> None:
        self.timestamp.version += bump
        self.write("timestamp")

    def meta(self, version: int, data: bytes) -> MetaFile:
        return MetaFile.from_data(version, data, ["sha256"]) if self.hashes else MetaFile(version)

    def write_root(self, signers: Iterable[CryptoSigner] | None = None) -> bytes:
        data = self.sign("root", self.root, signers)
        self.files[f"{self.root.version}.root.json"] = data
        return data

    def publish_root(self, signers: Iterable[CryptoSigner] | None = None) -> bytes:
        """Serve the next version of root, signed by its keys, or by those given."""
        self.root.version += 1
        return self.write_root(signers)

    def rotate(self, role: str) -> None:
        """Put a new key in place of a role's; for root, both sign the next version."""
        old = self.signers[role]
        self.signers[role] = [new_signer()]
        for signer in old:
            self.root.revoke_key(signer.public_key.keyid, role)
        self.root.add_key(self.signers[role][0].public_key, role)
        self.publish_root([*old, *self.signers["root"]] if role == "root" else None)

    def delegate(
        self, name: str, paths: list[str], by: str = "targets", *, terminating: bool = False,
        hardware: list[str] | None = None,
    ) -> Targets:  # fmt: skip
        """Make a role below another one, with a key of its own."""
        delegator = self.signed(by)
        assert isinstance(delegator, Targets)
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, {})
        signer = new_signer()
        role = DelegatedRole(name, [signer.public_key.keyid], 1, terminating, paths)
        if hardware is not None:
            role.unrecognized_fields["hardwareIds"] = hardware
        assert delegator.delegations.roles is not None
        delegator.delegations.roles[name] = role
        delegator.delegations.keys[signer.public_key.keyid] = signer.public_key
        self.signers.setdefault(name, []).append(signer)
        return self.delegated.setdefault(name, Targets(expires=self.targets.expires, version=1))


class Client:
    """Verifies one repository, keeping what it has to remember in memory."""

    def __init__(self, repo: Repo) -> None:
        self.repo = repo
        self.factory = repo.files["1.root.json"]
        self.floor: dict[str, int] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.limits = IMAGE
        self.repository: Repository

    def refresh(self, now: int = NOW) -> Targets:
        self._begin()
        try:
            return drive(self.repository.refresh(now), self._answer)
        finally:
            self._remember()

    def find(self, *names: str, hardware: str | None = None) -> list[TargetFile | None]:
        """Look for images after a refresh, all with one verification."""
        self.refresh()
        self.requests = []
        steps = (self.repository.find(name, hardware) for name in names)
        try:
            return [drive(step, self._answer) for step in steps]
        finally:
            self._remember()

    def _begin(self) -> None:
        self.requests = []
        self.repository = Repository("image", self.factory, self.floor, self.limits)

    def _answer(self, need: Need) -> bytes | None:
        if need.stored:
            return self.stored.get(need.role)
        self.requests.append(need.name)
        return self.repo.files.get(need.name)

    def _remember(self) -> None:
        self.floor = self.repository.floor
        if self.repository.rotated:
            self.stored = {}
        self.stored.update(self.repository.accepted)


class Pair:
    """Both repositories and the time, for one vehicle."""

    def __init__(self, now: int = NOW) -> None:
        self.director = Repo(now)
        self.image = Repo(now)
        self.time_signer = new_signer()
        self.time = now
        self.sequence = 0
        self.director.root.version = 0
        self.name_time_keys(self.time_signer.public_key)
        self.director.targets.unrecognized_fields["custom"] = {"vehicleId": VEHICLE}
        self.director.publish()
        self.publish_time()
        self.roots = Roots(self.director.files["1.root.json"], self.image.files["1.root.json"])

    def name_time_keys(self, *keys: Key) -> None:
        """Serve the next director root, with these for the time."""
        root = self.director.root
        custom = root.unrecognized_fields.get("custom", {})
        for old in custom.get("timeKeys", []):
            root.keys.pop(old, None)
        root.keys.update({key.keyid: key for key in keys})
        root.unrecognized_fields["custom"] = {"timeKeys": [key.keyid for key in keys]}
        self.director.publish_root()

    def publish_time(self, later: int = 0) -> None:
        self.time += later
        self.sequence += 1
        self.director.files["time.json"] = make_time(self.time_signer, self.time, self.sequence)

    def custom(self) -> dict[str, Any]:
        """The director's word about the vehicle; change it, then publish."""
        custom: dict[str, Any] = self.director.targets.unrecognized_fields["custom"]
        return custom

    def image_file(
        self, name: str, payload: bytes, counter: int = 1, kind: str = "file",
        hardware: Iterable[str] = ("hw-1",),
    ) -> TargetFile:  # fmt: skip
        """What a repository says of an image, without ECUs."""
        file = TargetFile.from_data(name, payload, ["sha256", "sha512"])
        delivery = {
            "name": name.rpartition("/")[2],
            "length": len(payload),
            "sha256": hashlib.sha256(payload).hexdigest(),
            "encoding": "identity",
        }
        file.unrecognized_fields["custom"] = {
            "hardwareIds": list(hardware),
            "releaseCounter": counter,
            "kind": kind,
            "deliveries": [delivery],
        }
        return file

    def add(
        self, name: str, payload: bytes, ecus: dict[str, str], counter: int = 1,
        kind: str = "file", role: str = "targets",
    ) -> TargetFile:  # fmt: skip
        """Have both repositories name an image, and the director give it to some ECUs."""
        file = self.image_file(name, payload, counter, kind, sorted(set(ecus.values())))
        signed = self.image.signed(role)
        assert isinstance(signed, Targets)
        signed.targets[name] = file
        ordered = copy.deepcopy(file)
        ordered.custom["ecus"] = {ecu: {"hardwareId": hw} for ecu, hw in ecus.items()}
        self.director.targets.targets[name] = ordered
        self.custom().setdefault("campaign", {"id": "campaign-1"})
        return ordered

    def publish(self, later: int = 0) -> None:
        self.image.publish()
        self.director.publish()
        self.publish_time(later)


def ecu(
    payload: bytes = b"", counter: int = 0, hardware: str = "hw-1", kinds: Iterable[Any] = ("file",)
) -> Ecu:
    """An ECU of the vehicle with this payload on it."""
    digest = hashlib.sha256(payload).hexdigest() if payload else ""
    return Ecu(hardware, frozenset(kinds), digest, counter)


class Car:
    """A vehicle that verifies, with a memory that a test can look into and spoil."""

    def __init__(self, pair: Pair, ecus: dict[str, Ecu] | None = None, roots: Roots | None = None):
        self.pair = pair
        self.ecus = {"ecu-1": ecu()} if ecus is None else ecus
        self.roots = roots or pair.roots
        self.floor = Floor()
        self.stored: dict[str, dict[str, bytes]] = {"director": {}, "image": {}}
        self.requests: list[str] = []
        self.limits = TimeLimits()
        self.server: Callable[[str], bytes | None] | None = None
        self.known: int | None = None
        self.trust: Trust

    def check(self, clock: int | None = None) -> Verified | None:
        self.trust = self._trust(clock)
        self.requests = []
        complete = False
        try:
            verified = drive(self.trust.check(), self._answer)
            complete = True
        finally:
            self._remember(complete)
            self.known = self.trust.known
        return verified

    def recheck(self, clock: int | None = None, *, expired: bool = False) -> Verified:
        self.trust = self._trust(clock)
        return drive(self.trust.recheck(expired=expired), self._stored)

    def _trust(self, clock: int | None) -> Trust:
        now = self.pair.time if clock is None else clock
        vehicle = Vehicle(VEHICLE, self.ecus)
        nonce = secrets.token_urlsafe(16) if self.server else None
        return Trust(
            vehicle, self.roots, self.floor, now, self.limits, nonce=nonce, known=self.known
        )

    def _answer(self, need: Need) -> bytes | None:
        if need.stored:
            return self.stored[need.repository].get(need.role)
        if need.repository == "time":
            self.requests.append("time")
            return self.server(need.name)
        self.requests.append(f"{need.repository}/{need.name}")
        repo = self.pair.director if need.repository == "director" else self.pair.image
        return repo.files.get(need.name)

    def _stored(self, need: Need) -> bytes | None:
        if need.role in ("root", "time") and not need.stored:
            return None
        return self.stored[need.repository].get(need.role)

    def _remember(self, complete: bool) -> None:
        self.floor = self.trust.floor
        for repository in (self.trust.director, self.trust.image):
            stored = self.stored[repository.name]
            if repository.rotated:
                stored.clear()
            roles = repository.accepted if complete else repository.accepted.keys() & {"root"}
            stored.update({role: repository.accepted[role] for role in roles})
