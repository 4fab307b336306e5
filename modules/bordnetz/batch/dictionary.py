"""The dictionary: all that is needed to read batches without the vehicle's databases.

It is named by its content, so whoever holds it can check it, and it never needs a second look
once it is known.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch import zstd
from bordnetz.batch.errors import BatchError
from bordnetz.series import Group, Kind, Signal

DIGEST_BYTES = 12
"""Of the SHA-256, the name of a dictionary.

96 bits: among a billion different dictionaries two share a name with a chance of 1 in 10**11,
and nobody can make a second one for a given name (2**96 tries).  Every batch pays for each byte.
"""

FINGERPRINT_BYTES = 32
"""The digests of vehicle and catalogue are full SHA-256."""

MAX_BYTES = 2 << 20
"""Largest serialised dictionary; 1,350 signals with value tables need about 90 KiB."""

MAX_GROUPS = 1 << 16
"""Most groups in a dictionary: a group may be two bytes long, but takes hundreds in memory."""

_LEVEL = 19


@dataclass(frozen=True)
class Dictionary:
    """Groups and signals, and which vehicle file and databases they come from.

    Attributes:
        groups: What a batch's series point into.
        vehicle: SHA-256 of the vehicle file's content, 32 bytes.
        catalogue: SHA-256 of the databases bound to its buses, 32 bytes.
    """

    groups: tuple[Group, ...]
    vehicle: bytes
    catalogue: bytes

    def __post_init__(self) -> None:
        for name in ("vehicle", "catalogue"):
            if len(getattr(self, name)) != FINGERPRINT_BYTES:
                raise BatchError(
                    f"dictionary: the {name} digest has {len(getattr(self, name))} bytes, "
                    f"expected a SHA-256 of {FINGERPRINT_BYTES}"
                )

    @cached_property
    def serialised(self) -> bytes:
        """The protobuf message ``Dictionary``; equal dictionaries have equal bytes."""
        return pb.Dictionary(
            vehicle=self.vehicle,
            catalogue=self.catalogue,
            group=[_group_out(group) for group in self.groups],
        ).SerializeToString(deterministic=True)

    @cached_property
    def digest(self) -> bytes:
        """The dictionary's name, `DIGEST_BYTES` long."""
        return hashlib.sha256(self.serialised).digest()[:DIGEST_BYTES]

    @cached_property
    def ids(self) -> NDArray[np.uint32]:
        """uint32, shape (groups,), the arbitration id of each group."""
        return np.array([group.id for group in self.groups], np.uint32)

    @cached_property
    def widths(self) -> NDArray[np.int64]:
        """int64, shape (groups,), how many signals each group has."""
        return np.array([len(group.signals) for group in self.groups], np.int64)

    @cached_property
    def has_quality(self) -> NDArray[np.bool_]:
        """bool, shape (groups,), whether the samples of each group come with their quality."""
        return np.array([group.quality for group in self.groups], bool)

    @cached_property
    def compressed(self) -> bytes:
        """As it travels: one zstandard frame that states its content's size."""
        return zstd.compress(self.serialised, _LEVEL)

    @classmethod
    def from_compressed(cls, data: bytes, digest: bytes) -> Dictionary:
        """Read what `compressed` made.

        Args:
            data: Untrusted.
            digest: The name it must have.

        Raises:
            BatchError: It is no dictionary, too large, or another one.
        """
        try:
            serialised = zstd.decompress(data, MAX_BYTES)
        except ValueError as error:
            raise BatchError(f"dictionary {digest.hex()}: not readable: {error}") from error
        if hashlib.sha256(serialised).digest()[:DIGEST_BYTES] != digest:
            raise BatchError(f"dictionary {digest.hex()}: the content has another digest")
        message = pb.Dictionary()
        try:
            message.ParseFromString(serialised)
        except DecodeError as error:
            raise BatchError(f"dictionary {digest.hex()}: not readable: {error}") from error
        if len(message.group) > MAX_GROUPS:
            raise BatchError(f"dictionary {digest.hex()}: more than {MAX_GROUPS} groups")
        try:
            groups = tuple(_group_in(group) for group in message.group)
        except ValueError as error:
            raise BatchError(f"dictionary {digest.hex()}: {error}") from error
        dictionary = cls(groups, message.vehicle, message.catalogue)
        # A later minor version may have added fields; the name is that of the bytes it came in.
        dictionary.__dict__.update(digest=digest, serialised=serialised)
        return dictionary


def _number_out(value: float) -> pb.Number:
    if isinstance(value, float):
        return pb.Number(real=value)
    if -(1 << 63) <= value < 1 << 63:
        return pb.Number(integer=value)
    return pb.Number(decimal=str(value))


def _number_in(number: pb.Number) -> int | float:
    which = number.WhichOneof("number")
    if which == "real":
        return number.real
    if which == "decimal":
        return _whole(number)
    return number.integer


def _whole(number: pb.Number) -> int:
    if number.WhichOneof("number") == "real":
        raise ValueError("a value table has a raw value that is not an integer")
    if number.WhichOneof("number") == "decimal":
        if len(number.decimal) > 64:
            raise ValueError("a number of more than 64 digits")
        return int(number.decimal)
    return number.integer


def _group_out(group: Group) -> pb.Group:
    return pb.Group(
        bus=group.bus,
        message=group.message,
        id=group.id,
        by_pgn=group.by_pgn,
        branch=[pb.Branch(selector=name, value=values) for name, values in group.branch],
        interval=group.interval,
        signal=[_signal_out(signal) for signal in group.signals],
        quality=group.quality,
    )


def _group_in(group: pb.Group) -> Group:
    return Group(
        bus=group.bus,
        message=group.message,
        id=group.id,
        by_pgn=group.by_pgn,
        branch=tuple((branch.selector, tuple(branch.value)) for branch in group.branch),
        interval=group.interval,
        signals=tuple(_signal_in(signal) for signal in group.signal),
        quality=group.quality,
    )


def _signal_out(signal: Signal) -> pb.Signal:
    message = pb.Signal(name=signal.name, unit=signal.unit, kind=int(signal.kind))
    # The type is part of the value: 1.0 scales to floating point, 1 does not.
    if not (isinstance(signal.factor, int) and signal.factor == 1):
        message.factor.CopyFrom(_number_out(signal.factor))
    if not (isinstance(signal.offset, int) and signal.offset == 0):
        message.offset.CopyFrom(_number_out(signal.offset))
    message.choice.extend(
        pb.Choice(value=_number_out(value), text=text) for value, text in signal.choices
    )
    return message


def _signal_in(signal: pb.Signal) -> Signal:
    return Signal(
        name=signal.name,
        unit=signal.unit,
        kind=Kind(signal.kind),
        factor=_number_in(signal.factor) if signal.HasField("factor") else 1,
        offset=_number_in(signal.offset) if signal.HasField("offset") else 0,
        choices=tuple((_whole(choice.value), choice.text) for choice in signal.choice),
    )
