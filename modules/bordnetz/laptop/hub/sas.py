"""Shared access signatures: how a module proves to the hub who it is.

A token names its audience (``sr``), its expiry (``se``) and an HMAC-SHA256 over both (``sig``),
made with the module's key (IoT Hub documentation, "Control access with shared access signatures").
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from urllib.parse import unquote

from bordnetz.errors import BordnetzError

_PREFIX = "SharedAccessSignature "


class SasError(BordnetzError):
    """A token that does not prove its bearer's identity; the text says which part is wrong."""


def sign(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256, 32 bytes."""
    return hmac.digest(key, data, hashlib.sha256)


def check(token: str, audience: str, key: bytes, now: float) -> None:
    """Accepts a token or says what is wrong with it.

    Args:
        token: ``SharedAccessSignature sr=...&sig=...&se=...``, fields in any order.
        audience: What ``sr`` has to be, not encoded: ``{hub}/devices/{device}/modules/{module}``.
        key: The module's key.
        now: Seconds since the Unix epoch.

    Raises:
        SasError: Malformed, for somebody else, expired, or signed with another key.
    """
    if not token.startswith(_PREFIX):
        raise SasError("password is not a shared access signature")
    parts = (part.partition("=") for part in token.removeprefix(_PREFIX).split("&"))
    fields = {name: value for name, found, value in parts if found}
    try:
        resource, signature, expiry = fields["sr"], fields["sig"], fields["se"]
    except KeyError as missing:
        raise SasError(f"shared access signature without {missing}") from None
    if unquote(resource) != audience:
        raise SasError("shared access signature for another audience")
    if not (expiry.isascii() and expiry.isdigit() and len(expiry) <= 12):
        raise SasError("shared access signature whose expiry is not a number of seconds")
    if int(expiry) <= now:
        raise SasError("shared access signature has expired; is the clock of one side wrong?")
    try:
        given = base64.b64decode(unquote(signature), validate=True)
    except (binascii.Error, ValueError):
        raise SasError("shared access signature that is not base64") from None
    # The signature covers the audience as it was written, still encoded.
    if not hmac.compare_digest(given, sign(key, f"{resource}\n{expiry}".encode())):
        raise SasError("shared access signature made with another key")
