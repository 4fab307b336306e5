"""Bundles: what the buses speak and what of it is collected, delivered by the update module.

    <folder>/current -> <hash>      what the update module has chosen
    <folder>/<hash>/vehicle.toml    the vehicle file, on the wiring that the vehicle has
    <folder>/<hash>/...             the DBC files that it names
    <folder>/<hash>/collect.json    desired properties that hold where the twin has none; optional

Whoever wrote a bundle is trusted as far as its signatures go, and here no further:

1. A bundle is found by its hash alone, below the one folder.
2. It has no more files and bytes than a vehicle needs, nothing but folders, files, and links that
   stay inside; what its vehicle file names lies inside.
3. It cannot change the wiring: its buses are those of the vehicle's own file.
4. It cannot change how updates are trusted: no table ``[ota]``.
5. Its own settings make sense with it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from bordnetz.can.catalogue import Catalogue, Parse
from bordnetz.can.dbc import parse
from bordnetz.can.vehicle import Bus, Vehicle
from bordnetz.errors import BordnetzError
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.plan import Planner

FACTORY = ""
"""In the place of a hash: the vehicle's own file, without a bundle."""

HASH = r"^[0-9a-f]{64}$"
"""SHA-256, the name of a bundle's folder."""

MOST_FILES = 1000
"""Files, folders and links of a bundle."""

MOST_BYTES = 64 << 20
"""Of all files of a bundle together; the loaders have their own limits for each."""

_MOST_SETTINGS = 64 << 10
_WIRING = ("name", "interface", "channel")


class BundleError(BordnetzError):
    """A bundle cannot be used; the text says why, and what ran before it runs on."""


@dataclass(frozen=True)
class Bundle:
    """What telemetry works with: a bundle, or the vehicle's own file.

    Attributes:
        hash: Of the bundle, or `FACTORY`.
        vehicle: Its vehicle file.
        catalogue: Of the DBC files.
        defaults: Settings that hold where the twin says nothing.
        planner: Compiles configurations for it.
    """

    hash: str
    vehicle: Vehicle
    catalogue: Catalogue
    defaults: Desired = field(default_factory=Desired)
    planner: Planner = field(init=False)

    def __post_init__(self) -> None:
        vehicle = self.vehicle
        planner = Planner(self.catalogue, vehicle.digest, vehicle.checks)
        object.__setattr__(self, "planner", planner)


class Bundles:
    """The folder of bundles.

    Args:
        folder: Where they lie; it need not be there.
        factory: The vehicle's own file.
        parse: Parses their DBC files.
    """

    def __init__(self, folder: Path, factory: Vehicle, parse: Parse = parse) -> None:
        self._folder = folder
        self._factory = factory
        self._parse = parse

    @property
    def there(self) -> bool:
        """Whether there is a folder at all, and so an update module."""
        return self._folder.is_dir()

    def current(self) -> str:
        """The hash that the update module has chosen; `FACTORY` where it has chosen none.

        Raises:
            BundleError: The choice cannot be read.
        """
        link = self._folder / "current"
        try:
            name = link.readlink().name
        except FileNotFoundError:
            return FACTORY
        except OSError as error:
            raise BundleError(f"{link} cannot be read as a link: {error.strerror}") from error
        if not re.fullmatch(HASH, name):
            raise BundleError(f"{link} names no bundle; a bundle's name is its SHA-256")
        return name

    def load(self, name: str) -> Bundle:
        """Load a bundle and check all of it.

        Args:
            name: Its hash, or `FACTORY`.

        Raises:
            BundleError: It is not there, or breaks one of the rules.
            VehicleError: Its vehicle file cannot be used.
            CatalogueError: Its DBC files cannot be used.
        """
        if name == FACTORY:
            return Bundle(FACTORY, self._factory, Catalogue.load(self._factory, self._parse))
        if not re.fullmatch(HASH, name):
            raise BundleError("a bundle's name is its SHA-256, 64 small hexadecimal digits")
        root = self._folder / name
        try:
            _survey(root)
            vehicle = Vehicle.load(root / "vehicle.toml")
            self._check(vehicle, root)
            catalogue = Catalogue.load(vehicle, self._parse)
            bundle = Bundle(name, vehicle, catalogue, _settings(root))
        except OSError as error:
            raise BundleError(f"{error.filename}: cannot be read: {error.strerror}") from error
        for refusal in bundle.planner.judge(bundle.defaults):
            raise BundleError(f"collect.json: {_place(refusal.path)}: {refusal.reason}")
        return bundle

    def _check(self, vehicle: Vehicle, root: Path) -> None:
        if vehicle.ota is not None:
            raise BundleError("vehicle.toml: [ota]: a bundle cannot change how updates are trusted")
        ours, theirs = self._factory.buses, vehicle.buses
        if len(ours) != len(theirs):
            raise BundleError(
                f"vehicle.toml: {len(theirs)} buses, the vehicle has {len(ours)}; "
                "a bundle cannot change the wiring"
            )
        for index, (own, other) in enumerate(zip(ours, theirs, strict=True)):
            for key in _said(other):
                if getattr(own, key) != getattr(other, key):
                    raise BundleError(
                        f"vehicle.toml: bus[{index}].{key}: is not as in the vehicle's own file; "
                        "a bundle cannot change the wiring"
                    )
            for number, file in enumerate(vehicle.databases(other)):
                if not _inside(file, root):
                    raise BundleError(
                        f"vehicle.toml: bus[{index}].dbc[{number}]: lies outside of the bundle"
                    )


def _said(bus: Bus) -> Iterator[str]:
    """What a bundle says of a bus' wiring: three things it must, the others it may leave out."""
    yield from _WIRING
    yield from sorted(bus.model_fields_set.difference(_WIRING, {"dbc", "nmea2000", "isotp"}))


def _survey(root: Path) -> None:
    """Look at everything in a bundle before anything of it is opened.

    Raises:
        BundleError: It is more than a bundle may have, or other than files, folders and links.
        OSError: It cannot be looked at.
    """
    if not root.is_dir() or root.is_symlink():
        raise BundleError(f"there is no bundle {root.name} in {root.parent}")
    files = size = 0
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                files += 1
                if files > MOST_FILES:
                    raise BundleError(f"over {MOST_FILES} files; is this a bundle?")
                path = Path(entry.path)
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(about.st_mode):
                    folders.append(path)
                elif stat.S_ISREG(about.st_mode):
                    size += about.st_size
                elif not (stat.S_ISLNK(about.st_mode) and _inside(path, root)):
                    shown = path.relative_to(root)
                    raise BundleError(f"{shown}: is no file, no folder and no link inside")
                if size > MOST_BYTES:
                    raise BundleError(f"over {MOST_BYTES >> 20} MiB; is this a bundle?")


def _inside(path: Path, root: Path) -> bool:
    """Whether a path, all links followed, is a file or folder inside of ``root``."""
    real = os.path.realpath(path)
    return os.path.exists(real) and Path(real).is_relative_to(os.path.realpath(root))  # noqa: PTH110 (Path.exists raises for overlong names)


def _settings(root: Path) -> Desired:
    try:
        with (root / "collect.json").open("rb") as file:
            content = file.read(_MOST_SETTINGS + 1)
    except FileNotFoundError:
        return Desired()
    if len(content) > _MOST_SETTINGS:
        raise BundleError(f"collect.json: over {_MOST_SETTINGS} bytes")
    try:
        return Desired.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BundleError(f"collect.json: {_place(first['loc'])}: {first['msg']}") from None


def _place(path: tuple[str | int, ...]) -> str:
    place = ""
    for step in path:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else step
    return place or "content"
