"""Keeps Edge hub's own store small: looks at its metrics and sets the pace of sending.

Edge hub acknowledges what it has stored, whether the cloud is there or not, and its store on disk
has no limit but that of the disk; what is in it too long, it drops.  So while more waits there for
the cloud than at the last look, or as much, messages are fed to it at the floor; once it gets
less, faster with each look.  Where the metrics were configured and cannot be read, nothing is known
of the store, and the floor it is.

What Edge hub has dropped of this module's messages is lost without a trace in the cloud; here it is
counted and told.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from bordnetz.edge.metrics import Metrics
from bordnetz.edge.pace import Pace
from bordnetz.errors import BordnetzError

log = logging.getLogger(__name__)

PORT = 9600
"""Of the metrics of Edge hub (IoT Edge documentation, "Access built-in metrics")."""

INTERVAL = 30.0
"""Seconds between two looks."""

FEW = 64
"""So many messages on their way through Edge hub are no backlog."""

REASONS = ("ttl_expiry", "no_route")
"""Why Edge hub drops what it has acknowledged."""

UNSEEN: Mapping[str, Any] = {
    "readable": False,
    "waiting": 0,
    "slowed": False,
    "lost": dict.fromkeys(REASONS, 0),
}
"""What an operator sees where nobody looks at the metrics; see `Feed.state`."""

_PATIENCE = 10.0
_LARGEST = 1 << 20
_TELLING = 600.0

_WAITING = "edgehub_queue_length"
_DROPPED = "edgehub_messages_dropped_total"
_CLOUD = "iothub"
"""The ``endpoint`` of the queues for ``$upstream``."""


class HubMetricsError(BordnetzError):
    """Edge hub's metrics are not to be had."""


@dataclass(frozen=True, slots=True)
class Look:
    """What Edge hub's metrics say at one moment.

    Attributes:
        waiting: Messages for the cloud, of all modules and priorities.
        dropped: Messages of this module that it has dropped since its start, by reason.
    """

    waiting: int
    dropped: Mapping[str, int]


class Feed:
    """Looks at the metrics for ever, with `run`."""

    def __init__(
        self,
        address: str,
        module: str,
        pace: Pace,
        metrics: Metrics,
        *,
        tell: Callable[[Mapping[str, int]], None] | None = None,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            address: URL of the metrics.
            module: Whose drops are looked for, as ``device/module``.
            pace: To be set.
            metrics: Get counters and gauges.
            tell: Gets the numbers of lost messages by reason when they grow, but not too often.
            interval: Seconds between two looks.
            clock: Seconds from any fixed point.
        """
        self._address = address
        self._module = module
        self._pace = pace
        self._tell = tell
        self._interval = interval
        self._clock = clock
        self._last: Look | None = None
        self._seen: Mapping[str, int] | None = None
        self._untold: Counter[str] = Counter()
        self._told = -math.inf
        self._reachable: bool | None = None
        self._count = metrics.counter(
            "hub_lost", "Acknowledged by Edge hub and dropped by it", "reason"
        )
        self.lost: Counter[str] = Counter()
        metrics.gauge(
            "hub_metrics_readable", "Whether Edge hub's metrics are", lambda: self._last is not None
        )
        metrics.gauge(
            "hub_waiting",
            "Messages that wait in Edge hub for the cloud",
            lambda: self._last.waiting if self._last else math.nan,
        )

    async def run(self) -> None:
        """Look, and look again after the interval."""
        while True:
            try:
                async with asyncio.timeout(_PATIENCE):
                    page = await fetch(self._address)
                self.see(read(page, self._module))
            except (HubMetricsError, OSError, EOFError, TimeoutError) as error:
                self.blind(str(error) or type(error).__name__)
            await asyncio.sleep(self._interval)

    def see(self, look: Look) -> None:
        """Take a look into account."""
        if self._reachable is False:
            log.info("metrics of Edge hub can be read again")
        self._reachable = True
        before, self._last = self._last, look
        if look.waiting > FEW and (before is None or look.waiting >= before.waiting):
            if not self._pace.slowed:
                log.warning(
                    "%d messages wait in Edge hub for the cloud: those to come wait in the outbox",
                    look.waiting,
                )
            self._pace.slow()
        elif self._pace.slowed:
            self._pace.faster()
        self._count_lost(look.dropped)

    def blind(self, reason: str) -> None:
        """Take into account that nothing is to be seen."""
        if self._reachable is not False:
            log.warning("Edge hub is fed slowly, for its metrics cannot be read: %s", reason)
        self._reachable = False
        self._last = None
        self._pace.slow()

    def state(self) -> dict[str, Any]:
        """What an operator wants to know.

        Returns:
            Whether the metrics are ``readable``, how many messages for the cloud are ``waiting``
            (0 where that is not known), whether sending is ``slowed``, and how many messages of
            this module Edge hub has ``lost`` since the start, by reason.
        """
        return {
            "readable": self._last is not None,
            "waiting": self._last.waiting if self._last else 0,
            "slowed": self._pace.slowed,
            "lost": {reason: self.lost[reason] for reason in REASONS},
        }

    def _count_lost(self, dropped: Mapping[str, int]) -> None:
        for reason in REASONS:
            now = dropped.get(reason, 0)
            # What was dropped before the first look, somebody else has counted; a hub that has
            # been started again counts from nothing.
            before = now if self._seen is None else self._seen.get(reason, 0)
            if new := now - before if now >= before else now:
                self._count.labels(reason).inc(new)
                self.lost[reason] += new
                self._untold[reason] += new
        self._seen = dropped
        if self._untold and self._clock() - self._told >= _TELLING:
            for reason, count in sorted(self._untold.items()):
                log.warning("Edge hub has dropped %d messages of ours (%s)", count, reason)
            if self._tell is not None:
                self._tell({reason: self.lost[reason] for reason in REASONS})
            self._untold.clear()
            self._told = self._clock()


def read(page: str, module: str) -> Look:
    """Find in a page of metrics what matters here.

    Raises:
        HubMetricsError: It is not one of Edge hub's.
    """
    lines = [line for line in page.splitlines() if line.startswith((_WAITING, _DROPPED))]
    if "edgehub_" not in page:
        raise HubMetricsError("no metrics of Edge hub among those at this address")
    waiting, dropped = 0, Counter[str]()
    try:
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            for sample in family.samples:
                if sample.name == _WAITING and sample.labels.get("endpoint") == _CLOUD:
                    waiting += int(sample.value)
                elif sample.name == _DROPPED and sample.labels.get("from") == module:
                    dropped[sample.labels.get("reason", "")] += int(sample.value)
    except (ValueError, OverflowError, KeyError, IndexError) as error:
        raise HubMetricsError(f"not metrics of Edge hub: {error}") from error
    return Look(waiting, dropped)


async def fetch(address: str) -> str:
    """The page at an address, HTTP without TLS.

    Raises:
        HubMetricsError: The answer is not a page, or too large.
        OSError: Nobody is there.
        EOFError: The connection ended before the answer.
    """
    url = urlsplit(address)
    # HTTP/1.0, so that the body comes in one piece and ends with the connection.
    request = f"GET {url.path or '/metrics'} HTTP/1.0\r\nHost: {url.netloc}\r\n\r\n"
    reader, writer = await asyncio.open_connection(url.hostname, url.port or PORT)
    try:
        writer.write(request.encode())
        status = (await reader.readline()).split()
        if len(status) < 2 or status[1] != b"200":
            raise HubMetricsError(f"{address} answers {b' '.join(status[1:3])!r}")
        body = bytearray()
        while chunk := await reader.read(65536):
            body += chunk
            if len(body) > _LARGEST:
                raise HubMetricsError(f"{address} answers with more than {_LARGEST} bytes")
    except ValueError as error:
        raise HubMetricsError(f"{address} does not answer in HTTP") from error
    finally:
        writer.close()
    return body.decode(errors="replace")
