"""Manifests that come back: what is accepted, and what a vehicle that fails gets."""

import hashlib
import json

import pytest
from release_help import CAR_KEY, ECUS, NOW, Place, manifest
from securesystemslib.signer import CryptoSigner

from bordnetz.release import status
from bordnetz.release.errors import ReleaseError
from bordnetz.release.intake import Result, intake
from bordnetz.uptane.manifest import MAX_BYTES

SHA, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def fleet(place: Place) -> Place:
    place.vehicles("car-1", "car-2")
    return place


def taken(place: Place, *manifests: bytes) -> list[Result]:
    folder = place.folder.parent / "in"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for number, data in enumerate(manifests):
        (folder / f"{number}.json").write_bytes(data)
    with place.open() as release:
        return list(intake(release, [folder]))


def refusal(place: Place, data: bytes) -> str:
    (result,) = taken(place, data)
    assert result.outcome == "refused"
    if result.vehicle:
        assert place.query("SELECT refused FROM vehicle WHERE name = ?", result.vehicle) == [
            (result.reason,)
        ]
    return result.reason


def test_a_manifest_that_is_in_order_is_accepted_and_says_who_has_what(fleet):
    (result,) = taken(fleet, manifest(installed={"maps": ("maps-1", SHA, 3)}))
    assert (result.vehicle, result.outcome) == ("car-1", "accepted")
    with fleet.open() as release:
        found = status.vehicle(release, "car-1")
    assert found["ecus"]["maps"]["installed"] == {
        "name": "maps-1",
        "sha256": SHA,
        "releaseCounter": 3,
    }
    assert (found["sequence"], found["refused"]) == (1, None)


def test_manifests_of_a_vehicle_are_taken_in_their_order(fleet):
    results = taken(fleet, *(manifest(sequence=number) for number in (3, 1, 2)))
    assert [result.outcome for result in results] == ["accepted"] * 3


def test_a_manifest_that_was_accepted_before_is_passed_over(fleet):
    manifests = [manifest(sequence=number) for number in range(1, 25)]
    taken(fleet, *manifests)
    assert {result.outcome for result in taken(fleet, *manifests)} == {"known"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (manifest(signer=CryptoSigner.generate_ed25519()), "is not signed by a key known"),
        (manifest(ecus={"head-unit": "hu-2026", "maps": "hw-maps"}), "no report of ECU dbc"),
        (manifest(ecus={**ECUS, "brakes": "hw"}), "ECU brakes is none of this vehicle's"),
        (manifest(ecus={**ECUS, "dbc": "hw-2"}), "ECU dbc is hardware hw-2, not hw-dbc"),
        (manifest(primary="maps"), "its primary is maps"),
        (manifest().replace(b'"sequence":1', b'"sequence":2'), "is not signed"),
    ],
)
def test_a_manifest_that_is_not_in_order_is_refused_with_the_reason(fleet, data, text):
    assert text in refusal(fleet, data)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({"sequence": 5}, {"sequence": 4}, "sequence 4 after 5"),
        ({"sequence": 5}, {"sequence": 5, "moment": NOW + 1}, "had the sequence 5, too"),
        ({"moment": NOW}, {"sequence": 2, "moment": NOW - 1}, "its time went back"),
        (
            {"installed": {"maps": ("maps-2", SHA, 2)}},
            {"sequence": 2, "installed": {"maps": ("maps-1", OTHER, 1)}},
            "its release counter sank from 2 to 1",
        ),
        (
            {"installed": {"maps": ("maps-2", SHA, 2)}},
            {"sequence": 2, "installed": {"maps": ("maps-3", OTHER, 2)}},
            "another image with the same release counter",
        ),
    ],
)
def test_nothing_sinks(fleet, first, second, text):
    taken(fleet, manifest(**first))
    assert text in refusal(fleet, manifest(**second))


def test_an_ecu_that_says_nothing_for_once_does_not_forget_its_counter(fleet):
    taken(fleet, manifest(installed={"maps": ("maps-2", SHA, 2)}), manifest(sequence=2))
    lower = manifest(sequence=3, installed={"maps": ("maps-1", OTHER, 1)})
    assert "sank" in refusal(fleet, lower)


def test_an_image_of_ours_with_other_bytes_is_refused(fleet):
    added = fleet.image("maps-1", b"roads")
    good = ("maps-1", added.sha256, 1)
    assert taken(fleet, manifest(installed={"maps": good}))[0].outcome == "accepted"
    false = manifest("car-2", installed={"maps": ("maps-1", SHA, 1)})
    assert "is not that image" in refusal(fleet, false)


def test_one_vehicle_cannot_speak_for_another(fleet):
    key = CryptoSigner.generate_ed25519()
    fleet.vehicles("car-3", key=key)
    assert "is not signed" in refusal(fleet, manifest("car-1", signer=key))


def test_what_is_no_manifest_accuses_no_vehicle(fleet):
    for data in (b"", b"\xff", b"[" * 9_999, b" " * (MAX_BYTES + 1), b"{}"):
        (result,) = taken(fleet, data)
        assert (result.vehicle, result.outcome) == ("", "refused")
    (result,) = taken(fleet, manifest("car-9"))
    assert "not known here" in result.reason
    assert fleet.query("SELECT count(refused) FROM vehicle") == [(0,)]


def test_a_good_manifest_ends_a_refusal(fleet):
    refusal(fleet, manifest(primary="maps"))
    (result,) = taken(fleet, manifest(sequence=2))
    assert result.outcome == "accepted"
    assert fleet.query("SELECT count(refused) FROM vehicle") == [(0,)]


def test_refused_vehicles_and_attacks_are_listed(fleet):
    taken(fleet, manifest(attacks=["rollback", "freeze"]), manifest("car-2", primary="maps"))
    with fleet.open() as release:
        found = status.fleet(release, NOW)
    assert (found["refused"], found["attacked"]) == (1, 1)
    assert found["refusals"] == {"car-2": "its primary is maps, not head-unit"}
    assert [one["kind"] for one in found["attacks"]["car-1"]] == ["rollback", "freeze"]
    text = "\n".join(status.fleet_lines(found))
    assert "refused: car-2: its primary is maps" in text
    assert "attacked: car-1: freeze, rollback" in text


def test_a_file_that_is_not_there_is_told(fleet):
    with fleet.open() as release, pytest.raises(ReleaseError, match="cannot be read"):
        list(intake(release, [fleet.folder / "nothing.json"]))


def test_status_counts_who_has_what(fleet):
    added = fleet.image("maps-1", b"roads")
    fleet.assign("spring", "maps-1")
    fleet.sign()
    taken(fleet, manifest(installed={"maps": ("maps-1", added.sha256, 1)}))
    with fleet.open() as release:
        found = status.fleet(release, NOW)
    assert found["images"][0]["installedOn"] == 1
    assert found["campaigns"] == [
        {
            "campaign": "spring",
            "targets": ["maps-1"],
            "vehicles": 2,
            "signed": 2,
            "refused": 0,
            "installed": {"maps-1": 1},
        }
    ]
    assert hashlib.sha256(b"roads").hexdigest() == added.sha256
    json.dumps(found)
    assert CAR_KEY.public_key.keyval["public"] not in json.dumps(found)
