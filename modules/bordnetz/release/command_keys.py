"""``bordnetz release rotate`` and ``revoke``: new keys for old ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from bordnetz.release import terminal
from bordnetz.release.export import write_roots
from bordnetz.release.release import Release
from bordnetz.release.rotation import Rotated, new_key_file
from bordnetz.release.rotation import revoke as revoke_key
from bordnetz.release.rotation import rotate as rotate_key
from bordnetz.release.settings import ALL_ROLES


@click.command()
@terminal.folder_argument
@click.argument("role", type=click.Choice(ALL_ROLES))
@click.option("--new", metavar="KEY", help="The new key: a file, or a PKCS#11 URI.")
@click.option("--old", metavar="NAME", help="The key that goes, where the role has several.")
@terminal.keys_option
@terminal.json_option
def rotate(
    folder: Path,
    role: str,
    new: str | None,
    old: str | None,
    key_folder: Path | None,
    as_json: bool,
) -> None:
    """Put a new key in the place of a ROLE's old one, and sign everything anew.

    The next root is signed by the keys of the last one and by the new ones, so that a vehicle that
    was away for years walks the chain from the root that it knows. For a root without --new or
    --keys, the keys stay and the new root expires later.
    """
    with Release(folder) as release, terminal.Progress() as progress:
        if new is None and key_folder is not None:
            new = os.fspath(new_key_file(release.settings, key_folder, role))
        rotated = rotate_key(release, role, new, terminal.now(), old=old, progress=progress)
        write_roots(release)
    _show(rotated, as_json=as_json)


@click.command()
@terminal.folder_argument
@click.argument("key", metavar="KEY")
@click.option(
    "--new",
    "replacements",
    multiple=True,
    metavar="ROLE=KEY",
    callback=terminal.role_keys,
    help="What takes its place in a role: a file, or a PKCS#11 URI; again for other roles.",
)
@terminal.keys_option
@terminal.json_option
def revoke(
    folder: Path,
    key: str,
    replacements: dict[str, list[str]],
    key_folder: Path | None,
    as_json: bool,
) -> None:
    """Take a KEY out of service, wherever it is used, for good.

    KEY is its name in release.json, as image-targets. From the next root on, no vehicle believes
    what it signed: everything is signed anew by others. Publish at once.
    """
    if twice := [role for role, names in replacements.items() if len(names) > 1]:
        raise click.UsageError(f"--new {twice[0]}: one key takes the place of one")
    with Release(folder) as release, terminal.Progress() as progress:
        rotated = revoke_key(
            release,
            key,
            {role: names[0] for role, names in replacements.items()},
            terminal.now(),
            key_folder=key_folder,
            progress=progress,
        )
        write_roots(release)
    _show(rotated, as_json=as_json)


def _show(rotated: Rotated, *, as_json: bool) -> None:
    content: dict[str, Any] = {
        "roots": rotated.roots,
        "added": rotated.added,
        "gone": rotated.gone,
        "vehicles": rotated.signed.vehicles,
    }
    lines = [f"{repository}: root {version}" for repository, version in rotated.roots.items()]
    lines += [f"new: {name}" for name in rotated.added]
    lines += [f"not used any more: {name}" for name in rotated.gone]
    lines.append(f"vehicles signed anew: {rotated.signed.vehicles}; now publish")
    terminal.show(content, lines, as_json=as_json)
