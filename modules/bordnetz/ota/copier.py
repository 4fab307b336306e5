"""Deliveries from a folder: copied, synced, and read back.

The bytes are hashed once, when they are read back: a copy that has the right digest says of the
stick, of the way and of the disk alike that they are right.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bordnetz.edge import durable
from bordnetz.edge.durable import NEW
from bordnetz.ota.fetch import Fetcher, disk, read_back, there, write_all
from bordnetz.ota.source import PayloadSource, Stream
from bordnetz.uptane.custom import Delivery
from bordnetz.uptane.errors import Kind, UptaneError

_PIECE = 1 << 20


class Copier(Fetcher):
    """Fetches deliveries from a folder."""

    def __init__(self, source: PayloadSource) -> None:
        """Name the source."""
        self._source = source

    def cost(self, delivery: Delivery, folder: Path) -> int:  # noqa: ARG002 - of any delivery
        """Nothing; see `Fetcher.cost`."""
        return 0

    def fetch(
        self,
        delivery: Delivery,
        folder: Path,
        budget: int | None,  # noqa: ARG002 - nothing comes over the air
        received: Callable[[int], None],
    ) -> Path:
        """Copy a delivery; see `Fetcher.fetch`."""
        if done := there(delivery, folder):
            return done
        path = folder / delivery.sha256
        new = path.with_name(NEW + path.name)
        try:
            with self._source.open(delivery.path, delivery.length) as stream, disk(folder):
                right = (
                    stream.length == delivery.length
                    and _copy(stream, new, received) == delivery.length
                    and read_back(new) == delivery.sha256
                )
            if not right:
                raise UptaneError(
                    Kind.ARBITRARY_SOFTWARE,
                    f"{delivery.path}: has other bytes than the metadata name; copy the release "
                    "anew",
                )
            durable.rename(new, path)
        finally:
            durable.remove(new)
        return path


def _copy(stream: Stream, path: Path, received: Callable[[int], None]) -> int:
    length = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while piece := stream.read(_PIECE):
            write_all(descriptor, piece)
            length += len(piece)
            received(0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return length
