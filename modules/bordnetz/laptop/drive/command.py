"""``bordnetz drive``: everything at once on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from bordnetz.laptop.drive.buses import Choice
from bordnetz.laptop.drive.drive import Plan
from bordnetz.laptop.drive.drive import drive as run_drive
from bordnetz.laptop.drive.progress import Progress
from bordnetz.laptop.drive.view import line, picture, summary

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--seconds", type=click.FloatRange(1), help="End after that; else at Ctrl-C.")
@click.option("--report", "report_file", type=_FILE, help="Write what it came to, as JSON.")
@click.option("--vehicle", type=_FILE, help="Another vehicle file than the demo's.")
@click.option(
    "--log",
    type=_FILE,
    help="Read this recording (.log, .log.gz, .asc, .blf, ...) in place of live buses.",
)
@click.option(
    "--dbc",
    "databases",
    multiple=True,
    metavar="[CHANNEL=]FILE",
    help="A DBC file for all channels or for one; may be repeated.",
)
@click.option("--interface", help="For all buses: unix, socketcan or any of python-can's.")
@click.option("--channel", "channels", multiple=True, help="For each bus in turn; repeat it.")
@click.option(
    "--speed", default="1", show_default=True, help="Of the recording: 1, 10, ... or max."
)
@click.option(
    "--load",
    type=click.IntRange(0, 20_000),
    default=0,
    help="Fill each bus up to so many frames/s.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the vehicle."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep batches, logs and the hub's state here; it must be new or empty.",
)
@click.option("--manifest", type=_FILE, help="Another deployment than the project's.")
def drive(
    seconds: float | None,
    report_file: Path | None,
    vehicle: Path | None,
    log: Path | None,
    databases: tuple[str, ...],
    interface: str | None,
    channels: tuple[str, ...],
    speed: str,
    load: int,
    seed: int,
    folder: Path | None,
    manifest: Path | None,
) -> None:
    r"""Drive: a vehicle's CAN frames become signals, batches, and arrive in the cloud.

    Starts a simulated electric car, the telemetry module as it runs in its container, and a
    stand-in Edge hub, and shows what they do.  vcan0 to vcan2 carry the frames where they exist
    and no other drive has them; Unix sockets do elsewhere.  Meanwhile, `bordnetz hub` in another
    terminal is the portal: `bordnetz hub twin telemetry`, `bordnetz hub watch`, ...

    \b
    A drive of 20 seconds, with a report:
        bordnetz drive --seconds 20 --report build/drive.json
    A recording with its DBC file, as fast as it goes:
        bordnetz drive --log truck.log.gz --dbc j1939.dbc --speed max
    Real CAN adapters, which carry real traffic:
        bordnetz drive --interface socketcan --channel can0 --dbc car.dbc

    The exit code is 0 if every frame is accounted for and every batch arrived.
    """
    choice = Choice(vehicle, interface, channels, log, tuple(_bound(text) for text in databases))
    plan = Plan(choice, seconds, speed, load, seed, folder, manifest)
    console = Console()
    with ExitStack() as stack:
        outcome, wrong = run_drive(plan, _shower(console, stack))
    if report_file is not None:
        report_file.parent.mkdir(parents=True, exist_ok=True)
        report_file.write_text(json.dumps(outcome, indent=2) + "\n")
    click.echo(summary(outcome))
    if folder is not None:
        click.echo(f"Look into it: bordnetz cat {folder / 'hub' / 'upstream'}")
    for problem in wrong:
        click.echo(f"bordnetz drive: {problem}", err=True)
    sys.exit(1 if wrong else 0)


def _shower(console: Console, stack: ExitStack) -> Callable[[Progress], None]:
    """How progress is shown on this console."""
    if console.is_terminal:
        live = stack.enter_context(Live(console=console, auto_refresh=False))
        return lambda progress: live.update(picture(progress), refresh=True)
    shown = [-5.0]

    def show(progress: Progress) -> None:
        if progress.elapsed >= shown[0] + 5:
            shown[0] = progress.elapsed
            click.echo(line(progress))

    return show


def _bound(text: str) -> tuple[str | None, Path]:
    channel, equals, file = text.partition("=")
    return (channel, Path(file)) if equals else (None, Path(text))
