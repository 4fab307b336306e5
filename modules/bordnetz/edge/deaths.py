"""The network thread of a client of paho that ends by an exception, of which paho tells nobody.

That happens where the hub closes while paho writes: it does not catch what TLS says then.  The SDK
would wait for ever for the end of the connection, in closing the client, too.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

_PACKETS = 1000
"""What may still be read from the connection, at most."""


@contextmanager
def heard(listener: Callable[[str], None]) -> Iterator[None]:
    """Within, hear of each such end; the client is told of it as of any lost connection.

    Args:
        listener: Is called on that thread, with the exception in words.
    """
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs, /) -> None:
        client = _client(arguments.exc_traceback)
        if client is not None:
            with suppress(Exception):  # It was to die anyway.
                _disconnect(client)
            listener(f"{arguments.exc_type.__name__}: {arguments.exc_value}")
        before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _client(trace: TracebackType | None) -> Any:
    """The client of paho that an exception came through; None: it did through none."""
    found = None
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_globals.get("__name__") == "paho.mqtt.client":
            found = frame.f_locals.get("self", found)
        trace = trace.tb_next
    return found


def _disconnect(client: Any) -> None:
    """Let it find out by itself, with its own means, that the connection is over."""
    connection = client.socket()
    if connection is None:
        return
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    for _ in range(_PACKETS):
        if client.loop_read():
            return
