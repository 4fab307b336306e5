"""A module's MQTT session: what it subscribed to and what it has not acknowledged yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from bordnetz.laptop.hub.mqtt import Publish, encode, topic_matches

MAX_PENDING = 10
"""Unacknowledged messages to the inputs of one module (Edge hub, MaxPendingInboundMessages)."""

MAX_SUBSCRIPTIONS = 50
"""Of one session, so that no client can grow it without end."""


class Link(Protocol):
    """A session's connection while there is one."""

    def send(self, data: bytes) -> None:
        """Sends bytes; a link that is gone swallows them."""

    def close(self, reason: str) -> None:
        """Ends the connection; what was sent before still leaves."""

    def drop(self) -> None:
        """Cuts the connection at once, as a broken network does."""

    def go_silent(self) -> None:
        """Reads and answers nothing from now on."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A QoS 1 message that was sent and not acknowledged.

    Attributes:
        packet: As it was sent.
        stored: Its id in the store; None for what is not kept (twin replies, methods).
    """

    packet: Publish
    stored: int | None


class Session:
    """What outlives a connection."""

    def __init__(self, module: str, subscriptions: Mapping[str, int] | None = None) -> None:
        self.module = module
        self.subscriptions = dict(subscriptions or {})
        self.in_flight: dict[int, InFlight] = {}
        self.link: Link | None = None
        self._last_packet_id = 0

    def attach(self, link: Link) -> None:
        """Takes the new connection in place of the old one, which is cut."""
        if self.link is not None:
            self.link.close("the same module has connected again")
        self.link = link

    def resume(self) -> None:
        """Sends again what was not acknowledged, in order, marked as duplicates."""
        if self.link is None:
            return
        for packet_id, sent in self.in_flight.items():
            self.in_flight[packet_id] = replace(sent, packet=replace(sent.packet, dup=True))
            self.link.send(encode(self.in_flight[packet_id].packet))

    def granted(self, topic: str) -> int | None:
        """The highest QoS under which the session hears a topic, None if it does not."""
        return max(
            (qos for name, qos in self.subscriptions.items() if topic_matches(name, topic)),
            default=None,
        )

    def pending(self) -> list[int]:
        """Ids in the store of the messages that are not acknowledged."""
        return [sent.stored for sent in self.in_flight.values() if sent.stored is not None]

    def publish(self, topic: str, payload: bytes, stored: int | None = None) -> int | None:
        """Sends a message to the module.

        Returns:
            The QoS that it was sent with; None if the module is not connected or not subscribed.

        Raises:
            MqttError: The topic is longer than MQTT can express.
        """
        qos = self.granted(topic)
        if self.link is None or qos is None:
            return None
        packet_id = self._next_packet_id() if qos else None
        packet = Publish(topic, payload, qos, packet_id)
        data = encode(packet)
        if packet_id is not None:
            self.in_flight[packet_id] = InFlight(packet, stored)
        self.link.send(data)
        return qos

    def acknowledge(self, packet_id: int) -> InFlight | None:
        """The message that a PUBACK acknowledges; None for one that is not in flight."""
        return self.in_flight.pop(packet_id, None)

    def _next_packet_id(self) -> int:
        while True:
            self._last_packet_id = self._last_packet_id % 0xFFFF + 1
            if self._last_packet_id not in self.in_flight:
                return self._last_packet_id
