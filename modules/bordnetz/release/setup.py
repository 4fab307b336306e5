"""A new release folder: its keys, its database and the first roots."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from bordnetz.release import database, roots
from bordnetz.release.errors import ReleaseError
from bordnetz.release.export import write_roots
from bordnetz.release.release import Release
from bordnetz.release.settings import ALL_ROLES, FILE, KeyEntry, RoleKeys, Settings
from bordnetz.release.signers import Signers
from bordnetz.uptane import keys

_MOST_KEYS = 16
"""Of a role."""


def initialize(
    folder: Path,
    chosen: Mapping[str, Sequence[str]],
    *,
    key_folder: Path | None,
    root_keys: int,
    root_threshold: int,
    now: int,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Make a release folder.

    Args:
        folder: To make; it may be there if it is empty.
        chosen: Keys by ``repository/role``: files or PKCS#11 URIs.
        key_folder: Where keys for all other roles are made, or found if they are there already;
            None: all roles are in ``chosen``.
        root_keys: So many keys each root gets in ``key_folder``.
        root_threshold: So many of its keys must sign a root.
        now: Seconds since 1970 UTC.
        environment: Where a token's PIN may be.

    Raises:
        ReleaseError: There is something already, or a role has no key.
        SigningKeyError: A key cannot be used.
    """
    if (folder / FILE).exists():
        raise ReleaseError(f"{folder}: is a release folder already; see: bordnetz release status")
    if missing := [role for role in ALL_ROLES if not chosen.get(role)]:
        if key_folder is None:
            raise ReleaseError(
                f"no key for {', '.join(missing)}: name one with --key {missing[0]}=..., or let "
                f"files be made with --keys {folder / 'keys'}"
            )
        key_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    entries: dict[str, KeyEntry] = {}
    roles: dict[str, RoleKeys] = {}
    for role in ALL_ROLES:
        is_root = role.endswith("/root")
        names = list(chosen.get(role, ()))
        if not names and key_folder is not None:
            count = root_keys if is_root else 1
            names = [
                os.fspath(made_key(key_folder, role, number, count))
                for number in range(1, count + 1)
            ]
        its = {}
        for number, name in enumerate(names, 1):
            entry = key_entry(folder, name, environment)
            its[key_name(role, number if len(names) > 1 else None)] = entry
        entries |= its
        if len(its) > _MOST_KEYS:
            raise ReleaseError(f"{role}: {len(its)} keys; {_MOST_KEYS} at most")
        threshold = root_threshold if is_root else 1
        if threshold > len(its):
            raise ReleaseError(
                f"{role}: a threshold of {threshold} needs as many keys; it has {len(its)}"
            )
        roles[role] = RoleKeys(keys=list(its), threshold=threshold)
    try:
        settings = Settings(keys=entries, roles=roles)
    except ValidationError as error:
        text = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ReleaseError(text.removeprefix("Value error, ")) from None
    folder.mkdir(parents=True, exist_ok=True)
    for left in (database.FILE, f"{database.FILE}-wal", f"{database.FILE}-shm"):
        (folder / left).unlink(missing_ok=True)
    database.create(folder)
    settings.save(folder / FILE)
    try:
        with Release(folder) as release:
            roots.first(release, Signers(folder, settings, environment), now)
            write_roots(release)
    except BaseException:
        (folder / FILE).unlink()
        raise
    return settings


def key_name(role: str, number: int | None = None) -> str:
    """How a role's key is called in the settings."""
    name = role.replace("/", "-")
    return name if number is None else f"{name}-{number}"


def made_key(folder: Path, role: str, number: int, count: int) -> Path:
    """A key file for a role: the one that is there, or a new one."""
    path = folder / f"{key_name(role, number if count > 1 else None)}.pem"
    if not path.exists():
        keys.generate(path)
    return path.resolve()


def key_entry(folder: Path, name: str, environment: Mapping[str, str]) -> KeyEntry:
    """The settings' entry of a key that can be used.

    Args:
        folder: The release folder; a file in it is named relative to it.
        name: A file, or a PKCS#11 URI.
        environment: Where a token's PIN may be.

    Raises:
        SigningKeyError: It cannot be used.
    """
    if not keys.is_token(name):
        path, here = Path(name).resolve(), folder.resolve()
        name = os.fspath(path.relative_to(here) if path.is_relative_to(here) else path)
    return KeyEntry.of(name, keys.load(name, folder, environment).public_key)
