"""The cloud's side of the demonstration: a release of two payloads for one car."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bordnetz.can.vehicle import Vehicle
from bordnetz.errors import BordnetzError

CAMPAIGN = "demo"

BUNDLE, MAPS = "telemetry", "maps"
"""ECUs of the demonstration: telemetry's bundle, and files that somebody on the head unit reads."""

NEW_SIGNAL = "body.BCM_Wipers_01.WasherPump"
"""What only the new bundle's DBC file knows."""

_ANCHOR = " SG_ WiperParked : 2|1@1+"
_SIGNAL = ' SG_ WasherPump : 3|1@1+ (1,0) [0|1] "" Vector__XXX\n'

_MAPS = 64
"""Files of the map, some KB each."""


class ReleaseError(BordnetzError):
    """The release tool has failed, or the vehicle is not the demo's."""


class Release:
    """A release folder, the store's folder, and the car's part of both.

    Args:
        folder: For all of it.
        vehicle: The car's buses as they are in this drive.
        vehicle_id: Under which it goes in the hub.
    """

    def __init__(self, folder: Path, vehicle: Vehicle, vehicle_id: str) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.key = folder / "primary.pem"
        self.release = folder / "release"
        self.vehicle_id = vehicle_id
        self._vehicle = vehicle

    @property
    def roots(self) -> tuple[Path, Path]:
        """The director's and the image repository's root metadata, as of the factory."""
        return self.release / "director-root.json", self.release / "image-root.json"

    @property
    def time_key(self) -> Path:
        """The key of the time server."""
        return self.folder / "keys" / "director-time.pem"

    def begin(self, *others: str) -> None:
        """Make keys, the first roots and the car.

        Args:
            others: Ids of more vehicles of the kind.

        Raises:
            ReleaseError: The release tool fails.
        """
        self.store.mkdir(parents=True)
        key = Ed25519PrivateKey.generate()
        self.key.touch(mode=0o600)
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        public = key.public_key().public_bytes_raw().hex()
        self.run("init", self.release, "--keys", self.folder / "keys")
        for vehicle in (self.vehicle_id, *others):
            self.run(
                *("vehicle", "add", self.release, vehicle, "--public-key", public),
                *("--ecu", f"{MAPS}:maps-1", "--ecu", f"{BUNDLE}:bundle-1"),
            )

    def add(self, number: int) -> None:
        """Take in the two payloads, as their versions of this number.

        Raises:
            ReleaseError: The release tool fails.
        """
        bundle = self._make_bundle(number)
        maps = self._make_maps(number)
        self.run(
            *("add", self.release, bundle, "--kind", "bundle", "--name", f"bundle-{number}"),
            *("--hardware", "bundle-1", "--counter", number),
        )
        self.run(
            *("add", self.release, maps, "--name", f"maps-{number}"),
            *("--hardware", "maps-1", "--counter", number),
        )

    def publish(self, number: int, campaign: str = CAMPAIGN, *vehicles: str) -> None:
        """Assign the payloads of a number, sign and publish.

        Raises:
            ReleaseError: The release tool fails.
        """
        for vehicle in vehicles or (self.vehicle_id,):
            self.run(
                *("assign", self.release, f"bundle-{number}", f"maps-{number}"),
                *("--campaign", campaign, "--vehicle", vehicle, "--consent"),
                *("--group", f"{BUNDLE},{MAPS}", "--after", f"{BUNDLE}={MAPS}"),
                *("--require", "parked", "--require", "ignitionOff", "--require", "charged"),
            )
        self.run("sign", self.release)
        self.run("publish", self.release, "--to", self.store)

    def intake(self, manifest: Path) -> None:
        """Take in a manifest.

        Raises:
            ReleaseError: The release tool refuses it.
        """
        self.run("intake", self.release, manifest)

    def run(self, *arguments: object) -> str:
        """Run ``bordnetz release`` and give what it prints.

        Raises:
            ReleaseError: It fails.
        """
        command = [sys.executable, "-m", "bordnetz", "release", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command line
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise ReleaseError(f"bordnetz release {arguments[0]}: {said}")
        return done.stdout

    def _make_bundle(self, number: int) -> Path:
        """The vehicle's DBC files, of which one knows a signal more."""
        folder = self.folder / f"bundle-{number}"
        folder.mkdir()
        lines = [f"# Version {number} of the demonstration."]
        lines += [f"name = {json.dumps(self._vehicle.name)}"]
        for bus in self._vehicle.buses:
            names = []
            for file in self._vehicle.databases(bus):
                text = file.read_text(encoding="cp1252")
                if bus.name == "body":
                    if _ANCHOR not in text:
                        raise ReleaseError("--ota demo updates the demo vehicle alone, in dbc/")
                    text = text.replace(_ANCHOR, _SIGNAL + _ANCHOR)
                (folder / file.name).write_text(text, encoding="cp1252")
                names.append(file.name)
            lines += [
                "",
                "[[bus]]",
                f"name = {json.dumps(bus.name)}",
                f"interface = {json.dumps(bus.interface)}",
                f"channel = {json.dumps(bus.channel)}",
                f"dbc = {json.dumps(names)}",
            ]
        lines += self._vehicle.checks.toml()
        (folder / "vehicle.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    def _make_maps(self, number: int) -> Path:
        folder = self.folder / f"maps-{number}"
        folder.mkdir()
        for tile in range(_MAPS):
            text = "".join(f"{number} {tile} {row} {row * row % 977}\n" for row in range(400))
            (folder / f"tile-{tile:02}.txt").write_text(text)
        return folder


def replace_folder(source: Path, target: Path) -> None:
    """Have a folder's content be a copy of another's."""
    shutil.rmtree(target)
    shutil.copytree(source, target)
