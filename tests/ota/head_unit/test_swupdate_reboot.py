"""SWUpdate after the reboot, and when something ends in the middle."""

import threading
from pathlib import Path

import pytest
from swupdate_bench import SIDE_SIZE, bring, keep

from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.installer import (
    Activation,
    Installed,
    InstallError,
    Job,
    UnhealthyError,
)
from bordnetz.ota.installers.swupdate_service import BusyError, SwupdateError, UnreachableError
from bordnetz.ota.installers.trouble import TroubleError

pytestmark = pytest.mark.head_unit

ONE, TWO = b"1" * SIDE_SIZE, b"2" * SIDE_SIZE
UNKNOWN = Installed("", 0, "", 0)


@pytest.fixture
def unit(swunit):
    return swunit


@pytest.fixture
def job(unit, keys):
    return unit.job(unit.image(keys.ours, ONE))


@pytest.fixture
def booted(unit, job):
    """Installed, activated and booted."""
    assert bring(unit.installer(), job) is Activation.REBOOT
    unit.reboot()
    assert unit.get("current") == "b"
    return job


# The reboot


def test_a_system_that_is_not_well_is_left_again(unit, booted):
    installer = unit.installer(health=Command(("sh", "-c", "echo no display; false"), 60))
    with pytest.raises(UnhealthyError, match=r"b runs, but is not well: .*no display"):
        installer.verify(booted)
    assert installer.rollback(booted) is Activation.REBOOT
    assert (unit.get("primary"), unit.get("state.b"), unit.ustate()) == ("a", "bad", "3")
    unit.reboot()
    assert unit.get("current") == "a"
    assert installer.rollback(booted) is Activation.DONE
    installer.clean_up(booted)
    assert installer.probe() == UNKNOWN


def test_without_a_health_command_it_is_enough_that_the_new_system_runs(unit, booted):
    unit.installer(health=None).verify(booted)


def test_going_back_does_not_need_a_swupdate_that_the_new_system_has_lost(unit, booted):
    unit.kill()
    assert unit.installer().rollback(booted) is Activation.REBOOT
    assert (unit.get("primary"), unit.get("state.b")) == ("a", "bad")


def test_a_boot_loader_that_went_back_is_no_success(unit, job):
    installer = unit.installer()
    bring(installer, job)
    unit.reboot("a")
    with pytest.raises(InstallError, match=r"a runs and not b: .*went back"):
        installer.verify(job)
    with pytest.raises(TroubleError, match="does not run, so it is not marked good"):
        installer.commit(job)
    assert installer.rollback(job) is Activation.DONE
    assert (unit.get("primary"), unit.get("state.b")) == ("a", "bad")


def test_activating_again_after_the_reboot_asks_for_no_other(unit, booted):
    assert unit.installer().activate(booted) is Activation.DONE


def test_verifying_and_committing_again_changes_nothing(unit, booted):
    installer = unit.installer()
    for _ in range(2):
        installer.verify(booted)
        installer.commit(booted)
    assert (unit.get("primary"), unit.get("state.b")) == ("b", "good")


def test_going_back_from_what_was_never_begun_needs_nothing(unit, job):
    unit.installer().stage(job)
    assert unit.installer().rollback(job) is Activation.DONE
    assert unit.get("state.b") == "good"


def test_a_build_that_is_not_the_one_we_have_seen_run_is_not_taken_for_ours(unit, booted):
    installer = unit.installer()
    keep(installer, booted)
    assert installer.probe() == booted.new
    unit.devices[1].write_bytes(TWO)
    assert installer.probe() == UNKNOWN


def test_a_boot_in_the_middle_because_the_image_switches_never_costs_the_old_side(unit, keys):
    switching = f"{unit.folder}/boot-loader set-primary b"
    job = unit.job(unit.image(keys.ours, ONE, script=switching, script_first=True))
    unit.hold("after")
    child = unit.in_another_process("install", job)
    unit.reached("after")
    child.kill()
    child.wait()
    unit.release("after")
    unit.reboot()
    assert unit.get("current") == "b"
    installer = unit.installer()
    with pytest.raises(TroubleError, match="must not switch the boot loader by itself"):
        installer.install(job)
    assert installer.rollback(job) is Activation.REBOOT
    unit.reboot()
    assert unit.get("current") == "a"


# The journal is lost: nobody knows the attempt any more


def lost(job):
    """What is called then."""
    return Job("unknown", job.ecu, job.kind, job.new, job.new, Path("/nonexistent"))


def test_a_lost_attempt_that_has_not_booted_is_undone(unit, job):
    installer = unit.installer()
    bring(installer, job)
    installer.clean_up(lost(job))
    assert (unit.get("primary"), unit.get("state.a"), unit.get("state.b")) == ("a", "good", "bad")
    installer.clean_up(lost(job))


@pytest.mark.parametrize("verified", [True, False])
def test_a_lost_attempt_that_has_booted_and_is_well_is_kept(unit, booted, verified):
    installer = unit.installer()
    if verified:
        installer.verify(booted)
    unit.set("state.b", "trial")
    installer.clean_up(lost(booted))
    assert (unit.get("primary"), unit.get("state.b")) == ("b", "good")
    assert installer.probe() == booted.new


def test_a_lost_attempt_that_has_booted_and_is_not_well_is_left_to_the_boot_loader(unit, booted):
    unit.set("state.b", "trial")
    unit.installer(health=Command(("false",), 60)).clean_up(lost(booted))
    assert (unit.get("primary"), unit.get("state.b")) == ("b", "trial")


# The end of something in the middle


def finish(unit, job) -> None:
    """What the engine does after a crash in `install`, up to the end."""
    installer = unit.installer()
    installer.install(job)
    assert installer.activate(job) is Activation.REBOOT
    unit.reboot()
    assert unit.get("current") == "b"
    assert unit.content("b") == ONE
    keep(installer, job)
    assert installer.probe() == job.new


def kill_in(unit, job, when: str) -> None:
    """Our process ends by SIGKILL before SWUpdate writes, or after; it is left where it is."""
    unit.hold(when)
    child = unit.in_another_process("install", job)
    unit.reached(when)
    child.kill()
    child.wait()


@pytest.mark.parametrize("when", ["before", "after"])
def test_our_end_in_the_middle_is_waited_out_and_done_again(unit, job, when):
    kill_in(unit, job, when)
    assert not unit.service.status().idle
    threading.Timer(0.3, unit.release, [when]).start()
    finish(unit, job)


def test_our_second_end_in_the_middle_is_no_other(unit, job):
    kill_in(unit, job, "before")
    unit.release("before")
    unit.idle()
    kill_in(unit, job, "after")
    unit.release("after")
    finish(unit, job)


@pytest.mark.parametrize("when", ["before", "after"])
def test_going_back_waits_until_swupdate_has_ended(unit, job, when):
    kill_in(unit, job, when)
    with pytest.raises(BusyError, match="tried again when that has ended"):
        unit.installer(timeout=0.1).rollback(job)
    unit.release(when)
    assert unit.installer().rollback(job) is Activation.DONE
    assert (unit.get("primary"), unit.get("state.a")) == ("a", "good")
    assert unit.get("state.b") == "bad"


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_end_of_swupdate_in_the_middle_is_a_failure_in_words(unit, job, when):
    failed: list[BaseException] = []

    def install() -> None:
        try:
            unit.installer().install(job)
        except SwupdateError as error:
            failed.append(error)

    unit.hold(when)
    thread = threading.Thread(target=install)
    thread.start()
    unit.reached(when)
    unit.kill()
    thread.join()
    assert "SWUpdate has ended in the middle" in str(failed[0])
    unit.release(when)
    unit.start()
    finish(unit, job)


def test_the_power_may_go_in_the_middle_of_everything(unit, job):
    kill_in(unit, job, "after")
    unit.release("after")
    unit.reboot()
    assert unit.get("current") == "a"
    finish(unit, job)


@pytest.mark.parametrize("write", [1, 2, 3, 4])
def test_our_end_at_a_write_of_the_record_is_made_good(unit, job, write):
    assert unit.in_another_process("install", job, dies_at_write=write).wait() == -9
    finish(unit, job)


@pytest.mark.parametrize("write", [1, 2, 3, 4])
def test_our_end_at_a_write_of_the_record_may_be_followed_by_going_back(unit, job, write):
    assert unit.in_another_process("install", job, dies_at_write=write).wait() == -9
    installer = unit.installer()
    assert installer.rollback(job) is Activation.DONE
    assert (unit.get("primary"), unit.get("state.a")) == ("a", "good")
    installer.clean_up(job)
    again = unit.job(job.payload, "2")
    installer.stage(again)
    finish(unit, again)


def test_what_is_installed_completely_is_not_written_twice(unit, job):
    installer = unit.installer()
    installer.install(job)
    installer.install(job)
    log = (unit.folder / "swupdate.log").read_text()
    assert log.count("SWUPDATE successful ! SWUPDATE successful !") == 1


def test_another_installation_is_waited_for(unit, job, keys):
    other = unit.image(keys.ours, TWO)
    unit.hold("before")
    workshop = threading.Thread(target=unit.workshop_installs, args=[other])
    workshop.start()
    unit.reached("before")
    threading.Timer(0.3, unit.release, ["before"]).start()
    finish(unit, job)
    workshop.join()


def test_another_installation_that_does_not_end_is_told(unit, job, keys):
    other = unit.image(keys.ours, TWO)
    unit.hold("before")
    workshop = threading.Thread(target=unit.workshop_installs, args=[other])
    workshop.start()
    unit.reached("before")
    with pytest.raises(BusyError, match="an installation that somebody else has begun"):
        unit.installer(timeout=0.1).install(job)
    unit.release("before")
    workshop.join()


def test_an_installation_that_takes_too_long_is_told(unit, job):
    unit.hold("after")
    with pytest.raises(SwupdateError, match="not finished the installation in the time"):
        unit.installer(timeout=1).install(job)
    unit.release("after")
    finish(unit, job)


def test_without_swupdate_it_is_said_what_to_start(unit, job):
    unit.kill()
    with pytest.raises(UnreachableError, match="does swupdate run on the host"):
        unit.installer().stage(job)


def test_a_damaged_record_is_told_and_not_guessed_at(unit, job):
    installer = unit.installer()
    bring(installer, job)
    (unit.folder / "state" / "swupdate.json").write_text("{")
    for verb in (installer.rollback, installer.activate, installer.verify):
        with pytest.raises(TroubleError, match=r"swupdate\.json: damaged; remove it"):
            verb(job)
