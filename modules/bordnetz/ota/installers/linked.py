"""Targets that are a folder with sides in it, and a link that says which of them is the active one.

    <root>/<side>/         see `bordnetz.ota.installers.side`
    <root>/<side>.json
    <root>/current         -> <side>; not there while nothing is installed
    <root>/attempt.json    which side was active when an attempt began, and which it fills

stage     writes down both sides, empties the new one and puts the payload on it
install   reads back what is on it, and writes the record
activate  switches the link, which is one step on the disk
rollback  switches it back, or removes it
clean_up  removes every side but the active one, and the attempt
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from abc import abstractmethod
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bordnetz.edge import durable
from bordnetz.ota.installers.installer import (
    Activation,
    Installed,
    Installer,
    InstallError,
    Job,
)
from bordnetz.ota.installers.side import Record, Side, movable
from bordnetz.ota.installers.trouble import TroubleError

log = logging.getLogger(__name__)

_LIMIT = 4096
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Begun(BaseModel):
    """The attempt under way.

    Attributes:
        attempt: Its id.
        old: The side that was active; "": none was.
        new: The side that it fills.
        shown: Whether somebody may have been told to use the new side.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    attempt: Annotated[str, Field(max_length=128)]
    old: Annotated[str, Field(max_length=64)]
    new: Annotated[str, Field(max_length=64)]
    shown: bool = False

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read it; None where there is none.

        Raises:
            DurableError: It cannot be read.
            TroubleError: It is not what was written.
        """
        data = durable.read(path, _LIMIT)
        if data is None:
            return None
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise TroubleError(
                f"{path}: damaged; see which side {path.parent}/current should point to, have it "
                "do so, and remove the file"
            ) from error


class LinkedInstaller(Installer):
    """What files and bundles have in common; for one thread, and alone with its folder."""

    def __init__(self, root: Path) -> None:
        """Name the folder; it is made with the first payload.

        Args:
            root: On storage that survives a reboot; nothing else should lie in it.
        """
        self._root = root
        self._known: dict[str, Installed] = {}
        self._read: set[str] = set()

    # -- what kinds of it there are

    @abstractmethod
    def _choose(self, job: Job, active: str) -> str:
        """The side that an attempt fills, while another one, or none (""), is active."""

    @abstractmethod
    def _is_side(self, name: str) -> bool:
        """Whether a side can be called that."""

    def _single(self, side: Side) -> bool:
        """Whether what is on a side is one file, and no tree."""
        record = side.record()
        return side.single if record is None else record.single

    # -- the verbs

    def probe(self) -> Installed | None:
        """What is active; see `Installer.probe`.

        The record is believed as long as the files look as they did when it was written (size,
        inode, times of change); otherwise they are read.  So a look costs no more than the names.
        """
        active = self._active()
        if not active:
            return None
        side = self._side(active)
        record, look = side.record(), side.look()
        if record is not None and record.look == look:
            return record.installed
        if look not in self._known:
            found = Installed("", 0, "", 0)
            if look:
                length, sha256 = side.read(single=self._single(side))
                found = Installed("", length, sha256, 0)
                if record is not None and (record.length, record.sha256) == (length, sha256):
                    found = record.installed
            self._known = {look: found}
        return self._known[look]

    def base(self) -> BinaryIO | None:
        """The active payload's bytes; see `Installer.base`."""
        active = self._active()
        side = self._side(active)
        return side.open(single=self._single(side)) if active and side.look() else None

    def room(self, job: Job) -> int:
        """What the payload lacks on our volume, where it is not just moved there."""
        durable.make_folder(self._root)
        begun = self._begun(job)
        if begun is not None and self._side(begun.new).look():
            return 0
        if job.kind == "file" and movable(job.payload, self._root):
            return 0
        try:
            free = shutil.disk_usage(self._root).free
            # What is on the side that it gets goes first.
            gone = self._side(self._choose(job, self._active())).record()
        except OSError as error:
            raise TroubleError(f"{self._root}: cannot be looked at: {error}") from error
        return max(job.new.length - free - (gone.length if gone else 0), 0)

    def stage(self, job: Job) -> None:
        """Put the payload on the side that is not active; see `Installer.stage`."""
        durable.make_folder(self._root)
        begun = self._begun(job)
        if begun is None:
            active = self._active()
            begun = Begun(attempt=job.attempt, old=active, new=self._choose(job, active))
            self._write(begun)
        if begun.new == begun.old:
            # What is there already is not put there again.
            return
        side = self._side(begun.new)
        moved = side.fill(job.payload, job.kind, _file_name(job))
        self._read = {side.look()} if moved and job.fresh else set()

    def install(self, job: Job) -> None:
        """Read back what is on the new side; see `Installer.install`.

        What was read back right before it was moved here is not read again.
        """
        begun = self._must(job)
        side = self._side(begun.new)
        look = side.look()
        single = job.kind == "file"
        if look not in self._read and side.read(single=single) != (job.new.length, job.new.sha256):
            raise TroubleError(
                f"{side.folder}: what is read back is not what was written; check the disk, and "
                "who else writes there"
            )
        if begun.new != begun.old:
            side.keep(Record.of(job.new, look, single=single))
        self._read = {look}

    def activate(self, job: Job) -> Activation:
        """Switch the link; see `Installer.activate`."""
        begun = self._must(job)
        if begun.new == begun.old:
            self._rename(begun.new, job.new)
        durable.symlink(begun.new, self._link)
        return Activation.DONE

    def verify(self, job: Job) -> None:
        """See that the link and the bytes are right; see `Installer.verify`.

        What this process has read back is not read again as long as it looks the same; after a
        restart it is.
        """
        begun = self._must(job)
        if self._active() != begun.new:
            raise InstallError(f"{self._link} does not point to the new version")
        side = self._side(begun.new)
        look = side.look()
        if look in self._read:
            return
        if side.read(single=job.kind == "file") != (job.new.length, job.new.sha256):
            raise TroubleError(f"{side.folder}: has changed since it was installed")
        self._read = {look}

    def commit(self, job: Job) -> None:
        """Nothing: the way back is given up by cleaning up."""

    def rollback(self, job: Job) -> Activation:
        """Switch the link back; see `Installer.rollback`."""
        begun = self._begun(job)
        if begun is None:
            return Activation.DONE
        if begun.new == begun.old and job.old is not None:
            self._rename(begun.old, job.old)
        if begun.old:
            durable.symlink(begun.old, self._link)
        else:
            durable.remove(self._link)
        return Activation.DONE

    def clean_up(self, job: Job) -> None:
        """Remove all sides but the active one; see `Installer.clean_up`."""
        del job
        if not self._root.is_dir():
            return
        active = self._active()
        for name in sorted(os.listdir(self._root)):  # noqa: PTH208 - names are wanted
            side = name.removesuffix(".json")
            if self._is_side(side) and side != active:
                self._side(side).clear()
        durable.sweep(self._root)
        durable.remove(self._attempt)

    # -- what they need

    @property
    def _link(self) -> Path:
        return self._root / "current"

    @property
    def _attempt(self) -> Path:
        return self._root / "attempt.json"

    def _side(self, name: str) -> Side:
        return Side(self._root / name)

    def _active(self) -> str:
        """The side that the link names; "" where there is no link.

        Raises:
            TroubleError: It cannot be read, or names no side.
        """
        try:
            name = str(self._link.readlink())
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise TroubleError(f"{self._link}: cannot be read as a link: {error}") from error
        if not self._is_side(name):
            raise TroubleError(f"{self._link} points to no side of it; remove it, or correct it")
        return name

    def _begun(self, job: Job) -> Begun | None:
        begun = Begun.load(self._attempt)
        return begun if begun is not None and begun.attempt == job.attempt else None

    def _must(self, job: Job) -> Begun:
        begun = self._begun(job)
        if begun is None:
            raise TroubleError(f"{self._attempt}: is not there any more; begin anew")
        return begun

    def _write(self, begun: Begun) -> None:
        durable.write(self._attempt, begun.model_dump_json().encode())

    def _rename(self, side: str, payload: Installed) -> None:
        """Have the same bytes be another version."""
        place = self._side(side)
        place.keep(Record.of(payload, place.look(), single=self._single(place)))


def _file_name(job: Job) -> str:
    """What the one file is called on its side.

    Raises:
        InstallError: No file should be called that.
    """
    name = PurePosixPath(job.new.name).name
    if not _FILE_NAME.fullmatch(name):
        raise InstallError("the target's name cannot be that of a file: letters, digits, '._-'")
    return name
