"""The ``bordnetz`` command: one name, its verbs loaded only when they are used."""

import importlib
import os
import sys
from contextlib import suppress
from typing import Any

import click

from bordnetz import __version__
from bordnetz.errors import BordnetzError

VERBS = {
    "cat": ("bordnetz.batch.command:cat", "Show batches as text, CSV or JSON."),
    "dbc": ("bordnetz.can.command:dbc", "Check and show DBC files."),
    "drive": ("bordnetz.laptop.drive.command:drive", "Everything at once on this machine."),
    "hub": ("bordnetz.laptop.hub.command:hub", "The stand-in Edge hub, and the portal to it."),
    "manifest": (
        "bordnetz.laptop.manifest.command:manifest",
        "Expand and check a deployment template.",
    ),
    "ota": ("bordnetz.ota.command:ota", "Run the update module, and look into updates."),
    "release": (
        "bordnetz.release.command:release",
        "Make, sign and publish updates for a fleet.",
    ),
    "simulate": ("bordnetz.laptop.vehicle.command:simulate", "Drive a simulated electric car."),
    "store": (
        "bordnetz.laptop.store.command:store",
        "A folder over HTTPS, for updates on a laptop.",
    ),
    "telemetry": (
        "bordnetz.telemetry.command:telemetry",
        "Run the telemetry module: CAN frames in, batches out.",
    ),
}
"""Verb to ``module:attribute`` and a line of help, so that the list of verbs imports none of
them: an Edge module must not pay for the imports of the laptop's, nor need its packages."""


class Verbs(click.Group):
    """A click group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in alphabetical order."""
        del ctx
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, or None for a verb that does not exist."""
        del ctx
        if cmd_name not in VERBS:
            return None
        module, attribute = VERBS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bordnetz")
def bordnetz() -> None:
    """In-vehicle edge for a connected fleet, on Azure IoT Edge or on a laptop.

    Start with `bordnetz drive`: a simulated vehicle, the telemetry module and a
    stand-in Edge hub on this machine, without Azure, Docker or CAN hardware.
    """


def main() -> Any:
    """Run the command line; what an operator can mend becomes a line of text and an exit code."""
    # What numpy multiplies here is small, and threads of OpenBLAS, one a core, take 50 ms of CPU
    # time to start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        return bordnetz()
    except BordnetzError as error:
        _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("bordnetz"):
            raise
        _fail(
            f"this command needs the Python package '{error.name}', which is not installed here; "
            "install bordnetz[laptop]"
        )
    except OSError as error:
        # Of what no room of bordnetz has dealt with, standard output is the one that fails: a
        # full disk behind it.
        _fail(f"{error.filename or 'standard output'}: {error.strerror or error}")


def _fail(text: str, code: int = 1) -> None:
    with suppress(OSError):
        click.echo(f"bordnetz: {text}", err=True)
    # What is left in the buffer of a broken standard output would fail again at exit.
    with suppress(OSError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
