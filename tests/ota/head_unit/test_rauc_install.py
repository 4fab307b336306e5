"""RAUC's own bundles, into loop devices by Debian's rauc: up to the reboot."""

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
import rauc_bench
from rauc_bench import SLOT_SIZE, bring, keep

from bordnetz.ota.installers.installer import Activation, Installed, InstallError
from bordnetz.ota.installers.rauc_service import RefusedError
from bordnetz.ota.installers.trouble import TroubleError

pytestmark = pytest.mark.head_unit

UNKNOWN = Installed("", 0, "", 0)

APPFS = """
[slot.appfs.0]
device={folder}/appfs0
type=raw
parent=rootfs.0

[slot.appfs.1]
device={folder}/appfs1
type=raw
parent=rootfs.1
"""


def test_what_rauc_has_from_somebody_else_is_nameless(unit):
    assert unit.installer().probe() == UNKNOWN


def test_a_bundle_is_installed_booted_and_marked_good(unit, bundles):
    installer, job = unit.installer(), unit.job(bundles.one)
    assert bring(installer, job) is Activation.REBOOT
    assert unit.content("B", SLOT_SIZE) == bundles.image_one
    assert installer.probe() == UNKNOWN
    unit.reboot()
    unit.set_state("B", "trial")
    installer = unit.installer()
    keep(installer, job)
    assert (unit.booted, unit.primary, unit.state("B")) == ("B", "B", "good")
    assert installer.probe() == job.new


def test_the_next_bundle_goes_to_the_slot_that_does_not_run(unit, bundles):
    for attempt, bundle in (("1", bundles.one), ("2", bundles.two)):
        installer, job = unit.installer(), unit.job(bundle, attempt)
        assert bring(installer, job) is Activation.REBOOT
        unit.reboot()
        keep(installer, job)
    assert unit.booted == "A"
    assert unit.content("A", SLOT_SIZE) == bundles.image_two
    assert unit.content("B", SLOT_SIZE) == bundles.image_one
    assert unit.installer().probe() == job.new


def test_installing_makes_nothing_active(unit, bundles):
    installer, job = unit.installer(), unit.job(bundles.one)
    installer.stage(job)
    installer.install(job)
    assert unit.primary == "A"
    unit.reboot()
    assert unit.booted == "A"


def test_a_rauc_that_activates_by_itself_is_undone_and_told_of(bundles, tmp_path, caplog):
    with rauc_bench.bench(tmp_path, bundles.keyring, activate=True) as unit:
        installer, job = unit.installer(), unit.job(bundles.one)
        installer.stage(job)
        with caplog.at_level(logging.WARNING):
            installer.install(job)
        assert unit.primary == "A"
        assert "set activate-installed=false" in caplog.text
        assert installer.activate(job) is Activation.REBOOT
        assert unit.primary == "B"


def test_a_boot_in_the_middle_because_rauc_activates_by_itself_never_costs_the_old_slot(
    bundles, tmp_path
):
    with rauc_bench.bench(tmp_path, bundles.keyring, activate=True) as unit:
        job = unit.job(bundles.one)
        unit.installer().stage(job)
        unit.hold("after")
        child = unit.in_another_process("install", job)
        unit.reached("after")
        child.kill()
        child.wait()
        unit.release("after")
        unit.idle()
        unit.reboot()
        assert unit.booted == "B"
        installer = unit.installer()
        with pytest.raises(TroubleError, match="activate-installed=false"):
            installer.install(job)
        assert installer.rollback(job) is Activation.REBOOT
        unit.reboot()
        assert (unit.booted, unit.state("A")) == ("A", "good")


def test_progress_rises_to_its_end(unit, bundles):
    seen: list[int] = []
    installer, job = unit.installer(progress=seen.append), unit.job(bundles.one)
    installer.stage(job)
    installer.install(job)
    assert seen == sorted(set(seen))
    assert len(seen) > 3
    assert seen[-1] == 100


def test_a_bundle_that_a_stranger_has_signed_is_refused_by_rauc_itself(unit, bundles):
    installer, job = unit.installer(), unit.job(bundles.strangers)
    installer.stage(job)
    with pytest.raises(RefusedError, match=r"RAUC has not installed it: .*signature"):
        installer.install(job)
    assert unit.content("B", SLOT_SIZE) == bytes(SLOT_SIZE)
    assert installer.rollback(job) is Activation.DONE
    assert (unit.primary, unit.state("B")) == ("A", "good")


def test_a_refused_bundle_takes_nothing_from_what_is_known_of_the_other_slot(unit, bundles):
    installer, first = unit.installer(), unit.job(bundles.one)
    bring(installer, first)
    unit.reboot()
    keep(installer, first)
    second = unit.job(bundles.two, "2")
    bring(installer, second)
    unit.reboot()
    keep(installer, second)
    third = unit.job(bundles.strangers, "3")
    installer.stage(third)
    with pytest.raises(RefusedError):
        installer.install(third)
    installer.rollback(third)
    installer.clean_up(third)
    assert installer.probe() == second.new
    unit.set_primary("B")
    unit.reboot()
    assert unit.installer().probe() == first.new


def test_a_bundle_without_an_image_for_the_slot_that_is_booted_is_refused(bundles, tmp_path):
    for number in range(2):
        (tmp_path / f"appfs{number}").write_bytes(bytes(SLOT_SIZE))
    more = APPFS.format(folder=tmp_path)
    with rauc_bench.bench(tmp_path, bundles.keyring, more=more) as unit:
        installer = unit.installer()
        for attempt in "12":
            job = unit.job(bundles.elsewhere, attempt)
            installer.stage(job)
            with pytest.raises(InstallError, match=r"nothing to rootfs\.1; .*an image for rootfs"):
                installer.install(job)
            assert installer.rollback(job) is Activation.DONE
            assert unit.primary == "A"
            unit.workshop_installs(bundles.one)


def test_a_bundle_that_has_changed_since_it_was_verified_never_reaches_rauc(unit, bundles):
    installer, job = unit.installer(), unit.job(bundles.one)
    installer.stage(job)
    (staged,) = (unit.folder / "state" / "bundles").iterdir()
    with staged.open("r+b") as file:
        file.seek(1000)
        file.write(b"?")
    with pytest.raises(TroubleError, match="changed since it was verified"):
        installer.install(job)
    assert "input bundle" not in (unit.folder / "rauc.log").read_text()


def test_a_bundle_is_found_where_the_host_sees_our_folder(unit, bundles):
    (unit.folder / "state" / "bundles").mkdir()
    (unit.folder / "as-the-host-sees-it").symlink_to(unit.folder / "state" / "bundles")
    seen = PurePosixPath(unit.folder / "as-the-host-sees-it")
    assert bring(unit.installer(seen=seen), unit.job(bundles.one)) is Activation.REBOOT


def test_staging_moves_the_bundle_and_may_be_done_again(unit, bundles):
    installer, job = unit.installer(), unit.job(bundles.one)
    assert installer.room(job) == 0
    inode = job.payload.stat().st_ino
    installer.stage(job)
    assert not job.payload.exists()
    installer.stage(job)
    (staged,) = (unit.folder / "state" / "bundles").iterdir()
    assert staged.stat().st_ino == inode


def test_a_bundle_on_another_disk_is_copied(unit, bundles):
    other = Path("/dev/shm", f"bordnetz-{os.getpid()}")
    other.mkdir()
    try:
        installer = unit.installer(folder=other, seen=PurePosixPath(other))
        job = unit.job(bundles.one)
        assert installer.room(job) == 0
        assert bring(installer, job) is Activation.REBOOT
        assert job.payload.exists()
        (other / ".new-half").touch()
        installer.clean_up(job)
        assert list(other.iterdir()) == []
    finally:
        shutil.rmtree(other)


def test_what_a_copy_lacks_on_the_other_disk_is_known_before(unit, bundles):
    job = unit.job(bundles.one)
    other = Path("/dev/shm", f"bordnetz-{os.getpid()}")
    big = Installed(job.new.name, 1 << 50, job.new.sha256, 1)
    big_job = replace(job, new=big)
    try:
        missing = unit.installer(folder=other).room(big_job)
        assert 0 < missing < 1 << 50
        assert unit.installer().room(big_job) == 0
    finally:
        shutil.rmtree(other)


def test_nothing_of_an_attempt_is_left_but_the_slot(unit, bundles):
    installer, job = unit.installer(), unit.job(bundles.one)
    bring(installer, job)
    installer.clean_up(job)
    installer.clean_up(job)
    left = [path.name for path in (unit.folder / "state").rglob("*") if path.is_file()]
    assert left == ["rauc.json"]
    with pytest.raises(TroubleError, match="has not finished this attempt"):
        installer.activate(job)
