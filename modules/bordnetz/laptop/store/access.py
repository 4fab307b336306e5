"""Signed URLs that end: as much of a shared access signature as the car's side can tell apart."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

_KEY = 32
"""Bytes."""


class Access:
    """Signs queries for the folder as a whole, and checks them.

    Args:
        file: With the key; made where it is missing.
    """

    def __init__(self, file: Path) -> None:
        if not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
                new.write(secrets.token_bytes(_KEY))
        self._key = file.read_bytes()

    def query(self, end: int) -> str:
        """The query that opens the folder until then (seconds since 1970 UTC)."""
        return f"se={end}&sig={quote(self._signature(str(end)), safe='')}"

    def allows(self, query: Mapping[str, str], now: float) -> bool:
        """Whether a request's query opens the folder now."""
        end = query.get("se", "")
        if not (end.isascii() and end.isdigit() and len(end) < 16):
            return False
        right = self._signature(end)
        return hmac.compare_digest(right.encode(), query.get("sig", "").encode()) and now < int(end)

    def _signature(self, end: str) -> str:
        return base64.b64encode(hmac.digest(self._key, end.encode(), hashlib.sha256)).decode()
