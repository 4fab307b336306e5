"""What the kernel says of interfaces; a real controller is slcan, with a pseudo terminal for it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
import struct
import subprocess
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from canhelp import read_until, until, vehicle_of
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.can.frames import Block
from bordnetz.can.health import ErrorState
from bordnetz.can.link import Links, controller_state, state_in
from bordnetz.can.sources import line
from bordnetz.can.sources.live import open_source

_TIOCSETD, _N_SLCAN = 0x5423, 17
"""asm-generic/ioctls.h and linux/tty.h."""


def attribute(number: int, content: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(content), number) + content).ljust(
        4 + -(-len(content) // 4) * 4, b"\0"
    )


def answer(kind: bytes = b"can\0", state: int = 2, content: bytes | None = None) -> bytes:
    """RTM_NEWLINK of an interface with a name and its link's information."""
    if content is None:
        bits = attribute(1, bytes(32)) + attribute(4, struct.pack("=I", state))
        content = attribute(3, b"can7\0") + attribute(18, attribute(1, kind) + attribute(2, bits))
    body = struct.pack("=BxHiII", 0, 280, 7, 0, 0) + content
    return struct.pack("=IHHII", 16 + len(body), 16, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (0, ErrorState.ACTIVE),
        (1, ErrorState.WARNING),
        (2, ErrorState.PASSIVE),
        (3, ErrorState.BUS_OFF),
        (4, ErrorState.UNKNOWN),  # stopped
        (5, ErrorState.UNKNOWN),  # sleeping
    ],
)
def test_the_state_is_found_in_the_answer(state: int, told: ErrorState) -> None:
    assert state_in(answer(state=state)) is told


@pytest.mark.parametrize("kind", [b"vcan\0", b"bond\0", b"can"])
def test_what_is_no_controller_has_no_state(kind: bytes) -> None:
    assert state_in(answer(kind)) is ErrorState.UNKNOWN


@given(st.binary(max_size=80), st.integers(0, 120))
def test_no_answer_crashes_who_reads_it(content: bytes, cut: int) -> None:
    for message in (answer()[:cut], answer(content=content), content):
        assert state_in(message) in ErrorState


def test_of_interfaces_that_are_none_nothing_is_known() -> None:
    assert controller_state(socket.if_nametoindex("lo")) is ErrorState.UNKNOWN
    assert controller_state(0x7FFF_FFFF) is ErrorState.UNKNOWN


def test_who_listens_for_changes_hears_nothing_while_there_are_none() -> None:
    links = Links()
    assert not links.changed()
    links.close()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", "link", *arguments], check=True)


@contextmanager
def controller() -> Iterator[tuple[str, int]]:
    """The name of an slcan interface, down, and the end of the line where its adapter would be."""
    before = {name for _, name in socket.if_nameindex()}
    adapter, terminal = os.openpty()
    tty.setraw(terminal)
    fcntl.ioctl(terminal, _TIOCSETD, struct.pack("i", _N_SLCAN))
    (name,) = {name for _, name in socket.if_nameindex()} - before
    try:
        yield name, adapter
    finally:
        os.close(terminal)
        os.close(adapter)


def say(adapter: int, state: str, interface: str) -> None:
    """The adapter tells its controller's state: a, w, p or b."""
    os.write(adapter, f"s{state}000000\r".encode())
    index = socket.if_nametoindex(interface)
    until(lambda: controller_state(index) == ErrorState("awpb".index(state)))


@pytest.mark.vcan
async def test_the_state_of_a_controller_is_known_before_anything_happens_on_its_bus() -> None:
    with controller() as (name, adapter):
        ip("set", name, "up")
        say(adapter, "p", name)
        async with open_source(vehicle_of({"interface": "socketcan", "channel": name})) as source:
            block = await read_until(source, knows)
            assert block.health.state.tolist() == [ErrorState.PASSIVE]
            assert not block.health.counts.any()
            # What happens then, its error frames tell.
            say(adapter, "b", name)
            block = await read_until(source, knows)
            assert block.health.state.tolist() == [ErrorState.BUS_OFF]
            assert block.health.counts.sum() == 1
            # Who takes the interface down and up makes it well, and no error frame tells it.
            ip("set", name, "down")
            ip("set", name, "up")
            await read_until(source, active)


def knows(block: Block) -> bool:
    return block.health is not None and (block.health.state != ErrorState.UNKNOWN).any()


def active(block: Block) -> bool:
    """Bus-off may have been told twice before: by its frame, and by the interface's change."""
    return block.health is not None and block.health.state.tolist() == [ErrorState.ACTIVE]


@pytest.mark.vcan
async def test_an_interface_that_comes_or_gets_its_name_is_listened_to_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not when somebody would try again: that is in an hour."""
    monkeypatch.setattr(line, "FIRST_WAIT", 3600.0)
    monkeypatch.setattr(line, "LONGEST_WAIT", 3600.0)
    vehicle = vehicle_of({"interface": "socketcan", "channel": "vcan77"})

    def back(block: Block) -> bool:
        return bool(block.gaps) and block.gaps[-1].end is not None

    def gone(block: Block) -> bool:
        return bool(block.gaps) and block.gaps[-1].end is None

    async with open_source(vehicle) as source:
        await read_until(source, gone)
        ip("add", "vcan78", "type", "vcan")
        try:
            ip("set", "vcan78", "up")
            ip("set", "vcan78", "down")
            ip("set", "vcan78", "name", "vcan77")
            ip("set", "vcan77", "up")
            await read_until(source, back)
            ip("set", "vcan77", "down")
            ip("set", "vcan77", "name", "vcan78")
            await read_until(source, gone)
            await asyncio.to_thread(until, lambda: source.listening()[0].buffer_got == 0)
            ip("set", "vcan78", "name", "vcan77")
            ip("set", "vcan77", "up")
            await read_until(source, back)
        finally:
            ip("delete", "vcan77")


@pytest.mark.vcan
def test_a_change_of_any_interface_wakes_who_listens() -> None:
    links = Links()
    ip("set", "vcan2", "down")
    ip("set", "vcan2", "up")
    assert select.select([links], [], [], 60)[0]
    assert links.changed()
    assert not links.changed()
    links.close()
