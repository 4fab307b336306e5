"""Motion along the road: pedals to torque, torque and brakes to acceleration.

A rear-driven car with one electric machine and a fixed gear; the brake blends recuperation and
friction, so that the driver feels one brake.
"""

from __future__ import annotations

import math

MASS = 2150.0
"""Car, driver and luggage, kg."""
INERTIA = 75.0
"""What wheels and rotor add while the speed changes, kg."""
RADIUS = 0.335
"""Of the rolling wheel, m."""
RATIO = 9.6
"""Turns of the motor for one of the wheels."""
WHEELBASE = 2.86
TRACK = 1.60
STEERING_RATIO = 15.2
"""Angle at the steering wheel for one of the road wheels."""
UNDERSTEER = 0.0022
"""Further road wheel angle per lateral acceleration, rad s2/m."""
GRAVITY = 9.81
TORQUE_MAX = 350.0
POWER_MAX = 1.7e5
BRAKE_MAX = 1.9e4
"""Braking force with the pedal fully pressed, N."""

_REGEN_TORQUE = 230.0
_DRAG = 0.5 * 1.2 * 0.60
"""Half of air density times drag area, kg/m."""
_ROLLING = 0.0095
_GEAR_EFFICIENCY = 0.975
_LIFT = 0.55
"""Deceleration with both pedals released, m/s2."""
_TORQUE_LAG = 0.04
_BRAKE_LAG = 0.06


def losses(torque: float, omega: float) -> float:
    """Watts that machine and inverter turn into heat: copper, iron and friction."""
    return 0.075 * torque * torque + 0.0026 * omega * omega + 0.6 * abs(omega)


class Drivetrain:
    """State of motion; `step` once a tick.

    Attributes:
        accelerator: Pedal, 0 to 1; ``brake`` likewise.
        speed: m/s, never negative.
        distance: Metres on the odometer.
        torque: Of the machine, Nm; ``request`` what it is asked for.
        friction: Force of the friction brakes, N; ``regen`` that of the machine while the brake
            pedal is pressed, N.
        power: Watts that the inverter draws from the link.
    """

    def __init__(self, distance: float) -> None:
        self.accelerator = self.brake = 0.0
        self.speed = self.acceleration = 0.0
        self.distance = distance
        self.torque = self.request = 0.0
        self.friction = self.regen = 0.0
        self.power = self.loss = 0.0

    @property
    def omega(self) -> float:
        """Angular speed of the motor, rad/s."""
        return self.speed / RADIUS * RATIO

    @property
    def drive_force(self) -> float:
        """At the wheels, from the machine, N."""
        return self._force(self.torque)

    @staticmethod
    def _force(torque: float) -> float:
        efficiency = _GEAR_EFFICIENCY if torque > 0 else 1 / _GEAR_EFFICIENCY
        return torque * RATIO / RADIUS * efficiency

    @staticmethod
    def _torque(force: float) -> float:
        efficiency = _GEAR_EFFICIENCY if force > 0 else 1 / _GEAR_EFFICIENCY
        return force * RADIUS / RATIO / efficiency

    def resistance(self, grade: float) -> float:
        """Air, rolling and slope, N; ``grade`` is rise over run."""
        rolling = _ROLLING * MASS * GRAVITY if self.speed > 0.05 else 0.0
        return _DRAG * self.speed**2 + rolling + MASS * GRAVITY * grade

    def lift_force(self, regen_limit: float) -> float:
        """Force at the wheels with both pedals released, N: recuperation, fading when slow."""
        fade = min(1.0, max(0.0, (self.speed - 1.5) / 4.0))
        return -min(_LIFT * MASS * fade, -self._force(-self._regen_torque(regen_limit)))

    def full_force(self, discharge_limit: float) -> float:
        """Force at the wheels with the accelerator fully pressed, N."""
        power = min(POWER_MAX, 0.92 * discharge_limit)
        return self._force(min(TORQUE_MAX, power / max(self.omega, 1.0)))

    def _regen_torque(self, limit: float) -> float:
        fade = min(1.0, max(0.0, (self.speed - 1.0) / 2.5))
        return fade * min(_REGEN_TORQUE, limit / max(self.omega, 1.0))

    def step(
        self,
        dt: float,
        *,
        grade: float,
        driving: bool,
        discharge_limit: float,
        regen_limit: float,
    ) -> None:
        """Let ``dt`` seconds pass.

        Args:
            dt: Seconds.
            grade: Rise over run, positive uphill.
            driving: Ready, and a gear engaged.
            discharge_limit: Watts that the battery gives.
            regen_limit: Watts that the battery takes.
        """
        braking = self.brake * BRAKE_MAX
        self.regen = 0.0
        force = 0.0
        if driving:
            lift = self.lift_force(regen_limit)
            full = self.full_force(discharge_limit)
            force = lift + self.accelerator * (full - lift)
            if braking > 0:
                most = -self._force(-self._regen_torque(regen_limit))
                self.regen = min(braking, max(0.0, most + lift))
                force = lift - self.regen
        self.request = self._torque(force)
        self.torque += (self.request - self.torque) * dt / _TORQUE_LAG
        self.friction += (braking - self.regen - self.friction) * dt / _BRAKE_LAG

        pull = self.drive_force - self.resistance(grade)
        if self.speed <= 0.0 and abs(pull) <= max(self.friction, 50.0):
            self.speed = self.acceleration = 0.0
        else:
            before = self.speed
            change = (pull - self.friction) / (MASS + INERTIA)
            self.speed = max(0.0, before + change * dt)
            self.acceleration = (self.speed - before) / dt
            self.distance += 0.5 * (before + self.speed) * dt
        omega = self.omega
        self.loss = losses(self.torque, omega)
        self.power = self.torque * omega + self.loss


def steering_angle(curvature: float, speed: float) -> float:
    """Angle at the steering wheel, rad, of a single-track model in steady state."""
    wheel = math.atan(WHEELBASE * curvature) + UNDERSTEER * curvature * speed * speed
    return STEERING_RATIO * wheel
