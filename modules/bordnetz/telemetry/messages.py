"""The module's messages to the hub, with the properties that routes look at.

Batches, dictionaries and losses:

==========  =======================================================================
property    value
==========  =======================================================================
schema      ``batch.1``, ``dictionary.1`` or ``loss.1``: the kind and its major schema version
campaign    what collected the samples
priority    0 (highest) to 9
batch       outbox id (16 hexadecimal digits), a hyphen, sequence: unique for ever
==========  =======================================================================

The state for other modules of the car and the answers about bundles are JSON, each on an output of
its own, with the property ``schema`` alone: ``state.1`` and ``bundleAck.1``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.message import DEFAULT_CAMPAIGN, MAJOR, Draft, encode_dictionary
from bordnetz.edge.message import Message
from bordnetz.telemetry.backlog import Parcel

OUTPUT = "batches"
"""The module output of batches and dictionaries."""

STATE_OUTPUT = "state"
"""The module output of the state."""

ACK_OUTPUT = "bundleAck"
"""The module output of answers about bundles."""

CONTENT_TYPE = "application/x-protobuf"

BATCH, LOSS = "batch", "loss"
"""Kinds of messages."""

HIGHEST = 0
"""Priority of dictionaries, for without them nobody can read the rest, and of rare answers."""

_LARGEST = 2**63 - 1
"""SQLite's largest integer, so no sequence is longer."""


def properties_size(desired_priority: int) -> int:
    """Metered bytes of a batch message besides its body, at most."""
    return _message(b"", BATCH, desired_priority, _LARGEST, _LARGEST).metered_size


def batch_parcel(draft: Draft, dictionary: Dictionary, priority: int) -> Parcel:
    """A batch on its way to the outbox."""

    def make(outbox: int, sequence: int) -> Message:
        body = draft.finish(outbox, sequence)
        return _message(body, BATCH, priority, outbox, sequence, draft.samples)

    return Parcel(
        make=make,
        size=draft.max_size,
        priority=priority,
        samples=draft.samples,
        needs=dictionary.digest,
    )


def dictionary_parcel(dictionary: Dictionary, boot: int) -> Parcel:
    """A dictionary on its way to the outbox.

    Raises:
        BatchError: It is more than a message takes.
        MessageTooLargeError: Likewise, with topic and properties.
    """
    draft = encode_dictionary(dictionary, boot)

    def make(outbox: int, sequence: int) -> Message:
        return _message(draft.finish(outbox, sequence), "dictionary", HIGHEST, outbox, sequence)

    make(_LARGEST, _LARGEST).check()
    return Parcel(make=make, size=draft.max_size, priority=HIGHEST, content=dictionary.digest)


def loss_message(draft: Draft, priority: int) -> Callable[[int, int], Message]:
    """What makes the message that tells of losses of the outbox' id and a sequence."""

    def make(outbox: int, sequence: int) -> Message:
        return _message(draft.finish(outbox, sequence), LOSS, priority, outbox, sequence)

    return make


def kind(message: Message) -> str:
    """`BATCH`, `LOSS` or whatever else its schema says."""
    return message.properties.get("schema", "").partition(".")[0]


def state_message(told: Mapping[str, Any]) -> Message:
    """What `State.tell` gives, for whoever a route leads to."""
    return _json(STATE_OUTPUT, told)


def ack_parcel(answer: Mapping[str, Any]) -> Parcel:
    """An answer about a bundle on its way to the outbox."""
    message = _json(ACK_OUTPUT, answer)
    return Parcel(make=lambda _, __: message, size=len(message.body), priority=HIGHEST)


def _json(output: str, content: Mapping[str, Any]) -> Message:
    return Message(
        output=output,
        body=json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(),
        content_type="application/json",
        content_encoding="utf-8",
        properties={"schema": f"{output}.1"},
    )


def _message(
    body: bytes, kind: str, priority: int, outbox: int, sequence: int, samples: int = 0
) -> Message:
    return Message(
        output=OUTPUT,
        body=body,
        content_type=CONTENT_TYPE,
        content_encoding="identity",
        properties={
            "schema": f"{kind}.{MAJOR}",
            "campaign": DEFAULT_CAMPAIGN,
            "priority": str(priority),
            "batch": f"{outbox:016x}-{sequence}",
        },
        samples=samples,
    )
