"""``bordnetz simulate``: the simulated vehicle as a process."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from bordnetz.can.vehicle import Vehicle
from bordnetz.laptop.asked import Asked
from bordnetz.laptop.vehicle.pacing import Outlet, Pace, open_all
from bordnetz.laptop.vehicle.traffic import Traffic

_GRACE = 1.0
"""Seconds for a burst that waits for its receiver when the end is asked for."""


@click.command()
@click.option(
    "--vehicle",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Vehicle file; its buses have interface 'socketcan' or 'unix'.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the drive.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), help="End after that; else at SIGTERM."
)
@click.option(
    "--load",
    type=click.IntRange(0, 20_000),
    default=0,
    help="Fill each bus up to so many frames/s with messages that no DBC file knows.",
)
@click.option(
    "--corrupt",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Flip a bit in this share of the frames that have a checksum.",
)
@click.option(
    "--trip",
    type=click.FloatRange(0, min_open=True),
    help="Pull over after so many seconds, park, and stay parked.",
)
def simulate(
    file: Path,
    seed: int,
    seconds: float | None,
    load: int,
    corrupt: float,
    trip: float | None,
) -> None:
    """Drive an electric car in real time: its frames go to the buses of the vehicle file.

    At the end one line of JSON tells what was sent.
    """
    vehicle = Vehicle.load(file)
    outlets = [Outlet(bus, _say) for bus in vehicle.buses]
    traffic = Traffic(vehicle, seed, load, trip, corrupt)
    stop = Asked()

    def finish(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()
        # A receiver that is there but never reads would keep a burst waiting for ever.
        last = threading.Timer(_GRACE, _close, [outlets])
        last.daemon = True
        last.start()

    signal.signal(signal.SIGTERM, finish)
    signal.signal(signal.SIGINT, finish)
    pace = Pace()
    try:
        open_all(outlets, stop)
        pace.run(traffic.bursts(time.time_ns()), outlets, stop, seconds)
    finally:
        _close(outlets)
    buses = {one.name: {"sent": one.sent, "undelivered": one.unheard} for one in outlets}
    report = {
        "seconds": round(pace.elapsed / 1e9, 3),
        "waited_seconds": round(pace.waited / 1e9, 3),
        "sent": sum(one.sent for one in outlets),
        "undelivered": sum(one.unheard for one in outlets),
        "corrupted": traffic.corrupted,
        "buses": buses,
    }
    click.echo(json.dumps(report))


def _say(text: str) -> None:
    click.echo(text, err=True)


def _close(outlets: Sequence[Outlet]) -> None:
    for outlet in outlets:
        outlet.close()
