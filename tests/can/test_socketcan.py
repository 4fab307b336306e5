"""Real SocketCAN: vcan interfaces, python-can as the oracle."""

import asyncio
import os
import re
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import can
import numpy as np
import pytest
from canhelp import frames_of, read_until, same_frames, until, vehicle_of

from bordnetz.can.clock import Wall
from bordnetz.can.datagram import Receiver
from bordnetz.can.errors import BusError
from bordnetz.can.filters import Interest
from bordnetz.can.frames import ERROR, Block, Frames
from bordnetz.can.health import ErrorState
from bordnetz.can.j1939 import Match
from bordnetz.can.port import open_can
from bordnetz.can.sender import FrameSender
from bordnetz.can.sources.live import open_source
from bordnetz.series import EXTENDED, Cause

VCAN = pytest.mark.vcan
FLOOD = ("-g", "0", "-i")
"""For cangen: no pause, and wait where the kernel has no room."""


def tc(*arguments: str) -> None:
    subprocess.run(["tc", "qdisc", *arguments], check=True)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def rows(frames: Frames) -> list[tuple[int, bytes, int, float]]:
    return [
        (int(can_id), bytes(data[:length]), int(flags) & 3, time / 1e9)
        for can_id, data, length, flags, time in zip(
            frames.id, frames.data, frames.length, frames.flags, frames.time, strict=True
        )
    ]


@VCAN
async def test_frames_are_those_that_python_can_receives_to_the_bit() -> None:
    # python-can's socket queues some 270 frames, no more.
    with can.Bus("vcan0", "socketcan", fd=True) as oracle:
        async with open_source(
            vehicle_of({"interface": "socketcan", "channel": "vcan0"})
        ) as source:
            with FrameSender.to_can("vcan0") as sender:
                classic, fd = frames_of(100), frames_of(100, width=64)
                for at in range(0, 100, 10):
                    sender.send(classic[at : at + 10])
                    sender.send(fd[at : at + 10])
            block = await read_until(source, lambda block: block.received.sum() == 200)
        seen = [oracle.recv(1.0) for _ in range(200)]
    expected: dict[bool, list[tuple[int, bytes, int, float]]] = {False: [], True: []}
    for message in seen:
        assert message is not None
        expected[message.is_fd].append(
            (
                message.arbitration_id | (EXTENDED if message.is_extended_id else 0),
                bytes(message.data),
                message.bitrate_switch | (message.error_state_indicator << 1),
                message.timestamp,
            )
        )
    ahead = Wall().ahead / 1e9
    for frames, theirs in ((block.classic, expected[False]), (block.fd, expected[True])):
        ours = rows(frames)
        assert [row[:3] for row in ours] == [row[:3] for row in theirs]
        # Each socket stamps for itself where no driver does, on a busy machine not at once.
        assert np.allclose([r[3] + ahead for r in ours], [r[3] for r in theirs], rtol=0, atol=0.1)
    assert same_frames(block.classic, classic)
    assert same_frames(block.fd, fd)


@VCAN
async def test_remote_and_error_frames_are_counted_and_not_decoded() -> None:
    async with open_source(vehicle_of({"interface": "socketcan", "channel": "vcan0"})) as source:
        with can.Bus("vcan0", "socketcan") as bus:
            bus.send(can.Message(arbitration_id=1, is_remote_frame=True, dlc=4))
            bus.send(can.Message(arbitration_id=2, data=b"x"))
        raw = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        raw.bind(("vcan0",))
        raw.send(struct.pack("=IB3x8s", ERROR | 0x40, 8, bytes(8)))
        raw.close()
        block = await read_until(source, lambda block: block.received.sum() == 3)
    assert (block.remote.tolist(), block.error.tolist()) == ([1], [1])
    assert block.classic.id.tolist() == [EXTENDED | 2]


@VCAN
async def test_three_buses_under_load_lose_nothing_and_stay_in_order() -> None:
    names = ["vcan0", "vcan1", "vcan2"]
    vehicle = vehicle_of(*({"interface": "socketcan", "channel": name} for name in names))
    frames = frames_of(10_000)
    async with open_source(vehicle) as source:
        senders = [FrameSender.to_can(name) for name in names]
        threads = [threading.Thread(target=sender.send, args=(frames,)) for sender in senders]
        for thread in threads:
            thread.start()
        block = await read_until(
            source, lambda block: int(block.received.sum() + block.lost.sum()) >= 30_000
        )
        for thread, sender in zip(threads, senders, strict=True):
            await asyncio.to_thread(thread.join)
            sender.close()
    assert block.lost.tolist() == [0, 0, 0]
    for bus in range(3):
        assert same_frames(block.classic[block.classic.bus == bus], frames)


@VCAN
def test_a_full_queue_of_the_interface_makes_the_sender_wait_and_nothing_is_lost() -> None:
    port = open_can(0, "bus0", "vcan1")
    receiver = Receiver([port], 1)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(seconds)

    tc("add", "dev", "vcan1", "root", "tbf", "rate", "200kbit", "burst", "200", "limit", "400")
    try:
        with FrameSender.to_can("vcan1", sleep) as sender:
            sender.send(frames_of(60))
    finally:
        tc("del", "dev", "vcan1", "root")
    receiver.fill()
    block = receiver.take()
    port.close()
    assert len(waits) > 1
    assert same_frames(block.classic, frames_of(60))


@VCAN
def test_frames_lost_to_a_full_queue_are_counted_exactly() -> None:
    port = open_can(0, "bus0", "vcan0")
    port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    receiver = Receiver([port], 1)
    blocks: list[Block] = []
    with FrameSender.to_can("vcan0") as sender:
        for _ in range(3):
            sender.send(frames_of(1500))
            # No marker frame follows: the count must be right at once.
            receiver.fill()
            blocks.append(receiver.take())
    port.close()
    for block in blocks:
        assert block.lost[0] > 1000
        assert block.received[0] + block.lost[0] == 1500


@VCAN
def test_the_receive_buffer_is_raised() -> None:
    port = open_can(0, "bus0", "vcan0")
    assert port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 16 << 20
    port.close()


@VCAN
async def test_an_interface_that_goes_down_has_a_gap_until_it_is_up() -> None:
    async with open_source(vehicle_of({"interface": "socketcan", "channel": "vcan2"})) as source:
        ip("link", "set", "vcan2", "down")
        block = await read_until(source, lambda block: bool(block.gaps))
        assert block.problems == ("bus 'bus0' (socketcan vcan2): the interface is down",)
        (down,) = block.gaps
        assert (down.bus, down.cause, down.end) == ("bus0", Cause.DOWN, None)
        with FrameSender.to_can("vcan2") as sender, pytest.raises(BusError, match="is down"):
            sender.send(frames_of(1))
        assert [one.gap for one in source.listening()] == [down]
        ip("link", "set", "vcan2", "up")
        with FrameSender.to_can("vcan2") as sender:
            sender.send(frames_of(3))
        block = await read_until(source, lambda block: len(block.classic) == 3 and block.gaps != ())
        assert same_frames(block.classic, frames_of(3))
        (up,) = block.gaps
        assert (up.bus, up.cause, up.start) == ("bus0", Cause.DOWN, down.start)
        # No frame lies in the gap.
        assert up.end is not None
        assert up.end <= block.classic.time.min()
        assert [(one.gap, one.gaps) for one in source.listening()] == [(None, 1)]


@VCAN
async def test_an_interface_that_comes_goes_and_gets_another_name_costs_only_its_own_frames() -> (
    None
):
    vehicle = vehicle_of(
        {"interface": "socketcan", "channel": "vcan77"},
        {"interface": "socketcan", "channel": "vcan0"},
    )

    def gone(block: Block) -> bool:
        return bool(block.gaps) and block.gaps[-1].end is None

    def back(block: Block) -> bool:
        return bool(block.gaps) and block.gaps[-1].end is not None

    def send(name: str, count: int) -> None:
        with FrameSender.to_can(name) as sender:
            sender.send(frames_of(count))

    async with open_source(vehicle) as source:
        block = await read_until(source, gone)
        assert block.gaps[0].cause is Cause.ABSENT
        absent, present = source.listening()
        assert (absent.gap, absent.buffer_got) == (block.gaps[0], 0)
        assert (present.gap, present.filter) == (None, "all")
        (problem,) = block.problems
        assert problem == (
            "bus 'bus0' (socketcan vcan77): No such device; "
            "CAN interfaces here: vcan0, vcan1, vcan2"
        )
        ip("link", "add", "vcan77", "type", "vcan")
        ip("link", "set", "vcan77", "up")
        try:
            await read_until(source, back)
            send("vcan77", 2)
            block = await read_until(source, lambda block: len(block.classic) == 2)
            assert block.classic.bus.tolist() == [0, 0]

            ip("link", "set", "vcan77", "down")
            ip("link", "set", "vcan77", "name", "vcan79")
            ip("link", "set", "vcan79", "up")
            await read_until(source, gone)
            # The next try finds the name gone; what the interface brings is not the bus' any more.
            await asyncio.to_thread(until, lambda: source.listening()[0].buffer_got == 0)
            send("vcan79", 5)
            ip("link", "set", "vcan79", "down")
            ip("link", "set", "vcan79", "name", "vcan77")
            ip("link", "set", "vcan77", "up")
            await read_until(source, back)
            send("vcan77", 3)
            block = await read_until(source, lambda block: len(block.classic) == 3)

            ip("link", "delete", "vcan77")
            block = await read_until(source, gone)
            assert block.gaps[-1].cause in (Cause.DOWN, Cause.ABSENT)
            send("vcan0", 4)
            block = await read_until(source, lambda block: len(block.classic) == 4)
            assert block.classic.bus.tolist() == [1] * 4
            ip("link", "add", "vcan77", "type", "vcan")
            ip("link", "set", "vcan77", "up")
            await read_until(source, back)
            send("vcan77", 1)
            await read_until(source, lambda block: len(block.classic) == 1)
        finally:
            ip("link", "delete", "vcan77")
    assert source.listening()[1].gaps == 0


@VCAN
async def test_the_kernel_hands_over_what_is_wanted_and_error_frames() -> None:
    vehicle = vehicle_of(
        {"interface": "socketcan", "channel": "vcan0"},
        {"interface": "socketcan", "channel": "vcan1"},
    )
    async with open_source(vehicle) as source:
        source.want(
            [
                Interest.of(0, 0x123),
                Interest.of(0, 0x18F00400 | EXTENDED, Match.PGN),
                Interest.of(0, 0x18EF0000 | EXTENDED, Match.PGN),
            ]
        )
        kinds = [(one.filter, one.filters) for one in source.listening()]
        assert kinds == [("exact", 3), ("none", 0)]
        passing = [0x123, 0x18F00400 | EXTENDED, 0x0CF00417 | EXTENDED, 0x18EF2103 | EXTENDED]
        other = [0x122, 0x123 | EXTENDED, 0x18F00500 | EXTENDED, 0x18EE2103 | EXTENDED]
        for name in ("vcan1", "vcan0"):
            with can.Bus(name, "socketcan", fd=True) as bus:
                for one in [*passing, *other, *passing]:
                    long = bool(one & EXTENDED)
                    number = one & ~EXTENDED
                    bus.send(can.Message(arbitration_id=number, is_extended_id=long, data=b"x"))
                    bus.send(
                        can.Message(
                            arbitration_id=number, is_extended_id=long, data=b"y" * 12, is_fd=True
                        )
                    )
            raw = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
            raw.bind((name,))
            raw.send(struct.pack("=IB3x8s", ERROR | 0x04, 8, bytes([0, 0x04]) + bytes(6)))
            raw.close()
        block = await read_until(source, lambda block: block.error.tolist() == [1, 1])
    assert block.classic.id.tolist() == block.fd.id.tolist() == passing * 2
    assert not block.classic.bus.any()
    assert block.received.tolist() == [len(passing) * 4 + 1, 1]
    assert block.health is not None
    assert block.health.state.tolist() == [ErrorState.WARNING] * 2


@VCAN
async def test_a_change_of_what_is_wanted_loses_and_doubles_no_frame_wanted_before_and_after() -> (
    None
):
    always = [Interest.of(0, one) for one in (0x80000000, 0x80000001)]
    before = always + [Interest.of(0, one) for one in range(0x100, 0x300, 3)]
    after = always + [Interest.of(0, one) for one in range(0x200, 0x700, 2)]
    frames = frames_of(2)
    many = Frames.concat([frames] * 200)
    async with open_source(vehicle_of({"interface": "socketcan", "channel": "vcan0"})) as source:
        source.want(before)
        done = threading.Event()
        sent = 0

        def send() -> None:
            nonlocal sent
            with FrameSender.to_can("vcan0") as sender:
                while not done.is_set():
                    sender.send(many)
                    sent += len(many)
                    time.sleep(0.001)

        thread = threading.Thread(target=send)
        thread.start()
        for _ in range(150):
            for wanted in ([*before, *after], after, [*before, *after], before):
                await asyncio.to_thread(source.want, wanted)
        done.set()
        await asyncio.to_thread(thread.join)
        block = await read_until(source, lambda block: len(block.classic) >= sent)
    assert block.lost.tolist() == [0]
    assert len(block.classic) == sent > 10_000
    assert (block.classic.id == np.tile(frames.id, sent // 2)).all()


@VCAN
async def test_more_filters_than_the_kernel_takes_are_merged_and_all_that_is_wanted_passes() -> (
    None
):
    frames = frames_of(4096)
    wanted = np.random.default_rng(1).choice(frames.id, 900, replace=False)
    vehicle = vehicle_of({"interface": "socketcan", "channel": "vcan0"})
    async with open_source(vehicle) as source:
        source.want(Interest.of(0, int(one)) for one in wanted)
        (listening,) = source.listening()
        assert listening.filter == "merged"
        assert listening.filters <= 512
        with FrameSender.to_can("vcan0") as sender:
            await asyncio.to_thread(sender.send, frames)
        block = await read_until(source, lambda block: max(wanted) in block.classic.id)
    assert set(wanted.tolist()) <= set(block.classic.id.tolist())
    assert len(block.classic) == len(set(block.classic.id.tolist())) < 4096


@VCAN
async def test_the_buffer_that_the_kernel_gave_is_told() -> None:
    async with open_source(vehicle_of({"interface": "socketcan", "channel": "vcan0"})) as source:
        (listening,) = source.listening()
    assert listening.buffer_asked == 8 << 20
    assert listening.buffer_got >= 2 * listening.buffer_asked
    assert listening.buffer_frames > 10_000


@VCAN
async def test_a_quiet_bus_wakes_nobody() -> None:
    names = ["vcan0", "vcan1", "vcan2"]
    vehicle = vehicle_of(*({"interface": "socketcan", "channel": name} for name in names))
    async with open_source(vehicle) as source:
        with FrameSender.to_can("vcan0") as sender:
            sender.send(frames_of(1))
        await read_until(source, lambda block: len(block.classic) == 1)
        assert source._thread is not None
        status = Path(f"/proc/self/task/{source._thread.native_id}/status")

        def switches() -> int:
            (line,) = re.findall(
                r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.MULTILINE
            )
            return int(line)

        def asleep() -> bool:
            before = switches()
            time.sleep(0.1)
            return switches() == before

        await asyncio.to_thread(until, asleep)
        before = switches()
        await asyncio.sleep(2)
        assert switches() == before
        # And still it hears.
        with FrameSender.to_can("vcan1") as sender:
            sender.send(frames_of(1))
        block = await read_until(source, lambda block: len(block.classic) == 1)
        assert block.classic.bus.tolist() == [1]


@VCAN
@pytest.mark.slow
@pytest.mark.parametrize("room", ["the buffer the module asks for", "the least buffer"])
async def test_a_flood_on_three_buses_loses_nothing_that_the_drop_counter_does_not_say(
    room: str,
) -> None:
    names = ["vcan0", "vcan1", "vcan2"]
    seconds = float(os.environ.get("FLOOD_SECONDS", "5"))
    vehicle = vehicle_of(*({"interface": "socketcan", "channel": name} for name in names))
    sent_before = [sent_frames(name) for name in names]
    received, lost = np.zeros(3, np.int64), np.zeros(3, np.int64)
    async with open_source(vehicle) as source:
        if room == "the least buffer":
            for port in source._ports:
                port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        flood = [await asyncio.create_subprocess_exec("cangen", name, *FLOOD) for name in names]

        async def end() -> None:
            await asyncio.sleep(seconds)
            for one in flood:
                one.terminate()
            for one in flood:
                await one.wait()
            # What was lost is told with the next frame that is not; buses never end with a loss.
            await asyncio.sleep(0.5)
            for name in names:
                with FrameSender.to_can(name) as sender:
                    sender.send(frames_of(1))
            await source.close()

        ending = asyncio.create_task(end())
        async for block in source:
            received += block.received
            lost += block.lost
        await ending
    sent = [sent_frames(name) - before for name, before in zip(names, sent_before, strict=True)]
    assert (received + lost).tolist() == sent
    assert min(sent) > 1000
    if room == "the buffer the module asks for":
        assert lost.tolist() == [0, 0, 0]
    else:
        assert lost.sum() > 0


def sent_frames(interface: str) -> int:
    return int(Path("/sys/class/net", interface, "statistics", "tx_packets").read_text())


@VCAN
def test_fd_frames_to_an_interface_that_takes_none_are_refused_with_a_reason() -> None:
    ip("link", "add", "vcan78", "type", "vcan")
    ip("link", "set", "vcan78", "mtu", "16", "up")
    with FrameSender.to_can("vcan78") as sender:
        sender.send(frames_of(1))
        with pytest.raises(BusError, match="socketcan vcan78: cannot be sent to: "):
            sender.send(frames_of(1, width=64))
    ip("link", "delete", "vcan78")


async def test_a_kernel_without_the_interface_is_told() -> None:
    vehicle = vehicle_of({"interface": "socketcan", "channel": "nocan9"})
    async with open_source(vehicle) as source:
        block = await read_until(source, lambda block: bool(block.gaps))
    assert [gap.cause for gap in block.gaps] == [Cause.ABSENT]
    assert block.problems[0].startswith("bus 'bus0' (socketcan nocan9): ")
