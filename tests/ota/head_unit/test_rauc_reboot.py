"""RAUC after the reboot: keep what is well, go back from what is not."""

from pathlib import Path

import pytest
from rauc_bench import bring

from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.installer import (
    Activation,
    Installed,
    InstallError,
    Job,
    UnhealthyError,
)
from bordnetz.ota.installers.trouble import TroubleError

pytestmark = pytest.mark.head_unit


@pytest.fixture
def job(unit, bundles):
    """Installed, activated and booted."""
    job = unit.job(bundles.one)
    assert bring(unit.installer(), job) is Activation.REBOOT
    unit.reboot()
    assert unit.booted == "B"
    return job


def test_a_system_that_is_not_well_is_left_again(unit, job):
    installer = unit.installer(health=Command(("sh", "-c", "echo no display; false"), 60))
    with pytest.raises(UnhealthyError, match=r"rootfs\.1 runs, but is not well: .*no display"):
        installer.verify(job)
    assert installer.rollback(job) is Activation.REBOOT
    assert (unit.primary, unit.state("B")) == ("A", "bad")
    unit.reboot()
    assert unit.booted == "A"
    installer = unit.installer()
    assert installer.rollback(job) is Activation.DONE
    installer.clean_up(job)
    assert installer.probe() == Installed("", 0, "", 0)


def test_a_health_command_that_hangs_is_an_unhealthy_system(unit, job):
    installer = unit.installer(health=Command(("sleep", "1000"), 0.2))
    with pytest.raises(UnhealthyError, match="killed after"):
        installer.verify(job)


def test_without_a_health_command_it_is_enough_that_the_new_system_runs(unit, job):
    unit.installer(health=None).verify(job)


def test_a_boot_loader_that_went_back_is_no_success(unit, bundles):
    job = unit.job(bundles.one)
    installer = unit.installer()
    bring(installer, job)
    unit.set_state("B", "bad")
    unit.reboot()
    assert unit.booted == "A"
    with pytest.raises(InstallError, match=r"rootfs\.0 runs and not rootfs\.1: .*went back"):
        installer.verify(job)
    with pytest.raises(TroubleError, match="does not run, so it is not marked good"):
        installer.commit(job)
    assert installer.rollback(job) is Activation.DONE
    assert (unit.primary, unit.state("B")) == ("A", "bad")


def test_activating_again_after_the_reboot_asks_for_no_other(unit, job):
    assert unit.installer().activate(job) is Activation.DONE


def test_committing_and_verifying_again_changes_nothing(unit, job):
    installer = unit.installer()
    for _ in range(2):
        installer.verify(job)
        installer.commit(job)
    assert (unit.primary, unit.state("B")) == ("B", "good")


def test_going_back_before_the_reboot_needs_none(unit, bundles):
    job = unit.job(bundles.one)
    installer = unit.installer()
    bring(installer, job)
    for _ in range(2):
        assert installer.rollback(job) is Activation.DONE
    assert (unit.primary, unit.state("B")) == ("A", "bad")
    unit.reboot()
    assert unit.booted == "A"


def test_going_back_from_what_was_never_begun_needs_nothing(unit, bundles):
    job = unit.job(bundles.one)
    unit.installer().stage(job)
    assert unit.installer().rollback(job) is Activation.DONE
    assert (unit.primary, unit.state("B")) == ("A", "good")


def test_after_going_back_the_same_bundle_may_be_tried_again(unit, job, bundles):
    installer = unit.installer()
    installer.rollback(job)
    unit.reboot()
    installer.clean_up(job)
    again = unit.job(bundles.one, "2")
    assert bring(installer, again) is Activation.REBOOT
    unit.reboot()
    installer.verify(again)
    installer.commit(again)
    assert installer.probe() == again.new


def test_what_the_workshop_installs_by_itself_is_not_taken_for_ours(unit, job, bundles):
    installer = unit.installer()
    installer.commit(job)
    installer.clean_up(job)
    unit.set_primary("A")
    unit.reboot()
    unit.workshop_installs(bundles.one)
    unit.set_primary("B")
    unit.reboot()
    assert installer.probe() == Installed("", 0, "", 0)


def test_what_somebody_installs_between_our_steps_is_not_activated(unit, bundles):
    job = unit.job(bundles.one)
    installer = unit.installer()
    installer.stage(job)
    installer.install(job)
    unit.workshop_installs(bundles.two)
    with pytest.raises(TroubleError, match=r"somebody else has installed something in rootfs\.1"):
        installer.activate(job)
    assert unit.primary == "A"


# The journal is lost: nobody knows the attempt any more


def lost(job):
    """What is called then."""
    return Job("unknown", job.ecu, job.kind, job.new, job.new, Path("/nonexistent"))


def test_a_lost_attempt_that_has_not_booted_is_undone(unit, bundles):
    job = unit.job(bundles.one)
    installer = unit.installer()
    bring(installer, job)
    installer.clean_up(lost(job))
    assert (unit.primary, unit.state("A"), unit.state("B")) == ("A", "good", "bad")
    left = [path.name for path in (unit.folder / "state").rglob("*") if path.is_file()]
    assert left == ["rauc.json"]
    installer.clean_up(lost(job))


def test_a_lost_attempt_that_has_booted_and_is_well_is_kept(unit, job):
    unit.set_state("B", "trial")
    unit.installer().clean_up(lost(job))
    assert (unit.primary, unit.state("B")) == ("B", "good")
    assert unit.installer().probe() == job.new


def test_a_lost_attempt_that_has_booted_and_is_not_well_is_left_to_the_boot_loader(unit, job):
    unit.set_state("B", "trial")
    unit.installer(health=Command(("false",), 60)).clean_up(lost(job))
    assert (unit.primary, unit.state("B")) == ("B", "trial")


def test_cleaning_up_where_no_attempt_was_lost_changes_nothing(unit, job):
    installer = unit.installer()
    installer.commit(job)
    installer.clean_up(job)
    installer.clean_up(lost(job))
    assert (unit.primary, unit.state("B")) == ("B", "good")
    assert installer.probe() == job.new
