"""What bordnetz adds to Uptane's metadata, where the standard leaves room: the custom fields.

Uptane Standard 2.1, "Metadata about images" (custom of a target), "Director repository" (targets
metadata name the vehicle), "Release counters".  JSON names are camelCase.

A target is the plain payload: the bytes of a file, or the canonical tar of a tree.  How it may
travel instead is in `deliveries`; whatever arrives, what counts is that the plain payload comes
out of it with the target's own length and hashes.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""In hexadecimal, lower case."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""Of a payload's file, an ECU, a hardware id, a vehicle or a campaign: one path segment, never
hidden, nothing that a URL or a shell reads otherwise."""

Length = Annotated[int, Field(ge=0, le=1 << 40)]
"""Bytes, up to a tebibyte."""

Counter = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""Release counter (Uptane Standard 2.1, "Release counters")."""

Time = Annotated[int, Field(ge=0, le=253_402_300_799)]
"""Seconds since 1970 UTC, until the year 9999."""

PayloadKind = Literal["file", "tree", "bundle", "rauc", "swupdate"]
"""What a payload is: one file, a tree as canonical tar, a telemetry bundle (a tree, too), or what
RAUC or SWUpdate installs."""


class Model(BaseModel):
    """A part of signed metadata; what is not known here is refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )


class Delivery(Model):
    """One way that a payload may travel.

    Attributes:
        name: Of the file; it lies at ``targets/<sha256>.<name>``.
        length: Bytes of the file.
        sha256: Of the file.
        encoding: ``identity``: the plain payload; ``zstd``: compressed; ``delta``: a sequential
            detools patch (lzma) that makes the plain payload out of ``base``.
        base: The plain payload that a delta starts from.
    """

    name: Name
    length: Length
    sha256: Sha256
    encoding: Literal["identity", "zstd", "delta"]
    base: Sha256 | None = None

    @model_validator(mode="after")
    def _has_a_base_if_it_is_a_delta(self) -> Self:
        if (self.encoding == "delta") != (self.base is not None):
            raise ValueError("base belongs to a delta, and only to one")
        return self

    @property
    def path(self) -> str:
        """Below ``targets``."""
        return f"{self.sha256}.{self.name}"


class ImageCustom(Model):
    """Custom of a target in the image repository.

    Attributes:
        hardware_ids: It runs on these.
        release_counter: Grows with every release for the same hardware.
        kind: What the payload is.
        deliveries: How it may travel; one of them at least is no delta.
    """

    hardware_ids: Annotated[list[Name], Field(min_length=1, max_length=64)]
    release_counter: Counter
    kind: PayloadKind
    deliveries: Annotated[list[Delivery], Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _has_a_full_delivery(self) -> Self:
        if all(delivery.encoding == "delta" for delivery in self.deliveries):
            raise ValueError("deliveries: one at least must not be a delta")
        return self


class Assigned(Model):
    """What the director says of a target for one ECU.

    Attributes:
        hardware_id: Of the ECU, one of the target's.
    """

    hardware_id: Name


class DirectorCustom(ImageCustom):
    """Custom of a target in a director repository.

    Attributes:
        ecus: The ECUs that get it, by their ids.
    """

    ecus: Annotated[dict[Name, Assigned], Field(min_length=1, max_length=256)]

    def as_image(self) -> ImageCustom:
        """What the image repository must say alike."""
        return ImageCustom.model_validate(self.model_dump(exclude={"ecus"}))


class Window(Model):
    """When a campaign may install.

    Attributes:
        start: Not before.
        end: Not after; None: no end.
    """

    start: Time = 0
    end: Time | None = None


class Consent(Model):
    """What the driver is asked.

    Attributes:
        postpone: How often the driver may postpone.
        deadline: From then on it is installed without; None: never.
    """

    postpone: Annotated[int, Field(ge=0, le=100)] = 3
    deadline: Time | None = None


class Campaign(Model):
    """How the targets of a director's metadata are to be installed.

    Attributes:
        id: Of the campaign; the twin's reference names the same.
        groups: ECUs that get their new versions all together or not at all.  An ECU that stands in
            none is a group of its own.
        after: An ECU is activated after these, which are in its group; or, where they are in
            another group, once that one has succeeded.
        window: When it may be installed.
        require: Conditions that must hold, by their names in the vehicle file, as ``parked``.
        consent: None: the driver is not asked.
        most_bytes: Over the air for all targets together; None: as many as it takes.  A delta that
            fails gives way to the full payload only within these.
        expired_install: Whether what was verified and downloaded may be installed although the
            metadata has expired since.
    """

    id: Name
    groups: Annotated[
        list[Annotated[list[Name], Field(min_length=1, max_length=256)]], Field(max_length=256)
    ] = []
    after: Annotated[
        dict[Name, Annotated[list[Name], Field(max_length=256)]], Field(max_length=256)
    ] = {}
    window: Window = Window()
    require: Annotated[list[Name], Field(max_length=16)] = ["parked"]
    consent: Consent | None = None
    most_bytes: Length | None = None
    expired_install: bool = True

    @model_validator(mode="after")
    def _names_each_ecu_in_one_group(self) -> Self:
        ecus = [ecu for group in self.groups for ecu in group]
        if len(ecus) != len(set(ecus)):
            raise ValueError("groups: an ECU stands in two groups")
        return self


class VehicleCustom(Model):
    """Custom of a director's targets metadata as a whole.

    Attributes:
        vehicle_id: Whose metadata it is, also where nothing is to be installed.
        campaign: How to install; None where nothing is to be.
    """

    vehicle_id: Name
    campaign: Campaign | None = None


class RootCustom(Model):
    """Custom of a director's root metadata.

    Attributes:
        time_keys: Ids of the keys, among root's own, of which one must have signed a time.
    """

    time_keys: Annotated[list[Sha256], Field(min_length=1, max_length=8)]
