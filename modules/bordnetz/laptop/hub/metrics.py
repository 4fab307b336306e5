"""The hub's counters under the names and labels of Edge hub's built-in metrics.

(IoT Edge documentation, "Access built-in metrics".)  Every one also carries ``iothub``,
``edge_device`` and ``instance_number``, which is drawn at each start.  A module is named
``device/module`` there, and by its own name alone in `Metrics.totals`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Summary, generate_latest
from prometheus_client.metrics import MetricWrapperBase

_COMMON = ("iothub", "edge_device", "instance_number")
_MODULES = ("id", "from", "to")
"""Labels whose value is a module, or the device itself."""


class Metrics:
    """Counts what happens in the hub.

    Attributes:
        counts: The totals by name and label values, for `status`.
    """

    def __init__(self, iothub: str, device: str) -> None:
        self._registry = CollectorRegistry()
        self._common = (iothub, device, str(uuid.uuid4()))
        self._device = device
        self._metrics: dict[str, MetricWrapperBase] = {}
        self._labels = {name: labels for _, name, labels, _ in _METRICS}
        for kind, name, labels, text in _METRICS:
            self._metrics[name] = kind(
                f"edgehub_{name}", text, (*_COMMON, *labels), registry=self._registry
            )

    def count(self, name: str, *labels: str) -> None:
        """Adds one to a counter."""
        counter = self._metrics[name]
        if not isinstance(counter, Counter):
            raise TypeError(f"{name} is not a counter")
        named = zip(self._labels[name], labels, strict=True)
        values = [self._named(label, value) for label, value in named]
        counter.labels(*self._common, *values).inc()

    def size(self, module: str, size: int) -> None:
        """Observes the size of a message from a module, bytes."""
        summary = self._metrics["message_size_bytes"]
        if isinstance(summary, Summary):
            summary.labels(*self._common, self._named("id", module)).observe(size)

    def queues(self, lengths: Mapping[tuple[str, int], int]) -> None:
        """Sets the queue lengths, by endpoint and priority."""
        gauge = self._metrics["queue_length"]
        if isinstance(gauge, Gauge):
            for (endpoint, priority), length in lengths.items():
                gauge.labels(*self._common, endpoint, str(priority)).set(length)

    def totals(self) -> dict[str, int]:
        """All counters as ``name{label=value,...}``, without the common labels."""
        return dict(self._totals())

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)

    def _named(self, label: str, value: str) -> str:
        plain = label not in _MODULES or value in ("", "upstream", "unknown", self._device)
        return value if plain else f"{self._device}/{value}"

    def _totals(self) -> Iterator[tuple[str, int]]:
        for family in self._registry.collect():
            if family.type != "counter":
                continue
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    labels = {k: v for k, v in sample.labels.items() if k not in _COMMON}
                    plain = {k: v.removeprefix(f"{self._device}/") for k, v in labels.items()}
                    text = ",".join(f"{k}={v}" for k, v in plain.items())
                    yield f"{sample.name.removeprefix('edgehub_')}{{{text}}}", int(sample.value)


_METRICS: tuple[tuple[type[MetricWrapperBase], str, tuple[str, ...], str], ...] = (
    (Counter, "messages_received", ("route_output", "id"), "Messages received from clients"),
    (
        Counter,
        "messages_sent",
        ("from", "to", "from_route_output", "to_route_input", "priority"),
        "Messages sent to clients or upstream",
    ),
    (
        Counter,
        "messages_dropped",
        ("reason", "from", "from_route_output"),
        "Messages removed without delivery",
    ),
    (
        Counter,
        "messages_unack",
        ("reason", "from", "from_route_output"),
        "Messages not acknowledged because they could not be stored",
    ),
    (Counter, "gettwin", ("source", "id"), "Twins asked for"),
    (Counter, "reported_properties", ("target", "id"), "Patches of reported properties"),
    (Counter, "direct_methods", ("from", "to"), "Direct methods sent"),
    (Counter, "client_connect_failed", ("id", "reason"), "Connections refused"),
    (Counter, "offline_count", ("id",), "Times the upstream went offline"),
    (Gauge, "queue_length", ("endpoint", "priority"), "Messages waiting"),
    (Summary, "message_size_bytes", ("id",), "Sizes of messages from clients"),
)
