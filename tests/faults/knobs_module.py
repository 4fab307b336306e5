"""An Edge module that makes messages of several priorities, and tells on standard output of each.

It makes them while the file named by ``MAKING`` exists.  Lines, in the order of what happened:
``begins`` for the process, ``put NAME PRIORITY SIZE TIME`` once the outbox has a message, ``sends
SEQUENCE`` when the sender has chosen it, then ``done``, ``tried`` or ``struck SEQUENCE``: the hub
has it, there was no session, or the session ended first; ``hung`` for a client of the SDK that did
not come back from closing.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bordnetz.edge.link import HubLink, NotConnectedError
from bordnetz.edge.message import Message
from bordnetz.edge.methods import Method, NoPayload
from bordnetz.edge.module import Edge, Module
from bordnetz.edge.run import run_module
from bordnetz.edge.session import Session

OUTPUT = "batches"
TICK = 5.0
"""Seconds between two messages of the lowest priority."""
LARGE = 10
"""One in so many of these is larger than what ``cap-packets`` lets pass."""
RARE = {4: 7, 1: 12, 0: 40}
"""Of the other priorities one message in so many ticks."""


def body(name: str, size: int) -> bytes:
    """What a message of that name contains: nothing that another one could be taken for."""
    return hashlib.shake_128(name.encode()).digest(size)


class Desired(BaseModel):
    """Its desired properties; a mark is reported as it was seen."""

    mark: int = 0


class Maker(Module[Desired]):
    """Makes messages."""

    name = "probe"
    desired = Desired

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._put = self._found = 0

    async def run(self, edge: Edge[Desired]) -> None:
        """Until it is asked to stop."""
        self._found = edge.waiting["messages"]
        # The executor, which the SDK uses, has all its threads from here on.
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.1) for _ in range(32)))
        marking = asyncio.create_task(self._mark(edge))
        making, tick = Path(os.environ["MAKING"]), 0
        while not self._asked.is_set():
            if making.exists():  # noqa: ASYNC240 - a look at memory
                await self._make(edge, 7, 6_000 if tick % LARGE == 0 else 200 + tick * 97 % 1_800)
                for priority, every in RARE.items():
                    if tick % every == every - 1:
                        await self._make(edge, priority, 300)
                tick += 1
            try:
                await asyncio.wait_for(self._asked.wait(), TICK)
            except TimeoutError:
                continue
        marking.cancel()

    async def stop(self) -> None:
        """Make no more."""
        self._asked.set()

    def methods(self) -> Iterable[Method[Any]]:
        """``collect`` lets go of what waits for the garbage collector alone."""
        return [Method("collect", NoPayload, self._collect)]

    async def _collect(self, payload: NoPayload) -> int:
        return gc.collect()

    def status(self) -> Mapping[str, Any]:
        """The books: what it has found in the outbox, and put into it."""
        return {"found": self._found, "put": self._put}

    async def _mark(self, edge: Edge[Desired]) -> None:
        async for config in edge.configs():
            edge.report("mark", config.mark)

    async def _make(self, edge: Edge[Desired], priority: int, size: int) -> None:
        made = ""

        def make(outbox: int, sequence: int) -> Message:
            nonlocal made
            made = f"{outbox:016x}-{sequence}"
            return Message(OUTPUT, body(made, size), properties={"batch": made})

        await edge.put(make, priority, size=size)
        self._put += 1
        tell("put", made, priority, size, time.time())


class Unconfirmed(logging.Handler):
    """Tells what the sender has logged of messages that stay in the outbox."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("message %d stays") and isinstance(record.args, tuple):
            sequence, error = record.args
            tell("tried" if isinstance(error, NotConnectedError) else "struck", sequence)


def tell(*words: object) -> None:
    """One line, whole even if the process is killed."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


send, close = HubLink.send, Session.close


async def sends(link: HubLink, message: Message) -> None:
    """As always, and told."""
    sequence = message.properties["batch"].partition("-")[2]
    tell("sends", sequence)
    await send(link, message)
    tell("done", sequence)


async def closes(session: Session) -> bool:
    """Likewise."""
    closed = await close(session)
    if not closed:
        tell("hung")
    return closed


if __name__ == "__main__":
    tell("begins")
    HubLink.send = sends  # type: ignore[assignment]  # it is the same method, watched
    Session.close = closes  # type: ignore[assignment]  # likewise
    log = logging.getLogger("bordnetz.edge.sender")
    log.setLevel(logging.DEBUG)
    log.addHandler(Unconfirmed())
    log.propagate = False
    run_module(Maker)
