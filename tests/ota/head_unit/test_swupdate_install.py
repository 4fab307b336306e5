"""SWUpdate's own images, into loop devices by Debian's swupdate: up to the reboot."""

import logging

import pytest
from swupdate_bench import SIDE_SIZE, bring, keep

from bordnetz.ota.installers.boot_loader import BootLoader, BootLoaderError
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.installer import Activation, Installed
from bordnetz.ota.installers.swupdate_service import RefusedError, SwupdateError
from bordnetz.ota.installers.trouble import TroubleError

pytestmark = pytest.mark.head_unit

UNKNOWN = Installed("", 0, "", 0)
ONE, TWO = b"1" * SIDE_SIZE, b"2" * SIDE_SIZE
NOTHING = bytes(SIDE_SIZE)


@pytest.fixture
def unit(swunit):
    return swunit


def test_an_image_is_installed_booted_and_marked_good(unit, keys):
    installer, job = unit.installer(), unit.job(unit.image(keys.ours, ONE))
    assert installer.probe() == UNKNOWN
    assert installer.room(job) == 0
    assert bring(installer, job) is Activation.REBOOT
    assert unit.content("b") == ONE
    assert installer.probe() == UNKNOWN
    unit.set("state.b", "trial")
    unit.reboot("b")
    installer = unit.installer()
    keep(installer, job)
    assert (unit.get("current"), unit.get("primary")) == ("b", "b")
    assert unit.get("state.b") == "good"
    assert unit.ustate() == "0"
    assert installer.probe() == job.new


def test_the_next_image_goes_to_the_side_that_does_not_run(unit, keys):
    for attempt, data in (("1", ONE), ("2", TWO)):
        installer, job = unit.installer(), unit.job(unit.image(keys.ours, data), attempt)
        assert bring(installer, job) is Activation.REBOOT
        unit.reboot()
        keep(installer, job)
    assert unit.get("current") == "a"
    assert (unit.content("a"), unit.content("b")) == (TWO, ONE)
    assert installer.probe() == job.new


def test_an_image_that_is_streamed_to_the_disk_is_installed_too(unit, keys):
    job = unit.job(unit.image(keys.ours, ONE, more="installed-directly = true;"))
    assert bring(unit.installer(), job) is Activation.REBOOT
    assert unit.content("b") == ONE


def test_staging_writes_nothing(unit, keys):
    installer = unit.installer()
    for attempt, more in (("1", ""), ("2", "installed-directly = true;")):
        job = unit.job(unit.image(keys.ours, ONE, more=more), attempt)
        installer.stage(job)
        installer.stage(job)
    assert unit.content("b") == NOTHING
    assert (unit.get("primary"), unit.get("state.b")) == ("a", "good")


def test_installing_makes_nothing_active(unit, keys):
    job = unit.job(unit.image(keys.ours, ONE))
    unit.installer().install(job)
    assert unit.get("primary") == "a"


def test_an_image_that_switches_by_itself_is_undone_and_told_of(unit, keys, caplog):
    job = unit.job(unit.image(keys.ours, ONE, script=f"{unit.folder}/boot-loader set-primary b"))
    with caplog.at_level(logging.WARNING):
        unit.installer().install(job)
    assert unit.get("primary") == "a"
    assert "leave the boot loader out of its sw-description" in caplog.text


def test_an_image_that_a_stranger_has_signed_is_refused_by_swupdate_itself(unit, keys):
    installer, job = unit.installer(), unit.job(unit.image(keys.theirs, ONE))
    for verb in (installer.stage, installer.install):
        with pytest.raises(RefusedError, match="not taken it: Authentication of all signatures"):
            verb(job)
    assert unit.content("b") == NOTHING
    assert installer.rollback(job) is Activation.DONE
    assert unit.get("primary") == "a"


@pytest.mark.parametrize("more", ["", "installed-directly = true;"])
def test_an_image_whose_part_is_not_what_was_signed_is_refused_before_it_is_written(
    unit, keys, more
):
    job = unit.job(unit.image(keys.ours, ONE, spoil=True, more=more))
    with pytest.raises(RefusedError, match="SWUpdate has not taken it: HASH mismatch"):
        unit.installer().stage(job)
    assert unit.content("b") == NOTHING


def test_an_image_for_other_hardware_is_refused_with_swupdates_words(unit, keys):
    job = unit.job(unit.image(keys.ours, ONE, hardware="2.0"))
    with pytest.raises(RefusedError, match="not taken it: SW not compatible with hardware"):
        unit.installer().stage(job)


def test_an_image_that_has_changed_since_it_was_verified_never_reaches_swupdate(unit, keys):
    installer, job = unit.installer(), unit.job(unit.image(keys.ours, ONE))
    with job.payload.open("ab") as file:
        file.write(b"?")
    for verb in (installer.stage, installer.install):
        with pytest.raises(TroubleError, match="changed since it was verified"):
            verb(job)
    assert "started" not in (unit.folder / "swupdate.log").read_text()


def test_a_selection_that_swupdate_was_not_started_with_is_told(unit, keys):
    installer = unit.installer(sides={"a": ("stable", "main"), "b": ("beta", "alt")})
    with pytest.raises(SwupdateError, match=r"selection beta,alt; start it with -q beta,alt"):
        installer.stage(unit.job(unit.image(keys.ours, ONE)))


def test_progress_rises_to_its_end(unit, keys):
    seen: list[int] = []
    job = unit.job(unit.image(keys.ours, ONE))
    unit.installer(progress=seen.append).install(job)
    assert seen == sorted(set(seen))
    assert len(seen) > 3
    assert seen[-1] == 100


def test_nothing_of_an_attempt_is_left_but_the_side(unit, keys):
    installer, job = unit.installer(), unit.job(unit.image(keys.ours, ONE))
    bring(installer, job)
    installer.clean_up(job)
    installer.clean_up(job)
    assert [path.name for path in (unit.folder / "state").iterdir()] == ["swupdate.json"]
    assert job.payload.exists()
    with pytest.raises(TroubleError, match="has not finished this attempt"):
        installer.activate(job)


def test_sides_other_than_two_are_refused(unit):
    with pytest.raises(TroubleError, match="needs two sides, not 1"):
        unit.installer(sides={"a": ("stable", "main")})


@pytest.mark.parametrize("word", ["", "x" * 256])
def test_a_selection_that_swupdate_has_no_room_for_is_refused(unit, word):
    with pytest.raises(TroubleError, match="has not 1 to 255 bytes"):
        unit.installer(sides={"a": ("stable", "main"), "b": ("stable", word)})


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo recovery", "says that recovery runs, which is none of the sides a and b"),
        ("echo", "printed no side, but: nothing"),
        ("echo a b c", "printed no side, but: a b c"),
        ("echo ../a", r"printed no side, but: \.\./a"),
        ("false", "ended with 1"),
    ],
)
def test_a_boot_loader_that_makes_no_sense_is_told(unit, script, words):
    boot_loader = BootLoader(Command(("sh", "-c", script), 60))
    with pytest.raises(TroubleError, match=words):
        unit.installer(boot_loader=boot_loader).probe()


def test_a_boot_loader_that_does_not_switch_is_told(unit, keys):
    job = unit.job(unit.image(keys.ours, ONE))
    installer = unit.installer()
    installer.install(job)
    (unit.variables / "primary").chmod(0o444)
    script = unit.folder / "boot-loader"
    script.write_text(script.read_text().replace("set-primary)", "set-primary) true;; nothing)"))
    with pytest.raises(BootLoaderError, match=r"b was made primary, but .* still names a"):
        installer.activate(job)
