"""Whose keys sign what, and for how long: ``release.json`` in the release folder.

Keys are here by name, with their public part and where the private one is: a file, relative to
the folder, or a PKCS#11 URI.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator
from securesystemslib.signer import Key, SSlibKey

from bordnetz.release.errors import ReleaseError
from bordnetz.uptane.custom import Model, Name, Sha256

FILE = "release.json"
_MOST_BYTES = 1024 * 1024

Repository = Literal["director", "image"]

ROLES: dict[Repository, tuple[str, ...]] = {
    "director": ("root", "targets", "snapshot", "timestamp", "time"),
    "image": ("root", "targets", "snapshot", "timestamp"),
}
"""The roles that need keys.  ``time`` signs the director's time.json and is none of TUF's."""

ALL_ROLES = tuple(f"{repository}/{role}" for repository in ROLES for role in ROLES[repository])

_Word = Annotated[str, Field(min_length=1, max_length=4096)]
_Days = Annotated[int, Field(ge=1, le=36500)]


class KeyEntry(Model):
    """A key.

    Attributes:
        private: A file relative to the folder, or a PKCS#11 URI.
        keytype: As in TUF metadata.
        scheme: As in TUF metadata.
        public: As in TUF metadata.
        keyid: As in TUF metadata.
    """

    private: _Word
    keytype: _Word
    scheme: _Word
    public: _Word
    keyid: Sha256

    @classmethod
    def of(cls, private: str, key: Key) -> Self:
        """The entry of a key."""
        return cls(
            private=private,
            keytype=key.keytype,
            scheme=key.scheme,
            public=key.keyval["public"],
            keyid=key.keyid,
        )

    def key(self) -> SSlibKey:
        """Its public part, as securesystemslib has it."""
        return SSlibKey(self.keyid, self.keytype, self.scheme, {"public": self.public})


class RoleKeys(Model):
    """Who may sign for a role.

    Attributes:
        keys: Names of the keys.
        threshold: So many of them must sign.
    """

    keys: Annotated[list[Name], Field(min_length=1, max_length=16)]
    threshold: Annotated[int, Field(ge=1, le=16)] = 1

    @model_validator(mode="after")
    def _has_enough_keys(self) -> Self:
        if len(set(self.keys)) != len(self.keys):
            raise ValueError("keys: one stands twice")
        if self.threshold > len(self.keys):
            raise ValueError(f"threshold {self.threshold} of {len(self.keys)} keys")
        return self


class Days(Model):
    """How long metadata holds, in days.

    Attributes:
        root: Renewed by hand (``rotate``).
        targets: Renewed by ``refresh`` once a third of it is left.
        snapshot: Renewed by every ``refresh``.
        timestamp: Likewise: the longest that an attacker can hold a vehicle at an old state.
    """

    root: _Days = 3 * 365
    targets: _Days = 180
    snapshot: _Days = 30
    timestamp: _Days = 30


class Settings(Model):
    """The content of ``release.json``.

    Attributes:
        version: Of this form.
        keys: By name.
        roles: By ``repository/role``.
        days: How long metadata holds.
        revoked: Ids of keys that must not come back.
    """

    version: Literal[1] = 1
    keys: dict[Name, KeyEntry]
    roles: dict[str, RoleKeys]
    days: Days = Days()
    revoked: list[Sha256] = Field(default_factory=list)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if set(self.roles) != set(ALL_ROLES):
            raise ValueError(f"roles: they must be {', '.join(ALL_ROLES)}")
        for role, its in self.roles.items():
            for name in its.keys:
                if name not in self.keys:
                    raise ValueError(f"roles.{role}: there is no key {name!r}")
                if self.keys[name].keyid in self.revoked:
                    raise ValueError(f"roles.{role}: the key {name!r} is revoked")
            if len(set(self.keyids(role))) != len(its.keys):
                raise ValueError(f"roles.{role}: the same key stands twice, under two names")
            if role.partition("/")[2] != "root" and its.threshold != 1:
                raise ValueError(f"roles.{role}: only roots have a threshold other than 1")
        return self

    def keyids(self, role: str) -> list[str]:
        """Ids of the keys that may sign for a ``repository/role``."""
        return [self.keys[name].keyid for name in self.roles[role].keys]

    @classmethod
    def load(cls, folder: Path, name: str = FILE) -> Settings:
        """Read them.

        Raises:
            ReleaseError: The folder is no release folder, or the file cannot be used.
        """
        path = folder / name
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            raise ReleaseError(
                f"{folder}: no release folder, for there is no {FILE}; make one with: "
                f"bordnetz release init {folder} --keys {folder}/keys"
            ) from None
        except OSError as error:
            raise ReleaseError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            if len(content) > _MOST_BYTES:
                raise ReleaseError(f"{path}: over {_MOST_BYTES} bytes")
            return cls.model_validate(json.loads(content))
        except ValidationError as error:
            detail = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(step) for step in detail["loc"])
            raise ReleaseError(f"{path}: {place}: {detail['msg']}") from None
        except (ValueError, RecursionError):
            raise ReleaseError(f"{path}: no valid JSON") from None

    def save(self, path: Path) -> None:
        """Write them: whole and on the disk, or not at all.

        Raises:
            ReleaseError: The disk does not take it.
        """
        folder = path.parent
        new = folder / f".new-{path.name}"
        text = json.dumps(self.model_dump(by_alias=True, mode="json"), indent=2) + "\n"
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ReleaseError(f"{path}: cannot be written: {error.strerror}") from error
