"""One connection to the hub: one client of azure-iot-device, from its making to its end.

The SDK can reconnect by itself, but then it does not subscribe again where the hub has lost the
session, gives up for good after one refused login, can lose the twin's changes for ever, and
keeps copies of what it could not deliver.  So a client here lives for exactly one connection:
whatever goes wrong ends the session, and the link opens another one, with a new client, a fresh
token, fresh subscriptions and a twin just read.

Every call has a time limit.  A call that exceeded it has an unknown outcome, and the session is
over.  The SDK's handlers run on its own threads and do nothing but hand over to our loop.

The proof that a session is alive is its twin, read anew: that takes a publish, the hub's answer to
it, and our subscription to answers.  Whoever reads it also learns what a lost patch has changed.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from bordnetz.edge import deaths
from bordnetz.edge.message import Message
from bordnetz.edge.thread import in_thread
from bordnetz.errors import BordnetzError

log = logging.getLogger(__name__)

T = TypeVar("T")

_HUNG = 3
"""Requests for a client that were never answered, before no more are made."""


class LinkError(BordnetzError):
    """The hub did not confirm: whether it has what was sent is not known."""


class NotConnectedError(LinkError):
    """There is no session: the hub does not have what was to be sent."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Times, in seconds.

    Attributes:
        keep_alive: Of MQTT; a silent hub is noticed within twice this time.
        connect: For making a client, connecting and subscribing; the SDK waits 60 s for CONNACK.
        call: For one message, twin read or twin patch.
        close: For a clean end of the connection.
        proof: How often a session has to prove itself by reading the twin; without the answer
            within `call` it is replaced.
        patience: Without any proof for so long, in spite of new sessions, a new process is tried.
        lifetime: A session is replaced before its token of `token` seconds runs out.
        token: Life of the token that the client logs in with.
        report: Between two patches of the reported properties; Edge hub does not pass them on more
            often.
    """

    keep_alive: int = 30
    connect: float = 90.0
    call: float = 60.0
    close: float = 2.0
    proof: float = 600.0
    patience: float = 7200.0
    lifetime: float = 3000.0
    token: int = 3600
    report: float = 5.0


class Receiver(Protocol):
    """What the hub may ask of a module; called on the module's event loop."""

    def twin(self, desired: Mapping[str, Any], reported: Mapping[str, Any]) -> None:
        """Take the whole twin, read just now."""

    def patch(self, desired: Mapping[str, Any]) -> bool:
        """Take a change of the desired properties; False if it does not follow what we have."""

    async def method(self, name: str, payload: Any) -> tuple[int, Any]:
        """Answer a direct method with status and payload."""

    async def message(self, source: str, message: Message) -> None:
        """Take a message that a route brought to the input ``source``."""


class Clients:
    """Makes the SDK's clients, of which each serves one session."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._hung: set[asyncio.Future[Any]] = set()

    async def make(self) -> Any:
        """Make a client from the Edge environment, with a fresh token.

        The SDK waits for the workload API without end.  A request that is never answered holds a
        thread, and so there is an end to asking again.

        Raises:
            LinkError: The workload API does not answer, or the environment is not as it must be.
        """
        if len(self._hung) >= _HUNG:
            raise LinkError(f"the workload API has not answered {_HUNG} requests for a client")
        making = in_thread(lambda: _create(self._timing))
        self._hung.add(making)
        making.add_done_callback(self._hung.discard)
        return await _limited(making, self._timing.connect, "create client")


class Session:
    """A connection to the hub, from `start` to `close`; never reconnected.

    Attributes:
        ended: Set when it is of no use any more.
        reason: Why, in words.
        proved: When the twin was last read, by the event loop's clock; None before the first time.
    """

    def __init__(self, client: Any, receiver: Receiver, timing: Timing) -> None:
        """Prepare; all of it happens on the event loop that runs now.

        Args:
            client: A new one, of `Clients`.
            receiver: Takes what the hub sends.
            timing: Time limits.
        """
        self.ended = asyncio.Event()
        self.reason = ""
        self.proved: float | None = None
        self._client = client
        self._receiver = receiver
        self._timing = timing
        self._loop = asyncio.get_running_loop()
        self._calls: set[asyncio.Task[Any]] = set()
        self._served: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect, subscribe and read the twin.

        Raises:
            LinkError: The hub is not there, refuses, or does not answer.
        """
        await _limited(in_thread(self._arm), self._timing.connect, "connect")
        await self.read_twin()

    async def run(self) -> bool:
        """Keep the connection proved until it ends.

        Returns:
            True if it only has to be renewed, False if it broke.
        """
        with deaths.heard(self._hand_over(self._on_death)):
            return await self._prove()

    async def _prove(self) -> bool:
        end = self._loop.time() + self._timing.lifetime
        while not self.ended.is_set():
            left = end - self._loop.time()
            if left <= 0:
                return True
            # Not `asyncio.wait_for`, which before Python 3.12 forgets that it is cancelled where
            # the session ends at the same moment.
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, self._timing.proof)):
                    await self.ended.wait()
                break
            with suppress(LinkError):
                await self.read_twin()
        return False

    async def send(self, message: Message) -> None:
        """Send a message; returns when the hub has acknowledged it.

        Raises:
            LinkError: It did not, so far; it may have the message all the same.
        """
        message.check()
        await self._call(
            self._client.send_message_to_output(_sdk_message(message), message.output),
            "acknowledge a message",
        )

    async def read_twin(self) -> None:
        """Read the twin and hand it to the receiver.

        Raises:
            LinkError: The hub did not answer.
        """
        twin = await self._call(self._client.get_twin(), "give the twin")
        self.proved = self._loop.time()
        self._receiver.twin(twin.get("desired", {}), twin.get("reported", {}))

    async def report(self, patch: Mapping[str, Any]) -> None:
        """Merge a patch into the reported properties.

        Raises:
            LinkError: The hub did not confirm.
        """
        await self._call(
            self._client.patch_twin_reported_properties(dict(patch)), "take reported properties"
        )

    async def settle(self, limit: float) -> None:
        """Wait, so long at most, until no call is under way."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=limit)

    async def close(self) -> bool:
        """Disconnect and drop the client.

        Returns:
            False if the client did not come back in time and had to be abandoned.
        """
        self._end("closed")
        for task in self._served:
            task.cancel()
        # On a thread with a loop of its own: the SDK blocks there until its handlers have ended.
        closing = in_thread(lambda: asyncio.run(self._client.shutdown()))
        done, _ = await asyncio.wait({closing}, timeout=self._timing.close)
        closing.add_done_callback(_look_at)
        if done and (error := closing.exception()) is not None:
            log.info("hub client did not close cleanly: %s", _words(error))
        for call in self._calls:
            call.cancel()
        return bool(done)

    def _end(self, reason: str) -> None:
        if not self.ended.is_set():
            self.reason = reason
            self.ended.set()

    async def _call(self, call: Coroutine[Any, Any, T], what: str) -> T:
        """One call into the SDK.  It is never cancelled: the SDK does not expect that."""
        task = asyncio.ensure_future(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        task.add_done_callback(_look_at)
        try:
            return await _limited(task, self._timing.call, what)
        except LinkError as error:
            self._end(str(error))
            raise

    # -- on the SDK's threads

    def _arm(self) -> None:
        """Connect and set the handlers; each subscribes and waits for that.

        Connection changes come last, so that each one that is heard of is the end.
        """
        client = self._client
        # The hub sends messages that wait for us as soon as we are there.  The SDK would
        # acknowledge and drop them, if it did not know by now that a handler will come.
        client.on_message_received = None
        asyncio.run(client.connect())
        client.on_message_received = self._hand_over(self._on_message)
        client.on_method_request_received = self._hand_over(self._on_method)
        client.on_twin_desired_properties_patch_received = self._hand_over(self._on_patch)
        client.on_connection_state_change = self._hand_over(self._on_connection_change)
        client.on_background_exception = self._on_background_exception
        if not client.connected:
            raise ConnectionError("connection lost while subscribing")

    def _hand_over(self, handler: Callable[..., None]) -> Callable[..., None]:
        def handed_over(*arguments: Any) -> None:
            # The loop is closed when the module has ended before its SDK.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(handler, *arguments)

        return handed_over

    def _on_background_exception(self, error: Exception) -> None:
        log.info("hub client: %s", _words(error))

    # -- on our loop

    def _on_connection_change(self) -> None:
        self._end("connection lost")

    def _on_death(self, error: str) -> None:
        self._end(f"the client's network thread has ended: {error}")

    def _on_patch(self, patch: Mapping[str, Any]) -> None:
        if not self.ended.is_set() and not self._receiver.patch(patch):
            self._serve(self.read_twin())

    def _on_method(self, request: Any) -> None:
        self._serve(self._answer(request))

    def _on_message(self, message: Any) -> None:
        self._serve(self._receiver.message(message.input_name, _our_message(message)))

    async def _answer(self, request: Any) -> None:
        status, payload = await self._receiver.method(request.name, request.payload)
        response = _sdk().MethodResponse.create_from_method_request(request, status, payload)
        await self._call(self._client.send_method_response(response), "take a method's answer")

    def _serve(self, work: Coroutine[Any, Any, None]) -> None:
        if self.ended.is_set():
            work.close()
            return

        async def served() -> None:
            with suppress(LinkError):
                await work

        task = self._loop.create_task(served())
        self._served.add(task)
        task.add_done_callback(self._served.discard)


def _sdk() -> Any:
    """The SDK, imported late and on a thread: it takes longer than the rest of a module's start."""
    return importlib.import_module("azure.iot.device")


def _create(timing: Timing) -> Any:
    client = importlib.import_module("azure.iot.device.aio").IoTHubModuleClient
    return client.create_from_edge_environment(
        # paho-mqtt looks once a second whether it is time for a ping, and then for its answer.
        keep_alive=max(1, timing.keep_alive - 1),
        sastoken_ttl=timing.token,
        connection_retry=False,
        # With it, messages that wait inside the SDK when a connection breaks make it connect
        # again, while we close it, and neither of the two ever ends.
        auto_connect=False,
        ensure_desired_properties=False,
    )


def _sdk_message(message: Message) -> Any:
    result = _sdk().Message(message.body)
    result.content_type = message.content_type or None
    result.content_encoding = message.content_encoding or None
    result.custom_properties = dict(message.properties)
    return result


def _our_message(message: Any) -> Message:
    properties = {
        name: value or ""
        for name, value in message.custom_properties.items()
        if name and not name.startswith("$")
    }
    return Message(
        output=message.input_name,
        body=message.data,
        content_type=message.content_type or "",
        content_encoding=message.content_encoding or "",
        properties=properties,
    )


async def _limited(call: Awaitable[T], limit: float, what: str) -> T:
    """Wait for a call of the SDK without cancelling it; its errors become `LinkError`."""
    future = asyncio.ensure_future(call)
    future.add_done_callback(_look_at)
    done, _ = await asyncio.wait({future}, timeout=limit)
    if not done:
        raise LinkError(f"hub did not {what} within {limit:g} s")
    if future.cancelled():
        raise LinkError(f"hub did not {what}: the connection was closed")
    error = future.exception()
    if error is not None:
        raise LinkError(f"hub did not {what}: {_words(error)}") from error
    return future.result()


def _look_at(future: asyncio.Future[Any]) -> None:
    """Take note of a result nobody waits for any more, or asyncio complains about it."""
    if not future.cancelled():
        future.exception()


def _words(error: BaseException) -> str:
    """What the SDK says and, in front of it, the cause it has wrapped, for that tells more."""
    root = error
    while (cause := root.__cause__ or root.__context__) is not None:
        root = cause
    words = [f"{type(found).__name__}: {found}".strip(" :") for found in (root, error)]
    return words[0] if root is error else f"{words[0]} ({words[1]})"
