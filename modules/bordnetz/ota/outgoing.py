"""What the module tells the hub: reported properties, events, final reports, manifests.

Called from the thread of updates; everything here is handed over to the event loop.  Reported
properties are paced by `bordnetz.edge.report`, so that what changes often costs no more than what
changes now and then; events are sent when the state's word changes, and never for progress.

==============  ================================================================================
output          what leaves there
==============  ================================================================================
``events``      ``state``: another word; ``final``: an attempt's end; ``refused``: metadata that
                was refused; JSON with the properties ``schema`` and ``event``
``manifest``    vehicle version manifests, as signed
``bundle``      which bundle telemetry is to use
==============  ================================================================================
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from bordnetz.edge.message import Message
from bordnetz.edge.module import Edge
from bordnetz.edge.outbox import OutboxError
from bordnetz.ota.config import Desired
from bordnetz.ota.report import line
from bordnetz.ota.states import State
from bordnetz.uptane.errors import UptaneError

log = logging.getLogger(__name__)

T = TypeVar("T")

EVENTS, MANIFEST, BUNDLE = "events", "manifest", "bundle"
"""Outputs; routes start there."""

URGENT, ORDINARY = 1, 2
"""Priorities of events and of manifests, 0 (highest) to 9."""

MOST = 256
"""Final reports that are known to be stored: more than a vehicle has ECUs to attempt at once."""

PATIENCE = 30.0
"""Seconds for the outbox to store a message, and for the hub to take one past it."""


class Outgoing:
    """The engine's `bordnetz.ota.ports.Reporter`, and the way of all messages."""

    def __init__(
        self,
        edge: Edge[Desired],
        loop: asyncio.AbstractEventLoop,
        attempted: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Take the ends.

        Args:
            edge: The module's surroundings.
            loop: The event loop that they live on.
            attempted: Gets each final report, once it cannot get lost any more.
        """
        self._attempted = attempted
        self._edge = edge
        self._loop = loop
        self._word = ""
        self._stored: deque[str] = deque(maxlen=MOST)

    # -- the engine's

    def state(self, status: Mapping[str, Any]) -> None:
        """Show state, reasons and progress."""
        self.show("update", dict(status))
        word = str(status["state"])
        if word == self._word:
            return
        self._word = word
        log.info("updates: %s", ": ".join([word, *status.get("reasons", ())[:1]]))
        if word != State.IDLE:
            shown = {name: value for name, value in status.items() if name != "progress"}
            self._try("event", self._event("state", shown))

    def final(self, report: Mapping[str, Any]) -> None:
        """Store a final report, if it was not stored before.

        One that waits in the outbox is found there, and of those that have left it the process
        knows its own.  Only a process that ends after one has left, and before that is in the
        journal, stores it again: word for word, and under the same ``id``, as every message that
        arrives twice.

        Raises:
            OutboxError: The disk does not take it now.
        """
        attempt = str(report["attempt"])
        if attempt not in self._stored:
            self._ask(self._event("final", dict(report), f"final-{attempt}"))
            self._stored.append(attempt)
            self._attempted(report)
        self.show("last", line(dict(report)))

    # -- others'

    def show(self, name: str, value: Any) -> None:
        """Show a reported property; None takes it away."""

        def report() -> None:
            try:
                self._edge.report(name, value)
            except ValueError as error:
                log.error("not reported: %s", error)

        self._loop.call_soon_threadsafe(report)

    def refused(self, error: UptaneError) -> None:
        """Tell of metadata that was refused."""
        told = {
            "kind": error.kind.value,
            "repository": error.repository,
            "role": error.role,
            "words": str(error),
        }
        self._try("event", self._event("refused", told))

    def manifest(self, body: bytes) -> None:
        """Store a manifest for the cloud.

        Raises:
            OutboxError: The disk does not take it now.
        """
        self._ask(self._put(MANIFEST, body, ORDINARY, {"schema": "manifest.1"}))

    def bundle(self, sha256: str, path: str) -> None:
        """Tell telemetry which bundle to use, if it is there to hear it."""
        body = json.dumps({"hash": sha256, "path": path}).encode()
        message = _json(BUNDLE, body, {"schema": "bundle.1"})
        self._try("message to telemetry", self._edge.send(message))

    # -- the way

    async def _event(
        self, kind: str, content: Mapping[str, Any], name: str | None = None
    ) -> int | None:
        body = json.dumps({"event": kind, **content}, ensure_ascii=False).encode()
        properties = {"schema": "ota.1", "event": kind}
        # Only what must come exactly once is worth looking for among what waits.
        digest = None if name is None else hashlib.sha256(body).digest()
        return await self._put(EVENTS, body, URGENT, properties, name, digest)

    async def _put(
        self,
        output: str,
        body: bytes,
        priority: int,
        properties: Mapping[str, str],
        name: str | None = None,
        content: bytes | None = None,
    ) -> int | None:
        def message(outbox: int, sequence: int) -> Message:
            named = {**properties, "id": name or f"{outbox:016x}-{sequence}"}
            return _json(output, body, named)

        return await self._edge.put(message, priority, content=content)

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            future.cancel()
            raise OutboxError("the outbox does not answer; tried again later") from None

    def _try(self, what: str, work: Coroutine[Any, Any, Any]) -> None:
        try:
            self._ask(work)
        except OutboxError as error:
            log.warning("%s not sent: %s", what, error)


def _json(output: str, body: bytes, properties: Mapping[str, str]) -> Message:
    return Message(output, body, "application/json", "utf-8", properties)
