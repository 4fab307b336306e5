"""The signed time, and what the system clock is worth beside it.

Uptane Standard 2.1, "Load and verify the latest attested time" and step 1 of "Full verification"
(the current or the most recent securely attested time).  Beside the director's metadata lies
``time.json``:

    {"signed": {"_type": "time", "time": 1790000000, "sequence": 17}, "signatures": [...]}

with ``time`` in seconds since 1970 UTC and ``sequence`` higher with each one made.  A time server
answers a question with the same, but for a ``nonce``, the question's, in place of the sequence.
Signed is the canonical JSON (as TUF's metadata), by one of the keys that the director's root
metadata names in its custom field ``timeKeys``.

Rules, in `TrustedTime`:

1. The newest verified time is the floor; neither it nor its sequence sinks.
2. A file's sequence shows that it is no older than the last file; an answer's nonce, that it was
   made after the question.  An answer changes no sequence, so files and answers may come in turn.
3. The system clock counts between the floor and the floor plus a cap, and nowhere else: one that
   is behind gives the floor, one that is further ahead gives floor plus cap, and both are told.
4. By the system clock, the floor must not be older than a given age where something is to be
   installed.  A clock that runs far ahead makes it look older than it is: then nothing is
   installed until the clock is right, which is the safe side.
5. Where a question was answered since the start, that answer and the time since then count, and
   the system clock does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
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
_SKEW = 60
"""Seconds that a system clock may be off beside an answer and still be called good."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Signed(_Model):
    type: Annotated[Literal["time"], Field(alias="_type")]
    time: Time
    sequence: Annotated[int, Field(ge=1, le=(1 << 53) - 1)] | None = None
    nonce: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.sequence is None) == (self.nonce is None):
            raise ValueError("a time has a sequence, or the nonce of the question that it answers")
        return self


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
        sequence: Of a file, higher with each one made; None: it is an answer.
        nonce: Of the question that it answers; None: it is a file.
    """

    time: int
    sequence: int | None = None
    nonce: str | None = None


def make_time(
    signer: Signer, time: int, sequence: int | None = None, nonce: str | None = None
) -> bytes:
    """Make a ``time.json``, or the answer to a question.

    Args:
        signer: Of one of the keys that the director's root metadata names for it.
        time: Seconds since 1970 UTC.
        sequence: Of a file: higher than that of the last one made, from 1.
        nonce: Of an answer: the question's, 1 to 128 letters, digits, ``-`` and ``_``.

    Raises:
        ValueError: It has neither or both of them, or a value that no vehicle takes.
    """
    signed: dict[str, str | int] = {"_type": "time", "time": time}
    if sequence is not None:
        signed["sequence"] = sequence
    if nonce is not None:
        signed["nonce"] = nonce
    _Signed.model_validate(signed)
    signature = signer.sign(_canonical(signed))
    # Without what a signer adds beside the signature: it is not signed.
    signatures = [{"keyid": signature.keyid, "sig": signature.signature}]
    return _canonical({"signed": signed, "signatures": signatures})


def verify_time(data: bytes, keys: Iterable[Key]) -> Attested:
    """Read a ``time.json``, or an answer.

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
        sequence: Of the newest verified file; 0: there was none yet.
    """

    time: int = 0
    sequence: int = 0

    def take(self, attested: Attested, nonce: str | None = None) -> TrustedTime:
        """The newest verified time with this one taken in.

        A file may be older than an answer that came before it, and an answer, of another clock,
        than a file: then the time stays what it was.

        Args:
            attested: A file, or the answer to a question.
            nonce: The question's; None: none was asked.

        Raises:
            UptaneError: A file is older than one that was verified before, or of the same sequence
                and later; an answer is to another question.
        """
        if nonce is not None:
            if attested.nonce != nonce:
                raise _rollback("does not answer the question that was asked; see what answers")
            return replace(self, time=max(self.time, attested.time))
        sequence = attested.sequence
        if sequence is None:
            raise _rollback("is the answer to a question of somebody's; publish a file")
        same = sequence == self.sequence and attested.time <= self.time
        if sequence <= self.sequence and not same:
            raise _rollback("an older time than one that was verified before; publish a new one")
        return TrustedTime(max(self.time, attested.time), sequence)

    def read(self, clock: int, limits: TimeLimits, known: int | None = None) -> Reading:
        """Read the system clock.

        Args:
            clock: What it says, seconds since 1970 UTC.
            limits: How far it is believed.
            known: What time it is by an answer and the time since; None: there was none.
        """
        if known is not None:
            now = max(known, self.time)
            ahead = clock - now
            word = Clock.AHEAD if ahead > 0 else Clock.BEHIND
            return Reading(now, word if abs(ahead) > _SKEW else Clock.GOOD, stale=False)
        stale = clock - self.time > limits.stale
        if clock < self.time:
            return Reading(self.time, Clock.BEHIND, stale)
        if clock > self.time + limits.cap:
            return Reading(self.time + limits.cap, Clock.AHEAD, stale)
        return Reading(clock, Clock.GOOD, stale)


def _rollback(text: str) -> UptaneError:
    return UptaneError(Kind.ROLLBACK, text, "director", "time")


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
