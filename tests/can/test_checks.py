from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from decode_oracle import catalogue

from bordnetz.can.checks import Checks
from bordnetz.can.errors import CatalogueError
from bordnetz.can.validity import watch
from bordnetz.can.vehicle import Vehicle, VehicleError

BUS = '[[bus]]\nname = "b0"\ninterface = "unix"\nchannel = "x"\n'
IDS = f"data_ids = {list(range(16))}"
DBC = """VERSION ""
BU_: X
BO_ 1 Angle: 8 X
 SG_ Count : 8|4@1+ (1,0) [0|15] "" X
 SG_ Signed : 16|8@1- (1,0) [0|0] "" X
 SG_ Wide : 24|32@1+ (1,0) [0|0] "" X
BO_ 2 Short: 1 X
 SG_ S : 0|8@1+ (1,0) [0|0] "" X
BO_ 3 Cyclic: 8 X
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 3 50;
"""


def vehicle(checks: str) -> Vehicle:
    return Vehicle.parse(tomllib.loads(f'name = "v"\n{BUS}{checks}'), Path("/v.toml"))


def message(name: str, text: str) -> str:
    return f'[[checks.message]]\nname = "{name}"\n{text}\n'


def checks(*entries: dict[str, Any], cycles: bool = False) -> Checks:
    return Checks.model_validate({"cycles": cycles, "message": entries})


def test_a_vehicle_file_says_how_messages_are_protected() -> None:
    read = vehicle(
        "[checks]\ncycles = true\n"
        + message("b0.A", 'profile = "P01"\ndata_id = 0x123\ndata_id_mode = "nibble"')
        + message("b0.B", f'profile = "P02"\n{IDS}')
        + message("b0.C", 'profile = "counter"\ncounter = "Count"\nmodulus = 15')
    ).checks
    assert read.cycles
    one, two, three = read.messages
    assert one.profile == "P01"
    assert (one.data_id, one.data_id_mode) == (0x123, "nibble")
    assert two.profile == "P02"
    assert two.data_ids == tuple(range(16))
    assert three.profile == "counter"
    assert (three.counter, three.modulus) == ("Count", 15)


def test_a_vehicle_without_checks_has_the_digest_that_it_had_before_there_were_any() -> None:
    plain = vehicle("")
    assert plain.checks == Checks()
    assert vehicle("[checks]\ncycles = false\n").digest == plain.digest
    assert vehicle("[checks]\ncycles = true\n").digest != plain.digest


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (message("A", 'profile = "P01"\ndata_id = 1'), "checks.message[0].P01.name"),
        (message("b0.A", 'profile = "P07"\ndata_id = 1'), "checks.message[0]"),
        (message("b0.A", 'profile = "P01"\ndata_id = 0x10000'), "checks.message[0].P01.data_id"),
        (
            message("b0.A", 'profile = "P01"\ndata_id = 0x1000\ndata_id_mode = "nibble"'),
            "12 bits at most",
        ),
        (message("b0.A", 'profile = "P02"\ndata_ids = [1, 2]'), "checks.message[0].P02.data_ids"),
        (message("b0.A", f'profile = "P02"\n{IDS}\ndata_id = 1'), "nothing is known"),
        (message("b0.A", f'profile = "P02"\n{IDS}') * 2, "message[1].name: 'b0.A' is taken"),
        (message("b0.A", 'profile = "counter"\ncounter = "C"\nmodulus = 1'), ".modulus"),
    ],
)
def test_a_check_that_makes_no_sense_is_refused_with_its_place(wrong: str, place: str) -> None:
    with pytest.raises(VehicleError, match=r"^/v\.toml: ") as caught:
        vehicle(wrong)
    assert place in str(caught.value)


def test_cycles_are_those_that_the_dbc_file_declares() -> None:
    (only,) = watch(catalogue(DBC), checks(cycles=True))
    assert (only.name, only.cycle, only.protected) == ("b0.Cyclic", 50, None)


def test_nothing_is_watched_that_nobody_asks_for() -> None:
    assert watch(catalogue(DBC), Checks()) == ()


def test_a_counter_without_a_modulus_has_as_many_values_as_its_bits() -> None:
    entry = {"name": "b0.Angle", "profile": "counter", "counter": "Count"}
    (only,) = watch(catalogue(DBC), checks(entry))
    assert only.protected is not None
    assert only.protected.modulus == 16


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"name": "b0.Angel", "profile": "P01", "data_id": 1}, "did you mean b0.Angle?"),
        ({"name": "b0.Short", "profile": "P01", "data_id": 1}, "has 1 bytes"),
        ({"name": "b0.Angle", "profile": "counter", "counter": "No"}, "has no signal 'No'"),
        ({"name": "b0.Angle", "profile": "counter", "counter": "Signed"}, "should be unsigned"),
        ({"name": "b0.Angle", "profile": "counter", "counter": "Wide"}, "has 32 bits"),
        (
            {"name": "b0.Angle", "profile": "counter", "counter": "Count", "modulus": 17},
            "they do not hold 17",
        ),
    ],
)
def test_what_cannot_be_checked_in_a_dbc_file_is_refused(
    entry: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CatalogueError) as caught:
        watch(catalogue(DBC), checks(entry))
    assert reason in str(caught.value)


def test_checks_are_written_as_a_vehicle_file_says_them() -> None:
    read = vehicle(
        "[checks]\ncycles = true\n"
        + message("b0.A", 'profile = "P01"\ndata_id = 0x123\ndata_id_mode = "nibble"')
        + message("b0.Ä.B", f'profile = "P02"\n{IDS}')
        + message("b0.C", 'profile = "counter"\ncounter = "Count"')
    ).checks
    assert vehicle("\n".join(read.toml())).checks == read
    assert list(Checks().toml()) == []
