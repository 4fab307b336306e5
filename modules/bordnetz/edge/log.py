"""Logs in the form that IoT Edge's log tools filter by level and time, one line an event.

::

    <6> 2026-01-31 12:00:00.000 +00:00 [INF] - text

``<6>`` is syslog's level (RFC 5424, 6.2.1), which ``GetModuleLogs`` of Edge agent looks for.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TextIO

_LEVELS = (
    (logging.CRITICAL, 2, "FTL"),
    (logging.ERROR, 3, "ERR"),
    (logging.WARNING, 4, "WRN"),
    (logging.INFO, 6, "INF"),
    (logging.NOTSET, 7, "DBG"),
)

_RUNTIME_LEVELS = {
    "fatal": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "verbose": logging.DEBUG,
}
"""The values of ``RuntimeLogLevel``, which Edge agent hands to every module."""

_LONGEST = 4000

_SECRET = re.compile(
    r"(?i)(sharedaccesssignature\s+|\bsharedaccesskey=|\bsig=|\bpassword[=:]\s*)[^\s,;'\"&]+"
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class EdgeFormatter(logging.Formatter):
    """One line an event: control characters escaped, secrets blanked, length bounded."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        level, name = next((n, s) for least, n, s in _LEVELS if record.levelno >= least)
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += f": {_where(record.exc_info[0], record.exc_info[2])}"
        text = _SECRET.sub(r"\1***", text)
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]}... ({len(text)} characters)"
        text = _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
        when = datetime.fromtimestamp(record.created, UTC)
        stamp = f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d} +00:00"
        return f"<{level}> {stamp} [{name}] - {text}"


def _where(kind: type[BaseException], trace: TracebackType | None) -> str:
    """An error's kind and place, innermost first, but not its text: that may quote a value."""
    frames = [
        f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(trace)
    ]
    return f"{kind.__name__} at {' < '.join(reversed(frames))}" if frames else kind.__name__


def start_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Send the process' log to ``stream`` in IoT Edge's form.

    Args:
        level: As in ``RuntimeLogLevel``: fatal, error, warning, info, debug or verbose; any other
            word counts as info.
        stream: Standard error if None.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(EdgeFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_RUNTIME_LEVELS.get(level.lower(), logging.INFO))
    # They write topics, which carry properties, and every step of every message; what goes wrong
    # reaches the session, which logs it.
    for name in ("azure", "paho", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
