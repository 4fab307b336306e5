"""``bordnetz release sign``, ``refresh`` and ``publish``: what vehicles get to see."""

from __future__ import annotations

from pathlib import Path

import click

from bordnetz.release import signing, terminal
from bordnetz.release.destination import Destination
from bordnetz.release.errors import ReleaseError
from bordnetz.release.folder import FolderDestination
from bordnetz.release.publishing import publish as send
from bordnetz.release.release import Release
from bordnetz.release.signers import Signers


@click.command()
@terminal.folder_argument
@click.option("--all", "everything", is_flag=True, help="Sign everything anew, due or not.")
@terminal.json_option
def sign(folder: Path, everything: bool, as_json: bool) -> None:
    """Sign what has changed: new images, and vehicles with something new assigned.

    It takes all keys but the roots'. What was cut short is due again. Vehicles see it when it is
    published.
    """
    _sign(folder, as_json=as_json, everything=everything)


@click.command()
@terminal.folder_argument
@terminal.json_option
def refresh(folder: Path, as_json: bool) -> None:
    """Sign snapshots, timestamps and the time of all vehicles anew, before they expire.

    Run it every day and publish. Targets with a third of their time left or less are signed, too.
    Roots are not, for their keys are elsewhere: `status` says when they are due, `rotate` renews
    them.
    """
    _sign(folder, as_json=as_json, refresh=True)


def _sign(folder: Path, *, as_json: bool, refresh: bool = False, everything: bool = False) -> None:
    with Release(folder) as release, terminal.Progress() as progress:
        signed = signing.sign(
            release,
            Signers(folder, release.settings),
            terminal.now(),
            refresh=refresh,
            everything=everything,
            progress=progress,
        )
    lines = ["nothing is due"]
    if signed.version is not None:
        lines = [f"version {signed.version}: vehicles signed: {signed.vehicles}; now publish"]
    if signed.refused:
        lines.append(
            f"with their old targets, for their last manifest was refused: {signed.refused}; see: "
            "bordnetz release status"
        )
    terminal.show(
        {"version": signed.version, "vehicles": signed.vehicles, "refused": signed.refused},
        lines,
        as_json=as_json,
    )


@click.command()
@terminal.folder_argument
@click.option(
    "--to",
    "place",
    required=True,
    metavar="FOLDER|URL",
    help="A folder, or https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX].",
)
@click.option("--all", "everything", is_flag=True, help="Send all, even what is on record as sent.")
@terminal.json_option
def publish(folder: Path, place: str, everything: bool, as_json: bool) -> None:
    """Send what is new to where vehicles find it.

    For a blob container, who may write there comes from the environment: a token of the
    container in AZURE_STORAGE_SAS_TOKEN (write, delete), or
    AZURE_STORAGE_CONNECTION_STRING. Files that others name are there before those that name them.
    What was cut short goes on where it ended.
    """
    with Release(folder) as release, terminal.Progress() as progress:
        sent = send(release, _destination(place), everything=everything, progress=progress)
    lines = [
        f"vehicles: {sent.vehicles}; files sent: {sent.files} of metadata, {sent.payloads} others"
    ]
    if sent.due:
        lines.append(f"vehicles with something new that is not signed: {sent.due}")
    terminal.show(
        {
            "payloads": sent.payloads,
            "files": sent.files,
            "vehicles": sent.vehicles,
            "due": sent.due,
        },
        lines,
        as_json=as_json,
    )


def _destination(place: str) -> Destination:
    if not place.startswith(("https://", "http://")):
        return FolderDestination(Path(place))
    # Only who publishes there needs the SDK.
    try:
        from bordnetz.release.blob import BlobDestination
    except ModuleNotFoundError:
        raise ReleaseError(
            "a blob container takes the package azure-storage-blob; install bordnetz[release]"
        ) from None
    return BlobDestination(place)
