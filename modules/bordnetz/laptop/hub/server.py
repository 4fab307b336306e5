"""The stand-in Edge hub as a process: state folder, sockets, and the tasks between them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from ipaddress import IPv4Network
from pathlib import Path
from typing import IO, Any

from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub import control, http, places
from bordnetz.laptop.hub.broker import Broker
from bordnetz.laptop.hub.ca import Ca
from bordnetz.laptop.hub.control import (
    CallRequest,
    FaultRequest,
    ModuleRequest,
    SendRequest,
    SetRequest,
    StatusRequest,
)
from bordnetz.laptop.hub.faults import AT_ONCE, Faults
from bordnetz.laptop.hub.identities import DEVICE, HUB, Identities
from bordnetz.laptop.hub.link import MqttLink
from bordnetz.laptop.hub.metrics import Metrics
from bordnetz.laptop.hub.places import Place
from bordnetz.laptop.hub.store import Store
from bordnetz.laptop.hub.twin import Twins
from bordnetz.laptop.hub.upstream import UpstreamWriter
from bordnetz.laptop.hub.workload import API_VERSION, Workload
from bordnetz.laptop.manifest import Manifest, load_template

log = logging.getLogger(__name__)

MQTT_PORT = 8883
"""Fixed in azure-iot-device; hubs side by side differ by their loopback address."""

METRICS_PORT = 9600
"""As Edge hub's."""

HANDSHAKE_TIMEOUT = 20.0
"""Seconds for a TLS handshake."""

MAX_CLIENTS = 100
"""Connections at a time (Edge hub, MaxConnectedClients)."""

_LOOPBACK = IPv4Network("127.0.0.0/8")
"""Addresses that a hub chooses from (RFC 6890, table 3); Linux takes them all."""

_TRIED = 256
"""So many of them before it gives up."""

EXPIRY_INTERVAL = 1.0
"""Seconds between two looks for messages whose time to live has ended."""


class StartError(BordnetzError):
    """The hub cannot start; the text says what is in its way."""


class Hub:
    """A running hub."""

    def __init__(self, manifest: Manifest, state: Path, address: str | None = None) -> None:
        """Prepares what the state folder holds.

        Args:
            manifest: Modules, their environment and desired properties, routes.
            state: Folder for all that outlives the process; made if missing.
            address: Loopback address; None takes the one of last time, or else a free one.

        Raises:
            BordnetzError: The folder is another hub's, or its content is unusable.
        """
        self._state = state.absolute()
        self._manifest = manifest
        self._lock = _lock(state)
        self._ca = Ca(state)
        self._identities = Identities(state / "keys.json", manifest.modules)
        self._store = Store(state / "hub.db")
        twins = Twins(self._store)
        for module, spec in manifest.modules.items():
            twins.deploy(module, spec.desired)
        self._upstream = UpstreamWriter(state / "upstream")
        time_to_live = manifest.store_and_forward_ttl
        self._broker = Broker(
            self._identities,
            manifest.routes,
            None if time_to_live < 0 else time_to_live,
            self._store,
            twins,
            self._upstream,
            Faults(),
            Metrics(HUB, DEVICE),
        )
        self._address = address
        self._links: dict[MqttLink, asyncio.Task[None]] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Place]:
        """Serves while the context is open.

        Raises:
            StartError: No address or no socket is to be had.
        """
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._lock.close)
            stack.callback(self._store.close)
            stack.callback(self._upstream.close)
            stack.push_async_callback(self._end_links)
            address = await self._listen(stack)
            sockets = places.sockets(self._state)
            place = Place(
                state=str(self._state),
                pid=os.getpid(),
                address=address,
                control=str(sockets / "control.sock"),
                workload=str(sockets / "workload.sock"),
                metrics=f"http://{address}:{METRICS_PORT}/metrics",
                upstream=str(self._state / "upstream"),
            )
            workload = Workload(self._identities, self._ca.bundle)
            await _serve_unix(
                stack, place.workload, http.connection(workload.handle), http.MAX_HEAD
            )
            serve = partial(control.serve, self._verbs(place))
            await _serve_unix(stack, place.control, serve, control.MAX_LINE)
            place.save(self._state / "hub.json")
            stack.callback(places.register(place).unlink, missing_ok=True)
            for work in (self._forward(), self._expire()):
                stack.push_async_callback(_cancel, asyncio.create_task(work))
            yield place

    async def _listen(self, stack: contextlib.AsyncExitStack) -> str:
        """Binds MQTT and metrics to one loopback address, which it returns."""
        last = Place.load(self._state / "hub.json")
        # Hubs with folders of their own have addresses of their own, of so many that nobody takes
        # that of one that is being restarted.
        first = zlib.crc32(str(self._state).encode())
        usable = _LOOPBACK.num_addresses - 2
        own = [str(_LOOPBACK[1 + (first + n) % usable]) for n in range(_TRIED)]
        candidates = [self._address] if self._address else own
        if self._address is None and last is not None:
            candidates.insert(0, last.address)
        for address in candidates:
            try:
                servers = await self._bind(address)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or self._address is not None:
                    reason = os.strerror(error.errno) if error.errno else str(error)
                    raise StartError(f"{address}: {reason}; name a free --address") from error
                continue
            for server in servers:
                stack.callback(server.close)
            return address
        raise StartError(
            f"port {MQTT_PORT} or {METRICS_PORT} is taken on {_TRIED} addresses from {own[0]} on; "
            "name a free --address"
        )

    async def _bind(self, address: str) -> list[asyncio.Server]:
        metrics = await asyncio.start_server(
            http.connection(self._metrics), address, METRICS_PORT, limit=http.MAX_HEAD
        )
        try:
            mqtt = await asyncio.start_server(
                self._connected,
                address,
                MQTT_PORT,
                ssl=self._ca.server_context(address),
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            )
        except OSError:
            metrics.close()
            raise
        return [metrics, mqtt]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._links) >= MAX_CLIENTS:
            log.warning("a connection is refused: there are %d already", MAX_CLIENTS)
            writer.close()
            return
        link = MqttLink(reader, writer, self._broker, self._identities)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("asyncio serves connections in tasks")
        self._links[link] = task
        try:
            # Only the end of the hub cancels a link, and asyncio would take that for a failure.
            with contextlib.suppress(asyncio.CancelledError):
                await link.run()
        finally:
            del self._links[link]

    async def _end_links(self) -> None:
        tasks = list(self._links.values())
        for link in list(self._links):
            link.drop()
        for task in tasks:
            await _cancel(task)

    async def _forward(self) -> None:
        """Delivers to ``$upstream``, for ever."""
        while True:
            self._broker.waiting.clear()
            try:
                if self._broker.forward_one():
                    await asyncio.sleep(0)
                    continue
            except OSError as error:
                log.error("$upstream cannot be written: %s; the message stays queued", error)
            await self._broker.waiting.wait()

    async def _expire(self) -> None:
        """Drops what has expired and tries again what could not be written, for ever."""
        while True:
            self._broker.expire()
            self._broker.waiting.set()
            await asyncio.sleep(EXPIRY_INTERVAL)

    def _metrics(self, request: http.Request) -> http.Response:
        if request.path != ("metrics",):
            raise http.HttpError(HTTPStatus.NOT_FOUND, "there is /metrics")
        return http.Response(self._broker.exposition(), "text/plain; version=0.0.4; charset=utf-8")

    def _verbs(self, place: Place) -> Mapping[str, control.Verb]:
        def status(request: StatusRequest) -> dict[str, Any]:
            del request
            armed = [
                {"knob": f.knob, "module": f.module, "value": f.value, "count": f.count}
                for f in self._broker.faults
            ]
            named = {
                name: getattr(place, name) for name in ("state", "address", "metrics", "upstream")
            }
            return {"place": named, **self._broker.status(), "faults": armed}

        def twin(request: ModuleRequest) -> dict[str, Any]:
            return self._broker.twin(request.module)

        def set_desired(request: SetRequest) -> int:
            return self._broker.set_desired(request.module, request.patch)

        async def call(request: CallRequest) -> tuple[int, Any]:
            return await self._broker.call(
                request.module, request.method, request.payload, request.timeout
            )

        def send(request: SendRequest) -> None:
            self._broker.send(request.module, request.input, json.dumps(request.body).encode())

        def env(request: ModuleRequest) -> dict[str, str]:
            return self._env(request.module, place)

        return {
            "status": status,
            "twin": twin,
            "set": set_desired,
            "call": call,
            "send": send,
            "fault": self._fault,
            "env": env,
        }

    def _fault(self, request: FaultRequest) -> None:
        faults, module = self._broker.faults, request.module
        if module is not None:
            self._identities[module]
        if request.off:
            faults.disarm(request.knob, module)
            for link in self._links:
                if module in (None, link.module):
                    link.lift(request.knob)
        else:
            faults.arm(request.knob, request.value, module, request.count)
            self._strike_now(request)
        self._broker.waiting.set()

    def _strike_now(self, request: FaultRequest) -> None:
        """Commits the faults that do not wait for a packet."""
        broker, knob = self._broker, request.knob

        def strikes(module: str) -> bool:
            unarmed = knob in AT_ONCE and request.count is None
            return unarmed or broker.faults.strike(knob, module)

        match knob:
            case "upstream-offline":
                broker.metrics.count("offline_count", DEVICE)
            case "forget-sessions":
                for module in broker.sessions(request.module):
                    if strikes(module):
                        broker.forget_session(module)
            case "drop-link" | "go-silent":
                for module, link in broker.links(request.module).items():
                    if strikes(module):
                        link.drop() if knob == "drop-link" else link.go_silent()
            case _:
                pass

    def _env(self, module: str, place: Place) -> dict[str, str]:
        identity = self._identities[module]
        return {
            **self._manifest.modules[module].env,
            "IOTEDGE_IOTHUBHOSTNAME": HUB,
            "IOTEDGE_DEVICEID": DEVICE,
            "IOTEDGE_MODULEID": module,
            "IOTEDGE_GATEWAYHOSTNAME": place.address,
            "IOTEDGE_MODULEGENERATIONID": identity.generation,
            "IOTEDGE_WORKLOADURI": f"unix://{place.workload}",
            "IOTEDGE_APIVERSION": API_VERSION,
        }


async def run(manifest: Path, state: Path, address: str | None) -> None:
    """Runs a hub until SIGTERM or SIGINT; prints one line when it is ready.

    Raises:
        BordnetzError: It cannot start.
    """
    hub = Hub(load_template(manifest, os.environ), state, address)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with hub.running() as place:
        print(f"Edge hub at {place.address}, state in {place.state}", flush=True)  # noqa: T201 - the ready line
        await stop.wait()


def _lock(state: Path) -> IO[bytes]:
    """Makes the state folder and claims it for this process."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (state / "lock").open("wb")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartError(f"another hub is using {state}; name another folder by --state") from None
    except OSError as error:
        raise StartError(f"{state}: {error.strerror}; name another folder by --state") from error
    return file


async def _serve_unix(
    stack: contextlib.AsyncExitStack,
    path: str,
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    limit: int,
) -> None:
    try:
        server = await asyncio.start_unix_server(serve, path, limit=limit)
        await asyncio.to_thread(Path(path).chmod, 0o600)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}; name another folder by --state") from error
    stack.callback(Path(path).unlink, missing_ok=True)
    stack.callback(server.close)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
