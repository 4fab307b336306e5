"""The traction battery, its contactors, the charger and the 12 V network.

96 cells in series; open-circuit voltage over state of charge, inner resistance, and one
resistor-capacitor pair for what the voltage does in the half minute after a change of load.
"""

from __future__ import annotations

import math

import numpy as np

CELLS = 96
CAPACITY = 200.0
"""Ampere-hours; with 96 cells of 3.7 V about 71 kWh."""
RESISTANCE = 0.062
"""Ohm at 25 degC, of the whole pack."""

_CHARGE_AXIS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
_CELL_VOLTS = (3.00, 3.35, 3.45, 3.54, 3.63, 3.77, 3.95, 4.06, 4.18)
"""Open-circuit voltage of a nickel-rich cell, as such cells commonly have."""
_POLARISATION = 0.020
_POLARISATION_TIME = 30.0
_HEAT_CAPACITY = 3.6e5
_COOLING = 900.0
_PRECHARGE_TIME = 0.4
_OPENING_TIME = 0.1
_BLEED_TIME = 1.5

OPEN, PRECHARGING, CLOSED, OPENING = range(4)
"""States of the contactors, as in the value table ``Contactors``."""


class Battery:
    """State of the pack; `step` once a tick with the power that everything else draws.

    Attributes:
        soc: State of charge, 0 to 1.
        current: Amperes, positive while discharging.
        voltage: At the terminals, volts.
        link: Voltage behind the contactors.
        temperature: Of the cells, degC.
        discharge_limit: Watts that may be drawn.
        regen_limit: Watts that may be fed back.
        discharged: Energy taken out since the car was built, J; ``charged`` what was put in.
    """

    def __init__(self, soc: float, ambient: float) -> None:
        self.soc = soc
        self.current = 0.0
        self.temperature = ambient + 6.0
        self.contactors = OPEN
        self.wanted = False
        self.link = 0.0
        self.discharged = 4.1e9
        self.charged = 4.5e9
        self._since = 0.0
        self._polarised = 0.0
        self._limit()
        self.voltage = self.open_voltage()

    def open_voltage(self) -> float:
        """Of the pack without load, volts."""
        return CELLS * float(np.interp(self.soc, _CHARGE_AXIS, _CELL_VOLTS))

    def resistance(self) -> float:
        """Ohm; cold cells resist more."""
        return RESISTANCE * math.exp(0.02 * (25.0 - self.temperature))

    @property
    def closed(self) -> bool:
        """Whether the pack is connected."""
        return self.contactors == CLOSED

    def step(self, dt: float, power: float, charging: float, coolant: float) -> None:
        """Let ``dt`` seconds pass.

        Args:
            dt: Seconds.
            power: Watts drawn by drive and auxiliaries, negative while recuperating.
            charging: Amperes delivered by a charging station.
            coolant: Temperature around the cells, degC.
        """
        self._switch(dt)
        source = self.open_voltage() - self._polarised
        resistance = self.resistance()
        if self.closed:
            # The current at which the terminals deliver the power: U = source - R I, P = U I,
            # where a station's current comes on top.
            loaded = source + resistance * charging
            root = math.sqrt(max(0.0, loaded * loaded - 4.0 * resistance * power))
            self.current = (loaded - root) / (2.0 * resistance) - charging
        else:
            self.current = 0.0
        self.voltage = source - resistance * self.current
        if self.closed:
            self.link = self.voltage
        self._polarised += (
            dt / _POLARISATION_TIME * (_POLARISATION * self.current - self._polarised)
        )
        self.soc -= self.current * dt / (3600.0 * CAPACITY)
        energy = self.voltage * self.current * dt
        if energy > 0:
            self.discharged += energy
        else:
            self.charged -= energy
        heat = resistance * self.current**2 - _COOLING * (self.temperature - coolant)
        self.temperature += heat * dt / _HEAT_CAPACITY
        self._limit()

    def _switch(self, dt: float) -> None:
        self._since += dt
        before = self.contactors
        if before == OPEN:
            self.link -= self.link * dt / _BLEED_TIME
            if self.wanted:
                self.contactors = PRECHARGING
        elif before == PRECHARGING:
            self.link += (self.voltage - self.link) * dt / (_PRECHARGE_TIME / 5)
            if self._since >= _PRECHARGE_TIME:
                self.contactors = CLOSED
        elif before == CLOSED:
            if not self.wanted:
                self.contactors = OPENING
        elif self._since >= _OPENING_TIME:
            self.contactors = OPEN
        if self.contactors != before:
            self._since = 0.0

    def _limit(self) -> None:
        warmth = min(1.0, max(0.3, (self.temperature + 10.0) / 30.0))
        self.discharge_limit = 2.0e5 * warmth * min(1.0, max(0.1, self.soc / 0.15))
        self.regen_limit = 9.0e4 * warmth * min(1.0, max(0.0, (0.97 - self.soc) / 0.10))

    def charge_power(self) -> float:
        """Watts at which the pack can be charged at a station: less when full, less when cold."""
        warmth = min(1.0, max(0.3, (self.temperature + 5.0) / 25.0))
        return warmth * float(
            np.interp(self.soc, (0.0, 0.1, 0.45, 0.8, 1.0), (9e4, 1.5e5, 1.5e5, 7e4, 1e4))
        )


IDLE, HANDSHAKE, CABLE_CHECK, PRECHARGE, CHARGING, STOPPING, COMPLETE = range(7)
"""Phases of charging, as in the value table ``ChargeState``."""
UNPLUGGED, PLUGGED, LOCKED = range(3)
"""As in the value table ``ChargePlug``."""


class Charger:
    """The car's charge control and the direct-current station that it talks to.

    The driver's script moves ``plug`` and ``state``; `step` lets the station follow.
    """

    limit_current = 400.0
    limit_power = 1.5e5
    _rate = 60.0
    """Amperes a second at which the station changes its current."""

    def __init__(self) -> None:
        self.plug = UNPLUGGED
        self.state = IDLE
        self.request = 0.0
        self.station_voltage = 0.0
        self.current = 0.0
        self.energy = 0.0
        self.target = 0.8

    def step(self, dt: float, battery: Battery) -> None:
        """Let ``dt`` seconds pass."""
        self.request = 0.0
        if self.state == CHARGING:
            self.request = min(self.limit_current, battery.charge_power() / battery.voltage)
        reach = self._rate * dt
        self.current += min(reach, max(-reach, self.request - self.current))
        goal, time = 0.0, 0.8
        if self.state == CABLE_CHECK:
            goal = 480.0
        elif self.state == PRECHARGE:
            goal, time = battery.voltage, 0.4
        if battery.closed and self.state in (CHARGING, STOPPING):
            self.station_voltage = battery.voltage
        else:
            self.station_voltage += (goal - self.station_voltage) * dt / time
        self.energy += self.current * self.station_voltage * dt


class LowVoltage:
    """The 12 V network: consumers, DC/DC converter and battery.

    Attributes:
        voltage: Volts.
        load: Amperes of all consumers.
        converter: Amperes from the DC/DC converter.
        battery: Amperes out of the 12 V battery, negative while it is charged.
        soc: Of the 12 V battery, 0 to 1.
        power: Watts that the converter draws from the traction battery.
    """

    capacity = 60.0
    efficiency = 0.93

    def __init__(self) -> None:
        self.voltage = 12.5
        self.load = self.converter = self.battery = self.power = 0.0
        self.soc = 0.88

    def step(self, dt: float, load: float, *, supplied: bool) -> None:
        """Let ``dt`` seconds pass.

        Args:
            dt: Seconds.
            load: Amperes of all consumers.
            supplied: Whether the DC/DC converter runs.
        """
        self.load = load
        if supplied:
            goal = 14.2
            self.converter = min(220.0, load + 120.0 * (0.98 - self.soc))
        else:
            goal = 12.0 + 0.7 * self.soc - 0.008 * load
            self.converter = 0.0
        self.voltage += (goal - self.voltage) * dt / 0.2
        self.battery = load - self.converter
        self.soc -= self.battery * dt / (3600.0 * self.capacity)
        self.power = self.voltage * self.converter / self.efficiency
