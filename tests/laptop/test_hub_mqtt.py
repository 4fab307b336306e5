from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.laptop.hub.decoder import Decoder
from bordnetz.laptop.hub.mqtt import (
    Connack,
    Connect,
    Disconnect,
    MqttError,
    PacketTooLargeError,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
    encode,
    topic_matches,
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ids = st.integers(1, 0xFFFF)
topics = texts.filter(lambda text: text and "+" not in text and "#" not in text)
filters = st.one_of(topics, topics.map("{}/#".format), topics.map("+/{}".format), st.just("#"))
wills = st.builds(Will, texts, st.binary(max_size=40), st.integers(0, 2), st.booleans())


def _connects() -> st.SearchStrategy[Connect]:
    return st.builds(
        Connect,
        texts,
        st.booleans(),
        st.integers(0, 0xFFFF),
        username=texts,
        password=st.none() | st.binary(max_size=40),
        will=st.none() | wills,
    )


def _publishes() -> st.SearchStrategy[Publish]:
    at_least_once = st.builds(
        Publish, topics, st.binary(), st.just(1), ids, st.booleans(), st.booleans()
    )
    at_most_once = st.builds(Publish, topics, st.binary(), retain=st.booleans())
    return at_least_once | at_most_once


asked = st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1, max_size=5).map(tuple)
packets = st.one_of(
    _connects(),
    _publishes(),
    st.builds(Connack, st.integers(0, 5), st.booleans()),
    st.builds(Puback, ids),
    st.builds(Subscribe, ids, asked),
    st.builds(Suback, ids, st.lists(st.sampled_from([0, 1, 0x80])).map(tuple)),
    st.builds(Unsubscribe, ids, st.lists(filters, min_size=1, max_size=5).map(tuple)),
    st.builds(Unsuback, ids),
    st.sampled_from([Pingreq(), Pingresp(), Disconnect()]),
)


@given(st.lists(packets, max_size=6), st.integers(1, 50))
def test_packets_come_out_as_they_went_in_however_the_stream_is_cut(sent, piece):
    stream = b"".join(map(encode, sent))
    decoder = Decoder()
    received = []
    for start in range(0, len(stream), piece):
        received += decoder.feed(stream[start : start + piece])
    assert received == sent


@given(st.binary(max_size=300))
def test_any_bytes_are_packets_or_an_mqtt_error(data):
    decoder = Decoder(limit=200)
    try:
        for packet in decoder.feed(data):
            encode(packet)
    except MqttError:
        pass


@given(packets, st.data())
def test_a_packet_with_one_flipped_bit_is_a_packet_or_an_mqtt_error(packet, data):
    stream = bytearray(encode(packet))
    at = data.draw(st.integers(0, len(stream) * 8 - 1))
    stream[at // 8] ^= 1 << at % 8
    with contextlib.suppress(MqttError):
        list(Decoder().feed(bytes(stream)))


def test_a_large_packet_is_refused_before_it_has_come():
    head = encode(Publish("t", bytes(5000)))[:3]
    with pytest.raises(PacketTooLargeError, match="at most 4096"):
        list(Decoder(limit=4096).feed(head))


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"\x00\x00", "packet type 0"),
        (b"\x50\x02\x00\x01", "packet type 5"),
        (b"\x30\xff\xff\xff\xff\x01", "more than four bytes"),
        (b"\x34\x05\x00\x01t\x00\x01", "QoS 2"),
        (b"\x38\x03\x00\x01t", "duplicate"),
        (b"\x30\x03\x00\x01#", "wildcard"),
        (b"\x30\x02\x00\x00", "empty topic"),
        (b"\x30\x04\x00\x02\xc3\x28", "not UTF-8"),
        (b"\x30\x04\x00\x02t\x00", "null character"),
        (b"\x32\x05\x00\x01t\x00\x00", "identifier 0"),
        (b"\x30\x02\x00\x09", "middle of a field"),
        (b"\x40\x03\x00\x01\x00", "1 bytes too many"),
        (b"\x80\x05\x00\x01\x00\x00\x00", "flags"),
        (b"\x82\x02\x00\x01", "without a topic filter"),
        (b"\x82\x06\x00\x01\x00\x01t\x03", "QoS 3"),
        (b"\x82\x07\x00\x01\x00\x02a#\x00", "inside a level"),
        (b"\x10\x0c\x00\x04MQTT\x04\x01\x00\x00\x00\x00", "reserved flag"),
        (b"\x10\x0c\x00\x04MQTT\x04\x40\x00\x00\x00\x00", "password but no user"),
        (b"\x10\x0c\x00\x04MQTT\x04\x20\x00\x00\x00\x00", "no will"),
        (b"\x10\x0c\x00\x04HTTP\x04\x02\x00\x00\x00\x00", "another protocol"),
    ],
)
def test_malformed_packets_are_refused_with_the_reason(stream, reason):
    with pytest.raises(MqttError, match=reason):
        list(Decoder().feed(stream))


def test_other_protocol_levels_are_told_apart_so_that_they_can_be_answered():
    (packet,) = Decoder().feed(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00")
    assert isinstance(packet, Connect)
    assert packet.level == 5


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/+/c", "a/b/c", True),
        ("a/+", "a/b/c", False),
        ("+", "a/b", False),
        ("#", "a/b", True),
        ("#", "$iothub/x", False),
        ("+/x", "$iothub/x", False),
        ("$iothub/methods/POST/#", "$iothub/methods/POST/ping/?$rid=1", True),
    ],
)
def test_wildcards_take_the_topics_of_section_4_7(topic_filter, topic, matches):
    assert topic_matches(topic_filter, topic) is matches
