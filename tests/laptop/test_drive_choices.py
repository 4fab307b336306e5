"""Options that do not go together: refused at once, with what to do about it."""

import pytest
from click.testing import CliRunner

from bordnetz.can.vehicle import Vehicle
from bordnetz.cli import bordnetz
from bordnetz.laptop.drive.buses import Choice, is_simulated, project_file, settle
from bordnetz.laptop.drive.errors import ChoiceError
from bordnetz.laptop.drive.workplace import Workplace

DBC = 'VERSION ""\nBO_ 1 M: 8 N\n SG_ S : 0|8@1+ (1,0) [0|0] "" N\n'


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "a.dbc").write_text(DBC)
    (tmp_path / "two.log").write_text("(1.0) can0 001#00\n(2.0) can1 001#00\n")
    (tmp_path / "empty.log").write_text("")
    (tmp_path / "one.toml").write_text(
        'name = "one"\n[[bus]]\nname = "a"\ninterface = "socketcan"\nchannel = "can7"\n'
        'dbc = ["a.dbc"]\n'
    )
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--log none.log --dbc a.dbc", "'none.log' does not exist"),
        ("--vehicle none.toml", "'none.toml' does not exist"),
        ("--manifest none.json", "'none.json' does not exist"),
        ("--log two.log --dbc none.dbc", "no file none.dbc; give the path"),
        ("--vehicle one.toml --dbc a.dbc", "leave out --dbc or --vehicle"),
        ("--log two.log --dbc can9=a.dbc", "no such channel; there are can0, can1"),
        ("--log two.log", "its channels are can0, can1, those of"),
        ("--log two.log --vehicle one.toml", "those of one.toml are can7"),
        ("--log empty.log --dbc a.dbc", "there is no frame in it"),
        ("--log two.log --dbc a.dbc --channel can0", "leave out one or the other"),
        ("--log two.log --dbc a.dbc --interface unix", "leave out one or the other"),
        ("--log two.log --dbc a.dbc --load 100", "--load and --seed are the simulated car's"),
        ("--log two.log --dbc a.dbc --seed 2", "--load and --seed are the simulated car's"),
        ("--log two.log --dbc a.dbc --speed fast", "give 1 (as recorded), 10, 0.5, ... or max"),
        ("--log two.log --dbc a.dbc --speed 0", "give 1 (as recorded), 10, 0.5, ... or max"),
        ("--log two.log --dbc a.dbc --speed -1", "give 1 (as recorded), 10, 0.5, ... or max"),
        ("--log two.log --dbc a.dbc --speed nan", "give 1 (as recorded), 10, 0.5, ... or max"),
        ("--log two.log --dbc a.dbc --speed inf", "give 1 (as recorded), 10, 0.5, ... or max"),
        ("--speed max", "give one by --log, or leave it out"),
        ("--dbc a.dbc", "--dbc needs --log FILE, or --channel"),
        ("--vehicle one.toml --channel a --channel b", "2 channels for 1 buses (a); give"),
        ("--channel a", "1 channels for 3 buses (powertrain, chassis, body)"),
        ("--interface kvaser", "--interface kvaser needs --channel, once for each bus"),
        ("--folder full", "it is not empty; name a new or an empty folder"),
        ("--folder full/file/below", "name another folder"),
        ("--seconds 0", "0.0 is not in the range x>=1"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_starts(here, options, told):
    result = CliRunner().invoke(bordnetz, ["drive", *options.split()])
    message = str(result.exception) if isinstance(result.exception, ChoiceError) else result.output
    code = getattr(result.exception, "exit_code", result.exit_code)
    assert code == 2
    assert told in message


def test_a_vehicle_file_with_real_interfaces_is_used_as_it_is(here):
    choice = Choice(vehicle=here / "one.toml")
    with Workplace() as workplace:
        vehicle, path = settle(choice, workplace)
    assert path == here / "one.toml"
    assert not is_simulated(choice, vehicle)


def test_the_demos_buses_go_where_the_drive_says(here):
    choice = Choice(interface="unix")
    with Workplace(here / "new") as workplace:
        vehicle, path = settle(choice, workplace)
        assert path.parent == here / "new"
        assert all(bus.channel.startswith(str(workplace.sockets)) for bus in vehicle.buses)
    assert is_simulated(choice, vehicle)
    assert [bus.name for bus in vehicle.buses] == ["powertrain", "chassis", "body"]
    assert vehicle.buses[0].fd
    assert not workplace.sockets.exists()
    assert (here / "new").exists()


def test_what_is_checked_of_the_demos_frames_goes_with_them(here):
    own = Vehicle.load(project_file("dbc/vehicle.toml"))
    with Workplace(here / "drive") as workplace:
        moved, file = settle(Choice(interface="unix"), workplace)
    assert own.checks.cycles
    assert moved.checks == own.checks
    assert Vehicle.load(file).checks == own.checks


def test_a_database_is_bound_to_its_channel_or_to_all(here):
    databases = ((None, here / "a.dbc"), ("can1", here / "a.dbc"))
    with Workplace() as workplace:
        choice = Choice(log=here / "two.log", databases=databases)
        vehicle, _ = settle(choice, workplace)
        assert [len(bus.dbc) for bus in vehicle.buses] == [1, 2]
    assert [bus.name for bus in vehicle.buses] == ["can0", "can1"]


def test_a_file_whose_name_has_an_equals_sign_is_a_file(here, monkeypatch):
    (here / "a=b.dbc").write_text(DBC)
    options = ["drive", "--log", "two.log", "--dbc", "a=b.dbc", "--folder", "full"]
    result = CliRunner().invoke(bordnetz, options)
    assert "--folder full" in str(result.exception)


@pytest.mark.parametrize("channel", ["1", "ünï/cödé", "x" * 64])
def test_every_channel_of_a_recording_gets_a_bus_name(here, channel):
    (here / "odd.log").write_text(f"(1.0) {channel} 001#00\n")
    with Workplace() as workplace:
        vehicle, _ = settle(
            Choice(log=here / "odd.log", databases=((None, here / "a.dbc"),)), workplace
        )
    assert vehicle.buses[0].channel == channel


def test_channels_that_give_one_name_are_told_apart(here):
    (here / "odd.log").write_text("(1.0) can.0 001#00\n(1.1) can:0 001#00\n")
    with Workplace() as workplace:
        choice = Choice(log=here / "odd.log", databases=((None, here / "a.dbc"),))
        vehicle, _ = settle(choice, workplace)
    assert {bus.channel for bus in vehicle.buses} == {"can.0", "can:0"}
    assert len({bus.name for bus in vehicle.buses}) == 2


def test_a_folder_of_any_name_holds_a_vehicle_file(here):
    folder = here / '\N{AUTOMOBILE} \x7f "a\\b"'
    folder.mkdir()
    (folder / "a.dbc").write_text(DBC)
    choice = Choice(log=here / "two.log", databases=((None, folder / "a.dbc"),))
    with Workplace(folder / "kept") as workplace:
        vehicle, _ = settle(choice, workplace)
        assert vehicle.databases(vehicle.buses[0])[0].samefile(folder / "a.dbc")


def test_a_report_that_cannot_be_written_is_told_before_anything_starts(here):
    options = ["drive", "--log", "two.log", "--dbc", "a.dbc", "--report", "full/file/report.json"]
    result = CliRunner().invoke(bordnetz, options)
    assert "--report full/file/report.json" in str(result.exception)
