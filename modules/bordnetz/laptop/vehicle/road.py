"""The road ahead: limits, bends, corners, stops and hills, laid trip by trip.

There is no real road behind it: the car drives over an invented landscape whose towns and
motorways are drawn from the seed, and turns for home when it has come too far.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LATERAL = 2.2
"""Lateral acceleration that the driver accepts in a bend, m/s2."""

_FAR = 4000.0
"""Metres from home beyond which corners lead back."""
_HILLS = ((7.0, 1900.0), (2.5, 610.0), (0.3, 170.0))
"""Height (m) and wave length (m) of the hills; together at most 6 % steep."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of road of one curvature.

    Attributes:
        start: Where it begins, metres on the odometer.
        length: Metres.
        curvature: 1/m, positive to the left.
        limit: Speed limit, m/s.
        speed: What a driver takes: the limit, or less in a bend.
        corner: A turn at a junction, for which the driver indicates.
        dwell: How long the car stands at the end, s; 0 where there is no stop.
        final: The trip is over at the end.
    """

    start: float
    length: float
    curvature: float
    limit: float
    speed: float
    corner: bool = False
    dwell: float = 0.0
    final: bool = False

    @property
    def end(self) -> float:
        """Where it ends, metres on the odometer."""
        return self.start + self.length


class Road:
    """Pieces of one trip, dropped behind the car."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.pieces: deque[Piece] = deque()
        self._end = 0.0
        self._north = self._east = self._heading = 0.0
        self._phases = [float(rng.uniform(0, 2 * math.pi)) for _ in _HILLS]

    def lay(self, start: float, north: float, east: float, heading: float) -> None:
        """Lay a trip of about six minutes through towns, over land and along a motorway.

        Args:
            start: Where it begins, metres on the odometer.
            north: Position of the car, metres from home.
            east: As ``north``.
            heading: Radians, clockwise from north.
        """
        self.pieces.clear()
        self._end, self._north, self._east, self._heading = start, north, east, heading
        draw = self._rng.uniform
        for _ in range(2):
            self._street(draw(220, 380), 50)
        self._country(draw(900, 1500))
        if self._rng.random() < 0.75:
            self._add(math.radians(draw(60, 110)) * 60, self._side() / 60, 60)
            self._bends(draw(2000, 3000), 120)
            self._add(math.radians(draw(60, 110)) * 45, self._side() / 45, 60)
        self._country(draw(600, 1100))
        for _ in range(2):
            self._street(draw(180, 340), 50)
        self._street(draw(120, 200), 30)
        self._add(35.0, 0.0, 12, final=True)

    def _street(self, length: float, limit: float) -> None:
        """A stretch in town with a junction at its end."""
        self._bends(length, limit)
        crossing = self._rng.random()
        red = self._rng.random() < 0.65
        self._add(20.0, 0.0, limit, dwell=float(self._rng.uniform(5, 16)) if red else 0.0)
        if crossing < 0.75:
            radius = float(self._rng.uniform(11, 18))
            self._add(math.pi / 2 * radius, self._side() / radius, limit, corner=True)
        self._add(25.0, 0.0, limit)

    def _country(self, length: float) -> None:
        self._bends(length, 90)
        radius = float(self._rng.uniform(45, 90))
        self._add(math.radians(self._rng.uniform(40, 90)) * radius, self._side() / radius, 70)

    def _bends(self, length: float, limit: float) -> None:
        """Straights and gentle bends, to the left and to the right in turn."""
        side = self._side()
        while length > 0:
            straight = float(self._rng.uniform(1.0, 4.0)) * limit
            bend = float(self._rng.uniform(0.8, 2.2)) * limit
            lateral = float(self._rng.uniform(0.5, 1.5))
            curvature = min(lateral / (limit / 3.6) ** 2, 0.6 / bend)
            self._add(min(straight, length), 0.0, limit)
            if length > straight + bend:
                self._add(bend, side * curvature, limit)
            length -= straight + bend
            side = -side

    def _side(self) -> int:
        """Left (1) or right (-1): as it comes near home, homewards when far away."""
        side = 1 if self._rng.random() < 0.5 else -1
        if math.hypot(self._north, self._east) > _FAR:
            home = math.atan2(-self._east, -self._north)
            side = -1 if math.sin(home - self._heading) > 0 else 1
        return side

    def _add(
        self,
        length: float,
        curvature: float,
        limit: float,
        *,
        corner: bool = False,
        dwell: float = 0.0,
        final: bool = False,
    ) -> None:
        speed = limit / 3.6
        if curvature:
            speed = min(speed, math.sqrt(LATERAL / abs(curvature)))
        piece = Piece(self._end, length, curvature, limit / 3.6, speed, corner, dwell, final)
        self.pieces.append(piece)
        self._end += length
        self._heading -= curvature * length
        self._north += math.cos(self._heading) * length
        self._east += math.sin(self._heading) * length

    def pass_to(self, distance: float) -> None:
        """Drop what lies behind, except for a piece that ends with a stop not yet made."""
        while len(self.pieces) > 1 and self.pieces[0].end <= distance:
            if self.pieces[0].dwell or self.pieces[0].final:
                return
            self.pieces.popleft()

    def stop_made(self) -> None:
        """Go on after a stop."""
        self.pieces.popleft()

    def ahead(self, until: float) -> Iterator[Piece]:
        """The piece under the car, then those that begin before ``until``."""
        for piece in self.pieces:
            if piece.start > until:
                return
            yield piece

    def curvature(self, distance: float) -> float:
        """1/m, positive to the left; beyond a stop not yet made the road is not looked at."""
        for piece in self.pieces:
            if distance < piece.end or piece.dwell:
                return piece.curvature
        return 0.0

    def altitude(self, distance: float) -> float:
        """Height above home's region, m."""
        return sum(
            height * math.sin(2 * math.pi * distance / wave + phase)
            for (height, wave), phase in zip(_HILLS, self._phases, strict=True)
        )

    def grade(self, distance: float) -> float:
        """Rise over run, positive uphill: the derivative of `altitude`."""
        return sum(
            height * 2 * math.pi / wave * math.cos(2 * math.pi * distance / wave + phase)
            for (height, wave), phase in zip(_HILLS, self._phases, strict=True)
        )
