"""Plain payloads in the staging folder: by the cheapest delivery that works, and verified.

What a delivery costs over the air decides; a delta counts only if what it starts from is what is
active, which is looked at before.  What comes out is compared with the target's length and hashes
as it is read back from the disk.  A delivery that does not work gives way to the next, as far as
the bytes that may still come cover that one.

In the folder lie plain payloads as ``<ECU>.<SHA-256>`` and deliveries as `bordnetz.ota.fetch` says.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from bordnetz.edge import durable
from bordnetz.edge.durable import NEW
from bordnetz.errors import BordnetzError
from bordnetz.ota import part
from bordnetz.ota.fetch import BudgetError, Fetcher, disk, read_back, write_all
from bordnetz.ota.installers.installer import Installer, InstallError
from bordnetz.ota.ports import Payloads
from bordnetz.ota.source import NeedsUrlError, SourceError, UnreachableError
from bordnetz.payload import delta, zstd
from bordnetz.payload.errors import PayloadError
from bordnetz.uptane.custom import Delivery
from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.target import Target

log = logging.getLogger(__name__)

_PIECE = 1 << 20
_ENCODINGS = ("identity", "zstd", "delta")
"""By the work that they make."""


def _logged(target: Target, delivery: Delivery, error: BordnetzError) -> None:
    log.warning("%s: its delivery as %s is of no use: %s", target.ecu, delivery.encoding, error)


class StagedPayloads(Payloads):
    """Plain payloads in one folder.  One thread at a time."""

    def __init__(
        self,
        folder: Path,
        fetcher: Callable[[], Fetcher],
        useless: Callable[[Target, Delivery, BordnetzError], None] = _logged,
    ) -> None:
        """Name folder and source.

        Args:
            folder: The staging folder, on the state volume; it is made.
            fetcher: Gives what deliveries are fetched with now; raises NeedsUrlError if there is
                no address.
            useless: Told of deliveries that gave way to others, and why.
        """
        self._folder = folder
        self._fetcher = fetcher
        self._useless = useless

    def obtain(
        self,
        target: Target,
        installer: Installer,
        budget: int | None,
        received: Callable[[int], None],
    ) -> Path:
        """Have the verified plain payload in a file; see `Payloads.obtain`.

        Raises:
            BudgetError: What would still work costs more bytes.
            CorruptError: The disk does not keep what it takes.
        """
        durable.make_folder(self._folder)
        path = self._path(target)
        if self._is_there(target, path) or self._is_copied(target, path):
            return path
        with ExitStack() as stack:
            return _Obtaining(
                target, path, self._fetcher(), _Base(installer, stack), budget, received
            ).run(self._useless)

    def discard(self, target: Target) -> None:
        """Leave nothing of it on the disk; see `Payloads.discard`."""
        for name in _names(target):
            durable.remove(self._folder / name)
            durable.remove(self._folder / (NEW + name))

    def sweep(self, keep: Collection[Target]) -> None:
        """Leave nothing on the disk but what there is of these; see `Payloads.sweep`."""
        durable.make_folder(self._folder)
        kept = {name for target in keep for name in _names(target)}
        with disk(self._folder):
            found = [path for path in self._folder.iterdir() if path.name not in kept]
        for path in found:
            durable.remove(path)

    def _path(self, target: Target) -> Path:
        return self._folder / _names(target)[0]

    def _is_there(self, target: Target, path: Path) -> bool:
        with disk(self._folder):
            if not path.exists():
                return False
            if _is(target, path):
                return True
        durable.remove(path)
        return False

    def _is_copied(self, target: Target, path: Path) -> bool:
        """Whether another ECU's payload is the same, so that it need not come again."""
        with disk(self._folder):
            found = [p for p in self._folder.glob(f"*.{target.sha256}") if not _unfinished(p)]
        for other in found:
            with disk(self._folder), other.open("rb") as file:
                if _written(target, iter(lambda: file.read(_PIECE), b""), path):
                    return True
        return False


def _unfinished(path: Path) -> bool:
    return path.name.startswith(NEW)


def _names(target: Target) -> list[str]:
    """Of all files that belong to a target; the payload's comes first."""
    names = [f"{target.ecu}.{target.sha256}"]
    for delivery in target.deliveries:
        parts = part.paths(Path(), delivery.sha256)
        names += [delivery.sha256, *(path.name for path in parts)]
    return names


class _Base:
    """What is active on an ECU, as far as deltas can start from it."""

    def __init__(self, installer: Installer, stack: ExitStack) -> None:
        self._installer = installer
        self._stack = stack
        self._read = False
        self._sha256 = ""
        self.file: BinaryIO | None = None

    def is_(self, sha256: str) -> bool:
        """Whether it is what a delta names; it is read as a whole, once."""
        if not self._read:
            self._read = True
            try:
                self.file = self._installer.base()
                if self.file is not None:
                    self._stack.enter_context(self.file)
                    found = hashlib.sha256()
                    while piece := self.file.read(_PIECE):
                        found.update(piece)
                    self._sha256 = found.hexdigest()
            except (InstallError, OSError) as error:
                log.warning("no delta can be used: what is installed cannot be read: %s", error)
        return self._sha256 == sha256


class _Obtaining:
    def __init__(
        self,
        target: Target,
        path: Path,
        fetcher: Fetcher,
        base: _Base,
        budget: int | None,
        received: Callable[[int], None],
    ) -> None:
        self._target = target
        self._path = path
        self._folder = path.parent
        self._fetcher = fetcher
        self._base = base
        self._budget = budget
        self._tell = received

    def run(self, useless: Callable[[Target, Delivery, BordnetzError], None]) -> Path:
        failure: BordnetzError | None = None
        for cost, delivery in self._deliveries():
            if delivery.encoding == "delta" and not self._base.is_(delivery.base or ""):
                continue
            if self._budget is not None and cost > self._budget:
                raise BudgetError(
                    f"{self._target.name} would take {cost} bytes as {delivery.encoding}, and only "
                    f"{self._budget} may still come for this campaign; raise its most_bytes"
                    + (f" (what is smaller is of no use: {failure})" if failure else "")
                ) from failure
            try:
                self._try(delivery)
            except (SourceError, UptaneError, PayloadError) as error:
                if _may_pass(error):
                    raise
                useless(self._target, delivery, error)
                failure = error
                self._remove(delivery)
            else:
                return self._path
        raise failure or UptaneError(
            Kind.BAD_METADATA, f"{self._target.name} has no delivery that fits; release it anew"
        )

    def _deliveries(self) -> list[tuple[int, Delivery]]:
        """The cheapest first, with what each would cost over the air."""
        costs = [(self._fetcher.cost(d, self._folder), d) for d in self._target.deliveries]
        return sorted(
            costs, key=lambda item: (item[0], _ENCODINGS.index(item[1].encoding), item[1].length)
        )

    def _try(self, delivery: Delivery) -> None:
        target = self._target
        if delivery.encoding == "identity" and (delivery.sha256, delivery.length) != (
            target.sha256,
            target.length,
        ):
            raise UptaneError(
                Kind.BAD_METADATA, f"{target.name}: a plain delivery is not the payload itself"
            )
        file = self._fetcher.fetch(delivery, self._folder, self._budget, self._received)
        if delivery.encoding == "identity":
            # Its length and SHA-256 were compared already, with these very bytes.
            with disk(self._folder):
                right = _is(target, file, {"sha256"})
            if right:
                durable.rename(file, self._path)
        else:
            with disk(self._folder), file.open("rb") as packed:
                right = _written(target, self._unpacked(delivery, packed), self._path)
            durable.remove(file)
        if not right:
            raise UptaneError(
                Kind.ARBITRARY_SOFTWARE,
                f"{target.name}: other bytes come out of its delivery as {delivery.encoding} than "
                "the metadata name; release it anew",
            )

    def _unpacked(self, delivery: Delivery, packed: BinaryIO) -> Iterable[bytes]:
        if delivery.encoding == "zstd":
            pieces = zstd.decompress(packed, self._target.length)
        else:
            base = self._base.file
            if base is None:
                raise ValueError("a delta without a base")
            pieces = delta.apply(base, packed, self._target.length)
        for piece in pieces:
            self._tell(0)
            yield piece

    def _received(self, count: int) -> None:
        if self._budget is not None:
            self._budget -= count
        self._tell(count)

    def _remove(self, delivery: Delivery) -> None:
        for path in (self._folder / delivery.sha256, *part.paths(self._folder, delivery.sha256)):
            durable.remove(path)


def _may_pass(error: BordnetzError) -> bool:
    """Whether the same delivery may work another time."""
    if isinstance(error, UptaneError):
        return error.kind is Kind.SLOW_RETRIEVAL
    return isinstance(error, NeedsUrlError | UnreachableError)


def _is(target: Target, path: Path, known: Collection[str] = ()) -> bool:
    """Whether what is on the disk is the payload, by its length and all hashes but those known."""
    hashes = {name: value for name, value in target.hashes.items() if name not in known}
    with suppress(ValueError):
        return path.stat().st_size == target.length and all(
            read_back(path, name) == value for name, value in hashes.items()
        )
    raise UptaneError(
        Kind.BAD_METADATA,
        f"{target.name} has a hash of a kind that is not known here; update this program first",
    )


def _written(target: Target, pieces: Iterable[bytes], path: Path) -> bool:
    """Write a payload, and see whether it is the one; only then has it its name."""
    new = path.with_name(NEW + path.name)
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for piece in pieces:
                write_all(descriptor, piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        right = _is(target, new)
        if right:
            durable.rename(new, path)
    finally:
        durable.remove(new)
    return right
