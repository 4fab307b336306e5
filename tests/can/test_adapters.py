"""Buses behind python-can, on its virtual interface."""

import asyncio
import subprocess
import sys
from pathlib import Path

import can
import numpy as np
import pytest
from canhelp import Clocks, frames_of, read_until, until, vehicle_of

from bordnetz.can.errors import BusError
from bordnetz.can.frames import BRS, ESI, FDF
from bordnetz.can.sender import FrameSender
from bordnetz.can.sources.adapter import Adapter
from bordnetz.can.sources.live import open_source
from bordnetz.can.sources.messages import to_block
from bordnetz.can.vehicle import Vehicle
from bordnetz.series import EXTENDED, Cause

UPTIME, WALL = 5_000 * 10**9, 1_700_000_000 * 10**9


def message(can_id: int, data: bytes = b"", **more: object) -> can.Message:
    more = {"is_extended_id": False, "dlc": len(data)} | more
    return can.Message(arbitration_id=can_id, data=data, **more)


async def test_messages_of_a_python_can_bus_become_columns() -> None:
    vehicle = vehicle_of(
        {"interface": "virtual", "channel": "columns", "bitrate": 500_000},
    )
    async with open_source(vehicle) as source:
        with can.Bus("columns", "virtual") as bus:
            for index in range(500):
                bus.send(message(index, bytes([index % 256] * (index % 9))))
            bus.send(message(0x18F00400, b"x", is_extended_id=True))
            bus.send(
                message(7, bytes(range(20)), is_fd=True, bitrate_switch=True)
                if bus.protocol is can.CanProtocol.CAN_FD
                else message(7, is_remote_frame=True)
            )
            bus.send(message(0, is_error_frame=True))
        block = await read_until(source, lambda block: block.received.sum() >= 503)
    frames = block.classic
    assert frames.id.tolist() == [*range(500), EXTENDED | 0x18F00400]
    assert frames.length.tolist() == [index % 9 for index in range(500)] + [1]
    assert all(set(frames.data[i, : i % 9].tolist()) <= {i % 256} for i in range(500))
    assert block.remote.tolist() == [1]
    assert block.error.tolist() == [1]


async def test_buses_of_different_kinds_come_in_one_block_each_in_order(short_path) -> None:
    vehicle = vehicle_of(
        {"interface": "virtual", "channel": "kinds-a"},
        {"interface": "unix", "channel": f"{short_path}/1"},
        {"interface": "virtual", "channel": "kinds-b"},
    )
    async with open_source(vehicle) as source:
        with can.Bus("kinds-a", "virtual") as a, can.Bus("kinds-b", "virtual") as b:
            for index in range(100):
                a.send(message(index))
                b.send(message(1000 + index))
        with FrameSender.to_unix(f"{short_path}/1") as sender:
            sender.send(frames_of(100))
        block = await read_until(source, lambda block: len(block.classic) == 300)
    for bus, ids in enumerate((range(100), range(EXTENDED, EXTENDED + 100), range(1000, 1100))):
        assert block.classic.id[block.classic.bus == bus].tolist() == list(ids)
    assert block.received.tolist() == [100, 100, 100]


def test_fd_messages_keep_their_flags_and_length() -> None:
    messages = [
        message(1, bytes(range(48)), is_fd=True, bitrate_switch=True),
        message(2, b"abc", is_fd=True, error_state_indicator=True),
        message(3, b"abc"),
    ]
    block = to_block(messages, np.array([0, 1, 0]), 2)
    assert block.fd.flags.tolist() == [FDF | BRS, FDF | ESI]
    assert block.fd.length.tolist() == [48, 3]
    assert block.fd.data.shape == (2, 64)
    assert bytes(block.fd.data[0]) == bytes(range(48)) + bytes(16)
    assert block.fd.bus.tolist() == [0, 1]
    assert block.classic.id.tolist() == [3]


@pytest.mark.parametrize(
    "broken",
    [
        message(1, b"abc", dlc=4),
        message(0x800, b""),
        message(0x20000000, b"", is_extended_id=True),
        message(1, b"", timestamp=float("nan")),
        message(1, b"", timestamp=1e300),
        message(1, bytes(9)),
        message(1, bytes(65), is_fd=True),
    ],
)
def test_a_message_that_no_bus_carries_is_broken(broken: can.Message) -> None:
    block = to_block([message(5, b"ok"), broken], np.array([0, 0]), 1)
    assert block.broken.tolist() == [1]
    assert block.classic.id.tolist() == [5]
    assert block.received.tolist() == [2]


def test_times_of_an_adapters_own_clock_are_put_on_the_boot_clock() -> None:
    vehicle = vehicle_of({"interface": "virtual", "channel": "clock"})
    clocks = Clocks(UPTIME, WALL)
    adapter = Adapter(0, vehicle.buses[0], 1, clocks.wall())
    with can.Bus("clock", "virtual", preserve_timestamps=True) as bus:
        bus.send(message(1, timestamp=12.5))
        bus.send(message(1, timestamp=12.75))
        block = adapter.drain()
        assert block is not None
        assert block.classic.time.tolist() == [UPTIME, UPTIME + 250_000_000]
        # Which of the host's clocks is set, and when, is nothing to it.
        clocks.set(0)
        bus.send(message(1, timestamp=13.5))
        block = adapter.drain()
        assert block is not None
        assert block.classic.time.tolist() == [UPTIME + 1_000_000_000]
    adapter.close()


def test_times_of_the_hosts_clock_are_put_on_the_boot_clock() -> None:
    vehicle = vehicle_of({"interface": "virtual", "channel": "clock"})
    clocks = Clocks(UPTIME, WALL)
    adapter = Adapter(0, vehicle.buses[0], 1, clocks.wall())
    with can.Bus("clock", "virtual", preserve_timestamps=True) as bus:
        clocks.pass_by(10 * 10**9)
        bus.send(message(1, timestamp=1_700_000_002.123456))
        bus.send(message(1, bytes(9), is_fd=True, dlc=9, timestamp=1_700_000_001.5))
        block = adapter.drain()
        assert block is not None
        assert block.classic.time.tolist() == [UPTIME + 2_123_456_000]
        assert block.fd.time.tolist() == [UPTIME + 1_500_000_000]
        clocks.set(0)
        clocks.pass_by(10**9)
        bus.send(message(1, timestamp=1_700_000_010.25))
        bus.send(message(1, timestamp=0.75))
        block = adapter.drain()
        assert block is not None
        assert block.classic.time.tolist() == [UPTIME + 10_250_000_000, UPTIME + 10_750_000_000]
    assert adapter.drain() is None
    adapter.close()


async def test_an_adapter_that_is_unplugged_has_a_gap_until_it_is_there_again() -> None:
    vehicle = vehicle_of({"interface": "virtual", "channel": "plug"})
    async with open_source(vehicle) as source:
        await asyncio.to_thread(until, lambda: source._adapters[0] is not None)
        source._adapters[0]._bus.shutdown()
        block = await read_until(source, lambda block: len(block.gaps) == 2)
        begun, over = block.gaps
        assert (begun.cause, begun.end) == (Cause.FAILED, None)
        assert over.start == begun.start
        assert over.end is not None
        assert "can no longer be read: " in block.problems[0]
        with can.Bus("plug", "virtual") as bus:
            bus.send(message(5))
        block = await read_until(source, lambda block: len(block.classic) == 1)
        assert block.classic.id.tolist() == [5]


async def refusal(vehicle: Vehicle) -> str:
    with pytest.raises(BusError) as caught:
        await open_source(vehicle).__aenter__()
    return str(caught.value)


async def test_an_interface_that_python_can_does_not_know_is_told_with_those_it_knows() -> None:
    text = await refusal(vehicle_of({"interface": "canopy", "channel": 0}))
    assert text.startswith("bus 'bus0' (canopy 0): there is no such interface; there are: ")
    assert "kvaser" in text
    assert "unix" in text


async def test_an_adapter_that_cannot_be_opened_is_told_with_the_reason() -> None:
    bus = {"interface": "slcan", "channel": "/dev/no-such-tty", "bitrate": 500_000}
    async with open_source(vehicle_of(bus)) as source:
        block = await read_until(source, lambda block: bool(block.problems))
    (gap,) = block.gaps
    assert (gap.bus, gap.cause, gap.end) == ("bus0", Cause.ABSENT, None)
    text = block.problems[0]
    assert text.startswith("bus 'bus0' (slcan /dev/no-such-tty): python-can cannot open it: ")
    assert "check channel, bitrate, options" in text


async def test_options_that_an_adapter_does_not_take_are_told() -> None:
    bus = {"interface": "virtual", "channel": "x", "options": {"config_context": 3, "channel_": 1}}
    async with open_source(vehicle_of(bus)):
        pass


def test_buses_that_need_no_adapter_do_not_pay_for_python_can(short_path: Path) -> None:
    program = """
import asyncio, sys
from bordnetz.can.sources.live import open_source
from bordnetz.can.vehicle import Vehicle
from bordnetz.telemetry import command

async def listen(vehicle):
    async with open_source(vehicle):
        return "can" in sys.modules

async def main():
    for interface in "unix", "virtual":
        bus = {"name": "a", "interface": interface, "channel": sys.argv[1]}
        print(await listen(Vehicle.model_validate({"name": "car", "bus": [bus]})))

asyncio.run(main())
"""
    run = subprocess.run(
        [sys.executable, "-c", program, short_path / "a"], stdout=subprocess.PIPE, check=True
    )
    assert run.stdout.split() == [b"False", b"True"]
