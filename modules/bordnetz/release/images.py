"""Images: payloads, and the ways in which each may travel.

Uptane Standard 2.1, "Metadata about images", "Release counters".  A target is the plain payload;
beside it lie, where they are smaller, the payload compressed and deltas from older payloads of
the same hardware.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bordnetz.payload import delta, tree, zstd
from bordnetz.release.errors import ReleaseError
from bordnetz.release.progress import Progress, silent
from bordnetz.release.release import Release
from bordnetz.release.workspace import Made, Workspace
from bordnetz.uptane.custom import Delivery, ImageCustom, PayloadKind

_PIECE = 1 << 20
_LONGEST_NAME = 96
"""Of a target, so that the names of its deliveries, which end with more, stay names."""

MOST_FOR_DELTAS = 512 << 20
"""Bytes of a payload: making a delta takes ten times as much memory, and a second a megabyte."""

_FOLDERS: tuple[PayloadKind, ...] = ("tree", "bundle")


@dataclass(frozen=True)
class Added:
    """An image that is new.

    Attributes:
        name: Of the target.
        sha256: Of the plain payload.
        length: Bytes of it.
        custom: As it will stand in the metadata.
        without_deltas: Whether it is too large for deltas, which would else have been made.
    """

    name: str
    sha256: str
    length: int
    custom: ImageCustom
    without_deltas: bool


@dataclass(frozen=True)
class _Older:
    """An image that a delta may start from."""

    name: str
    sha256: str
    counter: int
    length: int


def add(
    release: Release,
    source: Path,
    *,
    name: str,
    hardware: list[str],
    counter: int | None = None,
    kind: PayloadKind | None = None,
    deltas: int = 3,
    progress: Progress = silent,
) -> Added:
    """Take in a payload.

    Args:
        release: The release.
        source: A file, or a folder.
        name: Of the target; one that was never used.
        hardware: Ids of the hardware that it is for.
        counter: Release counter, higher than those of all other images for this hardware; None:
            one higher.
        kind: What it is; None: ``file`` or ``tree``.
        deltas: From so many older images at most.
        progress: Is told how far it is.

    Raises:
        ReleaseError: It cannot be taken in; nothing has changed.
        PayloadError: A folder cannot be a payload.
    """
    kind = _kind(source, kind)
    if len(name) > _LONGEST_NAME:
        raise ReleaseError(f"{name[:20]}...: over {_LONGEST_NAME} characters; take a shorter name")
    if release.db.execute("SELECT 1 FROM image WHERE name = ?", (name,)).fetchone():
        raise ReleaseError(
            f"{name}: there is such an image already, and an image never changes; put the version "
            "into the name"
        )
    counter = _counter(release, hardware, counter)
    release.payloads.mkdir(exist_ok=True)
    with Workspace(release.payloads) as work:
        total = source.stat().st_size if source.is_file() else 0
        plain = work.make(_read(source), lambda done: progress(f"{name}: read, bytes", done, total))
        _check_new(release, source, plain)
        made = [(plain, _delivery(plain, name, "identity"))]
        older = _older(release, hardware, kind, counter, deltas) if plain.length else []
        too_large = max([plain.length, *(one.length for one in older)]) > MOST_FOR_DELTAS
        made += _ways(release, work, plain, name, [] if too_large else older, progress)
        custom = ImageCustom(
            hardware_ids=hardware,
            release_counter=counter,
            kind=kind,
            deliveries=[delivery for _, delivery in made],
        )
        work.keep((file, delivery.path) for file, delivery in made)
    with release.transaction() as db:
        image = db.execute(
            "INSERT INTO image (name, sha256, length, counter, custom) VALUES (?, ?, ?, ?, ?)",
            (
                name,
                plain.sha256,
                plain.length,
                counter,
                json.dumps(custom.model_dump(by_alias=True, mode="json", exclude_none=True)),
            ),
        ).lastrowid
        db.executemany(
            "INSERT INTO hardware VALUES (?, ?, ?)", [(one, counter, image) for one in hardware]
        )
        db.execute("UPDATE state SET image_due = 1")
    return Added(name, plain.sha256, plain.length, custom, bool(older and too_large))


def _kind(source: Path, kind: PayloadKind | None) -> PayloadKind:
    if source.is_dir():
        if kind not in (None, *_FOLDERS):
            raise ReleaseError(f"{source}: a folder, but {kind} is a file; name the file")
        return kind or "tree"
    if not source.is_file():
        raise ReleaseError(f"{source}: there is no such file or folder")
    if kind in _FOLDERS:
        raise ReleaseError(f"{source}: a file, but a {kind} is a folder; name the folder")
    return kind or "file"


def _counter(release: Release, hardware: list[str], counter: int | None) -> int:
    """The release counter, above all others of the same hardware."""
    last, of = 0, ""
    for one in hardware:
        (highest,) = release.db.execute(
            "SELECT max(counter) FROM hardware WHERE hardware = ?", (one,)
        ).fetchone()
        if highest is not None and highest > last:
            last, of = highest, one
    if counter is None:
        return last + 1
    if counter <= last:
        raise ReleaseError(
            f"release counter {counter}: hardware {of} has an image with {last} already, and no "
            f"vehicle goes back; take {last + 1} or higher"
        )
    return counter


def _check_new(release: Release, source: Path, plain: Made) -> None:
    same = release.db.execute("SELECT name FROM image WHERE sha256 = ?", (plain.sha256,)).fetchone()
    if same:
        raise ReleaseError(f"{source}: the image {same[0]} is the same, byte for byte")


def _delivery(
    file: Made,
    name: str,
    encoding: Literal["identity", "zstd", "delta"],
    base: str | None = None,
) -> Delivery:
    return Delivery(name=name, length=file.length, sha256=file.sha256, encoding=encoding, base=base)


def _read(source: Path) -> Iterator[bytes]:
    if source.is_dir():
        yield from tree.pack(source)
        return
    try:
        with source.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        raise ReleaseError(f"{source}: cannot be read: {error.strerror}") from error


def _ways(
    release: Release,
    work: Workspace,
    plain: Made,
    name: str,
    older: list[_Older],
    progress: Progress,
) -> Iterator[tuple[Made, Delivery]]:
    """How else the payload may travel, each way smaller than the payload itself."""
    smallest = plain.length
    with plain.path.open("rb") as file:
        packed = work.make(
            zstd.compress(file, plain.length),
            lambda done: progress(f"{name}: compressed, bytes", done, plain.length),
        )
    if packed.length < plain.length:
        smallest = packed.length
        yield packed, _delivery(packed, f"{name}.zst", "zstd")
    for done, base in enumerate(older):
        progress(f"{name}: deltas", done, len(older))
        patch = work.path()
        delta.make(release.payloads / f"{base.sha256}.{base.name}", plain.path, patch)
        made = work.take(patch)
        if made.length < smallest:
            path = f"{name}.from-{base.counter}"
            yield made, _delivery(made, path, "delta", base.sha256)


def _older(
    release: Release, hardware: list[str], kind: PayloadKind, counter: int, most: int
) -> list[_Older]:
    """The newest images that a vehicle with this hardware may have, for deltas from them."""
    marks = ", ".join("?" * len(hardware))
    rows = release.db.execute(
        "SELECT DISTINCT image.name, image.sha256, image.counter, length FROM image "  # noqa: S608
        f"JOIN hardware ON hardware.image = image.id WHERE hardware IN ({marks}) "
        "AND image.counter < ? AND json_extract(custom, '$.kind') = ? AND length > 0 "
        "ORDER BY image.counter DESC LIMIT ?",
        (*hardware, counter, kind, most),
    )
    return [_Older(*row) for row in rows]
