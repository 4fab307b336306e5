"""The driver: a screenplay from unlocking the car to charging it, without end.

Each scene is a generator that acts and yields once a tick, so that it reads in the order in
which things happen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bordnetz.laptop.vehicle import battery, cabin
from bordnetz.laptop.vehicle.drivetrain import BRAKE_MAX, INERTIA, MASS

if TYPE_CHECKING:
    from bordnetz.laptop.vehicle.car import Car

_BRAKING = 1.7
"""Deceleration that the driver plans with, m/s2."""
_COMFORT = ((0.0, 4.0, 14.0, 28.0, 40.0), (1.8, 2.4, 1.9, 1.2, 0.7))
"""Acceleration (m/s2) that the driver takes at a speed (m/s)."""
_JERK = 3.0
"""How fast the driver changes the acceleration, m/s3."""
_PEDAL_RATE = 4.0
"""Strokes a second at which a foot moves a pedal."""
_LAST_BRAKE = 0.09
"""Brake pedal for the last decimetres before a stop, enough for the steepest slope."""
_CROSSING_TIME = 0.15
"""Seconds for the foot from one pedal to the other."""
_PULL_OVER = 0.3
"""Brake pedal for a stop that the road does not ask for."""
_SLOW = 1.5
"""Speed from which on the driver brakes gently to a stop, m/s."""
_CHARGE_BELOW = 0.70
_CHARGE_TIME = 180.0
"""Seconds after which the driver comes back to a charging car."""


class Driver:
    """Acts on the car, one `step` a tick.

    Args:
        car: Whose driver it is.
        rng: Where moods come from.
        trip: Seconds after the start at which the driver pulls over, parks and stays away; None
            drives to the end of the road, again and again.
    """

    def __init__(self, car: Car, rng: np.random.Generator, trip: float | None = None) -> None:
        self._trip = math.inf if trip is None else trip
        self._car = car
        self._rng = rng
        self._scenes = self._days()
        self._acceleration = 0.0
        self._on_brake = False
        self._crossing = 0.0
        self._drift = self._mood = 0.0
        self._wheel = self._wheel_speed = 0.0

    def step(self) -> None:
        """Do what is next."""
        next(self._scenes)

    @property
    def curvature(self) -> float:
        """The curve that the wheels are turned to, 1/m, positive to the left."""
        return self._wheel

    def _days(self) -> Iterator[None]:
        yield from self._wait(0.4)
        while True:
            yield from self._enter()
            yield from self._drive()
            yield from self._park()
            while self._over:
                yield
            if self._car.battery.soc < _CHARGE_BELOW:
                yield from self._charge()
            else:
                yield from self._wait(self._rng.uniform(15, 40))

    @property
    def _over(self) -> bool:
        return self._car.time >= self._trip

    def _wait(self, seconds: float) -> Iterator[None]:
        for _ in range(round(seconds / self._car.TICK)):
            yield

    def _enter(self) -> Iterator[None]:
        car, inside = self._car, self._car.cabin
        inside.lock, inside.hazard = cabin.UNLOCKED, True
        yield from self._wait(0.3)
        inside.door, inside.terminal = True, cabin.TERMINAL_ACCESSORY
        yield from self._wait(0.7)
        inside.hazard = False
        inside.seated = inside.key = True
        yield from self._wait(0.4)
        inside.door = False
        yield from self._wait(0.4)
        inside.belt, inside.terminal = True, cabin.TERMINAL_ON
        yield from self._press(0.3, 0.3)
        inside.start_button = True
        car.battery.wanted = True
        yield from self._wait(0.3)
        inside.start_button = False
        while not car.battery.closed:
            yield
        inside.terminal = cabin.TERMINAL_READY
        car.start_trip()
        yield from self._wait(0.2)
        inside.gear = cabin.D
        inside.brake_switch = 2
        yield from self._wait(0.3)
        inside.brake_switch = 0
        while inside.parking_brake != cabin.RELEASED:
            yield

    def _drive(self) -> Iterator[None]:
        car, road, chain = self._car, self._car.road, self._car.drivetrain
        road.lay(chain.distance, car.north, car.east, car.heading)
        while True:
            road.pass_to(chain.distance)
            if self._over:
                yield from self._pull_over()
                return
            piece = road.pieces[0]
            stops = piece.dwell > 0 or piece.final
            if stops and chain.speed < 0.15 and piece.end - chain.distance < 1.5:
                yield from self._press(0.25, 0.4)
                if piece.final:
                    return
                yield from self._wait(piece.dwell)
                road.stop_made()
                self._acceleration = 0.0
                continue
            self._follow()
            yield

    def _pull_over(self) -> Iterator[None]:
        """Stop where the car is."""
        while self._car.drivetrain.speed > _SLOW:
            self._feet(0.0, _PULL_OVER)
            yield
        yield from self._press(0.25, 0.4)

    def _press(self, brake: float, seconds: float) -> Iterator[None]:
        """Brake gently until the car stands, then hold it for ``seconds`` with ``brake``."""
        while self._car.drivetrain.speed > 0:
            self._feet(0.0, _LAST_BRAKE)
            yield
        for _ in range(round(seconds / self._car.TICK)):
            self._feet(0.0, brake)
            yield

    def _park(self) -> Iterator[None]:
        car, inside = self._car, self._car.cabin
        inside.gear, inside.stalk = cabin.P, 0
        inside.brake_switch = 1
        yield from self._wait(0.4)
        inside.brake_switch = 0
        while inside.parking_brake != cabin.APPLIED:
            yield
        while car.drivetrain.brake > 0:
            self._feet(0.0, 0.0)
            yield
        inside.terminal = cabin.TERMINAL_ACCESSORY
        car.battery.wanted = False
        yield from self._wait(1.0)
        inside.belt = False
        yield from self._wait(1.0)
        inside.door = True
        inside.terminal = cabin.TERMINAL_OFF
        yield from self._wait(1.5)
        inside.seated = inside.key = False
        yield from self._wait(0.8)
        inside.door = False
        yield from self._wait(1.0)
        inside.lock, inside.hazard = cabin.SECURED, True
        yield from self._wait(0.35)
        inside.hazard = False
        yield from self._wait(2.0)

    def _charge(self) -> Iterator[None]:
        car, charger = self._car, self._car.charger
        car.cabin.flap = True
        yield from self._wait(2.0)
        charger.plug, charger.energy = battery.PLUGGED, 0.0
        yield from self._wait(1.0)
        charger.plug, charger.state = battery.LOCKED, battery.HANDSHAKE
        yield from self._wait(1.5)
        charger.state = battery.CABLE_CHECK
        yield from self._wait(3.0)
        charger.state = battery.PRECHARGE
        yield from self._wait(1.5)
        car.battery.wanted = True
        while not car.battery.closed:
            yield
        charger.state = battery.CHARGING
        for _ in range(round(_CHARGE_TIME / car.TICK)):
            if car.battery.soc >= charger.target:
                break
            yield
        charger.state = battery.STOPPING
        while charger.current > 0:
            yield
        car.battery.wanted = False
        yield from self._wait(0.5)
        charger.state = battery.COMPLETE
        yield from self._wait(3.0)
        charger.plug = battery.PLUGGED
        yield from self._wait(1.5)
        charger.plug, charger.state = battery.UNPLUGGED, battery.IDLE
        yield from self._wait(1.0)
        car.cabin.flap = False
        yield from self._wait(2.0)

    def _follow(self) -> None:
        """Pedals and wheel for the road ahead."""
        car, chain = self._car, self._car.drivetrain
        dt, speed = car.TICK, chain.speed
        # How eager the driver is drifts slowly, as traffic does: a smoothed Ornstein-Uhlenbeck
        # process.
        self._drift += (
            0.024 * float(self._rng.standard_normal()) * dt**0.5 - self._drift * dt / 10.0
        )
        self._mood += (self._drift - self._mood) * dt / 4.0
        reach = chain.distance + 30.0 + speed * speed / (2 * _BRAKING) * 1.3
        wanted, braking, turn = 100.0, 0.0, 0
        for piece in car.road.ahead(reach):
            gap = piece.start - chain.distance
            cruise = piece.speed * (0.97 + self._mood)
            allowed = (cruise * cruise + 2 * _BRAKING * max(0.0, gap)) ** 0.5
            if allowed < wanted:
                wanted, braking = allowed, (_BRAKING * speed / allowed if gap > 0 else 0.0)
            if piece.dwell or piece.final:
                gap = max(0.0, piece.end - chain.distance)
                allowed = min((2 * _BRAKING * gap) ** 0.5, gap / 1.3 + 0.06)
                if allowed < wanted:
                    slope = _BRAKING / allowed if allowed > 1.3 * _BRAKING else 1 / 1.3
                    wanted, braking = allowed, slope * speed
            if not turn and piece.corner and piece.start - chain.distance < 45.0:
                turn = 1 if piece.curvature > 0 else -1
        car.cabin.stalk = turn

        eager = float(np.interp(speed, *_COMFORT)) * (1.0 + 2.0 * self._mood)
        goal = min(eager, max(-4.0, 0.9 * (wanted - speed) - braking))
        change = _JERK * dt * (1.0 if goal > self._acceleration else 1.6)
        self._acceleration += min(change, max(-change, goal - self._acceleration))
        grade = car.road.grade(chain.distance)
        force = (MASS + INERTIA) * self._acceleration + chain.resistance(grade)
        lift = chain.lift_force(car.battery.regen_limit)
        if force >= lift:
            full = chain.full_force(car.battery.discharge_limit)
            self._feet(min(1.0, (force - lift) / (full - lift)), 0.0)
        else:
            self._feet(0.0, min(1.0, (lift - force) / BRAKE_MAX))
        self._steer(car.road.curvature(chain.distance + 0.35 * speed + 1.0))

    def _feet(self, accelerator: float, brake: float) -> None:
        """Move the pedals towards these positions: one foot, so one pedal after the other."""
        chain, dt = self._car.drivetrain, self._car.TICK
        if (brake > 0) != self._on_brake:
            if chain.brake == 0 and chain.accelerator == 0:
                self._crossing += dt
            if self._crossing >= _CROSSING_TIME:
                self._on_brake, self._crossing = brake > 0, 0.0
            accelerator = brake = 0.0
        reach = _PEDAL_RATE * dt
        chain.accelerator += min(reach, max(-reach, accelerator - chain.accelerator))
        chain.brake += min(reach, max(-reach, brake - chain.brake))

    def _steer(self, curvature: float) -> None:
        """Turn the wheel towards a curvature, as a damped second-order system does."""
        dt, speed = self._car.TICK, self._car.drivetrain.speed
        if speed < 0.3:
            self._wheel_speed = 0.0
            return
        quick = 3.2
        pull = quick * quick * (curvature - self._wheel) - 2 * quick * self._wheel_speed
        self._wheel_speed += pull * dt
        self._wheel += self._wheel_speed * dt
