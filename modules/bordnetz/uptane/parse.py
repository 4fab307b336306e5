"""Bytes from anywhere into metadata, or a refusal: size, nesting, counts and types.

JSON, signatures and fields are read by `tuf.api.metadata`; what that library takes for granted is
checked here, before or right after it.  Nothing is trusted by being read: `verify` does that.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from securesystemslib.signer import Key, Signature, SSlibKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError

from bordnetz.uptane.errors import Kind, UptaneError

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)

MOST_NESTING = 32
"""Levels of arrays and objects; ours have ten."""

MOST_SIGNATURES = 256
"""Of one file, and keys of one role: each may cost a verification."""

MOST_PATTERNS = 4096
"""Paths of all delegations in one file: each may cost a comparison for every image."""

MOST_VERSION = (1 << 53) - 1
"""The largest integer that every JSON reader takes for what it is (RFC 8259, section 6)."""

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """Metadata that can be read; whether it is to be believed is another matter.

    Attributes:
        signed: What it says.
        payload: What the signatures are over: ``signed`` as canonical JSON.
        signatures: By the ids of their keys.
    """

    signed: T
    payload: bytes
    signatures: dict[str, Signature]

    @property
    def expires(self) -> int:
        """From then on it does not count any more, seconds since 1970 UTC."""
        return int(self.signed.expires.timestamp())


def parse(kind: type[T], data: bytes, limit: int, repository: str, role: str) -> Parsed[T]:
    """Read metadata.

    Args:
        kind: The class that it must be of.
        data: The file.
        limit: Bytes that it may have.
        repository: For the error.
        role: For the error.

    Raises:
        UptaneError: It is too long, or is no metadata of this kind.
    """
    check_size(data, limit, repository, role)
    try:
        metadata = Metadata[T].from_bytes(data)
        if not isinstance(metadata.signed, kind):
            raise _refused("is of another role", repository, role)
        _check_counts(metadata, repository, role)
        _check_types(metadata.signed, repository, role)
        return Parsed(metadata.signed, metadata.signed_bytes, metadata.signatures)
    except (DeserializationError, SerializationError):
        raise _refused("cannot be read", repository, role) from None


def read_json(data: bytes, limit: int, repository: str, role: str) -> Any:
    """Read signed JSON that is no metadata of TUF's.

    Raises:
        UptaneError: It is too long or too deep, or no JSON.
    """
    check_size(data, limit, repository, role)
    try:
        return json.loads(data.decode())
    except ValueError:
        raise _refused("cannot be read", repository, role) from None


def check_size(data: bytes, limit: int, repository: str, role: str) -> None:
    """Make sure that reading it costs no more than it may.

    Raises:
        UptaneError: It has more bytes than ``limit``, or is nested too deeply.
    """
    if len(data) > limit:
        raise UptaneError(
            Kind.ENDLESS_DATA, f"more than {limit} bytes; check who serves it", repository, role
        )
    depth = 0
    for byte in _STRING.sub(b"", data).translate(None, _NO_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        if depth > MOST_NESTING:
            raise _refused(f"is nested deeper than {MOST_NESTING} levels", repository, role)


def verify(
    delegator: Root | Targets, parsed: Parsed[T], repository: str, role: str, *, of: str = ""
) -> None:
    """Make sure that enough different keys have signed.

    Two ids of one key count once (Uptane Standard 2.1, "How to check Root metadata": a threshold
    of unique keys).

    Args:
        delegator: Says whose signatures count.
        parsed: What must be signed.
        repository: For the error.
        role: The role that must have signed.
        of: What the delegator calls it, where that is not ``role``.

    Raises:
        UptaneError: They have not.
    """
    try:
        result = delegator.get_verification_result(of or role, parsed.payload, parsed.signatures)
    except ValueError:
        raise _refused("is of a role that nobody delegates to", repository, role) from None
    if len({public(key) for key in result.signed.values()}) < result.threshold:
        raise UptaneError(
            Kind.BAD_SIGNATURE,
            f"signed by {len(result.signed)} of the {result.threshold} keys that it takes; "
            "sign it with the keys that the root metadata names",
            repository,
            role,
        )


def public(key: Key) -> str:
    """What tells a key from every other."""
    return f"{key.keytype}:{key.scheme}:{key.keyval['public'].strip()}"


def _check_counts(metadata: Metadata[Any], repository: str, role: str) -> None:
    if len(metadata.signatures) > MOST_SIGNATURES:
        raise _refused(f"has more than {MOST_SIGNATURES} signatures", repository, role)
    signed = metadata.signed
    keys: list[Key] = []
    if isinstance(signed, Root):
        keys += signed.keys.values()
    elif isinstance(signed, Targets) and signed.delegations is not None:
        keys += signed.delegations.keys.values()
        roles = (signed.delegations.roles or {}).values()
        patterns = sum(len(one.paths or one.path_hash_prefixes or ()) for one in roles)
        if patterns + len(roles) > MOST_PATTERNS:
            raise _refused(f"delegates more than {MOST_PATTERNS} paths", repository, role)
    # The library knows kinds of keys that start a program to verify with.
    if not all(type(key) is SSlibKey for key in keys):
        raise _refused("names a key of a kind that is not used here", repository, role)


def _check_types(signed: Root | Timestamp | Snapshot | Targets, repository: str, role: str) -> None:
    versions: list[Any] = [signed.version]
    names: list[Any] = []
    if isinstance(signed, Timestamp):
        versions.append(signed.snapshot_meta.version)
        versions.append(signed.snapshot_meta.length or 0)
    elif isinstance(signed, Snapshot):
        versions += [meta.version for meta in signed.meta.values()]
        versions += [meta.length or 0 for meta in signed.meta.values()]
    elif isinstance(signed, Targets):
        versions += [target.length for target in signed.targets.values()]
        if signed.delegations is not None:
            names += signed.delegations.roles or ()
    if not all(type(number) is int and number <= MOST_VERSION for number in versions):
        raise _refused("has a version or length that is none", repository, role)
    if not all(isinstance(name, str) for name in names):
        raise _refused("delegates to a role whose name is none", repository, role)


def _refused(what: str, repository: str, role: str) -> UptaneError:
    return UptaneError(
        Kind.BAD_METADATA, f"{what}; check who makes and who serves it", repository, role
    )
