"""The ``bordnetz`` command: one name, its verbs loaded only when they are used."""

import importlib
import sys
from typing import Any

import click

from bordnetz import __version__
from bordnetz.errors import BordnetzError

VERBS: dict[str, str] = {
    "cat": "bordnetz.batch.command:cat",
    "drive": "bordnetz.laptop.drive.command:drive",
    "hub": "bordnetz.laptop.hub.command:hub",
    "manifest": "bordnetz.laptop.manifest.command:manifest",
    "simulate": "bordnetz.laptop.vehicle.command:simulate",
    "telemetry": "bordnetz.telemetry.command:telemetry",
}
"""Verb to ``module:attribute``: an Edge module must not pay for the imports of the laptop's."""


class Verbs(click.Group):
    """A click group that imports a verb's module when the verb is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in alphabetical order."""
        del ctx
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, or None for a verb that does not exist."""
        del ctx
        target = VERBS.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("bordnetz"):
                raise
            raise click.ClickException(
                f"'bordnetz {cmd_name}' needs the Python package '{error.name}', "
                "which is not installed here; install bordnetz[laptop]"
            ) from error
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bordnetz")
def bordnetz() -> None:
    """In-vehicle edge for a connected fleet, on Azure IoT Edge or on a laptop.

    Start with `bordnetz drive`: a simulated vehicle, the telemetry module and a
    stand-in Edge hub on this machine, without Azure, Docker or CAN hardware.
    """


def main() -> Any:
    """Run the command line; a BordnetzError becomes its text and its exit code."""
    try:
        return bordnetz()
    except BordnetzError as error:
        click.echo(f"bordnetz: {error}", err=True)
        sys.exit(error.exit_code)
