"""Telemetry, as the installer of bundles sees it: told which one to use, it answers.

Messages may get lost, so an offer is repeated until there is an answer to it.  Telemetry answers
every offer, and once at its start for what it has found.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bordnetz.errors import BordnetzError

MOST_BYTES = 65_536
"""Of an answer."""

REPEAT = 10.0
"""Seconds between two offers of one bundle."""


class AnswerError(BordnetzError):
    """An answer that is none."""


class Answer(BaseModel):
    """What telemetry says of a bundle.

    Attributes:
        hash: Of the bundle; "" for the vehicle's own file.
        accepted: Whether it runs.
        reason: Why it does not.
        signals: In its databases.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    hash: str = Field(max_length=64)
    accepted: bool
    reason: str = Field("", max_length=8192)
    signals: int = 0


class Telemetry:
    """The other end of the routes ``bundle`` and ``bundleAck``."""

    def __init__(
        self,
        tell: Callable[[str, str], None],
        patience: float,
        stop: threading.Event,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the way there.

        Args:
            tell: Sends hash and path of a bundle; may lose them.
            patience: Seconds for an answer.
            stop: Set, nothing is waited for any more.
            monotonic: Seconds, never set.
        """
        self._tell = tell
        self._patience = patience
        self._stop = stop
        self._monotonic = monotonic
        self._turn = threading.Condition()
        self._asked: str | None = None
        self._heard: Answer | None = None

    def hear(self, body: bytes) -> Answer:
        """Take a message of input ``bundleAck``; from any thread.

        Raises:
            AnswerError: It is none.
        """
        if len(body) > MOST_BYTES:
            raise AnswerError(f"an answer of telemetry has over {MOST_BYTES} bytes")
        try:
            answer = Answer.model_validate(json.loads(body))
        except (ValueError, RecursionError, ValidationError):
            raise AnswerError(
                'an answer of telemetry is not {"hash", "accepted", "reason"}; check the route '
                "bundleAck"
            ) from None
        with self._turn:
            # What it says of another bundle, or by itself, must not cover this answer.
            if answer.hash == self._asked:
                self._heard = answer
                self._turn.notify_all()
        return answer

    def ask(self, sha256: str, path: str) -> Answer | None:
        """Have telemetry use a bundle.

        Args:
            sha256: Its hash; "" for the vehicle's own file.
            path: Where it lies.

        Returns:
            Its answer; None where none came.
        """
        end = self._monotonic() + self._patience
        with self._turn:
            self._asked, self._heard = sha256, None
        while (left := end - self._monotonic()) > 0 and not self._stop.is_set():
            self._tell(sha256, path)
            with self._turn:
                if self._turn.wait_for(lambda: self._heard is not None, min(left, REPEAT)):
                    return self._heard
        return None
