"""A source on the network: any server of static files, or a container of blobs.

What is asked of the server is GET, with Range and If-Match (RFC 9110, 13.1.1 and 14.2) where a
file is read on.  What it answers is believed only as far as it can be bounded: redirects are not
followed, an encoding that was not asked for is refused, and `bordnetz.ota.rate` bounds bytes and
time from the first byte of the status line on.
"""

from __future__ import annotations

import http.client
import io
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    HTTPError,
    NameResolutionError,
    ProxyError,
    SSLError,
    TimeoutError,  # noqa: A004 - urllib3's, which is not derived from the built-in one
)
from urllib3.response import BaseHTTPResponse

from bordnetz.ota.address import Address, AddressError
from bordnetz.ota.rate import FLOOR, PATIENCE, Meter, Metered
from bordnetz.ota.source import (
    ChangedError,
    MissingError,
    NeedsUrlError,
    PayloadSource,
    RefusedError,
    Stream,
    UnreachableError,
    endless,
)

CONNECT = 20.0
"""Seconds that a connection may take, TLS included."""

GAP = 30.0
"""Seconds that may pass between two bytes."""

_HEAD = 64 << 10
"""Bytes that status line and headers may have."""

_PIECE = 256 << 10

_BUFFER = 256 << 10
"""Bytes that the kernel is to take in ahead of us; it takes twice as many where they are packed
well.  What has come and was not read comes again after a kill; left to itself, the kernel takes
megabytes.  Even with half of it 20 Mbit/s come from a server that is 50 ms away."""

_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")

_TAG = re.compile(r'"[\x21\x23-\x7e]{0,254}"')
"""A strong one (RFC 9110, 8.8.3); a weak one does not tell bytes apart."""

# It writes paths and queries, with every request and with whatever it finds odd; what goes wrong
# comes as an exception.
for _part in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_part}").addFilter(lambda record: record.levelno > logging.WARNING)


class HttpSource(PayloadSource):
    """Files below a base URL.  One thread at a time; close it, or use it in a ``with``."""

    def __init__(
        self,
        base: str | Address,
        *,
        proxy: str | None = None,
        ca: Path | None = None,
        plain: bool = False,
        connect: float = CONNECT,
        gap: float = GAP,
        floor: float = FLOOR,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name it; nothing is sent yet.

        Args:
            base: The URL below which the files lie.  It may have a query, as a shared access
                signature: names go before it.
            proxy: URL of an HTTP proxy, with user and password where it wants them; None: none.
            ca: Certificates (PEM) that are trusted instead of the system's.
            plain: Whether ``http`` is good enough.
            connect: Seconds that a connection may take.
            gap: Seconds that may pass between two bytes.
            floor: Bytes a second that must come on average.
            patience: Seconds that they may lag behind that.
            clock: Seconds, monotonic.

        Raises:
            AddressError: ``base`` or ``proxy`` is not the URL of one.
            UnreachableError: ``ca`` cannot be read.
        """
        self._address = base if isinstance(base, Address) else Address(base, plain=plain)
        self._meter = Meter(clock, floor, patience)
        timeout = urllib3.Timeout(connect=connect, read=gap)
        sockets = [
            *HTTPConnection.default_socket_options,
            (socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER),
        ]
        options: dict[str, Any] = {
            "timeout": timeout,
            "retries": False,
            "maxsize": 1,
            "socket_options": sockets,
        }
        if self._address.scheme == "https":
            options["ssl_context"] = _context(ca)
        self._manager = _manager(proxy, options)
        self._manager.pool_classes_by_scheme = _pools(self._meter)

    @property
    def received(self) -> int:
        """Bytes that have come so far, headers and framing included."""
        return self._meter.received

    def open(self, name: str, limit: int, offset: int = 0, tag: str = "") -> Stream:
        """Begin to read a file; see `PayloadSource.open`."""
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if _TAG.fullmatch(tag):
                headers["If-Match"] = tag
        where = f"{self._address}: {name}"
        url = self._address.root + self._address.target(name)
        try:
            response = self._manager.urlopen(
                "GET",
                url,
                headers=headers,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError, http.client.HTTPException) as error:
            # Not "from error": texts below this may quote the URL.
            raise UnreachableError(f"{where}: {_said(error)}") from None
        try:
            first, length = _accepted(where, response, offset)
            if length is not None and length > limit:
                raise endless(name, limit)
        except BaseException:
            response.close()
            raise
        # A chunked answer has framing, too; for one that is all framing this is not enough.
        rest = (limit if length is None else length) - first
        self._meter.allow(rest + rest // 4 + _HEAD)
        return _HttpStream(where, response, first, length, limit)

    def close(self) -> None:
        """Close the connection."""
        self._manager.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"HttpSource({self._address.root!r})"


class _HttpStream(Stream):
    def __init__(
        self,
        where: str,
        response: BaseHTTPResponse,
        offset: int,
        length: int | None,
        limit: int,
    ) -> None:
        tag = response.headers.get("ETag", "")
        self.offset = offset
        self.length = length
        self.tag = tag if _TAG.fullmatch(tag) else ""
        self._where = where
        self._response = response
        self._at = offset
        self._limit = limit

    def read(self, size: int) -> bytes:
        try:
            piece = self._response.read1(min(size, _PIECE), decode_content=False)
        except (HTTPError, OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{self._where}: {_said(error)}") from None
        self._at += len(piece)
        if self._at > self._limit:
            raise endless(self._where, self._limit)
        if size and not piece and self.length not in (None, self._at):
            raise UnreachableError(
                f"{self._where}: breaks off after {self._at} of {self.length} bytes; the rest is "
                "asked for again"
            )
        return piece

    def close(self) -> None:
        self._response.close()


def _accepted(where: str, response: BaseHTTPResponse, offset: int) -> tuple[int, int | None]:
    """What an answer brings: its first byte's offset, and the whole file's length."""
    status = response.status
    if status != 200 and not (offset and status == 206):
        raise _refusal(where, status, offset)
    headers = response.headers
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise RefusedError(
            f"{where}: is sent compressed, which was not asked for; turn that off for this folder"
        )
    length = _length(where, headers)
    if status == 200:
        return 0, length
    found = _RANGE.fullmatch(headers.get("Content-Range", ""))
    first, last, whole = map(int, found.groups()) if found else (-1, -1, -1)
    if first != offset or not first <= last < whole or length not in (None, last - first + 1):
        raise ChangedError(f"{where}: another part than the one from byte {offset} on was sent")
    return first, whole


def _length(where: str, headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length")
    if text is None or "Transfer-Encoding" in headers:
        return None
    if not re.fullmatch(r"\d{1,15}", text):
        raise RefusedError(f"{where}: comes with a length that is none; check the server")
    return int(text)


def _refusal(where: str, status: int, offset: int) -> Exception:
    if status in (404, 410):
        return MissingError(f"{where}: is not there ({status}); check that it was published")
    if status in (401, 403):
        return NeedsUrlError(f"{where}: is not given out ({status}); a new URL is needed")
    if offset and status in (412, 416):
        return ChangedError(f"{where}: is not the file that was begun ({status}); it starts again")
    if status >= 500 or status in (408, 425, 429):
        return UnreachableError(f"{where}: not now, says the server ({status}); try again later")
    if 300 <= status < 400:
        return RefusedError(
            f"{where}: the server sends to another place ({status}), which is not followed; give "
            "the URL of that place"
        )
    return RefusedError(f"{where}: the server refuses ({status}); check the URL")


_SAYINGS: tuple[tuple[type[Exception], str], ...] = (
    (ProxyError, "the proxy does not lead there; check it and what it allows"),
    (NameResolutionError, "the host's name is not known; check the URL and the network"),
    (
        SSLError,
        "there is no TLS with a trusted certificate; check time, URL and trusted certificates",
    ),
    (TimeoutError, "there is no answer in time; it is tried again"),
    (OSError, "the connection fails; it is tried again"),
)


def _said(error: Exception) -> str:
    for kind, saying in _SAYINGS:
        if isinstance(error, kind):
            return saying
    return "the connection breaks off; it is tried again"


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return _trusting(ca, 0 if ca is None else ca.stat().st_mtime_ns)
    except (OSError, ssl.SSLError) as error:
        raise UnreachableError(f"{ca}: no certificates can be read from it: {error}") from error


@lru_cache(2)
def _trusting(ca: Path | None, _version: int) -> ssl.SSLContext:
    """Kept, for reading the system's certificates takes as long as looking for an update."""
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _manager(proxy: str | None, options: Mapping[str, Any]) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(**options)
    try:
        parts = urllib3.util.parse_url(proxy)
        manager = urllib3.ProxyManager(
            f"{parts.scheme}://{parts.netloc}",
            proxy_headers=urllib3.make_headers(proxy_basic_auth=unquote(parts.auth or "") or None),
            **options,
        )
    except (HTTPError, ValueError):
        # Its text quotes the URL, which may have a password in it.
        raise AddressError("the proxy must be http://HOST:PORT; correct it") from None
    return manager


def _pools(meter: Meter) -> dict[str, Any]:
    """Pools of connections whose every byte is counted."""
    # Static, for otherwise Python 3.14 makes a method of what is called as a class is.
    # The checker is told to let it pass, for to it only a class will do.
    answer = staticmethod(partial(_Response, meter))

    class Plain(HTTPConnection):
        response_class = answer  # type: ignore[assignment]

    class Secure(HTTPSConnection):
        response_class = answer  # type: ignore[assignment]

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class _Response(http.client.HTTPResponse):
    """An answer that begins to be counted before its first byte is read."""

    def __init__(self, meter: Meter, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        meter.begin(_HEAD)
        self.fp = io.BufferedReader(Metered(self.fp.detach(), meter))
