"""The table ``[ota]`` of the vehicle file: what this vehicle updates, and whom it believes.

It comes with the vehicle and is never part of an update: who installs a payload must not learn
from a payload which commands to run or which keys to trust.

[ota]
director_root = "ota/director-root.json"     # relative to the vehicle file
image_root = "ota/image-root.json"
key = "ota/primary.pem"                      # or a PKCS#11 URI
primary = "head-unit"                        # the ECU that signs the vehicle's manifests

[ota.conditions.parked]
signal = "powertrain.VCU_Speed_01.RoadSpeed"
max = 0.5

[[ota.ecu]]
id = "head-unit"
hardware_id = "hu-2026"
installer = "rauc"
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bordnetz.errors import BordnetzError
from bordnetz.uptane.custom import Name, PayloadKind

_MOST_PROBLEMS = 10
_LARGEST_ROOT = 64 * 1024

_TIME_OF_DAY = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"

Text = Annotated[str, Field(min_length=1, max_length=1024)]
FilePath = Annotated[str, Field(min_length=1, max_length=4096)]
Argv = Annotated[list[Text], Field(min_length=1, max_length=64)]


class OtaError(BordnetzError):
    """The vehicle file's table [ota] cannot be used; the text names place and expectation."""

    exit_code = 78  # EX_CONFIG of sysexits.h


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Run(_Model):
    """A command that the module runs, without a shell.

    Attributes:
        argv: The program and its arguments.
        timeout: Seconds.
    """

    argv: Argv
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60


class ConditionSpec(_Model):
    """When a condition holds: a test of one signal in telemetry's state messages.

    Attributes:
        signal: Qualified name, ``bus.message.signal``.
        min: The least value, in the signal's unit.
        max: The largest one.
        equals: The value, or the value table's text for it.
    """

    signal: Text
    min: float | None = None
    max: float | None = None
    equals: float | Text | None = None

    @model_validator(mode="after")
    def _tests_something(self) -> Self:
        if self.min is None and self.max is None and self.equals is None:
            raise ValueError("a condition needs min, max or equals")
        return self


class _Ecu(_Model):
    id: Name
    hardware_id: Name
    health: Run | None = None


class DataEcu(_Ecu):
    """Telemetry's bundles."""

    installer: Literal["data"]
    kinds: ClassVar[frozenset[PayloadKind]] = frozenset({"bundle"})


class FileEcu(_Ecu):
    """A file or a tree that others read below ``folder/current``.

    Attributes:
        folder: On a volume of its own, or with what reads it.
    """

    installer: Literal["file"]
    folder: FilePath
    kinds: ClassVar[frozenset[PayloadKind]] = frozenset({"file", "tree"})


class RaucEcu(_Ecu):
    """The head unit's image, by RAUC.

    Attributes:
        bus: Address of the D-Bus that RAUC is on.
        folder: Where bundles are put for it, on a volume that it sees.
        host_folder: The same folder under the name that RAUC's side has for it; None: the same.
        seconds: That an installation may take.
    """

    installer: Literal["rauc"]
    bus: Text = "unix:path=/run/dbus/system_bus_socket"
    folder: FilePath
    host_folder: FilePath | None = None
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 3600
    kinds: ClassVar[frozenset[PayloadKind]] = frozenset({"rauc"})


class SwupdateEcu(_Ecu):
    """The head unit's image, by SWUpdate.

    Attributes:
        control: Its control socket.
        progress: Its progress socket.
        sides: The two sides by the boot loader's names, each with the software set and the running
            mode that make SWUpdate write it.
        boot_loader: A program that knows and sets which side boots.
        seconds: That an installation may take.
    """

    installer: Literal["swupdate"]
    control: FilePath = "/run/swupdate/sockinstctrl"
    progress: FilePath = "/run/swupdate/swupdateprog"
    sides: Annotated[dict[Name, tuple[Text, Text]], Field(min_length=2, max_length=2)]
    boot_loader: Run
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 3600
    kinds: ClassVar[frozenset[PayloadKind]] = frozenset({"swupdate"})


Ecu = Annotated[DataEcu | FileEcu | RaucEcu | SwupdateEcu, Field(discriminator="installer")]


class OtaSettings(_Model):
    """The table ``[ota]``.

    Attributes:
        director_root: The director's root metadata that the vehicle left the factory with.
        image_root: Likewise, the image repository's.
        key: The primary's signing key: a file, or a PKCS#11 URI.
        primary: The ECU that signs.
        vehicle_id: In the director's metadata; None: the device id of IoT Edge.
        ca: Certificate authorities for HTTPS; None: those of the image.
        offline: A folder where a stick with an update appears.
        stale_days: Nothing is installed when the newest signed time is older.
        clock_days: So far ahead of the newest signed time the system clock is believed.
        conditions: By name, what campaigns may require.
        always: Those that every campaign requires here, whatever it says itself.
        tonight: Local times between which the driver's "tonight" lies.
        postpone_hours: How long the driver's "postpone" lasts.
        workshop_consent: Whether the method ``consent`` may answer for the driver.
        reboot: What reboots the head unit.
        ecus: What can be updated.
    """

    director_root: FilePath
    image_root: FilePath
    key: Text
    primary: Name
    vehicle_id: Name | None = None
    ca: FilePath | None = None
    offline: FilePath | None = None
    stale_days: Annotated[int, Field(ge=1, le=3650)] = 60
    clock_days: Annotated[int, Field(ge=1, le=3650)] = 30
    conditions: dict[Name, ConditionSpec] = {}
    always: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    tonight: tuple[
        Annotated[str, Field(pattern=_TIME_OF_DAY)], Annotated[str, Field(pattern=_TIME_OF_DAY)]
    ] = ("22:00", "05:00")
    postpone_hours: Annotated[float, Field(gt=0, le=720)] = 24
    workshop_consent: bool = False
    reboot: Run | None = None
    ecus: Annotated[tuple[Ecu, ...], Field(alias="ecu", min_length=1, max_length=256)]

    @model_validator(mode="after")
    def _names_each_ecu_once(self) -> Self:
        ids = [ecu.id for ecu in self.ecus]
        if len(set(ids)) != len(ids):
            raise ValueError("ecu: an id stands twice")
        if any("." in ecu for ecu in ids):
            raise ValueError("ecu: an id has a dot, and could not be a key of twins")
        if self.primary not in ids:
            raise ValueError(f"primary: there is no [[ota.ecu]] with the id '{self.primary}'")
        unknown = sorted(set(self.always) - self.conditions.keys())
        if unknown:
            raise ValueError(f"always: there is no condition '{unknown[0]}'")
        if sum(ecu.installer == "data" for ecu in self.ecus) > 1:
            raise ValueError("ecu: one ECU at most has the installer 'data'")
        return self

    @classmethod
    def parse(cls, table: dict[str, Any] | None, path: Path) -> OtaSettings:
        """Check the table of the vehicle file at ``path``.

        Raises:
            OtaError: There is none, or it cannot be used.
        """
        if table is None:
            raise OtaError(f"{path}: there is no table [ota]; it says what the vehicle updates")
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            lines = [
                f"{path}: {'.'.join(['ota', *map(str, one['loc'])])}: "
                + one["msg"].removeprefix("Value error, ")
                for one in found[:_MOST_PROBLEMS]
            ]
            if len(found) > _MOST_PROBLEMS:
                lines.append(f"... and {len(found) - _MOST_PROBLEMS} more")
            raise OtaError("\n".join(lines)) from None


def read_root(path: Path) -> bytes:
    """Root metadata that the vehicle left the factory with.

    Raises:
        OtaError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_ROOT + 1)
    except OSError as error:
        raise OtaError(f"{path}: the factory's root metadata: {error.strerror}") from error
    if len(data) > _LARGEST_ROOT:
        raise OtaError(f"{path}: over {_LARGEST_ROOT} bytes; is this root metadata?")
    return data
