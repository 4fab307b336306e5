"""The chassis bus: what stability control, steering, brakes, sensors and tyres say of the state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.laptop.vehicle import cabin
from bordnetz.laptop.vehicle.car import Car, Columns, State
from bordnetz.laptop.vehicle.drivetrain import BRAKE_MAX, GRAVITY, MASS, RADIUS, TRACK, WHEELBASE
from bordnetz.laptop.vehicle.noise import Noise

WHEELS = ("FL", "FR", "RL", "RR")

_SLIP_STIFFNESS = 2.4e5
"""Longitudinal force of an axle for a slip of 1, N."""
_BRAKE_FRONT = 0.68
_PRESSURE_MAX = 160.0
"""Brake pressure with the pedal fully pressed, bar."""
_TEETH = 96
_TICKS_MODULUS = 4096
_ROLL = 0.0065
"""Radians that the body rolls for 1 m/s2; it pitches half of that."""
_LEAN_TICKS = 30
"""Over how many ticks the body follows."""


class Chassis:
    """Columns of the chassis bus' signals, block after block."""

    def __init__(self, noise: Noise) -> None:
        """Draw how the tyres differ."""
        self._noise = noise
        self._pressure = 2.65 + noise.spread(0.03, 4)
        self._turns = np.zeros(4)
        self._felt = np.zeros((2, _LEAN_TICKS))

    def columns(self, s: State) -> Columns:
        """Physical values by signal name, shape (ticks,), or one value for all ticks."""
        return {**self._motion(s), **self._wheels(s), **self._steering(s), **self._brakes(s)}

    def _motion(self, s: State) -> Columns:
        noise, moving = self._noise, s.speed > 0
        yaw = s.speed * s.curvature
        lateral = s.speed * yaw
        # The body leans with the mean of the last accelerations; the sensors see how fast.
        felt = np.concatenate([self._felt, [lateral, s.acceleration]], axis=1)
        self._felt = felt[:, -_LEAN_TICKS:]
        rolled, pitched = (felt[:, _LEAN_TICKS:] - felt[:, :-_LEAN_TICKS]) / (
            _LEAN_TICKS * Car.TICK
        )
        shake = 0.015 + 0.003 * s.speed
        awake = s.terminal >= cabin.TERMINAL_ON
        quality = np.where(awake, 1.0, 0.0)
        return {
            "VehicleSpeed": np.maximum(0.0, 3.6 * s.speed + noise(0.015) * moving),
            "LongitudinalAcceleration": s.acceleration + GRAVITY * s.grade + noise(1.0) * shake,
            "Slope": 100.0 * s.grade,
            "VehicleStandstill": ~moving,
            "VehicleSpeedQuality": quality,
            "YawRate": np.degrees(yaw) + noise(0.02),
            "LateralAcceleration": lateral + noise(0.5) * shake,
            "ImuTemperature": 0.5 * (s.ambient + s.cabin_temperature) + 6.0,
            "RollRate": np.degrees(_ROLL * rolled) + noise(1.5) * shake,
            "PitchRate": np.degrees(-0.5 * _ROLL * pitched) + noise(1.2) * shake,
            "VerticalAcceleration": noise(2.0) * shake,
            "DistanceTravelled": s.distance,
            "NmNodeChassis": 0x42,
            "NmStateChassis": np.where(awake, 2.0, 1.0),
            "NmWakeUpChassis": np.select([awake, s.key > 0], [2.0, 1.0], 0.0),
        }

    def _wheels(self, s: State) -> Columns:
        noise, moving = self._noise, s.speed > 0
        yaw = s.speed * s.curvature
        left, right = s.speed - 0.5 * TRACK * yaw, s.speed + 0.5 * TRACK * yaw
        across = WHEELBASE * yaw
        front_slip = 1.0 - _BRAKE_FRONT * s.friction * moving / _SLIP_STIFFNESS
        rear = s.drive_force - (1.0 - _BRAKE_FRONT) * s.friction * moving
        rear_slip = 1.0 + rear / _SLIP_STIFFNESS
        speeds = np.array(
            [
                np.hypot(left, across) * front_slip,
                np.hypot(right, across) * front_slip,
                left * rear_slip,
                right * rear_slip,
            ]
        )
        speeds *= moving
        turns = self._turns[:, None] + np.cumsum(speeds, axis=1) * Car.TICK / (
            2.0 * math.pi * RADIUS
        )
        self._turns = turns[:, -1]
        edges = np.floor(turns * _TEETH) % _TICKS_MODULUS
        warm = (273.15 + s.tyre) / 293.15
        columns: dict[str, NDArray[Any] | float] = {
            "WheelSpeedQuality": np.where(s.terminal >= cabin.TERMINAL_ON, 1.0, 0.0),
            "TyreWarning": 0.0,
        }
        for wheel, name in enumerate(WHEELS):
            measured = 3.6 * speeds[wheel] + noise(0.02) * moving
            pressure = (1.0 + self._pressure[wheel]) * warm - 1.0
            columns[f"WheelSpeed{name}"] = np.maximum(0.0, measured)
            columns[f"WheelTicks{name}"] = edges[wheel]
            columns[f"WheelDirection{name}"] = moving
            columns[f"TyrePressure{name}"] = pressure
            columns[f"TyreTemperature{name}"] = s.tyre + (0.5 if wheel < 2 else 0.0)
        return columns

    def _steering(self, s: State) -> Columns:
        noise = self._noise
        ready = s.terminal == cabin.TERMINAL_READY
        # Aligning force of the front wheels, and friction against the turning wheel.
        rack = 900.0 * s.speed * s.speed * s.curvature + 350.0 * np.tanh(3.0 * s.steering_speed)
        effort = rack / 1100.0
        return {
            "SteeringAngle": np.degrees(s.steering),
            "SteeringAngleSpeed": np.degrees(s.steering_speed),
            "SteeringAngleQuality": np.where(s.terminal >= cabin.TERMINAL_ON, 1.0, 0.0),
            "DriverTorque": np.clip(effort, -9.0, 9.0) + noise(0.04) * (s.seated > 0),
            "AssistTorque": ready * np.clip(7.0 * effort, -70.0, 70.0),
            "EpsMotorCurrent": ready * (np.clip(9.0 * effort, -90.0, 90.0) + noise(0.2)),
            "RackForce": rack,
        }

    def _brakes(self, s: State) -> Columns:
        friction = np.maximum(0.0, s.friction) / BRAKE_MAX
        pressure = _PRESSURE_MAX * friction
        pressed = s.brake > 0.01
        standing = (s.speed <= 0) & pressed & (s.gear == cabin.D)
        ready = s.terminal == cabin.TERMINAL_READY
        force = s.parking_clamp * 18.0
        columns: dict[str, NDArray[Any] | float] = {
            "BrakePressure": pressure,
            "BrakeRodTravel": 62.0 * np.sqrt(s.brake),
            "BrakeTorqueRequest": s.brake * BRAKE_MAX * RADIUS,
            "RegenBrakeTorque": s.regen * RADIUS,
            "BrakeState": np.select([standing, pressed], [2.0, 1.0], 0.0),
            "BrakeLightRequest": pressed | (s.drive_force < -1.3 * MASS),
            "AbsActive": 0.0,
            "EscActive": 0.0,
            "TcsActive": 0.0,
            "AutoHoldActive": standing & ready,
            "EscSwitchedOff": 0.0,
            "EscWarning": 0.0,
            "ParkingBrakeState": s.parking_brake,
            "ParkingBrakeSwitch": s.brake_switch,
            "ParkingBrakeForceLeft": force,
            "ParkingBrakeForceRight": 0.98 * force,
            "ParkingBrakeLamp": (s.parking_brake != cabin.RELEASED) & (s.terminal > 0),
        }
        for wheel, name in enumerate(WHEELS):
            front = wheel < 2
            columns[f"BrakePressure{name}"] = pressure * (1.0 if front else 0.92)
            columns[f"BrakeTemperature{name}"] = s.brake_front if front else s.brake_rear
        return columns
