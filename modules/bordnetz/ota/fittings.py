"""From the vehicle file's ECUs to their installers: the one place that knows all of them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from bordnetz.ota.bundles import Telemetry
from bordnetz.ota.installers.boot_loader import BootLoader
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.data import DataInstaller
from bordnetz.ota.installers.file import FileInstaller
from bordnetz.ota.installers.installer import Installer
from bordnetz.ota.installers.rauc import RaucInstaller
from bordnetz.ota.installers.swupdate import SwupdateInstaller
from bordnetz.ota.vehicle import DataEcu, Ecu, FileEcu, OtaSettings, RaucEcu, Run


class Fittings:
    """Makes the installers of a vehicle.

    Args:
        settings: The vehicle file's table ``[ota]``.
        folder: Of the vehicle file; paths in it are relative to this.
        state: The module's folder.
        bundles: Where telemetry's bundles lie.
        telemetry: Takes bundles up.
    """

    def __init__(
        self,
        settings: OtaSettings,
        folder: Path,
        state: Path,
        bundles: Path,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._state = state
        self._bundles = bundles
        self._telemetry = telemetry

    def installers(self) -> dict[str, Installer]:
        """One for each ECU, in the order of the file."""
        return {ecu.id: self._installer(ecu) for ecu in self._settings.ecus}

    def _installer(self, ecu: Ecu) -> Installer:
        record = self._state / f"{ecu.id}.json"
        health = command(ecu.health)
        if isinstance(ecu, DataEcu):
            return DataInstaller(self._bundles, self._telemetry)
        if isinstance(ecu, FileEcu):
            return FileInstaller(self._folder / ecu.folder, health)
        if isinstance(ecu, RaucEcu):
            place = self._folder / ecu.folder
            return RaucInstaller(
                bus=ecu.bus,
                folder=place,
                seen=PurePosixPath(ecu.host_folder or place),
                record=record,
                health=health,
                timeout=ecu.seconds,
            )
        return SwupdateInstaller(
            control=Path(ecu.control),
            news=Path(ecu.progress),
            sides=ecu.sides,
            boot_loader=BootLoader(_command(ecu.boot_loader)),
            record=record,
            health=health,
            timeout=ecu.seconds,
        )


def command(run: Run | None) -> Command | None:
    """A command of the vehicle file, ready to run."""
    return None if run is None else _command(run)


def _command(run: Run) -> Command:
    return Command(tuple(run.argv), run.timeout)
