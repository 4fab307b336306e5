"""``bordnetz ota``: what the container runs, and what a person looks into updates with."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import click

COMMANDS = {
    "tuf-client": ("bordnetz.ota.tuf_client:tuf_client", "A TUF client, for conformance suites."),
}


class Commands(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in alphabetical order."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for one that does not exist."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, invoke_without_command=True)
@click.option(
    "--vehicle",
    "path",
    envvar="BORDNETZ_VEHICLE",
    type=click.Path(path_type=Path, readable=False),
    default="/etc/bordnetz/vehicle.toml",
    show_default=True,
    show_envvar=True,
    help="Vehicle file; its table [ota] says what is updated, and whom the car believes.",
)
@click.option(
    "--bundles",
    envvar="BORDNETZ_BUNDLES",
    type=click.Path(path_type=Path, file_okay=False),
    default="/var/lib/bordnetz-bundles",
    show_default=True,
    show_envvar=True,
    help="Folder of telemetry's bundles.",
)
@click.pass_context
def ota(context: click.Context, path: Path, bundles: Path) -> None:
    """Run the update module: verified metadata in, installed and reported versions out.

    It needs the environment that IoT Edge gives its modules; `bordnetz drive --ota demo` gives it
    one on a laptop.  Where to look for updates is set by the module twin's desired properties.
    """
    if context.invoked_subcommand is not None:
        return
    # The commands above need neither Azure's packages nor a vehicle file.
    from bordnetz.can.vehicle import Vehicle
    from bordnetz.edge.run import run_module
    from bordnetz.ota.module import Ota
    from bordnetz.ota.vehicle import OtaSettings, read_root
    from bordnetz.uptane import keys
    from bordnetz.uptane.trust import Roots

    def make() -> Ota:
        settings = OtaSettings.parse(Vehicle.load(path).ota, path)
        folder = path.parent
        roots = Roots(
            read_root(folder / settings.director_root), read_root(folder / settings.image_root)
        )
        vehicle_id = settings.vehicle_id or os.environ["IOTEDGE_DEVICEID"]
        signer = keys.load(settings.key, folder)
        return Ota(settings, vehicle_id, roots, signer, folder, bundles)

    run_module(make)
