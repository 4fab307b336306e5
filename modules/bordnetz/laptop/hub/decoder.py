"""MQTT 3.1.1 packets out of a byte stream that is hostile until parsed.

A `Decoder` never holds more than one packet of the allowed length and the piece just fed, and
everything malformed raises `MqttError`, as early as it can be known.  QoS 2 is refused, as IoT Hub
refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator

from bordnetz.laptop.hub.mqtt import (
    MAX_REMAINING_LENGTH,
    Connack,
    Connect,
    Disconnect,
    MqttError,
    Packet,
    PacketTooLargeError,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Type,
    Unsuback,
    Unsubscribe,
    Will,
)


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
