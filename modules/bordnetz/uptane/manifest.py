"""What the car says is installed: ECU version reports in a vehicle version manifest.

Uptane Standard 2.1, "ECU version report" and "Vehicle version manifest".  Both are signed, in the
envelope of TUF metadata (``signed``, ``signatures`` with ``keyid`` and ``sig`` over canonical
JSON); signing method and hash are those of the key.  Each report names its ECU, what is installed
there with length and hashes, the attacks seen, the latest trusted time and a sequence number that
never comes twice.  The ECUs of a head unit are parts of the primary, and its key signs for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, StringConstraints, ValidationError, model_validator
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key, Signature, Signer

from bordnetz.uptane.custom import Counter, Length, Model, Name, Time
from bordnetz.uptane.errors import Kind, UptaneError

__all__ = [
    "MAX_BYTES",
    "Attack",
    "EcuReport",
    "Installed",
    "Manifest",
    "claimed",
    "make",
    "verify",
]

MAX_BYTES = 256 * 1024
"""Of a manifest: what a message to IoT Hub may take."""

MAX_ATTACKS = 16
"""In one list; the newest are kept."""

_M = TypeVar("_M", bound=Model)
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{1,32}$")]
_Algorithm = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")]
_Role = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,64}$")]
_Text = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,256}$")]
_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2,1024}$")]
_Sequence = Annotated[int, Field(ge=0, le=2**53)]


class Installed(Model):
    """An image, as the targets metadata names it, without its custom part.

    Attributes:
        name: Of the target.
        length: Bytes of the plain payload.
        hashes: Algorithm to hexadecimal digest of the plain payload.
        counter: Its release counter.
    """

    name: _Text
    length: Length
    hashes: Annotated[dict[_Algorithm, _Hex], Field(min_length=1, max_length=4)]
    counter: Counter


class Attack(Model):
    """An attack or a failure, without the content that showed it.

    Attributes:
        kind: A word of `bordnetz.uptane.errors.Kind`, or one of the engine's.
        repository: ``director``, ``image`` or "".
        role: Of the metadata concerned, or "".
        time: When it was seen.
    """

    kind: _Word
    repository: Literal["director", "image", ""] = ""
    role: _Role = ""
    time: Time


_Attacks = Annotated[list[Attack], Field(max_length=MAX_ATTACKS)]


class EcuReport(Model):
    """An ECU version report.

    Attributes:
        ecu: Its id.
        hardware_id: Of the ECU.
        installed: What is installed; None where that is not known by name.
        attacks: Seen by this ECU.
        time: The latest time that was verified.
        sequence: Grows with every report.
    """

    ecu: Name
    hardware_id: Name
    installed: Installed | None = None
    attacks: _Attacks = Field(default_factory=list)
    time: Time
    sequence: _Sequence


class Manifest(Model):
    """A vehicle version manifest.

    Attributes:
        vehicle_id: Of the vehicle.
        primary: Id of the primary.
        sequence: Grows with every manifest of this vehicle.
        time: The latest time that was verified.
        attacks: Seen by the primary, on metadata.
        ecus: The reports, each ECU once.
    """

    vehicle_id: Name
    primary: Name
    sequence: _Sequence
    time: Time
    attacks: _Attacks = Field(default_factory=list)
    ecus: Annotated[list[EcuReport], Field(max_length=256)]


class _Signature(Model):
    keyid: _Hex
    sig: _Hex


class _Envelope(Model):
    signatures: Annotated[list[_Signature], Field(min_length=1, max_length=8)]
    signed: dict[str, Any]


class _SignedReport(EcuReport):
    type: Annotated[Literal["ecuVersionReport"], Field(alias="_type")]


class _SignedManifest(Model):
    """A manifest as it is signed: its reports in envelopes of their own."""

    type: Annotated[Literal["vehicleVersionManifest"], Field(alias="_type")]
    vehicle_id: Name
    primary: Name
    sequence: _Sequence
    time: Time
    attacks: _Attacks
    ecus: Annotated[list[_Envelope], Field(max_length=256)]

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if any(len(report.signed) > 16 for report in self.ecus):
            raise ValueError("ecus: a report has more fields than there are")
        return self


def make(
    *,
    vehicle_id: str,
    primary: str,
    ecus: Sequence[EcuReport],
    time: int,
    sequence: int,
    signer: Signer,
    attacks: Sequence[Attack] = (),
) -> bytes:
    """Make and sign a vehicle version manifest.

    Args:
        vehicle_id: Of the vehicle.
        primary: Id of the primary.
        ecus: The reports; build them with the same ``time`` and ``sequence``.
        time: The latest time that was verified, seconds since 1970 UTC.
        sequence: Higher than that of every manifest before.
        signer: The primary's key.
        attacks: On metadata; the newest `MAX_ATTACKS` are told.

    Returns:
        The manifest, canonical JSON.

    Raises:
        SigningKeyError: The key cannot be used.
        UptaneError: It would be larger than `MAX_BYTES`.
    """
    signed = {
        "_type": "vehicleVersionManifest",
        "vehicleId": vehicle_id,
        "primary": primary,
        "sequence": sequence,
        "time": time,
        "attacks": [_plain(attack) for attack in list(attacks)[-MAX_ATTACKS:]],
        "ecus": [_sign({"_type": "ecuVersionReport", **_plain(ecu)}, signer) for ecu in ecus],
    }
    _SignedManifest.model_validate(signed)
    data = _canonical(_sign(signed, signer))
    if len(data) > MAX_BYTES:
        raise UptaneError(
            Kind.ENDLESS_DATA,
            f"manifest: {len(data)} bytes, more than the {MAX_BYTES} that a message may have; "
            "report fewer attacks, or shorter names",
        )
    return data


def claimed(data: bytes) -> tuple[str, int]:
    """Whose manifest it claims to be, and its sequence, before it is verified.

    By the first the keys for `verify` are found, by the second several are put in order.

    Raises:
        UptaneError: It is no manifest.
    """
    _, signed = _parse(data)
    return signed.vehicle_id, signed.sequence


def verify(data: bytes, keys: Sequence[Key]) -> Manifest:
    """Check a manifest's form and signatures.

    Args:
        data: The manifest.
        keys: Public keys of the vehicle; the manifest and each report must be signed by one.

    Returns:
        What it says.  Whether sequence, time and counters have grown, and whether the ECUs are
        the vehicle's, is for the caller to compare with what it knows.

    Raises:
        UptaneError: It is too large, malformed, not signed by the vehicle, or names an ECU twice.
    """
    envelope, signed = _parse(data)
    # All of it is bounded before any of it is looked at as what was signed.
    reports = [_model(_SignedReport, part.signed) for part in signed.ecus]
    _check(envelope, keys, "the manifest")
    for part, report in zip(signed.ecus, reports, strict=True):
        _check(part, keys, f"the report of ECU {report.ecu}")
    names = [report.ecu for report in reports]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UptaneError(
            Kind.REPEATED_ECU, f"manifest: ECU {repeated[0]} has two reports; it must have one"
        )
    return Manifest(
        vehicle_id=signed.vehicle_id,
        primary=signed.primary,
        sequence=signed.sequence,
        time=signed.time,
        attacks=signed.attacks,
        ecus=[EcuReport.model_validate(report.model_dump(exclude={"type"})) for report in reports],
    )


def _parse(data: bytes) -> tuple[_Envelope, _SignedManifest]:
    if len(data) > MAX_BYTES:
        raise UptaneError(Kind.ENDLESS_DATA, f"manifest: over {MAX_BYTES} bytes; none is so long")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise UptaneError(Kind.BAD_METADATA, "manifest: no JSON; was it cut?") from None
    envelope = _model(_Envelope, found)
    return envelope, _model(_SignedManifest, envelope.signed)


def _model(kind: type[_M], found: object) -> _M:
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(step) for step in detail["loc"])[:100]
        raise UptaneError(
            Kind.BAD_METADATA, f"manifest: {place or 'it'}: {detail['msg'][:200]}"
        ) from None


def _check(envelope: _Envelope, keys: Sequence[Key], what: str) -> None:
    data = _canonical(envelope.signed)
    for signature in envelope.signatures:
        for key in keys:
            if key.keyid == signature.keyid:
                try:
                    key.verify_signature(Signature(signature.keyid, signature.sig), data)
                except UnverifiedSignatureError:
                    continue
                return
    raise UptaneError(
        Kind.BAD_SIGNATURE, f"manifest: {what} is not signed by a key known for this vehicle"
    )


def _sign(signed: dict[str, Any], signer: Signer) -> dict[str, Any]:
    signature = signer.sign(_canonical(signed))
    return {
        "signatures": [{"keyid": signature.keyid, "sig": signature.signature}],
        "signed": signed,
    }


def _plain(model: Model) -> dict[str, Any]:
    plain: dict[str, Any] = model.model_dump(by_alias=True)
    return plain


def _canonical(content: dict[str, Any]) -> bytes:
    text = encode_canonical(content)
    assert text is not None  # noqa: S101 (only with an output function)
    return text.encode()
