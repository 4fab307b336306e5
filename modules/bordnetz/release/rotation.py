"""New keys for old ones: rotation, and the end of a key that others may have.

Each ends with a new root in every repository concerned, signed by the old root keys and the new
ones, and with everything signed anew: see `bordnetz.release.roots`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bordnetz.release import roots, signing
from bordnetz.release.errors import ReleaseError
from bordnetz.release.progress import Progress, silent
from bordnetz.release.release import Release
from bordnetz.release.settings import ROLES, KeyEntry, Repository, RoleKeys, Settings
from bordnetz.release.setup import key_entry, key_name
from bordnetz.release.signers import Signers
from bordnetz.uptane import keys


@dataclass(frozen=True)
class Rotated:
    """What changed.

    Attributes:
        roots: The new root versions, by repository.
        added: Names of keys that are new.
        gone: Names of keys that are not used any more.
        signed: What was signed anew.
    """

    roots: dict[Repository, int]
    added: list[str]
    gone: list[str]
    signed: signing.Signed


def rotate(
    release: Release,
    role: str,
    new: str | None,
    now: int,
    *,
    old: str | None = None,
    environment: Mapping[str, str] = os.environ,
    progress: Progress = silent,
) -> Rotated:
    """Put a key in the place of another one.

    Args:
        release: The release.
        role: ``repository/role``.
        new: The new key: a file or a PKCS#11 URI.  None, for a root alone: the keys stay, and the
            new root expires later.
        now: Seconds since 1970 UTC.
        old: Name of the key that goes; needed where the role has several.
        environment: Where a token's PIN may be.
        progress: Is told how far it is.

    Raises:
        ReleaseError: The role or its key is not known, or the new key is in use or revoked.
        SigningKeyError: A key cannot be used.
    """
    settings = release.settings
    its = settings.roles[role]
    if new is None:
        if not role.endswith("/root"):
            raise ReleaseError(f"{role}: name the new key with --new, or have one made with --keys")
        return _change(release, settings, [_repository(role)], now, environment, progress)
    if old is None:
        if len(its.keys) > 1:
            raise ReleaseError(
                f"{role} has the keys {', '.join(its.keys)}; say which one goes: --old"
            )
        old = its.keys[0]
    if old not in its.keys:
        raise ReleaseError(f"{role} has no key {old}; it has {', '.join(its.keys)}")
    name, entry = _new_key(settings, release.folder, role, new, environment)
    changed = _with(
        settings, {role: [name if key == old else key for key in its.keys]}, {name: entry}
    )
    return _change(release, changed, [_repository(role)], now, environment, progress)


def revoke(
    release: Release,
    key: str,
    new: Mapping[str, str],
    now: int,
    *,
    key_folder: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    progress: Progress = silent,
) -> Rotated:
    """Take a key out of service, in every role, for good.

    Args:
        release: The release.
        key: Its name.
        new: A key that takes its place, by ``repository/role``; needed where too few are left.
        now: Seconds since 1970 UTC.
        key_folder: Where keys that are needed and not in ``new`` are made.
        environment: Where a token's PIN may be.
        progress: Is told how far it is.

    Raises:
        ReleaseError: There is no such key, or a role would be left with too few.
        SigningKeyError: A key cannot be used.
    """
    settings = release.settings
    if key not in settings.keys:
        raise ReleaseError(f"there is no key {key}; there are {', '.join(sorted(settings.keys))}")
    keyid = settings.keys[key].keyid
    gone = {name for name, entry in settings.keys.items() if entry.keyid == keyid}
    roles: dict[str, list[str]] = {}
    added: dict[str, KeyEntry] = {}
    for role, its in settings.roles.items():
        if not gone & set(its.keys):
            continue
        left = [name for name in its.keys if name not in gone]
        private = new.get(role)
        if private is None and len(left) < its.threshold:
            if key_folder is None:
                raise ReleaseError(
                    f"{role} would be left with {len(left)} keys of the {its.threshold} that must "
                    f"sign; name another with --new {role}=..., or have one made with --keys"
                )
            private = os.fspath(new_key_file(settings, key_folder, role))
        if private is not None:
            name, entry = _new_key(settings, release.folder, role, private, environment)
            left.append(name)
            added[name] = entry
        roles[role] = left
    if unused := sorted(new.keys() - roles.keys()):
        raise ReleaseError(f"{unused[0]} does not use the key {key}, so it needs no new one")
    changed = _with(settings, roles, added, revoked=keyid)
    concerned: list[Repository] = [
        repository for repository in ROLES if any(_repository(role) == repository for role in roles)
    ]
    return _change(release, changed, concerned, now, environment, progress)


def new_key_file(settings: Settings, folder: Path, role: str) -> Path:
    """Make a key file for a role, beside those that were made before."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{_free_name(settings, role, folder)}.pem"
    keys.generate(path)
    return path.resolve()


def _free_name(settings: Settings, role: str, folder: Path | None = None) -> str:
    number = 1
    while True:
        number += 1
        name = key_name(role, number)
        if name not in settings.keys and not (folder and (folder / f"{name}.pem").exists()):
            return name


def _new_key(
    settings: Settings, folder: Path, role: str, private: str, environment: Mapping[str, str]
) -> tuple[str, KeyEntry]:
    entry = key_entry(folder, private, environment)
    if entry.keyid in settings.revoked:
        raise ReleaseError(f"{role}: the new key was revoked; make another one")
    if entry.keyid in settings.keyids(role):
        raise ReleaseError(f"{role}: the new key is one that it has already")
    stem = Path(private).stem if not keys.is_token(private) else ""
    if re.fullmatch(rf"{key_name(role)}(-[0-9]+)?", stem) and stem not in settings.keys:
        return stem, entry
    return _free_name(settings, role), entry


def _with(
    settings: Settings,
    roles: Mapping[str, Sequence[str]],
    added: Mapping[str, KeyEntry],
    *,
    revoked: str | None = None,
) -> Settings:
    """New settings, without the keys that nothing uses any more."""
    new_roles = {
        role: RoleKeys(keys=list(roles.get(role, its.keys)), threshold=its.threshold)
        for role, its in settings.roles.items()
    }
    used = {name for its in new_roles.values() for name in its.keys}
    entries = {name: entry for name, entry in {**settings.keys, **added}.items() if name in used}
    return Settings(
        keys=entries,
        roles=new_roles,
        days=settings.days,
        revoked=[*settings.revoked, *([revoked] if revoked else [])],
    )


def _change(
    release: Release,
    new: Settings,
    repositories: list[Repository],
    now: int,
    environment: Mapping[str, str],
    progress: Progress,
) -> Rotated:
    old = release.settings
    signers = Signers(release.folder, new, environment)
    versions = roots.succeed(
        release, new, Signers(release.folder, old, environment), signers, repositories, now
    )
    signed = signing.sign(release, signers, now, progress=progress)
    return Rotated(
        versions, sorted(new.keys.keys() - old.keys), sorted(old.keys.keys() - new.keys), signed
    )


def _repository(role: str) -> Repository:
    return "director" if role.startswith("director/") else "image"
