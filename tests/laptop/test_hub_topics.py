from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.edge.message import Message
from bordnetz.laptop.hub import sas, topics
from bordnetz.laptop.hub.mqtt import MqttError
from bordnetz.laptop.hub.topics import Address, Event, MethodReply, TwinGet, TwinPatch

A = Address("vehicle", "a")
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
names = words.filter(lambda word: not word.startswith("$"))


@given(st.dictionaries(names, words), st.dictionaries(st.sampled_from(["contentType"]), words))
def test_properties_survive_the_way_through_a_topic(properties, system):
    sent = Event("out", properties, system)
    bag = topics.input_topic(A, "in", sent).removeprefix(f"{A.inputs}in/")
    received = topics.parse_bag(bag, A)
    assert received.properties == properties
    assert {k: v for k, v in received.system.items() if k in system} == system


def test_what_the_sdk_publishes_is_understood():
    topic = f"{A.events}/%24.on=batches&%24.ct=application%2Fjson&a=1&b%20c=%C3%BC"
    event = A.parse(topic)
    assert isinstance(event, Event)
    assert event.output == "batches"
    assert event.properties == {"a": "1", "b c": "ü"}
    assert event.system["contentType"] == "application/json"
    assert event.system["connectionModuleId"] == "a"
    assert A.parse("$iothub/twin/GET/?$rid=7f") == TwinGet("7f")
    assert A.parse("$iothub/twin/PATCH/properties/reported/?$rid=9") == TwinPatch("9")
    assert A.parse("$iothub/methods/res/200/?$rid=1") == MethodReply("1", 200)


@pytest.mark.parametrize(
    "topic",
    [
        "devices/vehicle/modules/b/messages/events/",
        "devices/vehicle/modules/ab/messages/events/",
        "devices/other/modules/a/messages/events/",
        "devices/vehicle/messages/events/",
        "devices/vehicle/modules/a/messages/eventsx",
        "devices/vehicle/modules/a/messages/events/x=1/y",
        "devices/vehicle/modules/b/inputs/in/",
        "$iothub/twin/GET/",
        "$iothub/twin/res/200/?$rid=1",
        "$iothub/methods/POST/ping/?$rid=1",
        "$iothub/methods/res/abc/?$rid=1",
        "anything",
    ],
)
def test_a_module_publishes_to_nothing_but_its_own_topics(topic):
    with pytest.raises(MqttError, match="may not publish"):
        A.parse(topic)


@pytest.mark.parametrize(
    ("topic_filter", "granted"),
    [
        ("devices/vehicle/modules/a/inputs/#", True),
        ("$iothub/methods/POST/#", True),
        ("$iothub/twin/res/#", True),
        ("$iothub/twin/PATCH/properties/desired/#", True),
        ("devices/vehicle/modules/b/inputs/#", False),
        ("devices/vehicle/modules/+/inputs/#", False),
        ("$iothub/#", False),
        ("#", False),
    ],
)
def test_a_module_subscribes_to_nothing_but_its_own_topics(topic_filter, granted):
    assert A.may_subscribe(topic_filter) is granted


@given(st.binary(max_size=50), st.dictionaries(names, words), words, words)
def test_the_hub_meters_what_the_sender_expects_to_pay(body, properties, kind, encoding):
    message = Message("batches", body, kind, encoding, properties)
    bag = {"$.on": "batches", "$.ct": kind, "$.ce": encoding, **properties}
    text = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in bag.items())
    event = topics.parse_bag(text, A)
    assert topics.metered_size(body, event.properties, event.system) == message.metered_size


KEY, AUDIENCE = b"k" * 32, "hub/devices/vehicle/modules/a"


def _token(audience: str = AUDIENCE, expiry: str = "2000", key: bytes = KEY) -> str:
    resource = quote(audience, safe="")
    signature = base64.b64encode(sas.sign(key, f"{resource}\n{expiry}".encode())).decode()
    return f"SharedAccessSignature sr={resource}&sig={quote(signature, safe='')}&se={expiry}"


def test_a_right_signature_is_accepted():
    sas.check(_token(), AUDIENCE, KEY, now=1999)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (_token(key=b"x" * 32), "another key"),
        (_token(audience="hub/devices/vehicle/modules/b"), "another audience"),
        (_token(expiry="1000"), "expired"),
        (_token(expiry="soon"), "not a number"),
        (_token(expiry="9" * 30), "not a number"),
        (_token().replace("sig=", "sig=%%%"), "base64|another key"),
        (_token().replace("&se=2000", "&se=9000"), "another key"),
        (_token().replace("&se=2000", ""), "without 'se'"),
        (_token().removeprefix("SharedAccessSignature "), "not a shared access signature"),
        ("", "not a shared access signature"),
    ],
)
def test_a_wrong_signature_is_refused_with_the_reason(token, reason):
    with pytest.raises(sas.SasError, match=reason):
        sas.check(token, AUDIENCE, KEY, now=1999)


@given(st.text(max_size=200))
def test_any_text_as_a_token_is_refused(text):
    with pytest.raises(sas.SasError):
        sas.check("SharedAccessSignature " + text, AUDIENCE, KEY, now=0)
