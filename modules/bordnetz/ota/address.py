"""A base URL whose secrets nobody sees: a shared access signature is in its query."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, urlsplit

from bordnetz.errors import BordnetzError
from bordnetz.ota.source import segments

LONGEST = 4096
"""Characters, as of a string in a twin (IoT Hub)."""

_PLAIN = re.compile(r"[\x21-\x7e]*")


class AddressError(BordnetzError):
    """A URL cannot be used; the text does not repeat it, for it may open a store."""

    exit_code = 78


class Address:
    """A folder on a server, perhaps with a query that opens it.

    Neither `str` nor `repr` shows more than scheme, host and port: the query is a key, and the
    path may name the vehicle.

    Attributes:
        scheme: ``https`` or ``http``.
        host: Without brackets.
        port: Also where the URL leaves it to the scheme.
    """

    __slots__ = ("_path", "_query", "host", "port", "scheme")

    def __init__(self, url: str, *, plain: bool = False) -> None:
        """Take a URL apart.

        Args:
            url: Of the folder, as ``https://host/container/folder?sv=...&sig=...``.
            plain: Whether ``http`` is good enough; to this very machine it always is.

        Raises:
            AddressError: It is none, or not an address that is allowed.
        """
        if len(url) > LONGEST or not _PLAIN.fullmatch(url):
            raise AddressError(
                f"a URL has up to {LONGEST} characters, all of them printable ASCII and no space; "
                "percent-encode what is not"
            )
        try:
            parts = urlsplit(url)
            self.scheme = parts.scheme
            self.host = parts.hostname or ""
            self.port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            # Its text quotes the URL.
            raise AddressError("a URL has a host or port that is none; correct it") from None
        if self.scheme not in ("http", "https") or not self.host:
            raise AddressError("a URL must be https://HOST/...; correct it")
        if parts.username is not None or parts.password is not None:
            raise AddressError(
                "a URL must not have a user or password in it; use a shared access signature"
            )
        if parts.fragment or "\\" in url:
            raise AddressError("a URL must have neither '#' nor '\\' in it; correct it")
        if any(part in (".", "..") for part in parts.path.split("/")):
            raise AddressError("a URL must not have '.' or '..' as a part of its path; correct it")
        if self.scheme == "http" and not (plain or _loopback(self.host)):
            raise AddressError(
                f"http://{self.host} is not encrypted, so the store's key would be seen by all on "
                "the way; use https"
            )
        self._path = parts.path.rstrip("/")
        self._query = parts.query

    @property
    def root(self) -> str:
        """Scheme, host and port, as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def target(self, name: str) -> str:
        """What to ask the server for; secret as the query in it is.

        Args:
            name: Of a file in the folder, as it is called there; ``/`` parts segments.

        Raises:
            MissingError: No file can be called that.
        """
        path = "/".join([self._path, *(quote(part, safe="") for part in segments(name))])
        return f"{path}?{self._query}" if self._query else path

    def __str__(self) -> str:
        return self.root

    def __repr__(self) -> str:
        return f"Address({self.root!r})"


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
