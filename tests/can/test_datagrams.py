"""Frames through real Unix datagram sockets: the receive code of SocketCAN, everywhere."""

import array
import asyncio
import socket
import struct
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from canhelp import (
    frames_of,
    open_files,
    read_all,
    read_until,
    same_frames,
    until,
    vehicle_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from bordnetz.can import port
from bordnetz.can.clock import boot_ns
from bordnetz.can.datagram import Receiver
from bordnetz.can.errors import BusError
from bordnetz.can.filters import Interest
from bordnetz.can.frames import ERROR, FDF, REMOTE, Block, Frames
from bordnetz.can.mmsg import SO_TIMESTAMPNS
from bordnetz.can.port import open_unix
from bordnetz.can.sender import FrameSender
from bordnetz.can.sources import live
from bordnetz.can.sources.live import longest_nap, next_nap, open_source
from bordnetz.series import EXTENDED


class Line:
    """One receiver with a sender to each of its buses."""

    def __init__(self, folder: Path, buses: int = 1) -> None:
        paths = [str(folder / f"{bus}") for bus in range(buses)]
        self.ports = [open_unix(bus, f"bus{bus}", path) for bus, path in enumerate(paths)]
        self.receiver = Receiver(self.ports, buses)
        self.raw = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in paths]
        for end, path in zip(self.raw, paths, strict=True):
            end.connect(path)

    def through(self, *datagrams: bytes, bus: int = 0) -> Block:
        for datagram in datagrams:
            self.raw[bus].send(datagram)
        self.receiver.fill()
        return self.receiver.take()

    def close(self) -> None:
        for end in (*self.raw, *self.ports):
            end.close()


@pytest.fixture
def line(short_path: Path):
    line = Line(short_path)
    yield line
    line.close()


def classic(can_id: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("=IB3x8s", can_id, len(data) if length is None else length, data)


def fd(can_id: int, data: bytes, flags: int = 0, length: int | None = None) -> bytes:
    return struct.pack("=IBB2x64s", can_id, len(data) if length is None else length, flags, data)


def test_a_classic_frame_arrives_in_columns(line: Line) -> None:
    before = boot_ns()
    block = line.through(classic(0x123, b"\x01\x02\x03"))
    frames = block.classic
    assert (frames.id.tolist(), frames.length.tolist()) == ([0x123], [3])
    assert frames.data.tolist() == [[1, 2, 3, 0, 0, 0, 0, 0]]
    assert frames.flags.tolist() == frames.bus.tolist() == [0]
    assert before <= frames.time[0] <= boot_ns()
    assert block.received.tolist() == [1]
    assert len(block.fd) == 0


def test_memory_that_has_held_a_frame_without_a_time_takes_the_time_of_the_next(line: Line) -> None:
    sock = line.ports[0].socket
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 0)
    begin = boot_ns()
    (without,) = line.through(classic(1, b"x")).classic.time.tolist()
    # Not before the socket was read last, nor later than now.
    assert begin - 60e9 <= without <= boot_ns()
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    before = boot_ns()
    block = line.through(classic(1, b"x"), classic(1, b"x"))
    assert ((before <= block.classic.time) & (block.classic.time <= boot_ns())).all()


def test_a_fd_frame_is_told_from_a_classic_one_by_its_size(line: Line) -> None:
    block = line.through(
        classic(EXTENDED | 0x18F00400, bytes(range(8))), fd(0x7FF, bytes(range(64)), flags=1)
    )
    assert block.classic.id.tolist() == [EXTENDED | 0x18F00400]
    assert block.fd.id.tolist() == [0x7FF]
    assert block.fd.length.tolist() == [64]
    assert block.fd.flags.tolist() == [1 | FDF]
    assert block.fd.data.tolist() == [list(range(64))]


def test_what_lies_behind_the_length_is_zeroed(line: Line) -> None:
    block = line.through(classic(1, b"\xff" * 8, length=5), fd(1, b"\xff" * 64, length=20))
    assert block.classic.data.tolist() == [[255] * 5 + [0] * 3]
    assert block.fd.data.tolist() == [[255] * 20 + [0] * 44]


def test_remote_and_error_frames_are_counted(line: Line) -> None:
    block = line.through(
        classic(REMOTE | 0x123, b""),
        classic(ERROR | 0x20, b"\0" * 8),
        classic(ERROR | REMOTE | 0x20, b"\0" * 8),
        classic(5, b"x"),
    )
    assert block.remote.tolist() == [1]
    assert block.error.tolist() == [2]
    assert block.received.tolist() == [4]
    assert block.classic.id.tolist() == [5]


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"x",
        bytes(15),
        bytes(17),
        bytes(71),
        bytes(73),
        bytes(100_000),
        classic(1, b"", length=9),
        fd(1, b"", length=65),
        fd(REMOTE | 1, b""),
        fd(ERROR | 1, b""),
        classic(0x800, b""),
        fd(0x1FFFFFFF, b""),
    ],
)
def test_what_is_no_frame_is_counted_as_broken_and_its_neighbours_are_kept(
    line: Line, datagram: bytes
) -> None:
    block = line.through(classic(1, b"a"), datagram, fd(2, b"b"))
    assert block.broken.tolist() == [1]
    assert block.received.tolist() == [3]
    assert (block.classic.id.tolist(), block.fd.id.tolist()) == ([1], [2])


def test_rows_of_an_earlier_block_leave_nothing_behind(line: Line) -> None:
    line.through(fd(1, b"\xff" * 64), classic(2, b"\xff" * 8))
    block = line.through(classic(2, b""), fd(1, b""))
    assert not block.classic.data.any()
    assert not block.fd.data.any()
    assert block.classic.id.tolist() == [2]


def test_a_block_stays_as_it_was_when_the_next_one_is_read(line: Line) -> None:
    first = line.through(classic(1, b"one"), fd(2, b"two"))
    line.through(classic(3, b"three"), fd(4, b"four"))
    assert first.classic.id.tolist() == [1]
    assert bytes(first.classic.data[0, :3]) == b"one"
    assert first.fd.id.tolist() == [2]


def test_file_descriptors_that_a_sender_attaches_are_not_kept(line: Line) -> None:
    before = open_files()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
    line.raw[0].sendmsg([classic(1, b"")], rights)
    line.receiver.fill()
    block = line.receiver.take()
    assert block.classic.id.tolist() == [1]
    assert abs(block.classic.time[0] - boot_ns()) < 60e9
    assert open_files() == before


def test_frames_of_one_drain_tell_their_bus(short_path: Path) -> None:
    line = Line(short_path, buses=3)
    for bus in (2, 0, 1):
        line.raw[bus].send(classic(bus, b""))
        line.raw[bus].send(classic(REMOTE | bus, b""))
    line.receiver.fill()
    block = line.receiver.take()
    assert sorted(zip(block.classic.bus.tolist(), block.classic.id.tolist(), strict=True)) == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    assert block.remote.tolist() == [1, 1, 1]
    assert block.received.tolist() == [2, 2, 2]
    line.close()


_lengths = st.integers(0, 8) | st.integers(0, 64)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 0x7FF) | st.integers(0, 0x1FFFFFFF).map(lambda i: i | EXTENDED),
            st.integers(0, 3),
            st.binary(max_size=64),
        ),
        max_size=9,
    ),
    st.booleans(),
)
def test_what_is_sent_is_received(rows: list[tuple[int, int, bytes]], is_fd: bool) -> None:
    width = 64 if is_fd else 8
    payloads = [data[:width] for _, _, data in rows]
    frames = Frames(
        time=np.zeros(len(rows), np.int64),
        bus=np.zeros(len(rows), np.uint8),
        id=np.array([can_id for can_id, _, _ in rows], np.uint32),
        flags=np.array([flags | FDF if is_fd else 0 for _, flags, _ in rows], np.uint8),
        length=np.array([len(data) for data in payloads], np.uint8),
        data=np.frombuffer(
            b"".join(data.ljust(width, b"\0") for data in payloads), np.uint8
        ).reshape(-1, width),
    )
    with tempfile.TemporaryDirectory(prefix="bn") as folder:
        line = Line(Path(folder))
        with FrameSender.to_unix(f"{folder}/0") as sender:
            sender.send(frames)
        line.receiver.fill()
        block = line.receiver.take()
        line.close()
    assert same_frames(block.fd if is_fd else block.classic, frames)
    assert len(block.classic) + len(block.fd) == len(frames)


# The live source over the same sockets.


async def test_a_full_socket_makes_the_sender_wait_and_nothing_is_lost(short_path: Path) -> None:
    vehicle = vehicle_of(*({"interface": "unix", "channel": f"{short_path}/{b}"} for b in range(3)))
    frames = frames_of(20_000)
    async with open_source(vehicle) as source:
        senders = [FrameSender.to_unix(f"{short_path}/{bus}") for bus in range(3)]
        threads = [threading.Thread(target=sender.send, args=(frames,)) for sender in senders]
        for thread in threads:
            thread.start()
        block = await read_until(source, lambda block: len(block.classic) >= 60_000)
        for thread, sender in zip(threads, senders, strict=True):
            await asyncio.to_thread(thread.join)
            sender.close()
    for bus in range(3):
        assert same_frames(block.classic[block.classic.bus == bus], frames)
    assert block.received.tolist() == [20_000] * 3
    assert block.lost.tolist() == block.broken.tolist() == [0, 0, 0]


async def test_blocks_stay_small_enough_to_decode_and_their_books_balance(short_path: Path) -> None:
    vehicle = vehicle_of({"interface": "unix", "channel": f"{short_path}/0"})
    async with open_source(vehicle) as source:
        sender = FrameSender.to_unix(f"{short_path}/0")
        thread = threading.Thread(target=sender.send, args=(frames_of(30_000),))
        thread.start()
        count = 0
        async for block in source:
            assert 0 < len(block.classic) <= 3072
            assert block.received.sum() == len(block.classic)
            count += len(block.classic)
            if count == 30_000:
                break
        thread.join()
        sender.close()


async def test_a_consumer_that_does_not_come_stops_the_sender_not_the_memory(
    short_path: Path,
) -> None:
    vehicle = vehicle_of({"interface": "unix", "channel": f"{short_path}/0"})
    async with open_source(vehicle) as source:
        sender = FrameSender.to_unix(f"{short_path}/0")
        frames = frames_of(200_000)
        refused: list[BaseException] = []

        def send() -> None:
            try:
                sender.send(frames)
            except BusError as error:
                refused.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        await asyncio.to_thread(until, lambda: source._waiting >= 65_536)
        sender.close()
        await asyncio.to_thread(thread.join)
        assert "closed while" in str(refused[0])
        await source.close()
        blocks = await read_all(source)
    taken = Frames.concat([block.classic for block in blocks])
    assert 65_536 <= len(taken) < 75_000
    assert same_frames(taken, frames[: len(taken)])


async def test_what_waits_in_the_socket_when_the_source_is_closed_is_still_read(
    short_path: Path,
) -> None:
    vehicle = vehicle_of({"interface": "unix", "channel": f"{short_path}/0"})
    async with open_source(vehicle) as source:
        with FrameSender.to_unix(f"{short_path}/0") as sender:
            sender.send(frames_of(5))
        await source.close()
        blocks = await read_all(source)
    assert sum(len(block.classic) for block in blocks) == 5


async def test_a_stale_socket_file_is_replaced_and_removed_at_the_end(short_path: Path) -> None:
    path = short_path / "0"
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stale.bind(str(path))
    stale.close()
    assert path.exists()
    async with open_source(vehicle_of({"interface": "unix", "channel": str(path)})):
        FrameSender.to_unix(str(path)).close()
    assert not path.exists()


async def test_a_socket_that_another_process_listens_on_is_left_alone(short_path: Path) -> None:
    vehicle = vehicle_of({"interface": "unix", "channel": str(short_path / "0")})
    async with open_source(vehicle):
        with pytest.raises(BusError, match=r"bus 'bus0' \(unix .*another process listens there"):
            await open_source(vehicle).__aenter__()
        FrameSender.to_unix(str(short_path / "0")).close()


async def test_a_file_that_is_no_socket_is_not_removed(short_path: Path) -> None:
    path = short_path / "precious"
    path.write_text("keep")
    with pytest.raises(BusError, match="no socket lies there"):
        await open_source(vehicle_of({"interface": "unix", "channel": str(path)})).__aenter__()
    assert path.read_text() == "keep"


@pytest.mark.parametrize("channel", ["/no/such/folder/0", "/tmp/" + "x" * 200, "/tmp/\0nul"])
async def test_a_path_that_cannot_be_bound_is_told(channel: str) -> None:
    with pytest.raises(BusError, match=r"cannot be bound: .*path of up to 107 bytes in a folder"):
        await open_source(vehicle_of({"interface": "unix", "channel": channel})).__aenter__()


async def test_a_bus_that_fails_to_open_leaves_no_other_one_open(short_path: Path) -> None:
    vehicle = vehicle_of(
        {"interface": "unix", "channel": str(short_path / "0")},
        {"interface": "unix", "channel": "/no/such/folder/0"},
    )
    before = open_files()
    with pytest.raises(BusError):
        await open_source(vehicle).__aenter__()
    assert not (short_path / "0").exists()
    assert open_files() == before


async def test_a_bus_that_the_kernel_does_not_filter_says_so(short_path: Path) -> None:
    vehicle = vehicle_of({"interface": "unix", "channel": str(short_path / "0")})
    async with open_source(vehicle) as source:
        source.want([Interest.of(0, 5)])
        (listening,) = source.listening()
        with FrameSender.to_unix(str(short_path / "0")) as sender:
            sender.send(frames_of(3))
        block = await read_until(source, lambda block: len(block.classic) == 3)
    assert (listening.filter, listening.filters) == ("all", 0)
    assert (listening.buffer_asked, listening.interface_dropped) == (0, 0)
    assert listening.buffer_frames > 0
    assert (listening.gap, listening.gaps) == (None, 0)
    assert same_frames(block.classic, frames_of(3))


def test_sending_to_nobody_is_told(short_path: Path) -> None:
    with pytest.raises(BusError, match="nobody listens there"):
        FrameSender.to_unix(str(short_path / "absent"))


def test_a_receiver_that_leaves_is_told_to_the_sender(short_path: Path) -> None:
    line = Line(short_path)
    with FrameSender.to_unix(str(short_path / "0")) as sender:
        line.close()
        with pytest.raises(BusError, match="cannot be sent to: Connection refused"):
            sender.send(frames_of(1))


def test_naps_shrink_while_senders_wait_and_grow_again_when_they_do_not() -> None:
    nap = 0.020
    for _ in range(20):
        nap = next_nap(nap, fullest=1.1)
    assert nap < 10 / 20_000, "ten frames a nap should be over 20,000 a second"
    assert next_nap(nap, fullest=0.9) == nap
    for _ in range(20):
        nap = next_nap(nap, fullest=0.4)
    assert nap == 0.020


def test_naps_are_long_where_the_shortest_queue_holds_what_comes_meanwhile() -> None:
    assert longest_nap([16_384, 800]) == 800 / 20_000 == 0.040
    assert longest_nap([16_384]) == 0.050
    assert longest_nap([16_384, 10]) == longest_nap([]) == 0.020
    assert next_nap(0.020, fullest=0.4, longest=0.050) == 0.040
    # One of the buses is opened again, with a shorter queue.
    assert next_nap(0.050, fullest=0.9, longest=0.020) == 0.020


async def test_where_queues_are_short_naps_are(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def next_of(nap: float, fullest: float, longest: float) -> float:
        asked.append(longest)
        return next_nap(nap, fullest, longest)

    monkeypatch.setattr(live, "next_nap", next_of)
    for queue, longest in ((10, 0.020), (1_000, 0.050)):
        monkeypatch.setattr(port, "_unix_queue", lambda queue=queue: queue)
        async with open_source(
            vehicle_of({"interface": "unix", "channel": str(short_path / "0")})
        ) as source:
            with FrameSender.to_unix(str(short_path / "0")) as sender:
                sender.send(frames_of(1))
            await read_until(source, lambda block: len(block.classic) == 1)
            await asyncio.to_thread(until, lambda: asked)
        assert {asked.pop() for _ in range(len(asked))} == {longest}


def test_a_bus_at_a_thousand_frames_a_second_does_not_shorten_the_nap(line: Line) -> None:
    line.through(*[classic(1, b"x")] * 10)
    assert next_nap(0.010, line.receiver.fullest) == 0.010


def test_a_flooded_bus_does_not_starve_the_others(short_path: Path) -> None:
    line = Line(short_path, buses=2)
    flood = FrameSender.to_unix(str(short_path / "0"))
    thread = threading.Thread(target=flood.send, args=(frames_of(50_000),))
    thread.start()
    quiet = FrameSender.to_unix(str(short_path / "1"))
    quiet.send(frames_of(3))
    seen = np.zeros(2, np.int64)
    while seen[1] < 3:
        line.receiver.fill()
        seen += line.receiver.take().received
    assert seen[0] < 3 * 3072
    while seen[0] < 50_000:
        line.receiver.fill()
        seen += line.receiver.take().received
    thread.join()
    for end in (flood, quiet, line):
        end.close()
