"""Messages are stored together where they come together: flash memory wears out by commits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from bordnetz.edge.outbox import Letter, Outbox

EARLY = 64 << 10
"""Bytes of messages that do not wait for others to be committed with."""

Apart = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs work on the outbox' thread and gives what it returns."""


class Commits:
    """Groups what is to be stored: one commit a ``pause`` at most, as long as few bytes wait."""

    def __init__(
        self, outbox: Outbox, apart: Apart, pause: float, stored: Callable[[list[Letter]], None]
    ) -> None:
        """Nothing waits yet.

        Args:
            outbox: Where it goes.
            apart: Runs work on the outbox' thread.
            pause: Seconds from one commit to the next at least; what waits is lost if the power
                goes.
            stored: Is told after each commit what is new in the outbox, or was refused by it.
        """
        self._outbox = outbox
        self._apart = apart
        self._pause = pause
        self._stored = stored
        self._waiting: list[tuple[Letter, int, asyncio.Future[int | None]]] = []
        self._coming = asyncio.Event()
        self._enough = asyncio.Event()

    async def put(self, letter: Letter, size: int) -> int | None:
        """Store a message; it is on the disk when this returns.

        Args:
            letter: The message.
            size: Bytes that it will have, about.

        Raises:
            OutboxError: The disk did not take it.
            MessageTooLargeError: The hub would not take it.
        """
        result: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((letter, size, result))
        self._coming.set()
        if sum(size for _, size, _ in self._waiting) >= EARLY:
            self._enough.set()
        return await result

    async def run(self) -> None:
        """Store what comes, for ever: the first at once, those after it when the pause is over."""
        while True:
            await self._coming.wait()
            # Those that come in the same turn of the loop come along.
            await asyncio.sleep(0)
            await self.store()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._enough.wait()

    async def store(self) -> None:
        """Store what waits now, in one commit if there is room for it."""
        waiting = [(letter, future) for letter, _, future in self._waiting if not future.done()]
        self._waiting.clear()
        self._coming.clear()
        self._enough.clear()
        if not waiting:
            return
        last = self._outbox.last
        letters = [letter for letter, _ in waiting]
        try:
            results = await self._apart(partial(self._outbox.put_all, letters))
        except BaseException:
            # Nobody knows what has become of them, and nobody waits for ever.
            for _, future in waiting:
                future.cancel()
            raise
        new: dict[int, Letter] = {}
        refused = []
        for (letter, future), result in zip(waiting, results, strict=True):
            if result is None:
                refused.append(letter)
            elif isinstance(result, int) and result > last:
                # One that says what another says is stored once.
                new.setdefault(result, letter)
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._stored([*new.values(), *refused])
