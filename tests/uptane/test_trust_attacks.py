"""What the full verification refuses: one attack a test, each by its kind."""

import copy

import pytest
from uptane_repos import DAY, NOW, VEHICLE, Car, Pair, ecu, new_signer

from bordnetz.uptane.custom import Delivery
from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.time import make_time


@pytest.fixture
def pair():
    made = Pair()
    made.add("app-1", b"new", {"ecu-1": "hw-1"}, counter=2)
    made.publish()
    return made


def ordered(pair):
    """The director's word about the image."""
    return pair.director.targets.targets["app-1"]


def refused(car, kind, repository="director", role="targets", clock=None):
    """That a check is refused, with what its error says; nothing of the content is repeated."""
    with pytest.raises(UptaneError) as caught:
        car.check(clock)
    error = caught.value
    assert (error.kind, error.repository, error.role) == (kind, repository, role)
    text = str(error)
    for content in (VEHICLE, "ecu-", "app-", "hw-", "secret"):
        assert content not in text
    return text


# -- the director alone is in the attacker's hands


def test_metadata_for_another_vehicle_is_refused(pair):
    pair.custom()["vehicleId"] = "vehicle-2"
    pair.publish()
    refused(Car(pair), Kind.WRONG_VEHICLE)


def test_an_empty_list_for_another_vehicle_is_refused(pair):
    pair.director.targets.targets.clear()
    pair.director.targets.unrecognized_fields["custom"] = {"vehicleId": "vehicle-2"}
    pair.publish()
    refused(Car(pair), Kind.WRONG_VEHICLE)


@pytest.mark.parametrize("custom", [None, {}, [], "vehicle-1", {"vehicleid": VEHICLE}])
def test_an_empty_list_for_no_vehicle_is_refused(pair, custom):
    pair.director.targets.targets.clear()
    pair.director.targets.unrecognized_fields["custom"] = custom
    pair.publish()
    refused(Car(pair), Kind.WRONG_VEHICLE)


def test_a_director_that_delegates_is_refused(pair):
    pair.director.delegate("other", ["*"])
    pair.publish()
    refused(Car(pair), Kind.BAD_METADATA)


def test_a_director_that_names_an_unknown_ecu_is_refused(pair):
    ordered(pair).custom["ecus"]["ecu-9"] = {"hardwareId": "hw-1"}
    pair.publish()
    refused(Car(pair), Kind.UNKNOWN_ECU)


def test_a_director_that_names_an_ecu_twice_is_refused(pair):
    pair.add("app-2", b"other", {"ecu-1": "hw-1"}, counter=3)
    pair.publish()
    refused(Car(pair), Kind.REPEATED_ECU)


def test_an_image_for_other_hardware_is_refused(pair):
    refused(Car(pair, {"ecu-1": ecu(hardware="hw-2")}), Kind.WRONG_HARDWARE)


def test_a_director_that_calls_the_ecu_by_other_hardware_is_refused(pair):
    ordered(pair).custom["ecus"]["ecu-1"]["hardwareId"] = "hw-2"
    ordered(pair).custom["hardwareIds"].append("hw-2")
    pair.publish()
    refused(Car(pair), Kind.WRONG_HARDWARE)


def test_a_director_that_gives_an_ecu_an_image_not_made_for_it_is_refused(pair):
    ordered(pair).custom["hardwareIds"] = ["hw-2"]
    pair.publish()
    refused(Car(pair), Kind.WRONG_HARDWARE)


def test_a_director_that_widens_an_image_s_hardware_is_refused(pair):
    ordered(pair).custom["hardwareIds"] = ["hw-1", "hw-2"]
    ordered(pair).custom["ecus"] = {"ecu-1": {"hardwareId": "hw-2"}}
    pair.publish()
    refused(Car(pair, {"ecu-1": ecu(hardware="hw-2")}), Kind.WRONG_HARDWARE, "image")


def test_a_kind_of_payload_that_the_ecu_does_not_take_is_refused(pair):
    refused(Car(pair, {"ecu-1": ecu(kinds=["rauc", "bundle"])}), Kind.WRONG_HARDWARE)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_director_that_swaps_the_image_is_refused(pair, algorithm):
    swapped = pair.image_file("app-1", b"bad", counter=2)
    ordered(pair).hashes[algorithm] = swapped.hashes[algorithm]
    if algorithm == "sha256":
        ordered(pair).custom["deliveries"] = swapped.custom["deliveries"]
    pair.publish()
    refused(Car(pair), Kind.ARBITRARY_SOFTWARE, "image")


def test_a_director_that_tells_another_length_is_refused(pair):
    ordered(pair).length = 4
    ordered(pair).custom["deliveries"][0]["length"] = 4
    pair.publish()
    refused(Car(pair), Kind.ARBITRARY_SOFTWARE, "image")


def test_a_director_that_tells_another_length_and_nothing_else_is_refused(pair):
    for file in (ordered(pair), pair.image.targets.targets["app-1"]):
        file.custom["deliveries"][0].update(encoding="zstd", sha256="0" * 64, length=9)
    pair.publish()
    assert Car(pair).check() is not None
    ordered(pair).length = 4
    pair.publish()
    refused(Car(pair), Kind.ARBITRARY_SOFTWARE, "image")


def test_a_director_that_leaves_out_a_hash_is_refused(pair):
    del ordered(pair).hashes["sha512"]
    pair.publish()
    refused(Car(pair), Kind.ARBITRARY_SOFTWARE, "image")


def test_an_image_that_the_image_repository_does_not_know_is_refused(pair):
    del pair.image.targets.targets["app-1"]
    pair.publish()
    refused(Car(pair), Kind.ARBITRARY_SOFTWARE, "image")


def test_a_director_that_raises_the_release_counter_by_itself_is_refused(pair):
    ordered(pair).custom["releaseCounter"] = 3
    pair.publish()
    refused(Car(pair), Kind.ARBITRARY_SOFTWARE, "image")


def test_a_director_that_tells_another_kind_of_payload_is_refused(pair):
    ordered(pair).custom["kind"] = "tree"
    pair.publish()
    car = Car(pair, {"ecu-1": ecu(kinds=["file", "tree"])})
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_a_director_that_adds_a_delivery_of_its_own_is_refused(pair):
    more = Delivery(name="app", length=9, sha256="0" * 64, encoding="zstd")
    ordered(pair).custom["deliveries"].append(more.model_dump(exclude_none=True))
    pair.publish()
    refused(Car(pair), Kind.ARBITRARY_SOFTWARE, "image")


def test_an_older_release_is_refused(pair):
    car = Car(pair)
    car.floor = car.floor.raise_counters({"ecu-1": 3})
    refused(car, Kind.ROLLBACK)


def test_a_release_older_than_the_installed_one_is_refused_without_a_floor(pair):
    refused(Car(pair, {"ecu-1": ecu(b"newer", counter=3)}), Kind.ROLLBACK)


@pytest.mark.parametrize("floor", [0, 2])
def test_another_image_of_the_same_release_counter_is_refused(pair, floor):
    car = Car(pair, {"ecu-1": ecu(b"same counter", counter=2)})
    car.floor = car.floor.raise_counters({"ecu-1": floor})
    refused(car, Kind.ROLLBACK)


def test_an_older_release_is_refused_also_where_it_is_installed(pair):
    car = Car(pair, {"ecu-1": ecu(b"new", counter=2)})
    car.floor = car.floor.raise_counters({"ecu-1": 3})
    refused(car, Kind.ROLLBACK)


@pytest.mark.parametrize(
    "campaign",
    [
        {"groups": [["ecu-1", "ecu-9"]]},
        {"after": {"ecu-9": ["ecu-1"]}},
        {"after": {"ecu-1": ["ecu-9"]}},
    ],
)
def test_a_campaign_that_names_an_unknown_ecu_is_refused(pair, campaign):
    pair.custom()["campaign"].update(campaign)
    pair.publish()
    refused(Car(pair), Kind.UNKNOWN_ECU)


@pytest.mark.parametrize(
    "campaign",
    [
        {"after": {"ecu-1": ["ecu-1"]}},
        {"after": {"ecu-1": ["ecu-2"], "ecu-2": ["ecu-1"]}},
        {"groups": [["ecu-1", "ecu-2"]], "after": {"ecu-1": ["ecu-2"], "ecu-2": ["ecu-1"]}},
        # No ECU waits for itself, but the groups do.
        {
            "groups": [["ecu-1", "ecu-2"], ["ecu-3", "ecu-4"]],
            "after": {"ecu-1": ["ecu-3"], "ecu-4": ["ecu-2"]},
        },
        {"groups": [["ecu-1", "ecu-2"]], "after": {"ecu-1": ["ecu-3"], "ecu-3": ["ecu-2"]}},
    ],
)
def test_ecus_that_wait_for_each_other_are_refused(pair, campaign):
    pair.custom()["campaign"].update(campaign)
    pair.publish()
    ecus = {f"ecu-{number}": ecu() for number in range(1, 5)}
    refused(Car(pair, ecus), Kind.BAD_METADATA)


def test_something_to_install_without_a_campaign_is_refused(pair):
    del pair.custom()["campaign"]
    pair.publish()
    refused(Car(pair), Kind.BAD_METADATA)


@pytest.mark.parametrize("field", ["length", "sha256"])
def test_an_image_that_travels_as_something_else_is_refused(pair, field):
    for file in (ordered(pair), pair.image.targets.targets["app-1"]):
        file.custom["deliveries"][0][field] = 9 if field == "length" else "0" * 64
    pair.publish()
    refused(Car(pair), Kind.BAD_METADATA)


@pytest.mark.parametrize(
    "hashes",
    [
        {"md5": "0" * 32},
        {"sha512": "0" * 127},
        {"sha512": "A" * 128},
        {"sha512": ""},
        {"secret": ""},
    ],
)
def test_hashes_that_cannot_be_relied_upon_are_refused(pair, hashes):
    for file in (ordered(pair), pair.image.targets.targets["app-1"]):
        file.hashes.update(hashes)
    pair.publish()
    refused(Car(pair), Kind.BAD_METADATA)


def test_an_image_without_a_sha256_is_refused(pair):
    del ordered(pair).hashes["sha256"]
    pair.publish()
    refused(Car(pair), Kind.BAD_METADATA)


def test_an_image_of_more_than_a_tebibyte_is_refused(pair):
    ordered(pair).length = (1 << 40) + 1
    pair.publish()
    refused(Car(pair), Kind.ENDLESS_DATA)


@pytest.mark.parametrize("name", ["../app-1", "/app-1", "a//b", ".app", "app 1", "ä", "a/" * 9, ""])
def test_an_image_with_an_unsafe_name_is_refused(pair, name):
    targets = pair.director.targets.targets
    targets[name] = targets.pop("app-1")
    pair.publish()
    refused(Car(pair), Kind.BAD_METADATA)


@pytest.mark.parametrize(
    "change",
    [
        lambda custom: custom.update(secret="secret"),
        lambda custom: custom.update(kind="secret"),
        lambda custom: custom.update(releaseCounter=-1),
        lambda custom: custom.update(releaseCounter=True),
        lambda custom: custom.update(ecus={}),
        lambda custom: custom.update(ecus={"../secret": {"hardwareId": "hw-1"}}),
        lambda custom: custom.update(deliveries=[]),
        lambda custom: custom.pop("hardwareIds"),
        lambda custom: custom["deliveries"][0].update(name="../secret"),
        lambda custom: custom["deliveries"][0].update(encoding="secret"),
    ],
)
def test_custom_fields_of_another_form_are_refused_and_not_repeated(pair, change):
    change(ordered(pair).custom)
    pair.publish()
    refused(Car(pair), Kind.BAD_METADATA)


def test_an_image_without_custom_fields_in_the_image_repository_is_refused(pair):
    del pair.image.targets.targets["app-1"].unrecognized_fields["custom"]
    pair.publish()
    refused(Car(pair), Kind.BAD_METADATA, "image")


@pytest.mark.parametrize("repository", ["director", "image"])
def test_a_timestamp_that_gives_no_hash_of_the_snapshot_is_refused(pair, repository):
    getattr(pair, repository).hashes = False
    pair.publish()
    refused(Car(pair), Kind.BAD_METADATA, repository, "timestamp")


# -- the image repository's delegations


def test_a_role_is_not_believed_about_images_outside_its_paths(pair):
    pair.image.delegate("supplier", ["brake/*"])
    pair.add("engine/app-2", b"engine", {"ecu-2": "hw-1"}, role="supplier")
    pair.publish()
    car = Car(pair, {"ecu-1": ecu(), "ecu-2": ecu()})
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_a_role_is_not_believed_about_hardware_that_is_not_its_own(pair):
    pair.image.delegate("supplier", ["app-2"], hardware=["hw-2"])
    pair.add("app-2", b"engine", {"ecu-2": "hw-1"}, role="supplier")
    pair.publish()
    car = Car(pair, {"ecu-1": ecu(), "ecu-2": ecu()})
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_a_delegated_role_that_is_not_signed_by_its_key_is_refused(pair):
    pair.image.delegate("supplier", ["app-2"])
    pair.add("app-2", b"brake", {"ecu-2": "hw-1"}, role="supplier")
    pair.image.signers["supplier"] = [new_signer()]
    pair.publish()
    car = Car(pair, {"ecu-1": ecu(), "ecu-2": ecu()})
    refused(car, Kind.BAD_SIGNATURE, "image", "supplier")


# -- the time


def test_a_time_signed_by_another_key_is_refused(pair):
    pair.time_signer = new_signer()
    pair.publish_time()
    refused(Car(pair), Kind.BAD_SIGNATURE, role="time")


def test_a_time_signed_by_a_director_key_that_is_none_for_the_time_is_refused(pair):
    pair.time_signer = pair.director.signers["timestamp"][0]
    pair.publish_time()
    refused(Car(pair), Kind.BAD_SIGNATURE, role="time")


@pytest.mark.parametrize(("later", "sequence"), [(0, 2), (5, 3), (5, 2)])
def test_an_older_time_is_refused(pair, later, sequence):
    pair.publish_time(DAY)
    assert pair.sequence == 3
    pair.sequence = 2
    car = Car(pair)
    pair.publish_time()
    car.check()
    data = make_time(pair.time_signer, pair.time + later, sequence)
    pair.director.files["time.json"] = data
    refused(car, Kind.ROLLBACK, role="time")
    assert car.floor.time == pair.time


def test_an_older_time_of_a_higher_sequence_makes_nothing_older(pair):
    car = Car(pair)
    car.check()
    pair.director.files["time.json"] = make_time(pair.time_signer, NOW - 99 * DAY, 99)
    assert car.check(0) is None
    assert (car.floor.time, car.floor.sequence, car.trust.reading.now) == (NOW, 99, NOW)


def test_an_answer_to_another_question_is_refused(pair):
    car = Car(pair)
    kept = make_time(pair.time_signer, NOW, nonce="kept-from-another-day")
    car.server = lambda nonce: kept
    refused(car, Kind.ROLLBACK, role="time")
    assert car.floor.time == 0


def test_a_file_is_no_answer_of_a_time_server(pair):
    car = Car(pair)
    car.server = lambda nonce: pair.director.files["time.json"]
    refused(car, Kind.ROLLBACK, role="time")


def test_an_answer_that_was_kept_is_no_file(pair):
    pair.director.files["time.json"] = make_time(pair.time_signer, NOW + DAY, nonce="asked")
    refused(Car(pair), Kind.ROLLBACK, role="time")


def test_an_answer_signed_by_another_key_is_refused(pair):
    car = Car(pair)
    car.server = lambda nonce: make_time(new_signer(), NOW, nonce=nonce)
    refused(car, Kind.BAD_SIGNATURE, role="time")


def test_with_a_time_server_a_freeze_is_seen_with_a_held_back_time_and_the_clock_set_back(pair):
    car = Car(pair)
    car.check()
    later = NOW + 31 * DAY
    assert car.check(NOW) is None
    car.server = lambda nonce: make_time(pair.time_signer, later, nonce=nonce)
    refused(car, Kind.FREEZE, role="timestamp", clock=NOW)
    assert car.floor.time == later
    car.server = None
    refused(car, Kind.FREEZE, role="timestamp", clock=NOW)


def test_metadata_without_any_time_is_refused_on_the_first_start(pair):
    del pair.director.files["time.json"]
    refused(Car(pair), Kind.MISSING, role="time")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"signed":{},"signatures":[]}'])
def test_a_time_that_is_none_is_refused(pair, data):
    pair.director.files["time.json"] = data
    refused(Car(pair), Kind.BAD_METADATA, role="time")


def test_an_endless_time_is_refused(pair):
    pair.director.files["time.json"] += b" " * 17_000
    refused(Car(pair), Kind.ENDLESS_DATA, role="time")


def test_a_director_root_that_names_no_time_keys_is_refused(pair):
    del pair.director.root.unrecognized_fields["custom"]
    pair.director.publish_root()
    refused(Car(pair), Kind.BAD_METADATA, role="root")


def test_a_withheld_time_lets_nothing_be_installed_in_the_end(pair):
    car = Car(pair)
    car.limits = type(car.limits)(cap=10 * DAY, stale=20 * DAY)
    car.check()
    pair.director.publish()
    refused(car, Kind.TIME, role="time", clock=NOW + 21 * DAY)
    assert car.check(NOW + 20 * DAY) is not None


def test_a_clock_that_was_set_back_does_not_bring_expired_metadata_back(pair):
    car = Car(pair)
    pair.publish_time(31 * DAY)
    refused(car, Kind.FREEZE, role="timestamp", clock=NOW)
    refused(car, Kind.FREEZE, role="timestamp", clock=0)


# -- whoever stands between, with everything there ever was


@pytest.mark.parametrize("repository", ["director", "image"])
def test_replayed_metadata_is_refused(pair, repository):
    car = Car(pair)
    repo = getattr(pair, repository)
    old = repo.files["timestamp.json"]
    pair.publish()
    car.check()
    repo.files["timestamp.json"] = old
    if repository == "image":
        pair.director.publish()
    refused(car, Kind.ROLLBACK, repository, "timestamp")


@pytest.mark.parametrize("repository", ["director", "image"])
def test_replayed_metadata_is_refused_with_all_stored_metadata_lost(pair, repository):
    car = Car(pair)
    repo = getattr(pair, repository)
    old = repo.files["timestamp.json"]
    pair.publish()
    car.check()
    car.stored = {"director": {}, "image": {}}
    repo.files["timestamp.json"] = old
    refused(car, Kind.ROLLBACK, repository, "timestamp")


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("repository", ["director", "image"])
def test_frozen_metadata_is_refused(pair, repository, role):
    repo = getattr(pair, repository)
    signed = {
        "root": repo.root,
        "timestamp": repo.timestamp,
        "snapshot": repo.snapshot,
        "targets": repo.targets,
    }[role]
    signed.expires = signed.expires.fromtimestamp(NOW + DAY, signed.expires.tzinfo)
    repo.publish_root()
    pair.publish()
    assert Car(pair).check(NOW + DAY - 1) is not None
    refused(Car(pair), Kind.FREEZE, repository, role, clock=NOW + DAY)


def test_targets_of_one_release_with_a_snapshot_of_another_are_refused(pair):
    old = pair.image.files[f"{pair.image.targets.version}.targets.json"]
    pair.publish()
    pair.image.files[f"{pair.image.targets.version}.targets.json"] = old
    refused(Car(pair), Kind.MIX_AND_MATCH, "image")


def test_a_director_chain_of_another_vehicle_s_repository_is_refused(pair):
    other = Pair()
    other.publish()
    for name, data in other.director.files.items():
        if "root" not in name:
            pair.director.files[name] = data
    refused(Car(pair), Kind.BAD_SIGNATURE, role="time")


def test_the_image_repository_s_metadata_is_not_taken_for_the_director_s(pair):
    pair.director.files |= {
        name: data for name, data in pair.image.files.items() if "root" not in name
    }
    refused(Car(pair), Kind.BAD_SIGNATURE, role="timestamp")


def test_of_an_attack_nothing_is_stored_but_the_floor_rises(pair):
    car = Car(pair)
    ordered(pair).custom["releaseCounter"] = 3
    pair.publish()
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")
    assert car.stored["director"].keys() == {"root"}
    assert car.stored["image"].keys() == {"root"}
    assert car.floor.versions["director"]["targets"] == pair.director.targets.version
    assert car.floor.versions["image"]["timestamp"] == pair.image.timestamp.version


def test_after_an_attack_the_right_metadata_is_taken(pair):
    car = Car(pair)
    good = copy.deepcopy(ordered(pair))
    ordered(pair).custom["releaseCounter"] = 3
    pair.publish()
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")
    pair.director.targets.targets["app-1"] = good
    pair.publish()
    assert car.check().targets[0].counter == 2


def test_a_file_longer_than_the_metadata_above_it_says_is_refused(pair):
    pair.director.files[f"{pair.director.targets.version}.targets.json"] += b" "
    refused(Car(pair), Kind.ENDLESS_DATA)
