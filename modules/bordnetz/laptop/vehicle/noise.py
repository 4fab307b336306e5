"""Sensor noise, drawn from the seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Noise:
    """Independent normal noise, a column for each call."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 1])
        self.ticks = 0

    def __call__(self, sigma: float) -> NDArray[np.float64]:
        """A column of ``ticks`` values with standard deviation ``sigma``."""
        return sigma * self._rng.standard_normal(self.ticks)

    def spread(self, sigma: float, count: int) -> NDArray[np.float64]:
        """``count`` differences between specimens, whose sum is zero."""
        drawn = sigma * self._rng.standard_normal(count)
        balanced: NDArray[np.float64] = drawn - drawn.mean()
        return balanced
