"""MQTT 3.1.1 control packets and their bytes (OASIS standard of 29 October 2014).

Pure: no sockets, no sessions.  Covers what Azure IoT clients use, QoS 0 and 1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from bordnetz.errors import BordnetzError

MAX_REMAINING_LENGTH = 268_435_455
"""What four length bytes can express (section 2.2.3)."""

SUBSCRIBE_REFUSED = 0x80
"""SUBACK return code for a filter that was not granted (section 3.9.3)."""


class MqttError(BordnetzError):
    """Bytes that are not an MQTT 3.1.1 packet, or a packet that cannot be expressed."""


class PacketTooLargeError(MqttError):
    """A packet announces more bytes than the receiver takes.

    Attributes:
        length: The remaining length that the packet announced, bytes.
    """

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"packet of {length} bytes, at most {limit} are taken")
        self.length = length


class Type(IntEnum):
    """Control packet types (section 2.2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class ConnectCode(IntEnum):
    """CONNACK return codes (section 3.2.2.3)."""

    ACCEPTED = 0
    BAD_PROTOCOL_LEVEL = 1
    BAD_CLIENT_ID = 2
    BAD_CREDENTIALS = 4
    NOT_AUTHORISED = 5


@dataclass(frozen=True, slots=True)
class Will:
    """The message a client leaves to be sent if its link breaks."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """Opens a connection; ``level`` is 4 for MQTT 3.1.1, ``keep_alive`` in seconds."""

    client_id: str
    clean_session: bool = True
    keep_alive: int = 60
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None
    level: int = 4


@dataclass(frozen=True, slots=True)
class Connack:
    """Answers CONNECT."""

    code: int = ConnectCode.ACCEPTED
    session_present: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """An application message; ``packet_id`` is 1..65535 with QoS 1 and None with QoS 0."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    packet_id: int | None = None
    dup: bool = False
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Puback:
    """Acknowledges a QoS 1 PUBLISH."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Asks for topic filters, each with the highest QoS wanted."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Suback:
    """Answers SUBSCRIBE: a granted QoS or `SUBSCRIBE_REFUSED` for each filter."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Gives topic filters back."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsuback:
    """Answers UNSUBSCRIBE."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pingreq:
    """Shows that the client is alive."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """Answers PINGREQ."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Closes the connection cleanly."""


Packet = (
    Connect
    | Connack
    | Publish
    | Puback
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
)


def encode(packet: Packet) -> bytes:
    """A packet's bytes.

    Raises:
        MqttError: A text is longer than 65,535 bytes, or the packet is longer than MQTT allows.
    """
    match packet:
        case Connect():
            return _frame(Type.CONNECT, 0, _connect_body(packet))
        case Connack():
            return _frame(Type.CONNACK, 0, bytes((packet.session_present, packet.code)))
        case Publish():
            flags = packet.dup << 3 | packet.qos << 1 | packet.retain
            identifier = b"" if packet.packet_id is None else _uint16(packet.packet_id)
            return _frame(Type.PUBLISH, flags, _text(packet.topic) + identifier + packet.payload)
        case Puback():
            return _frame(Type.PUBACK, 0, _uint16(packet.packet_id))
        case Subscribe():
            asked = b"".join(_text(name) + bytes((qos,)) for name, qos in packet.filters)
            return _frame(Type.SUBSCRIBE, 2, _uint16(packet.packet_id) + asked)
        case Suback():
            return _frame(Type.SUBACK, 0, _uint16(packet.packet_id) + bytes(packet.codes))
        case Unsubscribe():
            returned = b"".join(map(_text, packet.filters))
            return _frame(Type.UNSUBSCRIBE, 2, _uint16(packet.packet_id) + returned)
        case Unsuback():
            return _frame(Type.UNSUBACK, 0, _uint16(packet.packet_id))
        case Pingreq():
            return _frame(Type.PINGREQ, 0, b"")
        case Pingresp():
            return _frame(Type.PINGRESP, 0, b"")
        case Disconnect():
            return _frame(Type.DISCONNECT, 0, b"")


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter with the wildcards + and # takes a topic (section 4.7)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(
        want in ("+", level) for want, level in zip(wanted, levels, strict=True)
    )


def _frame(kind: Type, flags: int, body: bytes) -> bytes:
    if len(body) > MAX_REMAINING_LENGTH:
        raise PacketTooLargeError(len(body), MAX_REMAINING_LENGTH)
    head, rest = bytearray((kind << 4 | flags,)), len(body)
    while rest > 0x7F:
        head.append(rest & 0x7F | 0x80)
        rest >>= 7
    head.append(rest)
    return bytes(head) + body


def _uint16(number: int) -> bytes:
    return struct.pack(">H", number)


def _binary(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise MqttError(f"text of {len(data)} bytes, MQTT can express 65535")
    return _uint16(len(data)) + data


def _text(text: str) -> bytes:
    return _binary(text.encode())


def _connect_body(packet: Connect) -> bytes:
    flags = packet.clean_session << 1
    tail = _text(packet.client_id)
    if packet.will is not None:
        flags |= 0x04 | packet.will.qos << 3 | packet.will.retain << 5
        tail += _text(packet.will.topic) + _binary(packet.will.payload)
    if packet.username is not None:
        flags |= 0x80
        tail += _text(packet.username)
    if packet.password is not None:
        flags |= 0x40
        tail += _binary(packet.password)
    return _text("MQTT") + bytes((packet.level, flags)) + _uint16(packet.keep_alive) + tail
