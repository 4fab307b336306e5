"""Shows messages from ``$upstream`` as they arrive, one line a message."""

from __future__ import annotations

import json
from datetime import datetime

import click

from bordnetz.laptop.hub.upstream import Arrival, Upstream

_LONGEST_BODY = 200


async def watch(upstream: Upstream, after: int, count: int | None) -> None:
    """Prints messages.

    Args:
        upstream: Where they arrive.
        after: Leave out messages up to this ``n``.
        count: End after so many; None goes on for ever.
    """
    left = count
    async for arrival in upstream.follow(after):
        click.echo(_line(arrival, upstream.body(arrival)))
        if left is not None and (left := left - 1) == 0:
            return


def _line(arrival: Arrival, body: bytes) -> str:
    when = datetime.fromtimestamp(arrival.time).astimezone().isoformat("T", "milliseconds")
    properties = " ".join(f"{name}={value}" for name, value in arrival.properties.items())
    blocks = f"{arrival.metered} bytes, {arrival.blocks} x 4 KB"
    source = f"{arrival.module}/{arrival.output}"
    return f"{when} {arrival.n} {source} ({blocks}) {properties} {_content(arrival, body)}"


def _content(arrival: Arrival, body: bytes) -> str:
    kind = arrival.system.get("contentType", "")
    if kind == "application/json" or kind.startswith("text/"):
        text = body.decode(errors="replace")
        shown = json.dumps(text) if "\n" in text else text
        return shown if len(shown) <= _LONGEST_BODY else shown[:_LONGEST_BODY] + "..."
    return kind or "no content type"
