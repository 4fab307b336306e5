"""``bordnetz drive``: everything at once on this machine."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from bordnetz.laptop.drive.buses import Choice
from bordnetz.laptop.drive.drive import Outcome, Plan
from bordnetz.laptop.drive.drive import drive as run_drive
from bordnetz.laptop.drive.errors import ChoiceError, DriveError
from bordnetz.laptop.drive.progress import ELSEWHERE, Progress
from bordnetz.laptop.drive.view import line, many, picture, summary
from bordnetz.laptop.update.attacks import ATTACKS

_WRITTEN = click.Path(path_type=Path, dir_okay=False, writable=True)
_READ = click.Path(path_type=Path, dir_okay=False, exists=True)

_INTERVAL = 5.0
"""Seconds between two plain lines."""

_COMPLAINTS = 10
"""Lines of the module's log that are repeated at the end."""


_EXAMPLES = """\b
A drive of 20 seconds, with a report:
  bordnetz drive --seconds 20 --report build/drive.json
Keep what arrives, and look into it afterwards:
  bordnetz drive --seconds 60 --folder build/kept
  bordnetz cat --format csv --signals '*.VehicleSpeed' build/kept/hub/upstream
A recording with its DBC file, as fast as it goes:
  bordnetz drive --log truck.log.gz --dbc j1939.dbc --speed max
A recording of two buses, each with its own DBC file:
  bordnetz drive --log car.log --dbc can0=engine.dbc --dbc can1=body.dbc
Real CAN adapters, which carry real traffic:
  bordnetz drive --interface socketcan --channel can0 --dbc car.dbc

\b
Meanwhile, in another terminal, `bordnetz hub` is the portal:
  bordnetz hub watch                          what arrives, decoded
  bordnetz hub set telemetry batchWindow=2    desired properties
  bordnetz hub call telemetry status          direct methods
  bordnetz hub fault upstream-offline         and trouble
"""


@click.command(epilog=_EXAMPLES)
@click.option("--seconds", type=click.FloatRange(1), help="End after that; else at Ctrl-C.")
@click.option(
    "--report", "report_file", type=_WRITTEN, help="Write what it came to, as JSON, into this file."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep batches, logs and the hub's state in this folder, which must be new or empty.",
)
@click.option(
    "--log",
    type=_READ,
    help="Read this recording (.log, .log.gz, .asc, .blf, ...) in place of live buses.",
)
@click.option("--speed", help="Of the recording: 1 (as it was recorded), 10, 0.5, ... or max.")
@click.option(
    "--dbc",
    "databases",
    multiple=True,
    metavar="[CHANNEL=]FILE",
    help="A DBC file for all channels or for one; may be repeated.",
)
@click.option("--vehicle", type=_READ, help="A vehicle file in place of the demo's.")
@click.option("--interface", help="For all buses: unix, socketcan or any of python-can's.")
@click.option("--channel", "channels", multiple=True, help="For each bus in turn; repeat it.")
@click.option(
    "--load",
    type=click.IntRange(0, 20_000),
    help="Let the simulated car fill each bus up to so many frames/s.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    help="Of the simulated car; equal seeds drive alike.  [default: 1]",
)
@click.option("--manifest", type=_READ, help="A deployment template in place of the project's.")
@click.option(
    "--ota",
    type=click.Choice(["demo"]),
    help="Update the simulated car on the way: published, refused while it drives, installed when "
    "it is parked and its driver agrees.",
)
@click.option(
    "--attack",
    type=click.Choice(list(ATTACKS)),
    help="With --ota: what an attacker does to the update; the exit code is 0 only if the car "
    "refuses and reports it.",
)
def drive(
    seconds: float | None,
    report_file: Path | None,
    folder: Path | None,
    log: Path | None,
    speed: str | None,
    databases: tuple[str, ...],
    vehicle: Path | None,
    interface: str | None,
    channels: tuple[str, ...],
    load: int | None,
    seed: int | None,
    manifest: Path | None,
    ota: str | None,
    attack: str | None,
) -> None:
    """Drive: a vehicle's CAN frames become signals, batches, and arrive in the cloud.

    Starts a simulated electric car, the telemetry module as it runs in its container, and a
    stand-in Edge hub, and shows what they do.  vcan0 to vcan2 carry the frames where they exist
    and no other drive has them; Unix sockets do elsewhere.  What is collected is written in
    deployment.template.json.

    Ctrl-C ends the drive when everything has arrived; a second one ends it at once.  The exit
    code is 0 if every frame is accounted for and every batch arrived, 1 if not, 2 if the options
    do not go together, 130 if it was ended before it had begun, or by a second Ctrl-C.
    """
    if report_file is not None:
        _write(report_file, "")  # What cannot be written should be known before the drive.
    choice = Choice(vehicle, interface, channels, log, tuple(_bound(text) for text in databases))
    console = Console()
    if attack is not None and ota is None:
        raise ChoiceError("--attack is one on the update of --ota demo; give that, too")
    plan = Plan(
        choice,
        seconds,
        _speed(speed, log),
        load,
        seed,
        folder,
        manifest,
        console.is_terminal,
        update=ota is not None,
        attack=attack or "",
        tell=partial(console.print, soft_wrap=True, markup=False, highlight=False),
    )
    try:
        with ExitStack() as stack:
            outcome = run_drive(plan, _shower(console, stack))
    except KeyboardInterrupt:
        click.echo("bordnetz drive: ended at once; what was on its way is lost", err=True)
        sys.exit(130)
    _conclude(outcome, folder)
    if report_file is not None:
        _write(report_file, json.dumps(outcome.report, indent=2) + "\n")
    sys.exit(1 if outcome.wrong else 0)


def _write(report_file: Path, text: str) -> None:
    try:
        report_file.parent.mkdir(parents=True, exist_ok=True)
        report_file.write_text(text)
    except OSError as error:
        raise DriveError(f"--report {report_file}: {error.strerror or error}") from error


def _conclude(outcome: Outcome, folder: Path | None) -> None:
    click.echo(summary(outcome.report))
    if folder is None:
        click.echo("Nothing of it is kept; --folder FOLDER keeps batches, logs and state.")
    else:
        click.echo(
            f"Look into it: bordnetz cat {folder / 'hub' / 'upstream'}; logs are in {folder}"
        )
    for text in outcome.complaints[:_COMPLAINTS]:
        click.echo(f"telemetry said: {text}", err=True)
    if len(outcome.complaints) > _COMPLAINTS:
        left = len(outcome.complaints) - _COMPLAINTS
        click.echo(f"telemetry said {left} things more; --folder keeps its log", err=True)
    for text in outcome.wrong:
        click.echo(f"bordnetz drive: {text}", err=True)


def _shower(console: Console, stack: ExitStack) -> Callable[[Progress], None]:
    """How progress is shown on this console."""
    if console.is_terminal:
        live = stack.enter_context(Live(console=console, auto_refresh=False))
        return lambda progress: live.update(picture(progress, *console.size), refresh=True)
    due = [0.0]

    def show(progress: Progress) -> None:
        if not due[0]:
            buses = sum(bus.channel != ELSEWHERE for bus in progress.buses.values())
            click.echo(
                f"{many(buses, 'bus', 'buses')}, {progress.collected:,} signals collected, "
                f"hub at {progress.hub}; Ctrl-C or SIGTERM ends it, `bordnetz hub watch` looks in"
            )
            due[0] = _INTERVAL
        elif progress.elapsed >= due[0]:
            due[0] += _INTERVAL
            click.echo(line(progress))

    return show


def _speed(text: str | None, log: Path | None) -> str:
    if text is None:
        return "1"
    if log is None:
        raise ChoiceError("--speed is that of a recording; give one by --log, or leave it out")
    try:
        speed = 1.0 if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0 or not math.isfinite(speed):
        raise ChoiceError(f"--speed {text}: give 1 (as recorded), 10, 0.5, ... or max")
    return text


def _bound(text: str) -> tuple[str | None, Path]:
    channel, equals, file = text.partition("=")
    return (channel, Path(file)) if equals and not Path(text).is_file() else (None, Path(text))
