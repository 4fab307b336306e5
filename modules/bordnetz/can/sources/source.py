"""The interface of all sources: blocks of frames to iterate over, read by a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from bordnetz.can.filters import Interest
from bordnetz.can.frames import Block
from bordnetz.can.sources.listening import Listening

_MOST_WAITING = 65_536
"""Frames read ahead of the consumer: some MB, and seconds of time for it to come back."""


class Source(ABC):
    """An asynchronous context manager and iterator of `Block`.

    A thread reads, so that a busy event loop does not delay it.  When the consumer falls far
    behind, the thread stops reading: a file and a Unix socket's sender then wait, a CAN
    interface's queue fills up, and what the kernel drops is counted.

        async with source:
            async for block in source:
                ...
    """

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()
        self._waiting = 0
        self._room = threading.Condition()
        self._closing = threading.Event()
        self._opened = False
        self._ended = False
        self._failure: BaseException | None = None
        self._news = asyncio.Event()
        self._thread: threading.Thread | None = None

    def want(self, interests: Iterable[Interest] | None) -> None:
        """Bring these frames and, where that costs less, no others; None: all.

        From any thread; a source that cannot choose brings all.
        """
        del interests

    def listening(self) -> Sequence[Listening]:
        """How each bus is listened to, in the order of the vehicle file; () for a recording."""
        return ()

    @abstractmethod
    def _open(self, resources: ExitStack) -> None:
        """Take what is needed to read, and let ``resources`` give it back; may block.

        Raises:
            BordnetzError: It is not to be had.
        """

    @abstractmethod
    def _read(self) -> Iterator[Block]:
        """Blocks as they come; may block, ends soon after ``_closing`` is set and `_wake`."""

    def _wake(self) -> None:  # noqa: B027 (most do not sleep for long)
        """End a sleep of the thread, if it sleeps."""

    async def __aenter__(self) -> Self:
        """Open the source and begin to read.

        Raises:
            BusError: A bus cannot be opened.
            RecordingError: A recording cannot be opened.
        """
        self._thread = threading.Thread(
            target=self._run, args=(asyncio.get_running_loop(),), name="can-source", daemon=True
        )
        self._thread.start()
        try:
            while not (self._opened or self._ended):
                await self._news.wait()
                self._news.clear()
            if not self._opened:
                self._fail()
        except BaseException:
            await self.close()
            raise
        self._news.set()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Stop reading and free everything; what has been read can still be iterated over."""
        self._closing.set()
        self._wake()
        with self._room:
            self._room.notify_all()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def __aiter__(self) -> Self:
        """The source itself."""
        return self

    async def __anext__(self) -> Block:
        """The next block, in order of arrival.

        Raises:
            BusError: A bus can no longer be read.
            StopAsyncIteration: The recording is over, or the source has been closed.
        """
        while True:
            self._news.clear()
            ended = self._ended
            with self._room:
                if self._blocks:
                    block = self._blocks.popleft()
                    self._waiting -= len(block.classic) + len(block.fd)
                    self._room.notify_all()
                    return block
            if ended:
                self._fail()
                raise StopAsyncIteration
            await self._news.wait()

    def _fail(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with ExitStack() as resources:
                self._open(resources)
                self._opened = True
                loop.call_soon_threadsafe(self._news.set)
                for block in self._read():
                    with self._room:
                        self._room.wait_for(self._has_room)
                        self._blocks.append(block)
                        self._waiting += len(block.classic) + len(block.fd)
                    loop.call_soon_threadsafe(self._news.set)
        except BaseException as error:  # noqa: BLE001 (raised again where the blocks are awaited)
            self._failure = error
        self._ended = True
        loop.call_soon_threadsafe(self._news.set)

    def _has_room(self) -> bool:
        return self._waiting < _MOST_WAITING or self._closing.is_set()
