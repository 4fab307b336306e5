"""The hub link: always one session with the hub, or on the way to the next one.

The hub may be away at the start and for hours; the link goes on trying, with full jitter so that
a fleet does not come back in one instant.  A session that cannot prove itself is replaced, and if
new ones do not help for long, the process is: the link fails.  Messages are not kept here but in
the outbox.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from bordnetz.edge.message import Message
from bordnetz.edge.session import (
    Clients,
    LinkError,
    NotConnectedError,
    Receiver,
    Session,
    Timing,
)
from bordnetz.errors import BordnetzError

__all__ = [
    "Backoff",
    "HubLink",
    "LinkError",
    "LinkLostError",
    "LinkStuckError",
    "NotConnectedError",
    "Receiver",
    "Timing",
]

log = logging.getLogger(__name__)

_STEADY = 60.0
"""A session of so many seconds was a good one: the next wait starts small again."""

_ABANDONED = 3
"""So many clients in a row that never came back mean that the SDK itself hangs."""


class LinkStuckError(BordnetzError):
    """The SDK's calls do not return any more; only a new process helps."""

    exit_code = 75


class LinkLostError(BordnetzError):
    """No session has proved itself for long; perhaps a new process does better."""

    exit_code = 69


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: wait between nothing and a limit that doubles with every attempt.

    Attributes:
        first: Limit of the first wait, seconds.
        last: Largest limit, seconds.
        draw: Uniform in [0, 1).
    """

    first: float = 1.0
    last: float = 60.0
    draw: Callable[[], float] = random.random

    def __call__(self, attempt: int) -> float:
        """Seconds to wait after the ``attempt``-th failure in a row, counted from 1."""
        return self.draw() * min(self.last, self.first * 2.0 ** min(attempt - 1, 32))


class HubLink:
    """The way to the hub; an async context manager that owns the connection.

    Attributes:
        sessions: Connections made so far.
    """

    def __init__(
        self,
        receiver: Receiver,
        timing: Timing | None = None,
        backoff: Callable[[int], float] | None = None,
    ) -> None:
        """Prepare a link; it starts with ``async with``.

        Args:
            receiver: Takes what the hub sends.
            timing: Time limits.
            backoff: Number of the failed attempt, from 1, to seconds to wait.
        """
        self.sessions = 0
        self._receiver = receiver
        self._timing = timing or Timing()
        self._backoff = backoff or Backoff()
        self._clients = Clients(self._timing)
        self._session: Session | None = None
        self._proved = -math.inf
        self._since = math.inf
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()
        self._abandoned = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._supervise(), name="hub-link")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    @property
    def connected(self) -> bool:
        """Whether there is a session: subscribed, its twin read, and nothing wrong with it yet."""
        return self._up.is_set()

    @property
    def proved(self) -> float:
        """When a session last proved itself, by the event loop's clock; at first, the start."""
        session = self._session
        return max(self._proved, (session.proved if session else None) or -math.inf)

    async def up(self) -> None:
        """Wait until there is a session."""
        await self._up.wait()

    async def down(self) -> None:
        """Wait until there is none."""
        await self._down.wait()

    async def failed(self) -> None:
        """Wait for what the link cannot recover from.

        Raises:
            LinkStuckError: The SDK hangs.
            LinkLostError: There was no session for too long.
        """
        if self._task is not None:
            await asyncio.shield(self._task)

    async def send(self, message: Message) -> None:
        """Send a message; returns when the hub has acknowledged it.

        Raises:
            LinkError: There is no session, or it ended: the hub may have the message or not.
            MessageTooLargeError: The hub would not take it.
        """
        await self._current().send(message)

    async def report(self, patch: Mapping[str, Any]) -> None:
        """Merge a patch into the reported properties.

        Raises:
            LinkError: There is no session, or the hub did not confirm.
        """
        await self._current().report(patch)

    def _current(self) -> Session:
        if self._session is None or not self.connected or self._session.ended.is_set():
            raise NotConnectedError("not connected to the hub")
        return self._session

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        self._proved = loop.time()
        failures = 0
        while True:
            self._since = math.inf
            reason = ""
            # The SDK's last client and the errors of its libraries hold sockets in circles.  Left
            # alone, the collector comes by after dozens of attempts.
            gc.collect()
            try:
                await self._attempt()
            except LinkError as error:
                reason = str(error)
            if self._abandoned >= _ABANDONED:
                raise LinkStuckError(
                    f"{_ABANDONED} clients of the hub in a row did not come back from closing"
                )
            if not reason:
                continue
            if loop.time() - self._proved >= self._timing.patience:
                raise LinkLostError(
                    f"no session with the hub for {self._timing.patience:g} s ({reason})"
                )
            if loop.time() - self._since >= _STEADY:
                failures = 0
            failures += 1
            await self._wait(failures, reason)

    async def _attempt(self) -> None:
        """One session from its beginning to its end, which is that it has to be renewed.

        Raises:
            LinkError: It broke, or did not come about.
        """
        session = Session(await self._clients.make(), self._receiver, self._timing)
        self._session = session
        renew = False
        try:
            await session.start()
            self.sessions += 1
            self._since = asyncio.get_running_loop().time()
            log.info("connected to the hub")
            self._down.clear()
            self._up.set()
            renew = await session.run()
        finally:
            self._up.clear()
            self._down.set()
            self._session = None
            self._proved = max(self._proved, session.proved or -math.inf)
            await session.settle(self._timing.close if renew else 0)
            self._abandoned = 0 if await session.close() else self._abandoned + 1
        if not renew:
            raise LinkError(session.reason)

    async def _wait(self, failures: int, reason: str) -> None:
        delay = self._backoff(failures)
        log.warning("no hub (%s); attempt %d follows in %.1f s", reason, failures + 1, delay)
        await asyncio.sleep(delay)
