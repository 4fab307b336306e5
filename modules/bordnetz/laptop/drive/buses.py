"""Which vehicle a drive is about: the demo's, somebody's own, or what a recording holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bordnetz
from bordnetz.can.sources.channels import channels_of
from bordnetz.can.vehicle import Bus, Vehicle
from bordnetz.laptop.drive.errors import ChoiceError
from bordnetz.laptop.drive.workplace import Workplace


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for on the command line.

    Attributes:
        vehicle: A vehicle file; None for the demo's.
        interface: For all buses; None chooses.
        channels: One a bus; () chooses.
        log: A recording in place of the buses.
        databases: DBC files, each with its channel, or None for all channels.
    """

    vehicle: Path | None = None
    interface: str | None = None
    channels: tuple[str, ...] = ()
    log: Path | None = None
    databases: tuple[tuple[str | None, Path], ...] = ()


def settle(choice: Choice, workplace: Workplace) -> tuple[Vehicle, Path]:
    """The vehicle of this drive, and its file.

    Raises:
        ChoiceError: The options do not go together.
        VehicleError: The vehicle file cannot be used.
        RecordingError: The recording cannot be used.
    """
    if choice.databases and choice.vehicle is not None:
        raise ChoiceError("--vehicle names the DBC files itself; leave out --dbc or --vehicle")
    if choice.log is not None and (choice.interface or choice.channels):
        raise ChoiceError(
            "--log reads a recording, --interface and --channel are for live buses; "
            "leave out one or the other"
        )
    if choice.databases:
        return _from_databases(choice, workplace)
    path = choice.vehicle or project_file("dbc/vehicle.toml")
    vehicle = Vehicle.load(path)
    if choice.log is not None:
        _require_common_channel(choice.log, vehicle, path)
        return vehicle, path
    if choice.channels and len(choice.channels) != len(vehicle.buses):
        names = ", ".join(bus.name for bus in vehicle.buses)
        raise ChoiceError(
            f"{len(choice.channels)} channels for {len(vehicle.buses)} buses ({names}); "
            "give --channel once for each"
        )
    if choice.interface is None and not choice.channels and not _is_virtual(vehicle):
        return vehicle, path
    return workplace.rebind(vehicle, choice.interface, choice.channels)


def is_simulated(choice: Choice, vehicle: Vehicle) -> bool:
    """Whether the simulated car drives: real adapters bring real traffic, it keeps off them."""
    return choice.log is None and not choice.databases and _is_virtual(vehicle)


def project_file(name: str) -> Path:
    """A file of the project: below the working folder, or below the checkout this code is in.

    Raises:
        ChoiceError: It is in neither.
    """
    places = [Path.cwd(), Path(bordnetz.__file__).parents[2]]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise ChoiceError(f"there is no {name} here; start the drive in a checkout of bordnetz")


def _is_virtual(vehicle: Vehicle) -> bool:
    return all(
        bus.interface == "unix"
        or (bus.interface == "socketcan" and str(bus.channel).startswith("vcan"))
        for bus in vehicle.buses
    )


def _require_common_channel(log: Path, vehicle: Vehicle, file: Path) -> None:
    """Refuse a recording of which not one frame would belong to a bus."""
    channels, buses = _channels(log), [str(bus.channel) for bus in vehicle.buses]
    if not set(channels) & set(buses) and (channels != ["None"] or len(buses) > 1):
        raise ChoiceError(
            f"{log}: its channels are {', '.join(channels)}, those of {file} are "
            f"{', '.join(buses)}; name the recording's in a --vehicle file, or give --dbc "
            "[CHANNEL=]FILE"
        )


def _channels(log: Path) -> list[str]:
    channels = channels_of(log)
    if not channels:
        raise ChoiceError(f"{log}: there is no frame in it; is it a recording of CAN frames?")
    return channels


def _from_databases(choice: Choice, workplace: Workplace) -> tuple[Vehicle, Path]:
    channels: Sequence[str]
    if choice.log is not None:
        channels = _channels(choice.log)
        interface = "virtual"  # Never opened: the recording stands in for it.
    else:
        channels, interface = choice.channels, choice.interface or "socketcan"
        if not channels:
            raise ChoiceError("--dbc needs --log FILE, or --channel for each bus")
    for _, file in choice.databases:
        if not file.is_file():
            raise ChoiceError(f"--dbc: there is no file {file}; give the path of a DBC file")
    named = {channel for channel, _ in choice.databases if channel is not None}
    if strange := sorted(named - set(channels)):
        raise ChoiceError(
            f"--dbc {strange[0]}=...: there is no such channel; there are {', '.join(channels)}"
        )
    names = [_bus_name(channel) for channel in channels]
    buses = [
        # Channels that differ only in what a name cannot have are told apart by their place.
        Bus(
            name=name if names.count(name) == 1 else f"{name}_{place}",
            interface=interface,
            channel=channel,
        )
        for place, (name, channel) in enumerate(zip(names, channels, strict=True))
    ]
    files = [
        [file for bound, file in choice.databases if bound in (None, channel)]
        for channel in channels
    ]
    name = re.sub(r"[^A-Za-z0-9]+", "-", choice.log.name.split(".")[0]) if choice.log else "bus"
    return workplace.write(f"v-{name}"[:64], buses, files)


def _bus_name(channel: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", channel)[:48]
    return name if name[:1].isalpha() else f"can{name}"
