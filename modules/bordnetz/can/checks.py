"""Which messages are checked, and how: the table ``[checks]`` of the vehicle file.

[checks]
cycles = true                       # all messages whose DBC file declares a cycle

[[checks.message]]
name = "chassis.EPS_Angle_01"       # bus.message
profile = "P01"
data_id = 0x02A8
data_id_mode = "both"               # or "alternating", "low", "nibble"

[[checks.message]]
name = "chassis.ESC_Motion_01"
profile = "P02"
data_ids = [0xC2, 0x58, ...]        # sixteen

[[checks.message]]
name = "body.Doors_01"
profile = "counter"                 # without a checksum
counter = "Doors_01_Counter"        # a signal of the message
modulus = 15                        # 2 to the power of its bits where none is told
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

MOST_MESSAGES = 4096
COUNTER_BITS = 16
"""Of a bare counter, at most."""

_NIBBLE_IDS = 0xFFF

QualifiedMessage = Annotated[StrictStr, Field(min_length=3, max_length=256, pattern=r"^[^.]+\..+$")]
Byte = Annotated[StrictInt, Field(ge=0, le=0xFF)]


class _Model(BaseModel):
    # Deferred, as only the whole vehicle file is validated, and a start waits for it.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Profile1(_Model):
    """AUTOSAR E2E profile 1 in its variants 1A, 1B and 1C (AUTOSAR_FO_PRS_E2EProtocol).

    The CRC is byte 0, the counter the low nibble of byte 1.

    Attributes:
        name: Of the message, ``bus.message``.
        profile: ``P01``.
        data_id: Of the data, 16 bits; for ``nibble`` 12.
        data_id_mode: Which of its bytes the CRC covers: ``both``, low one first (1A);
            ``alternating``, the low one where the counter is even, else the high one (1B); ``low``;
            ``nibble``, the low one and a byte 0, and the frame carries the low nibble of the high
            byte in the high nibble of byte 1 (1C).
    """

    name: QualifiedMessage
    profile: Literal["P01"]
    data_id: Annotated[StrictInt, Field(ge=0, le=0xFFFF)]
    data_id_mode: Literal["both", "alternating", "low", "nibble"] = "both"

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Profile1:
        if self.data_id_mode == "nibble" and self.data_id > _NIBBLE_IDS:
            raise ValueError("data_id: has 12 bits at most where data_id_mode is 'nibble'")
        return self


class Profile2(_Model):
    """AUTOSAR E2E profile 2 (AUTOSAR_FO_PRS_E2EProtocol), as on VW's MQB networks.

    The CRC is byte 0, the counter the low nibble of byte 1.

    Attributes:
        name: Of the message, ``bus.message``.
        profile: ``P02``.
        data_ids: The list of which the counter selects one entry.
    """

    name: QualifiedMessage
    profile: Literal["P02"]
    data_ids: Annotated[tuple[Byte, ...], Field(min_length=16, max_length=16)]


class BareCounter(_Model):
    """A counter that goes up by one from frame to frame, without a checksum.

    Attributes:
        name: Of the message, ``bus.message``.
        profile: ``counter``.
        counter: The counter's signal.
        modulus: How many values it has; None for as many as its bits hold.
    """

    name: QualifiedMessage
    profile: Literal["counter"]
    counter: Annotated[StrictStr, Field(min_length=1, max_length=256)]
    modulus: Annotated[StrictInt, Field(ge=2, le=1 << COUNTER_BITS)] | None = None


Check = Annotated[Profile1 | Profile2 | BareCounter, Field(discriminator="profile")]


class Checks(_Model):
    """What is checked of the frames of collected messages.

    Attributes:
        cycles: Look for missed cycles and duplicates of all messages whose DBC file declares a
            cycle time.
        messages: Those with counters and checksums.
    """

    cycles: StrictBool = False
    messages: tuple[Check, ...] = Field(default=(), alias="message", max_length=MOST_MESSAGES)

    model_config = ConfigDict(populate_by_name=True)

    def toml(self) -> Iterator[str]:
        """The lines of a vehicle file that say the same; none where nothing is checked."""
        if self.cycles:
            yield from ("", "[checks]", "cycles = true")
        for check in self.messages:
            yield from ("", "[[checks.message]]")
            # Strings, integers and lists of them are written in TOML as in JSON.
            said = check.model_dump(exclude_none=True, mode="json").items()
            yield from (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in said)

    @model_validator(mode="after")
    def _names_each_message_once(self) -> Checks:
        first: dict[str, int] = {}
        for index, check in enumerate(self.messages):
            if (other := first.setdefault(check.name, index)) != index:
                raise ValueError(f"message[{index}].name: {check.name!r} is taken by [{other}]")
        return self
