"""What error frames tell, against the tables of linux/can/error.h."""

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.can.frames import ERROR, Block
from bordnetz.can.health import KINDS, ErrorState, Health

CONTROLLER, BUS_OFF, BUS_ERROR, RESTARTED = 0x04, 0x40, 0x80, 0x100


def read(*frames: tuple[int, int, int], buses: int = 1) -> Health:
    """Bus, classes and byte 1 of each."""
    bus, classes, detail = (list(column) for column in zip(*frames, strict=True))
    data = np.zeros((len(frames), 8), np.uint8)
    data[:, 1] = detail
    ids = np.array(classes, np.uint32) | np.uint32(ERROR)
    return Health.of(np.array(bus, np.uint8), ids, data, buses)


def counted(health: Health, bus: int = 0) -> dict[str, int]:
    counts = dict(zip(KINDS, health.counts[bus].tolist(), strict=True))
    return {kind: count for kind, count in counts.items() if count}


def test_a_bus_on_its_way_to_bus_off_and_back() -> None:
    way = [
        (0, CONTROLLER, 0x08),
        (0, CONTROLLER, 0x20),
        (0, BUS_OFF, 0),
        (0, RESTARTED, 0),
        (0, CONTROLLER, 0x40),
    ]
    states = [ErrorState.WARNING, ErrorState.PASSIVE, ErrorState.BUS_OFF] + [ErrorState.ACTIVE] * 2
    for end, state in enumerate(states, 1):
        assert read(*way[:end]).state.tolist() == [state]
    assert counted(read(*way)) == {"warning": 1, "passive": 1, "busOff": 1, "restarts": 1}


def test_each_bus_has_its_own_state_and_a_silent_one_has_none() -> None:
    health = read((2, BUS_OFF, 0), (0, CONTROLLER, 0x04), (2, CONTROLLER, 0x10), buses=3)
    states = [ErrorState.WARNING, ErrorState.UNKNOWN, ErrorState.PASSIVE]
    assert health.state.tolist() == states
    assert counted(health, 2) == {"passive": 1, "busOff": 1}


def test_overflows_and_bus_errors_are_counted_and_change_no_state() -> None:
    health = read((0, CONTROLLER, 0x01), (0, BUS_ERROR | 0x08, 0), (0, BUS_ERROR, 0))
    assert health.state.tolist() == [ErrorState.UNKNOWN]
    assert counted(health) == {"overflows": 1, "busErrors": 2}


def test_details_of_other_classes_are_not_taken_for_the_controllers() -> None:
    health = read((0, BUS_ERROR, 0xFF))
    assert health.state.tolist() == [ErrorState.UNKNOWN]
    assert counted(health) == {"busErrors": 1}


frames = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 0x3FF), st.integers(0, 255)), max_size=30
)


@given(frames, frames)
def test_two_blocks_tell_what_they_would_have_told_as_one(first, second) -> None:
    parts = [read(*some, buses=3) if some else None for some in (first, second)]
    both = Health.concat(parts)
    if both is None:
        assert not first
        assert not second
        return
    whole = read(*first, *second, buses=3)
    assert both.state.tolist() == whole.state.tolist()
    assert both.counts.tolist() == whole.counts.tolist()


def test_a_block_of_a_socket_has_the_health_of_its_error_frames(short_path) -> None:
    from test_datagrams import Line

    line = Line(short_path, buses=2)
    bad = struct.pack("=IB3x8s", ERROR | CONTROLLER, 8, bytes([0, 0x20]) + bytes(6))
    block = line.through(struct.pack("=IB3x8s", 5, 1, b"x"), bad, bus=1)
    assert block.health is not None
    assert block.health.state.tolist() == [ErrorState.UNKNOWN, ErrorState.PASSIVE]
    calm = line.through(struct.pack("=IB3x8s", 5, 1, b"x"))
    assert calm.health is None
    assert Block.concat([calm, block, calm]).health is not None
    line.close()
