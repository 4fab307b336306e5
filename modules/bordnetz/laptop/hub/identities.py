"""Who the modules are: a key and a generation for each, drawn at first sight and kept."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub import sas
from bordnetz.laptop.hub.mqtt import Connect, ConnectCode
from bordnetz.laptop.hub.topics import Address

HUB = "hub.bordnetz.invalid"
"""The IoT Hub that the stand-in claims to belong to; nobody resolves this name (RFC 2606)."""

DEVICE = "vehicle"


class IdentityError(BordnetzError):
    """A module that is not deployed, or a key file that cannot be used."""


class RefusedError(BordnetzError):
    """A connection attempt that is not accepted.

    Attributes:
        code: CONNACK return code.
    """

    def __init__(self, code: ConnectCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Identity:
    """A module's identity; the key never leaves the hub."""

    address: Address
    generation: str
    key: bytes = field(repr=False)

    @property
    def audience(self) -> str:
        """What the module's shared access signatures are made for."""
        return f"{HUB}/devices/{self.address.device}/modules/{self.address.module}"


class Identities:
    """The identities of the deployed modules."""

    def __init__(self, path: Path, modules: Iterable[str]) -> None:
        """Loads the key file and draws what is missing in it.

        Raises:
            IdentityError: The file is unusable.
        """
        kept = _load(path)
        drawn = dict(kept)
        for module in modules:
            drawn.setdefault(module, (secrets.token_hex(8), secrets.token_bytes(32)))
        if drawn != kept:
            _save(path, drawn)
        self._identities = {
            module: Identity(Address(DEVICE, module), *drawn[module]) for module in modules
        }

    def __getitem__(self, module: str) -> Identity:
        try:
            return self._identities[module]
        except KeyError:
            known = ", ".join(self._identities) or "none"
            raise IdentityError(
                f"module '{module}' is not in the manifest; there are: {known}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._identities)

    def __contains__(self, module: str) -> bool:
        return module in self._identities

    def authenticate(self, connect: Connect, now: float) -> str:
        """Who a CONNECT comes from.

        Args:
            connect: The packet.
            now: Seconds since the Unix epoch.

        Returns:
            The module's name.

        Raises:
            RefusedError: With the return code and what is wrong.
        """
        if connect.level != 4:
            raise RefusedError(ConnectCode.BAD_PROTOCOL_LEVEL, "not MQTT 3.1.1")
        host, device, module, query = _split_username(connect.username or "")
        if connect.client_id != f"{device}/{module}":
            raise RefusedError(ConnectCode.BAD_CLIENT_ID, "client id and user name disagree")
        if host != HUB or device != DEVICE or module not in self._identities:
            raise RefusedError(ConnectCode.NOT_AUTHORISED, f"no module {device}/{module} in {host}")
        if "api-version" not in parse_qs(query):
            raise RefusedError(ConnectCode.BAD_CREDENTIALS, "user name without an api-version")
        identity = self._identities[module]
        try:
            token = (connect.password or b"").decode()
            sas.check(token, identity.audience, identity.key, now)
        except UnicodeDecodeError:
            raise RefusedError(ConnectCode.BAD_CREDENTIALS, "password that is not text") from None
        except sas.SasError as error:
            raise RefusedError(ConnectCode.NOT_AUTHORISED, str(error)) from error
        return module


def _split_username(username: str) -> tuple[str, str, str, str]:
    host, device, module, query = (*username.split("/", 3), "", "", "", "")[:4]
    if not module or not query.startswith("?"):
        raise RefusedError(
            ConnectCode.BAD_CREDENTIALS,
            "user name is not {hub}/{device}/{module}/?api-version=...",
        )
    return host, device, module, query[1:]


def _load(path: Path) -> dict[str, tuple[str, bytes]]:
    try:
        kept = json.loads(path.read_text())
        return {
            module: (entry["generation"], base64.b64decode(entry["key"]))
            for module, entry in kept.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IdentityError(f"{path}: unusable ({error}); delete it to draw new keys") from error


def _save(path: Path, drawn: dict[str, tuple[str, bytes]]) -> None:
    entries = {
        module: {"generation": generation, "key": base64.b64encode(key).decode()}
        for module, (generation, key) in drawn.items()
    }
    unfinished = path.with_name(path.name + ".unfinished")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(entries, file, indent=2)
    unfinished.replace(path)
