"""One message to the hub: what is sent, what it costs, whether it fits, and how it is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from bordnetz.errors import BordnetzError

BLOCK = 4096
"""IoT Hub charges messages in blocks of this many bytes (pricing of the Standard tier)."""

MAX_PACKET = 250_000
"""The largest MQTT packet we send.  Edge hub cuts the link on one above 262,144 bytes, the SDK
then sends it again for ever; the rest is what Edge hub adds on the way to IoT Hub."""

_ADDRESS = len("devices//modules//messages/events/") + 2 * 128
"""The topic in front of the properties; device and module ids have at most 128 characters."""

_FRAMING = 1 + 4 + 2 + 2
"""PUBLISH at QoS 1 (MQTT 3.1.1, 3.3): type, remaining length, topic length, packet id."""


class MessageTooLargeError(BordnetzError):
    """A message that no hub takes; it must be split by who makes it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to the hub.

    Attributes:
        output: The module output it leaves on; routes start there.
        body: The payload.
        content_type: As in MIME, "" sends none.
        content_encoding: Likewise.
        properties: Application properties, for routes to filter on; names do not start with "$".
        samples: How many it carries.  Kept beside it and not sent, to tell of what is given up.
    """

    output: str
    body: bytes
    content_type: str = ""
    content_encoding: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    samples: int = 0

    def __post_init__(self) -> None:
        if not self.output:
            raise ValueError("a message needs the name of an output")
        for name in self.properties:
            if not name or name.startswith("$"):
                raise ValueError(f"'{name}' cannot name an application property")

    @property
    def metered_size(self) -> int:
        """Bytes that IoT Hub counts: body, names and values of properties, system values."""
        texts = [self.output, self.content_type, self.content_encoding]
        texts += [*self.properties.keys(), *self.properties.values()]
        return len(self.body) + sum(len(text.encode()) for text in texts)

    @property
    def blocks(self) -> int:
        """Blocks of 4,096 bytes that IoT Hub charges, at least one."""
        return max(1, -(-self.metered_size // BLOCK))

    @property
    def packet_size(self) -> int:
        """Bytes of the MQTT packet at most, topic included, whatever the ids of the module."""
        pairs = [("$.on", self.output), ("$.ct", self.content_type)]
        pairs += [("$.ce", self.content_encoding), *self.properties.items()]
        topic = sum(len(quote(name, "")) + len(quote(value, "")) + 2 for name, value in pairs)
        return len(self.body) + topic + _ADDRESS + _FRAMING

    def check(self) -> None:
        """Refuse what the hub would refuse.

        Raises:
            MessageTooLargeError: The packet would exceed `MAX_PACKET`.
        """
        if self.packet_size > MAX_PACKET:
            raise MessageTooLargeError(
                f"a message on output '{self.output}' needs {self.packet_size} bytes with topic "
                f"and properties, the hub takes {MAX_PACKET}; split it"
            )


@dataclass(frozen=True, slots=True)
class Entry:
    """A message on its way out; (outbox, sequence) is its name.

    Attributes:
        number: Its place in the outbox that it waits in.
        size: Bytes that it takes there.
    """

    outbox: int
    sequence: int
    priority: int
    message: Message
    number: int
    size: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to be stored; see `bordnetz.edge.outbox.Outbox.put`."""

    make: Callable[[int, int], Message]
    priority: int
    content: bytes | None = None
    needs: bytes | None = None
