import contextlib
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.can.vehicle import Vehicle, VehicleError

GOOD = """
name = "demo"

[[bus]]
name = "powertrain"
interface = "socketcan"
channel = "can0"
bitrate = 500_000
dbc = ["powertrain.dbc"]

[[bus]]
name = "body"
interface = "kvaser"
channel = 1
fd = true
data_bitrate = 2_000_000
options = { receive_own_messages = true }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "powertrain.dbc").touch()
    (tmp_path / "vehicle.toml").write_text(GOOD)
    return tmp_path / "vehicle.toml"


def refusal(file: Path, old: str, new: str) -> str:
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new, 1))
    with pytest.raises(VehicleError) as caught:
        Vehicle.load(file)
    assert str(caught.value).startswith(f"{file}: ")
    return str(caught.value).removeprefix(f"{file}: ")


def test_a_vehicle_file_is_read(file: Path) -> None:
    vehicle = Vehicle.load(file)
    assert vehicle.name == "demo"
    assert [bus.name for bus in vehicle.buses] == ["powertrain", "body"]
    assert vehicle.buses[0].bitrate == 500_000
    assert vehicle.buses[1].channel == 1
    assert vehicle.buses[1].options == {"receive_own_messages": True}


def test_dbc_paths_are_relative_to_the_vehicle_file(file: Path) -> None:
    vehicle = Vehicle.load(file)
    assert vehicle.databases(vehicle.buses[0]) == (file.parent / "powertrain.dbc",)


def test_the_digest_is_that_of_the_content(file: Path, tmp_path: Path) -> None:
    digest = Vehicle.load(file).digest
    assert len(digest) == 32
    file.write_text("# a remark\n" + GOOD)
    assert Vehicle.load(file).digest == digest
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "powertrain.dbc").touch()
    (elsewhere / "other.toml").write_text(GOOD)
    assert Vehicle.load(elsewhere / "other.toml").digest == digest
    file.write_text(GOOD.replace("can0", "can1"))
    assert Vehicle.load(file).digest != digest


def test_the_table_of_the_update_module_is_left_to_it(file: Path) -> None:
    plain = Vehicle.load(file)
    file.write_text(GOOD + '[ota]\nanything = 5\n[[ota.ecu]]\nid = "head-unit"\n')
    vehicle = Vehicle.load(file)
    assert vehicle.ota == {"anything": 5, "ecu": [{"id": "head-unit"}]}
    assert vehicle.digest == plain.digest
    assert plain.ota is None


def test_a_missing_dbc_file_is_named_with_its_place(file: Path) -> None:
    text = refusal(file, "powertrain.dbc", "absent.dbc")
    assert text.startswith(f"bus[0].dbc[0]: there is no file {file.parent / 'absent.dbc'}")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"kvaser"', "7", "bus[1].interface: Input should be a valid string, not 7"),
        ("= 1\n", "= 1.5\n", "bus[1].channel: should be a string of up to 255 characters, or a"),
        ('"can0"', "0", "bus[0]: interface 'socketcan' takes its channel as a string"),
        ('"body"', '"powertrain"', "bus[1].name: 'powertrain' is taken by bus[0].name"),
        ('"body"', '"b.ody"', "bus[1].name: String should match pattern"),
        ("500_000", "0", "bus[0].bitrate: Input should be greater than 0, not 0"),
        ("500_000", "true", "bus[0].bitrate: Input should be a valid integer, not True"),
        ("fd = true", "", "bus[1]: data_bitrate needs fd = true"),
        ('["powertrain.dbc"]', "[3]", "bus[0].dbc[0]: Input should be a valid string, not 3"),
        ("= true }", "= [1] }", "bus[1].options.receive_own_messages: should be a string, a num"),
        ("receive_own_messages", "bitrate", "bus[1]: options.bitrate must stand beside options"),
        ("bitrate =", "baudrate =", "bus[0].baudrate: nothing is known under this name"),
        ('name = "demo"', "", "name: is missing"),
        ('name = "demo"', 'name = "demo"\nota = 5', "ota: Input should be a valid dictionary, n"),
        (GOOD, 'name = "demo"\nbus = []', "bus: there should be at least one [[bus]]"),
        (GOOD, "name = ", "no valid TOML: "),
        (GOOD, "a = " + "[" * 4000, "no vehicle file: nested too deeply"),
        (GOOD, "a = " + "9" * 100_000, "line 1: over 4096 bytes"),
        (GOOD, "#" * (2 << 20), "over 262144 bytes"),
    ],
)
def test_a_refusal_names_place_value_and_expectation(
    file: Path, old: str, new: str, expected: str
) -> None:
    assert refusal(file, old, new).startswith(expected)


def test_all_that_is_wrong_is_told_at_once_but_not_without_end(file: Path) -> None:
    file.write_text('name = "demo"\nbus = [' + "1," * 200 + "]")
    with pytest.raises(VehicleError) as caught:
        Vehicle.load(file)
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1].endswith("... and 190 more")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(VehicleError, match=r"absent.toml: the vehicle file cannot be read: No suc"):
        Vehicle.load(tmp_path / "absent.toml")


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["name", "interface", "channel", "dbc", "options"]), _values)
)
def test_whatever_stands_in_it_is_accepted_or_refused_with_a_reason(bus: dict[str, object]) -> None:
    with contextlib.suppress(VehicleError):
        assert Vehicle.parse({"name": "demo", "bus": [bus]}, Path("vehicle.toml")).buses


@given(st.binary(max_size=60))
def test_bytes_that_are_no_vehicle_file_are_refused(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with pytest.raises(VehicleError):
            Vehicle.load(file.name)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a" + ".a" * 100_000 + " = 1", "line 1: over 4096 bytes; break it into several lines"),
        ("name" + ".a" * 2000 + " = 1", "(no vehicle file: nested too deeply|name: Input should )"),
        ("\n" * 300_000, "over 262144 bytes; is this a vehicle file "),
    ],
    ids=range(3),
)
def test_a_file_that_would_take_the_parser_long_is_refused(
    tmp_path: Path, content: str, reason: str
) -> None:
    file = tmp_path / "vehicle.toml"
    file.write_text(content)
    with pytest.raises(VehicleError) as caught:
        Vehicle.load(file)
    assert re.match(f"{file}: {reason}", str(caught.value))
    assert len(str(caught.value)) < 400
