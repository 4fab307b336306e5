"""Bundles: found by their hash alone, and checked as if an enemy had written them."""

import json
import os

import pytest
from telemetry_help import DRIVE, TRUCK

from bordnetz.can.vehicle import Vehicle
from bordnetz.errors import BordnetzError
from bordnetz.telemetry import bundle as room
from bordnetz.telemetry.bundle import FACTORY, Bundles
from bordnetz.telemetry.config import Desired, Rule

NEW = DRIVE.replace(
    ' SG_ Gear : 48|8@1+ (1,0) [0|0] "" X\n',
    ' SG_ Gear : 48|8@1+ (1,0) [0|0] "" X\n SG_ Extra : 56|8@1+ (1,0) [0|0] "" X\n',
)


@pytest.fixture
def bundles(car):
    return Bundles(car.bundles, car.vehicle)


def refused(bundles, name):
    """Why a bundle is refused, without the path of its folder."""
    with pytest.raises(BordnetzError) as caught:
        bundles.load(name)
    return str(caught.value).replace(f"{bundles._folder / name}/", "")


def test_a_bundle_brings_its_own_catalogue_and_settings(car, bundles):
    settings = {"collect": [{"match": "*.Extra", "minInterval": 1}], "batchWindow": 5}
    name = car.bundle("new", drive_dbc=NEW, collect_json=json.dumps(settings))
    bundle = bundles.load(name)
    assert bundle.hash == name
    assert "drive.Motor.Extra" in bundle.catalogue.names
    assert bundle.defaults == Desired.model_validate(settings)
    assert bundle.defaults.collect == [Rule(match="*.Extra", minInterval=1)]
    assert bundle.catalogue.digest != bundles.load(FACTORY).catalogue.digest


def test_without_one_the_vehicles_own_file_holds(car, bundles):
    assert not bundles.there
    assert bundles.current() == FACTORY
    bundle = bundles.load(FACTORY)
    assert bundle.hash == ""
    assert bundle.vehicle == car.vehicle
    assert bundle.defaults == Desired()


def test_what_a_bundle_leaves_out_of_the_wiring_stays_as_it_is(car):
    car.file.write_text(car.file.read_text().replace("dbc =", "bitrate = 500_000\ndbc ="))
    bundles = Bundles(car.bundles, Vehicle.load(car.file))
    text = car.file.read_text()
    assert bundles.load(car.bundle("silent", vehicle_toml=text.replace("bitrate", "# ")))
    assert bundles.load(car.bundle("same"))
    name = car.bundle("other", vehicle_toml=text.replace("500_000", "250_000"))
    assert refused(bundles, name).startswith("vehicle.toml: bus[0].bitrate: is not as in the ")


def test_a_bundle_says_itself_which_ids_carry_messages_of_many_frames(car, bundles):
    isotp = "dbc =", "isotp = [{response = 0x7E8}]\ndbc ="
    text = car.file.read_text().replace(*isotp, 1)
    bundle = bundles.load(car.bundle("diagnostics", vehicle_toml=text))
    assert [one.ids for one in bundle.vehicle.buses[0].isotp] == [(None, 0x7E8)]
    assert bundle.catalogue.digest != bundles.load(FACTORY).catalogue.digest


# -- the choice


def test_the_choice_is_a_link_of_which_the_name_alone_counts(car, bundles):
    name = car.bundle("new")
    for target in (name, f"{name}/", f"/nowhere/{name}", f"../../{name}"):
        car.bundles.joinpath("current").unlink(missing_ok=True)
        car.bundles.joinpath("current").symlink_to(target)
        assert bundles.current() == name
    assert bundles.load(bundles.current()).hash == name


@pytest.mark.parametrize("target", ["..", "/etc", "x" * 64, "A" * 64, "0" * 63, "0" * 65])
def test_a_choice_that_names_no_bundle_is_refused(car, bundles, target):
    car.bundles.mkdir()
    car.bundles.joinpath("current").symlink_to(target)
    with pytest.raises(BordnetzError, match="current names no bundle"):
        bundles.current()


def test_a_choice_that_is_no_link_is_refused(car, bundles):
    car.bundles.mkdir()
    car.bundles.joinpath("current").write_text("0" * 64)
    with pytest.raises(BordnetzError, match="current cannot be read as a link"):
        bundles.current()


# -- what is refused


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "current", "0" * 64 + "\n", "é" * 64])
def test_only_a_hash_finds_a_bundle(car, bundles, name):
    car.choose(car.bundle("good"))
    with pytest.raises(BordnetzError, match="64 small hexadecimal digits"):
        bundles.load(name)


def test_a_bundle_that_is_not_there_is_told(car, bundles):
    assert refused(bundles, "0" * 64) == f"there is no bundle {'0' * 64} in {car.bundles}"
    car.bundles.mkdir()
    car.bundles.joinpath("1" * 64).symlink_to(car.folder)
    assert refused(bundles, "1" * 64).startswith("there is no bundle 1111")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "drive"', 'name = "drives"', "bus[0].name: is not as in the vehicle's own file"),
        ('"unix"', '"socketcan"', "bus[0].interface: is not as in the vehicle's own file"),
        ("/drive", "/truck2", "bus[0].channel: is not as in the vehicle's own file"),
        ("dbc = [", "fd = true\ndbc = [", "bus[0].fd: is not as in the vehicle's own file"),
        ("dbc = [", "bitrate = 1\ndbc = [", "bus[0].bitrate: is not as in the vehicle's own file"),
        ('name = "test"', 'name = "test"\n[ota]\n', "[ota]: a bundle cannot change how updates"),
        ('name = "test"', 'name = "test"\nota = {}', "[ota]: a bundle cannot change how updates"),
        ('"drive.dbc"', '"no.dbc"', "bus[0].dbc[0]: there is no file"),
        ('"drive.dbc"', '"../../drive.dbc"', "bus[0].dbc[0]: lies outside of the bundle"),
        ('"drive.dbc"', '"{car}/drive.dbc"', "bus[0].dbc[0]: lies outside of the bundle"),
        ('"drive.dbc"', '"vehicle.toml"', "no usable DBC file"),
        ('name = "test"', "name = ", "no valid TOML"),
        ('name = "test"', "#" * 5000, "line 2: over 4096 bytes"),
        ('name = "test"', "\n" * 300_000, "over 262144 bytes"),
    ],
)
def test_a_vehicle_file_that_does_not_fit_is_refused_with_place_and_reason(
    car, bundles, old, new, said
):
    text = car.file.read_text()
    assert old in text
    text = text.replace(old, new.replace("{car}", str(car.folder)), 1)
    assert said in refused(bundles, car.bundle("bad", vehicle_toml=text))


def test_buses_more_or_less_or_in_another_order_are_refused(car, bundles):
    head, drive, truck = car.file.read_text().split("[[bus]]")
    third = drive.replace('"drive"', '"third"').replace("/drive", "/third")
    for parts, said in (
        ((drive,), "1 buses, the vehicle has 2; a bundle cannot change the wiring"),
        ((drive, truck, third), "3 buses, the vehicle has 2; a bundle cannot change the wiring"),
        ((truck, drive), "bus[0].name: is not as in the vehicle's own file; a bundle cannot chan"),
    ):
        text = "[[bus]]".join((head, *parts))
        name = car.bundle(f"bundle {len(text)}", vehicle_toml=text)
        assert refused(bundles, name).startswith(f"vehicle.toml: {said}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "collect.json: content: Invalid JSON"),
        ("[]", "collect.json: content: Input should be an object"),
        ('{"window": 5}', "collect.json: window: Extra inputs are not permitted"),
        ('{"batchWindow": "5"}', "collect.json: batchWindow: Input should be a valid number"),
        ('{"collect": [{"match": "*.Sped"}]}', "collect.json: collect[0]: no signal of this vehic"),
        ('{"state": ["*", "x"]}', "collect.json: state[1]: no signal of this vehicle matches 'x'"),
        ("[" * 60_000, "collect.json: content: Invalid JSON"),
        (" " * 70_000, "collect.json: over 65536 bytes"),
        ('{"collect": [' + "{}," * 300 + "{}]}", "collect.json: collect: List should have at most"),
    ],
)
def test_settings_that_make_no_sense_refuse_the_bundle(car, bundles, content, said):
    assert refused(bundles, car.bundle("bad", collect_json=content)).startswith(said)


def test_links_inside_are_followed_and_links_out_refused(car, bundles):
    name = car.bundle("linked")
    folder = car.bundles / name
    (folder / "inner").mkdir()
    (folder / "drive.dbc").rename(folder / "inner" / "real.dbc")
    (folder / "drive.dbc").symlink_to("inner/real.dbc")
    assert bundles.load(name)
    for target in (
        car.folder / "truck.dbc",
        "../../truck.dbc",
        "nothing",
        "truck.dbc",
        "/dev/zero",
    ):
        (folder / "truck.dbc").unlink()
        (folder / "truck.dbc").symlink_to(target)
        assert refused(bundles, name) == "truck.dbc: is no file, no folder and no link inside"


def test_a_pipe_is_refused_before_anybody_waits_for_it(car, bundles):
    name = car.bundle("pipe")
    (car.bundles / name / "drive.dbc").unlink()
    os.mkfifo(car.bundles / name / "drive.dbc")
    assert refused(bundles, name) == "drive.dbc: is no file, no folder and no link inside"


def test_files_without_end_are_refused(car, bundles, monkeypatch):
    name = car.bundle("many")
    for n in range(room.MOST_FILES):
        (car.bundles / name / f"{n}").mkdir()
    assert refused(bundles, name) == f"over {room.MOST_FILES} files; is this a bundle?"
    name = car.bundle("large")
    with (car.bundles / name / "large").open("wb") as file:
        file.truncate(room.MOST_BYTES)
    assert refused(bundles, name) == f"over {room.MOST_BYTES >> 20} MiB; is this a bundle?"


def test_a_bundle_that_may_not_be_read_is_told(car, bundles, request):
    name = car.bundle("secret")
    car.folder.chmod(0o755)
    (car.bundles / name / "truck.dbc").chmod(0)
    request.getfixturevalue("user")
    assert "truck.dbc: the DBC file cannot be read: Permission denied" in refused(bundles, name)


def test_two_messages_of_one_id_refuse_the_bundle(car, bundles):
    both = car.file.read_text().replace('["truck.dbc"]', '["truck.dbc", "other.dbc"]')
    name = car.bundle("twice", vehicle_toml=both, other_dbc=TRUCK)
    assert "claim one id" in refused(bundles, name)
