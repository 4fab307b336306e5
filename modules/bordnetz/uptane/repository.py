"""One repository's metadata, from the root of trust down to an image.

The client workflow of the TUF specification 1.0.31, 5.3 to 5.7, which is what the Uptane Standard
2.1 asks for in "How to check Root (Timestamp, Snapshot, Targets) metadata" and "How to resolve
delegations".  Parsing, signatures, thresholds and the matching of delegated paths are those of
`tuf.api.metadata`; which file is accepted when is decided here:

1. Root: the newest root known, then version N+1, N+2, ... until there is no further one, each with
   exactly that version and signed by a threshold of the old and of the new keys (5.3.3 to 5.3.7).
   Only the last may not have expired (5.3.10), and none may be older than the floor.
2. Were keys of timestamp or snapshot taken away since the floor was set, then what was stored is
   forgotten and the floor with it, except root's (5.3.11: recovery from fast-forward attacks).
3. Timestamp: signed; version not below the floor; of the same version as the stored one, the
   stored one stays; the snapshot's version not below the floor; not expired (5.4).
4. Snapshot: hashes and length as the timestamp says, where it says; signed; version exactly the
   timestamp's; every role that was named before is still named, with no lower version; not expired
   (5.5).  The stored one is used only if its hashes are those, too, not on account of its version.
5. Targets: hashes and length as the snapshot says, where it says; signed; version exactly the
   snapshot's; not expired (5.6).
6. Delegations: in the order of the metadata, depth first; only roles whose paths fit and whose
   ``hardwareIds``, where given, hold the image's; a terminating one ends the search; no role twice
   in a search, no more than `MOST_ROLES` of them; a role that is reached through two delegators
   must be signed as each of them asks (5.6.7).
7. Nothing has more bytes than `Limits` says; the targets metadata of a repository all together.

A floor rises with each file as it is accepted, also where a later one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.parse import Parsed, T, parse, public, verify
from bordnetz.uptane.steps import Need, Steps

__all__ = ["DIRECTOR", "IMAGE", "MOST_ROLES", "MOST_ROOTS", "Limits", "Repository"]

MOST_ROOTS = 256
"""Root versions taken in one go; the next check goes on from there."""

MOST_ROLES = 32
"""Delegated roles visited in search of one image."""

HARDWARE_IDS = "hardwareIds"
"""Of a delegation: the hardware that it is restricted to (Uptane Standard 2.1, "Metadata about
delegations")."""

_TOP = frozenset({"root", "timestamp", "snapshot"})

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes that metadata may have; the values are aktualizr's."""

    root: int = 64 * 1024
    timestamp: int = 64 * 1024
    snapshot: int = 64 * 1024
    targets: int = 64 * 1024


DIRECTOR = Limits()
IMAGE = Limits(targets=8 * 1024 * 1024)


class Repository:
    """What is believed of one repository.

    Attributes:
        name: ``director`` or ``image``.
        floor: The lowest acceptable version by role; rises with what is accepted.
        accepted: The files accepted, by role, to be stored.
        lineage: The root metadata that the floor was set under, if it was met, and all after it.
        rotated: What was stored before counts no longer, except root.
        expires: When the first of all that is accepted expires, seconds since 1970 UTC.
    """

    def __init__(
        self, name: str, factory: bytes, floor: Mapping[str, int], limits: Limits = IMAGE
    ) -> None:
        """Begin with what is beyond doubt.

        Args:
            name: For errors and needs.
            factory: Root metadata that is trusted as it is.
            floor: The lowest acceptable version by role, as it was left the last time.
            limits: Bytes that files may have.
        """
        self.name = name
        self.floor = dict(floor)
        self.accepted: dict[str, bytes] = {}
        self.lineage: list[Root] = []
        self.rotated = False
        self.expires = 1 << 62
        self._limits = limits
        self._room = limits.targets
        self._factory = factory
        self._now = 0
        self._root: Root | None = None
        self._timestamp: Timestamp | None = None
        self._snapshot: Snapshot | None = None
        self._targets: dict[tuple[str, str], Targets] = {}

    @property
    def root(self) -> Root:
        """The newest root metadata."""
        return _there(self._root)

    @property
    def timestamp(self) -> Timestamp:
        """The newest timestamp metadata."""
        return _there(self._timestamp)

    # -- the workflow, in its order

    def walk(self) -> Steps[None]:
        """Take in all root metadata that there is (5.3, but for expiry).

        Raises:
            UptaneError: One is refused; those before it are accepted.
        """
        yield from self._begin()
        for _ in range(MOST_ROOTS):
            version = self.root.version + 1
            data = yield Need(self.name, "root", f"{version}.root.json", self._limits.root)
            if data is None:
                break
            new = self._parse(Root, data, self._limits.root, "root")
            verify(self.root, new, self.name, "root")
            if new.signed.version != version:
                raise self._refused(Kind.ROLLBACK, "has another version than its name", "root")
            verify(new.signed, new, self.name, "root")
            self._take_root(new.signed, data)
        else:
            text = f"{MOST_ROOTS} new versions in a row; the next check goes on after them"
            raise UptaneError(Kind.ENDLESS_DATA, text, self.name, "root")
        if self.root.version < self.floor.get("root", 0):
            text = "the newest one served is older than one that was accepted before"
            raise self._refused(Kind.ROLLBACK, text, "root")

    def at(self, now: int) -> None:
        """Tell the time that expiry is judged by, and judge the root (5.3.10).

        Args:
            now: Seconds since 1970 UTC; 0 where nothing is to expire.

        Raises:
            UptaneError: The root metadata has expired.
        """
        self._now = now
        self._check_expiry(int(self.root.expires.timestamp()), "root")

    def check_timestamp(self) -> Steps[None]:
        """Take in the timestamp metadata (5.4).

        Raises:
            UptaneError: It is missing or refused.
        """
        limit = self._limits.timestamp
        data = yield Need(self.name, "timestamp", "timestamp.json", limit)
        if data is None:
            raise self._missing("timestamp")
        new = self._parse(Timestamp, data, limit, "timestamp")
        verify(self.root, new, self.name, "timestamp")
        if new.signed.version < self.floor.get("timestamp", 0):
            raise self._refused(Kind.ROLLBACK, "older than one accepted before", "timestamp")
        stored = yield from self._stored_timestamp()
        if stored is not None and stored[0].signed.version == new.signed.version:
            new, data = stored
        if new.signed.snapshot_meta.version < self.floor.get("snapshot", 0):
            text = "names an older snapshot than one accepted before"
            raise self._refused(Kind.ROLLBACK, text, "timestamp")
        self._check_expiry(new.expires, "timestamp")
        self._timestamp = new.signed
        self._accept("timestamp", new.signed.version, data)
        self.floor["snapshot"] = new.signed.snapshot_meta.version

    def unchanged(self) -> Steps[bool]:
        """Whether the stored snapshot metadata is the one that the timestamp names, by its hashes.

        (Uptane Standard 2.1, "Full verification", 4 and 8.)
        """
        meta = self.timestamp.snapshot_meta
        stored = yield from self._stored("snapshot", self._limits.snapshot)
        if stored is None or not meta.hashes:
            return False
        try:
            meta.verify_length_and_hashes(stored)
        except LengthOrHashMismatchError:
            return False
        parsed = self._parse(Snapshot, stored, self._limits.snapshot, "snapshot")
        return parsed.signed.version == meta.version

    def check_snapshot(self) -> Steps[None]:
        """Take in the snapshot metadata (5.5).

        Raises:
            UptaneError: It is missing or refused.
        """
        meta = self.timestamp.snapshot_meta

        def check(data: bytes) -> Snapshot:
            return self._check_snapshot(data, meta)

        self._snapshot, data = yield from self._obtain(
            "snapshot", meta, self._limits.snapshot, check
        )
        self._accept("snapshot", self._snapshot.version, data)
        self.floor = {role: self.floor[role] for role in _TOP if role in self.floor}
        self.floor.update(_versions(self._snapshot))

    def check_targets(self) -> Steps[Targets]:
        """Take in the top-level targets metadata (5.6, 1 to 6).

        Raises:
            UptaneError: It is missing or refused.
        """
        return (yield from self._load("targets", "root", self.root))

    def find(self, name: str, hardware: str | None = None) -> Steps[TargetFile | None]:
        """Find an image, following delegations (5.6.7), after `check_snapshot`.

        Args:
            name: Of the image.
            hardware: The hardware id that it is for; None: delegations restricted to some
                hardware are not followed.

        Returns:
            What the first role that names it says; None where none does.

        Raises:
            UptaneError: A role on the way is missing or refused.
        """
        waiting: list[tuple[str, str, Root | Targets]] = [("targets", "root", self.root)]
        visited: set[str] = set()
        while waiting and len(visited) <= MOST_ROLES:
            role, delegator, by = waiting.pop()
            if role in visited:
                continue
            targets = yield from self._load(role, delegator, by)
            if name in targets.targets:
                return targets.targets[name]
            visited.add(role)
            children: list[tuple[str, str, Root | Targets]] = []
            for child, terminating in _delegated(targets, name, hardware):
                children.append((child, role, targets))
                if terminating:
                    waiting = []
                    break
            waiting += reversed(children)
        return None

    def refresh(self, now: int) -> Steps[Targets]:
        """Go through all of it, down to the top-level targets metadata.

        Args:
            now: As for `at`.

        Raises:
            UptaneError: Something is missing or refused; what came before it is accepted.
        """
        yield from self.walk()
        self.at(now)
        yield from self.check_timestamp()
        yield from self.check_snapshot()
        return (yield from self.check_targets())

    # -- root

    def _begin(self) -> Steps[None]:
        factory = self._parse(Root, self._factory, self._limits.root, "root")
        verify(factory.signed, factory, self.name, "root")
        first, data = factory.signed, self._factory
        stored = yield from self._stored("root", self._limits.root)
        if stored is not None:
            try:
                parsed = self._parse(Root, stored, self._limits.root, "root")
                verify(parsed.signed, parsed, self.name, "root")
            except UptaneError:
                # A damaged copy costs nothing but the way here from the factory's.
                pass
            else:
                if parsed.signed.version > first.version:
                    first, data = parsed.signed, stored
                elif parsed.signed.version == self.floor.get("root", 0):
                    self.lineage.append(parsed.signed)
        self._take_root(first, data)

    def _take_root(self, root: Root, data: bytes) -> None:
        """It is trusted from here on; see whether it takes away keys since the floor was set."""
        known = self.floor.get("root", 0)
        if root.version >= known:
            roles = ("timestamp", "snapshot")
            if self.lineage and any(
                keys(self.lineage[-1], role) - keys(root, role) for role in roles
            ):
                self.rotated = True
                self.floor = {}
            self.lineage.append(root)
            self.floor["root"] = root.version
        self._root = root
        self.accepted["root"] = data

    # -- the others

    def _stored_timestamp(self) -> Steps[tuple[Parsed[Timestamp], bytes] | None]:
        data = yield from self._stored("timestamp", self._limits.timestamp)
        if data is None:
            return None
        try:
            parsed = self._parse(Timestamp, data, self._limits.timestamp, "timestamp")
            verify(self.root, parsed, self.name, "timestamp")
        except UptaneError:
            return None
        return parsed, data

    def _check_snapshot(self, data: bytes, meta: MetaFile) -> Snapshot:
        role = "snapshot"
        self._check_hashes(data, meta, role)
        parsed = self._parse(Snapshot, data, self._limits.snapshot, role)
        verify(self.root, parsed, self.name, role)
        if parsed.signed.version != meta.version:
            text = "has another version than the timestamp metadata says"
            raise self._refused(Kind.MIX_AND_MATCH, text, role)
        new = _versions(parsed.signed)
        for known, version in self.floor.items():
            if known in _TOP:
                continue
            if known not in new:
                text = "no longer names a role that it named before"
                raise self._refused(Kind.ROLLBACK, text, role)
            if new[known] < version:
                text = "names an older version of a role than it did before"
                raise self._refused(Kind.ROLLBACK, text, role)
        self._check_expiry(parsed.expires, role)
        return parsed.signed

    def _load(self, role: str, delegator: str, by: Root | Targets) -> Steps[Targets]:
        if (role, delegator) in self._targets:
            return self._targets[role, delegator]
        snapshot = _there(self._snapshot)
        meta = snapshot.meta.get(f"{role}.json")
        if meta is None:
            raise self._refused(Kind.MISSING, "not named by the snapshot metadata", role)

        def check(data: bytes) -> Targets:
            self._check_hashes(data, meta, role)
            parsed = self._parse(Targets, data, self._limits.targets, role)
            verify(by, parsed, self.name, role)
            if parsed.signed.version != meta.version:
                text = "has another version than the snapshot metadata says"
                raise self._refused(Kind.MIX_AND_MATCH, text, role)
            self._check_expiry(parsed.expires, role)
            return parsed.signed

        if role in self.accepted:
            # Reached through another delegator before: the same file, by other keys.
            targets = check(self.accepted[role])
        else:
            targets, data = yield from self._obtain(role, meta, self._room, check)
            self._room -= len(data)
            self._accept(role, targets.version, data)
        self._targets[role, delegator] = targets
        return targets

    def _obtain(
        self, role: str, meta: MetaFile, limit: int, check: Callable[[bytes], R]
    ) -> Steps[tuple[R, bytes]]:
        """The stored file, if it passes the check, else the repository's, which must."""
        limit = min(limit, limit if meta.length is None else meta.length)
        refusal: UptaneError | None = None
        stored = yield from self._stored(role, limit)
        if stored is not None:
            try:
                return check(stored), stored
            except UptaneError as error:
                refusal = error
        encoded = quote(role, "")
        prefix = f"{meta.version}." if self.root.consistent_snapshot else ""
        data = yield Need(self.name, role, f"{prefix}{encoded}.json", limit)
        if data is None:
            raise refusal or self._missing(role)
        if len(data) > limit:
            raise self._refused(Kind.ENDLESS_DATA, "longer than it may be", role)
        return check(data), data

    def _accept(self, role: str, version: int, data: bytes) -> None:
        self.accepted[role] = data
        self.floor[role] = version

    def _stored(self, role: str, limit: int) -> Steps[bytes | None]:
        if self.rotated:
            return None
        data = yield Need(self.name, role, "", limit, stored=True)
        return None if data is None or len(data) > limit else data

    def _parse(self, kind: type[T], data: bytes, limit: int, role: str) -> Parsed[T]:
        return parse(kind, data, limit, self.name, role)

    def _check_hashes(self, data: bytes, meta: MetaFile, role: str) -> None:
        try:
            meta.verify_length_and_hashes(data)
        except LengthOrHashMismatchError:
            text = "not the file whose hashes the metadata above it gives"
            raise self._refused(Kind.MIX_AND_MATCH, text, role) from None

    def _check_expiry(self, expires: int, role: str) -> None:
        if expires <= self._now:
            text = "expired; renew it, or look into why the newer one does not arrive"
            raise UptaneError(Kind.FREEZE, text, self.name, role)
        self.expires = min(self.expires, expires)

    def _missing(self, role: str) -> UptaneError:
        text = "there is no such file; publish the repository as a whole"
        return UptaneError(Kind.MISSING, text, self.name, role)

    def _refused(self, kind: Kind, what: str, role: str) -> UptaneError:
        text = f"{what}; check who makes and who serves it"
        return UptaneError(kind, text, self.name, role)


def keys(root: Root, role: str) -> set[str]:
    """What tells the keys of a role from all others."""
    known = root.keys
    return {public(known[one]) for one in root.roles[role].keyids if one in known}


def _versions(snapshot: Snapshot) -> dict[str, int]:
    """Versions of the targets roles; snapshots of old also name the root, which says nothing."""
    named = ((name.removesuffix(".json"), meta.version) for name, meta in snapshot.meta.items())
    return {role: version for role, version in named if role not in _TOP}


def _delegated(targets: Targets, name: str, hardware: str | None) -> Iterator[tuple[str, bool]]:
    if targets.delegations is None:
        return
    roles = targets.delegations.roles or {}
    for role, terminating in targets.delegations.get_roles_for_target(name):
        only = roles[role].unrecognized_fields.get(HARDWARE_IDS) if role in roles else None
        if only is None or (isinstance(only, list) and hardware in only):
            yield role, terminating


def _there(part: R | None) -> R:
    if part is None:
        raise ValueError("the steps of the workflow have their order")
    return part
