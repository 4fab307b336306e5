"""The time of a sample, from the kernel's stamp to what the cloud knows, under every clock."""

import asyncio
import os
import random
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from telemetry_help import DRIVE, MOTOR, TRUCK, frames, motor

from bordnetz.batch.message import Clock, Resolution, Stamp, encode_dictionary
from bordnetz.batch.reader import Reader
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.clock import Reception, Wall, boot_ns
from bordnetz.can.frames import Block
from bordnetz.can.sender import FrameSender
from bordnetz.can.sources.live import open_source
from bordnetz.can.vehicle import Bus, Vehicle
from bordnetz.edge.clock import boot_id
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.pipeline import Pipeline
from bordnetz.telemetry.plan import Plan

MS, S, HOUR = 10**6, 10**9, 3600 * 10**9
YEAR = 31_557_600 * S
NOW = 1_700_000_000 * S
GOOD = 3600
"""Drain of the simulated ones from which on the clock is right."""
THROWAWAY = os.environ.get("WITH_VCAN") in ("uml", "qemu")
"""Whether this is a machine of the tests' own, whose clock may be set."""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dbc")
    (folder / "drive.dbc").write_text(DRIVE)
    (folder / "truck.dbc").write_text(TRUCK)
    buses = [
        Bus(name=name, interface="unix", channel=name, dbc=(f"{name}.dbc",))
        for name in ("drive", "truck")
    ]
    return Catalogue.load(Vehicle(name="test", buses=buses).within(folder))


class Way:
    """From stamped frames to the cloud: what live capture and telemetry do, without waiting."""

    def __init__(self, catalogue, wall, **desired):
        config = Desired.model_validate({"collect": [{"match": "*.Count"}], **desired})
        plan = Plan.of(config, catalogue, bytes(32))
        self.wall = wall
        self.books = Books(catalogue.buses)
        stamp = Stamp(boot_id(), resolution=Resolution.MICROSECOND, ahead=wall.ahead)
        self.pipeline = Pipeline(plan.table, plan.dictionary, config, self.books, stamp, 200)
        self.dictionary = plan.dictionary
        self.drafts = []

    def take(self, some, now, clock):
        self.wall.look()
        self.pipeline.trust(clock, self.wall.ahead)
        self.drafts += self.pipeline.take(Block.of(2, some), now)
        self.drafts += self.pipeline.advance(now)

    def end(self):
        self.drafts += self.pipeline.flush(1e9)
        self.pipeline.give_up()

    def told(self, reader, correct):
        """Numbers and times of all samples, in order of the batches."""
        numbers, times = [], []
        for sequence, draft in enumerate(self.drafts):
            (batch,) = reader.read(draft.finish(1, sequence))
            batch = correct(batch)
            numbers += batch.samples.values.tolist()
            times += batch.samples.time.tolist()
        return numbers, times


def reader_of(dictionary):
    reader = Reader()
    reader.read(encode_dictionary(dictionary, 1).finish(2, 1))
    return reader


@pytest.mark.parametrize("interval", [None, 1])
@pytest.mark.parametrize("starts", [0, NOW - 10 * YEAR, NOW + 10 * YEAR])
@pytest.mark.parametrize("seed", range(3))
def test_a_wrong_start_steps_and_sleep_neither_lose_nor_reorder_and_the_reader_puts_times_right(
    catalogue, starts, seed, interval
):
    draw = random.Random(seed)
    boot, ahead = 20 * S, starts - 20 * S
    wall = Wall(lambda: boot + ahead, lambda: boot)
    reception = Reception(wall)
    rule = {"match": "*.Count"} if interval is None else {"match": "*.Count", "minInterval": 1}
    way = Way(catalogue, wall, collect=[rule], batchWindow=5)
    true, clock, number = {}, Clock.UNSYNCHRONISED, 0
    for drain in range(4000):
        stamps, numbers = [], []
        for _ in range(4):
            boot += 12 * MS + draw.randrange(MS)
            if drain < GOOD and draw.random() < 0.002:
                # What a person, a navigation system or a dead battery does to a clock.
                ahead += draw.choice([-10 * YEAR, -HOUR, -S, S, HOUR, 10 * YEAR])
                clock = Clock.UNSYNCHRONISED
            stamps.append(boot + ahead)
            true[number] = boot
            numbers.append(number)
            number += 1
        if draw.random() < 0.002:
            boot += 8 * HOUR  # It sleeps, and both clocks count that.
        if drain == GOOD:
            ahead, clock = NOW - 20 * S, Clock.SYNCHRONISED
        reception.drained(len(stamps))
        bus = np.zeros(len(stamps), np.uint8)
        placed = reception.convert(np.array(stamps, np.int64), bus)
        way.take(frames(MOTOR, motor(numbers), placed), boot / S, clock)
    way.end()
    assert wall.steps > 3
    totals = way.books.totals()
    assert totals["received"] == number
    reader = reader_of(way.dictionary)
    # What is put right is what nobody could know when it was told.
    for sequence, draft in enumerate(way.drafts):
        reader.read(draft.finish(3, sequence))
    told, times = way.told(reader, reader.boots.correct)
    assert totals["received"] == totals["decoded"] + totals["notAsked"]
    if interval is None:
        assert told == list(range(number))
    else:
        assert told == sorted(told)
        assert 190 <= len(told) <= 220
    assert times == [(true[one] // 1000 + (NOW - 20 * S) // 1000) * 1000 for one in told]


@pytest.mark.vcan
async def test_no_setting_of_the_clock_loses_or_reorders_frames_of_a_real_interface(catalogue):
    """On a machine of the user's, whose clock is not ours to set, it is only looked at."""
    jumps = [-NOW // S, 50 * 365 * 86400, -10 * 365 * 86400, 10 * 365 * 86400, -1, 1, 3600]
    vehicle = Vehicle(
        name="test",
        buses=[
            {"name": "drive", "interface": "socketcan", "channel": "vcan0"},
            {"name": "truck", "interface": "socketcan", "channel": "vcan1"},
        ],
    )
    wall = Wall()
    way = Way(catalogue, wall, timeResolution="us")
    reader = reader_of(way.dictionary)
    began, sent, bounds = time.clock_gettime(time.CLOCK_REALTIME) - boot_ns() / 1e9, 0, []
    try:
        async with open_source(vehicle) as source:
            with FrameSender.to_can("vcan0") as sender:
                for jump in [0, *jumps, 0]:
                    for half in range(2):
                        begin = boot_ns()
                        sender.send(frames(MOTOR, motor(range(sent, sent + 50))))
                        bounds.append((begin, boot_ns()))
                        sent += 50
                        if not half and THROWAWAY:
                            now = time.clock_gettime(time.CLOCK_REALTIME)
                            time.clock_settime(time.CLOCK_REALTIME, max(now + jump, 1))
                    # Some jumps are met while frames wait, others between two drains.
                    if jump % 2:
                        await asyncio.sleep(0.1)
            got = 0
            async with asyncio.timeout(60):
                async for block in source:
                    way.take(block.classic, 0.0, Clock.UNSYNCHRONISED)
                    got += len(block.classic)
                    if got >= sent:
                        break
    finally:
        if THROWAWAY:
            with suppress(OSError):
                time.clock_settime(time.CLOCK_REALTIME, began + boot_ns() / 1e9)
    way.end()
    assert wall.steps == 0 or THROWAWAY
    told, times = way.told(reader, on_boot_clock)
    assert told == list(range(sent))
    assert times == sorted(times)
    for number, at in zip(told, times, strict=True):
        begin, end = bounds[number // 50]
        # A frame of the drain in which the clock was set stays within that drain.
        assert begin - 120 * MS <= at <= end + 120 * MS


def on_boot_clock(batch):
    """A batch with the times that it was made of."""
    samples = replace(batch.samples, time=batch.samples.time - batch.header.stamp.ahead)
    return replace(batch, samples=samples)
