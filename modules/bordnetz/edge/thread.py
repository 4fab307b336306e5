"""Work that would hold up the event loop, on a thread that the process' end does not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Run something that blocks or takes long, on a daemon thread of its own.

    The loop's executor would keep the process from ending for as long as that takes.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None is T's where there is no error

    def run() -> None:
        outcome: tuple[T | None, BaseException | None]
        try:
            outcome = function(), None
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            outcome = None, error
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, *outcome)

    threading.Thread(target=run, name="apart", daemon=True).start()
    return future
