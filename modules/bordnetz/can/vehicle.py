"""The vehicle file: which buses a vehicle has, how to reach them, and which DBC files they speak.

name = "demo"

[[bus]]
name = "powertrain"          # begins the qualified names of the bus' signals
interface = "socketcan"      # or "unix", or any interface python-can knows
channel = "can0"
bitrate = 500_000
dbc = ["powertrain.dbc"]     # relative to the vehicle file
nmea2000 = false             # whether it has fast packets, as boats have

[[bus.isotp]]                # messages of many frames by ISO 15765-2: see `IsoTp`
request = 0x7E0
response = 0x7E8

[checks]                     # counters, checksums and cycles: see `bordnetz.can.checks`
cycles = true

[ota]                        # how updates are trusted and installed: read by the module ota alone
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from bordnetz.can.checks import Checks
from bordnetz.errors import BordnetzError

_MOST_BYTES = 256 << 10
_LARGEST_STANDARD = 0x7FF
_EXTENDED = 0x8000_0000
"""As `bordnetz.series.EXTENDED`; that needs numpy, for which the update module has no memory."""
_LONGEST_LINE = 4096
"""Bytes.  A dotted key takes the parser time in the square of its parts, and must be one line."""
_MOST_BUSES = 256
_MOST_DATABASES = 64
_MOST_CONVERSATIONS = 1024
_MOST_PROBLEMS = 10

Name = Annotated[StrictStr, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
"""No dot, as it begins qualified names; no space, '$' or '#', as it becomes a key of twins."""

Bitrate = Annotated[StrictInt, Field(gt=0, le=20_000_000)]
"""Bits a second; CAN XL, the fastest of the family, ends at 20 Mbit/s."""


ArbitrationId = Annotated[StrictInt, Field(ge=0, le=0x1FFF_FFFF)]
"""Above 0x7FF it has 29 bits."""

Address = Annotated[StrictInt, Field(ge=0, le=0xFF)]
"""A byte of ISO-TP's extended or mixed addressing."""


def _text_or_number(value: Any) -> Any:
    if (
        isinstance(value, bool)
        or not isinstance(value, (str, int))
        or not 0 < len(str(value)) < 256
    ):
        raise ValueError(
            f"should be a string of up to 255 characters, or a number, not {_show(value)}"
        )
    return value


def _scalar(value: Any) -> Any:
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"should be a string, a number or a boolean, not {_show(value)}")
    return value


def _show(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


class VehicleError(BordnetzError):
    """The vehicle file cannot be used; the text names file, place, value and expectation."""

    exit_code = 78  # EX_CONFIG of sysexits.h


class _Model(BaseModel):
    # Deferred, as only the whole vehicle file is validated, and a start waits for it.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class IsoTp(_Model):
    """A conversation over ISO-TP (ISO 15765-2), such as diagnostics with an ECU.

    What is listened to are the messages under either id; nothing is ever sent.  Frames do not
    tell that they are ISO-TP's, so the ids have to be named.

    Attributes:
        request: Arbitration id of one direction; None: not heard on this bus.
        response: Of the other.
        request_address: With extended or mixed addressing the byte before all others of a
            request's frames, N_TA or N_AE; None: there is none.
        response_address: That of a response's.
        length_byte: The DBC file counts the bits of these messages from the byte before the
            payload, which holds the (lowest byte of the) payload's length; else from the
            payload's first byte.
    """

    request: ArbitrationId | None = None
    response: ArbitrationId | None = None
    request_address: Address | None = None
    response_address: Address | None = None
    length_byte: StrictBool = False

    @model_validator(mode="after")
    def _names_an_id(self) -> IsoTp:
        if self.request is None and self.response is None:
            raise ValueError("request, response, or both should be there")
        sides = (self.request, self.request_address), (self.response, self.response_address)
        if any(one is None and address is not None for one, address in sides):
            raise ValueError("request_address is for a request, response_address for a response")
        if len({address is None for one, address in sides if one is not None}) > 1:
            raise ValueError("request_address and response_address should both be there, or none")
        return self

    @property
    def sides(self) -> tuple[tuple[int | None, int | None], tuple[int | None, int | None]]:
        """Id, as of `ids`, and address of request and response."""
        request, response = self.ids
        return (request, self.request_address), (response, self.response_address)

    @property
    def ids(self) -> tuple[int | None, int | None]:
        """Request and response, `bordnetz.series.EXTENDED` set for 29 bits."""
        request, response = (
            one if one is None or one <= _LARGEST_STANDARD else one | _EXTENDED
            for one in (self.request, self.response)
        )
        return request, response


class Bus(_Model):
    """One bus of the vehicle.

    Attributes:
        name: Unique in the vehicle; begins the qualified names of its signals.
        interface: ``socketcan``; ``unix`` for a Unix datagram socket that carries
            `struct can_frame` and `struct canfd_frame`; or any interface of python-can.
        channel: The network interface, the socket's path, or what python-can's interface takes.
            In a recording, the channel as the file names it.
        bitrate: Bits a second; handed to python-can's interfaces.  For ``socketcan`` the host
            sets it, for ``unix`` there is none.
        data_bitrate: Bits a second in the data phase of CAN FD frames.
        fd: Whether python-can's interface is opened for CAN FD; the other two find out themselves.
        dbc: DBC files, relative to the vehicle file, as written there.
        nmea2000: Whether it speaks NMEA 2000: parameter groups that this standard sends as fast
            packets are messages of many frames.  Frames do not tell.
        isotp: Which ids carry messages of many frames by ISO-TP.
        options: Further keyword arguments for python-can's interface.
    """

    name: Name
    interface: Annotated[StrictStr, Field(min_length=1, max_length=64)]
    channel: Annotated[str | int, BeforeValidator(_text_or_number)]
    bitrate: Bitrate | None = None
    data_bitrate: Bitrate | None = None
    fd: StrictBool = False
    dbc: tuple[Annotated[StrictStr, Field(min_length=1, max_length=4096)], ...] = Field(
        default=(), max_length=_MOST_DATABASES
    )
    nmea2000: StrictBool = False
    isotp: tuple[IsoTp, ...] = Field(default=(), max_length=_MOST_CONVERSATIONS)
    options: dict[Name, Annotated[bool | int | float | str, BeforeValidator(_scalar)]] = {}

    @model_validator(mode="after")
    def _speaks_its_interface(self) -> Bus:
        if self.interface in ("socketcan", "unix"):
            if not isinstance(self.channel, str):
                raise ValueError(f"interface '{self.interface}' takes its channel as a string")
            if self.options:
                raise ValueError(f"interface '{self.interface}' takes no options")
        for key in ("interface", "channel", "bitrate", "data_bitrate", "fd"):
            if key in self.options:
                raise ValueError(f"options.{key} must stand beside options, not in it")
        if self.data_bitrate is not None and not self.fd:
            raise ValueError("data_bitrate needs fd = true")
        return self

    @model_validator(mode="after")
    def _uses_each_id_once(self) -> Bus:
        places: dict[int, dict[int | None, str]] = {}
        for index, conversation in enumerate(self.isotp):
            for what in ("request", "response"):
                number = getattr(conversation, what)
                if number is None:
                    continue
                address = getattr(conversation, f"{what}_address")
                place = f"isotp[{index}].{what}"
                others = places.setdefault(number, {})
                # With and without a byte of address cannot be told apart.
                if others and (address is None or None in others or address in others):
                    first = others.get(address) or next(iter(others.values()))
                    raise ValueError(f"{place}: 0x{number:X} is taken by {first}")
                others[address] = place
        return self


class Vehicle(_Model):
    """The vehicle file's content.

    Attributes:
        name: Of the vehicle.
        buses: In the order of the file; `bordnetz.can.frames.Frames.bus` points into it.
        checks: What is checked of frames.
        ota: The table ``[ota]`` as it stands there, which the update module checks; None where
            there is none.  It is no part of the `digest`.
    """

    name: Name
    buses: tuple[Bus, ...] = Field(alias="bus", max_length=_MOST_BUSES)
    checks: Checks = Checks()
    ota: dict[str, Any] | None = Field(default=None, exclude=True, repr=False)
    _folder: Path = PrivateAttr(default_factory=Path)

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="after")
    def _names_each_bus_once(self) -> Vehicle:
        if not self.buses:
            raise ValueError("bus: there should be at least one [[bus]]")
        places: dict[tuple[str, str], str] = {}
        for index, bus in enumerate(self.buses):
            for key, what in (
                (("", bus.name), "name"),
                ((bus.interface, str(bus.channel)), "channel"),
            ):
                place = f"bus[{index}].{what}"
                first = places.setdefault(key, place)
                if first != place:
                    raise ValueError(f"{place}: {key[1]!r} is taken by {first}")
        return self

    @classmethod
    def load(cls, path: Path | str) -> Vehicle:
        """Read a vehicle file.

        Raises:
            VehicleError: The file is missing, is no TOML, says something that cannot be used, or
                names a DBC file that does not exist.
        """
        path = Path(path)
        vehicle = cls.parse(_read(path), path)
        problems = [
            f"bus[{b}].dbc[{d}]: there is no file {file}; paths are relative to the vehicle file"
            for b, bus in enumerate(vehicle.buses)
            for d, file in enumerate(vehicle.databases(bus))
            if not os.path.isfile(file)  # noqa: PTH113 (Path.is_file raises for overlong names)
        ]
        if problems:
            raise _error(path, problems)
        return vehicle

    @classmethod
    def parse(cls, content: dict[str, Any], path: Path) -> Vehicle:
        """Check the content of a vehicle file, or of one that could lie at ``path``.

        Raises:
            VehicleError: The content cannot be used.
        """
        try:
            vehicle = cls.model_validate(content)
        except ValidationError as error:
            try:
                problems = [_problem(detail) for detail in error.errors()]
            except RecursionError:
                problems = ["no vehicle file: nested too deeply"]
            raise _error(path, problems) from None
        return vehicle.within(path.parent)

    def within(self, folder: Path) -> Vehicle:
        """Let the paths of DBC files be relative to ``folder``; returns the vehicle itself."""
        self._folder = folder
        return self

    def databases(self, bus: Bus) -> tuple[Path, ...]:
        """Where the DBC files of ``bus`` lie."""
        return tuple(self._folder / file for file in bus.dbc)

    @property
    def digest(self) -> bytes:
        """SHA-256, 32 bytes, over the content: comments and layout of the file do not count.

        Without checks, or NMEA 2000, it is what it was before there were any.
        """
        silent: dict[str, Any] = {
            "buses": {n: {"nmea2000"} for n, bus in enumerate(self.buses) if not bus.nmea2000}
        }
        if self.checks == Checks():
            silent["checks"] = True
        return hashlib.sha256(self.model_dump_json(by_alias=True, exclude=silent).encode()).digest()


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise VehicleError(f"{path}: the vehicle file cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise VehicleError(f"{path}: over {_MOST_BYTES} bytes; is this a vehicle file (TOML)?")
    for number, line in enumerate(content.splitlines(), 1):
        if len(line) > _LONGEST_LINE:
            raise VehicleError(
                f"{path}: line {number}: over {_LONGEST_LINE} bytes; break it into several lines"
            )
    try:
        return tomllib.loads(content.decode())
    except ValueError as error:  # no UTF-8, no TOML, or a number of absurd length
        raise VehicleError(f"{path}: no valid TOML: {error}") from error
    except RecursionError:
        raise VehicleError(f"{path}: no vehicle file: nested too deeply") from None


def _problem(detail: Any) -> str:
    place = ""
    for step in detail["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    kind, message = detail["type"], detail["msg"].removeprefix("Value error, ")
    if kind == "missing":
        return f"{place}: is missing"
    if kind == "extra_forbidden":
        return f"{place}: nothing is known under this name"
    if kind == "value_error":
        return f"{place}: {message}" if place else message
    return f"{place}: {message}, not {_show(detail['input'])}"


def _error(path: Path, problems: list[str]) -> VehicleError:
    shown = problems[:_MOST_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"... and {len(problems) - len(shown)} more")
    return VehicleError("\n".join(f"{path}: {problem}" for problem in shown))
