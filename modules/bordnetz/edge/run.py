"""From the start of an Edge module's process to its exit code.

SIGTERM (and SIGINT): the module stops taking data in, what it holds goes into the outbox, what
the hub takes in the time that is left goes there, everything is closed: within 7 s in all.  A
second signal ends at once; the outbox loses nothing by it.

Exit codes, for Edge agent starts again whatever has ended:

=====  ==========================================================================================
0      ended as asked, or the work was done
1      an error of the module's own, told in the log
69     no session with Edge hub for hours, whatever was tried (EX_UNAVAILABLE)
70     an unexpected error, told in the log (EX_SOFTWARE)
74     the outbox cannot be opened (EX_IOERR)
75     the hub's client hangs; a new process is the cure (EX_TEMPFAIL)
78     environment variables, the vehicle file or its DBC files are wrong (EX_CONFIG)
=====  ==========================================================================================
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from bordnetz.edge.environment import Environment
from bordnetz.edge.heap import bound_heap
from bordnetz.edge.link import Backoff, Timing
from bordnetz.edge.log import start_logging
from bordnetz.edge.module import Edge, Module
from bordnetz.edge.spare import spare_detectors
from bordnetz.errors import BordnetzError

log = logging.getLogger(__name__)

UNEXPECTED = 70

STOP = 3.0
"""Seconds for the module to stop and to hand over what it holds."""

DRAIN = 1.5
"""Seconds for the hub to take what waits; closing takes up to 2 s more."""


def run_module(make: Callable[[], Module[Any]]) -> NoReturn:
    """Run a module as the whole of this process.

    Args:
        make: Makes the module; its errors are logged and end the process like all others.
    """
    bound_heap()
    spare_detectors()
    try:
        environment = Environment.read(os.environ)
        start_logging(environment.log_level)
        code = asyncio.run(serve(make, environment))
    except BordnetzError as error:
        start_logging()
        log.critical("%s", error)
        code = error.exit_code
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything of ours is closed; the SDK's threads may hang, and a normal exit waits for them.
    os._exit(code)


async def serve(
    make: Callable[[], Module[Any]],
    environment: Environment,
    timing: Timing | None = None,
    backoff: Backoff | None = None,
) -> int:
    """Run a module until it is done, a signal comes or it fails; returns the exit code."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(0)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        module = make()
        async with Edge(module, environment, timing, backoff) as edge:
            log.info("%s started", module.name)
            await _work(module, edge, stopping)
    except BordnetzError as error:
        log.critical("%s", error)
        return error.exit_code
    except Exception:
        log.critical("unexpected error", exc_info=True)
        return UNEXPECTED
    log.info("%s ended", module.name)
    return 0


async def _work(module: Module[Any], edge: Edge[Any], stopping: asyncio.Event) -> None:
    running = asyncio.create_task(module.run(edge), name=module.name)
    failed = asyncio.create_task(edge.failed())
    asked = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({running, failed, asked}, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            log.info("asked to stop")
        if not running.done():
            await _stop(module, running)
        if edge.connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN):
                    await edge.drained()
    finally:
        for task in (running, failed, asked):
            task.cancel()
    for task in (running, failed):
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise _told(error)


def _told(error: BaseException) -> BaseException:
    """What ended the module: out of the groups that `asyncio.TaskGroup` wraps it in."""
    while isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(BordnetzError)
        error = (ours or error).exceptions[0]
    return error


async def _stop(module: Module[Any], running: asyncio.Task[None]) -> None:
    try:
        async with asyncio.timeout(STOP):
            await module.stop()
            await asyncio.wait({running})
    except TimeoutError:
        log.warning("%s did not stop within %g s and is cut off", module.name, STOP)
        running.cancel()
        await asyncio.wait({running})
