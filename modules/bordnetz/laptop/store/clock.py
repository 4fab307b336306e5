"""The time server beside the store: answers a nonce with a signed time (`bordnetz.uptane.time`)."""

from __future__ import annotations

import time
from dataclasses import dataclass

from securesystemslib.signer import Signer

from bordnetz.uptane.time import make_time

FOLDER = "time/"
"""Below which a file's name is the question."""


@dataclass(frozen=True, slots=True)
class TimeServer:
    """Signs what time it is.

    Attributes:
        signer: Of one of the director's time keys.
        ahead: Seconds that it is ahead, to see what expires.
    """

    signer: Signer
    ahead: int = 0

    def answer(self, nonce: str) -> bytes | None:
        """The answer to a question; None: it is none."""
        try:
            return make_time(self.signer, int(time.time()) + self.ahead, nonce=nonce)
        except ValueError:
            return None
