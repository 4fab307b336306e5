"""The module's figures for Prometheus, read from the books whenever somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from bordnetz.can.health import KINDS, ErrorState
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.buses import NAMES, Buses
from bordnetz.telemetry.tally import FINDINGS, Tally


class BusFigures(Collector):
    """How the buses are listened to, and their controllers' health.

    Args:
        buses: Knows both.
    """

    def __init__(self, buses: Buses) -> None:
        self._buses = buses

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """The figures as they are now; none for a recording."""
        pages = self._buses.page()
        states: dict[str, ErrorState] = {name: state for state, name in NAMES.items()}
        listening = GaugeMetricFamily(
            "bordnetz_bus_listening", "bus: 1 if it is listened to", labels=["bus"]
        )
        state = GaugeMetricFamily(
            "bordnetz_bus_state", "bus: error state of its controller", labels=["bus"]
        )
        gaps = CounterMetricFamily(
            "bordnetz_bus_gaps", "bus: times it was not listened to", labels=["bus"]
        )
        errors = CounterMetricFamily(
            "bordnetz_bus_errors", "bus: told by error frames", labels=["bus", "kind"]
        )
        lost = CounterMetricFamily(
            "bordnetz_bus_interface", "bus: frames lost before any socket", labels=["bus", "kind"]
        )
        for bus, page in pages.items():
            listening.add_metric([bus], page["listening"])
            state.add_metric([bus], states[page["state"]])
            gaps.add_metric([bus], page["gaps"])
            for kind in KINDS:
                errors.add_metric([bus, kind], page[kind])
            lost.add_metric([bus, "dropped"], page["interfaceDropped"])
            lost.add_metric([bus, "overrun"], page["interfaceOverrun"])
        yield from (listening, state, gaps, errors, lost)


class Figures(Collector):
    """The stages ``frames`` and ``samples``; counting them costs the data's way nothing.

    Args:
        books: Of the frames.
        samples: Gives ``decoded``, ``stored``, ``dropped`` and ``givenUp`` by reason.
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
        family = CounterMetricFamily(
            "bordnetz_samples_given_up", "samples: left the outbox for nowhere", labels=["reason"]
        )
        for reason, count in samples["givenUp"].items():
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
