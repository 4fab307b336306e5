"""Where a drive happens: its folder, its buses and the vehicle file that names both.

Two drives at once must not meet: each has a folder of its own, and vcan interfaces, of which a
machine has one set, belong to one drive at a time.
"""

import json
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bordnetz.can.checks import Checks
from bordnetz.can.vehicle import Bus, Vehicle
from bordnetz.laptop.drive.errors import ChoiceError

VCAN = tuple(f"vcan{n}" for n in range(3))

_LOCK = "\0bordnetz/" + "+".join(VCAN)


class Workplace:
    """A folder for one drive, removed afterwards unless it was asked for by name.

    Args:
        folder: Keep everything here, new or empty; None: a temporary folder.  Sockets lie in a
            temporary folder in any case, because their paths must be short (`unix(7)`: 107 bytes).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._asked_for = folder
        self._lock: socket.socket | None = None

    def __enter__(self) -> Self:
        """Make the folders.

        Raises:
            ChoiceError: The folder holds something already, or cannot be made.
        """
        if self._asked_for is not None:
            _make_empty(self._asked_for)
        self._temporary = tempfile.TemporaryDirectory(prefix="bordnetz-")
        self.sockets = Path(self._temporary.name)
        self.folder = self._asked_for or self.sockets
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what nobody asked to keep; let go of the vcan interfaces."""
        if self._lock:
            self._lock.close()
        self._temporary.cleanup()

    def vcan(self) -> bool:
        """Take vcan0..2 for this drive; False where they are missing or another drive has them."""
        if not all(Path("/sys/class/net", name).exists() for name in VCAN):
            return False
        # An abstract name belongs to the network namespace, as the interfaces do, and to whoever
        # has bound it, until the process ends in whatever way (unix(7)).
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(_LOCK)
        except OSError:
            lock.close()
            return False
        self._lock = lock
        return True

    def rebind(
        self, vehicle: Vehicle, interface: str | None, channels: Sequence[str]
    ) -> tuple[Vehicle, Path]:
        """The vehicle with its buses on the interfaces of this drive, and its file.

        Args:
            vehicle: As its own file says.
            interface: For all buses; None: vcan0..2 if free, else Unix datagram sockets.
            channels: One a bus, in the order of the file; () chooses them.

        Raises:
            ChoiceError: There are no channels to choose for this interface.
        """
        fits = len(vehicle.buses) <= len(VCAN)
        if interface is None:
            interface = "socketcan" if channels or (fits and self.vcan()) else "unix"
        elif interface == "socketcan" and not channels and not (fits and self.vcan()):
            raise ChoiceError(
                f"--interface socketcan: {', '.join(VCAN)} are missing, too few, or in use by "
                "another drive; give --channel for each bus, or --interface unix"
            )
        if not channels:
            if interface not in ("unix", "socketcan"):
                raise ChoiceError(f"--interface {interface} needs --channel, once for each bus")
            channels = VCAN[: len(vehicle.buses)]
            if interface == "unix":
                channels = [str(self.sockets / f"{bus.name}.sock") for bus in vehicle.buses]
        buses = [
            bus.model_copy(update={"interface": interface, "channel": channel})
            for bus, channel in zip(vehicle.buses, channels, strict=True)
        ]
        databases = [vehicle.databases(bus) for bus in vehicle.buses]
        return self.write(vehicle.name, buses, databases, vehicle.checks)

    def write(
        self,
        name: str,
        buses: Sequence[Bus],
        databases: Sequence[Sequence[Path]],
        checks: Checks | None = None,
    ) -> tuple[Vehicle, Path]:
        """Write a vehicle file into the folder and load it."""
        path = self.folder / "vehicle.toml"
        lines = [f"name = {_toml(name)}"]
        for bus, files in zip(buses, databases, strict=True):
            content = bus.model_dump(exclude_defaults=True, exclude={"dbc"})
            content["dbc"] = [str(file.resolve()) for file in files]
            lines += ["", "[[bus]]"]
            lines += [
                f"{key} = {_toml(value)}"
                for key, value in content.items()
                if not isinstance(value, dict)
            ]
            options = content.get("options", {})
            if options:
                lines += ["[bus.options]"]
                lines += [f"{key} = {_toml(value)}" for key, value in options.items()]
        if checks is not None:
            lines += checks.toml()
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Vehicle.load(path), path


def _toml(value: object) -> str:
    """A value, which is written almost the same in JSON and TOML.

    TOML takes no escapes in halves, as JSON writes characters beyond 16 bits, and no bare DEL; and
    tables in a line have their own form.
    """
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_toml(content)}' for key, content in value.items())}}}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _make_empty(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as error:
        raise ChoiceError(f"--folder {folder}: {error.strerror}; name another folder") from error
    if occupied:
        raise ChoiceError(f"--folder {folder}: it is not empty; name a new or an empty folder")
