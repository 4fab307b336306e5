"""An Edge module: what it declares, and what it gets to work with.

A module derives from `Module`, says what it is and does its work in `Module.run`, with an `Edge`
in its hands that keeps, sends, configures, answers and counts for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel

from bordnetz import __version__
from bordnetz.edge import durable
from bordnetz.edge.environment import Environment
from bordnetz.edge.feed import UNSEEN, Feed
from bordnetz.edge.inbound import Inbound, Input
from bordnetz.edge.link import Backoff, HubLink, Timing
from bordnetz.edge.losses import Losses
from bordnetz.edge.message import Message
from bordnetz.edge.methods import Method, Methods, NoPayload
from bordnetz.edge.metrics import Metrics, MetricsServer
from bordnetz.edge.outbox import Outbox
from bordnetz.edge.pace import Pace
from bordnetz.edge.report import Reporter
from bordnetz.edge.sender import Sender
from bordnetz.edge.twin import Refusal, Twin
from bordnetz.edge.volatile import Volatile

log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

LOST = "hubLost"
"""The reported property that tells what Edge hub has dropped."""

DISK = "outbox"
"""The reported property that tells what the outbox has found on its disk."""


class Module(ABC, Generic[M]):
    """What one Edge module is; everything but `run` has a default.

    Attributes:
        name: In logs and answers.
        desired: The model of its desired properties; every field has a default.
    """

    name: ClassVar[str]
    desired: type[M]

    @abstractmethod
    async def run(self, edge: Edge[M]) -> None:
        """Do the module's work until it is done or `stop` has asked for the end.

        Whatever it raises ends the process, so that Edge agent starts it again.
        """

    async def stop(self) -> None:
        """Take nothing new in and make `run` finish what it has, within two or three seconds."""

    def check(self, config: M) -> Iterable[Refusal]:
        """What is well-formed in a configuration, but makes no sense in this vehicle.

        Called apart from the event loop, so that it may take its time.
        """
        del config
        return ()

    def methods(self) -> Iterable[Method[Any]]:
        """Direct methods besides ``ping`` and ``status``, which every module has."""
        return ()

    def inputs(self) -> Mapping[str, Input]:
        """Who takes the messages that routes bring, by input.

        The SDK acknowledges them before they get here and may change their order, so a message
        here must be a hint, never the only copy.
        """
        return {}

    def losses(self) -> Losses | None:
        """What tells the cloud of messages that the outbox has given up; None: nothing does."""
        return None

    def status(self) -> Mapping[str, Any]:
        """What the method ``status`` says beyond hub and outbox."""
        return {}


class Edge(Generic[M]):
    """The surroundings of a running module; an async context manager that owns them all.

    Attributes:
        metrics: For stages and counters of the module's own.
        state: The folder for what must survive a restart.
    """

    def __init__(
        self,
        module: Module[M],
        environment: Environment,
        timing: Timing | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Open the outbox and take up the configuration last seen; the rest with ``async with``.

        Args:
            module: Whose surroundings they are.
            environment: Where to keep and show things.
            timing: Of the hub link; None: as the environment says.
            backoff: Likewise.

        Raises:
            OutboxError: Another process has the state folder, or it is not ours to write.
        """
        self.metrics = Metrics()
        self.state = environment.state
        self._module = module
        self._environment = environment
        self._started = time.monotonic()
        timing = timing or environment.link.timing
        self._twin = Twin(module.desired, module.check)
        self._resume()
        self._kept = self._twin.config
        methods = [
            Method("ping", NoPayload, self._ping),
            Method("status", NoPayload, self._status),
            *module.methods(),
        ]
        self._reporter = Reporter(timing.report)
        self._reporter.acknowledge(self._twin.acknowledgements)
        self._reporter.set(LOST, UNSEEN["lost"])
        inbound = Inbound(
            self._twin, self._reporter, Methods(methods), module.inputs(), self.metrics
        )
        self._link = HubLink(inbound, timing, backoff)
        self.metrics.gauge("hub_connected", "Session with the hub", lambda: self._link.connected)
        self.metrics.gauge("hub_sessions", "Sessions so far", lambda: self._link.sessions)
        outbox = Outbox(
            self.state / "outbox",
            environment.outbox_bytes,
            age=environment.outbox_days * 86_400 or None,
            newest_first=environment.newest_first,
            losses=module.losses(),
        )
        pace = Pace(environment.link.floor, environment.link.ceiling)
        self._sender = Sender(
            outbox,
            self._link,
            self.metrics,
            pace=pace,
            pause=environment.commit_seconds,
            tell=partial(self._reporter.set, DISK),
        )
        self._feed: Feed | None = None
        if environment.link.metrics:
            settings = environment.link
            self._feed = Feed(
                settings.metrics,
                settings.module,
                pace,
                self.metrics,
                tell=partial(self._reporter.set, LOST),
            )
        self._volatile = Volatile(self._link, self.metrics)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            environment = self._environment
            server = MetricsServer(
                self.metrics, self._health, environment.metrics_host, environment.metrics_port
            )
            try:
                await stack.enter_async_context(server)
                log.info("metrics at http://%s:%d/metrics", *server.address)
            except OSError as error:
                # Not worth a second of data.
                log.error("no metrics at %s:%d: %s", *server.address, error)
            await stack.enter_async_context(self._link)
            await stack.enter_async_context(self._sender)
            reporting = self._reporter.run(self._link, self._twin.settled)
            works = [self._judge(), reporting, self._remember()]
            if self._feed is not None:
                works.append(self._feed.run())
            for work in works:
                task = asyncio.create_task(work)
                stack.callback(task.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    # -- for the module

    @property
    def config(self) -> M:
        """The configuration in effect."""
        return self._twin.config

    @property
    def version(self) -> int:
        """``$version`` of the desired properties that the configuration answers; 0 before any."""
        return self._twin.version

    def configs(self) -> AsyncIterator[M]:
        """The configuration now, and again whenever it has changed."""
        return self._twin.changes()

    def recheck(self) -> None:
        """Judge the desired properties again, after something `Module.check` looks at changed."""
        self._twin.recheck()

    async def settled(self) -> None:
        """Wait until all that was seen of the desired properties is judged."""
        await self._twin.settled()

    async def put(
        self,
        make: Callable[[int, int], Message],
        priority: int,
        *,
        content: bytes | None = None,
        needs: bytes | None = None,
        size: int = 0,
    ) -> int | None:
        """Store a message for the hub; it is on the disk when this returns (see `Sender.put`).

        Raises:
            OutboxError: The disk did not take it; trying again later is right.
            MessageTooLargeError: The hub would not take it.
        """
        return await self._sender.put(make, priority, content=content, needs=needs, size=size)

    async def send(self, message: Message) -> bool:
        """Send a message that is worth nothing later: at once or never (see `Volatile.send`).

        Returns:
            Whether the hub has acknowledged it.
        """
        return await self._volatile.send(message)

    async def drained(self) -> None:
        """Wait until the hub has acknowledged everything that was `put`."""
        await self._sender.drained()

    def report(self, name: str, value: Any) -> None:
        """Show a reported property; the last value wins, None takes it away.

        Raises:
            ValueError: A twin cannot hold it.
        """
        self._reporter.set(name, value)

    @property
    def connected(self) -> bool:
        """Whether there is a session with the hub."""
        return self._link.connected

    @property
    def waiting(self) -> Mapping[str, int]:
        """``messages`` and ``bytes`` that wait for the hub."""
        return self._sender.state()

    @property
    def room(self) -> int:
        """Bytes that the outbox takes before it has to give something up."""
        return self._sender.room

    async def failed(self) -> None:
        """Wait for what can only be cured by a new process.

        Raises:
            LinkStuckError: The hub's client hangs.
            LinkLostError: No session has proved itself for long.
        """
        await self._link.failed()

    # -- of every module

    async def _ping(self, payload: NoPayload) -> dict[str, Any]:
        del payload
        return {"module": self._module.name, "version": __version__}

    async def _status(self, payload: NoPayload) -> dict[str, Any]:
        del payload
        return {**self._health(), **self._module.status()}

    def _health(self) -> dict[str, Any]:
        return {
            "module": self._module.name,
            "version": __version__,
            "upSeconds": round(time.monotonic() - self._started),
            "hub": self._hub(),
            "edgeHub": self._feed.state() if self._feed is not None else UNSEEN,
            "outbox": self._sender.state(),
            "desiredVersion": self._twin.version,
        }

    def _hub(self) -> dict[str, Any]:
        proved = asyncio.get_running_loop().time() - self._link.proved
        return {
            "connected": self._link.connected,
            "sessions": self._link.sessions,
            "provedSeconds": round(proved),
        }

    # -- the configuration outlives a restart, for the hub may come later than the data

    @property
    def _desired_file(self) -> Path:
        return self.state / "desired.json"

    def _resume(self) -> None:
        """Judge what was accepted in the last run: what was refused then is not in it."""
        try:
            desired = json.loads(self._desired_file.read_bytes())
            if isinstance(desired, dict):
                self._twin.replace(desired)
                self._twin.judge()
        except FileNotFoundError:
            pass
        except (OSError, ValueError, RecursionError) as error:
            log.warning("no configuration from the last run, waiting for the hub: %s", error)
            self._twin.replace({})

    async def _judge(self) -> None:
        async for acknowledgements in self._twin.judging():
            self._reporter.acknowledge(acknowledgements)

    async def _remember(self) -> None:
        async for config in self._twin.changes():
            if config is self._kept:
                continue
            try:
                kept = json.dumps(dict(self._twin.accepted)).encode()
                await asyncio.to_thread(partial(durable.write, self._desired_file, kept))
            except durable.DurableError as error:
                log.warning("configuration not kept for the next start: %s", error)
            else:
                self._kept = config
