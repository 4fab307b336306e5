"""What another program said, made fit for an error or a log line."""

from __future__ import annotations

QUOTE = 200
"""Characters that are quoted at most."""


def quote(text: str, limit: int = QUOTE) -> str:
    """The last line with something on it, at most ``limit`` characters, all of them printable."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    return "".join(c if c.isprintable() else "?" for c in lines[-1][-limit:])
