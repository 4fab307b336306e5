"""What a drive has come to so far: the numbers that its view shows and its report keeps."""

import math
from collections import deque
from dataclasses import dataclass, field

HISTORY = 80
"""Points of a signal's curve at most."""

MEMORY = 2.0
"""Seconds over which a rate is averaged: calm enough to read, quick enough to follow."""

ELSEWHERE = "no bus of the vehicle file"
"""The channel of what is no bus: frames that belong to none."""

BLOCK = 4096
"""Bytes that IoT Hub meters as one message (Azure IoT Hub quotas and throttling)."""


@dataclass(slots=True)
class BusLine:
    """One bus.

    Attributes:
        name: In the vehicle file.
        channel: Where its frames come from.
        frames: Received so far.
        rate: Frames a second, lately.
        dropped: Frames lost or unusable though wanted.
        seen: When that was, s.
    """

    name: str
    channel: str
    frames: int = 0
    rate: float = 0.0
    dropped: int = 0
    seen: float | None = None

    def update(self, frames: int, dropped: int, now: float) -> None:
        """Take the counts of a moment, s; they begin anew where the module has."""
        if self.seen is not None and now > self.seen:
            lately = max(frames - self.frames, 0) / (now - self.seen)
            first = not self.rate
            weight = 1.0 if first else 1 - math.exp((self.seen - now) / MEMORY)
            self.rate += weight * (lately - self.rate)
        self.frames, self.dropped, self.seen = frames, dropped, now


@dataclass(slots=True)
class SignalLine:
    """One signal: its last value and how it came there."""

    name: str
    unit: str
    value: float = 0.0
    text: str | None = None
    history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))


@dataclass(slots=True)
class Totals:
    """What arrived in the cloud.

    Attributes:
        batches: Messages that carry samples.
        dictionaries: Messages that tell how to read them.
        samples: In the batches.
        metered: Bytes of body and properties of both, as IoT Hub counts them.
        blocks: Of 4,096 bytes, as IoT Hub charges them.
        damaged: Messages that could not be read.
        unread: Batches whose dictionary has not come.
    """

    batches: int = 0
    dictionaries: int = 0
    samples: int = 0
    metered: int = 0
    blocks: int = 0
    damaged: int = 0
    unread: int = 0

    @property
    def messages(self) -> int:
        """All of them."""
        return self.batches + self.dictionaries

    @property
    def bytes_per_sample(self) -> float:
        """Dictionaries and properties included."""
        return self.metered / self.samples if self.samples else 0.0

    @property
    def block_fill(self) -> float:
        """Share of the charged bytes that carry something."""
        return self.metered / (self.blocks * BLOCK) if self.blocks else 0.0


@dataclass(slots=True)
class Progress:
    """Everything at one moment.

    Attributes:
        elapsed: Since the first frame could flow, s.
        planned: How long it will run, s; None: until it is ended, or the recording is.
        buses: By name.
        signals: Some signals worth looking at.
        cloud: What arrived.
        hub: Loopback address of the hub.
        waiting: Messages in the outbox.
        connected: Whether the module is connected to the hub.
        collected: How many signals are asked for.
        restarts: How often the module was started again.
    """

    elapsed: float = 0.0
    planned: float | None = None
    buses: dict[str, BusLine] = field(default_factory=dict)
    signals: list[SignalLine] = field(default_factory=list)
    cloud: Totals = field(default_factory=Totals)
    hub: str = ""
    waiting: int = 0
    connected: bool = False
    collected: int = 0
    restarts: int = 0

    def bus(self, name: str) -> BusLine:
        """A bus, or what the module's books call those frames that are of none."""
        return self.buses.setdefault(name, BusLine(name, ELSEWHERE))

    @property
    def frames(self) -> int:
        """Of all buses."""
        return sum(bus.frames for bus in self.buses.values())

    @property
    def rate(self) -> float:
        """Frames a second of all buses, lately."""
        return sum(bus.rate for bus in self.buses.values())

    @property
    def dropped(self) -> int:
        """Frames of all buses."""
        return sum(bus.dropped for bus in self.buses.values())

    @property
    def acknowledged(self) -> int:
        """Messages that have arrived and that the module no longer keeps."""
        return max(self.cloud.messages - self.waiting, 0)
