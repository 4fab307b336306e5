"""The store itself: GET and HEAD of the files of one folder, as blob storage answers them.

Ranges (RFC 9110, 14), a strong ETag of each file, ``If-Match`` and ``If-Range``; requests need a
signed query (`Access`).  One thread a connection; loopback only.
"""

from __future__ import annotations

import io
import os
import re
import ssl
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from bordnetz.laptop.store.access import Access
from bordnetz.laptop.store.clock import FOLDER, TimeServer
from bordnetz.laptop.store.faults import Fault

_CHUNK = 1 << 18
_PATIENCE = 60.0
"""Seconds that a connection may be silent."""
_DRIP = 1.0
"""Seconds between two bytes of the fault ``slow``."""


class Store(ThreadingHTTPServer):
    """Serves a folder until it is shut down.

    Args:
        folder: What is served.
        access: Who may read.
        context: TLS, server side.
        address: Loopback address.
        port: 0 takes a free one.
        faults: What to do wrong.
        clock: Answers what is asked below `FOLDER`; None: nothing is there.
    """

    daemon_threads = True

    def __init__(
        self,
        folder: Path,
        access: Access,
        context: ssl.SSLContext,
        address: str = "127.0.0.1",
        port: int = 0,
        faults: Sequence[Fault] = (),
        clock: TimeServer | None = None,
    ) -> None:
        super().__init__((address, port), _Handler)
        self.folder = folder.resolve()
        self.access = access
        self.faults = tuple(faults)
        self.context = context
        self.clock = clock

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; the handshake is left to its thread."""
        plain, address = super().get_request()
        plain.settimeout(_PATIENCE)
        return self.context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        ), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away as they like."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: a request's line has a signature in it."""

    def _answer(self, *, body: bool) -> None:
        parts = urlsplit(self.path)
        if not self.server.access.allows(dict(parse_qsl(parts.query)), time.time()):
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        path = unquote(parts.path).lstrip("/")
        fault = next((one.kind for one in self.server.faults if one.strikes(path)), "")
        if fault in ("forbid", "lose"):
            self._refuse(HTTPStatus.FORBIDDEN if fault == "forbid" else HTTPStatus.NOT_FOUND)
            return
        if self.server.clock is not None and path.startswith(FOLDER):
            self._tell(self.server.clock.answer(path.removeprefix(FOLDER)), fault, body=body)
            return
        file = (self.server.folder / path).resolve()
        if not file.is_relative_to(self.server.folder) or not file.is_file():
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            self._send(opened, status.st_size, tag, fault, body=body)

    def _tell(self, answer: bytes | None, fault: str, *, body: bool) -> None:
        if answer is None:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        with io.BytesIO(answer) as file:
            self._send(file, len(answer), '"time"', fault, body=body)

    def _send(self, file: Any, size: int, tag: str, fault: str, *, body: bool) -> None:
        wanted = self.headers.get("If-Match")
        if wanted not in (None, "*", tag):
            self._refuse(HTTPStatus.PRECONDITION_FAILED)
            return
        start, end = 0, size
        given = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", self.headers.get("Range", ""))
        partial = given is not None and self.headers.get("If-Range") in (None, tag)
        if given is not None and partial:
            start = int(given[1])
            end = min(int(given[2]) + 1, size) if given[2] else size
            if start >= size or start >= end:
                self._refuse(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, ("Content-Range", f"bytes */{size}")
                )
                return
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("ETag", tag)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        if fault in ("endless", "slow"):
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if body:
            file.seek(start)
            self._stream(file, end - start, fault)

    def _stream(self, file: Any, length: int, fault: str) -> None:
        if fault == "endless":
            while True:
                self.wfile.write(bytes(_CHUNK))
        if fault == "drop":
            self.wfile.write(file.read(length // 2))
            self.close_connection = True
            return
        flip = length // 2 if fault == "flip" else -1
        while length > 0 and (chunk := file.read(min(length, 1 if fault == "slow" else _CHUNK))):
            length -= len(chunk)
            if 0 <= flip < len(chunk):
                chunk = chunk[:flip] + bytes([chunk[flip] ^ 1]) + chunk[flip + 1 :]
            flip -= len(chunk)
            self.wfile.write(chunk)
            if fault == "slow":
                time.sleep(_DRIP)

    def _refuse(self, status: HTTPStatus, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()
