"""The verb ``bordnetz release``."""

from __future__ import annotations

from pathlib import Path

import click

from bordnetz.release import status as state
from bordnetz.release import terminal
from bordnetz.release.command_fleet import intake, vehicle
from bordnetz.release.command_images import add, assign
from bordnetz.release.command_keys import revoke, rotate
from bordnetz.release.command_sign import publish, refresh, sign
from bordnetz.release.release import Release
from bordnetz.release.setup import initialize

_EPILOG = """\b
From nothing to a published update:
  bordnetz release init fleet --keys fleet/keys
  bordnetz release vehicle add fleet car-1 --primary head-unit \\
      --ecu head-unit:hu-2026 --public-key car-1.pub --tag pilot
  bordnetz release add fleet ./maps --name maps-7 --hardware hu-2026
  bordnetz release assign fleet maps-7 --campaign maps-in-spring --tag pilot
  bordnetz release sign fleet
  bordnetz release publish fleet --to /srv/updates

\b
Then, every day, so that nothing expires and vehicles know the time:
  bordnetz release refresh fleet && bordnetz release publish fleet --to /srv/updates
"""


@click.group(epilog=_EPILOG)
def release() -> None:
    """Make and sign what vehicles verify before they install it.

    A release FOLDER holds the vehicles, the images, who gets what, and the signed metadata of an
    image repository and of a director repository for each vehicle (Uptane 2.1). What comes out
    is plain files: any web server or blob container hands them out.

    Root keys are needed for init, rotate and revoke alone; keep them offline, best on a token.
    """


@release.command()
@terminal.folder_argument
@terminal.keys_option
@click.option(
    "--key",
    "chosen",
    multiple=True,
    metavar="ROLE=KEY",
    callback=terminal.role_keys,
    help="The key of a role, as director/root=pkcs11:token=fleet;id=%02 or "
    "image/targets=/media/safe/targets.pem; again for a root's other keys.",
)
@click.option(
    "--root-keys",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="So many keys each root gets in --keys.",
)
@click.option(
    "--root-threshold",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="So many of its keys must sign a root.",
)
def init(
    folder: Path,
    key_folder: Path | None,
    chosen: dict[str, list[str]],
    root_keys: int,
    root_threshold: int,
) -> None:
    """Make a release FOLDER, its keys and the first roots.

    Nine roles need a key: root, targets, snapshot and timestamp of the repositories director and
    image, and director/time, which signs the time. A key is a file (Ed25519, PKCS#8, PEM) or a
    PKCS#11 URI:

      pkcs11:token=fleet;id=%02?module-path=/usr/lib/softhsm/libsofthsm2.so

    with the PIN in the environment variable BORDNETZ_PIN, or in a file: &pin-source=file:/PATH.

    Vehicles leave the factory with both roots: FOLDER/director-root.json and
    FOLDER/image-root.json.
    """
    settings = initialize(
        folder,
        chosen,
        key_folder=key_folder,
        root_keys=root_keys,
        root_threshold=root_threshold,
        now=terminal.now(),
    )
    click.echo(f"{folder}: made, with {len(settings.keys)} keys")
    click.echo(f"Vehicles need {folder / 'director-root.json'} and {folder / 'image-root.json'}")


@release.command()
@terminal.folder_argument
@click.option("--vehicle", "name", metavar="ID", help="All that is known of one vehicle.")
@terminal.json_option
def status(folder: Path, name: str | None, as_json: bool) -> None:
    """Who has what, who was refused and why, and what expires when."""
    with Release(folder) as opened:
        if name is not None:
            found = state.vehicle(opened, name)
            terminal.show(found, state.vehicle_lines(found), as_json=as_json)
        else:
            found = state.fleet(opened, terminal.now())
            terminal.show(found, state.fleet_lines(found), as_json=as_json)


for _command in (vehicle, add, assign, intake, sign, rotate, revoke, refresh, publish):
    release.add_command(_command)
