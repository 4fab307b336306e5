"""``bordnetz telemetry``: what the container runs."""

from __future__ import annotations

import math
from pathlib import Path

import click

from bordnetz.can.sources.live import open_source
from bordnetz.can.sources.log import AT_ONCE, LogSource
from bordnetz.can.vehicle import Vehicle
from bordnetz.edge.run import run_module
from bordnetz.telemetry.module import Telemetry


class Speed(click.ParamType[float]):
    """A factor above 0, or ``max``."""

    name = "factor"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """From the command line."""
        if isinstance(value, float):
            return value
        if value == "max":
            return AT_ONCE
        try:
            speed = float(str(value))
        except ValueError:
            speed = 0.0
        if not speed > 0 or not math.isfinite(speed):
            self.fail(
                f"{value!r} is no speed; give 1 (as recorded), 10, 0.5, ... or max", param, ctx
            )
        return speed


@click.command()
@click.option(
    "--vehicle",
    "path",
    envvar="BORDNETZ_VEHICLE",
    type=click.Path(path_type=Path),
    default="/etc/bordnetz/vehicle.toml",
    show_default=True,
    show_envvar=True,
    help="Vehicle file: buses, channels and DBC files.",
)
@click.option(
    "--log",
    "recording",
    envvar="BORDNETZ_LOG",
    type=click.Path(path_type=Path),
    show_envvar=True,
    help="Read this recording (.log, .log.gz, .asc, .blf, ...) in place of the buses.",
)
@click.option(
    "--speed",
    envvar="BORDNETZ_SPEED",
    type=Speed(),
    default="1",
    show_default=True,
    show_envvar=True,
    help="Of the recording: 1 as recorded, 10 ten times faster, max as fast as it goes.",
)
def telemetry(path: Path, recording: Path | None, speed: float) -> None:
    """Run the telemetry module: CAN frames in, acknowledged batches out.

    It needs the environment that IoT Edge gives its modules; `bordnetz drive` gives it one on a
    laptop.  What is collected is set by the module twin's desired properties.
    """

    def make() -> Telemetry:
        vehicle = Vehicle.load(path)
        if recording is not None:
            return Telemetry(vehicle, LogSource(recording, vehicle, speed), recorded=True)
        return Telemetry(vehicle, open_source(vehicle))

    run_module(make)
