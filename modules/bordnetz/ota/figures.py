"""What the module counts of its own, on the page of `bordnetz.edge.metrics`.

===================  ============================================================================
stage                what is counted
===================  ============================================================================
``looks``            looks for updates: those that were verified are sent on, the others dropped
                     by the kind of refusal, ``needsUrl``, or ``unreachable``
``attempts``         attempts at their end: succeeded ones are sent on, others dropped by result
===================  ============================================================================

Beside them ``payload_bytes``: what came over the air for payloads, and ``time_silent``: looks at
which the time server did not answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bordnetz.edge.metrics import Metrics
from bordnetz.errors import BordnetzError
from bordnetz.ota.source import NeedsUrlError
from bordnetz.ota.states import Result, State
from bordnetz.uptane.errors import UptaneError


class Figures:
    """The counters; any thread may count."""

    def __init__(self, metrics: Metrics) -> None:
        """Register them.

        Args:
            metrics: The module's.
        """
        self._looks = metrics.stage("looks", "looks for updates")
        self._attempts = metrics.stage("attempts", "attempts to update")
        self._bytes = metrics.counter("payload_bytes", "payload bytes over the air")
        self._silent = metrics.counter("time_silent", "looks without an answer of the time server")

    def looked(self, error: BordnetzError | None = None) -> None:
        """Count a look.

        Args:
            error: What was wrong; None: it was verified.
        """
        self._looks.received()
        if error is None:
            self._looks.sent()
        elif isinstance(error, UptaneError):
            self._looks.dropped(error.kind.value)
        elif isinstance(error, NeedsUrlError):
            self._looks.dropped(State.NEEDS_URL.value)
        else:
            self._looks.dropped("unreachable")

    def attempted(self, report: Mapping[str, Any]) -> None:
        """Count an attempt by its final report."""
        self._attempts.received()
        if report["result"] == Result.SUCCEEDED.value:
            self._attempts.sent()
        else:
            self._attempts.dropped(report["result"])

    def silent(self) -> None:
        """Count a look at which the time server did not answer."""
        self._silent.inc()

    def received(self, count: int) -> None:
        """Count bytes of payloads."""
        self._bytes.inc(count)
