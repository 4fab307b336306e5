"""Publishing: in an order in which nothing is missed, and only what is new."""

from pathlib import Path

import pytest
from release_help import DAY, NOW, Place

from bordnetz.release import publishing
from bordnetz.release.destination import is_immutable
from bordnetz.release.errors import ReleaseError
from bordnetz.release.folder import FolderDestination


class Watched(FolderDestination):
    """A folder that tells in which order it was filled, and may refuse."""

    def __init__(self, folder: Path, refuse_at: int | None = None) -> None:
        super().__init__(folder)
        self.put_paths: list[str] = []
        self._refuse_at = refuse_at

    def put(self, path: str, data: bytes) -> None:
        self._note(path)
        super().put(path, data)

    def put_file(self, path: str, source: Path) -> None:
        self._note(path)
        super().put_file(path, source)

    def _note(self, path: str) -> None:
        if len(self.put_paths) == self._refuse_at:
            raise ReleaseError("no more room")
        self.put_paths.append(path)


@pytest.fixture
def fleet(place: Place) -> Place:
    place.vehicles("car-1", "car-2")
    place.image("maps-1", b"roads " * 100)
    place.assign("spring", "maps-1")
    place.sign()
    return place


def sent(place: Place, refuse_at: int | None = None, **changes) -> list[str]:
    destination = Watched(place.site, refuse_at)
    with place.open() as release:
        publishing.publish(release, destination, **changes)
    return destination.put_paths


def files(place: Place) -> dict[str, bytes]:
    return {
        str(path.relative_to(place.site)): path.read_bytes()
        for path in place.site.rglob("*")
        if path.is_file()
    }


def test_what_names_another_file_comes_after_it(fleet):
    paths = sent(fleet)
    order = [
        "targets/",
        "image/1.",
        "image/timestamp",
        "director/car-1/1.",
        "director/car-1/timest",
    ]
    places = [min(n for n, path in enumerate(paths) if path.startswith(one)) for one in order]
    assert places == sorted(places)
    for folder in ("image", "director/car-1", "director/car-2"):
        inside = [path.removeprefix(f"{folder}/") for path in paths if path.startswith(folder)]
        assert inside[-1] == "timestamp.json"
        assert inside.index("1.targets.json") < inside.index("1.snapshot.json")


def test_only_what_is_new_is_sent(fleet):
    sent(fleet)
    assert sent(fleet) == []
    fleet.image("maps-2", b"new")
    fleet.assign("summer", "maps-2", vehicles=["car-2"])
    fleet.sign()
    paths = sent(fleet)
    assert not [path for path in paths if "car-1" in path or "maps-1" in path or "root" in path]
    assert [path for path in paths if "car-2" in path] == [
        f"director/car-2/{name}"
        for name in ("2.targets.json", "2.snapshot.json", "time.json", "timestamp.json")
    ]


def test_a_refresh_sends_no_targets_of_vehicles(fleet):
    sent(fleet)
    fleet.sign(NOW + DAY, refresh=True)
    paths = sent(fleet)
    assert "director/car-1/2.snapshot.json" in paths
    assert not [path for path in paths if "targets" in path]


@pytest.mark.parametrize("refuse_at", range(0, 20, 3))
def test_what_was_cut_short_goes_on_and_was_valid_all_the_time(fleet, client, refuse_at):
    sent(fleet)
    before = client("director/car-1").targets()["version"]
    fleet.image("maps-2", b"new")
    fleet.assign("summer", "maps-2")
    fleet.sign()
    try:
        sent(fleet, refuse_at)
    except ReleaseError:
        assert client("image").targets()["version"] in (1, 2)
        assert client("director/car-1").targets()["version"] in (before, 2)
    fleet.publish()
    assert client("director/car-2").download("maps-2") == b"new"


def test_everything_can_be_sent_again(fleet):
    first = sorted(sent(fleet))
    for path in fleet.site.rglob("*.json"):
        path.unlink()
    assert sent(fleet) == []
    assert sorted(sent(fleet, everything=True)) == first


def test_a_folder_that_is_gone_is_filled_again(fleet):
    first = sorted(sent(fleet))
    fleet.site.rename(fleet.site.parent / "old")
    assert sorted(sent(fleet)) == first


def test_places_are_told_apart(fleet):
    first = sorted(sent(fleet))
    other = Watched(fleet.site.parent / "other")
    with fleet.open() as release:
        publishing.publish(release, other)
        assert publishing.published_at(release) == {
            f"folder:{fleet.site}": 2,
            f"folder:{fleet.site.parent / 'other'}": 2,
        }
    assert sorted(other.put_paths) == first


def test_of_old_metadata_the_last_stays_for_who_is_reading_it(fleet):
    for day in range(4):
        sent(fleet)
        fleet.image(f"dbc-{day}", bytes([day]), hardware="hw-dbc")
        fleet.sign(NOW + day * DAY, refresh=True)
    sent(fleet)
    names = sorted(path.name for path in (fleet.site / "director/car-1").iterdir())
    assert [name for name in names if "snapshot" in name] == ["4.snapshot.json", "5.snapshot.json"]
    assert [name for name in names if "targets" in name] == ["1.targets.json"]
    names = sorted(path.name for path in (fleet.site / "image").iterdir())
    assert [name for name in names if "targets" in name] == ["4.targets.json", "5.targets.json"]
    assert [name for name in names if "snapshot" in name] == ["4.snapshot.json", "5.snapshot.json"]


def test_targets_that_two_states_do_not_name_any_more_are_gone(fleet):
    sent(fleet)
    names = []
    for day in range(1, 4):
        if day != 2:
            fleet.image(f"maps-{day}x", bytes([day]))
            fleet.assign(f"campaign-{day}", f"maps-{day}x")
        fleet.sign(NOW + day * DAY, refresh=True)
        sent(fleet)
        folder = fleet.site / "director/car-1"
        names.append(sorted(path.name[0] for path in folder.glob("*.targets.json")))
    assert names == [["1", "2"], ["2"], ["2", "4"]]


def test_nothing_half_written_is_left_or_seen(fleet):
    sent(fleet)
    assert not [path for path in files(fleet) if ".new-" in path]


def test_nothing_is_published_before_it_is_signed(place):
    place.vehicles("car-1")
    with pytest.raises(ReleaseError, match="release sign"):
        place.publish()


def test_what_is_assigned_and_not_signed_is_told(fleet):
    fleet.image("maps-2", b"new")
    fleet.assign("summer", "maps-2", vehicles=["car-1"])
    assert fleet.publish().due == 1


def test_signed_files_that_are_gone_are_told(fleet):
    (fleet.folder / "director/car-2/snapshot.json").unlink()
    with pytest.raises(ReleaseError, match="sign --all"):
        fleet.publish()
    fleet.sign(everything=True)
    assert fleet.publish().vehicles == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_told(fleet):
    fleet.site.mkdir()
    (fleet.site / "image").mkdir()
    (fleet.site / "image/.new-1.root.json").symlink_to("/dev/full")
    with pytest.raises(ReleaseError, match="No space left on device"):
        fleet.publish()


def test_what_never_changes_is_known_by_its_name():
    assert is_immutable("targets/abc.maps-1")
    assert is_immutable("director/car-1/12.targets.json")
    assert not is_immutable("director/12.car/timestamp.json")
    assert not is_immutable("image/root.json")
