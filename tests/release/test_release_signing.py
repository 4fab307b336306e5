"""Signing: the bytes, the runs, and what is left after one that was cut short."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from release_help import DAY, NOW, manifest
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization.json import CanonicalJSONSerializer

from bordnetz.release import signing
from bordnetz.release.errors import ReleaseError
from bordnetz.release.intake import intake
from bordnetz.uptane.keys import SigningKeyError
from bordnetz.uptane.time import verify_time

ROLES = ("targets", "snapshot", "timestamp")


def signed(place, vehicle="car-1", role="targets") -> dict:
    return json.loads((place.folder / f"director/{vehicle}/{role}.json").read_bytes())["signed"]


def test_every_byte_that_is_signed_is_canonical_json_as_tuf_has_it(place):
    names = [f"car.{number}_x-{number}" for number in range(20)]
    place.vehicles(*names)
    place.image("maps-1", b"roads" * 100)
    place.assign("spring", "maps-1", groups=[["maps", "dbc"]], vehicles=names[::2])
    place.sign()
    root = Metadata[Root].from_bytes(place.root("director"))
    for name in names:
        for role in ROLES:
            data = (place.folder / f"director/{name}/{role}.json").read_bytes()
            metadata = Metadata.from_bytes(data)
            root.verify_delegate(role, metadata)
            payload = CanonicalJSONSerializer().serialize(metadata.signed)
            assert data.endswith(b'"signed":' + payload + b"}")
            assert data == encode_canonical(json.loads(data)).encode()


def test_what_names_a_file_names_its_version_length_and_hash(place):
    place.vehicles("car-1")
    place.sign()
    folder = place.folder / "director/car-1"
    files = {role: Metadata.from_bytes((folder / f"{role}.json").read_bytes()) for role in ROLES}
    files["snapshot"].signed.meta["targets.json"].verify_length_and_hashes(
        (folder / "targets.json").read_bytes()
    )
    files["timestamp"].signed.snapshot_meta.verify_length_and_hashes(
        (folder / "snapshot.json").read_bytes()
    )
    assert {metadata.signed.version for metadata in files.values()} == {1}


def test_hundreds_of_vehicles_get_metadata_of_their_own(place):
    names = [f"car-{number}" for number in range(400)]
    place.vehicles(*names)
    assert place.sign().vehicles == 400
    assert [signed(place, name)["custom"]["vehicleId"] for name in names] == names


def test_the_time_is_one_signature_for_all(place):
    place.vehicles("car-1", "car-2")
    place.sign()
    first, second = (
        (place.folder / f"director/{name}/time.json").read_bytes() for name in ("car-1", "car-2")
    )
    assert first == second
    root = Metadata[Root].from_bytes(place.root("director")).signed
    keys = [root.keys[keyid] for keyid in root.unrecognized_fields["custom"]["timeKeys"]]
    assert (verify_time(first, keys).time, verify_time(first, keys).sequence) == (NOW, 1)


def test_signing_again_without_a_change_signs_nothing(place):
    place.vehicles("car-1")
    assert place.sign().version == 1
    assert place.sign().version is None
    assert signed(place)["version"] == 1


def test_a_change_for_one_vehicle_signs_that_one(place):
    place.vehicles("car-1", "car-2")
    place.image("maps-1", b"roads")
    place.sign()
    place.assign("spring", "maps-1", vehicles=["car-2"])
    assert place.sign().vehicles == 1
    assert (signed(place, "car-1")["version"], signed(place, "car-2")["version"]) == (1, 2)


def test_a_refresh_signs_all_but_targets_and_roots(place):
    place.vehicles("car-1")
    place.sign()
    place.sign(NOW + DAY, refresh=True)
    versions = {role: signed(place, role=role)["version"] for role in ROLES}
    assert versions == {"targets": 1, "snapshot": 2, "timestamp": 2}
    assert signed(place, role="time")["sequence"] == 2
    assert signed(place, role="snapshot")["meta"]["targets.json"]["version"] == 1


def test_a_refresh_signs_targets_that_have_a_third_of_their_time_left(place):
    place.vehicles("car-1")
    place.sign()
    place.sign(NOW + 119 * DAY, refresh=True)
    assert signed(place)["version"] == 1
    place.sign(NOW + 121 * DAY, refresh=True)
    assert signed(place)["version"] == 3
    assert place.query("SELECT version FROM metadata WHERE role = 'targets'") == [(3,)]


def test_time_does_not_go_back(place):
    place.vehicles("car-1")
    place.sign()
    with pytest.raises(ReleaseError, match="set the clock"):
        place.sign(NOW - 1, refresh=True)


def test_a_run_that_was_cut_short_is_done_again_under_another_version(place):
    place.vehicles("car-1", "car-2", "car-3")
    in_the_way = place.folder / "director/car-2"
    in_the_way.parent.mkdir()
    in_the_way.touch()
    with pytest.raises(ReleaseError, match=r"car-2.*release sign` again"):
        place.sign()
    with pytest.raises(ReleaseError, match="did not end"):
        place.publish()
    in_the_way.unlink()
    assert place.sign().vehicles == 3
    assert {signed(place, f"car-{n}")["version"] for n in (1, 2, 3)} == {2}
    place.publish()


DYING = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from release_help import Place
Place(Path(sys.argv[2])).sign(int(sys.argv[3]), progress=lambda *_: os._exit(9))
"""


def test_a_run_whose_process_dies_before_its_end_leaves_everything_due(place):
    place.vehicles("car-1", "car-2")
    here = str(Path(__file__).parent)
    process = subprocess.run([sys.executable, "-c", DYING, here, str(place.folder), str(NOW)])
    assert process.returncode == 9
    assert signed(place, "car-2")["version"] == 1
    assert place.sign().vehicles == 2
    assert signed(place, "car-2")["version"] == 2


def test_shorter_metadata_leaves_nothing_of_the_longer(place):
    place.vehicles("car-1")
    place.image("maps-1", b"roads")
    place.assign("spring", "maps-1")
    place.sign()
    place.vehicles("car-1", ecus={"head-unit": "hu-2026"}, replace=True)
    place.sign()
    assert signed(place)["targets"] == {}
    assert "campaign" not in signed(place)["custom"]


def test_a_key_that_is_missing_costs_no_version(place):
    place.vehicles("car-1")
    key = place.folder / "keys/director-snapshot.pem"
    key.rename(place.folder / "elsewhere")
    with pytest.raises(SigningKeyError, match="no such key file"):
        place.sign()
    (place.folder / "elsewhere").rename(key)
    assert place.sign().version == 1


def test_another_key_in_the_file_is_noticed_before_it_signs(place):
    place.vehicles("car-1")
    keys = place.folder / "keys"
    (keys / "director-snapshot.pem").write_bytes((keys / "image-snapshot.pem").read_bytes())
    with pytest.raises(ReleaseError, match="another key"):
        place.sign()


def test_root_keys_are_not_needed_to_sign(place):
    place.vehicles("car-1")
    for repository in ("director", "image"):
        (place.folder / f"keys/{repository}-root.pem").unlink()
    assert place.sign().version == 1


def test_a_vehicle_that_was_refused_keeps_its_old_targets(place, tmp_path):
    place.vehicles("car-1")
    place.image("maps-1", b"old")
    place.image("maps-2", b"new")
    place.assign("spring", "maps-1")
    place.sign()
    (tmp_path / "bad").write_bytes(manifest(ecus={"head-unit": "hu-2026"}))
    with place.open() as release:
        list(intake(release, [tmp_path / "bad"]))
    assert place.assign("summer", "maps-2").refused == 1
    assert place.sign().refused == 1
    assert signed(place)["targets"].keys() == {"maps-1"}
    (tmp_path / "good").write_bytes(manifest())
    with place.open() as release:
        list(intake(release, [tmp_path / "good"]))
    assert place.sign().vehicles == 1
    assert signed(place)["targets"].keys() == {"maps-2"}


def test_progress_is_told(place):
    told = []
    place.vehicles("car-1", "car-2")
    place.sign(progress=lambda *what: told.append(what))
    assert told[-1] == ("vehicles signed", 2, 2)


@pytest.mark.slow
def test_five_thousand_vehicles_are_signed(place):
    place.vehicles(*(f"car-{number}" for number in range(5_000)))
    assert place.sign() == signing.Signed(1, 5_000, 0)
    assert len(list((place.folder / "director").iterdir())) == 5_000
    Metadata[Root].from_bytes(place.root("director")).verify_delegate(
        "targets",
        Metadata.from_bytes((place.folder / "director/car-4999/targets.json").read_bytes()),
    )


def test_the_key_of_the_images_is_asked_for_where_images_are_due_alone(place):
    place.vehicles("car-1")
    place.image("maps-1", b"roads" * 100)
    place.sign()
    (key,) = (place.folder / "keys").glob("image-targets*")
    away = key.rename(place.folder / "safe.pem")
    place.sign(NOW + DAY, refresh=True)
    place.assign("spring", "maps-1")
    assert place.sign(NOW + DAY).vehicles == 1
    place.image("maps-2", b"streets" * 100)
    with pytest.raises(SigningKeyError):
        place.sign(NOW + DAY)
    away.rename(key)
    place.sign(NOW + DAY)
    key.rename(away)
    with pytest.raises(SigningKeyError):
        place.sign(NOW + 122 * DAY, refresh=True)
