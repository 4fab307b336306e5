"""A real server over HTTPS, which does what a test's faults have it do.

A fault is a function that gets the `Exchange` before it is sent and changes it.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from store_certificates import certificates

PIECE = 64 << 10


@dataclass
class Request:
    """What a client asked for."""

    target: str
    headers: dict[str, str]

    @property
    def start(self) -> int:
        """The first byte asked for."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])


@dataclass
class Exchange:
    """A request and the answer that will be sent; faults change the answer."""

    store: MisbehavingStore
    request: Request
    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Iterable[bytes] = ()
    keep: bool = True

    def send_from(self, start: int) -> None:
        self.body = pieces(self.content[start:])


Fault = Callable[[Exchange], None]


def pieces(data: bytes, size: int = PIECE) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


class MisbehavingStore:
    """Serves `files` by path (``/targets/name``), correctly where there is no fault.

    Attributes:
        files: What there is.
        key: The query without which there is 403; None: none is needed.
        tags: ETags that are not made from the content.
        faults: The first is for the next answer to a GET, and so on; None: none for that one.
        always: For every answer that has none of `faults`.
        requests: All that came.
        sent: Bytes of bodies that were sent.
    """

    def __init__(self, folder: Path, *, tls: bool = True) -> None:
        self.files: dict[str, bytes] = {}
        self.key: str | None = None
        self.tags: dict[str, str] = {}
        self.faults: list[Fault | None] = []
        self.always: Fault | None = None
        self.requests: list[Request] = []
        self.sent = 0
        self.stopped = threading.Event()
        self.ca = folder / "ca.pem"
        self._context = certificates(folder) if tls else None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.root = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def __enter__(self) -> MisbehavingStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def put(self, name: str, content: bytes) -> None:
        self.files[f"/targets/{name}"] = content

    @property
    def url(self) -> str:
        return f"{self.root}/targets" + (f"?{self.key}" if self.key else "")

    def starts(self) -> list[int]:
        """From which byte on each GET wanted it."""
        return [request.start for request in self.requests]

    def _listen(self) -> None:
        while not self.stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            # The kernel must not take in more than a car would see, or less is known than sent.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
            connection.settimeout(60)
            self._open.add(connection)
            try:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                    self._open.add(connection)
                with connection, connection.makefile("rb") as reader:
                    while (request := read_request(reader)) and self._answer(connection, request):
                        pass
            finally:
                self._open.discard(connection)

    def _answer(self, connection: socket.socket, request: Request) -> bool:
        self.requests.append(request)
        exchange = self._exchange(request)
        fault = self.faults.pop(0) if self.faults else self.always
        if fault is not None:
            fault(exchange)
        head = "".join(f"{name}: {value}\r\n" for name, value in exchange.headers.items())
        connection.sendall(f"HTTP/1.1 {exchange.status} X\r\n{head}\r\n".encode())
        for piece in exchange.body:
            connection.sendall(piece)
            self.sent += len(piece)
        return exchange.keep and not self.stopped.is_set()

    def _exchange(self, request: Request) -> Exchange:
        parts = urlsplit(request.target)
        content = self.files.get(unquote(parts.path))
        exchange = Exchange(self, request, content or b"")
        if self.key is not None and parts.query != self.key:
            exchange.status = 403
        elif content is None:
            exchange.status = 404
        if exchange.status != 200:
            exchange.headers = {"Content-Length": "0"}
            return exchange
        tag = self.tags.get(unquote(parts.path), f'"{hash(content) & 0xFFFFFFFF:x}"')
        start = request.start
        exchange.headers = {"ETag": tag, "Content-Length": str(len(exchange.content) - start)}
        if request.headers.get("if-match", tag) != tag:
            exchange.status, exchange.headers = 412, {"Content-Length": "0"}
            return exchange
        if "range" in request.headers:
            exchange.status = 206
            end = len(exchange.content)
            exchange.headers["Content-Range"] = f"bytes {start}-{end - 1}/{end}"
        exchange.send_from(start)
        return exchange


def read_request(reader) -> Request | None:
    line = reader.readline()
    if not line.strip():
        return None
    headers = {}
    while (text := reader.readline().strip()) != b"":
        name, _, value = text.decode().partition(":")
        headers[name.lower()] = value.strip()
    return Request(line.split()[1].decode(), headers)


# -- faults


def endless(exchange: Exchange) -> None:
    """Goes on and on, without a length."""
    del exchange.headers["Content-Length"]
    exchange.body = itertools.chain(exchange.body, itertools.repeat(bytes(PIECE)))
    exchange.keep = False


def drip(interval: float, after: int = 0, size: int = 1) -> Fault:
    """After so many bytes, one now and then."""

    def fault(exchange: Exchange) -> None:
        data = b"".join(exchange.body)

        def body() -> Iterator[bytes]:
            yield data[:after]
            for piece in pieces(data[after:], size):
                if exchange.store.stopped.wait(interval):
                    return
                yield piece

        exchange.body = body()

    return fault


def dripping_head(interval: float) -> Fault:
    """A header that does not end, slowly."""

    def fault(exchange: Exchange) -> None:
        def body() -> Iterator[bytes]:
            yield b"X: "
            while not exchange.store.stopped.wait(interval):
                yield b"x"

        # The empty line that ends the head comes after it, so the head must be sent as a body.
        exchange.status, exchange.headers = 100, {}
        exchange.body = itertools.chain([b"HTTP/1.1 200 X\r\n"], body())
        exchange.keep = False

    return fault


def endless_head(exchange: Exchange) -> None:
    """Headers that do not end, fast."""
    exchange.status, exchange.headers = 100, {}
    exchange.body = itertools.chain([b"HTTP/1.1 200 X\r\n"], itertools.repeat(b"x" * PIECE))
    exchange.keep = False


def stall(after: int) -> Fault:
    """Sends so many bytes, then nothing, and stays connected."""

    def fault(exchange: Exchange) -> None:
        data = b"".join(exchange.body)

        def body() -> Iterator[bytes]:
            yield data[:after]
            exchange.store.stopped.wait(60)

        exchange.body = body()
        exchange.keep = False

    return fault


def cut(after: int) -> Fault:
    """Breaks off after so many bytes."""

    def fault(exchange: Exchange) -> None:
        exchange.body = pieces(b"".join(exchange.body)[:after])
        exchange.keep = False

    return fault


def ignore_range(exchange: Exchange) -> None:
    """200 with everything, whatever was asked for."""
    exchange.status = 200
    exchange.headers["Content-Length"] = str(len(exchange.content))
    exchange.headers.pop("Content-Range", None)
    exchange.send_from(0)


def wrong_range(exchange: Exchange) -> None:
    """206, but of another part."""
    length = len(exchange.content)
    exchange.status = 206
    exchange.headers["Content-Range"] = f"bytes 1-{length - 1}/{length}"
    exchange.headers["Content-Length"] = str(length - 1)
    exchange.send_from(1)


def flip(at: int) -> Fault:
    """One bit of the file is wrong."""

    def fault(exchange: Exchange) -> None:
        data = bytearray(exchange.content)
        data[at] ^= 0x10
        exchange.content = bytes(data)
        exchange.send_from(exchange.request.start)

    return fault


def length(value: int) -> Fault:
    """A wrong Content-Length."""

    def fault(exchange: Exchange) -> None:
        exchange.headers["Content-Length"] = str(value)
        exchange.keep = False

    return fault


def status(code: int, **headers: str) -> Fault:
    """Another answer, without a body."""

    def fault(exchange: Exchange) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        exchange.status, exchange.headers = code, {"Content-Length": "0", **named}
        exchange.body = ()

    return fault


def header(name: str, value: str) -> Fault:
    """One header more, or another."""

    def fault(exchange: Exchange) -> None:
        exchange.headers[name] = value

    return fault


def chunked(size: int = PIECE, extension: bytes = b"", end: bool = True) -> Fault:
    """In chunks, which state no length."""

    def fault(exchange: Exchange) -> None:
        data = b"".join(exchange.body)
        del exchange.headers["Content-Length"]
        exchange.headers["Transfer-Encoding"] = "chunked"

        def body() -> Iterator[bytes]:
            for piece in pieces(data, size):
                yield b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
            if end:
                yield b"0\r\n\r\n"

        exchange.body = body()
        exchange.keep = end

    return fault
