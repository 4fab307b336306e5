"""Counters and their page: ``/metrics`` as Prometheus reads it, ``/health`` for the container.

Every stage of the data's way counts with the same three names, so that one line of a dashboard
fits all of them::

    bordnetz_<stage>_received_total   what came in
    bordnetz_<stage>_sent_total       what it handed on, done with its part
    bordnetz_<stage>_dropped_total    what went nowhere, by ``reason``

What was handed on may be lost further on, and is counted there; ``outbox`` and ``hub`` alone count
what the hub has acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

log = logging.getLogger(__name__)

_PREFIX = "bordnetz_"
_REQUEST = 4096
_PATIENCE = 5.0
_VISITORS = 8


class Stage:
    """The counters of one stage.

    Where the stage was made with further labels, their values follow the count.
    """

    def __init__(
        self, registry: CollectorRegistry, name: str, what: str, labels: tuple[str, ...]
    ) -> None:
        def counter(verb: str, text: str, *more: str) -> Counter:
            names = (*labels, *more)
            return Counter(f"{_PREFIX}{name}_{verb}", f"{what}: {text}", names, registry=registry)

        self._received = counter("received", "came in")
        self._sent = counter("sent", "went on")
        self._dropped = counter("dropped", "went nowhere", "reason")
        self._labels = labels

    def received(self, count: int = 1, *labels: str) -> None:
        """So many came in."""
        (self._received.labels(*labels) if labels else self._received).inc(count)

    def sent(self, count: int = 1, *labels: str) -> None:
        """So many went on."""
        (self._sent.labels(*labels) if labels else self._sent).inc(count)

    def dropped(self, reason: str, count: int = 1, *labels: str) -> None:
        """So many went nowhere."""
        self._dropped.labels(*labels, reason).inc(count)


class Metrics:
    """The counters of one module, all names beginning with ``bordnetz_``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def stage(self, name: str, what: str, *labels: str) -> Stage:
        """A stage's three counters; ``what`` says what is counted."""
        return Stage(self.registry, name, what, labels)

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Any other counter; its name gets the ending ``_total``."""
        return Counter(_PREFIX + name, text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A value that is read whenever somebody looks."""
        Gauge(_PREFIX + name, text, registry=self.registry).set_function(read)

    def page(self) -> bytes:
        """Everything in Prometheus' text form."""
        return generate_latest(self.registry)


class MetricsServer:
    """A very small HTTP server: GET ``/metrics`` and ``/health``, one answer a connection.

    It runs on the module's event loop, so that an answer from ``/health`` shows the loop alive.
    """

    def __init__(
        self, metrics: Metrics, health: Callable[[], Mapping[str, Any]], host: str, port: int
    ) -> None:
        """Prepare; it listens with ``async with``.

        Args:
            metrics: Shown at ``/metrics``.
            health: What ``/health`` shows, as JSON.
            host: Address to listen at.
            port: 0 takes a free one, which is then in `address`.
        """
        self._metrics = metrics
        self._health = health
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._visitors: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens at."""
        if self._server is None:
            return self._host, self._port
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, limit=_REQUEST
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for visitor in self._visitors:
            visitor.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._visitors.add(writer)
        try:
            # Who is slow, chatty or one of too many is cut off: this is an open door.
            if len(self._visitors) <= _VISITORS:
                async with asyncio.timeout(_PATIENCE):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head))
                    await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass
        finally:
            self._visitors.discard(writer)
            with suppress(OSError):
                writer.close()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split()
        path = words[1].split(b"?")[0] if len(words) == 3 else b""
        kind, status = "text/plain; charset=utf-8", "200 OK"
        if words[:1] != [b"GET"]:
            status, body = "405 Method Not Allowed", b"GET only\n"
        elif path == b"/metrics":
            kind, body = CONTENT_TYPE_LATEST, self._metrics.page()
        elif path == b"/health":
            kind, body = "application/json", json.dumps(self._health()).encode() + b"\n"
        else:
            status, body = "404 Not Found", b"/metrics or /health\n"
        lines = [
            f"HTTP/1.1 {status}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body
