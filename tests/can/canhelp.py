"""Vehicles, frames and sockets for the tests of `bordnetz.can`."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np

from bordnetz.can.clock import Wall
from bordnetz.can.frames import FDF, Block, Frames
from bordnetz.can.vehicle import Vehicle
from bordnetz.series import EXTENDED


def vehicle_of(*buses: dict[str, Any]) -> Vehicle:
    return Vehicle(name="test", buses=[{"name": f"bus{i}", **bus} for i, bus in enumerate(buses)])


def frames_of(count: int, width: int = 8, seed: int = 1) -> Frames:
    """Random frames; 29-bit ids count upwards so that a missing one shows."""
    random = np.random.default_rng(seed)
    lengths = [*range(9), 12, 16, 20, 24, 32, 48, 64]
    length = random.choice([n for n in lengths if n <= width], count).astype(np.uint8)
    data = random.integers(0, 256, (count, width)).astype(np.uint8)
    data[np.arange(width) >= length[:, None]] = 0
    return Frames(
        time=np.zeros(count, np.int64),
        bus=np.zeros(count, np.uint8),
        id=np.arange(count, dtype=np.uint32) | np.uint32(EXTENDED),
        flags=np.full(count, FDF if width == 64 else 0, np.uint8),
        length=length,
        data=data,
    )


def same_frames(one: Frames, other: Frames) -> bool:
    """Equal in all but time and bus."""
    return all(
        np.array_equal(getattr(one, column), getattr(other, column))
        for column in ("id", "flags", "length", "data")
    )


async def read_until(source: AsyncIterator[Block], done: Callable[[Block], bool]) -> Block:
    """All blocks up to the one with which ``done`` is true of them together."""
    whole: Block | None = None
    async with asyncio.timeout(60):
        async for block in source:
            whole = block if whole is None else Block.concat([whole, block])
            if done(whole):
                break
    assert whole is not None
    return whole


async def read_all(source: AsyncIterator[Block]) -> list[Block]:
    return [block async for block in source]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def until(done: Callable[[], bool]) -> None:
    """Wait, in a thread, for what another thread does; the test's time limit bounds it."""
    while not done():
        time.sleep(0.002)


class Clocks:
    """Two clocks of a machine that stand still until a test moves them."""

    def __init__(self, boot: int, wall: int) -> None:
        self.boot = boot
        self.ahead = wall - boot

    def wall(self) -> Wall:
        """Who looks at them."""
        return Wall(lambda: self.boot + self.ahead, lambda: self.boot)

    def pass_by(self, ns: int) -> None:
        """Let time pass; by both clocks."""
        self.boot += ns

    def set(self, wall: int) -> None:
        """Set the wall clock."""
        self.ahead = wall - self.boot
