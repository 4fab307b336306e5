"""The topics by which an Azure IoT Edge module talks to its hub, and the property bag in them.

Every module uses the same ``$iothub`` topics: who is meant is known from the connection alone,
which is why a general broker cannot play this part.  (IoT Hub documentation, "Communicate with an
IoT hub using the MQTT protocol"; azure-iot-device, ``mqtt_topic_iothub``.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from bordnetz.laptop.hub.mqtt import MqttError

TWIN_REPLIES = "$iothub/twin/res/"
DESIRED_PATCHES = "$iothub/twin/PATCH/properties/desired/"
METHODS = "$iothub/methods/POST/"

SYSTEM_PROPERTIES = {
    "$.on": "outputName",
    "$.mid": "messageId",
    "$.cid": "correlationId",
    "$.uid": "userId",
    "$.ct": "contentType",
    "$.ce": "contentEncoding",
    "$.exp": "expiryTimeUtc",
    "$.ctime": "creationTimeUtc",
    "$.ifid": "interfaceId",
    "$.cdid": "connectionDeviceId",
    "$.cmid": "connectionModuleId",
}
"""Short names on the wire to the names that route conditions use."""

_SHORT_NAMES = {name: short for short, name in SYSTEM_PROPERTIES.items()}
_SET_BY_THE_HUB = ("connectionDeviceId", "connectionModuleId")


@dataclass(frozen=True, slots=True)
class Event:
    """A message on one of a module's outputs ("" for none)."""

    output: str
    properties: Mapping[str, str]
    system: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TwinGet:
    """A module asks for its twin."""

    request: str


@dataclass(frozen=True, slots=True)
class TwinPatch:
    """A module patches its reported properties."""

    request: str


@dataclass(frozen=True, slots=True)
class MethodReply:
    """A module answers a direct method."""

    request: str
    status: int


@dataclass(frozen=True, slots=True)
class Address:
    """A module's place in the hub."""

    device: str
    module: str

    @property
    def events(self) -> str:
        """What the topics of the module's messages start with."""
        return f"devices/{self.device}/modules/{self.module}/messages/events"

    @property
    def inputs(self) -> str:
        """What the topics of messages to the module's inputs start with."""
        return f"devices/{self.device}/modules/{self.module}/inputs/"

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether the filter stays within what the module may hear."""
        trees = (self.inputs, TWIN_REPLIES, DESIRED_PATCHES, METHODS)
        return topic_filter.startswith(trees)

    def parse(self, topic: str) -> Event | TwinGet | TwinPatch | MethodReply:
        """What a PUBLISH of this module to ``topic`` means.

        Raises:
            MqttError: Not a topic this module may publish to.
        """
        if topic.startswith(self.events):
            bag = topic.removeprefix(self.events)
            if bag == "" or (bag.startswith("/") and "/" not in (bag := bag.strip("/"))):
                return parse_bag(bag, self)
        if match := re.fullmatch(r"\$iothub/twin/GET/\?\$rid=([^&]+)", topic):
            return TwinGet(match[1])
        if match := re.fullmatch(
            r"\$iothub/twin/PATCH/properties/reported/\?\$rid=([^&]+)(&.*)?", topic
        ):
            return TwinPatch(match[1])
        if match := re.fullmatch(r"\$iothub/methods/res/(-?\d{1,9})/\?\$rid=([^&]+)", topic):
            return MethodReply(match[2], int(match[1]))
        raise MqttError(f"module {self.module} may not publish to {topic[:200]!r}")


def parse_bag(bag: str, sender: Address) -> Event:
    """A property bag, ``key=value&key=value`` percent-encoded, as the event that it describes."""
    properties: dict[str, str] = {}
    system: dict[str, str] = {}
    for entry in bag.split("&") if bag else ():
        key, _, value = (unquote(part) for part in entry.partition("="))
        if name := SYSTEM_PROPERTIES.get(key):
            system[name] = value
        elif key:
            properties[key] = value
    system["connectionDeviceId"], system["connectionModuleId"] = sender.device, sender.module
    return Event(system.get("outputName", ""), properties, system)


def format_bag(properties: Mapping[str, str], system: Mapping[str, str]) -> str:
    """The property bag of a message that goes to an input."""
    named = {_SHORT_NAMES[name]: value for name, value in system.items() if name != "outputName"}
    entries = {**named, **properties}
    return "&".join(
        f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in entries.items()
    )


def metered_size(body: bytes, properties: Mapping[str, str], system: Mapping[str, str]) -> int:
    """Bytes that IoT Hub counts of a message.

    That is the body, names and values of the properties, and the values of the system properties
    that the sender has set (IoT Hub documentation, "Create and read IoT Hub messages").
    """
    texts = [*properties, *properties.values()]
    texts += (value for name, value in system.items() if name not in _SET_BY_THE_HUB)
    return len(body) + sum(len(text.encode()) for text in texts)


def input_topic(to: Address, name: str, event: Event) -> str:
    """The topic on which a message arrives at an input."""
    return f"{to.inputs}{quote(name, safe='')}/{format_bag(event.properties, event.system)}"


def twin_reply_topic(status: int, request: str, version: int | None = None) -> str:
    """The topic of the answer to a twin request; ``version`` of the patched section."""
    suffix = "" if version is None else f"&$version={version}"
    return f"{TWIN_REPLIES}{status}/?$rid={request}{suffix}"


def desired_patch_topic(version: int) -> str:
    """The topic on which a change of desired properties arrives."""
    return f"{DESIRED_PATCHES}?$version={version}"


def method_topic(name: str, request: str) -> str:
    """The topic on which a direct method arrives."""
    return f"{METHODS}{quote(name, safe='')}/?$rid={request}"
