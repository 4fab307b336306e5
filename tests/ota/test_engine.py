"""The job engine, one behaviour a test; the car is in memory (see `scripted_installer`)."""

from __future__ import annotations

import json

import pytest
from scripted_installer import (
    NOW,
    Death,
    InstallError,
    Scripted,
    UnhealthyError,
    World,
    check,
    counted,
    digest,
    installed,
    target,
    wanted,
)

from bordnetz.edge.durable import DurableError
from bordnetz.ota.forward import LIMIT
from bordnetz.ota.installers.installer import Installed
from bordnetz.ota.installers.trouble import TroubleError
from bordnetz.ota.ledger import RETRY
from bordnetz.ota.obtain import DEATHS
from bordnetz.ota.source import MissingError, NeedsUrlError, UnreachableError
from bordnetz.ota.states import State
from bordnetz.ota.waits import PATIENCE
from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.target import Verified

PAIR = wanted(target("a", 2), target("b", 2), groups=[["a", "b"]], after={"b": ["a"]})
SINGLES = wanted(target("a", 2), target("b", 2))


@pytest.fixture
def world() -> World:
    return World.of(a=1, b=1)


def results(world: World) -> list[str]:
    return [report["result"] for report in world.reports]


def called(world: World, verb: str) -> list[str]:
    return [ecu for _, ecu, name in world.verbs if name == verb]


# What is to be done


def test_nothing_new_leaves_everything_alone(world):
    engine = world.engine()
    engine.resume()
    rest = engine.offer(wanted(target("a", 1), target("b", 1)))
    assert rest.state is State.IDLE
    assert engine.offer(Verified(None, (), 3, NOW)).state is State.IDLE
    assert (world.verbs, world.drawn) == (
        [("unknown", "a", "clean_up"), ("unknown", "b", "clean_up")],
        0,
    )


def test_a_campaign_is_brought_to_its_end_in_one_go(world):
    engine = world.engine()
    engine.resume()
    rest = engine.offer(PAIR)
    assert rest.state is State.SUCCEEDED
    assert results(world) == ["succeeded"]
    check(world, [["a", "b"]], PAIR, {"a": 1, "b": 1})
    assert engine.status()["state"] == "succeeded"
    assert world.rechecks == 4


def test_only_what_is_missing_of_a_group_is_installed(world):
    world.drive(wanted(target("a", 2), target("b", 1), groups=[["a", "b"]]))
    assert results(world) == ["succeeded"]
    assert set(world.reports[0]["targets"]) == {"a"}


def test_the_final_report_says_what_has_become_of_each_target():
    world = World.of(a=1, b=None)
    world.source = "driver"
    world.drive(PAIR)
    (report,) = world.reports
    assert report.pop("seconds").keys() == {
        "obtain", "stage", "install", "activate", "verify", "commit", "cleanUp"
    }  # fmt: skip
    assert report == {
        "attempt": f"{1:016x}",
        "campaign": "autumn",
        "result": "succeeded",
        "consistent": True,
        "began": NOW,
        "ended": NOW,
        "received": 200,
        "consent": "driver",
        "targets": {
            "a": {
                "active": "new",
                "old": {"name": "a.bin", "counter": 1, "sha256": digest("a", 1)},
                "new": {"name": "a.bin", "counter": 2, "sha256": digest("a", 2)},
                "received": 100,
            },
            "b": {
                "active": "new",
                "old": None,
                "new": {"name": "b.bin", "counter": 2, "sha256": digest("b", 2)},
                "received": 100,
            },
        },
    }


def test_an_order_within_a_group_holds_for_activation_and_the_way_back(world):
    backwards = wanted(target("a", 2), target("b", 2), groups=[["a", "b"]], after={"a": ["b"]})
    world.fails["a", "verify"] = InstallError("no")
    world.drive(backwards)
    assert called(world, "activate") == ["b", "a"]
    assert called(world, "rollback") == ["a", "b"]


@pytest.mark.parametrize(
    ("verified", "words"),
    [
        (wanted(target("z", 2)), "z: the vehicle file has no installer for it"),
        (wanted(target("a", 2, "rauc")), "a: its installer takes file, tree, not rauc"),
        (wanted(target("a", 2), target("b", 2), after={"a": ["b"], "b": ["a"]}), "in a circle"),
        (
            wanted(target("a", 2), target("b", 2), groups=[["a", "b"]],
                   after={"a": ["b"], "b": ["a"]}),
            "in a circle",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_words_without_an_attempt(world, verified, words):
    engine = world.engine()
    engine.resume()
    rest = engine.offer(verified)
    assert rest.state is State.REFUSED
    assert words in rest.reasons[0]
    assert engine.status()["reasons"] == list(rest.reasons)
    assert (world.reports, world.drawn) == ([], 0)


def test_a_target_that_cannot_be_looked_at_is_not_touched(world):
    engine = world.engine()
    engine.resume()
    world.fails["a", "probe"] = TroubleError("no bus")
    rest = engine.offer(SINGLES)
    assert rest.reasons == ("a: what is installed cannot be told: no bus",)
    assert results(world) == ["succeeded"]
    assert world.sides["b"].active == installed("b", 2)


def test_a_target_that_cannot_be_looked_at_for_a_while_costs_no_attempt_that_waits(world):
    world.shut = ("not parked",)
    engine = world.engine()
    engine.resume()
    engine.offer(PAIR)
    world.fails["a", "probe"] = TroubleError("no bus")
    assert engine.offer(PAIR).state is State.WAITING
    world.fails.clear()
    world.shut = ()
    assert engine.work().state is State.SUCCEEDED
    assert results(world) == ["succeeded"]
    assert len(world.obtains) == 2


def test_a_target_that_cannot_be_looked_at_gets_no_other_version_than_the_one_under_way(world):
    world.shut = ("not parked",)
    engine = world.engine()
    engine.resume()
    engine.offer(PAIR)
    world.fails["a", "probe"] = TroubleError("no bus")
    rest = engine.offer(wanted(target("a", 3), target("b", 3), id="winter", groups=[["a", "b"]]))
    assert rest.state is State.REFUSED
    assert rest.reasons == ("a: what is installed cannot be told: no bus",)
    assert results(world) == ["cancelled"]


def test_names_in_a_campaign_that_this_vehicle_lacks_do_no_harm(world):
    world.drive(wanted(target("a", 2), groups=[["a", "z"]], after={"a": ["z", "y"], "x": ["a"]}))
    assert results(world) == ["succeeded"]


# Groups


def test_groups_without_an_order_do_not_wait_for_each_other(world):
    world.fails["a", "install"] = InstallError("no")
    engine = world.drive(SINGLES)
    assert sorted(results(world)) == ["failed", "succeeded"]
    assert engine.status() == {"state": "failed", "campaign": "autumn"}
    assert world.sides["a"].active == installed("a", 1)
    assert world.sides["b"].active == installed("b", 2)


def test_all_payloads_are_there_before_anything_is_installed(world):
    world.drive(SINGLES)
    first = world.verbs.index((f"{1:016x}", "a", "stage"))
    assert [ecu for ecu, _ in world.obtains] == ["a", "b"]
    assert first == 2  # behind the two that clean up after a lost journal


def test_a_group_that_comes_after_another_waits_for_its_success(world):
    world.drive(wanted(target("a", 2), target("b", 2), after={"a": ["b"]}))
    assert results(world) == ["succeeded", "succeeded"]
    assert called(world, "stage") == ["b", "a"]


def test_a_group_that_comes_after_one_that_fails_is_not_tried(world):
    world.fails["b", "install"] = InstallError("no")
    ordered = wanted(target("a", 2), target("b", 2), after={"a": ["b"]})
    engine = world.drive(ordered)
    assert results(world) == ["failed", "refused"]
    assert world.reports[1]["error"]["kind"] == "dependency"
    assert called(world, "stage") == ["b"]
    rest = engine.offer(ordered)
    assert rest.reasons[1] == "a: waits for b"
    assert len(world.reports) == 2


# The gate


def test_while_the_gate_is_shut_it_waits_and_says_why(world):
    world.shut = ("not parked: speed is unknown for 45 s",)
    engine = world.engine()
    engine.resume()
    rest = engine.offer(PAIR)
    assert rest.state is State.WAITING
    assert rest.after is not None
    assert engine.status() == {
        "state": "waiting",
        "campaign": "autumn",
        "attempt": f"{1:016x}",
        "reasons": ["not parked: speed is unknown for 45 s"],
    }
    assert called(world, "stage") == []
    assert len(world.obtains) == 2
    assert engine.work().state is State.WAITING
    world.shut = ()
    assert engine.work().state is State.SUCCEEDED


@pytest.mark.parametrize("verb", ["stage", "install"])
def test_the_gate_is_asked_again_before_activation(world, verb):
    world.on["b", verb] = lambda: setattr(world, "shut", ("not parked",))
    engine = world.engine()
    engine.resume()
    assert engine.offer(PAIR).state is State.WAITING
    assert called(world, "activate") == []
    world.on.clear()
    world.shut = ()
    assert engine.work().state is State.SUCCEEDED


def shutting(activate):
    """An activation after which the gate is shut."""

    def activated(self, job):
        done = activate(self, job)
        self.world.shut = ("not parked",)
        return done

    return activated


def test_a_group_that_is_active_in_part_waits_a_little_and_goes_back(world):
    engine = world.engine()
    engine.resume()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scripted, "activate", shutting(Scripted.activate))
        assert engine.offer(PAIR).state is State.WAITING
    world.mono += PATIENCE - 1
    assert engine.work().state is State.WAITING
    assert world.sides["a"].active == installed("a", 2)
    world.mono += 1
    assert engine.work().state is State.FAILED
    assert results(world) == ["rolledBack"]
    assert world.reports[0]["error"]["kind"] == "conditions"
    assert world.sides["a"].active == installed("a", 1)
    world.shut = ()
    # No version's fault: the next look tries again.
    assert engine.offer(PAIR).state is State.SUCCEEDED


def dying(activate):
    """An activation after which the process ends before it can write that down."""

    def activated(self, job):
        activate(self, job)
        raise Death

    return activated


def test_a_group_that_may_be_active_in_part_since_a_restart_goes_back_as_well(world):
    engine = world.engine()
    engine.resume()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scripted, "activate", dying(Scripted.activate))
        with pytest.raises(Death):
            engine.offer(PAIR)
    world.shut = ("not parked",)
    engine = world.engine()
    assert engine.resume().state is State.WAITING
    assert world.sides["a"].active == installed("a", 2)
    world.mono += PATIENCE
    assert engine.work().state is State.FAILED
    assert results(world) == ["rolledBack"]
    assert world.sides["a"].active == installed("a", 1)


def test_a_target_alone_that_may_be_active_since_a_restart_only_waits(world):
    alone = wanted(target("a", 2))
    engine = world.engine()
    engine.resume()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scripted, "activate", dying(Scripted.activate))
        with pytest.raises(Death):
            engine.offer(alone)
    world.shut = ("not parked",)
    engine = world.engine()
    engine.resume()
    world.mono += 10 * PATIENCE
    assert engine.work().state is State.WAITING
    world.shut = ()
    assert engine.work().state is State.SUCCEEDED


def test_a_group_that_is_flashed_in_part_waits_for_the_conditions_on_both_ways(world):
    world.kinds = {"a": "flash", "b": "flash"}
    world.on["a", "install"] = lambda: None
    world.fails["b", "install"] = InstallError("no answer")
    engine = world.engine()
    engine.resume()
    world.on["b", "install"] = lambda: setattr(world, "shut", ("not parked",))
    rest = engine.offer(PAIR)
    assert rest.state is State.WAITING
    assert called(world, "rollback") == []
    world.mono += 10 * PATIENCE
    assert engine.work().state is State.WAITING
    world.on.clear()
    world.shut = ()
    engine.work()
    assert results(world) == ["rolledBack"]
    assert world.sides["a"].active == installed("a", 1)


def test_who_was_flashed_keeps_its_group_from_going_back_in_a_hurry(world):
    world.kinds = {"b": "flash"}
    engine = world.engine()
    engine.resume()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scripted, "activate", shutting(Scripted.activate))
        assert engine.offer(PAIR).state is State.WAITING
    assert called(world, "activate") == ["a"]
    world.mono += 10 * PATIENCE
    assert engine.work().state is State.WAITING
    world.shut = ()
    assert engine.work().state is State.SUCCEEDED


def test_patience_begins_anew_with_every_step():
    world = World.of(a=1, b=1, c=1)
    trio = wanted(*(target(ecu, 2) for ecu in "abc"), groups=[["a", "b", "c"]])
    engine = world.engine()
    engine.resume()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scripted, "activate", shutting(Scripted.activate))
        assert engine.offer(trio).state is State.WAITING
        for _ in range(2):
            world.mono += PATIENCE - 1
            assert engine.work().state is State.WAITING
            world.shut = ()
            rest = engine.work()
    assert rest.state is State.SUCCEEDED


def test_a_window_that_closes_ends_what_has_not_begun_to_be_active(world):
    world.shut = ("the window has not opened",)
    engine = world.engine()
    engine.resume()
    engine.offer(PAIR)
    world.shut, world.closed = ("the window has closed",), True
    rest = engine.work()
    assert rest.state is State.REFUSED
    assert results(world) == ["refused"]
    assert world.reports[0]["error"] == {"kind": "window", "words": "the window has closed"}
    assert engine.offer(PAIR).reasons == ("the window has closed",)
    assert len(world.reports) == 1


def test_a_disk_that_is_too_small_is_waited_for_and_no_versions_fault(world):
    world.room["b"] = 5000
    engine = world.engine()
    engine.resume()
    rest = engine.offer(PAIR)
    assert rest.state is State.WAITING
    assert rest.reasons == ("b: 5000 more bytes of disk are needed; free some space",)
    world.room.clear()
    assert engine.work().state is State.SUCCEEDED


def test_a_disk_that_cannot_be_asked_for_its_room_is_waited_for(world):
    world.fails["a", "room"] = TroubleError("the bus is asleep")
    engine = world.engine()
    engine.resume()
    rest = engine.offer(PAIR)
    assert rest.state is State.WAITING
    assert rest.reasons == ("a: how much room there is cannot be told: the bus is asleep",)
    world.fails.clear()
    assert engine.work().state is State.SUCCEEDED


@pytest.mark.parametrize("before", ["install", "activate"])
def test_what_is_not_verified_any_more_is_not_installed(world, before):
    error = UptaneError(Kind.FREEZE, "it has expired", "director", "targets")
    previous = {"install": ("b", "stage"), "activate": ("b", "install")}[before]
    world.on[previous] = lambda: setattr(world, "recheck", error)
    engine = world.drive(PAIR)
    assert results(world) == ["failed"]
    assert world.reports[0]["error"] == {
        "kind": "freeze",
        "words": "director/targets: it has expired",
        "ecu": "a",
        "repository": "director",
        "role": "targets",
    }
    assert called(world, before) == []
    world.on.clear()
    world.recheck = None
    assert engine.offer(PAIR).state is State.SUCCEEDED


# Payloads


def test_a_new_address_is_waited_for(world):
    world.fails["a", "obtain"] = NeedsUrlError("the address has run out")
    engine = world.engine()
    engine.resume()
    rest = engine.offer(PAIR)
    assert rest.state is State.NEEDS_URL
    assert rest.after is None
    del world.fails["a", "obtain"]
    assert engine.work().state is State.SUCCEEDED


@pytest.mark.parametrize("error", [UnreachableError("no network"), DurableError("disk full")])
def test_what_passes_by_itself_is_tried_again_after_a_while(world, error):
    world.fails["b", "obtain"] = error
    engine = world.engine()
    engine.resume()
    rest = engine.offer(PAIR)
    assert rest.state is State.PAUSED
    assert rest.reasons == (str(error),)
    waits = [rest.after]
    assert engine.work().after == rest.after
    assert len(world.obtains) == 2
    for _ in range(6):
        world.mono += rest.after
        rest = engine.work()
        waits.append(rest.after)
    assert waits == sorted(waits)
    assert waits[0] < waits[-1] <= 900
    world.fails.clear()
    world.mono += rest.after
    assert engine.work().state is State.SUCCEEDED


def test_an_attack_on_a_payload_is_reported_and_does_not_lock_the_version_out(world):
    world.fails["a", "obtain"] = UptaneError(Kind.ARBITRARY_SOFTWARE, "other bytes")
    engine = world.drive(PAIR)
    assert results(world) == ["failed"]
    assert world.reports[0]["error"]["kind"] == "arbitrarySoftware"
    world.fails.clear()
    rest = engine.offer(PAIR)
    assert rest.state is State.REFUSED
    assert "other bytes; it is tried again later" in rest.reasons[0]
    world.now += RETRY
    assert engine.offer(PAIR).state is State.SUCCEEDED


def test_a_payload_that_is_not_there_is_not_asked_for_at_every_look(world):
    world.fails["a", "obtain"] = MissingError("404")
    engine = world.drive(PAIR)
    asked = len(world.obtains)
    for _ in range(10):
        engine.offer(PAIR)
        world.now += RETRY // 10 - 1
    assert len(world.obtains) == asked
    assert len(world.reports) == 1
    assert world.reports[0]["error"]["kind"] == "download"


def test_bytes_are_counted_and_the_budget_is_what_is_left_of_it(world):
    world.fails["b", "obtain"] = UnreachableError("no network")
    world.times["b", "obtain"] = 1
    world.drive(wanted(target("a", 2), target("b", 2), groups=[["a", "b"]], most_bytes=250))
    assert world.obtains == [("a", 250), ("b", 150), ("b", 90)]
    assert world.reports[0]["received"] == 260
    assert world.reports[0]["targets"]["b"]["received"] == 160


def test_a_download_in_which_the_process_always_ends_comes_to_an_end(world):
    def die():
        raise Death

    world.on["a", "obtain"] = die
    for _ in range(DEATHS):
        with pytest.raises(Death):
            world.drive(PAIR)
    engine = world.drive(PAIR)
    assert results(world) == ["failed"]
    assert world.reports[0]["error"]["kind"] == "process"
    assert engine.offer(PAIR).state is State.REFUSED


def test_a_download_that_gets_ahead_may_be_cut_short_as_often_as_it_likes(world):
    def die():
        raise Death

    world.chunk = 5 << 20
    world.on["a", "received"] = die
    for _ in range(2 * DEATHS):
        with pytest.raises(Death):
            world.drive(PAIR)
    world.on.clear()
    world.drive(PAIR)
    assert results(world) == ["succeeded"]
    assert world.reports[0]["received"] > 2 * DEATHS * world.chunk


def test_only_deaths_in_a_row_end_a_download(world):
    def die():
        raise Death

    for _ in range(3):
        world.on["a", "obtain"] = die
        for _ in range(DEATHS - 1):
            with pytest.raises(Death):
                world.drive(PAIR)
        world.on.clear()
        world.fails["a", "obtain"] = NeedsUrlError("the address has run out")
        world.drive(PAIR)
        world.fails.clear()
    world.drive(PAIR)
    assert results(world) == ["succeeded"]


# Versions that fail


def test_a_version_that_failed_waits_for_a_higher_counter(world):
    world.fails["b", "verify"] = UnhealthyError("it smokes")
    engine = world.drive(PAIR)
    assert results(world) == ["rolledBack"]
    assert world.reports[0]["error"] == {"kind": "unhealthy", "words": "it smokes", "ecu": "b"}
    world.fails.clear()
    rest = engine.offer(PAIR)
    assert rest.state is State.REFUSED
    assert rest.reasons == (
        "b: b.bin has failed before: it smokes; it waits for a higher release counter",
    )
    again = wanted(target("a", 2), target("b", 3, content=2), id="winter", groups=[["a", "b"]])
    assert engine.offer(again).state is State.SUCCEEDED
    assert world.sides["b"].active == Installed("b.bin", 100, digest("b", 2), 3)


def test_the_innocent_of_a_group_may_be_tried_without_the_one_that_failed(world):
    world.fails["b", "verify"] = UnhealthyError("it smokes")
    engine = world.drive(PAIR)
    assert engine.offer(wanted(target("a", 2), id="winter")).state is State.SUCCEEDED


def test_trouble_around_an_installation_is_no_versions_fault(world):
    world.fails["b", "install"] = TroubleError("the bus is asleep")
    engine = world.drive(PAIR)
    assert results(world) == ["failed"]
    world.fails.clear()
    assert engine.offer(PAIR).state is State.REFUSED
    world.now += RETRY
    assert engine.offer(PAIR).state is State.SUCCEEDED


@pytest.mark.parametrize("verb", ["stage", "install", "activate", "verify"])
def test_a_verb_in_which_the_process_always_ends_fails_the_version(world, verb):
    def die():
        raise Death

    world.on["b", verb] = die
    for _ in range(LIMIT):
        with pytest.raises(Death):
            world.drive(PAIR)
    world.drive(PAIR)
    assert world.reports[0]["error"]["kind"] == "process"
    assert counted(world.verbs)["b", verb] == LIMIT
    check(world, [["a", "b"]], PAIR, {"a": 1, "b": 1})
    world.drive(PAIR)
    assert counted(world.verbs)["b", verb] == LIMIT


def test_what_cannot_be_asked_yet_after_a_boot_is_asked_again(world):
    world.fails["a", "verify"] = TroubleError("no bus")
    engine = world.engine()
    engine.resume()
    waits = []
    for _ in range(LIMIT - 1):
        rest = engine.offer(PAIR)
        assert (rest.state, rest.reasons) == (State.VERIFYING, ("a: no bus",))
        assert engine.work().after == rest.after
        waits.append(rest.after)
        world.mono += rest.after
    assert waits == [2, 10, 30, 60]
    world.fails.clear()
    assert engine.work().state is State.SUCCEEDED
    assert results(world) == ["succeeded"]


def test_what_can_never_be_asked_after_a_boot_is_rolled_back_and_tried_again_later(world):
    world.fails["a", "verify"] = TroubleError("no bus")
    world.drive(PAIR)
    assert counted(world.verbs)["a", "verify"] == LIMIT
    assert results(world) == ["rolledBack"]
    world.fails.clear()
    world.drive(PAIR)
    assert results(world) == ["rolledBack"]
    world.now += RETRY
    world.drive(PAIR)
    assert results(world) == ["rolledBack", "succeeded"]


def test_an_installer_that_activates_something_else_is_found_out(world):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scripted, "verify", lambda self, job: None)
        world.on["a", "activate"] = lambda: None
        patch.setattr(Scripted, "probe", lambda self: installed(self.ecu, 1), raising=True)
        world.drive(PAIR)
    assert results(world) == ["rolledBack"]
    assert "not what was to be" in world.reports[0]["error"]["words"]


def test_an_installer_that_is_not_there_any_more_fails_the_attempt_in_words(world):
    world.shut = ("not parked",)
    engine = world.engine()
    engine.resume()
    engine.offer(PAIR)
    world.shut = ()
    side = world.sides.pop("b")
    world.drive(None)
    assert results(world) == ["failed"]
    assert "no installer for it any more" in world.reports[0]["error"]["words"]
    world.sides["b"] = side


# Reboots


def test_a_reboot_is_asked_for_while_the_vehicle_is_in_a_state_for_it(world):
    world.kinds["a"] = "reboot"
    images = wanted(target("a", 2, "rauc"), target("b", 2), groups=[["a", "b"]])
    engine = world.engine()
    engine.resume()
    rest = engine.offer(images)
    assert rest.state is State.WAITING_FOR_REBOOT
    assert rest.reboot
    world.shut = ("not parked",)
    rest = engine.work()
    assert (rest.state, rest.reboot) == (State.WAITING_FOR_REBOOT, False)
    assert rest.reasons[1:] == ("not parked",)
    # A process that starts again is no boot.
    engine = world.engine()
    assert engine.resume().state is State.WAITING_FOR_REBOOT
    world.power_cut()
    assert world.engine().resume().state is State.SUCCEEDED


def test_an_image_that_did_not_boot_is_rolled_back_with_its_group(world):
    world.kinds["a"] = "reboot"
    world.fallback.add("a")
    images = wanted(target("a", 2, "rauc"), target("b", 2), groups=[["a", "b"]])
    world.drive(images)
    assert results(world) == ["rolledBack"]
    assert world.reports[0]["error"]["kind"] == "verify"
    check(world, [["a", "b"]], images, {"a": 1, "b": 1})


# Retries that come to an end


def stuck(world: World, verb: str = "rollback"):
    world.engine().resume()
    world.verbs.clear()
    if verb != "commit":
        world.fails["b", "verify"] = InstallError("no")
    world.fails["a", verb] = InstallError("the flash is worn")
    return world.drive(PAIR)


def test_a_way_back_that_fails_again_and_again_is_reported_as_what_it_is(world):
    engine = stuck(world)
    (report,) = world.reports
    assert report["result"] == "failed"
    assert report["consistent"] is False
    assert report["targets"]["a"]["active"] == "unknown"
    assert report["targets"]["b"]["active"] == "old"
    assert "the flash is worn" in report["troubles"][0]
    assert "assign a campaign for all targets" in report["troubles"][0]
    assert counted(world.verbs)["a", "rollback"] == LIMIT
    assert engine.status()["state"] == "failed"
    assert engine.status()["reasons"] == ["a: the flash is worn"]


@pytest.mark.parametrize("verb", ["rollback", "commit", "clean_up"])
def test_what_was_given_up_is_tried_once_at_every_start_and_reported_once(world, verb):
    stuck(world, verb)
    for _ in range(3):
        world.drive(None)
    assert counted(world.verbs)["a", verb] == LIMIT + 3
    world.fails.clear()
    world.drive(None)
    assert len(world.reports) == 1
    assert counted(world.verbs)["a", verb] == LIMIT + 4
    engine = world.drive(None)
    assert counted(world.verbs)["a", verb] == LIMIT + 4
    assert len(engine.history()) == 1


def test_a_commit_that_does_not_work_leaves_the_new_versions_valid(world):
    stuck(world, "commit")
    assert world.reports[0]["consistent"] is False
    assert world.counters == {"a": 2, "b": 2}
    assert called(world, "rollback") == []


def test_a_way_back_in_which_the_process_always_ends_does_not_end_it_for_ever(world):
    def die():
        raise Death

    world.fails["b", "verify"] = InstallError("no")
    world.on["a", "rollback"] = die
    deaths = 0
    for _ in range(30):
        try:
            world.drive(PAIR)
        except Death:
            deaths += 1
    # Once more in this boot, and then once a boot.
    assert deaths == LIMIT + 1
    world.power_cut()
    for _ in range(10):
        try:
            world.drive(PAIR)
        except Death:
            deaths += 1
    assert deaths == LIMIT + 2
    assert len(world.reports) == 1
    world.on.clear()
    world.power_cut()
    world.drive(PAIR)
    check(world, [["a", "b"]], PAIR, {"a": 1, "b": 1})


def test_targets_that_do_not_fit_together_wait_for_a_campaign_for_all_of_them(world):
    engine = stuck(world)
    world.fails.clear()
    rest = engine.offer(wanted(target("b", 3), id="winter"))
    assert rest.state is State.FAILED
    assert world.drawn == 1
    rest = engine.offer(wanted(target("a", 3), target("b", 3), id="winter"))
    assert rest.state is State.SUCCEEDED
    assert results(world) == ["failed", "succeeded", "succeeded"]
    world.drive(None)
    assert counted(world.verbs)["a", "rollback"] == LIMIT


def test_what_is_merely_not_tidy_stops_nobody(world):
    engine = stuck(world, "clean_up")
    assert world.reports[0]["consistent"]
    del world.fails["b", "verify"]
    assert engine.offer(wanted(target("b", 3), id="winter")).state is State.SUCCEEDED
    assert world.sides["b"].active == installed("b", 3)


# Cancelling, superseding


def test_what_waits_is_cancelled_and_not_begun_again(world):
    world.shut = ("not parked",)
    engine = world.engine()
    engine.resume()
    engine.offer(PAIR)
    assert engine.cancel().startswith("it is given up")
    assert engine.work().state is State.CANCELLED
    assert results(world) == ["cancelled"]
    world.shut = ()
    rest = engine.offer(PAIR)
    assert rest.state is State.REFUSED
    assert len(world.reports) == 1
    assert world.payloads == set()
    assert engine.offer(wanted(target("a", 2), id="winter")).state is State.SUCCEEDED


def test_a_cancellation_outlives_the_process(world):
    world.shut = ("not parked",)
    engine = world.engine()
    engine.resume()
    engine.offer(PAIR)
    engine.cancel()
    world.shut = ()
    world.engine().resume()
    assert results(world) == ["cancelled"]


def test_a_download_is_cancelled_while_it_runs(world):
    engine = world.engine()
    engine.resume()
    world.on["b", "obtain"] = engine.cancel
    assert engine.offer(PAIR).state is State.CANCELLED
    assert world.reports[0]["received"] == 160
    assert called(world, "stage") == []


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (("a", "install"), "it is given up"),
        (("b", "activate"), "a new version is active already"),
        (("a", "verify"), "a new version is active already"),
        (("a", "commit"), "the new versions are installed and valid"),
    ],
)
def test_a_group_is_cancelled_until_the_first_of_it_is_active(world, moment, words):
    engine = world.engine()
    engine.resume()
    said = []
    world.on[moment] = lambda: said.append(engine.cancel())
    engine.offer(PAIR)
    assert words in said[0]
    assert results(world) == ["cancelled" if "given up" in words else "succeeded"]


def test_a_group_that_is_active_already_outlives_the_cancellation_of_its_campaign(world):
    world.kinds["a"] = "reboot"
    both = wanted(target("a", 2, "rauc"), target("b", 2))
    engine = world.engine()
    engine.resume()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "room", {"b": 1})
        assert engine.offer(both).state is State.WAITING_FOR_REBOOT
    assert engine.cancel().startswith("it is given up")
    assert engine.work().state is State.WAITING_FOR_REBOOT
    assert results(world) == ["cancelled"]
    world.drive(both)
    assert results(world) == ["cancelled", "succeeded"]
    assert world.sides["a"].active == installed("a", 2)


def test_what_is_on_its_way_back_is_not_cancelled(world):
    engine = world.engine()
    engine.resume()
    said = []
    world.fails["b", "verify"] = InstallError("no")
    world.on["a", "rollback"] = lambda: said.append(engine.cancel())
    engine.offer(PAIR)
    assert said == ["it is on its way back already"]
    assert engine.cancel() == "nothing is under way"


def test_another_campaign_takes_the_place_of_one_that_waits(world):
    world.shut = ("not parked",)
    engine = world.engine()
    engine.resume()
    engine.offer(PAIR)
    rest = engine.offer(wanted(target("a", 3), id="winter"))
    assert rest.state is State.WAITING
    assert results(world) == ["cancelled"]
    assert world.reports[0]["error"]["kind"] == "superseded"
    world.shut = ()
    assert engine.work().state is State.SUCCEEDED
    assert world.sides["a"].active == installed("a", 3)


def test_a_campaign_that_is_withdrawn_ends(world):
    world.shut = ("not parked",)
    engine = world.engine()
    engine.resume()
    engine.offer(PAIR)
    engine.offer(Verified(None, (), 2, NOW))
    assert results(world) == ["cancelled"]


def test_a_campaign_that_waits_for_its_reboot_comes_to_its_end_before_another(world):
    world.kinds["a"] = "reboot"
    engine = world.engine()
    engine.resume()
    engine.offer(wanted(target("a", 2, "rauc")))
    newer = wanted(target("a", 3, "rauc"), id="winter")
    assert engine.offer(newer).state is State.WAITING_FOR_REBOOT
    probes = world.probes
    # Nothing has changed, so nothing is looked at.
    assert engine.work().state is State.WAITING_FOR_REBOOT
    assert world.probes == probes
    world.drive(newer)
    assert results(world) == ["succeeded", "succeeded"]
    assert world.sides["a"].active == installed("a", 3)


def test_the_same_campaign_is_not_begun_twice_but_its_terms_are_taken(world):
    world.shut = ("not parked",)
    engine = world.engine()
    engine.resume()
    engine.offer(PAIR)
    renewed = wanted(target("a", 2), target("b", 2), groups=[["a", "b"]], window={"end": NOW + 5})
    engine.offer(renewed)
    engine.offer(renewed)
    assert world.drawn == 1
    assert engine.campaign().window.end == NOW + 5
    assert world.reports == []
    assert len(world.obtains) == 2


# Surroundings that fail


def test_counters_that_cannot_be_kept_are_raised_later(world):
    world.floor = DurableError("no room")
    engine = world.drive(PAIR)
    assert results(world) == ["succeeded"]
    assert world.counters == {}
    world.floor = None
    engine.work()
    assert world.counters == {"a": 2, "b": 2}


def test_counters_are_raised_before_anything_else_at_a_start(world):
    world.drive(PAIR)
    world.counters.clear()
    world.dies_at = world.points + 3
    with pytest.raises(Death):
        world.drive(PAIR)
    assert world.counters == {"a": 2, "b": 2}


def test_a_final_report_that_is_not_taken_is_handed_over_later(world):
    world.deaf = 3
    engine = world.engine()
    engine.resume()
    rest = engine.offer(PAIR)
    assert "the final report is not kept yet" in rest.reasons[0]
    assert world.reports == []
    world.now += 1000
    while rest.after:
        world.mono += rest.after
        rest = engine.work()
    assert len(world.reports) == 1
    assert world.reports[0]["ended"] == NOW


def test_a_lost_journal_leaves_what_is_active_and_removes_the_rest(world):
    world.shut = ("not parked",)
    world.drive(PAIR)
    world.shut = ()
    for side in world.sides.values():
        side.staged = installed("a", 2)
    for table in ("attempt", "sweep"):
        world.db.execute(f"DELETE FROM {table}")
    engine = world.engine()
    engine.resume()
    assert all(side.staged is None for side in world.sides.values())
    assert world.payloads == set()
    assert world.sides["a"].active == installed("a", 1)
    assert engine.offer(PAIR).state is State.SUCCEEDED


def test_what_cannot_be_cleaned_up_after_a_lost_journal_is_tried_at_the_next_start(world):
    world.fails["a", "clean_up"] = InstallError("busy")
    world.engine().resume()
    world.fails.clear()
    world.engine().resume()
    world.engine().resume()
    assert counted(world.verbs) == {("a", "clean_up"): 2, ("b", "clean_up"): 2}


def test_what_is_under_way_is_not_cleaned_up_after_a_lost_journal(world):
    world.fails["a", "clean_up"] = InstallError("busy")
    world.on["b", "stage"] = lambda: setattr(world, "shut", ("not parked",))
    world.drive(PAIR)
    assert called(world, "stage") == ["a", "b"]
    world.fails.clear()
    world.on.clear()
    world.shut = ()
    world.drive(PAIR)
    assert results(world) == ["succeeded"]


def test_cleaning_up_in_which_the_process_always_ends_does_not_end_it_for_ever(world):
    def die():
        raise Death

    world.on["a", "clean_up"] = die
    for _ in range(LIMIT):
        with pytest.raises(Death):
            world.engine().resume()
    assert world.engine().resume().state is State.IDLE
    assert world.engine().resume().state is State.IDLE
    assert counted(world.verbs)["a", "clean_up"] == LIMIT


@pytest.mark.parametrize("verb", ["obtain", "install", "verify", "commit", "clean_up"])
def test_a_stop_is_no_failure_whatever_it_interrupts_and_how_often(world, verb):
    world.engine().resume()

    def stop():
        world.stop.set()
        if verb != "obtain":
            raise TroubleError("interrupted")

    world.on["a", verb] = stop
    for _ in range(2 * LIMIT):
        engine = world.engine()
        engine.resume()
        rest = engine.offer(PAIR)
        assert rest.state is State.PAUSED
        assert rest.reasons == ("the module is being stopped",)
    world.on.clear()
    world.drive(PAIR)
    assert results(world) == ["succeeded"]


# What is told


def test_states_are_told_in_their_order_and_only_when_they_change(world):
    world.drive(PAIR)
    words = [status["state"] for status in world.states]
    assert list(dict.fromkeys(words)) == [
        "downloading", "installing", "activating", "verifying", "committing", "succeeded"
    ]  # fmt: skip
    assert all(one != two for one, two in zip(world.states, world.states[1:], strict=False))
    assert {"ecu": "a", "received": 60} in [status.get("progress") for status in world.states]


def test_status_and_history_are_small_json(world):
    world.fails["b", "verify"] = UnhealthyError("x" * 10_000 + "\udcff")
    engine = world.drive(PAIR)
    assert len(json.dumps(engine.status())) < 2000
    (line,) = engine.history()
    assert len(json.dumps(line)) < 1200
    assert line["result"] == "rolledBack"
    assert line["targets"] == ["a", "b"]
    assert line["error"] == "unhealthy"
