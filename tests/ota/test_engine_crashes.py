"""The job engine, whose process, machine or power ends at every moment that there is."""

from __future__ import annotations

import itertools
import logging
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_installer import (
    Death,
    InstallError,
    UnhealthyError,
    World,
    Wrong,
    check,
    installed,
    target,
    wanted,
)

from bordnetz.ota import waits
from bordnetz.ota.database import DatabaseError
from bordnetz.ota.installers.trouble import UnavailableError

PAIR = wanted(target("a", 2), target("b", 2), groups=[["a", "b"]], after={"b": ["a"]})


def pair() -> World:
    return World.of(a=1, b=None)


def failing(ecu: str, verb: str, error=InstallError, times: int | None = None):
    def make() -> World:
        world = pair()
        world.fails[ecu, verb] = error("scripted")
        if times is not None:
            world.times[ecu, verb] = times
        return world

    return make


def kinds(fallback=(), **each: str):
    def make() -> World:
        world = World.of(a=1, b=1)
        world.kinds.update(each)
        world.fallback.update(fallback)
        return world

    return make


def both(make, *changes):
    def made() -> World:
        world = make()
        for change in changes:
            world.fails.update(change().fails)
            world.times.update(change().times)
        return world

    return made


REBOOT = wanted(target("a", 2, "rauc"), target("b", 2), groups=[["a", "b"]])
TWICE = wanted(target("a", 2, "rauc"), target("b", 2, "rauc"), groups=[["a", "b"]])
OLD = {"a": 1, "b": None}
SET = {"a": 1, "b": 1}

SCENARIOS = {
    "both succeed": (pair, PAIR, OLD, True),
    **{
        f"{ecu} fails to {verb}": (failing(ecu, verb), PAIR, OLD, False)
        for ecu, verb in itertools.product("ab", ("obtain", "stage", "install", "activate"))
    },
    "the second is unwell": (failing("b", "verify", UnhealthyError), PAIR, OLD, False),
    "the commit is slow": (failing("a", "commit", times=2), PAIR, OLD, True),
    "the way back is slow": (
        both(failing("b", "verify"), failing("a", "rollback", times=2)),
        PAIR,
        OLD,
        False,
    ),
    "cleaning up is slow": (failing("b", "clean_up", times=2), PAIR, OLD, True),
    "a program that is away for a while": (
        failing("b", "ready", UnavailableError, times=3),
        PAIR,
        OLD,
        True,
    ),
    "a program that ends in the middle": (
        failing("b", "install", UnavailableError, times=2),
        PAIR,
        OLD,
        True,
    ),
    "a program that stays away": (failing("b", "ready", UnavailableError), PAIR, OLD, False),
    "a way back without its program": (
        both(failing("b", "verify"), failing("a", "rollback", UnavailableError, times=3)),
        PAIR,
        OLD,
        False,
    ),
    "a commit without its program": (
        failing("a", "commit", UnavailableError, times=3),
        PAIR,
        OLD,
        True,
    ),
    "an image and a file": (kinds(a="reboot"), REBOOT, SET, True),
    "an image that does not boot": (kinds(["a"], a="reboot"), REBOOT, SET, False),
    "two images of which one does not boot": (
        kinds(["b"], a="reboot", b="reboot"),
        TWICE,
        SET,
        False,
    ),
    "an image that is unwell": (
        both(kinds(a="reboot"), failing("a", "verify", UnhealthyError)),
        REBOOT,
        SET,
        False,
    ),
    "a flashed ECU": (kinds(b="flash"), PAIR, SET, True),
    "a flashed ECU that fails": (
        both(kinds(b="flash"), failing("b", "install")),
        PAIR,
        SET,
        False,
    ),
}


def live(make, verified, deaths, power: bool | list[bool]) -> World:
    """Live to the end with deaths after so many moments each, counted from the death before."""
    world = make()
    for place, moment in enumerate(deaths):
        world.dies_at = world.points + moment
        try:
            world.drive(verified)
        except Death:
            if power is True or (power and power[place]):
                world.power_cut()
        else:
            break
    world.dies_at = -1
    world.drive(verified)
    return world


def moments(make, verified, deaths=(), power: bool = False) -> int:
    """How many moments there are after these deaths."""
    world = make()
    for moment in deaths:
        world.dies_at = world.points + moment
        try:
            world.drive(verified)
        except Death:
            if power:
                world.power_cut()
    world.dies_at = -1
    before = world.points
    world.drive(verified)
    return world.points - before


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    """A day of looking for a program would have more moments than all others together."""
    monkeypatch.setattr(waits, "PROGRAM", 200.0)
    monkeypatch.setattr(waits, "WAY_OUT", 200.0)


@pytest.fixture(autouse=True)
def _quiet():
    """Thousands of lives would log what is not looked at."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def judge(name: str, world: World, deaths) -> None:
    _, verified, old, succeeds = SCENARIOS[name]
    try:
        check(world, [[one.ecu for one in verified.targets]], verified, old)
    except Wrong as wrong:
        raise AssertionError(f"{name}, dead at {deaths}: {wrong}\n{world.verbs}") from None
    results = {one["result"] for one in world.reports}
    assert ("succeeded" in results) == succeeds, (deaths, results)


@pytest.mark.parametrize(
    ("name", "power"),
    [(name, False) for name in SCENARIOS]
    # A power cut is another thing than a process that ends only where a boot makes a difference.
    + [(name, True) for name in SCENARIOS if "image" in name],
)
def test_a_group_is_all_new_or_all_old_whenever_it_dies(name, power):
    make, verified, _, succeeds = SCENARIOS[name]
    number = moments(make, verified)
    assert number > 20
    for moment in range(1, number + 1):
        world = live(make, verified, [moment], power)
        judge(name, world, [moment])
        if not succeeds and moment % 5 == 0:
            # Remembered: what comes after the failure leaves the car alone.
            verbs, attempts = len(world.verbs), world.drawn
            world.drive(verified)
            assert (len(world.verbs), world.drawn) == (verbs, attempts)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_group_is_all_new_or_all_old_whenever_it_dies_twice(name):
    make, verified, _, _ = SCENARIOS[name]
    number = moments(make, verified)
    tried = 0
    # Some of all pairs; strides that share no factor meet every kind of moment.
    for first in range(1 + number % 7, number + 1, 17):
        power = bool(tried % 2)
        for second in range(1 + first % 5, moments(make, verified, [first], power) + 1, 19):
            judge(name, live(make, verified, [first, second], power), [first, second])
            tried += 1
    assert tried >= 3


@pytest.mark.parametrize("power", [False, True])
def test_images_of_two_releases_are_never_installed_together(power):
    """Whenever the newer one is found, while the older one is under way."""
    newer = wanted(target("a", 3), target("b", 3), id="winter", groups=[["a", "b"]])
    for moment in range(1, moments(pair, PAIR) + 1):
        world = pair()
        world.dies_at = moment
        with suppress(Death):
            world.drive(PAIR)
        world.dies_at = -1
        if power:
            world.power_cut()
        world.drive(newer)
        assert [world.sides[ecu].active for ecu in "ab"] == [installed(ecu, 3) for ecu in "ab"]
        for report in world.reports:
            assert len({one["new"]["counter"] for one in report["targets"].values()}) == 1
            assert report["targets"].keys() == {"a", "b"}


def test_a_disk_that_refuses_for_a_moment_costs_no_attempt_its_consistency():
    """The process lives on, and does not know what is on the disk of its last word."""
    for name in ("both succeed", "the second is unwell", "the way back is slow"):
        make, verified, _, _ = SCENARIOS[name]
        for moment in range(1, moments(make, verified) + 1, 2):
            world = make()
            world.disk_fails_at = {moment, moment + 1, moment + 7}
            engine, resumed, offered = world.engine(), False, False
            for _ in range(40):
                try:
                    if not resumed:
                        rest, resumed = engine.resume(), True
                    elif not offered:
                        rest, offered = engine.offer(verified), True
                    else:
                        rest = engine.work()
                except DatabaseError:
                    continue
                world.mono += rest.after or 0
            judge(name, world, [moment])


@given(
    name=st.sampled_from(sorted(SCENARIOS)),
    deaths=st.lists(st.integers(1, 130), min_size=3, max_size=8),
    power=st.lists(st.booleans(), min_size=8, max_size=8),
)
@settings(max_examples=60)
def test_a_group_is_all_new_or_all_old_however_often_it_dies(name, deaths, power):
    make, verified, old, _ = SCENARIOS[name]
    world = live(make, verified, deaths, power)
    # Who dies too often in one verb has failed, which is an end, too.
    check(world, [[one.ecu for one in verified.targets]], verified, old)
