"""Threads of a library that end by an exception, of which it tells nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

Listener = Callable[[str], None]

_listeners: dict[Listener, str] = {}
_before = threading.excepthook


@contextmanager
def heard(package: str, listener: Listener) -> Iterator[None]:
    """Within, hear of each thread that an exception ends which came through a package.

    Args:
        package: As "paho".
        listener: Is called on that thread with the exception in words.
    """
    _listeners[listener] = package
    if threading.excepthook is not _hook:
        global _before
        _before, threading.excepthook = threading.excepthook, _hook
    try:
        yield
    finally:
        del _listeners[listener]


def _hook(arguments: threading.ExceptHookArgs, /) -> None:
    for listener, package in tuple(_listeners.items()):
        if _is_through(package, arguments.exc_traceback):
            listener(f"{arguments.exc_type.__name__}: {arguments.exc_value}")
    _before(arguments)


def _is_through(package: str, trace: TracebackType | None) -> bool:
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if name == package or name.startswith(f"{package}."):
            return True
        trace = trace.tb_next
    return False
