"""The module's figures for Prometheus, read from the books whenever somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from bordnetz.telemetry.books import Books
from bordnetz.telemetry.tally import FINDINGS, Tally


class Figures(Collector):
    """The stages ``frames`` and ``samples``; counting them costs the data's way nothing.

    Args:
        books: Of the frames.
        samples: Gives ``decoded``, ``stored``, and ``dropped`` by reason.
        tally: Of the checks.
    """

    def __init__(self, books: Books, samples: Callable[[], dict[str, Any]], tally: Tally) -> None:
        self._books = books
        self._samples = samples
        self._tally = tally

    def collect(self) -> Iterable[CounterMetricFamily]:
        """The counters as they are now."""
        pages = self._books.by_bus()
        for name, key, text in (
            ("received", "received", "came in"),
            ("sent", "decoded", "became samples"),
            ("not_asked", "notAsked", "nobody asked for"),
            ("not_data", "notData", "remote and error frames"),
        ):
            family = CounterMetricFamily(
                f"bordnetz_frames_{name}", f"frames: {text}", labels=["bus"]
            )
            for bus, page in pages.items():
                family.add_metric([bus], page[key])
            yield family
        text = "frames: lost or unusable though wanted"
        family = CounterMetricFamily("bordnetz_frames_dropped", text, labels=["bus", "reason"])
        for bus, page in pages.items():
            for reason, count in page["dropped"].items():
                family.add_metric([bus, reason], count)
        yield family

        samples = self._samples()
        yield CounterMetricFamily(
            "bordnetz_samples_received", "samples: decoded", value=samples["decoded"]
        )
        yield CounterMetricFamily(
            "bordnetz_samples_sent", "samples: safe in the outbox", value=samples["stored"]
        )
        family = CounterMetricFamily(
            "bordnetz_samples_dropped", "samples: went nowhere", labels=["reason"]
        )
        for reason, count in samples["dropped"].items():
            family.add_metric([reason], count)
        yield family

        frames = CounterMetricFamily(
            "bordnetz_checks_frames", "checks: frames looked at", labels=["message"]
        )
        found = CounterMetricFamily(
            "bordnetz_checks_findings", "checks: what was found", labels=["message", "finding"]
        )
        for message, line in self._tally.by_message().items():
            frames.add_metric([message], line["frames"])
            for finding in FINDINGS:
                if finding in line:
                    found.add_metric([message, finding], line[finding])
        yield frames
        yield found
