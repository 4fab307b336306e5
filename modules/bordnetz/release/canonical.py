"""Canonical JSON as securesystemslib has it: what is signed, and how it is written."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from securesystemslib.formats import encode_canonical

SPEC_VERSION = "1.0.31"
"""Of the TUF specification, as it stands in metadata."""

_PLAIN = re.compile(r"[A-Za-z0-9._+:/-]*")


def encode(content: Any) -> bytes:
    """A JSON value, canonical."""
    text = encode_canonical(content)
    assert text is not None  # noqa: S101 (only with an output function)
    return text.encode()


def expiry(time: int) -> str:
    """A time, seconds since 1970 UTC, as metadata writes it."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def quoted(text: str) -> bytes:
    """A string that needs no escaping, canonical."""
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"{text!r} would need escaping")
    return b'"%s"' % text.encode()
