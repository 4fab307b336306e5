"""Payloads and the ways they travel."""

import hashlib
import io
import random

import pytest

from bordnetz.payload import delta, tree, zstd
from bordnetz.release import images
from bordnetz.release.errors import ReleaseError

NOISE = random.Random(1).randbytes


def ways(added: images.Added) -> dict:
    return {delivery.encoding: delivery for delivery in added.custom.deliveries}


def test_a_payload_lies_under_its_hash_in_each_form(place):
    content = b"roads and bridges " * 1000
    added = place.image("maps-1", content)
    found = ways(added)
    assert found.keys() == {"identity", "zstd"}
    assert added.sha256 == hashlib.sha256(content).hexdigest()
    for delivery in found.values():
        data = (place.folder / "payloads" / delivery.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (delivery.length, delivery.sha256)
    packed = (place.folder / "payloads" / found["zstd"].path).open("rb")
    with packed:
        assert b"".join(zstd.decompress(packed, len(content))) == content


def test_what_compression_does_not_make_smaller_travels_as_it_is(place):
    assert ways(place.image("maps-1", NOISE(5_000))).keys() == {"identity"}


def test_a_delta_from_each_older_image_of_the_hardware_is_made(place):
    old, other, new = NOISE(20_000), NOISE(20_000), NOISE(1)
    place.image("maps-1", old)
    place.image("maps-2", old + b"more")
    place.image("dbc-1", other, hardware="hw-dbc")
    added = place.image("maps-3", old + new)
    deltas = [one for one in added.custom.deliveries if one.encoding == "delta"]
    bases = {hashlib.sha256(base).hexdigest() for base in (old, old + b"more")}
    assert {one.base for one in deltas} == bases
    for one in deltas:
        base = old if one.base == hashlib.sha256(old).hexdigest() else old + b"more"
        patch = (place.folder / "payloads" / one.path).read_bytes()
        made = delta.apply(io.BytesIO(base), io.BytesIO(patch), added.length)
        assert b"".join(made) == old + new


def test_so_many_deltas_are_made_as_asked_for_from_the_newest(place):
    for number in range(3):
        place.image(f"maps-{number}", NOISE(3_000))
    last = place.query("SELECT sha256 FROM image WHERE name = 'maps-2'")
    content = (place.folder / "payloads" / f"{last[0][0]}.maps-2").read_bytes() + b"!"
    deltas = [
        one.base
        for one in place.image("maps-3", content, deltas=1).custom.deliveries
        if one.encoding == "delta"
    ]
    assert deltas == [last[0][0]]
    none = place.image("maps-4", content + b"!", deltas=0)
    assert "delta" not in ways(none)


def test_a_delta_that_is_no_smaller_is_left_out(place):
    place.image("maps-1", NOISE(3_000))
    assert "delta" not in ways(place.image("maps-2", NOISE(3_000)))


def test_a_folder_becomes_its_canonical_tar(place, tmp_path):
    folder = tmp_path / "bundle"
    (folder / "dbc").mkdir(parents=True)
    (folder / "dbc/ev1.dbc").write_text("VERSION ''")
    with place.open() as release:
        added = images.add(release, folder, name="dbc-1", hardware=["hw-dbc"], kind="bundle")
    assert (added.length, added.sha256) == tree.digest(folder)
    assert added.custom.kind == "bundle"


def test_counters_grow_by_themselves(place):
    counters = [
        place.image(f"maps-{number}", bytes([number])).custom.release_counter for number in range(3)
    ]
    assert counters == [1, 2, 3]
    other = place.image("dbc-1", b"x", hardware="hw-dbc", counter=40)
    assert other.custom.release_counter == 40


@pytest.mark.parametrize("counter", [0, 7])
def test_a_counter_that_does_not_grow_is_refused(place, counter):
    place.image("maps-1", b"1", counter=7)
    with pytest.raises(ReleaseError, match="take 8 or higher"):
        place.image("maps-2", b"2", counter=counter)


def test_a_name_is_used_once_and_so_are_bytes(place):
    place.image("maps-1", b"1")
    with pytest.raises(ReleaseError, match="put the version into the name"):
        place.image("maps-1", b"2")
    with pytest.raises(ReleaseError, match="byte for byte"):
        place.image("maps-2", b"1")


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ("folder", "rauc", "rauc is a file"),
        ("file", "tree", "a tree is a folder"),
        ("nothing", None, "no such file or folder"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused(place, tmp_path, source, kind, text):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with place.open() as release, pytest.raises(ReleaseError, match=text):
        images.add(release, tmp_path / source, name="x", hardware=["h"], kind=kind)


@pytest.mark.parametrize("name", ["../x", "", "a b", "x" * 97, ".hidden"])
def test_a_name_that_is_no_name_leaves_nothing_behind(place, name):
    with pytest.raises((ReleaseError, ValueError)):
        place.image(name, b"1")
    assert not list((place.folder / "payloads").glob("*"))
    assert place.query("SELECT count(*) FROM image") == [(0,)]


def test_an_empty_payload_is_a_payload(place):
    place.image("maps-1", b"")
    added = place.image("maps-2", b"roads")
    assert "delta" not in ways(added)


def test_what_a_broken_command_left_is_cleared_away(place):
    place.image("maps-1", b"1")
    left = place.folder / "payloads/.new-7"
    left.write_bytes(b"half")
    place.image("maps-2", b"2")
    assert not left.exists()
