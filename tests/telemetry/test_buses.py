"""The condition of buses: what is told of it, and how often."""

import asyncio
import logging

import numpy as np
from telemetry_help import MOTOR, frames, motor

from bordnetz.can.frames import Block
from bordnetz.can.health import KINDS, ErrorState, Health
from bordnetz.can.sources.listening import Listening
from bordnetz.series import Cause, Gap
from bordnetz.telemetry import buses as module
from bordnetz.telemetry.buses import SHOWN, Buses

S = 10**9


def sick(state: ErrorState, **counts: int) -> Block:
    """Error frames of bus 0 of two."""
    table = np.zeros((2, len(KINDS)), np.int64)
    for kind, count in counts.items():
        table[0, KINDS.index(kind)] = count
    health = Health(np.array([state, ErrorState.UNKNOWN], np.int8), table)
    return Block.of(2, error=np.array([sum(counts.values()), 0]), health=health)


def test_a_bus_is_active_once_frames_come_unless_error_frames_have_said_otherwise() -> None:
    buses = Buses(["a", "b"])
    assert buses.reported()["a"] == {"listening": True, "state": "unknown"}
    buses.take(Block.of(2, frames(MOTOR, motor([1]))))
    assert [one["state"] for one in buses.reported().values()] == ["active", "unknown"]
    buses.take(sick(ErrorState.PASSIVE, passive=1))
    buses.take(Block.of(2, frames(MOTOR, motor([1]))))
    assert buses.reported()["a"]["state"] == "passive"
    buses.take(sick(ErrorState.UNKNOWN, busErrors=3))
    assert buses.reported()["a"]["state"] == "passive"


def test_error_frames_alone_make_no_bus_active() -> None:
    buses = Buses(["a", "b"])
    buses.take(sick(ErrorState.UNKNOWN, busErrors=3))
    assert buses.reported()["a"]["state"] == "unknown"


def test_a_bus_is_listened_to_but_for_its_gaps() -> None:
    buses = Buses(["a", "b"])
    buses.take(Block.of(2, gaps=(Gap("b", Cause.ABSENT, 0),)))
    assert [one["listening"] for one in buses.reported().values()] == [True, False]
    buses.take(Block.of(2, gaps=(Gap("b", Cause.ABSENT, 0, 5 * S),)))
    assert buses.reported()["b"]["listening"]


def test_of_many_buses_those_with_trouble_are_reported() -> None:
    names = [f"bus{n}" for n in range(256)]
    buses = Buses(names)
    buses.take(Block.of(256, gaps=(Gap("bus200", Cause.DOWN, 0),)))
    state = np.full(256, ErrorState.UNKNOWN, np.int8)
    state[100] = ErrorState.BUS_OFF
    health = Health(state, np.zeros((256, len(KINDS)), np.int64))
    buses.take(Block.of(256, health=health))
    reported = buses.reported()
    assert len(reported) == SHOWN
    assert not reported["bus200"]["listening"]
    assert reported["bus100"]["state"] == "busOff"


def test_the_page_has_all_that_is_known_of_a_live_bus_and_nothing_of_a_recording() -> None:
    listening = Listening(None, 2, "exact", 3, 100, 200, 20, 7, 8)
    buses = Buses(["a", "b"], lambda: [listening, listening])
    buses.take(sick(ErrorState.BUS_OFF, busOff=1, overflows=4))
    page = buses.page()["a"]
    assert page["state"] == "busOff"
    assert (page["busOff"], page["overflows"], page["warning"]) == (1, 4, 0)
    assert (page["gaps"], page["filter"], page["filters"]) == (2, "exact", 3)
    assert (page["bufferAsked"], page["bufferGot"], page["bufferFrames"]) == (100, 200, 20)
    assert (page["interfaceDropped"], page["interfaceOverrun"]) == (7, 8)
    assert Buses(["a", "b"]).page() == {}


async def test_many_changes_in_a_short_time_are_one_line_and_one_report(
    monkeypatch, caplog
) -> None:
    caplog.set_level(logging.INFO)
    slept = asyncio.Event()
    go_on = asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == module.EACH
        slept.set()
        await go_on.wait()
        go_on.clear()

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    buses = Buses(["a", "b"])
    reports: list[tuple[str, object]] = []
    telling = asyncio.create_task(buses.tell(lambda name, value: reports.append((name, value))))
    await slept.wait()
    assert reports == [("capture", {"buses": buses.reported()})]
    assert caplog.messages == []
    for _ in range(50):
        buses.take(sick(ErrorState.WARNING, warning=1))
        buses.take(sick(ErrorState.BUS_OFF, busOff=1))
        buses.take(sick(ErrorState.ACTIVE, restarts=1))
    buses.take(sick(ErrorState.PASSIVE, passive=1))
    slept.clear()
    go_on.set()
    await slept.wait()
    assert len(reports) == 2
    (line,) = caplog.messages
    assert line == (
        "the controller of bus 'a' is in error state passive "
        "(50 warning, 1 passive, 50 busOff, 50 restarts)"
    )
    telling.cancel()
