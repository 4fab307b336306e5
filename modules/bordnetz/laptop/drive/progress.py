"""What a drive has come to so far: the numbers that its view shows and its report keeps."""

from collections import deque
from dataclasses import dataclass, field

HISTORY = 40
"""Points of a signal's curve."""

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
    """

    name: str
    channel: str
    frames: int = 0
    rate: float = 0.0
    dropped: int = 0


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
        waiting: Messages in the outbox.
        acknowledged: Messages that the hub has acknowledged.
        connected: Whether the module is connected to the hub.
        collected: How many signals are asked for.
    """

    elapsed: float = 0.0
    planned: float | None = None
    buses: dict[str, BusLine] = field(default_factory=dict)
    signals: list[SignalLine] = field(default_factory=list)
    cloud: Totals = field(default_factory=Totals)
    waiting: int = 0
    acknowledged: int = 0
    connected: bool = False
    collected: int = 0
