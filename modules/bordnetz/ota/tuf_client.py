"""``bordnetz ota tuf-client``: our verification as a plain TUF client of one repository.

The command line is the one that theupdateframework/tuf-conformance expects (its CLIENT-CLI.md), so
that this public suite can be run against the engine that the vehicle verifies with.  Metadata is
kept as ``<role>.json``, with the role's name percent-encoded, and the floor beside it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import TargetFile

from bordnetz.edge import durable
from bordnetz.errors import BordnetzError
from bordnetz.ota.address import Address
from bordnetz.ota.http import HttpSource
from bordnetz.ota.source import MissingError, PayloadSource
from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.floor import Floor
from bordnetz.uptane.repository import IMAGE, Repository
from bordnetz.uptane.steps import Need, drive

__all__ = ["tuf_client"]

_NAME = "tuf"
_PIECE = 1 << 20


class UsageError(BordnetzError):
    """An option is missing, or the folder was not prepared."""


class Client:
    """One repository's metadata in a folder."""

    def __init__(self, folder: Path, source: PayloadSource, clock: int) -> None:
        """Take up what is in the folder.

        Args:
            folder: With at least the first root metadata and the floor.
            source: Of the repository's metadata.
            clock: Seconds since 1970 UTC.

        Raises:
            UsageError: The folder was not prepared.
            FloorError: The floor is damaged.
        """
        root = durable.read(folder / "root.json", IMAGE.root)
        floor = durable.read(folder / "floor", IMAGE.targets)
        if root is None or floor is None:
            raise UsageError(f"{folder} has no root.json or no floor; begin with `init`")
        self._folder = folder
        self._source = source
        self._clock = clock
        self._floor = Floor.from_json(floor)
        versions = self._floor.versions.get(_NAME, {})
        self.repository = Repository(_NAME, root, versions, IMAGE)

    def refresh(self) -> None:
        """Bring the metadata up to date.

        Raises:
            BordnetzError: Something is refused or does not come; what came before it is kept.
        """
        try:
            drive(self.repository.refresh(self._clock), self._answer)
        finally:
            self._keep()

    def find(self, name: str) -> TargetFile:
        """What the repository says of a target, after `refresh`.

        Raises:
            BordnetzError: Something is refused or does not come, or the target is nowhere.
        """
        try:
            found = drive(self.repository.find(name), self._answer)
        finally:
            self._keep()
        if found is None:
            raise UptaneError(Kind.MISSING, "no role names the target; check its name")
        return found

    def _answer(self, need: Need) -> bytes | None:
        if need.stored:
            # Longer than it may be is as good as not there.
            with suppress(durable.DurableError):
                return durable.read(self._path(need.role), need.limit)
            return None
        try:
            return self._source.fetch(need.name, need.limit)
        except MissingError:
            return None

    def _keep(self) -> None:
        """The floor is on the disk first."""
        floor = self._floor.with_versions(_NAME, self.repository.floor)
        if floor != self._floor:
            durable.write(self._folder / "floor", floor.to_json())
            self._floor = floor
        accepted = self.repository.accepted
        if self.repository.rotated:
            for path in self._folder.glob("*.json"):
                if path not in {self._path(role) for role in accepted}:
                    durable.remove(path)
        for role, data in accepted.items():
            path = self._path(role)
            if not path.exists() or path.read_bytes() != data:
                durable.write(path, data)

    def _path(self, role: str) -> Path:
        return self._folder / f"{quote(role, '')}.json"


class Encoded(Address):
    """An address of files whose names are percent-encoded already, as TUF's roles are."""

    __slots__ = ()

    def target(self, name: str) -> str:
        """What to ask the server for."""
        path = f"{self._path}/{name}"
        return f"{path}?{self._query}" if self._query else path


def download(target: TargetFile, source: PayloadSource, folder: Path, *, hashed: bool) -> None:
    """Have a target in a folder, under its percent-encoded name.

    Args:
        target: What the metadata says of it.
        source: Of the targets.
        folder: Where it goes.
        hashed: Whether the repository has it under its hash.

    Raises:
        BordnetzError: It does not come, or is another one.
        OSError: The folder does not take it.
    """
    path = folder / quote(target.path, "")
    with suppress(FileNotFoundError, LengthOrHashMismatchError), path.open("rb") as file:
        target.verify_length_and_hashes(file)
        return
    new = path.with_name(f"{durable.NEW}{path.name}")
    name = target.get_prefixed_paths()[0] if hashed else target.path
    try:
        with source.open(name, target.length) as stream, new.open("w+b") as file:
            while piece := stream.read(_PIECE):
                file.write(piece)
            file.flush()
            target.verify_length_and_hashes(file)
    except LengthOrHashMismatchError:
        durable.remove(new)
        text = "what came is not the target that the metadata names; check who serves it"
        raise UptaneError(Kind.ARBITRARY_SOFTWARE, text) from None
    except BordnetzError:
        durable.remove(new)
        raise
    new.rename(path)


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """Whatever goes wrong, the exit code is 1."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (BordnetzError, OSError) as error:
            raise click.ClickException(str(error)) from None

    return run


@click.group()
@click.option("--metadata-dir", type=click.Path(path_type=Path), required=True)
@click.option("--metadata-url", help="Of the folder with the repository's metadata.")
@click.option("--target-name", "names", multiple=True, help="Of a target; may be repeated.")
@click.option("--target-base-url", help="Of the folder with the repository's targets.")
@click.option("--target-dir", type=click.Path(path_type=Path), help="Where targets go.")
@click.pass_context
def tuf_client(ctx: click.Context, /, **options: Any) -> None:
    """Follow one TUF repository with the vehicle's verification.

    The command line is that of theupdateframework/tuf-conformance; the exit code is 0 or 1.
    """
    ctx.obj = options


@tuf_client.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.pass_obj
@_told
def init(options: dict[str, Any], root: Path) -> None:
    """Begin, trusting the root metadata in the file ROOT."""
    folder: Path = options["metadata_dir"]
    durable.make_folder(folder)
    with durable.Lock(folder / "lock"):
        data = durable.read(root, IMAGE.root)
        if data is None:
            raise UsageError(f"there is no file {root}")
        durable.write(folder / "root.json", data)
        durable.write(folder / "floor", Floor().to_json())


@tuf_client.command()
@click.pass_obj
@_told
def refresh(options: dict[str, Any]) -> None:
    """Bring the metadata up to date."""
    with durable.Lock(options["metadata_dir"] / "lock"):
        _client(options).refresh()


@tuf_client.command("download")
@click.pass_obj
@_told
def fetch(options: dict[str, Any]) -> None:
    """Bring the metadata up to date, then have targets in the folder, one after the other."""
    folder: Path = options["target_dir"] or Path()
    source = HttpSource(_option(options, "target_base_url"), plain=True)
    with durable.Lock(options["metadata_dir"] / "lock"):
        client = _client(options)
        client.refresh()
        for name in options["names"]:
            target = client.find(name)
            hashed = bool(client.repository.root.consistent_snapshot)
            download(target, source, folder, hashed=hashed)


def _client(options: dict[str, Any]) -> Client:
    address = Encoded(_option(options, "metadata_url"), plain=True)
    return Client(options["metadata_dir"], HttpSource(address), int(time.time()))


def _option(options: dict[str, Any], name: str) -> str:
    value: str | None = options[name]
    if value is None:
        raise UsageError(f"--{name.replace('_', '-')} is missing")
    return value
