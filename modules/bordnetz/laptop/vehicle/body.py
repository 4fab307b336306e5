"""The body bus: access, lights, climate, cluster, navigation, and what the gateway mirrors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.laptop.vehicle import battery, cabin
from bordnetz.laptop.vehicle.car import Car, Column, Columns, State
from bordnetz.laptop.vehicle.noise import Noise
from bordnetz.laptop.vehicle.powertrain import remaining_range
from bordnetz.laptop.vehicle.thermal import CABIN_SET

HOME = (51.05, 10.35)
"""Latitude and longitude where the first drive begins, degrees: the middle of Germany."""
EARTH = 6_378_137.0
"""Equatorial radius of the WGS 84 ellipsoid, m; good to 0.4 % as a sphere's."""

_HOME_ALTITUDE = 245.0
_DARK = 1000.0
"""Lux below which the lights go on by themselves."""
_SWEEP = np.array([1.0, 4.0, 1.4, 0.95])
"""Seconds from one sweep of the wipers to the next, by mode."""


class Body:
    """Columns of the body bus' signals, block after block."""

    def __init__(self, noise: Noise) -> None:
        """Draw the weather."""
        self._noise = noise
        self._clouds, self._rain, self._drift = np.mod(noise.spread(3.0, 3), 2 * math.pi)
        self._sweeps = 0.0

    def columns(self, s: State, start: int) -> Columns:
        """Physical values by signal name, shape (ticks,), or one value for all ticks.

        Args:
            s: The car's state.
            start: Time of the first tick, ns since the Unix epoch.
        """
        return {
            **self._gateway(s),
            **self._access(s),
            **self._lights(s),
            **self._climate(s),
            **self._cluster(s),
            **self._navigation(s, start),
        }

    def _gateway(self, s: State) -> Columns:
        yaw = s.speed * s.curvature
        awake = s.terminal >= cabin.TERMINAL_ON
        charging = s.charge_state != battery.IDLE
        return {
            "GwVehicleSpeed": 3.6 * s.speed,
            "GwYawRate": np.degrees(yaw),
            "GwLongitudinalAcceleration": s.acceleration,
            "GwLateralAcceleration": s.speed * yaw,
            "GwAccelPedal": 100.0 * s.accelerator,
            "GwBrakePedalPressed": s.brake > 0.01,
            "GwGearPosition": s.gear,
            "GwDriveReady": s.terminal == cabin.TERMINAL_READY,
            "GwMotorTorque": s.torque,
            "GwPackPower": s.pack_voltage * s.pack_current / 1000.0,
            "GwSteeringAngle": np.degrees(s.steering),
            "GwSteeringAngleSpeed": np.degrees(s.steering_speed),
            "NmNodeBody": 0x43,
            "NmStateBody": np.where(awake | charging, 2.0, 1.0),
            "NmWakeUpBody": np.select([charging, awake, s.key > 0], [3.0, 2.0, 1.0], 0.0),
        }

    def _access(self, s: State) -> Columns:
        noise = self._noise
        near = (s.speed < 15.0 / 3.6) & (s.terminal == cabin.TERMINAL_READY)
        gap = 70.0 + 44.0 * s.speed
        columns: dict[str, NDArray[Any] | float] = {
            "CentralLock": s.lock,
            "KeyInside": s.key,
            "StartButton": s.start_button,
            "Terminal": s.terminal,
            "DoorFL": s.door,
            "DoorFR": 0.0,
            "DoorRL": 0.0,
            "DoorRR": 0.0,
            "Bonnet": 0.0,
            "Tailgate": 0.0,
            "ChargeFlap": s.flap,
            "AirbagWarning": 0.0,
        }
        for sensor, offset in enumerate((28.0, 0.0, 5.0, 33.0), 1):
            front = np.clip(gap + offset + noise(0.7), 20.0, 254.0)
            rear = np.clip(115.0 + 2.0 * offset + 30.0 * s.speed + noise(0.7), 20.0, 254.0)
            columns[f"ParkDistanceFront{sensor}"] = np.where(near, front, 255.0)
            columns[f"ParkDistanceRear{sensor}"] = np.where(near, rear, 255.0)
        taken: dict[str, NDArray[Any] | float] = {
            "FL": s.seated,
            "FR": s.passenger * s.seated,
            "RL": 0.0,
            "RR": 0.0,
        }
        fastened: dict[str, NDArray[Any] | float] = {
            "FL": s.belt,
            "FR": s.passenger * s.belt,
            "RL": 0.0,
            "RR": 0.0,
        }
        for seat in taken:
            columns[f"Occupied{seat}"] = taken[seat]
            columns[f"Belt{seat}"] = fastened[seat]
            columns[f"DoorLock{seat}"] = s.lock
            columns[f"Window{seat}"] = 0.0
        # On a warm day the driver's window stands open by a hand's breadth.
        columns["WindowFL"] = 18.0 * ((s.ambient > 22.0) & (s.belt > 0))
        for side in ("Left", "Right"):
            columns[f"Mirror{side}Horizontal"] = 46.0 if side == "Left" else 58.0
            columns[f"Mirror{side}Vertical"] = 51.0
            columns[f"Mirror{side}Folded"] = s.lock == cabin.SECURED
        return columns

    def _daylight(self, s: State) -> Column:
        cloud: Column = 0.5 + 0.5 * np.sin(2 * math.pi * s.time / 1500.0 + self._clouds)
        return cloud

    def _lights(self, s: State) -> Columns:
        light = 10.0 ** (2.6 + 2.2 * self._daylight(s))
        on = s.terminal >= cabin.TERMINAL_ON
        dark = light < _DARK
        rain = np.clip(75.0 * np.sin(2 * math.pi * s.time / 1100.0 + self._rain) - 25.0, 0.0, 100.0)
        mode = on * np.digitize(rain, (1.0, 12.0, 35.0)).astype(np.float64)
        pace = np.where(mode > 0, 1.0 / _SWEEP[mode.astype(np.intp)], 0.0)
        sweeps = self._sweeps + np.cumsum(pace) * Car.TICK
        self._sweeps = float(sweeps[-1]) if mode[-1] > 0 else 0.0
        part = (sweeps % 1.0) / np.where(mode == 1, 0.35, 1.0)
        wiping = (mode > 0) & (part < 1.0)
        high = on & (light < 0.7 * _DARK) & (s.speed > 60.0 / 3.6)
        return {
            "LightSwitch": 2.0,
            "LowBeam": on & dark,
            "HighBeam": high,
            "DaytimeLight": on & ~dark,
            "RearFogLight": 0.0,
            "BrakeLight": on & (s.brake > 0.01),
            "ReverseLight": on & (s.gear == cabin.R),
            "IndicatorLeft": s.lamp_left,
            "IndicatorRight": s.lamp_right,
            "HazardLights": s.hazard,
            "InteriorLight": 100.0 * s.interior,
            "TurnStalk": np.where(s.stalk < 0, 2.0, s.stalk),
            "HighBeamStalk": high,
            "WiperStalk": np.where(on, 1.0, 0.0),
            "WasherSwitch": 0.0,
            "WiperMode": mode,
            "WiperAngle": 110.0 * wiping * np.sin(math.pi * np.minimum(part, 1.0)) ** 2,
            "WiperParked": ~wiping,
            "RainIntensity": rain,
            "AmbientLight": light,
            "SolarLoad": np.minimum(1100.0, light / 70.0),
        }

    def _climate(self, s: State) -> Columns:
        miss = np.abs(CABIN_SET - s.cabin_temperature)
        running = s.terminal == cabin.TERMINAL_READY
        level = running * np.clip(np.rint(2.0 + miss), 0.0, 7.0)
        warm = s.heater > 150.0
        return {
            "CabinSetLeft": CABIN_SET,
            "CabinSetRight": CABIN_SET,
            "BlowerLevel": level,
            "AirDistribution": np.where(running, np.where(warm, 3.0, 2.0), 0.0),
            "ClimateMode": np.where(running, 1.0, 0.0),
            "RecirculationActive": running & (s.ambient > 25.0),
            "RearWindowHeating": running & (s.ambient < 6.0) & (s.trip_time < 300.0),
            "CabinTemperature": s.cabin_temperature,
            "EvaporatorTemperature": s.cabin_temperature
            - 13.0 * np.minimum(1.0, s.compressor / 900.0),
            "VentTemperature": s.cabin_temperature
            + 9.0 * np.minimum(3.0, s.heater / 800.0)
            - 10.0 * np.minimum(1.0, s.compressor / 900.0),
            "BlowerPower": 13.0 * level,
            "CabinHumidity": 46.0 - 0.3 * (s.cabin_temperature - 20.0),
            "AmbientTemperature": s.ambient,
        }

    def _cluster(self, s: State) -> Columns:
        seconds = np.maximum(s.trip_time, 1.0)
        kilometres = s.trip_distance / 1000.0
        net = (s.trip_used - s.trip_recuperated) / 3.6e6
        return {
            "DisplayedSpeed": np.where(s.speed > 0.3, 3.6 * s.speed * 1.02 + 1.0, 0.0),
            "DisplayedSpeedUnit": 0.0,
            "DisplayedRange": np.floor(remaining_range(s)),
            "DisplayBrightness": np.where(s.terminal > 0, 30.0 + 70.0 * self._daylight(s), 0.0),
            "Odometer": s.distance / 1000.0,
            "TripDistance": kilometres,
            "TripAverageSpeed": 3600.0 * kilometres / seconds,
            "TripTime": s.trip_time,
            "TripConsumption": np.clip(100.0 * net / np.maximum(kilometres, 0.2), 0.0, 100.0),
        }

    def _navigation(self, s: State, start: int) -> Columns:
        # A receiver's error wanders by a metre within minutes rather than from fix to fix.
        north = s.north + 0.9 * np.sin(2 * math.pi * s.time / 230.0 + self._drift)
        east = s.east + 0.7 * np.cos(2 * math.pi * s.time / 310.0 + self._drift)
        across = EARTH * math.cos(math.radians(HOME[0]))
        moment = start + np.arange(len(s.time), dtype=np.int64) * round(Car.TICK * 1e9)
        seconds = moment // 1_000_000_000
        days = (seconds // 86_400).astype("datetime64[D]")
        months = days.astype("datetime64[M]")
        return {
            "Latitude": HOME[0] + np.degrees(north / EARTH),
            "Longitude": HOME[1] + np.degrees(east / across),
            "Heading": np.degrees(s.heading) % 360.0,
            "GroundSpeed": np.maximum(0.0, 3.6 * s.speed + self._noise(0.05) * (s.speed > 0)),
            "Altitude": _HOME_ALTITUDE + s.altitude,
            "FixType": 3.0,
            "Satellites": 17.0 + np.rint(3.0 * np.sin(2 * math.pi * s.time / 410.0)),
            "HorizontalDilution": 0.8 + 0.15 * np.sin(2 * math.pi * s.time / 530.0),
            "PositionAccuracy": 2.1 + 0.5 * np.sin(2 * math.pi * s.time / 530.0),
            "UtcYear": days.astype("datetime64[Y]").astype(np.int64) + 1970.0,
            "UtcMonth": months.astype(np.int64) % 12 + 1.0,
            "UtcDay": (days - months.astype("datetime64[D]")).astype(np.int64) + 1.0,
            "UtcHour": seconds // 3600 % 24,
            "UtcMinute": seconds // 60 % 60,
            "UtcSecond": seconds % 60,
        }
