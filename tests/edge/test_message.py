import pytest
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.edge.message import BLOCK, MAX_PACKET, Message, MessageTooLargeError

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="$"), min_size=1, max_size=20)


def test_body_property_names_and_values_and_system_values_are_metered():
    message = Message("batches", b"12345", "a/b", "zstd", {"schema": "1", "ö": "üü"})
    assert message.metered_size == len("batches") + 5 + 3 + 4 + len("schema1") + 2 + 4


@pytest.mark.parametrize(("size", "blocks"), [(0, 1), (1, 1), (BLOCK, 1), (BLOCK + 1, 2)])
def test_a_started_block_is_a_whole_block(size, blocks):
    overhead = Message("o", b"").metered_size
    assert Message("o", bytes(max(0, size - overhead))).blocks == blocks


@given(TEXT, st.dictionaries(TEXT, TEXT, max_size=4), st.integers(0, 300))
def test_the_sdk_never_makes_a_larger_packet_than_we_reckon(output, properties, size):
    from azure.iot.device import Message as SdkMessage
    from azure.iot.device.iothub.pipeline import mqtt_topic_iothub as topics

    message = Message(output, bytes(size), "application/x y", "zstd", properties)
    sdk = SdkMessage(message.body, None, "zstd", "application/x y", output)
    sdk.custom_properties = properties
    address = topics.get_telemetry_topic_for_publish("d" * 128, "m" * 128)
    topic = topics.encode_message_properties_in_topic(sdk, address)
    packet = 1 + 4 + 2 + len(topic.encode()) + 2 + size
    assert packet <= message.packet_size <= packet + 1


def test_a_message_that_no_hub_takes_is_refused_with_its_size():
    largest = MAX_PACKET - Message("o", b"", properties={"a": " "}).packet_size
    Message("o", bytes(largest), properties={"a": " "}).check()
    with pytest.raises(MessageTooLargeError, match="250001 bytes"):
        Message("o", bytes(largest + 1), properties={"a": " "}).check()


@pytest.mark.parametrize("name", ["", "$.on"])
def test_a_property_cannot_pass_for_one_of_the_system(name):
    with pytest.raises(ValueError, match="cannot name"):
        Message("o", b"", properties={name: "x"})


def test_a_message_needs_an_output():
    with pytest.raises(ValueError, match="output"):
        Message("", b"")
