"""Direct methods: declared beside their payload, answered in JSON, quickly and in any case.

Status codes: 200 done, 400 bad payload (with the fields), 404 no such method, 500 failed,
504 not ready in time; `MethodError` gives others.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bordnetz.errors import BordnetzError

log = logging.getLogger(__name__)

P = TypeVar("P", bound=BaseModel)

LARGEST = 128 * 1024
"""Bytes of an answer (IoT Hub)."""

_FIELDS_SHOWN = 10


class MethodError(BordnetzError):
    """A method refuses; the caller sees status and text."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class NoPayload(BaseModel):
    """For methods that take nothing: null or {}."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Method(Generic[P]):
    """A direct method.

    Attributes:
        name: As the caller writes it.
        payload: What it takes; fields are known by their aliases.
        call: Does it, on the event loop, and returns what JSON can say.
        limit: Seconds it may take.  IoT Hub waits 30 s unless the caller says otherwise.
    """

    name: str
    payload: type[P]
    call: Callable[[P], Awaitable[Any]]
    limit: float = 20.0


class Methods:
    """The methods of one module."""

    def __init__(self, methods: Iterable[Method[Any]]) -> None:
        """Take them; two of one name are a mistake of the module's."""
        self._methods: dict[str, Method[Any]] = {}
        for method in methods:
            if method.name in self._methods:
                raise ValueError(f"two methods are named '{method.name}'")
            self._methods[method.name] = method

    def __iter__(self) -> Iterator[str]:
        """Their names, in order."""
        return iter(sorted(self._methods))

    async def answer(self, name: str, payload: Any) -> tuple[int, Any]:
        """Call a method and give its status and answer; never raises."""
        method = self._methods.get(name)
        if method is None:
            return 404, {"error": f"no such method; this module knows: {', '.join(self)}"}
        try:
            given = method.payload.model_validate({} if payload is None else payload)
        except ValidationError as error:
            return 400, _bad(error)
        try:
            async with asyncio.timeout(method.limit):
                answer = await method.call(given)
            size = len(json.dumps(answer, allow_nan=False))
        except TimeoutError:
            return 504, {"error": f"not ready within {method.limit:g} s; it may still be done"}
        except MethodError as error:
            return error.status, {"error": str(error)}
        except BordnetzError as error:
            return 500, {"error": str(error)}
        except Exception as error:
            # The text of an unexpected error may quote anything; its type must do.
            log.exception("method %s failed", name)
            return 500, {"error": f"{type(error).__name__}; the module's log says where"}
        if size > LARGEST:
            return 500, {"error": f"the answer has {size} bytes, {LARGEST} are allowed"}
        return 200, answer


def _bad(error: ValidationError) -> dict[str, Any]:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    fields = [
        {"field": ".".join(map(str, one["loc"])) or "payload", "reason": one["msg"]}
        for one in found[:_FIELDS_SHOWN]
    ]
    first = fields[0]
    return {"error": f"bad payload: {first['field']}: {first['reason']}", "fields": fields}
