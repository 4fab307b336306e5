"""Direct methods: a request to a module and the answer that belongs to it."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub import topics
from bordnetz.laptop.hub.jsontext import JsonError, parse
from bordnetz.laptop.hub.session import Session

PAYLOAD_SIZE = 128 * 1024
"""Bytes of JSON each way (IoT Hub, quotas and throttling)."""

DEFAULT_TIMEOUT = 30.0
"""Seconds to wait for the answer (IoT Hub, direct methods)."""


class MethodError(BordnetzError):
    """A call that got no answer from the module.

    Attributes:
        status: The HTTP status that IoT Hub's service API would give.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Methods:
    """The calls that wait for their answer."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[tuple[str, str], asyncio.Future[tuple[int, bytes]]] = {}

    async def call(
        self, session: Session, name: str, payload: Any, patience: float
    ) -> tuple[int, Any]:
        """Calls a method of a module.

        Args:
            session: The module's.
            name: The method.
            payload: Goes out as JSON.
            patience: Seconds to wait.

        Returns:
            Status and payload as the module gave them.

        Raises:
            MethodError: 404 not connected or not listening, 413 too large, 504 no answer in time,
                502 an answer that is too large or not JSON.
        """
        request = str(next(self._numbers))
        body = json.dumps(payload).encode()
        if len(body) > PAYLOAD_SIZE:
            raise MethodError(413, f"payload of {len(body)} bytes; IoT Hub takes {PAYLOAD_SIZE}")
        key = session.module, request
        answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            if session.publish(topics.method_topic(name, request), body) is None:
                raise MethodError(
                    404, f"module '{session.module}' is not connected or takes no methods"
                )
            async with asyncio.timeout(patience):
                status, reply = await answer
        except TimeoutError:
            raise MethodError(
                504, f"module '{session.module}' has not answered '{name}' within {patience:g} s"
            ) from None
        finally:
            del self._waiting[key]
        return status, _parse(reply)

    def answer(self, module: str, request: str, status: int, payload: bytes) -> None:
        """Takes a module's answer; one that nobody waits for is dropped."""
        answer = self._waiting.get((module, request))
        if answer is not None and not answer.done():
            answer.set_result((status, payload))


def _parse(reply: bytes) -> Any:
    if len(reply) > PAYLOAD_SIZE:
        raise MethodError(502, f"answer of {len(reply)} bytes; IoT Hub takes {PAYLOAD_SIZE}")
    try:
        return parse(reply or b"null")
    except JsonError as error:
        raise MethodError(502, f"answer that is not JSON: {error}") from error
