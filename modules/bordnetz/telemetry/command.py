"""``bordnetz telemetry``: what the container runs."""

from __future__ import annotations

import math
import os
from pathlib import Path

import click

from bordnetz.can.cache import Cache
from bordnetz.can.sources.live import open_source
from bordnetz.can.vehicle import Vehicle
from bordnetz.edge.environment import Environment, EnvironmentVariableError
from bordnetz.edge.run import run_module
from bordnetz.telemetry.module import Telemetry


@click.command()
@click.option(
    "--vehicle",
    "path",
    envvar="BORDNETZ_VEHICLE",
    type=click.Path(path_type=Path, readable=False),
    default="/etc/bordnetz/vehicle.toml",
    show_default=True,
    show_envvar=True,
    help="Vehicle file: buses, channels and DBC files.",
)
@click.option(
    "--bundles",
    envvar="BORDNETZ_BUNDLES",
    type=click.Path(path_type=Path, readable=False),
    default="/var/lib/bordnetz-bundles",
    show_default=True,
    show_envvar=True,
    help="Folder of bundles, of which one may take the place of the vehicle file.",
)
@click.option(
    "--log",
    "recording",
    envvar="BORDNETZ_LOG",
    type=click.Path(path_type=Path, readable=False),
    show_envvar=True,
    help="Read this recording (.log, .log.gz, .asc, .blf, ...) in place of the buses.",
)
@click.option(
    "--speed",
    envvar="BORDNETZ_SPEED",
    metavar="FACTOR",
    default="1",
    show_default=True,
    show_envvar=True,
    help="Of the recording: 1 as recorded, 10 ten times faster, max as fast as it goes.",
)
def telemetry(path: Path, bundles: Path, recording: Path | None, speed: str) -> None:
    """Run the telemetry module: CAN frames in, acknowledged batches out.

    It needs the environment that IoT Edge gives its modules; `bordnetz drive` gives it one on a
    laptop.  What is collected is set by the module twin's desired properties.
    """

    def make() -> Telemetry:
        vehicle = Vehicle.load(path)
        # Judged here and not by click, so that it is told in the log and by the exit code.
        factor = _factor(speed)
        cache = Cache(Environment.read(os.environ).state / "dbc")
        if recording is not None:
            # It loads python-can, for which the buses of a car need no memory.
            from bordnetz.can.sources.log import LogSource

            log = LogSource(recording, vehicle, factor)
            return Telemetry(vehicle, log, bundles, recorded=True, cache=cache)
        return Telemetry(vehicle, open_source(vehicle), bundles, cache=cache)

    run_module(make)


def _factor(speed: str) -> float:
    if speed == "max":
        return math.inf
    try:
        factor = float(speed)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise EnvironmentVariableError(
            f"BORDNETZ_SPEED (--speed) is '{speed}', expected 1 (as recorded), 10, 0.5, ... or max"
        )
    return factor
