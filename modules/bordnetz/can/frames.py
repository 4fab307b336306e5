"""Frames in columns: what a bus, a socket or a file hands to decoding.

There is no Python object per frame anywhere on the way of a frame; a `Block` is what one drain
of all buses brought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.health import Health
from bordnetz.series import Gap

CLASSIC_BYTES = 8
"""Room for data in a frame of classic CAN (``CAN_MAX_DLEN`` of linux/can.h)."""
FD_BYTES = 64
"""Room for data in a CAN FD frame (``CANFD_MAX_DLEN`` of linux/can.h)."""

REMOTE = 0x4000_0000
"""Marks a remote transmission request in the id of a `struct can_frame` (``CAN_RTR_FLAG``)."""
ERROR = 0x2000_0000
"""Marks an error message in the id of a `struct can_frame` (``CAN_ERR_FLAG``)."""

BRS = 0x01
"""CAN FD: data at the second bit rate (``CANFD_BRS``)."""
ESI = 0x02
"""CAN FD: the sender is error passive (``CANFD_ESI``)."""
FDF = 0x04
"""CAN FD: the frame is one; kernels from 6.1 on set it on reception (``CANFD_FDF``)."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Data frames in columns, in order of arrival; classic CAN and CAN FD in separate ones.

    Attributes:
        time: int64, shape (n,), reception, ns: by the boot clock (`bordnetz.can.clock`) where it
            was now, since the Unix epoch as the clock said in a recording.
        bus: uint8, shape (n,), index of the bus in the vehicle file.
        id: uint32, shape (n,), arbitration id, `bordnetz.series.EXTENDED` set for 29 bits.
        flags: uint8, shape (n,), `BRS`, `ESI` and `FDF` for CAN FD; 0 for classic CAN.
        length: uint8, shape (n,), bytes of data; uint16 for messages that were put together.
        data: uint8, shape (n, 8) for classic CAN or (n, 64) for CAN FD, C-contiguous, zero from
            ``length`` on; wider for messages that were put together, see
            `bordnetz.can.transport`.
    """

    time: NDArray[np.int64]
    bus: NDArray[np.uint8]
    id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self.time)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Frames:
        """Some of the frames: by slice, by boolean mask (n,), or by index in any order."""
        return Frames(*(getattr(self, column.name)[rows] for column in fields(self)))

    @classmethod
    def empty(cls, width: int = CLASSIC_BYTES) -> Frames:
        """No frames, with room for ``width`` bytes of data each."""
        return _empty(width)

    @classmethod
    def concat(cls, parts: Sequence[Frames], width: int = CLASSIC_BYTES) -> Frames:
        """All frames of ``parts``, one part after the other.

        Args:
            parts: Of one width; empty ones cost nothing.
            width: Room for data, told for the case that there are no frames.
        """
        parts = [part for part in parts if len(part)]
        if not parts:
            return cls.empty(width)
        if len(parts) == 1:
            return parts[0]
        return cls(
            *(
                np.concatenate([getattr(part, column.name) for part in parts])
                for column in fields(cls)
            )
        )


@cache
def _empty(width: int) -> Frames:
    return Frames(
        time=np.empty(0, np.int64),
        bus=np.empty(0, np.uint8),
        id=np.empty(0, np.uint32),
        flags=np.empty(0, np.uint8),
        length=np.empty(0, np.uint8),
        data=np.empty((0, width), np.uint8),
    )


@dataclass(frozen=True, slots=True)
class Block:
    """What one drain of all buses brought: data frames, and the books about everything else.

    For every bus, ``received`` = its frames in ``classic`` and ``fd`` + ``remote`` + ``error`` +
    ``broken``; ``lost`` was never received.  What belongs to no bus is counted beside it.

    Attributes:
        classic: Data frames of classic CAN.
        fd: Data frames of CAN FD.
        received: int64, shape (buses,), everything that was read.
        remote: int64, shape (buses,), remote frames.
        error: int64, shape (buses,), error frames.
        broken: int64, shape (buses,), datagrams or lines that are no frame.
        lost: int64, shape (buses,), frames dropped before they could be read, where the source
            can tell.
        unbound: Frames of channels that no bus of the vehicle file names.
        illegible: Broken lines, and broken ends of files, that do not tell their bus.
        problems: What was broken, where and why, a line each; bounded, the counts are not.
        health: What the error frames told, None where nothing reads them.
        gaps: Buses that are not listened to since then, or are again.
    """

    classic: Frames
    fd: Frames
    received: NDArray[np.int64]
    remote: NDArray[np.int64]
    error: NDArray[np.int64]
    broken: NDArray[np.int64]
    lost: NDArray[np.int64]
    unbound: int = 0
    illegible: int = 0
    problems: tuple[str, ...] = ()
    health: Health | None = None
    gaps: tuple[Gap, ...] = ()

    @classmethod
    def of(
        cls,
        buses: int,
        classic: Frames | None = None,
        fd: Frames | None = None,
        *,
        remote: NDArray[np.int64] | None = None,
        error: NDArray[np.int64] | None = None,
        broken: NDArray[np.int64] | None = None,
        lost: NDArray[np.int64] | None = None,
        unbound: int = 0,
        illegible: int = 0,
        problems: tuple[str, ...] = (),
        health: Health | None = None,
        gaps: tuple[Gap, ...] = (),
    ) -> Block:
        """A block of these frames and counts, None for no such; ``received`` is their sum."""
        classic = Frames.empty(CLASSIC_BYTES) if classic is None else classic
        fd = Frames.empty(FD_BYTES) if fd is None else fd
        none = np.zeros(buses, np.int64)
        received = np.bincount(classic.bus, minlength=buses).astype(np.int64, copy=False)
        if len(fd):
            received += np.bincount(fd.bus, minlength=buses)
        for count in (remote, error, broken):
            if count is not None:
                received += count
        return cls(
            classic=classic,
            fd=fd,
            received=received,
            remote=none if remote is None else remote,
            error=none if error is None else error,
            broken=none if broken is None else broken,
            lost=none if lost is None else lost,
            unbound=unbound,
            illegible=illegible,
            problems=problems,
            health=health,
            gaps=gaps,
        )

    @classmethod
    def concat(cls, parts: Sequence[Block]) -> Block:
        """All of ``parts``, at least one, in one block."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            classic=Frames.concat([part.classic for part in parts], CLASSIC_BYTES),
            fd=Frames.concat([part.fd for part in parts], FD_BYTES),
            received=np.sum([part.received for part in parts], axis=0),
            remote=np.sum([part.remote for part in parts], axis=0),
            error=np.sum([part.error for part in parts], axis=0),
            broken=np.sum([part.broken for part in parts], axis=0),
            lost=np.sum([part.lost for part in parts], axis=0),
            unbound=sum(part.unbound for part in parts),
            illegible=sum(part.illegible for part in parts),
            problems=tuple(problem for part in parts for problem in part.problems),
            health=Health.concat([part.health for part in parts]),
            gaps=tuple(gap for part in parts for gap in part.gaps),
        )
