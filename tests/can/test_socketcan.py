"""Real SocketCAN: vcan interfaces, python-can as the oracle."""

import asyncio
import socket
import struct
import subprocess
import threading
import time

import can
import numpy as np
import pytest
from canhelp import frames_of, read_until, same_frames, vehicle_of

from bordnetz.can.datagram import Receiver, open_can
from bordnetz.can.errors import BusError
from bordnetz.can.frames import ERROR, Block, Frames
from bordnetz.can.sender import FrameSender
from bordnetz.can.sources.live import open_source
from bordnetz.series import EXTENDED

VCAN = pytest.mark.vcan


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
    for frames, theirs in ((block.classic, expected[False]), (block.fd, expected[True])):
        ours = rows(frames)
        assert [row[:3] for row in ours] == [row[:3] for row in theirs]
        # Each socket stamps for itself where no driver does, on a busy machine not at once.
        assert np.allclose([r[3] for r in ours], [r[3] for r in theirs], rtol=0, atol=0.1)
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
async def test_an_interface_that_goes_down_is_told_and_read_again_when_it_is_up() -> None:
    async with open_source(vehicle_of({"interface": "socketcan", "channel": "vcan2"})) as source:
        ip("link", "set", "vcan2", "down")
        block = await read_until(source, lambda block: bool(block.problems))
        assert block.problems == ("bus 'bus0' (socketcan vcan2): the interface is down",)
        with FrameSender.to_can("vcan2") as sender, pytest.raises(BusError, match="is down"):
            sender.send(frames_of(1))
        ip("link", "set", "vcan2", "up")
        with FrameSender.to_can("vcan2") as sender:
            sender.send(frames_of(3))
        block = await read_until(source, lambda block: len(block.classic) == 3)
        assert same_frames(block.classic, frames_of(3))


@VCAN
async def test_an_interface_that_vanishes_ends_the_source_with_a_reason() -> None:
    ip("link", "add", "vcan77", "type", "vcan")
    ip("link", "set", "vcan77", "up")
    async with open_source(vehicle_of({"interface": "socketcan", "channel": "vcan77"})) as source:
        ip("link", "delete", "vcan77")
        with pytest.raises(BusError, match=r"\(socketcan vcan77\): can no longer be read: No such"):
            await read_until(source, lambda _: False)


@VCAN
async def test_a_channel_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(BusError) as caught:
        await open_source(vehicle_of({"interface": "socketcan", "channel": "can7"})).__aenter__()
    assert str(caught.value) == (
        "bus 'bus0' (socketcan can7): No such device; CAN interfaces here: vcan0, vcan1, vcan2"
    )


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
    with pytest.raises(BusError, match=r"bus 'bus0' \(socketcan nocan9\): "):
        await open_source(vehicle_of({"interface": "socketcan", "channel": "nocan9"})).__aenter__()
