"""The delta between the Wi-Fi modules of two consecutive kernels of Debian, released and installed.

To the newest kernel of the release's own series, from the one before it of another upstream
version: two of Debian's revisions of the same sources differ by less.  Where apt has no two, the
rows are left out.  Modules and deltas are kept in ``build/bench``.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from bench import ota_process
from bench.ota_release import CountingStore, OneCar
from bench.ota_row import at_most
from bordnetz.errors import BordnetzError
from bordnetz.payload import delta

MOST_PERCENT = 5.0
"""Of the plain payload."""
MOST_GROWTH = 24
"""MiB over the module at rest."""

_NAME = re.compile(r"linux-image-[\d.]+(?:[-+](?:deb)?\d+)*-amd64(?:-unsigned)?")
"""Not those for clouds, nor others that end with more."""
_WIRELESS = "kernel/drivers/net/wireless"
_PATIENCE = 300
"""Seconds for apt."""


class NoKernelsError(BordnetzError):
    """There are no two consecutive kernels to be had."""


def rows(folder: Path, kept: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows, and why they are left out."""
    kept.mkdir(parents=True, exist_ok=True)
    try:
        older, newer = _kernels()
        trees = [_wireless(package, kept) for package in (older, newer)]
    except NoKernelsError as error:
        return [], [f"The delta of Wi-Fi modules is left out: {error}"]
    made = OneCar(folder)
    about = {"place": str(folder / "car"), "roots": str(made.roots)}
    Path(about["place"]).mkdir()
    make = delta.make

    def from_before(base: Path, payload: Path, patch: Path) -> None:
        """The delta, as it was made in an earlier run."""
        file = kept / f"{_sha256(base)[:32]}-{_sha256(payload)[:32]}.delta"
        if not file.exists():
            new = file.with_suffix(".new")
            make(base, payload, new)
            new.rename(file)
        shutil.copyfile(file, patch)

    with CountingStore(made.published, folder / "store") as store:
        made.give(trees[0], level=3)
        ota_process.run("update", **about, **store.asked)
        with mock.patch.object(delta, "make", from_before):
            added = made.give(trees[1], deltas=1, level=3)
        done = ota_process.run("update", **about, **store.asked)
    what = f"ota: delta of Wi-Fi modules, {_version(older)} to {_version(newer)}"
    share = done["received"] / added.length * 100
    size = f"of {added.length / 1e6:.1f} MB"
    return [
        at_most(f"{what}, over the air", share, f"% {size}", MOST_PERCENT),
        at_most(
            f"{what}, installed: memory over the module at rest",
            done["peak"] - done["before"],
            "MiB",
            MOST_GROWTH,
        ),
        at_most(f"{what}, installed: CPU time", done["cpu"], "s", None),
    ], []


def _kernels() -> tuple[str, str]:
    """Package and version, as apt-get takes them, of two consecutive ones."""
    listed = _apt("apt-cache", "search", "--names-only", "^linux-image-[0-9].*-amd64")
    names = [name for name in re.findall(r"^\S+", listed, re.MULTILINE) if _NAME.fullmatch(name)]
    latest: dict[tuple[int, ...], tuple[bool, tuple[int, ...], str]] = {}
    for line in _apt("apt-cache", "madison", *names).splitlines() if names else []:
        name, version = (part.strip() for part in line.split("|")[:2])
        upstream, _, revision = version.partition("-")
        # Of each upstream version the last revision, signed where it is.
        one = (not name.endswith("-unsigned"), _numbers(revision), f"{name}={version}")
        latest[_numbers(upstream)] = max(one, latest.get(_numbers(upstream), one))
    usual = _apt("apt-cache", "show", "--no-all-versions", "linux-image-amd64")
    (series,) = re.findall(r"^Version: (\d+\.\d+)", usual, re.MULTILINE)[:1] or [""]
    newest = sorted(upstream for upstream in latest if upstream[:2] == _numbers(series))[-2:]
    if len(newest) < 2:
        raise NoKernelsError(
            "apt knows no two versions of Debian's linux-image-*-amd64; run apt-get update"
        )
    older, newer = (latest[upstream][2] for upstream in newest)
    return older, newer


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def _version(package: str) -> str:
    return package.partition("=")[2]


def _wireless(package: str, kept: Path) -> Path:
    """A folder with the Wi-Fi modules of a package, not compressed."""
    place = kept / re.sub(r"[^\w.+-]", "_", package)
    if place.exists():
        return place
    with tempfile.TemporaryDirectory(dir=kept) as name:
        folder = Path(name)
        # apt lets another user write.
        folder.chmod(0o777)
        _apt("apt-get", "-q", "download", package, folder=folder)
        (deb,) = folder.glob("*.deb")
        _apt("dpkg-deb", "-x", str(deb), str(folder / "all"))
        found = [path for path in (folder / "all").glob(f"**/{_WIRELESS}") if path.is_dir()]
        if len(found) != 1:
            raise NoKernelsError(f"{package} has no folder {_WIRELESS}")
        for path in [*found[0].rglob("*.ko.xz")]:
            path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
            path.unlink()
        found[0].rename(place)
    return place


def _apt(*command: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=_PATIENCE,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise NoKernelsError(f"there is no {command[0]} here") from error
    except subprocess.CalledProcessError as error:
        words = error.stderr.strip().splitlines() or ["it says nothing"]
        raise NoKernelsError(f"{' '.join(command[:3])} fails: {words[-1]}") from error
    except subprocess.TimeoutExpired as error:
        raise NoKernelsError(f"{command[0]} takes longer than {_PATIENCE} s") from error
    return done.stdout


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
