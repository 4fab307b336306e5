"""The powertrain bus: what inverter, battery, charging and thermal management say of the state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.laptop.vehicle import battery, cabin
from bordnetz.laptop.vehicle.battery import CAPACITY, CELLS, Charger
from bordnetz.laptop.vehicle.car import Column, Columns, State
from bordnetz.laptop.vehicle.drivetrain import POWER_MAX, RADIUS, RATIO
from bordnetz.laptop.vehicle.noise import Noise

_MODULES = 12
_KWH = 3.6e6
_CAPACITY_KWH = CAPACITY * CELLS * 3.70 / 1000.0
_RPM = 60.0 / (2.0 * math.pi)
_TORQUE_CONSTANT = 0.62
"""Nm of the machine for one ampere of a phase."""
_KICK_DOWN = 0.95
_GROUPS = 24
"""Groups of four cells, one in each frame."""
_GROUP_TICKS = 2
"""Ticks between two groups."""


def remaining_range(s: State) -> Column:
    """Kilometres until the battery is empty, at the consumption of the last ones."""
    kilometres: Column = 95.0 * s.soc * _CAPACITY_KWH / np.clip(s.consumption, 10.0, 40.0)
    return kilometres


class Powertrain:
    """Columns of the powertrain bus' signals, block after block."""

    def __init__(self, noise: Noise) -> None:
        """Draw how the cells differ."""
        self._noise = noise
        self._cell_volts = noise.spread(0.003, CELLS)[:, None]
        self._cell_ohms = noise.spread(1.2e-5, CELLS)[:, None]
        self._module_warmth = noise.spread(0.8, _MODULES)[:, None]
        self._ticks = 0

    def columns(self, s: State) -> Columns:
        """Physical values by signal name, shape (ticks,), or one value for all ticks."""
        return {
            **self._drive(s),
            **self._pack(s),
            **self._cells(s),
            **self._thermal(s),
            **self._charging(s),
        }

    def _drive(self, s: State) -> Columns:
        noise = self._noise
        ready = s.terminal == cabin.TERMINAL_READY
        closed = s.contactors == battery.CLOSED
        charging = s.charge_state != battery.IDLE
        moving = s.speed > 0
        torque = s.torque + noise(0.25) * (s.torque != 0)
        power = s.torque * s.omega
        weakening = 0.10 * np.maximum(0.0, s.omega - 480.0)
        pedal = 0.75 + 3.5 * s.accelerator
        inverter = np.select(
            [s.contactors == battery.PRECHARGING, ~closed, ~ready, power < -200.0],
            [1.0, 0.0, 2.0, 4.0],
            np.where(s.accelerator + s.speed > 0, 3.0, 2.0),
        )
        meter = np.where(
            s.drive_power > 0,
            s.drive_power / np.minimum(POWER_MAX, s.discharge_limit),
            s.drive_power / np.maximum(s.regen_limit, 1.0),
        )
        return {
            "MotorTorqueRequest": s.request,
            "MotorTorque": torque,
            "MotorSpeed": s.omega * _RPM + noise(0.6) * moving,
            "InverterState": inverter,
            "InverterVoltage": s.link_voltage + noise(0.12) * closed,
            "InverterCurrent": s.drive_power / np.maximum(s.link_voltage, 50.0)
            + noise(0.1) * ready,
            "PhaseCurrent": np.hypot(s.torque / _TORQUE_CONSTANT, weakening * moving),
            "TorqueAvailable": 100.0 * np.clip((150.0 - s.stator) / 20.0, 0.0, 1.0),
            "AccelPedal": 100.0 * s.accelerator,
            "GearPosition": s.gear,
            "DriveReady": ready,
            "DriveMode": np.where(s.time % 5400.0 < 3600.0, 1.0, 0.0),
            "RecuperationActive": power < -200.0,
            "KickDown": s.accelerator > _KICK_DOWN,
            "PowerMeter": np.clip(100.0 * meter, -100.0, 100.0),
            "AccelPedalSensor1": pedal + noise(0.002),
            "AccelPedalSensor2": 0.5 * pedal + noise(0.001),
            "BrakePedalTravel": 62.0 * np.sqrt(s.brake),
            "BrakePedalPressed": s.brake > 0.01,
            "AxleTorqueRequest": s.request * RATIO,
            "AxleTorque": s.drive_force * RADIUS,
            "AxlePower": s.drive_force * s.speed / 1000.0,
            "RoadSpeed": np.maximum(0.0, 3.6 * s.speed + noise(0.02) * moving),
            "RoadAcceleration": s.acceleration + noise(0.015) * moving,
            "DrivingDirection": moving,
            "Consumption": np.clip(s.consumption, 0.0, 100.0),
            "Range": remaining_range(s),
            "AuxiliaryPower": closed * (s.converter_power + s.compressor + s.heater) / 1000.0,
            "TripEnergyUsed": s.trip_used / _KWH,
            "TripEnergyRecuperated": s.trip_recuperated / _KWH,
            "NmNodePowertrain": 0x41,
            "NmStatePowertrain": np.where(ready | charging, 2.0, 1.0),
            "NmWakeUpPowertrain": np.select(
                [charging, s.terminal >= cabin.TERMINAL_ON, s.key > 0], [3.0, 2.0, 1.0], 0.0
            ),
        }

    def _pack(self, s: State) -> Columns:
        noise = self._noise
        closed = s.contactors == battery.CLOSED
        current = s.pack_current + noise(0.06) * closed
        voltage = s.pack_voltage + noise(0.04)
        charging = s.charge_state != battery.IDLE
        energy = s.soc * _CAPACITY_KWH
        return {
            "PackVoltage": voltage,
            "PackCurrent": current,
            "PackPower": voltage * current / 1000.0,
            "ContactorState": s.contactors,
            "DischargePowerLimit": s.discharge_limit / 1000.0,
            "RegenPowerLimit": s.regen_limit / 1000.0,
            "DischargeCurrentLimit": s.discharge_limit / s.pack_voltage,
            "ChargeCurrentLimit": s.regen_limit / s.pack_voltage,
            "StateOfCharge": 100.0 * s.soc,
            "StateOfChargeDisplay": np.clip(100.0 * (s.soc - 0.04) / 0.92, 0.0, 100.0),
            "StateOfHealth": 96.5,
            "BatteryEnergy": energy,
            "BmsMode": np.select([charging, closed], [3.0, 2.0], 1.0),
            "BatteryWarning": np.where(s.soc < 0.12, 1.0, 0.0),
            "IsolationResistance": 9400.0 + 8.0 * s.ambient,
            "IsolationState": np.where(closed, 1.0, 0.0),
            "InterlockClosed": 1.0,
            "CrashDetected": 0.0,
            "EnergyDischarged": s.discharged / _KWH,
            "EnergyCharged": s.charged / _KWH,
        }

    def _cells(self, s: State) -> Columns:
        cells = s.pack_voltage / CELLS + self._cell_volts - s.pack_current * self._cell_ohms
        modules = cells.reshape(_MODULES, CELLS // _MODULES, -1).sum(axis=1)
        warmth = s.cell_temperature + self._module_warmth
        tick = self._ticks + np.arange(len(s.time))
        self._ticks += len(s.time)
        idle = (s.contactors == battery.OPEN) & (s.lock == cabin.SECURED)
        columns: dict[str, NDArray[Any] | float] = {
            "CellGroup": (tick // _GROUP_TICKS % _GROUPS).astype(np.float64),
            "BalancingActive": idle,
            "CellVoltageMin": cells.min(axis=0),
            "CellVoltageMax": cells.max(axis=0),
            "CellNumberMin": cells.argmin(axis=0) + 1.0,
            "CellNumberMax": cells.argmax(axis=0) + 1.0,
            "CellTemperatureMin": warmth.min(axis=0),
            "CellTemperatureMax": warmth.max(axis=0),
        }
        columns.update((f"CellVoltage{k:02d}", cell) for k, cell in enumerate(cells, 1))
        columns.update((f"ModuleVoltage{k:02d}", volts) for k, volts in enumerate(modules, 1))
        columns.update((f"ModuleTemperature{k:02d}", one) for k, one in enumerate(warmth, 1))
        return columns

    def _thermal(self, s: State) -> Columns:
        noise = self._noise
        return {
            "StatorTemperature": s.stator,
            "RotorTemperature": s.rotor,
            "InverterTemperatureU": s.inverter + 0.4,
            "InverterTemperatureV": s.inverter,
            "InverterTemperatureW": s.inverter - 0.3,
            "GearOilTemperature": s.oil,
            "LowVoltage": s.low_voltage + noise(0.012),
            "DcdcOutputCurrent": s.converter_current,
            "DcdcInputCurrent": s.converter_power / np.maximum(s.link_voltage, 50.0),
            "DcdcTemperature": s.converter_temperature,
            "DcdcMode": np.select(
                [s.contactors == battery.CLOSED, s.contactors == battery.PRECHARGING],
                [2.0, 1.0],
                0.0,
            ),
            "LowVoltageBatteryVoltage": s.low_voltage - 0.02,
            "LowVoltageBatteryCurrent": s.low_battery_current + noise(0.05),
            "LowVoltageBatterySoc": 100.0 * s.low_soc,
            "LowVoltageBatteryTemperature": 0.7 * s.ambient + 0.3 * s.oil,
            "DriveCoolantTemperature": s.drive_coolant,
            "BatteryCoolantInlet": s.battery_coolant,
            "BatteryCoolantOutlet": 0.4 * s.battery_coolant + 0.6 * s.cell_temperature,
            "DriveCoolantFlow": 16.0 * s.drive_pump,
            "BatteryCoolantFlow": 12.0 * s.battery_pump,
            "RadiatorFan": 100.0 * s.fan,
            "DrivePump": 100.0 * s.drive_pump,
            "BatteryPump": 100.0 * s.battery_pump,
            "CompressorSpeed": np.where(s.compressor > 20.0, 800.0 + 1.4 * s.compressor, 0.0),
            "CompressorPower": s.compressor / 1000.0,
            "HeaterPower": s.heater / 1000.0,
            "ThermalMode": s.thermal_mode,
        }

    def _charging(self, s: State) -> Columns:
        charging = s.charge_state == battery.CHARGING
        delivering = charging | (s.charge_state == battery.STOPPING)
        power = s.charge_current * s.station_voltage
        missing = np.maximum(0.0, s.charge_target - s.soc) * CAPACITY * CELLS * 3.85 * 60.0
        connected = s.plug > battery.UNPLUGGED
        return {
            "ChargePlug": s.plug,
            "ChargeState": s.charge_state,
            "ChargePower": power / 1000.0,
            "ChargeTimeRemaining": np.where(
                charging, np.minimum(510.0, missing / np.maximum(power, 1000.0)), 0.0
            ),
            "ChargeTarget": 100.0 * s.charge_target,
            "ChargeEnergy": s.charge_energy / _KWH,
            "DcVoltageRequest": np.where(s.charge_state >= battery.PRECHARGE, s.pack_voltage, 0.0),
            "DcCurrentRequest": s.charge_request,
            "DcVoltageMaximum": CELLS * 4.2,
            "DcCurrentMaximum": Charger.limit_current,
            "DcPermission": charging,
            "StationState": np.select(
                [~connected, s.charge_state == battery.STOPPING, delivering], [0.0, 3.0, 2.0], 1.0
            ),
            "StationVoltage": s.station_voltage,
            "StationCurrent": s.charge_current,
            "StationCurrentLimit": np.where(connected, Charger.limit_current, 0.0),
            "StationPowerLimit": np.where(connected, Charger.limit_power / 1000.0, 0.0),
        }
