"""What the driver touches apart from pedals and wheel: doors, belt, keys, gear, stalks, brakes."""

from __future__ import annotations

P, R, N, D, B = range(5)
"""Gears, as in the value table ``Gear``."""
UNLOCKED, LOCKED, SECURED = range(3)
"""As in the value table ``Lock``."""
TERMINAL_OFF, TERMINAL_ACCESSORY, TERMINAL_ON, TERMINAL_READY = range(4)
"""As in the value table ``Terminal``."""
RELEASED, APPLYING, APPLIED, RELEASING = range(4)
"""States of the parking brake, as in the value table ``ParkingBrake``."""

_PARKING_BRAKE_TIME = 0.8
_BLINK = 0.67
"""Seconds for one flash of an indicator, on and off (90 a minute, as UN Regulation 48 allows)."""


class Cabin:
    """State of doors, belts, switches and the parking brake; `step` once a tick.

    Attributes:
        door: Open driver's door; ``passenger_door`` and ``flap`` likewise.
        stalk: Indicator stalk: 1 left, -1 right, 0 neutral.
        lamp_left: The blinking lamp itself; ``lamp_right`` likewise.
        brake_switch: Parking brake switch: 1 apply, 2 release, 0 neutral.
    """

    def __init__(self, *, passenger: bool) -> None:
        self.passenger = passenger
        self.lock = SECURED
        self.terminal = TERMINAL_OFF
        self.start_button = self.key = self.seated = False
        self.door = self.passenger_door = self.flap = False
        self.belt = False
        self.gear = P
        self.stalk = 0
        self.hazard = False
        self.lamp_left = self.lamp_right = False
        self.interior = 0.0
        self.parking_brake = APPLIED
        self.brake_switch = 0
        self._moved = 0.0
        self._blinking = 0.0

    @property
    def ready(self) -> bool:
        """The car drives when the accelerator is pressed."""
        return self.terminal == TERMINAL_READY

    @property
    def driving(self) -> bool:
        """Ready, in gear, and the parking brake off."""
        return self.ready and self.gear in (R, D, B) and self.parking_brake == RELEASED

    @property
    def clamp(self) -> float:
        """How far the parking brake is applied, 0 to 1."""
        moved = min(1.0, self._moved / _PARKING_BRAKE_TIME)
        if self.parking_brake == APPLYING:
            return moved
        if self.parking_brake == RELEASING:
            return 1.0 - moved
        return 1.0 if self.parking_brake == APPLIED else 0.0

    def step(self, dt: float) -> None:
        """Let ``dt`` seconds pass."""
        self._moved += dt
        if self.brake_switch == 1 and self.parking_brake == RELEASED:
            self.parking_brake, self._moved = APPLYING, 0.0
        elif self.brake_switch == 2 and self.parking_brake == APPLIED:
            self.parking_brake, self._moved = RELEASING, 0.0
        elif self.parking_brake in (APPLYING, RELEASING) and self._moved >= _PARKING_BRAKE_TIME:
            self.parking_brake = APPLIED if self.parking_brake == APPLYING else RELEASED

        blinks = self.stalk != 0 or self.hazard
        self._blinking = self._blinking + dt if blinks else 0.0
        lit = blinks and self._blinking % _BLINK < _BLINK / 2
        self.lamp_left = lit and (self.hazard or self.stalk > 0)
        self.lamp_right = lit and (self.hazard or self.stalk < 0)

        lights = self.door or self.passenger_door or (self.seated and not self.ready)
        goal = 1.0 if lights else 0.0
        self.interior += (goal - self.interior) * dt / 0.6
