"""What a director's targets metadata asks of this vehicle, and whether it may.

The part of the full verification that looks at one file alone; `bordnetz.uptane.trust` lists its
rules among the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from tuf.api.metadata import TargetFile, Targets

from bordnetz.uptane.custom import Campaign, DirectorCustom, PayloadKind, VehicleCustom
from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.floor import Floor

M = TypeVar("M", bound=BaseModel)

HASHES: Mapping[str, int] = {"sha256": 64, "sha384": 96, "sha512": 128}
"""Algorithms that a target's hashes may be of, and the length of their digests in hexadecimal."""

MOST_LENGTH = 1 << 40
"""Bytes of a target."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){0,7}")


@dataclass(frozen=True, slots=True)
class Ecu:
    """What is known of a part of this vehicle that can be updated.

    Attributes:
        hardware_id: What it is.
        kinds: The payloads that it takes.
        sha256: Of the plain payload that is installed, in hexadecimal; "" where nobody can tell.
        counter: Release counter of what is installed; 0 where nobody can tell.
    """

    hardware_id: str
    kinds: frozenset[PayloadKind]
    sha256: str = ""
    counter: int = 0


@dataclass(frozen=True, slots=True)
class Vehicle:
    """This vehicle.

    Attributes:
        id: Whose metadata it takes.
        ecus: What can be updated, by the ECUs' ids.
    """

    id: str
    ecus: Mapping[str, Ecu]


@dataclass(frozen=True, slots=True)
class Order:
    """That an ECU is to get an image; as the director says, and not more than that yet.

    Attributes:
        ecu: Id of the ECU.
        name: Of the target.
        file: Its length and hashes.
        custom: The rest.
    """

    ecu: str
    name: str
    file: TargetFile
    custom: DirectorCustom


def read_orders(
    targets: Targets, vehicle: Vehicle, floor: Floor
) -> tuple[Campaign | None, list[Order]]:
    """Read what the director asks for.

    Args:
        targets: Its targets metadata, signed as it should be.
        vehicle: This vehicle, with what is installed.
        floor: With the release counters that must not be undercut.

    Returns:
        How to install, and what, in the order of the ECUs' ids: that of the metadata is not
        signed.

    Raises:
        UptaneError: It asks for what it must not.
    """
    if targets.delegations is not None:
        raise refused(Kind.BAD_METADATA, "a director must not delegate")
    campaign = _read_campaign(targets, vehicle)
    orders: dict[str, Order] = {}
    for name, file in targets.targets.items():
        custom = read_custom(DirectorCustom, file.custom)
        _check_file(name, file, custom)
        for ecu, assigned in custom.ecus.items():
            if ecu in orders:
                raise refused(Kind.REPEATED_ECU, "an ECU gets two images")
            order = Order(ecu, name, file, custom)
            _check_order(order, assigned.hardware_id, vehicle, floor)
            orders[ecu] = order
    return campaign, [orders[ecu] for ecu in sorted(orders)]


def read_custom(
    model: type[M], custom: Any, repository: str = "director", role: str = "targets"
) -> M:
    """Read a custom field.

    Raises:
        UptaneError: It is not of the form used here; of what it says, nothing is repeated.
    """
    try:
        return model.model_validate(custom)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # What is not known may have any name; what is known has ours.
        known = first["loc"] and first["type"] != "extra_forbidden"
        field = f" {first['loc'][0]}" if known else ""
        text = f"custom field{field}: {first['msg']}"
        raise refused(Kind.BAD_METADATA, text, repository, role) from None


def refused(
    kind: Kind, what: str, repository: str = "director", role: str = "targets"
) -> UptaneError:
    """What to raise, with what to do about it."""
    return UptaneError(kind, f"{what}; check who makes and signs it", repository, role)


def _read_campaign(targets: Targets, vehicle: Vehicle) -> Campaign | None:
    custom = targets.unrecognized_fields.get("custom")
    if not isinstance(custom, dict) or "vehicleId" not in custom:
        raise refused(Kind.WRONG_VEHICLE, "made for no vehicle in particular")
    if custom["vehicleId"] != vehicle.id:
        raise refused(Kind.WRONG_VEHICLE, "made for another vehicle")
    campaign = read_custom(VehicleCustom, custom).campaign
    if campaign is not None:
        named = {ecu for group in campaign.groups for ecu in group} | campaign.after.keys()
        named.update(*campaign.after.values())
        if not named <= vehicle.ecus.keys():
            raise refused(Kind.UNKNOWN_ECU, "the campaign names an ECU that is not here")
        _check_sequence(campaign)
    return campaign


def _check_sequence(campaign: Campaign) -> None:
    """An order among ECUs, and among groups, that can be kept."""
    group = {ecu: number for number, ecus in enumerate(campaign.groups) for ecu in ecus}
    groups: TopologicalSorter[int | str] = TopologicalSorter()
    for ecu, before in campaign.after.items():
        own = group.get(ecu, ecu)
        groups.add(own, *(group.get(one, one) for one in before if group.get(one, one) != own))
    try:
        TopologicalSorter(campaign.after).prepare()
        groups.prepare()
    except CycleError:
        # The error's text would repeat the ids.
        raise refused(Kind.BAD_METADATA, "the campaign's ECUs wait for each other") from None


def _check_file(name: str, file: TargetFile, custom: DirectorCustom) -> None:
    if not _NAME.fullmatch(name):
        raise refused(Kind.BAD_METADATA, "an image has a name that is not used here")
    if file.length > MOST_LENGTH:
        raise refused(Kind.ENDLESS_DATA, f"an image has more than {MOST_LENGTH} bytes")
    if "sha256" not in file.hashes or not all(
        len(digest) == HASHES.get(algorithm) and re.fullmatch("[0-9a-f]+", digest)
        for algorithm, digest in file.hashes.items()
    ):
        raise refused(Kind.BAD_METADATA, "an image has no sha256, or hashes that are not used here")
    for delivery in custom.deliveries:
        if delivery.encoding == "identity" and (delivery.length, delivery.sha256) != (
            file.length,
            file.hashes["sha256"],
        ):
            raise refused(Kind.BAD_METADATA, "an image as it is travels as something else")


def _check_order(order: Order, hardware_id: str, vehicle: Vehicle, floor: Floor) -> None:
    if order.ecu not in vehicle.ecus:
        raise refused(Kind.UNKNOWN_ECU, "names an ECU that is not in this vehicle")
    ecu = vehicle.ecus[order.ecu]
    if hardware_id != ecu.hardware_id or hardware_id not in order.custom.hardware_ids:
        raise refused(Kind.WRONG_HARDWARE, "an ECU gets an image for other hardware")
    if order.custom.kind not in ecu.kinds:
        raise refused(Kind.WRONG_HARDWARE, "an ECU gets a kind of payload that it does not take")
    counter = order.custom.release_counter
    least = max(floor.counters.get(order.ecu, 0), ecu.counter)
    if counter < least:
        raise refused(Kind.ROLLBACK, "an ECU gets a release older than one that it has had")
    if counter == least and ecu.sha256 not in ("", order.file.hashes["sha256"]):
        raise refused(Kind.ROLLBACK, "an ECU gets another image without a higher release counter")
