"""Heat: electric machine, inverter, both coolant circuits, cabin, brakes and tyres."""

from __future__ import annotations

OFF, PASSIVE, COOLING, HEATING = range(4)
"""What thermal management does, as in the value table ``ThermalMode``."""

CABIN_SET = 21.0
"""Temperature that the occupants want, degC."""

_GRAVITY_SHARE_FRONT = 0.68
"""Share of the friction brakes' work that the front axle does."""


class Thermal:
    """Temperatures in degC; `step` once a tick with the heat that everything makes.

    Attributes:
        drive_coolant: At the inlet of the inverter.
        battery_coolant: At the inlet of the pack.
        compressor: Watts drawn; ``heater`` likewise.
        fan: Radiator fan, 0 to 1; ``drive_pump`` and ``battery_pump`` likewise.
        mode: One of `OFF`, `PASSIVE`, `COOLING`, `HEATING`.
    """

    def __init__(self, ambient: float) -> None:
        self.ambient = ambient
        self.stator = self.rotor = self.inverter = self.oil = ambient + 4.0
        self.drive_coolant = ambient + 3.0
        self.battery_coolant = ambient + 4.0
        self.cabin = ambient + 3.0
        self.brake_front = self.brake_rear = self.tyre = ambient
        self.converter = ambient + 3.0
        self.compressor = self.heater = 0.0
        self.fan = self.drive_pump = self.battery_pump = 0.0
        self.mode = OFF

    def step(
        self,
        dt: float,
        *,
        awake: bool,
        speed: float,
        loss: float,
        brake_power: float,
        battery: float,
        converter_power: float,
    ) -> None:
        """Let ``dt`` seconds pass.

        Args:
            dt: Seconds.
            awake: High voltage is there and climate and pumps may run.
            speed: m/s, for the wind in the radiator.
            loss: Watts of machine and inverter.
            brake_power: Watts of the friction brakes.
            battery: Temperature of the cells.
            converter_power: Watts through the DC/DC converter.
        """
        self._control(dt, awake=awake, battery=battery)
        outside = self.ambient

        pump = 20.0 + 380.0 * self.drive_pump
        into_stator = 0.65 * loss - 0.4 * pump * (self.stator - self.drive_coolant)
        into_inverter = 0.30 * loss - 0.5 * pump * (self.inverter - self.drive_coolant)
        into_rotor = 0.05 * loss - 6.0 * (self.rotor - self.stator)
        self.stator += into_stator * dt / 9.0e3
        self.inverter += into_inverter * dt / 2.5e3
        self.rotor += into_rotor * dt / 5.0e3
        self.oil += (0.5 * (self.stator + outside) - self.oil) * dt / 240.0
        radiator = 25.0 + 18.0 * speed + 450.0 * self.fan
        gained = 0.4 * pump * (self.stator - self.drive_coolant)
        gained += 0.5 * pump * (self.inverter - self.drive_coolant)
        gained -= radiator * (self.drive_coolant - outside)
        self.drive_coolant += gained * dt / 2.4e4

        goal = battery
        if self.mode == COOLING:
            goal = 18.0
        elif self.mode == HEATING:
            goal = 32.0
        self.battery_coolant += (goal - self.battery_coolant) * dt / 40.0

        warmed = 1.6 * self.heater - 1.8 * self._chilled - 55.0 * (self.cabin - outside) + 250.0
        self.cabin += warmed * dt / 9.0e4
        self.converter += (0.07 * converter_power - 9.0 * (self.converter - outside)) * dt / 1.5e3

        front = _GRAVITY_SHARE_FRONT * brake_power
        cooling = 12.0 + 2.5 * speed
        self.brake_front += (front - cooling * (self.brake_front - outside)) * dt / 9.0e3
        rear = brake_power - front
        self.brake_rear += (rear - cooling * (self.brake_rear - outside)) * dt / 6.0e3
        self.tyre += (outside + 0.55 * speed - self.tyre) * dt / 400.0

    def _control(self, dt: float, *, awake: bool, battery: float) -> None:
        if not awake:
            self.mode = OFF
        elif battery > 34.0 or (self.mode == COOLING and battery > 31.0):
            self.mode = COOLING
        elif battery < 8.0 or (self.mode == HEATING and battery < 12.0):
            self.mode = HEATING
        else:
            self.mode = PASSIVE
        miss = CABIN_SET - self.cabin
        heater = compressor = 0.0
        if awake:
            heater = min(4000.0, max(0.0, 900.0 * miss + 55.0 * (CABIN_SET - self.ambient) - 250.0))
            heater += 3000.0 if self.mode == HEATING else 0.0
            compressor = min(3000.0, max(0.0, -700.0 * (miss + 0.5)))
            compressor += 1800.0 if self.mode == COOLING else 0.0
        self.heater += (heater - self.heater) * dt / 3.0
        self.compressor += (compressor - self.compressor) * dt / 4.0
        hot = (self.drive_coolant - 45.0) / 20.0
        fan = min(1.0, max(0.0, hot, self.compressor / 4000.0)) if awake else 0.0
        self.fan += (fan - self.fan) * dt / 2.0
        pump = min(1.0, max(0.35, (self.stator - 30.0) / 60.0)) if awake else 0.0
        self.drive_pump += (pump - self.drive_pump) * dt / 1.0
        pump = 0.0
        if awake:
            pump = 0.9 if self.mode in (COOLING, HEATING) else 0.4
        self.battery_pump += (pump - self.battery_pump) * dt / 1.0

    @property
    def _chilled(self) -> float:
        """Watts of the compressor that cool the cabin rather than the battery."""
        return max(0.0, self.compressor - (1800.0 if self.mode == COOLING else 0.0))
