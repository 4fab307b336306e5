"""Just enough HTTP/1.1 for the workload API and the metrics: one bounded request a connection."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from bordnetz.errors import BordnetzError

log = logging.getLogger(__name__)

MAX_HEAD = 16_384
MAX_BODY = 65_536
TIMEOUT = 10.0
"""Seconds for a whole request to come, and for its answer to leave."""


class HttpError(BordnetzError):
    """A request that is answered with an error.

    Attributes:
        status: The answer's status.
    """

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """A request; ``path`` holds the decoded segments between the slashes."""

    method: str
    path: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """A 200 answer."""

    body: bytes
    content_type: str = "application/json"


Handler = Callable[[Request], Response]


def connection(
    handle: Handler,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A connection callback for asyncio's servers; answers one request and closes.

    Args:
        handle: Answers a request or raises `HttpError`.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                writer.write(await _answer(reader, handle))
                await writer.drain()
        except (TimeoutError, OSError, EOFError) as error:
            log.info("HTTP request came to nothing: %s", error or "too slow")
        finally:
            writer.close()

    return serve


async def _answer(reader: asyncio.StreamReader, handle: Handler) -> bytes:
    try:
        response = handle(await _read(reader))
    except HttpError as error:
        log.warning("HTTP request refused: %s", error)
        return _format(error.status, Response(_json({"message": str(error)})))
    return _format(HTTPStatus.OK, response)


async def _read(reader: asyncio.StreamReader) -> Request:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError:
        raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head too long") from None
    start, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
    parts = start.split(" ")
    if len(head) > MAX_HEAD:
        raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head too long")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise HttpError(HTTPStatus.BAD_REQUEST, "not an HTTP/1.1 request")
    headers = {}
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.strip().lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise HttpError(HTTPStatus.NOT_IMPLEMENTED, "bodies need a Content-Length")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 10):
        raise HttpError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
    if int(length) > MAX_BODY:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body above {MAX_BODY} bytes")
    try:
        path = urlsplit(parts[1]).path
    except ValueError:
        raise HttpError(HTTPStatus.BAD_REQUEST, "not a path") from None
    segments = tuple(unquote(segment) for segment in path.split("/") if segment)
    return Request(parts[0], segments, await reader.readexactly(int(length)))


def _format(status: HTTPStatus, response: Response) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + response.body


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
