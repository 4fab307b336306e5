"""The simulated car: everything together, a hundred times a second, recorded in columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Annotated, Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from bordnetz.laptop.vehicle.battery import COMPLETE, IDLE, Battery, Charger, LowVoltage
from bordnetz.laptop.vehicle.cabin import Cabin
from bordnetz.laptop.vehicle.driver import Driver
from bordnetz.laptop.vehicle.drivetrain import Drivetrain, steering_angle
from bordnetz.laptop.vehicle.road import Road
from bordnetz.laptop.vehicle.thermal import Thermal

Column = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any] | float]
"""Physical values by signal name: a column of numbers or flags, or one value for all ticks."""


@dataclass(frozen=True, slots=True)
class State:
    """The car's state at each tick: columns of float64, shape (ticks,).

    Units are those of the SI (temperatures in degC, the state of charge from 0 to 1), flags are
    0 or 1, and states are numbers as in the value tables of the demo networks.  ``north`` and
    ``east`` are metres from home, ``heading`` is clockwise from north, ``curvature``,
    ``steering`` (at the steering wheel) and ``stalk`` are positive to the left.  Each column's
    annotation tells where in `Car` it is read.
    """

    time: Annotated[Column, "time"]
    speed: Annotated[Column, "drivetrain.speed"]
    acceleration: Annotated[Column, "drivetrain.acceleration"]
    distance: Annotated[Column, "drivetrain.distance"]
    grade: Annotated[Column, "grade"]
    altitude: Annotated[Column, "altitude"]
    heading: Annotated[Column, "heading"]
    north: Annotated[Column, "north"]
    east: Annotated[Column, "east"]
    curvature: Annotated[Column, "driver.curvature"]
    steering: Annotated[Column, "steering"]
    steering_speed: Annotated[Column, "steering_speed"]
    accelerator: Annotated[Column, "drivetrain.accelerator"]
    brake: Annotated[Column, "drivetrain.brake"]
    request: Annotated[Column, "drivetrain.request"]
    torque: Annotated[Column, "drivetrain.torque"]
    omega: Annotated[Column, "drivetrain.omega"]
    drive_force: Annotated[Column, "drivetrain.drive_force"]
    friction: Annotated[Column, "drivetrain.friction"]
    regen: Annotated[Column, "drivetrain.regen"]
    drive_power: Annotated[Column, "drivetrain.power"]
    soc: Annotated[Column, "battery.soc"]
    pack_current: Annotated[Column, "battery.current"]
    pack_voltage: Annotated[Column, "battery.voltage"]
    link_voltage: Annotated[Column, "battery.link"]
    contactors: Annotated[Column, "battery.contactors"]
    cell_temperature: Annotated[Column, "battery.temperature"]
    discharge_limit: Annotated[Column, "battery.discharge_limit"]
    regen_limit: Annotated[Column, "battery.regen_limit"]
    discharged: Annotated[Column, "battery.discharged"]
    charged: Annotated[Column, "battery.charged"]
    plug: Annotated[Column, "charger.plug"]
    charge_state: Annotated[Column, "charger.state"]
    charge_request: Annotated[Column, "charger.request"]
    charge_current: Annotated[Column, "charger.current"]
    charge_energy: Annotated[Column, "charger.energy"]
    station_voltage: Annotated[Column, "charger.station_voltage"]
    charge_target: Annotated[Column, "charger.target"]
    low_voltage: Annotated[Column, "low_voltage.voltage"]
    low_battery_current: Annotated[Column, "low_voltage.battery"]
    low_soc: Annotated[Column, "low_voltage.soc"]
    converter_current: Annotated[Column, "low_voltage.converter"]
    converter_power: Annotated[Column, "low_voltage.power"]
    stator: Annotated[Column, "thermal.stator"]
    rotor: Annotated[Column, "thermal.rotor"]
    inverter: Annotated[Column, "thermal.inverter"]
    oil: Annotated[Column, "thermal.oil"]
    drive_coolant: Annotated[Column, "thermal.drive_coolant"]
    battery_coolant: Annotated[Column, "thermal.battery_coolant"]
    converter_temperature: Annotated[Column, "thermal.converter"]
    cabin_temperature: Annotated[Column, "thermal.cabin"]
    ambient: Annotated[Column, "thermal.ambient"]
    brake_front: Annotated[Column, "thermal.brake_front"]
    brake_rear: Annotated[Column, "thermal.brake_rear"]
    tyre: Annotated[Column, "thermal.tyre"]
    fan: Annotated[Column, "thermal.fan"]
    drive_pump: Annotated[Column, "thermal.drive_pump"]
    battery_pump: Annotated[Column, "thermal.battery_pump"]
    compressor: Annotated[Column, "thermal.compressor"]
    heater: Annotated[Column, "thermal.heater"]
    thermal_mode: Annotated[Column, "thermal.mode"]
    gear: Annotated[Column, "cabin.gear"]
    terminal: Annotated[Column, "cabin.terminal"]
    lock: Annotated[Column, "cabin.lock"]
    start_button: Annotated[Column, "cabin.start_button"]
    key: Annotated[Column, "cabin.key"]
    seated: Annotated[Column, "cabin.seated"]
    passenger: Annotated[Column, "cabin.passenger"]
    belt: Annotated[Column, "cabin.belt"]
    door: Annotated[Column, "cabin.door"]
    flap: Annotated[Column, "cabin.flap"]
    stalk: Annotated[Column, "cabin.stalk"]
    hazard: Annotated[Column, "cabin.hazard"]
    lamp_left: Annotated[Column, "cabin.lamp_left"]
    lamp_right: Annotated[Column, "cabin.lamp_right"]
    interior: Annotated[Column, "cabin.interior"]
    parking_brake: Annotated[Column, "cabin.parking_brake"]
    parking_clamp: Annotated[Column, "cabin.clamp"]
    brake_switch: Annotated[Column, "cabin.brake_switch"]
    trip_distance: Annotated[Column, "trip_distance"]
    trip_time: Annotated[Column, "trip_time"]
    trip_used: Annotated[Column, "trip_used"]
    trip_recuperated: Annotated[Column, "trip_recuperated"]
    consumption: Annotated[Column, "consumption"]

    @classmethod
    def concat(cls, parts: list[State]) -> State:
        """One state after the other."""
        return cls(
            *(np.concatenate([getattr(p, column.name) for p in parts]) for column in fields(cls))
        )


_READ = attrgetter(
    *(hint.__metadata__[0] for hint in get_type_hints(State, include_extras=True).values())
)


class Car:
    """The car and its driver.

    The motion is computed tick by tick, since what the driver does depends on what the car did;
    everything that follows from it is left to whole columns (`bordnetz.laptop.vehicle.signals`).
    """

    TICK = 0.01
    """Seconds between two states."""

    def __init__(self, seed: int, trip: float | None = None) -> None:
        """Place a parked car.

        Args:
            seed: Equal seeds give equal drives.
            trip: Seconds until the driver parks for good; None: never.
        """
        rng = np.random.default_rng(seed)
        ambient = float(rng.uniform(4.0, 27.0))
        self.time = 0.0
        self.north = self.east = 0.0
        self.heading = float(rng.uniform(0, 2 * math.pi))
        self.steering = self.steering_speed = 0.0
        self.trip_distance = self.trip_time = 0.0
        self.trip_used = self.trip_recuperated = 0.0
        self.consumption = 17.0
        self.road = Road(rng)
        self.drivetrain = Drivetrain(distance=float(rng.uniform(8e6, 4e7)))
        self.battery = Battery(soc=float(rng.uniform(0.48, 0.66)), ambient=ambient)
        self.charger = Charger()
        self.low_voltage = LowVoltage()
        self.thermal = Thermal(ambient)
        self.cabin = Cabin(passenger=bool(rng.random() < 0.4))
        self.driver = Driver(self, rng, trip)

    @property
    def grade(self) -> float:
        """Rise over run under the car."""
        return self.road.grade(self.drivetrain.distance)

    @property
    def altitude(self) -> float:
        """Metres above home's region."""
        return self.road.altitude(self.drivetrain.distance)

    def start_trip(self) -> None:
        """Begin the trip's books anew."""
        self.trip_distance = self.trip_time = self.trip_used = self.trip_recuperated = 0.0

    def advance(self, ticks: int) -> State:
        """Let ``ticks`` ticks pass.

        Returns:
            The state after each of them.
        """
        rows = []
        for _ in range(ticks):
            self._step()
            rows.append(_READ(self))
        return State(*np.array(rows, np.float64).T.copy())

    def _step(self) -> None:
        dt = self.TICK
        self.time += dt
        self.driver.step()
        self.cabin.step(dt)
        chain, pack, cabin = self.drivetrain, self.battery, self.cabin
        before = chain.distance
        grade = self.road.grade(before)
        parked = cabin.parking_brake != 0
        if parked:
            # The parking brake alone holds the car on any slope of this road.
            grade = 0.0
        chain.step(
            dt,
            grade=grade,
            driving=cabin.driving,
            discharge_limit=pack.discharge_limit,
            regen_limit=pack.regen_limit,
        )
        gone = chain.distance - before
        self.heading = (self.heading - self.driver.curvature * gone) % (2 * math.pi)
        self.north += math.cos(self.heading) * gone
        self.east += math.sin(self.heading) * gone
        steering = steering_angle(self.driver.curvature, chain.speed)
        self.steering_speed = (steering - self.steering) / dt
        self.steering = steering

        supplied = pack.closed
        self.low_voltage.step(dt, self._consumers(), supplied=supplied)
        heat = self.thermal
        heat.step(
            dt,
            awake=supplied,
            speed=chain.speed,
            loss=chain.loss,
            brake_power=chain.friction * chain.speed,
            battery=pack.temperature,
            converter_power=self.low_voltage.power,
        )
        self.charger.step(dt, pack)
        auxiliaries = self.low_voltage.power + heat.compressor + heat.heater if supplied else 0.0
        power = chain.power + auxiliaries
        pack.step(dt, power, self.charger.current, heat.battery_coolant)
        if cabin.ready:
            self._keep_books(dt, gone, power)

    def _consumers(self) -> float:
        """Amperes drawn from the 12 V network."""
        terminal, heat = self.cabin.terminal, self.thermal
        amperes = 1.5 + (6.0, 9.0, 19.0, 24.0)[terminal]
        amperes += 9.0 if self.charger.state not in (IDLE, COMPLETE) else 0.0
        amperes += 22.0 * heat.fan + 9.0 * heat.drive_pump + 7.0 * heat.battery_pump
        amperes += min(45.0, 6.0 * abs(self.steering_speed)) + 14.0 * self.drivetrain.brake
        amperes += 4.0 * (self.cabin.lamp_left or self.cabin.lamp_right)
        return amperes

    def _keep_books(self, dt: float, gone: float, power: float) -> None:
        self.trip_time += dt
        self.trip_distance += gone
        if power > 0:
            self.trip_used += power * dt
        else:
            self.trip_recuperated -= power * dt
        if gone > 0:
            # Joule a metre are 1/36 kWh/100km; averaged over the last two kilometres or so.
            now = power * dt / gone / 36.0
            weight = min(1.0, gone / 2000.0)
            self.consumption += weight * (min(400.0, max(-400.0, now)) - self.consumption)
