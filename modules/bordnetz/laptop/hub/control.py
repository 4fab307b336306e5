"""The control socket: what `bordnetz hub ...` asks of a running hub, as lines of JSON.

A request is one line, ``{"verb": ..., arguments}``; the answer one line, ``{"result": ...}`` or
``{"error": text, "status": number}``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub import places
from bordnetz.laptop.hub.jsontext import parse
from bordnetz.laptop.hub.methods import DEFAULT_TIMEOUT, MethodError
from bordnetz.laptop.hub.places import Place
from bordnetz.laptop.hub.upstream import Upstream

log = logging.getLogger(__name__)

MAX_LINE = 1_048_576
"""Bytes of a request or an answer: twice 128 KiB of a method and its JSON escapes fit."""


class ControlError(BordnetzError):
    """The hub refuses a request, or went away.

    Attributes:
        status: The HTTP status where IoT Hub's service API would give one, otherwise 400.
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Control:
    """A running hub as a Python program sees it: the portal's part of the cloud.

    Methods block; each opens its own connection, so one object serves several threads.
    """

    def __init__(self, state: Path | str | None = None) -> None:
        """Finds the hub of a state folder, or the only one running.

        Raises:
            NoHubError: None is running there, or several are.
        """
        self.place: Place = places.find(Path(state).absolute() if state else None)
        self.upstream = Upstream(Path(self.place.upstream))

    def status(self) -> dict[str, Any]:
        """Modules, queues, counters, upstream and armed faults."""
        return dict(self._ask("status"))

    def twin(self, module: str) -> dict[str, Any]:
        """A module's twin: "desired" and "reported", each with its ``$version``."""
        return dict(self._ask("twin", module=module))

    def set(self, module: str, patch: Mapping[str, Any]) -> int:
        """Patches a module's desired properties; returns their new version."""
        return int(self._ask("set", module=module, patch=dict(patch)))

    def call(
        self, module: str, method: str, payload: Any = None, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[int, Any]:
        """Calls a direct method.

        Args:
            module: Whose.
            method: Its name.
            payload: What goes out as JSON.
            timeout: Seconds to wait for the answer.

        Returns:
            Status and payload as the module gave them.

        Raises:
            ControlError: With status 404 if the module is not connected, 504 if it does not answer.
        """
        status, answer = self._ask(
            "call", module=module, method=method, payload=payload, timeout=timeout
        )
        return int(status), answer

    def send(self, module: str, name: str, body: Any) -> None:
        """Puts a message of JSON onto a module's input, in the place of a module that is not here.

        Args:
            module: Whose.
            name: Of the input.
            body: What goes out as JSON.
        """
        self._ask("send", module=module, input=name, body=body)

    def fault(
        self,
        knob: str,
        value: int | None = None,
        *,
        module: str | None = None,
        count: int | None = None,
        off: bool = False,
    ) -> None:
        """Arms a fault, or takes it back with ``off``; see `faults.KNOBS`."""
        self._ask("fault", knob=knob, value=value, module=module, count=count, off=off)

    def env(self, module: str) -> dict[str, str]:
        """The environment in which a module's process has to be started."""
        return dict(self._ask("env", module=module))

    def _ask(self, verb: str, **arguments: Any) -> Any:
        line = json.dumps({"verb": verb, **arguments}).encode() + b"\n"
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.connect(self.place.control)
                link.sendall(line)
                with link.makefile("rb") as answers:
                    answer = answers.readline(MAX_LINE)
        except OSError as error:
            raise ControlError(
                f"the hub in {self.place.state} has gone: {error.strerror}"
            ) from error
        if not answer.endswith(b"\n"):
            raise ControlError(f"the hub in {self.place.state} has gone without an answer")
        reply = json.loads(answer)
        if "error" in reply:
            raise ControlError(reply["error"], reply["status"])
        return reply["result"]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StatusRequest(_Request):
    """What the hub is doing."""


class ModuleRequest(_Request):
    """A question about one module."""

    module: str


class SetRequest(_Request):
    """A patch of desired properties."""

    module: str
    patch: dict[str, Any]


class CallRequest(_Request):
    """A direct method."""

    module: str
    method: str
    payload: Any = None
    timeout: float = DEFAULT_TIMEOUT


class SendRequest(_Request):
    """A message to an input."""

    module: str
    input: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    body: Any = None


class FaultRequest(_Request):
    """A fault to arm or to take back."""

    knob: str
    value: int | None = None
    module: str | None = None
    count: int | None = None
    off: bool = False


REQUESTS: dict[str, type[_Request]] = {
    "status": StatusRequest,
    "twin": ModuleRequest,
    "set": SetRequest,
    "call": CallRequest,
    "send": SendRequest,
    "fault": FaultRequest,
    "env": ModuleRequest,
}

Verb = Callable[[Any], Any]


async def serve(
    verbs: Mapping[str, Verb], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answers the requests of one connection.

    Args:
        verbs: What to do for each key of `REQUESTS`; gets the parsed request, gives a result for
            JSON, or an awaitable of one.
        reader: With a limit of `MAX_LINE`.
        writer: Where the answers go.
    """
    try:
        while line := await reader.readline():
            writer.write(json.dumps(await _answer(verbs, line)).encode() + b"\n")
            await writer.drain()
    except (OSError, ValueError) as error:
        log.warning("control connection ends: %s", error)
    finally:
        writer.close()


async def _answer(verbs: Mapping[str, Verb], line: bytes) -> dict[str, Any]:
    try:
        fields = parse(line)
        verb = fields.pop("verb")
        result = verbs[verb](REQUESTS[verb].model_validate(fields))
        return {"result": await result if asyncio.iscoroutine(result) else result}
    except ValidationError as error:
        first = error.errors()[0]
        return _error(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    except MethodError as error:
        return _error(str(error), error.status)
    except BordnetzError as error:
        return _error(str(error))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _error(f"not a request; verbs are {', '.join(REQUESTS)}")


def _error(text: str, status: int = 400) -> dict[str, Any]:
    return {"error": text, "status": status}
