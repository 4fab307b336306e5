"""The table [ota] of the vehicle file: what makes no sense is refused at its place."""

import copy
from pathlib import Path

import pytest

from bordnetz.can.vehicle import Vehicle
from bordnetz.ota.vehicle import OtaError, OtaSettings, read_root

PATH = Path("/etc/bordnetz/vehicle.toml")
GOOD = {
    "director_root": "d.json",
    "image_root": "i.json",
    "key": "primary.pem",
    "primary": "maps",
    "conditions": {"parked": {"signal": "a.b.c", "max": 0.5}},
    "ecu": [{"id": "maps", "hardware_id": "hw", "installer": "file", "folder": "maps"}],
}
DATA = {"id": "dbc", "hardware_id": "hw", "installer": "data"}
SWU = {"id": "hu", "hardware_id": "hw", "installer": "swupdate", "boot_loader": {"argv": ["b"]}}


def changed(**changes):
    return {**copy.deepcopy(GOOD), **changes}


def with_ecus(*ecus):
    return changed(ecu=[*GOOD["ecu"], *ecus])


def test_a_table_that_makes_sense_is_taken():
    settings = OtaSettings.parse(GOOD, PATH)
    assert [ecu.id for ecu in settings.ecus] == ["maps"]
    assert not settings.workshop_consent


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "there is no table [ota]"),
        ({}, "ota.director_root: Field required"),
        (changed(roots="x"), "ota.roots: Extra inputs are not permitted"),
        (changed(primary="head-unit"), "there is no [[ota.ecu]] with the id 'head-unit'"),
        (changed(ecu=[]), "ota.ecu: "),
        (with_ecus(*GOOD["ecu"]), "an id stands twice"),
        (with_ecus(DATA, {**DATA, "id": "dbc-2"}), "one ECU at most has the installer 'data'"),
        (with_ecus({**DATA, "installer": "shell"}), "ota.ecu.1"),
        (with_ecus({**DATA, "folder": "x"}), "ota.ecu.1.data.folder"),
        (with_ecus({**DATA, "id": "../dbc"}), "ota.ecu.1.data.id"),
        (with_ecus({**DATA, "id": "dbc.1"}), "could not be a key of twins"),
        (changed(always=["asleep"]), "there is no condition 'asleep'"),
        (with_ecus({**DATA, "health": {"argv": []}}), "ota.ecu.1.data.health.argv"),
        (with_ecus({**DATA, "health": "reboot"}), "ota.ecu.1.data.health"),
        (with_ecus({**SWU, "sides": {"a": ["stable", "main"]}}), "ota.ecu.1.swupdate.sides"),
        (changed(reboot={"argv": ["reboot"], "timeout": 0}), "ota.reboot.timeout"),
        (changed(conditions={"parked": {"signal": "a.b.c"}}), "needs min, max or equals"),
        (changed(conditions={"par ked": {"signal": "a", "max": 1}}), "ota.conditions.par ked"),
        (changed(tonight=["22:00", "24:00"]), "ota.tonight.1"),
        (changed(stale_days=0), "ota.stale_days"),
        (changed(clock_days=1e9), "ota.clock_days"),
        (changed(postpone_hours=float("nan")), "ota.postpone_hours"),
        (changed(vehicle_id="a/b"), "ota.vehicle_id"),
        (changed(key="x" * 2000), "ota.key"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_at_its_place(table, words):
    with pytest.raises(OtaError) as caught:
        OtaSettings.parse(table, PATH)
    assert words in str(caught.value)
    assert str(PATH) in str(caught.value)
    assert caught.value.exit_code == 78


def test_of_very_many_mistakes_the_first_are_told():
    with pytest.raises(OtaError) as caught:
        OtaSettings.parse(changed(**{f"key{n}": n for n in range(100)}), PATH)
    assert str(caught.value).count("\n") == 10
    assert "and 90 more" in str(caught.value)


def test_telemetry_does_not_trip_over_a_table_that_makes_no_sense(tmp_path):
    file = tmp_path / "vehicle.toml"
    file.write_text(
        'name = "car"\n[[bus]]\nname = "a"\ninterface = "unix"\nchannel = "x"\n[ota]\nroots = 3\n'
    )
    vehicle = Vehicle.load(file)
    with pytest.raises(OtaError):
        OtaSettings.parse(vehicle.ota, file)


def test_a_factorys_root_is_read_up_to_its_limit(tmp_path):
    root = tmp_path / "root.json"
    with pytest.raises(OtaError, match="No such file"):
        read_root(root)
    root.write_bytes(b"{}")
    assert read_root(root) == b"{}"
    root.write_bytes(bytes(65_537))
    with pytest.raises(OtaError, match="is this root metadata"):
        read_root(root)
