"""The job engine waits: for another program of the vehicle, and for a reboot; never without end."""

from __future__ import annotations

import pytest
from scripted_installer import (
    DAY,
    NOW,
    Death,
    UnhealthyError,
    World,
    check,
    counted,
    installed,
    target,
    wanted,
)

from bordnetz.ota import waits
from bordnetz.ota.forward import LIMIT
from bordnetz.ota.installers.trouble import TroubleError, UnavailableError
from bordnetz.ota.ledger import RETRY
from bordnetz.ota.states import State
from bordnetz.ota.waits import PATIENCE, PAUSES, PROGRAM, REBOOT, WAY_OUT

PAIR = wanted(target("a", 2), target("b", 2), groups=[["a", "b"]], after={"b": ["a"]})
IMAGE = wanted(target("a", 2, "rauc"), target("b", 2), groups=[["a", "b"]])
AWAY = UnavailableError("the service does not run; start it")
SINCE = "2026-01-01 00:00 UTC"
UNTIL = "2026-01-08 00:00 UTC"


@pytest.fixture
def world() -> World:
    return World.of(a=1, b=1)


@pytest.fixture
def image() -> World:
    """A head unit in front of its reboot, with a file that is active already."""
    world = World.of(a=1, b=1)
    world.kinds["a"] = "reboot"
    return world


def results(world: World) -> list[str]:
    return [report["result"] for report in world.reports]


def begun(world: World, verified=PAIR):
    engine = world.engine()
    engine.resume()
    return engine, engine.offer(verified)


def waited(world: World, engine, rest) -> float:
    """Let it wait until it does not any more."""
    began = world.mono
    while rest.state is State.WAITING:
        world.mono += rest.after
        rest = engine.work()
    return world.mono - began


# A program that the installer needs


@pytest.mark.parametrize("verb", ["stage", "install", "activate"])
def test_a_program_that_is_away_is_waited_for_with_the_payload_in_hand(world, verb):
    def leaves():
        world.fails["a", "ready"] = AWAY

    before = {"stage": "obtain", "install": "stage", "activate": "install"}[verb]
    world.on["a", before] = leaves
    engine, rest = begun(world)
    assert rest.state is State.WAITING
    words = "a: the service does not run; start it; it is waited for, 24 h at most"
    assert rest.reasons == (words,)
    assert engine.status()["reasons"] == [words]
    assert ("a", verb) not in counted(world.verbs)
    bytes_before = len(world.obtains)
    for _ in range(10):
        world.mono += rest.after
        rest = engine.work()
        assert (rest.state, rest.reasons) == (State.WAITING, (words,))
    assert world.payloads
    world.fails.clear()
    world.mono += rest.after
    assert engine.work().state is State.SUCCEEDED
    assert len(world.obtains) == bytes_before == 2
    assert results(world) == ["succeeded"]


def test_it_is_looked_for_less_and_less_often_and_not_more_often_by_being_woken(world):
    world.fails["a", "ready"] = AWAY
    engine, rest = begun(world)
    waits = []
    for _ in range(6):
        waits.append(rest.after)
        asked = world.asked
        assert engine.work().after == rest.after
        assert world.asked == asked
        world.mono += rest.after
        rest = engine.work()
    assert tuple(waits) == (*PAUSES, PAUSES[-1], PAUSES[-1])
    # The word is told once, however often it is looked for.
    told = [status["state"] for status in world.states]
    assert [one for one, two in zip(told, [None, *told], strict=False) if one != two] == [
        "downloading", "waiting"
    ]  # fmt: skip


def test_a_program_that_stays_away_ends_the_attempt_in_words_and_is_no_versions_fault(world):
    world.fails["b", "ready"] = AWAY
    engine, rest = begun(world)
    assert PROGRAM - 1 <= waited(world, engine, rest) <= PROGRAM
    (report,) = world.reports
    assert (report["result"], report["error"]["kind"]) == ("failed", "stage")
    assert report["error"]["words"] == (
        "the service does not run; start it; it was waited for, 24 h in all"
    )
    check(world, [["a", "b"]], PAIR, {"a": 1, "b": 1})
    world.fails.clear()
    assert engine.offer(PAIR).state is State.REFUSED
    world.now += RETRY
    assert engine.offer(PAIR).state is State.SUCCEEDED


def test_a_wait_is_as_long_in_many_lives_of_the_process_as_in_one(world):
    world.fails["a", "ready"] = AWAY
    begun(world)
    lives = 0
    while not world.reports:
        engine = world.engine()
        rest = engine.resume()
        lives += 1
        for _ in range(9):
            if rest.state is State.WAITING:
                world.mono += rest.after
                rest = engine.work()
        assert lives < 100
    assert lives > 20
    assert world.mono <= PROGRAM
    assert len(world.obtains) == 2


def test_a_process_that_only_ever_starts_does_not_wait_for_ever(world, monkeypatch):
    # A whole day of starts is no other than an hour of them.
    hour = 3600
    monkeypatch.setattr(waits, "PROGRAM", hour)
    world.fails["a", "ready"] = AWAY
    begun(world)
    starts = 0
    while not world.reports:
        world.engine().resume()
        starts += 1
        assert starts <= hour / PAUSES[0]
    assert starts > hour / PAUSES[0] / 2


def test_a_program_that_goes_away_in_the_middle_is_waited_for_a_few_times(world):
    world.fails["b", "install"] = AWAY
    engine, rest = begun(world)
    assert (rest.state, rest.reasons) == (State.WAITING, (f"b: {AWAY}",))
    waited(world, engine, rest)
    assert counted(world.verbs)["b", "install"] == LIMIT
    (report,) = world.reports
    assert (report["result"], report["error"]["kind"]) == ("failed", "install")
    assert len(world.obtains) == 2


def test_what_is_begun_again_after_such_an_end_comes_to_its_own(world):
    world.fails["b", "install"], world.times["b", "install"] = AWAY, LIMIT - 1
    world.drive(PAIR)
    assert results(world) == ["succeeded"]
    assert len(world.obtains) == 2


def test_a_group_that_is_active_in_part_does_not_wait_long_for_a_program(world):
    world.on["a", "activate"] = lambda: world.fails.update({("b", "ready"): AWAY})
    engine, rest = begun(world)
    assert world.sides["a"].active == installed("a", 2)
    assert rest.reasons[0].endswith("it is waited for, 60 s at most")
    assert waited(world, engine, rest) == PATIENCE
    assert results(world) == ["rolledBack"]
    assert world.sides["a"].active == installed("a", 1)


def test_a_wait_for_a_program_can_be_cancelled(world):
    world.fails["a", "ready"] = AWAY
    engine, _ = begun(world)
    assert "given up" in engine.cancel()
    assert engine.work().state is State.CANCELLED
    assert results(world) == ["cancelled"]
    assert world.payloads == set()


def test_a_gate_that_shuts_meanwhile_is_told_instead_and_costs_no_patience(world):
    world.on["a", "activate"] = lambda: world.fails.update({("b", "ready"): AWAY})
    engine, rest = begun(world)
    world.shut = ("not parked",)
    world.mono += rest.after
    assert engine.work().reasons == ("not parked",)
    world.shut = ()
    rest = engine.work()
    assert "the service does not run" in rest.reasons[0]


def test_a_program_that_cannot_be_understood_is_not_waited_for(world):
    world.fails["b", "ready"] = TroubleError("what came is no answer")
    _, rest = begun(world)
    assert rest.state is State.FAILED
    assert world.reports[0]["error"]["words"] == "what came is no answer"


# A program without which an attempt does not come to its end


@pytest.mark.parametrize(
    ("verb", "state", "result"),
    [
        ("rollback", State.ROLLING_BACK, "rolledBack"),
        ("commit", State.COMMITTING, "succeeded"),
        ("clean_up", State.COMMITTING, "succeeded"),
    ],
)
def test_the_way_out_waits_for_its_program_and_then_comes_to_its_end(world, verb, state, result):
    if verb == "rollback":
        world.fails["b", "verify"] = UnhealthyError("no")
    world.fails["a", verb] = AWAY
    engine, rest = begun(world)
    for _ in range(3 * LIMIT):
        assert rest.state is state
        assert rest.reasons == (
            "a: the service does not run; start it; it is waited for, 1 h at most",
        )
        assert world.reports == []
        world.mono += rest.after
        rest = engine.work()
    del world.fails["a", verb]
    world.mono += rest.after
    engine.work()
    assert results(world) == [result]
    assert world.reports[0]["consistent"]
    new = 1 if verb == "rollback" else 2
    assert world.sides["a"].active == installed("a", new)


def test_a_way_back_whose_program_stays_away_is_reported_and_waits_again_at_the_next_start(world):
    world.fails["b", "verify"] = UnhealthyError("no")
    world.fails["a", "rollback"] = AWAY
    engine, rest = begun(world)
    began = world.mono
    while not world.reports:
        world.mono += rest.after
        rest = engine.work()
    assert WAY_OUT <= world.mono - began <= WAY_OUT + 600
    (report,) = world.reports
    assert (report["result"], report["consistent"]) == ("failed", False)
    assert "the service does not run" in report["troubles"][0]
    engine = world.engine()
    assert engine.resume().state is State.ROLLING_BACK
    world.fails.clear()
    world.mono += PAUSES[0]
    engine.work()
    assert world.sides["a"].active == installed("a", 1)
    assert len(world.reports) == 1
    assert world.db.execute("SELECT count(*) FROM attempt").fetchone() == (0,)


def test_a_way_out_that_is_cut_short_again_and_again_waits_no_longer(world):
    world.fails["b", "verify"] = UnhealthyError("no")
    world.fails["a", "rollback"] = AWAY
    begun(world)
    starts = 0
    while not world.reports:
        engine = world.engine()
        rest = engine.resume()
        if rest.after:
            world.mono += rest.after
            engine.work()
        starts += 1
        assert starts < WAY_OUT / PAUSES[0]


# A reboot


def test_a_wait_for_a_reboot_says_since_when_and_until_when(image):
    engine, rest = begun(image, IMAGE)
    words = (
        f"a reboot is waited for since {SINCE}; without one until {UNTIL} the old versions become "
        "active again"
    )
    assert (rest.state, rest.reasons) == (State.WAITING_FOR_REBOOT, (words,))
    image.mono += 3 * DAY
    image.now += 3 * DAY
    assert engine.work().reasons == (words,)
    # Another life, the same wait.
    assert image.engine().resume().reasons == (words,)


def test_a_reboot_that_does_not_come_ends_the_attempt_and_the_next_boot_takes_the_old_side(image):
    engine, _ = begun(image, IMAGE)
    image.mono += REBOOT - 1
    assert engine.work().state is State.WAITING_FOR_REBOOT
    assert image.sides["a"].next == installed("a", 2)
    image.mono += 1
    assert engine.work().state is State.FAILED
    (report,) = image.reports
    assert (report["result"], report["consistent"]) == ("rolledBack", True)
    assert report["error"] == {
        "kind": "reboot",
        "words": "the reboot that the new version needs has not come for 7 days",
        "ecu": "a",
    }
    assert image.sides["a"].next == installed("a", 1)
    assert image.sides["b"].active == installed("b", 1)
    # The reboot that comes later still changes nothing any more.
    image.power_cut()
    image.engine().resume()
    check(image, [["a", "b"]], IMAGE, {"a": 1, "b": 1})


def test_a_version_whose_reboot_did_not_come_is_tried_again_later(image):
    image.boots = False
    engine = image.drive(IMAGE)
    assert engine.offer(IMAGE).state is State.REFUSED
    assert image.drawn == 1
    image.boots = True
    image.now += RETRY
    image.drive(IMAGE)
    assert results(image) == ["rolledBack", "succeeded"]


def test_a_clock_that_is_set_neither_ends_a_wait_for_a_reboot_nor_prolongs_it(image):
    engine, _ = begun(image, IMAGE)
    image.now += 10 * REBOOT
    assert engine.work().state is State.WAITING_FOR_REBOOT
    image.now = NOW - 10 * REBOOT
    image.mono += REBOOT
    assert engine.work().state is State.FAILED


def unwell(world: World):
    """A head unit whose new side runs, is not well, and has to be booted away from."""
    world.fails["a", "verify"] = UnhealthyError("no")
    begun(world, IMAGE)
    world.power_cut()
    engine = world.engine()
    return engine, engine.resume()


def test_a_way_back_that_needs_a_reboot_waits_for_its_own_time(image):
    image.mono, image.now = 5.0 * DAY, NOW + 5 * DAY
    engine, rest = unwell(image)
    assert rest.state is State.WAITING_FOR_REBOOT
    (words,) = rest.reasons
    assert words == (
        "a reboot is waited for since 2026-01-06 00:00 UTC; without one until 2026-01-13 00:00 UTC "
        "it counts as failed"
    )
    image.mono += REBOOT - 1
    assert engine.work().state is State.WAITING_FOR_REBOOT


def test_a_way_back_whose_reboot_does_not_come_is_reported_and_ends_with_the_next_boot(image):
    engine, _ = unwell(image)
    image.mono += REBOOT
    assert engine.work().state is State.FAILED
    (report,) = image.reports
    assert (report["result"], report["consistent"]) == ("failed", False)
    assert report["targets"]["a"]["active"] == "unknown"
    assert report["troubles"][0].startswith(
        "a: rollback: the old version needs a reboot, which has not come for 7 days"
    )
    # Another life in the same boot is no reboot, and begins no other wait.
    assert image.engine().resume().state is State.FAILED
    image.power_cut()
    image.engine().resume()
    assert len(image.reports) == 1
    assert image.sides["a"].active == installed("a", 1)
    assert image.db.execute("SELECT count(*) FROM attempt").fetchone() == (0,)
    assert (image.sides["a"].staged, image.sides["a"].passive) == (None, None)


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("well", [False, True])
def test_a_group_is_all_new_or_all_old_whenever_it_dies_around_a_reboot_that_is_late(power, well):
    def make() -> World:
        world = World.of(a=1, b=1)
        world.kinds["a"] = "reboot"
        world.boots = False
        if not well:
            world.fails["a", "verify"] = UnhealthyError("no")
        return world

    def live(world: World, dies_at: int) -> bool:
        world.dies_at = dies_at
        try:
            world.drive(IMAGE)
        except Death:
            if power:
                world.power_cut()
        dead = world.points >= dies_at
        world.dies_at = -1
        world.drive(IMAGE)
        # Then it is booted after all, whatever has become of it.
        world.power_cut()
        world.drive(IMAGE)
        return dead

    moment = 1
    while live(world := make(), moment):
        check(world, [["a", "b"]], IMAGE, {"a": 1, "b": 1})
        assert results(world)
        moment += 1
    assert moment > 60
