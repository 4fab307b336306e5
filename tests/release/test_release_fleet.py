"""Vehicles come in whole or not at all, and a line that cannot be used is named."""

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from release_help import CAR_KEY, Place

from bordnetz.release import fleet
from bordnetz.release.errors import ReleaseError

HEX = CAR_KEY.public_key.keyval["public"]
HEADER = "vehicle,primary,public_key,ecus,tags\n"
GOOD = f"car-1,head-unit,{HEX},head-unit:hu-2026:SN1;dbc:hw-dbc,pilot;berlin\n"


def imported(place: Place, name: str, content: str | bytes, **changes) -> fleet.Stored:
    path = place.folder.parent / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with place.open() as release:
        return fleet.store(release, fleet.read_file(path), **changes)


def refusal(place: Place, name: str, content: str | bytes) -> str:
    with pytest.raises(ReleaseError) as caught:
        imported(place, name, content)
    assert place.query("SELECT count(*) FROM vehicle") == [(0,)]
    return str(caught.value)


def line(**changes) -> str:
    return json.dumps(
        {
            "vehicle": "car-1",
            "primary": "head-unit",
            "publicKey": HEX,
            "ecus": [{"id": "head-unit", "hardwareId": "hu-2026", "serial": "SN1"}],
            "tags": ["pilot"],
        }
        | changes
    )


def test_csv_and_json_say_the_same(place):
    assert imported(place, "fleet.csv", HEADER + GOOD) == fleet.Stored(1, 0)
    ecus = [
        {"id": "dbc", "hardwareId": "hw-dbc"},
        {"id": "head-unit", "hardwareId": "hu-2026", "serial": "SN1"},
    ]
    key = CAR_KEY.public_key.to_dict()
    content = line(vehicle="car-2", ecus=ecus, publicKey=key, tags=["berlin", "pilot"])
    assert imported(place, "fleet.jsonl", content) == fleet.Stored(1, 0)
    first, second = place.query("SELECT model, primary_ecu, key, serials FROM vehicle")
    assert first == second
    assert len(place.query("SELECT * FROM tag")) == 4


def test_columns_may_come_in_any_order_and_with_a_byte_order_mark(place):
    text = f"\ufefftags,ecus,public_key,primary,vehicle\r\n,a:b,{HEX},a,car-1\r\n"
    assert imported(place, "fleet.csv", text).added == 1


def test_wrong_columns_are_told(place):
    assert "line 1 must name the columns" in refusal(place, "fleet.csv", "vin,key\nx,y\n")


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("../car,a,HEX,a:b,\n", "vehicle: String should match"),
        ("car-2,a,HEX,a,\n", "not ID:HARDWARE"),
        ("car-2,b,HEX,a:b,\n", "'b' is none of the ECUs"),
        ("car-2,a,HEX,a:b;a:c,\n", "an id stands twice"),
        ("car-2,a,1234,a:b,\n", "no public key"),
        ("car-2,a,HEX,,\n", "ecus: List should have at least 1"),
        ("car-2,a,HEX\n", "3 fields, not 5"),
        ('car-2,a,"HEX,a:b,\n', "no valid CSV"),
        ("car-2,a,HEX,a:b,two words\n", "tags.0"),
        ("car-1,a,HEX,a:b,\n", "stands in line 2 already"),
        (f"{'x' * 100_000}\n", "over 65536 bytes"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_nothing_is_imported(place, bad, text):
    said = refusal(place, "fleet.csv", HEADER + GOOD + bad.replace("HEX", HEX))
    assert "line 3: " in said
    assert text in said
    assert "nothing was imported" in said


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("{", "no valid JSON"),
        ("[]", "should be a valid dictionary"),
        ("[" * 60_000, "nested too deeply"),
        (line(vehicle=7), "vehicle: Input should be a valid string"),
        (line(more=1), "more: Extra inputs"),
        (line(ecus=[]), "ecus: List should have at least 1"),
        (line(publicKey={"keytype": "rsa"}), "no public key"),
        ('{"vehicle": ' + "9" * 10_000 + "}", "line 2"),
    ],
)
def test_a_json_line_that_cannot_be_used_is_named(place, bad, text):
    said = refusal(place, "fleet.jsonl", line(vehicle="car-9") + "\n" + bad + "\n")
    assert "line 2: " in said
    assert text in said


def test_of_thousands_of_bad_lines_the_first_are_named(place):
    said = refusal(place, "fleet.csv", HEADER + "x\n" * 5_000)
    assert len(said.splitlines()) == 22
    assert "and 4980 more lines" in said


def test_what_is_no_text_is_told(place):
    assert "line 1" in refusal(place, "fleet.jsonl", b"\xff\xfe\x00")
    with place.open() as release, pytest.raises(ReleaseError, match="cannot be read"):
        fleet.store(release, fleet.read_file(Path("/nowhere/fleet.csv")))


def test_an_endless_line_is_not_read_into_memory(place):
    path = place.folder.parent / "endless.jsonl"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ReleaseError, match="line 1: over 65536 bytes"):
            list(fleet.read_file(path))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300))
def test_junk_is_never_more_than_refused(tmp_path_factory, junk):
    path = tmp_path_factory.mktemp("junk") / "fleet.csv"
    path.write_bytes(HEADER.encode() + junk)
    try:
        rows = list(fleet.read_file(path))
    except ReleaseError:
        return
    assert all(row.name for _, row in rows)


def test_a_vehicle_that_is_there_is_replaced_only_if_that_is_asked_for(place):
    place.vehicles("car-1", "car-2", tags=["old"])
    with pytest.raises(ReleaseError, match=r"vehicle car-1.*--replace"):
        place.vehicles("car-3", "car-1")
    assert place.query("SELECT count(*) FROM vehicle") == [(2,)]
    place.vehicles("car-1", tags=["new"], ecus={"head-unit": "hu-2027"}, replace=True)
    assert place.query(
        "SELECT ecus FROM vehicle JOIN model ON model.id = model WHERE name = 'car-1'"
    ) == [('{"head-unit":"hu-2027"}',)]
    assert place.query("SELECT tag, count(*) FROM tag GROUP BY tag") == [("new", 1), ("old", 1)]


def test_vehicles_with_the_same_ecus_share_them(place):
    place.vehicles(*(f"car-{number}" for number in range(50)))
    assert place.query("SELECT count(*) FROM model") == [(1,)]
