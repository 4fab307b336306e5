"""New keys for old ones, end to end: with clients that slept through it, and with the old key."""

import json
import subprocess
import sys

import pytest
from release_help import NOW, Place
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root

from bordnetz.release import roots
from bordnetz.release.errors import ReleaseError
from bordnetz.release.rotation import revoke, rotate
from bordnetz.release.settings import ALL_ROLES, Settings
from bordnetz.uptane import keys
from bordnetz.uptane.keys import SigningKeyError, load


def prepared(place: Place) -> Place:
    place.vehicles("car-1")
    place.image("maps-1", b"roads")
    place.assign("spring", "maps-1")
    place.sign()
    place.publish()
    return place


def rotated(place: Place, role: str, name: str = "new.pem", **changes):
    path = place.folder.parent / name
    if not path.exists():
        keys.generate(path)
    with place.open() as release:
        return rotate(release, role, str(path), NOW, **changes)


@pytest.mark.parametrize("role", ALL_ROLES)
def test_a_client_that_slept_through_the_rotation_of_any_role_follows(place, client, role):
    prepared(place)
    repository = role.partition("/")[0]
    old = client("director/car-1" if repository == "director" else "image")
    old.refresh()
    key = load(f"keys/{role.replace('/', '-')}.pem", place.folder).public_key.keyid
    done = rotated(place, role)
    place.publish()
    assert done.roots == {repository: 2}
    assert old.targets()["targets"].keys() == {"maps-1"}
    root = json.loads(place.root(repository, 2))["signed"]
    assert root["version"] == 2
    assert key not in root["keys"]


def test_a_vehicle_from_the_factory_walks_the_whole_chain(place, client):
    prepared(place)
    for number in range(3):
        rotated(place, "director/root", f"new-{number}.pem")
    rotated(place, "director/targets", "more.pem")
    place.publish()
    walker = client("director/car-1")
    walker.refresh()
    assert [name for name in walker.fetcher.fetched if "root" in name][:4] == [
        "2.root.json",
        "3.root.json",
        "4.root.json",
        "5.root.json",
    ]


def test_each_root_is_signed_by_the_keys_before_it_and_by_its_own(place):
    rotated(place, "image/root")
    first, second = (Metadata[Root].from_bytes(place.root("image", n)) for n in (1, 2))
    first.verify_delegate("root", second)
    second.verify_delegate("root", second)
    assert len(second.signatures) == 2


def test_a_root_is_renewed_with_the_same_keys(place):
    with place.open() as release:
        done = rotate(release, "image/root", None, NOW + 1000)
    assert (done.roots, done.added, done.gone) == ({"image": 2}, [], [])
    first, second = (json.loads(place.root("image", n))["signed"] for n in (1, 2))
    assert second["expires"] > first["expires"]
    assert second["keys"] == first["keys"]


def test_what_a_revoked_key_signs_is_refused_by_old_clients_and_new(place, client):
    prepared(place)
    stolen = load("keys/director-targets.pem", place.folder)
    sleeper = client("director/car-1")
    sleeper.refresh()
    with place.open() as release:
        done = revoke(release, "director-targets", {}, NOW, key_folder=place.folder / "keys")
    assert (done.gone, done.added) == (["director-targets"], ["director-targets-2"])
    place.publish()
    root = Metadata[Root].from_bytes(place.root("director", 2))
    path = place.folder / "director/car-1/targets.json"
    root.verify_delegate("targets", Metadata.from_bytes(path.read_bytes()))
    # The thief replaces what is signed, in every file that the key could sign.
    signed = json.loads(path.read_bytes())["signed"]
    forgery = Metadata.from_bytes(roots.sign(signed, [stolen]))
    with pytest.raises(UnsignedMetadataError):
        root.verify_delegate("targets", forgery)
    assert sleeper.targets()["version"] == 2


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_client_refuses_all_that_a_revoked_key_ever_signed(place, client, role):
    prepared(place)
    image = place.site / "image"
    before = {path.name: path.read_bytes() for path in image.iterdir()}
    with place.open() as release:
        revoke(release, f"image-{role}", {}, NOW, key_folder=place.folder / "keys")
    place.publish()
    after = (image / "timestamp.json").read_bytes()
    for name in ("timestamp.json", "1.snapshot.json", "1.targets.json"):
        (image / name).write_bytes(before[name])
    with pytest.raises(UnsignedMetadataError):
        client("image").refresh()
    (image / "timestamp.json").write_bytes(after)
    client("image").refresh()


def test_a_new_key_may_lie_in_a_file_of_any_name(place):
    assert rotated(place, "image/targets", "image-targets (new).pem").added == ["image-targets-2"]


def test_a_key_with_several_roles_goes_from_all_of_them(tmp_path):
    shared = tmp_path / "shared.pem"
    keys.generate(shared)
    roles = ("director/snapshot", "director/timestamp", "image/timestamp")
    place = Place(tmp_path / "fleet").init(chosen={role: [str(shared)] for role in roles})
    with place.open() as release:
        done = revoke(release, "director-snapshot", {}, NOW, key_folder=tmp_path / "new")
    assert done.roots == {"director": 2, "image": 2}
    keyid = load(str(shared)).public_key.keyid
    for repository in ("director", "image"):
        assert keyid not in json.loads(place.root(repository, 2))["signed"]["keys"]


def test_a_revoked_key_does_not_come_back(place):
    with place.open() as release:
        revoke(release, "image-targets", {}, NOW, key_folder=place.folder / "keys")
        with pytest.raises(ReleaseError, match="was revoked"):
            rotate(release, "image/snapshot", str(place.folder / "keys/image-targets.pem"), NOW)


def test_a_lost_root_key_is_replaced_by_the_others(tmp_path):
    place = Place(tmp_path / "fleet").init(root_keys=3, root_threshold=2)
    (place.folder / "keys/director-root-1.pem").unlink()
    with place.open() as release:
        done = revoke(
            release,
            "director-root-1",
            {"director/root": str(keys_file(tmp_path / "fresh.pem"))},
            NOW,
        )
    assert done.roots == {"director": 2}
    first, second = (Metadata[Root].from_bytes(place.root("director", n)) for n in (1, 2))
    first.verify_delegate("root", second)
    assert len(second.signed.roles["root"].keyids) == 3


def keys_file(path):
    keys.generate(path)
    return path


def test_a_root_with_keys_to_spare_can_lose_one(tmp_path):
    place = Place(tmp_path / "fleet").init(root_keys=3, root_threshold=2)
    with place.open() as release:
        revoke(release, "image-root-3", {}, NOW)
    root = json.loads(place.root("image", 2))["signed"]["roles"]["root"]
    assert (len(root["keyids"]), root["threshold"]) == (2, 2)


def test_too_few_root_keys_change_nothing(tmp_path):
    place = Place(tmp_path / "fleet").init(root_keys=3, root_threshold=2)
    before = (place.folder / "release.json").read_bytes()
    for number in (1, 2):
        (place.folder / f"keys/image-root-{number}.pem").unlink()
    with pytest.raises(SigningKeyError):
        rotated(place, "image/targets")
    assert (place.folder / "release.json").read_bytes() == before
    assert place.query("SELECT max(version) FROM root WHERE repository = 'image'") == [(1,)]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nobody", {}), "there is no key nobody"),
        (("image-targets", {}), "left with 0 keys of the 1"),
        (("image-targets", {"image/snapshot": "x", "image/targets": "new.pem"}), "does not use"),
    ],
)
def test_a_revocation_that_cannot_be_says_why(place, arguments, text, monkeypatch):
    monkeypatch.chdir(place.folder.parent)
    keys.generate(place.folder.parent / "new.pem")
    with place.open() as release, pytest.raises(ReleaseError, match=text):
        revoke(release, *arguments, NOW)


def test_a_rotation_that_cannot_be_says_why(tmp_path):
    place = Place(tmp_path / "fleet").init(root_keys=2)
    with pytest.raises(ReleaseError, match="say which one goes"):
        rotated(place, "image/root")
    with pytest.raises(ReleaseError, match="has no key other"):
        rotated(place, "image/root", old="other")
    with place.open() as release, pytest.raises(ReleaseError, match="one that it has already"):
        rotate(release, "image/targets", str(place.folder / "keys/image-targets.pem"), NOW)
    with place.open() as release, pytest.raises(ReleaseError, match="name the new key"):
        rotate(release, "image/targets", None, NOW)


def change(place: Place) -> Settings:
    """What a rotation of image/targets comes to, short of the signatures."""
    path = keys_file(place.folder.parent / "change.pem")
    settings = json.loads((place.folder / "release.json").read_bytes())
    key = load(str(path)).public_key
    settings["keys"]["image-targets"] |= {
        "private": str(path),
        "keyid": key.keyid,
        "public": key.keyval["public"],
    }
    return Settings.model_validate(settings)


def test_a_change_of_keys_that_ended_before_the_commit_never_was(place):
    with place.open() as release:
        new = change(place)
        release.propose(new)
    with place.open() as release:
        assert release.settings.keyids("image/targets") != new.keyids("image/targets")
    assert not (place.folder / "release.next.json").exists()


DYING = """
import os, sys
from pathlib import Path
from bordnetz.release import roots
from bordnetz.release.release import Release
from bordnetz.release.settings import Settings
from bordnetz.release.signers import Signers
folder, new = Path(sys.argv[1]), Settings.model_validate_json(sys.argv[2])
Release.accept = lambda *_: os._exit(9)
with Release(folder) as release:
    before, after = Signers(folder, release.settings), Signers(folder, new)
    roots.succeed(release, new, before, after, ["image"], int(sys.argv[3]))
"""


def test_a_change_of_keys_that_ended_after_the_commit_is_whole(place):
    new = change(place)
    arguments = [str(place.folder), new.model_dump_json(), str(NOW)]
    process = subprocess.run([sys.executable, "-c", DYING, *arguments])
    assert process.returncode == 9
    with pytest.raises(ReleaseError, match="did not end"):
        place.publish()
    with place.open() as release:
        assert release.settings.keyids("image/targets") == new.keyids("image/targets")
    place.sign()
    place.publish()


def test_what_is_signed_under_old_keys_is_not_published_with_new_roots(place):
    prepared(place)
    (place.folder / "keys/image-timestamp.pem").rename(place.folder / "away")
    with pytest.raises(SigningKeyError):
        rotated(place, "director/targets")
    with pytest.raises(ReleaseError, match="did not end"):
        place.publish()
    (place.folder / "away").rename(place.folder / "keys/image-timestamp.pem")
    assert place.sign().vehicles == 1
    place.publish()
