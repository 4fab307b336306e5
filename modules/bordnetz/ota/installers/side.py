"""One side of a target that is a folder: a payload's content, and a record of what it is.

    <side>/        a tree, or the one file of a payload of kind "file"
    <side>.json    what was read back from it, and what its files looked like then

The record is written after the content has been read back, so that where there is no record there
is nothing to rely on.  It counts as long as the content looks as it did: size, inode, times of
change of every file.  Otherwise the content is read and its digest speaks for itself.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, BinaryIO, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bordnetz.edge import durable
from bordnetz.edge.durable import DurableError
from bordnetz.ota.installers.installer import Installed, InstallError
from bordnetz.ota.installers.trouble import TroubleError
from bordnetz.payload import tree
from bordnetz.payload.errors import TreeError
from bordnetz.uptane.custom import PayloadKind

_LIMIT = 16_384
_PIECE = 1 << 20


class Record(BaseModel):
    """What is on a side.

    Attributes:
        single: Whether it is one file, and no tree.
        name: Of the payload.
        length: Likewise.
        sha256: Likewise.
        counter: Likewise.
        look: What the files looked like when they were read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    single: bool
    name: Annotated[str, Field(max_length=1024)]
    length: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(max_length=64)]
    counter: Annotated[int, Field(ge=0)]
    look: Annotated[str, Field(max_length=64)]

    @classmethod
    def of(cls, payload: Installed, look: str, *, single: bool) -> Self:
        """A payload that looks so."""
        return cls(
            single=single,
            name=payload.name,
            length=payload.length,
            sha256=payload.sha256,
            counter=payload.counter,
            look=look,
        )

    @property
    def installed(self) -> Installed:
        """The payload."""
        return Installed(self.name, self.length, self.sha256, self.counter)


class Side:
    """One side."""

    def __init__(self, folder: Path) -> None:
        """Name it; it need not be there."""
        self.folder = folder
        self._record = folder.with_name(f"{folder.name}.json")

    # -- what is on it

    def record(self) -> Record | None:
        """What was last written down of it, whether it still looks so or not; None: nothing.

        Raises:
            DurableError: It cannot be read.
        """
        data = durable.read(self._record, _LIMIT)
        if data is None:
            return None
        try:
            return Record.model_validate_json(data)
        except ValidationError:
            return None

    def look(self) -> str:
        """Tells this content from any other without reading it; "" where there is none.

        Raises:
            TroubleError: It cannot be looked at.
        """
        digest = hashlib.sha256()
        try:
            for path, status in _walk(self.folder):
                kind = stat.S_IFMT(status.st_mode) | (status.st_mode & stat.S_IXUSR)
                about = [os.fsdecode(os.path.relpath(path, self.folder)), kind, status.st_ino]
                if not stat.S_ISDIR(status.st_mode):
                    about += [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
                digest.update(repr(about).encode("utf-8", "surrogateescape"))
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise TroubleError(f"{self.folder}: cannot be looked at: {error}") from error
        return digest.hexdigest()

    def read(self, *, single: bool) -> tuple[int, str]:
        """Length and SHA-256 of the payload that it is, from the disk.

        What is in memory only because it was just written is not believed.

        Args:
            single: Whether it is to be one file, and no tree.

        Raises:
            InstallError: It cannot be such a payload.
            TroubleError: It cannot be read.
        """
        try:
            for path, status in _walk(self.folder):
                if stat.S_ISREG(status.st_mode):
                    _forget(path)
            if not single:
                return tree.digest(self.folder)
            with self._only().open("rb", buffering=0) as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                return os.fstat(file.fileno()).st_size, sha256
        except TreeError as error:
            raise _told(error) from error
        except OSError as error:
            raise TroubleError(f"{self.folder}: cannot be read: {error}") from error

    def open(self, *, single: bool) -> BinaryIO:
        """The payload's bytes, to be read from any place.

        A tree's are written into a nameless file beside it, which goes when it is closed.

        Args:
            single: Whether it is one file, and no tree.

        Raises:
            InstallError: It cannot be such a payload.
            TroubleError: They cannot be read.
        """
        try:
            if single:
                return self._only().open("rb")
            with ExitStack() as stack:
                file = stack.enter_context(
                    TemporaryFile(dir=self.folder.parent, prefix=durable.NEW)
                )
                for piece in tree.pack(self.folder):
                    file.write(piece)
                file.seek(0)
                stack.pop_all()
                return file
        except TreeError as error:
            raise _told(error) from error
        except OSError as error:
            raise TroubleError(f"{self.folder}: cannot be read: {error}") from error

    @property
    def single(self) -> bool:
        """Whether there is one file on it and nothing else, so that it could be a single one."""
        found = [status for _, status in _walk(self.folder)] if self.folder.is_dir() else []
        return len(found) == 1 and stat.S_ISREG(found[0].st_mode)

    def _only(self) -> Path:
        found = [path for path, status in _walk(self.folder) if stat.S_ISREG(status.st_mode)]
        if len(found) != 1:
            raise InstallError(f"{self.folder}: has {len(found)} files and should have one")
        return Path(found[0])

    # -- how it gets there

    def fill(self, payload: Path, kind: PayloadKind, name: str) -> bool:
        """Put a payload on it, in place of what is there; on the disk when this returns.

        Returns:
            Whether it was just moved here, as a single file is from the same volume.

        Raises:
            InstallError: It is no payload of its kind.
            TroubleError: The disk does not take it.
            DurableError: Likewise.
        """
        if kind == "file" and not payload.exists() and (self.folder / name).exists():
            # It was moved here, and then the power went.
            return False
        self.clear()
        durable.make_folder(self.folder)
        try:
            if kind != "file":
                with payload.open("rb") as stream:
                    tree.unpack(stream, self.folder)
                return False
            self.folder.chmod(0o755)
            return _move(payload, self.folder / name)
        except TreeError as error:
            raise _told(error) from error
        except OSError as error:
            raise TroubleError(f"{payload}: does not get to {self.folder}: {error}") from error

    def keep(self, record: Record) -> None:
        """Write down what is on it.

        Raises:
            DurableError: The disk does not take it.
        """
        durable.write(self._record, record.model_dump_json().encode())

    def clear(self) -> None:
        """Have nothing on it.

        Raises:
            DurableError: It cannot be removed.
        """
        durable.remove(self._record)
        durable.remove(self.folder)


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything in a folder, links not followed, in an order of names."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        status = entry.stat(follow_symlinks=False)
        yield entry.path, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(Path(entry.path))


def _forget(path: str) -> None:
    """Have the next read come from the disk; whatever is read must have been synced."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def movable(payload: Path, folder: Path) -> bool:
    """Whether a file gets into a folder by a new name alone.

    One device is not enough, for containers mount parts of it under several names.
    """
    link = folder / f"{durable.NEW}{payload.name}"
    try:
        link.unlink(missing_ok=True)
        link.hardlink_to(payload)
        link.unlink()
    except OSError:
        return False
    return True


def _move(payload: Path, place: Path) -> bool:
    """Move it; copy it where that is not possible.  Returns whether it was moved."""
    with payload.open("rb") as reader:
        os.fchmod(reader.fileno(), 0o644)
        os.fsync(reader.fileno())
        try:
            durable.rename(payload, place)
        except DurableError as error:
            if getattr(error.__cause__, "errno", None) != errno.EXDEV:
                raise
        else:
            return True
        new = place.with_name(durable.NEW + place.name)
        with new.open("wb") as writer:
            os.fchmod(writer.fileno(), 0o644)
            shutil.copyfileobj(reader, writer, _PIECE)
            writer.flush()
            os.fsync(writer.fileno())
    durable.rename(new, place)
    return False


def _told(error: TreeError) -> InstallError | TroubleError:
    """What is no tree is the version's fault, what the disk does not do is not."""
    if isinstance(error.__cause__, OSError):
        return TroubleError(str(error))
    return InstallError(str(error))
