from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.can.cycles import PAUSE, Cycles, Deviations

MS = 1_000_000
CYCLE = 20
"""Milliseconds."""


def look(cycles: Cycles, times: list[float]) -> Deviations:
    """Frames of one message at these times, milliseconds."""
    n = len(times)
    return cycles.look(
        np.array([round(time * MS) for time in times], np.int64),
        np.zeros(n, np.intp),
        np.zeros(min(n, 1), np.int64),
        np.unique([0, n]),
    )


@given(st.lists(st.floats(-4, 4), min_size=2, max_size=50))
def test_frames_that_come_about_in_time_deviate_in_nothing(jitter: list[float]) -> None:
    found = look(Cycles([CYCLE]), [n * CYCLE + late for n, late in enumerate(jitter)])
    assert not len(found.late)
    assert not len(found.duplicate)


@given(st.sets(st.integers(0, 99), min_size=2), st.lists(st.floats(-2, 2), min_size=100))
def test_each_cycle_without_a_frame_is_missed(came: set[int], jitter: list[float]) -> None:
    cycles = sorted(came)
    gaps = np.diff(cycles)
    found = look(Cycles([CYCLE]), [n * CYCLE + jitter[n] for n in cycles])
    missed = np.zeros(len(cycles), np.int64)
    missed[found.late] = found.missed
    paused = np.zeros(len(cycles), bool)
    paused[found.paused] = True
    near = np.abs(gaps - PAUSE) < 1
    assert np.array_equal(paused[1:][~near], (gaps > PAUSE)[~near])
    assert np.array_equal(missed[1:][~near], np.where(gaps > PAUSE, 0, gaps - 1)[~near])


def test_a_frame_shortly_after_another_is_a_duplicate() -> None:
    assert look(Cycles([CYCLE]), [0, 20, 21, 40, 60, 64.9, 80]).duplicate.tolist() == [2, 5]


def test_one_that_is_very_late_counts_as_missed_and_its_successor_as_a_duplicate() -> None:
    found = look(Cycles([CYCLE]), [0, 36, 40, 60])
    assert (found.late.tolist(), found.missed.tolist()) == ([1], [1])
    assert found.duplicate.tolist() == [2]


def test_a_long_silence_is_one_pause_and_no_missed_cycle() -> None:
    found = look(Cycles([CYCLE]), [0, 20, 20 + CYCLE * (PAUSE + 1), 460])
    assert found.paused.tolist() == [2]
    assert not len(found.late)


def test_the_last_frame_of_a_block_counts_in_the_next() -> None:
    cycles = Cycles([CYCLE])
    look(cycles, [0, 20])
    assert not len(look(cycles, []).late)
    assert look(cycles, [80]).missed.tolist() == [2]


def test_a_clock_that_is_set_back_says_nothing() -> None:
    found = look(Cycles([CYCLE]), [3_600_000, 0, 20])
    assert not len(found.late)
    assert not len(found.paused)
    assert not len(found.duplicate)


@pytest.mark.parametrize("times", [[0, 0, 0], [0, 1e9]])
def test_a_message_without_a_cycle_deviates_in_nothing(times: list[float]) -> None:
    found = look(Cycles([0]), times)
    assert not len(found.late)
    assert not len(found.paused)
    assert not len(found.duplicate)


def test_a_message_is_silent_while_its_bus_goes_on() -> None:
    cycles = Cycles([CYCLE, CYCLE, CYCLE, CYCLE])
    messages = np.arange(3)  # the fourth has never come
    times = np.array([0, 1000, 0], np.int64) * MS
    cycles.look(times, messages, messages.astype(np.int64), np.arange(4))
    silent = cycles.silent(np.arange(4), np.array([0, 0, 1, 0]))
    assert silent.tolist() == [True, False, False, False]
