"""What error frames tell of a bus' health: the controller's error state, and what befell it.

Linux makes error frames of what a CAN controller reports (linux/can/error.h): classes of errors in
the id, details in the data.  A driver sends one whenever the controller's error state changes, so
the last one that tells a state tells the present one.  What it was before the first one,
`bordnetz.can.link` asks the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_CONTROLLER, _BUS_OFF, _BUS_ERROR, _RESTARTED = 0x004, 0x040, 0x080, 0x100
"""Classes: ``CAN_ERR_CRTL``, ``CAN_ERR_BUSOFF``, ``CAN_ERR_BUSERROR``, ``CAN_ERR_RESTARTED``."""
_OVERFLOW, _WARNING, _PASSIVE, _ACTIVE = 0x01, 0x0C, 0x30, 0x40
"""Byte 1 of a controller's: ``CAN_ERR_CRTL_RX_OVERFLOW``, ``..._[RT]X_WARNING``,
``..._[RT]X_PASSIVE``, ``..._ACTIVE``."""

KINDS = ("warning", "passive", "busOff", "restarts", "overflows", "busErrors")
"""What is counted: changes to the three bad states; restarts after bus-off; frames that the
controller had no room for, told at least once however many they were; errors on the bus, where
the driver reports them."""


class ErrorState(IntEnum):
    """Of a CAN controller (ISO 11898-1, fault confinement; warning is Linux' own)."""

    UNKNOWN = -1
    """Nobody has told."""
    ACTIVE = 0
    """Takes part in everything."""
    WARNING = 1
    """An error counter has reached 96."""
    PASSIVE = 2
    """An error counter has reached 128: it does not disturb frames that it finds wrong."""
    BUS_OFF = 3
    """Neither sends nor receives until it is restarted."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the error frames of a block told.

    Attributes:
        state: int8, shape (buses,), the last `ErrorState` told.
        counts: int64, shape (buses, kinds), in the order of `KINDS`.
    """

    state: NDArray[np.int8]
    counts: NDArray[np.int64]

    @classmethod
    def of(
        cls, bus: NDArray[np.uint8], ids: NDArray[np.uint32], data: NDArray[np.uint8], buses: int
    ) -> Health:
        """Read error frames.

        Args:
            bus: uint8, shape (n,), index of each frame's bus; frames in order of arrival.
            ids: uint32, shape (n,).
            data: uint8, shape (n, 8).
            buses: How many buses the vehicle has.
        """
        detail = np.where(ids & _CONTROLLER, data[:, 1], 0)
        bus_off, restarted = (ids & _BUS_OFF) != 0, (ids & _RESTARTED) != 0
        warning, passive = (detail & _WARNING) != 0, (detail & _PASSIVE) != 0
        told = np.full(len(ids), ErrorState.UNKNOWN, np.int8)
        told[restarted | ((detail & _ACTIVE) != 0)] = ErrorState.ACTIVE
        told[warning] = ErrorState.WARNING
        told[passive] = ErrorState.PASSIVE
        told[bus_off] = ErrorState.BUS_OFF
        tells = told != ErrorState.UNKNOWN
        state = np.full(buses, ErrorState.UNKNOWN, np.int8)
        state[bus[tells]] = told[tells]  # where a bus is there more than once, the last one stays
        overflow, bus_error = (detail & _OVERFLOW) != 0, (ids & _BUS_ERROR) != 0
        counts = [
            np.bincount(bus[found], minlength=buses)
            for found in (warning & ~passive, passive, bus_off, restarted, overflow, bus_error)
        ]
        return cls(state, np.stack(counts, axis=1))

    @classmethod
    def known(cls, states: Mapping[int, ErrorState], buses: int) -> Health:
        """States that are known without error frames, by index of the bus; nothing is counted."""
        state = np.full(buses, ErrorState.UNKNOWN, np.int8)
        state[list(states)] = list(states.values())
        return cls(state, np.zeros((buses, len(KINDS)), np.int64))

    @classmethod
    def concat(cls, parts: Sequence[Health | None]) -> Health | None:
        """Of one block after the other; None where there were no error frames."""
        known = [part for part in parts if part is not None]
        if len(known) <= 1:
            return known[0] if known else None
        state = known[0].state
        for part in known[1:]:
            state = np.where(part.state == ErrorState.UNKNOWN, state, part.state)
        return cls(state, np.sum([part.counts for part in known], axis=0))
