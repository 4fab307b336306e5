"""`bordnetz hub`: run the stand-in Edge hub, and use it as one uses the portal."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from bordnetz.edge.log import start_logging
from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub import places
from bordnetz.laptop.hub.control import Control
from bordnetz.laptop.hub.faults import KNOBS
from bordnetz.laptop.hub.jsontext import JsonError, parse
from bordnetz.laptop.hub.paths import parse_patch

_FAULTS = "\b\n" + "\n".join(f"{knob:17} {text}" for knob, text in KNOBS.items())


@click.group(name="hub")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="BORDNETZ_HUB",
    help="The hub's folder (or BORDNETZ_HUB); without it, the only hub that is running.",
)
@click.pass_context
def hub(context: click.Context, state: Path | None) -> None:
    """The stand-in Edge hub, and the portal's part of the cloud, on this machine."""
    context.obj = state


@hub.command()
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("deployment.template.json"),
    show_default=True,
    help="Modules, routes and desired properties.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for all that outlives the hub.",
)
@click.option("--address", help="Loopback address; otherwise one that is free.")
@click.pass_obj
def run(named: Path | None, manifest: Path, state: Path | None, address: str | None) -> None:
    """Run a hub until Ctrl-C or SIGTERM."""
    from bordnetz.laptop.hub import server  # TLS and SQLite, for this verb alone

    start_logging()
    folder = state or named or places.default_state()
    asyncio.run(server.run(manifest, folder, address))


@hub.command()
@click.pass_obj
def status(state: Path | None) -> None:
    """Print modules, queues, counters and armed faults."""
    _print(Control(state).status())


@hub.command()
@click.argument("module")
@click.pass_obj
def twin(state: Path | None, module: str) -> None:
    """Print a module's twin."""
    _print(Control(state).twin(module))


@hub.command(name="set")
@click.argument("module")
@click.argument("changes", nargs=-1, required=True, metavar="PATH=VALUE...")
@click.pass_obj
def set_desired(state: Path | None, module: str, changes: tuple[str, ...]) -> None:
    """Set desired properties of a module.

    PATH is keys with dots in between; without a PATH, VALUE is the whole patch.  VALUE is JSON,
    or @FILE with JSON in it, or else a text; null deletes.
    """
    version = Control(state).set(module, parse_patch(changes))
    click.echo(f"desired properties of {module} are at version {version}")


@hub.command()
@click.argument("module")
@click.argument("method")
@click.argument("payload", default="null", metavar="[JSON]")
@click.pass_obj
def call(state: Path | None, module: str, method: str, payload: str) -> None:
    """Call a direct method; the exit code is 0 if its status is 200 to 299."""
    try:
        value = parse(payload)
    except JsonError as error:
        raise BordnetzError(f"the payload is not JSON: {error}") from error
    code, answer = Control(state).call(module, method, value)
    click.echo(f"status {code}")
    _print(answer)
    sys.exit(0 if 200 <= code < 300 else 1)


@hub.command()
@click.argument("module")
@click.argument("name", metavar="INPUT")
@click.argument("body", metavar="JSON")
@click.pass_obj
def send(state: Path | None, module: str, name: str, body: str) -> None:
    """Put a message onto a module's input, in the place of a module that is not here.

    For example the driver's answer, which the head unit's page will give:

        bordnetz hub send ota driver '{"campaign": "spring", "answer": "now"}'
    """
    try:
        value = parse(body)
    except JsonError as error:
        raise BordnetzError(f"the message is not JSON: {error}") from error
    Control(state).send(module, name, value)


@hub.command()
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
@click.pass_obj
def watch(state: Path | None, count: int | None) -> None:
    """Show what reaches $upstream, decoded, as it arrives."""
    from bordnetz.laptop.hub import watching  # numpy and protobuf, for this verb alone

    control = Control(state)
    arrived = int(control.status()["upstream"]["messages"])
    try:
        asyncio.run(watching.watch(control.upstream, arrived, count))
    except KeyboardInterrupt:
        click.echo()


@hub.command(
    epilog="Knobs:\n\n" + _FAULTS,
    short_help="Make the hub misbehave.",
)
@click.argument("knob", type=click.Choice(list(KNOBS)))
@click.argument("value", required=False, metavar="[VALUE|off]")
@click.option("--module", help="Only this module.")
@click.option("--count", type=click.IntRange(1), help="Only so often.")
@click.pass_obj
def fault(
    state: Path | None, knob: str, value: str | None, module: str | None, count: int | None
) -> None:
    """Make the hub misbehave, for all modules or one, for ever or COUNT times."""
    number = None
    if value not in (None, "off"):
        try:
            number = int(value)
        except ValueError:
            raise BordnetzError(f"'{value}' is neither a number nor 'off'") from None
    Control(state).fault(knob, number, module=module, count=count, off=value == "off")


@hub.command()
@click.argument("module")
@click.pass_obj
def env(state: Path | None, module: str) -> None:
    """Print the environment of a module's process, for the shell: eval "$(bordnetz hub env M)"."""
    for name, value in Control(state).env(module).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _print(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
