"""A release from its keys to a vehicle, seen by the unmodified client of python-tuf."""

import json
import stat

import pytest
from release_help import ECUS, NOW, Place

from bordnetz.release.errors import ReleaseError
from bordnetz.uptane.director import Ecu, Vehicle
from bordnetz.uptane.floor import Floor
from bordnetz.uptane.keys import generate
from bordnetz.uptane.steps import drive
from bordnetz.uptane.time import TimeLimits
from bordnetz.uptane.trust import Roots, Trust


def published(place: Place) -> Place:
    place.vehicles("car-1", "car-2")
    place.image("maps-1", b"old roads " * 1000)
    place.image("maps-2", b"new roads " * 1000)
    place.assign("spring", "maps-2", vehicles=["car-1"])
    place.sign()
    place.publish()
    return place


def test_both_repositories_are_valid_for_the_client_of_python_tuf(place, client):
    published(place)
    director = client("director/car-1").targets()
    image = client("image").targets()
    entry = director["targets"]["maps-2"]
    assert entry["custom"].pop("ecus") == {"maps": {"hardwareId": "hw-maps"}}
    assert entry == image["targets"]["maps-2"]
    assert director["custom"]["vehicleId"] == "car-1"
    assert director["custom"]["campaign"]["id"] == "spring"


def test_the_payload_that_both_name_is_where_it_belongs(place, client):
    published(place)
    assert client("director/car-1").download("maps-2") == b"new roads " * 1000
    assert client("image").download("maps-1") == b"old roads " * 1000


def test_a_vehicle_without_a_campaign_has_metadata_that_names_it_and_no_target(place, client):
    published(place)
    targets = client("director/car-2").targets()
    assert targets["targets"] == {}
    assert targets["custom"] == {"vehicleId": "car-2"}


def test_the_full_verification_takes_what_is_published(place):
    published(place)
    ecus = {name: Ecu(hardware, frozenset({"file"})) for name, hardware in ECUS.items()}
    trust = Trust(
        Vehicle("car-1", ecus),
        Roots(place.root("director"), place.root("image")),
        Floor(),
        NOW,
        TimeLimits(),
    )
    folders = {"director": place.site / "director/car-1", "image": place.site / "image"}

    def answer(need):
        path = folders[need.repository] / need.name
        return path.read_bytes() if not need.stored and path.is_file() else None

    verified = drive(trust.check(), answer)
    assert verified is not None
    assert [(target.ecu, target.name) for target in verified.targets] == [("maps", "maps-2")]
    assert verified.campaign.id == "spring"


def test_a_release_folder_is_not_made_twice(place):
    before = (place.folder / "release.json").read_bytes()
    with pytest.raises(ReleaseError, match="already"):
        place.init()
    assert (place.folder / "release.json").read_bytes() == before


def test_no_private_key_is_in_the_folder_unless_it_was_asked_for(tmp_path):
    Place(tmp_path / "fleet").init(key_folder=tmp_path / "safe")
    assert not list((tmp_path / "fleet").rglob("*.pem"))
    keys = list((tmp_path / "safe").iterdir())
    assert len(keys) == 9
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    text = (tmp_path / "fleet/release.json").read_text()
    assert "PRIVATE" not in text


def test_without_keys_nothing_is_made_and_the_text_says_what_to_do(tmp_path):
    with pytest.raises(ReleaseError, match="--keys"):
        Place(tmp_path / "fleet").init(key_folder=None)
    assert not (tmp_path / "fleet/release.json").exists()


def test_a_failed_init_can_be_repeated(tmp_path):
    place = Place(tmp_path / "fleet")
    with pytest.raises(ReleaseError, match="threshold of 2"):
        place.init(root_threshold=2)
    place.init(root_threshold=2, root_keys=3)
    roles = json.loads(place.root("image"))["signed"]["roles"]
    assert (len(roles["root"]["keyids"]), roles["root"]["threshold"]) == (3, 2)


def test_the_director_root_names_who_signs_the_time(place):
    signed = json.loads(place.root("director"))["signed"]
    (keyid,) = signed["custom"]["timeKeys"]
    assert keyid in signed["keys"]
    assert "custom" not in json.loads(place.root("image"))["signed"]


def test_the_roots_for_the_factory_are_files(place):
    assert (place.folder / "director-root.json").read_bytes() == place.root("director")
    assert (place.folder / "image-root.json").read_bytes() == place.root("image")


def test_a_folder_that_is_no_release_says_how_to_make_one(tmp_path):
    with pytest.raises(ReleaseError, match="release init"):
        Place(tmp_path).open()


def test_two_commands_do_not_work_on_a_release_at_once(place):
    with place.open(), pytest.raises(ReleaseError, match="another command"):
        place.open()
    place.open().close()


@pytest.mark.parametrize(("count", "text"), [(2, "the same key stands twice"), (17, "16 at most")])
def test_a_root_with_one_key_several_times_is_refused(tmp_path, count, text):
    key = tmp_path / "root.pem"
    generate(key)
    with pytest.raises(ReleaseError, match=text):
        Place(tmp_path / "fleet").init(chosen={"image/root": [str(key)] * count})
    assert not (tmp_path / "fleet/release.json").exists()
