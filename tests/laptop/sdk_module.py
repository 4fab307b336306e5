"""A module as the unmodified azure-iot-device SDK makes one of a hub's environment."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Self
from unittest import mock

from azure.iot.device import Message, MethodResponse
from azure.iot.device.aio import IoTHubModuleClient

PATIENCE = 60


class SdkModule:
    """An ``IoTHubModuleClient``, with what it hears in queues on the test's loop."""

    def __init__(
        self, environment: dict[str, str], loop: asyncio.AbstractEventLoop, **options: Any
    ) -> None:
        with mock.patch.dict(os.environ, environment):
            self.client = IoTHubModuleClient.create_from_edge_environment(**options)
        self.loop = loop
        self.inputs: asyncio.Queue[Message] = asyncio.Queue()
        self.patches: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.methods: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.links: asyncio.Queue[bool] = asyncio.Queue()

    @classmethod
    async def start(cls, hub: Any, name: str, **options: Any) -> Self:
        """Makes the client; the workload API is asked meanwhile."""
        environment = await asyncio.to_thread(hub.control.env, name)
        return await asyncio.to_thread(cls, environment, asyncio.get_running_loop(), **options)

    async def __aenter__(self) -> Self:
        await self.client.connect()
        self.client.on_connection_state_change = self._on_link
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.wait_for(self.client.shutdown(), PATIENCE)

    async def listen(self) -> None:
        """Sets all handlers; each subscribes and waits."""

        def subscribe() -> None:
            self.client.on_message_received = lambda m: self._put(self.inputs, m)
            self.client.on_twin_desired_properties_patch_received = lambda p: self._put(
                self.patches, p
            )
            self.client.on_method_request_received = self._on_method

        await asyncio.to_thread(subscribe)

    async def send(self, body: bytes, output: str = "batches", **properties: str) -> None:
        """Sends and waits for the PUBACK."""
        message = Message(body)
        message.custom_properties = properties
        await asyncio.wait_for(self.client.send_message_to_output(message, output), PATIENCE)

    async def twin(self) -> dict[str, Any]:
        """Gets the twin."""
        return await asyncio.wait_for(self.client.get_twin(), PATIENCE)

    async def link(self, *, up: bool) -> None:
        """Waits until the SDK has noticed that the link is up, or down."""
        async with asyncio.timeout(PATIENCE):
            while await self.links.get() is not up:
                pass

    def _put(self, queue: asyncio.Queue[Any], item: Any) -> None:
        self.loop.call_soon_threadsafe(queue.put_nowait, item)

    def _on_link(self) -> None:
        self._put(self.links, self.client.connected)

    async def _on_method(self, request: Any) -> None:
        self._put(self.methods, (request.name, request.payload))
        status = 200 if request.name == "ping" else 404
        answer = MethodResponse.create_from_method_request(
            request, status, {"got": request.payload}
        )
        await self.client.send_method_response(answer)
