"""The job engine over the head unit's installers, with a file in the same group."""

from __future__ import annotations

import random
import shutil
import threading
from subprocess import TimeoutExpired

import pytest
from engine_bench import Lab, RaucLab, SwupdateLab

from bordnetz.ota.states import State
from bordnetz.ota.waits import REBOOT

pytestmark = pytest.mark.head_unit


@pytest.fixture
def rauc(unit, bundles):
    lab = RaucLab(unit, {bundles.one: bundles.image_one, bundles.two: bundles.image_two})
    yield lab
    unit.release("health")


@pytest.fixture
def swupdate(swunit, keys):
    size = len(swunit.content("a"))
    images = {swunit.image(keys.ours, data): data for data in (b"1" * size, b"2" * size)}
    yield SwupdateLab(swunit, images)
    swunit.release("health")


@pytest.fixture(params=["rauc", "swupdate"])
def lab(request) -> Lab:
    """With maps of version 1, and a system from the factory."""
    lab = request.getfixturevalue(request.param)
    assert lab.live(lab.maps_alone(1)).state is State.SUCCEEDED
    return lab


@pytest.fixture
def asked(lab):
    """Version 2 of both."""
    return lab.asked(next(iter(lab.images)), 2)


@pytest.fixture
def new(lab):
    """What is active when both have got it."""
    return next(iter(lab.images.values())), b"maps 2;" * 1000


@pytest.fixture
def old(lab):
    return lab.active()


def test_an_image_and_a_file_become_the_valid_set_after_the_reboot(lab, asked, new, old):
    with lab.car() as car:
        rest = car.live(asked)
        assert (rest.state, rest.reboot) == (State.WAITING_FOR_REBOOT, True)
    assert lab.running == lab.factory
    lab.reboot()
    assert lab.running != lab.factory
    with lab.car() as car:
        assert car.engine.resume().state is State.SUCCEEDED
        for target in asked.targets:
            found = car.installers[target.ecu].probe()
            assert (found.sha256, found.counter) == (target.sha256, 2)
        assert car.engine.offer(asked).state is State.SUCCEEDED
    assert lab.active() == new
    assert lab.results() == ["succeeded", "succeeded"]
    assert list((lab.state / "payloads").iterdir()) == []
    lab.check_tidy()


def test_a_system_that_is_not_well_goes_back_with_its_file_by_a_reboot(lab, asked, new, old):
    lab.unwell = True
    with lab.car() as car:
        assert car.live(asked).reboot
    lab.reboot()
    assert lab.active() == new
    with lab.car() as car:
        rest = car.engine.resume()
        assert (rest.state, rest.reboot) == (State.WAITING_FOR_REBOOT, True)
    assert lab.maps() == old[1]
    lab.reboot()
    assert lab.running == lab.factory
    with lab.car() as car:
        assert car.engine.resume().state is State.FAILED
        assert car.engine.history()[0]["error"] == "unhealthy"
        rest = car.engine.offer(asked)
        assert rest.state is State.REFUSED
        assert "has failed before" in rest.reasons[0]
        assert "it waits for a higher release counter" in rest.reasons[0]
    assert lab.active() == old
    assert lab.results() == ["succeeded", "rolledBack"]
    lab.check_tidy()


def test_a_boot_loader_that_goes_back_takes_the_file_with_it(lab, asked, old):
    with lab.car() as car:
        assert car.live(asked).reboot
    lab.reboot(fall_back=True)
    assert lab.running == lab.factory
    with lab.car() as car:
        assert car.engine.resume().state is State.FAILED
        assert car.engine.offer(asked).state is State.REFUSED
    assert lab.active() == old
    assert lab.results() == ["succeeded", "rolledBack"]
    lab.check_tidy()


def test_a_head_unit_that_is_slow_to_come_up_costs_no_good_version(lab, asked, new):
    with lab.car() as car:
        assert car.live(asked).reboot
    lab.reboot()
    lab.stop_program()
    with lab.car() as car:
        rest = car.engine.resume()
        assert rest.after is not None
        assert "head-unit" in rest.reasons[0]
        lab.start_program()
        car.skipped += rest.after
        assert car.engine.work().state is State.SUCCEEDED
    assert lab.active() == new
    assert lab.results() == ["succeeded", "succeeded"]
    lab.check_tidy()


# The program that installs images is not there


def test_a_program_that_is_away_is_waited_for_with_the_payload_in_hand(lab, asked, new):
    with lab.car(shut=("not parked",)) as car:
        assert car.live(asked).reasons == ("not parked",)
        lab.stop_program()
        car.shut = ()
        rest = car.engine.work()
        assert rest.state is State.WAITING
        assert "head-unit: " in rest.reasons[0]
        assert rest.reasons[0].endswith("; it is waited for, 24 h at most")
        # What it has need not come again.
        shutil.rmtree(lab.targets)
        lab.start_program()
        car.skipped += rest.after
        assert car.engine.work().state is State.WAITING_FOR_REBOOT
    assert lab.live(asked).state is State.SUCCEEDED
    assert lab.active() == new
    assert lab.results() == ["succeeded", "succeeded"]
    lab.check_tidy()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_program_that_ends_while_it_writes_is_waited_for_and_writes_again(lab, asked, new, when):
    lab.unit.hold(when)
    rests = []
    with lab.car() as car:
        thread = threading.Thread(target=lambda: rests.append(car.live(asked)))
        thread.start()
        lab.unit.reached(when)
        lab.stop_program()
        lab.unit.release(when)
        lab.start_program()
        thread.join()
    assert rests[0].state is State.WAITING_FOR_REBOOT
    assert lab.live(asked).state is State.SUCCEEDED
    assert lab.active() == new
    assert lab.results() == ["succeeded", "succeeded"]
    lab.check_tidy()


def test_going_back_waits_for_a_program_that_has_ended_while_it_wrote(lab, asked, old):
    lab.unit.hold("after")
    with lab.car() as car:
        thread = threading.Thread(target=lambda: (car.engine.resume(), car.engine.offer(asked)))
        thread.start()
        lab.unit.reached("after")
        lab.stop_program()
        lab.unit.release("after")
        thread.join()
        assert car.engine.status()["state"] == "waiting"
        assert "given up" in car.engine.cancel()
        rest = car.engine.work()
        if rest.state is State.ROLLING_BACK:
            assert rest.reasons[0].endswith("; it is waited for, 1 h at most")
            lab.start_program()
            car.skipped += rest.after
            rest = car.engine.work()
        assert rest.state is State.CANCELLED
    assert lab.active() == old
    assert lab.results() == ["succeeded", "cancelled"]
    assert lab.mark(lab.running) == "good"
    assert lab.primary == lab.running


def test_a_reboot_that_does_not_come_leaves_the_old_side_for_the_next_one(lab, asked, old):
    with lab.car() as car:
        assert car.live(asked).reboot
        assert lab.primary != lab.running
        car.skipped += REBOOT
        assert car.engine.work().state is State.FAILED
        assert car.engine.history()[0]["error"] == "reboot"
    assert (lab.primary, lab.active()) == (lab.factory, old)
    lab.reboot()
    assert lab.active() == old
    assert lab.results() == ["succeeded", "rolledBack"]
    lab.check_tidy()


# The process is killed


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_is_killed_while_the_image_is_written_begins_no_second_attempt(
    lab, asked, new, when
):
    lab.killed(asked, when)
    threading.Timer(0.2, lab.unit.release, [when]).start()
    assert lab.live(asked).state is State.SUCCEEDED
    assert lab.active() == new
    assert lab.results() == ["succeeded", "succeeded"]
    lab.check_tidy()


def test_a_power_cut_while_the_image_is_written_begins_no_second_attempt(lab, asked, new):
    lab.killed(asked, "after")
    lab.unit.release("after")
    lab.reboot()
    assert lab.live(asked).state is State.SUCCEEDED
    assert lab.active() == new
    assert lab.results() == ["succeeded", "succeeded"]
    lab.check_tidy()


def test_a_head_unit_that_is_still_at_it_costs_no_attempt_that_waits(lab, asked, new):
    lab.killed(asked, "before")
    with lab.car(shut=("not parked",)) as car:
        assert car.live(asked).state is State.WAITING
    lab.unit.release("before")
    assert lab.live(asked).state is State.SUCCEEDED
    assert lab.active() == new
    assert lab.results() == ["succeeded", "succeeded"]


@pytest.mark.parametrize("well", [True, False])
@pytest.mark.parametrize("boots", [True, False])
def test_a_process_that_is_killed_while_it_verifies_verifies_again(
    lab, asked, new, old, well, boots
):
    with lab.car() as car:
        assert car.live(asked).reboot
    lab.reboot()
    lab.unwell = not well
    lab.killed(asked, "health")
    lab.unit.release("health")
    if boots:
        lab.reboot()
    assert lab.live(asked).state is (State.SUCCEEDED if well else State.REFUSED)
    assert lab.active() == (new if well else old)
    assert lab.results() == ["succeeded", "succeeded" if well else "rolledBack"]
    lab.check_tidy()


def test_kills_power_cuts_and_bad_versions_leave_a_set_that_fits_together(lab):
    pick = random.Random(185)
    deaths = 0
    for version in range(2, 6):
        old = lab.active()
        image = pick.choice(list(lab.images))
        asked = lab.asked(image, version)
        new = lab.images[image], f"maps {version};".encode() * 1000
        lab.unwell = pick.random() < 0.3
        falls_back = pick.random() < 0.2
        for _ in range(2):
            process = lab.child(asked, dies_at=pick.randrange(1, 120))
            try:
                process.wait(60)
            except TimeoutExpired:
                process.kill()
                process.wait()
            deaths += process.returncode == -9
            if pick.random() < 0.5:
                lab.reboot(fall_back=falls_back)
        rest = lab.live(asked, fall_back=falls_back)
        good = not lab.unwell and not falls_back
        assert rest.state is (State.SUCCEEDED if good else State.REFUSED), (version, rest)
        assert lab.active() == (new if good else old)
        assert lab.results()[-1] == ("succeeded" if good else "rolledBack")
        lab.check_tidy()
    assert deaths >= 4
