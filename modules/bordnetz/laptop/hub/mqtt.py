"""MQTT 3.1.1 control packets to bytes and back (OASIS standard of 29 October 2014).

Pure: no sockets, no sessions.  Covers what Azure IoT clients use; QoS 2 is refused, as IoT Hub
refuses it.  What comes from a client is hostile until parsed: a `Decoder` never holds more than
one packet of the allowed length, and everything malformed raises `MqttError`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
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


class Decoder:
    """Packets out of a byte stream that arrives in pieces of any size."""

    def __init__(self, limit: int = MAX_REMAINING_LENGTH) -> None:
        """Takes packets of up to ``limit`` bytes remaining length; may be changed at any time."""
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets that ``data`` completes.

        Raises:
            PacketTooLargeError: As soon as the packet's length is known.
            MqttError: The stream is not MQTT 3.1.1; it cannot be used any further.
        """
        self._buffer += data
        while (header := self._header()) is not None:
            first, start, length = header
            if len(self._buffer) < start + length:
                return
            body = bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            yield _decode(first, body)

    def _header(self) -> tuple[int, int, int] | None:
        """First byte, offset of the body and its length; None while the header is incomplete."""
        if not self._buffer:
            return None
        _check_first(self._buffer[0])
        length = 0
        for position, byte in enumerate(self._buffer[1:5]):
            length |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                if length > self.limit:
                    raise PacketTooLargeError(length, self.limit)
                return self._buffer[0], position + 2, length
        if len(self._buffer) >= 5:
            raise MqttError("remaining length of more than four bytes")
        return None


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


class _Body:
    """Reads a packet's body from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) < count:
            raise MqttError("packet ends in the middle of a field")
        self._at += count
        return part

    def byte(self) -> int:
        return self.take(1)[0]

    def uint16(self) -> int:
        return int.from_bytes(self.take(2))

    def packet_id(self) -> int:
        number = self.uint16()
        if number == 0:
            raise MqttError("packet identifier 0")
        return number

    def binary(self) -> bytes:
        return self.take(self.uint16())

    def text(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as error:
            raise MqttError(f"text that is not UTF-8: {error.reason}") from error
        if "\0" in text:
            raise MqttError("text with a null character")
        return text

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def more(self) -> bool:
        return self._at < len(self._data)

    def end(self) -> None:
        if self.more():
            raise MqttError(f"{len(self._data) - self._at} bytes too many in the packet")


def _check_first(first: int) -> None:
    """Refuses a packet by its first byte, before anybody waits for the others."""
    try:
        kind, flags = Type(first >> 4), first & 0x0F
    except ValueError:
        raise MqttError(f"packet type {first >> 4} is not supported") from None
    if kind is Type.PUBLISH:
        if (qos := flags >> 1 & 3) > 1:
            raise MqttError(f"PUBLISH with QoS {qos}; 0 and 1 are supported")
        if flags & 8 and not qos:
            raise MqttError("PUBLISH with QoS 0 marked as a duplicate")
    elif flags != (2 if kind in (Type.SUBSCRIBE, Type.UNSUBSCRIBE) else 0):
        raise MqttError(f"{kind.name} with flags {flags:#x}")


def _decode(first: int, data: bytes) -> Packet:
    kind, body = Type(first >> 4), _Body(data)
    if kind is Type.PUBLISH:
        return _publish(first & 0x0F, body)
    packet = _decode_flagless(kind, body)
    body.end()
    return packet


def _decode_flagless(kind: Type, body: _Body) -> Packet:
    match kind:
        case Type.CONNECT:
            return _connect(body)
        case Type.CONNACK:
            acknowledge = body.byte()
            if acknowledge > 1:
                raise MqttError(f"CONNACK with acknowledge flags {acknowledge:#x}")
            return Connack(body.byte(), bool(acknowledge))
        case Type.PUBACK:
            return Puback(body.packet_id())
        case Type.SUBSCRIBE:
            return _subscribe(body)
        case Type.SUBACK:
            return Suback(body.packet_id(), tuple(body.rest()))
        case Type.UNSUBSCRIBE:
            return _unsubscribe(body)
        case Type.UNSUBACK:
            return Unsuback(body.packet_id())
        case Type.PINGREQ:
            return Pingreq()
        case Type.PINGRESP:
            return Pingresp()
        case _:
            return Disconnect()


def _publish(flags: int, body: _Body) -> Publish:
    qos, topic = flags >> 1 & 3, body.text()
    if not topic or "+" in topic or "#" in topic:
        raise MqttError("PUBLISH to an empty topic or to a wildcard")
    packet_id = body.packet_id() if qos else None
    return Publish(topic, body.rest(), qos, packet_id, bool(flags & 8), bool(flags & 1))


def _connect(body: _Body) -> Connect:
    if (protocol := body.text()) not in ("MQTT", "MQIsdp"):
        raise MqttError("CONNECT of another protocol than MQTT")
    level = body.byte()
    if level != 4 or protocol != "MQTT":
        # The fields of other versions differ; the server answers by the level alone.
        body.rest()
        return Connect("", level=level if level != 4 else 0)
    flags = body.byte()
    if flags & 1:
        raise MqttError("CONNECT with the reserved flag set")
    keep_alive, client_id, will = body.uint16(), body.text(), None
    if flags & 0x04:
        qos = flags >> 3 & 3
        if qos > 2:
            raise MqttError("CONNECT with a will of QoS 3")
        will = Will(body.text(), body.binary(), qos, bool(flags & 0x20))
    elif flags & 0x38:
        raise MqttError("CONNECT with will flags but no will")
    username = body.text() if flags & 0x80 else None
    if flags & 0x40 and username is None:
        raise MqttError("CONNECT with a password but no user name")
    password = body.binary() if flags & 0x40 else None
    return Connect(client_id, bool(flags & 2), keep_alive, username, password, will)


def _subscribe(body: _Body) -> Subscribe:
    packet_id, filters = body.packet_id(), []
    while body.more():
        topic_filter, qos = _filter(body), body.byte()
        if qos > 2:
            raise MqttError(f"SUBSCRIBE with QoS {qos}")
        filters.append((topic_filter, qos))
    if not filters:
        raise MqttError("SUBSCRIBE without a topic filter")
    return Subscribe(packet_id, tuple(filters))


def _unsubscribe(body: _Body) -> Unsubscribe:
    packet_id, filters = body.packet_id(), []
    while body.more():
        filters.append(_filter(body))
    if not filters:
        raise MqttError("UNSUBSCRIBE without a topic filter")
    return Unsubscribe(packet_id, tuple(filters))


def _filter(body: _Body) -> str:
    topic_filter = body.text()
    *inner, last = topic_filter.split("/")
    wildcards_alone = all(
        level == "+" or ("+" not in level and "#" not in level) for level in inner
    ) and (last in ("+", "#") or ("+" not in last and "#" not in last))
    if not topic_filter or not wildcards_alone:
        raise MqttError("topic filter that is empty or has a wildcard inside a level")
    return topic_filter
