"""From the car's state to the signals of all buses."""

from __future__ import annotations

from bordnetz.laptop.vehicle.body import Body
from bordnetz.laptop.vehicle.car import Columns, State
from bordnetz.laptop.vehicle.chassis import Chassis
from bordnetz.laptop.vehicle.noise import Noise
from bordnetz.laptop.vehicle.powertrain import Powertrain


class Signals:
    """What all control units of the car say, block after block."""

    def __init__(self, seed: int) -> None:
        """Draw weather, noise and how specimens differ from ``seed``."""
        self._noise = Noise(seed)
        self._powertrain = Powertrain(self._noise)
        self._chassis = Chassis(self._noise)
        self._body = Body(self._noise)

    def columns(self, state: State, start: int) -> Columns:
        """Physical values by signal name, shape (ticks,), or one value for all ticks.

        Args:
            state: Of the car.
            start: Time of the first tick, ns since the Unix epoch.
        """
        self._noise.ticks = len(state.time)
        return {
            **self._powertrain.columns(state),
            **self._chassis.columns(state),
            **self._body.columns(state, start),
        }
