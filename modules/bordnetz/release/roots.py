"""Root metadata: a chain of versions for each repository, each signed by the one before.

Uptane Standard 2.1, "Root metadata"; TUF specification, 5.3 (an old client walks the chain: each
new root must be signed by a threshold of the keys of the root before it, and of its own).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Role, Root

from bordnetz.release import canonical
from bordnetz.release.database import DUE_TARGETS
from bordnetz.release.errors import ReleaseError
from bordnetz.release.release import Release
from bordnetz.release.settings import ROLES, Repository, Settings
from bordnetz.release.signers import Signers

DAY = 86400


def make(settings: Settings, repository: Repository, version: int, now: int) -> dict[str, Any]:
    """Root metadata, not signed: its ``signed`` part."""
    roles: dict[str, Role] = {}
    keys: dict[str, Key] = {}
    custom: dict[str, object] = {}
    for role in ROLES[repository]:
        its = settings.roles[f"{repository}/{role}"]
        entries = [settings.keys[name] for name in its.keys]
        keys.update({entry.keyid: entry.key() for entry in entries})
        if role == "time":
            custom["custom"] = {"timeKeys": [entry.keyid for entry in entries]}
        else:
            roles[role] = Role([entry.keyid for entry in entries], its.threshold)
    root = Root(
        version=version,
        spec_version=canonical.SPEC_VERSION,
        expires=datetime.fromtimestamp(now + settings.days.root * DAY, UTC),
        keys=keys,
        roles=roles,
        consistent_snapshot=True,
        unrecognized_fields=custom,
    )
    return root.to_dict()


def sign(signed: dict[str, Any], signers: list[Signer]) -> bytes:
    """Metadata with the signatures of all signers, in the form in which it is published."""
    payload = canonical.encode(signed)
    signatures = {}
    for signer in signers:
        signature = signer.sign(payload)
        signatures[signature.keyid] = signature.signature
    content = {
        "signatures": [{"keyid": keyid, "sig": sig} for keyid, sig in signatures.items()],
        "signed": signed,
    }
    # Canonical JSON is none where there are line ends in it, as in a key's PEM.
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def latest(release: Release, repository: Repository) -> tuple[int, int, bytes]:
    """Version, expiry and bytes of the newest root."""
    row: tuple[int, int, bytes] | None = release.db.execute(
        "SELECT version, expires, data FROM root WHERE repository = ? "
        "ORDER BY version DESC LIMIT 1",
        (repository,),
    ).fetchone()
    if row is None:
        raise ReleaseError(f"{release.folder}: there is no root of the {repository} repository")
    return row


def chain(release: Release, repository: Repository) -> list[tuple[int, bytes]]:
    """All versions, oldest first."""
    return release.db.execute(
        "SELECT version, data FROM root WHERE repository = ? ORDER BY version", (repository,)
    ).fetchall()


def first(release: Release, signers: Signers, now: int) -> None:
    """Make and sign version 1 for both repositories.

    Raises:
        SigningKeyError: A root key cannot be used.
    """
    made = []
    for repository in ROLES:
        signed = make(release.settings, repository, 1, now)
        made.append(
            (
                repository,
                1,
                now + release.settings.days.root * DAY,
                sign(signed, signers.role(f"{repository}/root")),
            )
        )
    with release.transaction() as db:
        db.executemany("INSERT INTO root VALUES (?, ?, ?, ?)", made)


def succeed(
    release: Release,
    new: Settings,
    old_signers: Signers,
    new_signers: Signers,
    repositories: list[Repository],
    now: int,
) -> dict[Repository, int]:
    """Sign the next root of each repository, by the old root keys and by the new ones.

    The new settings are written with them.  Everything those repositories' other roles signed is
    due again.

    Args:
        release: The release, with the settings that held until now.
        new: The settings that hold from now on.
        old_signers: Keys as they were.
        new_signers: Keys as they are to be.
        repositories: Whose roots change.
        now: Seconds since 1970 UTC.

    Returns:
        The new versions.

    Raises:
        SigningKeyError: Too few keys of a root, old or new, can be used.
    """
    made = []
    for repository in repositories:
        version, _, data = latest(release, repository)
        signed = make(new, repository, version + 1, now)
        role = f"{repository}/root"
        data = sign(signed, [*old_signers.role(role), *new_signers.role(role)])
        _check(release, repository, data)
        made.append((repository, version + 1, now + new.days.root * DAY, data))
    release.propose(new)
    with release.transaction() as db:
        db.executemany("INSERT INTO root VALUES (?, ?, ?, ?)", made)
        if "director" in repositories:
            db.execute("UPDATE vehicle SET due = ?", (DUE_TARGETS,))
        if "image" in repositories:
            db.execute("UPDATE state SET image_due = 1")
        db.execute("UPDATE state SET keys_changed = 1")
    release.accept()
    return {repository: version for repository, version, _, _ in made}


def _check(release: Release, repository: Repository, data: bytes) -> None:
    """Whether a client that trusts the last root takes the new one."""
    new = Metadata[Root].from_bytes(data)
    old = Metadata[Root].from_bytes(latest(release, repository)[2])
    for root in (old, new):
        root.signed.verify_delegate("root", new.signed_bytes, new.signatures)
