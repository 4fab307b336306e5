"""The signed time, and what the system clock is worth beside it.

Uptane Standard 2.1, "Load and verify the latest attested time" and step 1 of "Full verification"
(the current or the most recent securely attested time).  Beside the director's metadata lies
``time.json``:

    {"signed": {"_type": "time", "time": 1790000000, "sequence": 17}, "signatures": [...]}

with ``time`` in seconds since 1970 UTC, ``sequence`` higher with each one made, and a ``nonce``
where it answers a question.  Signed is the canonical JSON (as TUF's metadata), by one of the keys
that the director's root metadata names in its custom field ``timeKeys``.

Rules, in `TrustedTime`:

1. The newest verified time is the floor; neither it nor its sequence sinks.
2. The system clock counts between the floor and the floor plus a cap, and nowhere else: one that
   is behind gives the floor, one that is further ahead gives floor plus cap, and both are told.
3. By the system clock, the floor must not be older than a given age where something is to be
   installed.  A clock that runs far ahead makes it look older than it is: then nothing is
   installed until the clock is right, which is the safe side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key, Signature, Signer

from bordnetz.uptane.custom import Time
from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.parse import read_json

__all__ = [
    "LIMIT",
    "Attested",
    "Clock",
    "Reading",
    "TimeLimits",
    "TrustedTime",
    "make_time",
    "verify_time",
]

LIMIT = 16 * 1024
"""Bytes of ``time.json``."""

_DAY = 86_400


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Signed(_Model):
    type: Annotated[Literal["time"], Field(alias="_type")]
    time: Time
    sequence: Annotated[int, Field(ge=1, le=(1 << 53) - 1)]
    nonce: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = None


class _Signature(_Model):
    keyid: Annotated[str, StringConstraints(max_length=128)]
    sig: Annotated[str, StringConstraints(max_length=8192)]


class _File(_Model):
    signed: _Signed
    signatures: Annotated[list[_Signature], Field(max_length=16)]


@dataclass(frozen=True, slots=True)
class Attested:
    """A time that one of the time keys vouches for.

    Attributes:
        time: Seconds since 1970 UTC.
        sequence: Higher with each one made.
        nonce: Of the question that it answers; None: it answers none.
    """

    time: int
    sequence: int
    nonce: str | None = None


def make_time(signer: Signer, time: int, sequence: int, nonce: str | None = None) -> bytes:
    """Make a ``time.json``.

    Args:
        signer: Of one of the keys that the director's root metadata names for it.
        time: Seconds since 1970 UTC.
        sequence: Higher than that of the last one made, from 1.
        nonce: Of the question that it answers.
    """
    signed: dict[str, str | int] = {"_type": "time", "time": time, "sequence": sequence}
    if nonce is not None:
        signed["nonce"] = nonce
    _Signed.model_validate(signed)
    signature = signer.sign(_canonical(signed))
    # Without what a signer adds beside the signature: it is not signed.
    signatures = [{"keyid": signature.keyid, "sig": signature.signature}]
    return _canonical({"signed": signed, "signatures": signatures})


def verify_time(data: bytes, keys: Iterable[Key]) -> Attested:
    """Read a ``time.json``.

    Args:
        data: The file.
        keys: Of which one must have signed it.

    Raises:
        UptaneError: It cannot be read, or none of them has.
    """
    raw = read_json(data, LIMIT, "director", "time")
    try:
        file = _File.model_validate(raw)
        payload = _canonical(raw["signed"])
    except (ValidationError, UnicodeEncodeError):
        text = "is no time of the form used here; check who makes it"
        raise UptaneError(Kind.BAD_METADATA, text, "director", "time") from None
    signatures = {one.keyid: Signature(one.keyid, one.sig) for one in file.signatures}
    for key in keys:
        if key.keyid in signatures and _signed_by(key, signatures[key.keyid], payload):
            return Attested(file.signed.time, file.signed.sequence, file.signed.nonce)
    raise UptaneError(
        Kind.BAD_SIGNATURE,
        "signed by none of the keys that the director's root metadata names for the time; sign it "
        "with one of them",
        "director",
        "time",
    )


class Clock(StrEnum):
    """What the system clock is worth; the words of reports."""

    GOOD = "good"
    BEHIND = "behind"
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How far time is believed without a new signature.

    Attributes:
        cap: So many seconds beyond the newest verified time the system clock counts.
        stale: So many seconds old the newest verified time may be where something is installed.
    """

    cap: int = 30 * _DAY
    stale: int = 60 * _DAY


@dataclass(frozen=True, slots=True)
class Reading:
    """What time it is, as far as that can be known.

    Attributes:
        now: Seconds since 1970 UTC; what expiry is judged by.
        clock: What the system clock was worth.
        stale: The newest verified time is too old to install anything.
    """

    now: int
    clock: Clock
    stale: bool


@dataclass(frozen=True, slots=True)
class TrustedTime:
    """The newest verified time, the floor of all others.

    Attributes:
        time: Seconds since 1970 UTC.
        sequence: Its sequence; 0: no time was ever verified.
    """

    time: int = 0
    sequence: int = 0

    def take(self, attested: Attested) -> TrustedTime:
        """The newest verified time with this one taken in.

        Raises:
            UptaneError: It is older than one that was verified before, or of the same sequence
                and yet another.
        """
        new = TrustedTime(attested.time, attested.sequence)
        if new != self and (new.sequence <= self.sequence or new.time < self.time):
            raise UptaneError(
                Kind.ROLLBACK,
                "an older time than one that was verified before; publish a new one",
                "director",
                "time",
            )
        return new

    def read(self, clock: int, limits: TimeLimits) -> Reading:
        """Read the system clock.

        Args:
            clock: What it says, seconds since 1970 UTC.
            limits: How far it is believed.
        """
        stale = clock - self.time > limits.stale
        if clock < self.time:
            return Reading(self.time, Clock.BEHIND, stale)
        if clock > self.time + limits.cap:
            return Reading(self.time + limits.cap, Clock.AHEAD, stale)
        return Reading(clock, Clock.GOOD, stale)


def _signed_by(key: Key, signature: Signature, payload: bytes) -> bool:
    try:
        key.verify_signature(signature, payload)
    except UnverifiedSignatureError:
        return False
    return True


def _canonical(value: Mapping[str, object]) -> bytes:
    text = encode_canonical(dict(value))
    if text is None:
        raise ValueError("canonical JSON was written elsewhere")
    return text.encode()
