"""RAUC, when something ends in the middle: our process, the service, or the time."""

import threading
import time

import pytest
from rauc_bench import SLOT_SIZE, bring, keep

from bordnetz.ota.installers.installer import Activation, Installed
from bordnetz.ota.installers.rauc_service import BusyError, RaucError, RaucService
from bordnetz.ota.installers.trouble import TroubleError

pytestmark = pytest.mark.head_unit


def finish(unit, job, image: bytes) -> None:
    """What the engine does after a crash in `install`, up to the end."""
    installer = unit.installer()
    installer.install(job)
    assert installer.activate(job) is Activation.REBOOT
    unit.reboot()
    assert unit.booted == "B"
    assert unit.content("B", SLOT_SIZE) == image
    keep(installer, job)
    assert installer.probe() == job.new


def kill_in(unit, job, when: str, verb: str = "install") -> None:
    """Our process ends by SIGKILL before RAUC writes, or after; RAUC is left where it is."""
    unit.hold(when)
    child = unit.in_another_process(verb, job)
    unit.reached(when)
    child.kill()
    child.wait()


@pytest.mark.parametrize("when", ["before", "after"])
def test_our_end_in_the_middle_is_waited_out_and_done_again(unit, bundles, when):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    kill_in(unit, job, when)
    with RaucService(unit.bus) as rauc, pytest.raises(BusyError):
        rauc.slots()
    threading.Timer(0.3, unit.release, [when]).start()
    finish(unit, job, bundles.image_one)


def test_our_second_end_in_the_middle_is_no_other(unit, bundles):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    kill_in(unit, job, "before")
    unit.release("before")
    unit.idle()
    kill_in(unit, job, "after")
    unit.release("after")
    finish(unit, job, bundles.image_one)


@pytest.mark.parametrize("when", ["before", "after"])
def test_going_back_waits_until_rauc_has_ended(unit, bundles, when):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    kill_in(unit, job, when)
    with pytest.raises(BusyError, match="tried again when that has ended"):
        unit.installer(timeout=0.1).rollback(job)
    unit.release(when)
    assert unit.installer().rollback(job) is Activation.DONE
    assert (unit.primary, unit.state("A"), unit.state("B")) == ("A", "good", "bad")


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_end_of_rauc_in_the_middle_is_a_failure_in_words(unit, bundles, when):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    failed: list[BaseException] = []

    def install() -> None:
        try:
            unit.installer().install(job)
        except RaucError as error:
            failed.append(error)

    unit.hold(when)
    thread = threading.Thread(target=install)
    thread.start()
    unit.reached(when)
    unit.kill_service()
    thread.join()
    assert "RAUC has ended in the middle" in str(failed[0])
    unit.release(when)
    unit.start_service()
    finish(unit, job, bundles.image_one)


def test_after_the_end_of_rauc_in_the_middle_the_half_written_slot_counts_as_bad(unit, bundles):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    kill_in(unit, job, "after")
    unit.kill_service()
    unit.release("after")
    unit.start_service()
    assert unit.installer().rollback(job) is Activation.DONE
    assert (unit.primary, unit.state("B")) == ("A", "bad")


def test_the_power_may_go_in_the_middle_of_everything(unit, bundles):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    kill_in(unit, job, "after")
    unit.release("after")
    unit.reboot()
    assert unit.booted == "A"
    finish(unit, job, bundles.image_one)


@pytest.mark.parametrize("write", [1, 2, 3, 4])
def test_our_end_at_a_write_of_the_record_is_made_good(unit, bundles, write):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    child = unit.in_another_process("install", job, dies_at_write=write)
    assert child.wait() == -9
    finish(unit, job, bundles.image_one)


@pytest.mark.parametrize("write", [1, 2, 3, 4])
def test_our_end_at_a_write_of_the_record_may_be_followed_by_going_back(unit, bundles, write):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    assert unit.in_another_process("install", job, dies_at_write=write).wait() == -9
    installer = unit.installer()
    assert installer.rollback(job) is Activation.DONE
    assert (unit.primary, unit.state("A")) == ("A", "good")
    installer.clean_up(job)
    again = unit.job(bundles.two, "2")
    installer.stage(again)
    finish(unit, again, bundles.image_two)


def test_what_is_installed_completely_is_not_written_twice(unit, bundles):
    job = unit.job(bundles.one)
    installer = unit.installer()
    installer.stage(job)
    installer.install(job)
    installer.install(job)
    assert (unit.folder / "rauc.log").read_text().count("input bundle") == 1


def test_another_installation_is_waited_for(unit, bundles):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    unit.hold("before")
    workshop = threading.Thread(target=unit.workshop_installs, args=[bundles.two])
    workshop.start()
    unit.reached("before")
    threading.Timer(0.3, unit.release, ["before"]).start()
    finish(unit, job, bundles.image_one)
    workshop.join()


def test_another_installation_that_does_not_end_is_told(unit, bundles):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    unit.hold("before")
    workshop = threading.Thread(target=unit.workshop_installs, args=[bundles.two])
    workshop.start()
    unit.reached("before")
    with pytest.raises(BusyError, match="an installation that somebody else has begun"):
        unit.installer(timeout=0.1).install(job)
    unit.release("before")
    workshop.join()


def test_an_installation_that_takes_too_long_is_told_and_goes_on(unit, bundles):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    unit.hold("after")
    with pytest.raises(RaucError, match="not finished the installation in the time"):
        unit.installer(timeout=1).install(job)
    unit.release("after")
    finish(unit, job, bundles.image_one)


def test_a_refusal_of_ours_does_not_hide_that_another_installation_runs(unit, bundles):
    """RAUC 1.8 says that it is idle, after it has refused a second installation."""
    unit.hold("before")
    workshop = threading.Thread(target=unit.workshop_installs, args=[bundles.two])
    workshop.start()
    unit.reached("before")
    with RaucService(unit.bus) as rauc:
        with pytest.raises(BusyError):
            rauc._call("InstallBundle", 0, "sa{sv}", str(bundles.one), {})
        with pytest.raises(BusyError):
            rauc.settled(time.monotonic() + 0.1)
    unit.release("before")
    workshop.join()


def test_a_stranger_on_the_bus_cannot_end_our_installation(unit, bundles):
    unit.hold("before")
    done = threading.Event()

    def install() -> None:
        unit.workshop_installs(bundles.one)
        done.set()

    thread = threading.Thread(target=install)
    thread.start()
    unit.reached("before")
    assert unit.stranger_says_completed() >= 3
    assert not done.wait(0.2)
    unit.release("before")
    thread.join()
    assert done.is_set()
    assert unit.content("B", SLOT_SIZE) == bundles.image_one


def test_without_rauc_it_is_said_what_to_start(unit):
    unit.kill_service()
    with pytest.raises(RaucError, match=r"start rauc\.service on the host"):
        unit.installer().probe()


def test_a_damaged_record_is_told_and_not_guessed_at(unit, bundles):
    job = unit.job(bundles.one)
    installer = unit.installer()
    bring(installer, job)
    (unit.folder / "state" / "rauc.json").write_text('{"slots": 3}')
    for verb in (installer.rollback, installer.activate, installer.verify):
        with pytest.raises(TroubleError, match=r"rauc\.json: damaged at slots; remove it"):
            verb(job)


def test_what_runs_is_told_while_rauc_installs(unit, bundles):
    installer = unit.installer()
    installer.probe()
    unit.hold("before")
    workshop = threading.Thread(target=unit.workshop_installs, args=[bundles.two])
    workshop.start()
    unit.reached("before")
    assert installer.probe() == Installed("", 0, "", 0)
    with pytest.raises(BusyError):
        unit.installer().probe()
    unit.release("before")
    workshop.join()


def test_a_slot_that_may_be_half_written_is_not_taken_for_what_it_was(unit, bundles):
    for attempt, bundle in (("1", bundles.one), ("2", bundles.two)):
        job = unit.job(bundle, attempt)
        installer = unit.installer()
        bring(installer, job)
        unit.reboot()
        keep(installer, job)
    third = unit.job(bundles.two, "3")
    installer.stage(third)
    kill_in(unit, third, "before")
    unit.kill_service()
    unit.release("before")
    unit.booted = "B"
    unit.start_service()
    assert unit.installer().probe() == Installed("", 0, "", 0)
