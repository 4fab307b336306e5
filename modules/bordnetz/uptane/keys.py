"""Signing keys: files that hold one, and keys that never leave their hardware (PKCS#11).

A key is named by one word.  ``keys/targets.pem`` is a file: an Ed25519 key in PKCS#8 and PEM,
unencrypted, which nobody but its owner may read.  ``pkcs11:...`` is a key on a token (RFC 7512):

    pkcs11:token=fleet;id=%02?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/pin

``token`` and ``id`` say which (an elliptic curve key, P-256 or P-384), ``module-path`` is the
vendor's library (without it: the environment variable PYKCS11LIB), ``pin-source`` a file with the
PIN (without it: the environment variable BORDNETZ_PIN).  A PIN never stands in the name itself.

This is the one file of this room that reads and writes files, for that is where keys lie.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner, HSMSigner, Key, Signature, Signer, SSlibKey

from bordnetz.errors import BordnetzError

__all__ = ["PIN_VARIABLE", "SigningKeyError", "generate", "is_token", "load", "public_key"]

PIN_VARIABLE = "BORDNETZ_PIN"
_MODULE_VARIABLE = "PYKCS11LIB"
"""Where securesystemslib's HSMSigner looks for the library."""

_SCHEME = "pkcs11:"
_MOST_BYTES = 16 * 1024
_MOST_PIN = 256
_SCHEMES = {
    "ed25519": ("ed25519",),
    "ecdsa": ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384"),
}


class SigningKeyError(BordnetzError):
    """A key cannot be made, read or used; the text says what to do, and nothing of the key."""


def is_token(name: str) -> bool:
    """Whether a name is that of a key on a token, not of a file."""
    return name.startswith(_SCHEME)


def generate(path: Path) -> Signer:
    """Make a new Ed25519 key in a new file that only its owner may read.

    Raises:
        SigningKeyError: There is a file already, or the disk does not take one.
    """
    signer = CryptoSigner.generate_ed25519()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(signer.private_bytes)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise SigningKeyError(
            f"{path}: there is a file already; a key is never overwritten, name another file"
        ) from None
    except OSError as error:
        raise SigningKeyError(f"{path}: the key cannot be written: {error.strerror}") from error
    return signer


def load(name: str, folder: Path = Path(), environment: Mapping[str, str] = os.environ) -> Signer:
    """A key, ready to sign.

    Args:
        name: Of the key, as above.
        folder: What the path of a file is relative to.
        environment: Where the PIN and the library of a token may be named.

    Raises:
        SigningKeyError: There is no such key, it may be read by others, or it is of a kind that
            is not supported.
    """
    if is_token(name):
        return _TokenSigner(_Token.parse(name, environment))
    return _from_file(folder / name)


def public_key(text: str) -> SSlibKey:
    """A public key in any of the three forms in which it may be handed over.

    Args:
        text: 64 hexadecimal digits (Ed25519), PEM (Ed25519, P-256 or P-384), or the JSON object
            of TUF metadata with ``keytype``, ``scheme`` and ``keyval``.

    Raises:
        SigningKeyError: It is none of them.
    """
    text = text.strip()
    if len(text) > _MOST_BYTES:
        raise SigningKeyError(f"a public key takes no {len(text)} characters")
    try:
        if re.fullmatch("[0-9a-fA-F]{64}", text):
            return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(text)))
        if text.startswith("{"):
            return _from_json(text)
        key = SSlibKey.from_crypto(load_pem_public_key(text.encode()))
    except (ValueError, TypeError, KeyError, RecursionError, UnsupportedAlgorithm):
        key = None
    if key is None or key.scheme not in _SCHEMES.get(key.keytype, ()):
        raise SigningKeyError(
            "no public key of a kind in use here: give 64 hexadecimal digits (Ed25519), PEM "
            "(Ed25519, P-256 or P-384), or a key of TUF metadata as JSON"
        )
    return key


def _from_json(text: str) -> SSlibKey:
    """From TUF's form; its id is computed, never believed."""
    found = json.loads(text)
    keytype, scheme, public = found["keytype"], found["scheme"], found["keyval"]["public"]
    if not isinstance(public, str):
        raise TypeError
    if keytype == "ed25519":
        key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    else:
        key = SSlibKey.from_crypto(load_pem_public_key(public.encode()))
    if (key.keytype, key.scheme) != (keytype, scheme):
        raise ValueError
    return key


def _from_file(path: Path) -> Signer:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SigningKeyError(f"{path}: no file; a key is a file or starts with {_SCHEME}")
            if status.st_mode & 0o077:
                raise SigningKeyError(
                    f"{path}: others than its owner may read this key (mode "
                    f"{stat.S_IMODE(status.st_mode):04o}); once you know that nobody has: "
                    f"chmod 600 {path}"
                )
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise SigningKeyError(
            f"{path}: there is no such key file; is its medium in place?"
        ) from None
    except OSError as error:
        raise SigningKeyError(f"{path}: the key cannot be read: {error.strerror}") from error
    try:
        key = load_pem_private_key(content[:_MOST_BYTES], None)
    except TypeError:
        raise SigningKeyError(
            f"{path}: the key is encrypted; keys in files are not, keep it on a token instead"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(
            f"{path}: no private Ed25519 key in PKCS#8 and PEM; make one with: "
            f"openssl genpkey -algorithm ed25519 -out {path}"
        )
    return _FileSigner(key)


class _FileSigner(Signer):
    """Ed25519 and nothing beside it: a fleet takes three signatures a vehicle."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._sign = key.sign
        self._public_key = SSlibKey.from_crypto(key.public_key())

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None
    ) -> Signer:
        """Not by securesystemslib's table of schemes: `load` makes these."""
        raise NotImplementedError("use bordnetz.uptane.keys.load")

    @property
    def public_key(self) -> Key:
        """Its public part."""
        return self._public_key

    def sign(self, payload: bytes) -> Signature:
        """Sign."""
        return Signature(self._public_key.keyid, self._sign(payload).hex())


@dataclass(frozen=True)
class _Token:
    """Where a key on a token is, and how to get at it."""

    label: str
    key: int
    module: str
    pin_file: str | None
    environment: Mapping[str, str]

    @classmethod
    def parse(cls, name: str, environment: Mapping[str, str]) -> _Token:
        """From a PKCS#11 URI (RFC 7512)."""
        path, _, query = name.removeprefix(_SCHEME).partition("?")
        here = _attributes(path, ";", ("token", "id"))
        there = _attributes(query, "&", ("module-path", "pin-source"))
        if "token" not in here or not here.get("id"):
            raise SigningKeyError(
                "pkcs11: token and id must be given, as in pkcs11:token=fleet;id=%02"
            )
        if here["id"][:1] == b"\0" or len(here["id"]) > 8:
            raise SigningKeyError("pkcs11: id must be 1 to 8 bytes, of which the first is not %00")
        module = there.get("module-path", b"").decode() or environment.get(_MODULE_VARIABLE, "")
        if not module:
            raise SigningKeyError(
                "pkcs11: module-path must name the library of the token's vendor, as in "
                f"?module-path=/usr/lib/softhsm/libsofthsm2.so; or set {_MODULE_VARIABLE}"
            )
        source = there.get("pin-source", b"").decode() or None
        if source is not None and not source.startswith("file:/"):
            raise SigningKeyError("pkcs11: pin-source must be file: and an absolute path")
        return cls(
            here["token"].decode(),
            int.from_bytes(here["id"], "big"),
            module,
            source and source.removeprefix("file:"),
            environment,
        )

    def pin(self, secret: str) -> str:
        """Read it, anew for every use."""
        del secret
        if self.pin_file is None:
            pin = self.environment.get(PIN_VARIABLE)
            if not pin:
                raise SigningKeyError(
                    f"pkcs11: token {self.label!r} asks for its PIN; set {PIN_VARIABLE}, or name "
                    "a file with &pin-source=file:/PATH"
                )
            return pin
        try:
            with Path(self.pin_file).open("rb") as file:
                return file.read(_MOST_PIN).decode().strip()
        except (OSError, UnicodeDecodeError):
            raise SigningKeyError(
                f"{self.pin_file}: the PIN of token {self.label!r} cannot be read from there"
            ) from None

    @property
    def where(self) -> str:
        """For texts."""
        return f"pkcs11: token {self.label!r}, key {self.key}"


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        key, sign, value = part.partition("=")
        if key == "pin-value":
            raise SigningKeyError(
                "pkcs11: a PIN in the name would be seen by others; set "
                f"{PIN_VARIABLE}, or name a file with pin-source=file:/PATH"
            )
        if key not in known or not sign or key in found:
            raise SigningKeyError(
                f"pkcs11: {key!r} cannot be used; known are token and id, and behind a '?' "
                "module-path and pin-source, each once"
            )
        found[key] = unquote_to_bytes(value)
        if key != "id":
            try:
                found[key].decode()
            except UnicodeDecodeError:
                raise SigningKeyError(f"pkcs11: {key} must be UTF-8") from None
    return found


class _TokenSigner(Signer):
    """securesystemslib's signer for tokens, with errors that an operator understands."""

    def __init__(self, token: _Token) -> None:
        self._token = token
        with _Errors(token):
            # The label goes through a URI of securesystemslib's, which quotes it.
            _, key = HSMSigner.import_(token.key, token.label, token.pin)
            uri = f"{HSMSigner.SCHEME}:{token.key}?{urlencode({'label': token.label})}"
            self._signer = HSMSigner.from_priv_key_uri(uri, key, token.pin)

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None
    ) -> Signer:
        """Not by securesystemslib's table of schemes: `load` makes these."""
        raise NotImplementedError("use bordnetz.uptane.keys.load")

    @property
    def public_key(self) -> Key:
        """Its public part."""
        return self._signer.public_key

    def sign(self, payload: bytes) -> Signature:
        """Sign on the token.

        Raises:
            SigningKeyError: The token does not do it.
        """
        with _Errors(self._token):
            return self._signer.sign(payload)


class _Errors:
    """What goes wrong with a token within this block becomes a SigningKeyError."""

    def __init__(self, token: _Token) -> None:
        self._token = token

    def __enter__(self) -> None:
        # The one place where HSMSigner takes the library from.
        os.environ[_MODULE_VARIABLE] = self._token.module

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, SigningKeyError):
            return
        where = self._token.where
        if isinstance(error, (UnsupportedLibraryError, ModuleNotFoundError)):
            raise SigningKeyError(
                f"{where}: keys on tokens need the package python-pkcs11; install bordnetz[hsm]"
            ) from None
        if isinstance(error, ValueError):  # what HSMSigner says, without secrets
            raise SigningKeyError(
                f"{where}: {error}; `pkcs11-tool --module {self._token.module} -O` lists what "
                "there is"
            ) from None
        if isinstance(error, (RuntimeError, OSError)) or type(error).__module__.startswith(
            "pkcs11"
        ):
            raise SigningKeyError(
                f"{where}: the token refuses ({type(error).__name__}); is it in place, its "
                "library the right one, its PIN correct and not locked?"
            ) from None
