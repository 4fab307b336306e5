"""What an attacker can do with stolen keys, and what not: one attack and one set of keys a test.

The attacker also has the store and the network: whatever was ever published can be shown again.
What even the stolen keys of a set allow is tested, too, so that nobody takes it for protected.
"""

import copy
import hashlib
import json

import pytest
from uptane_repos import DAY, NOW, VEHICLE, Car, Pair, Repo, ecu, new_signer

from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.time import make_time

ONLINE = ("timestamp", "snapshot", "targets")
OLD, NEW, EVIL = b"old", b"new", b"evil"
FAST = (1 << 53) - 1


@pytest.fixture
def pair():
    """An old and a new release for one ECU; the director asks for the new one."""
    made = Pair()
    made.add("app-1", OLD, {"ecu-1": "hw-1"}, counter=1)
    made.add("app-2", NEW, {"ecu-1": "hw-1"}, counter=2)
    order(made, "app-2")
    made.publish()
    return made


@pytest.fixture
def car(pair):
    """It has installed the new release."""
    car = Car(pair)
    assert install(car) == "app-2"
    return car


def install(car):
    """Verify, and have what was verified be installed; the name of it."""
    (target,) = car.check().targets
    car.ecus["ecu-1"] = ecu_with(target.sha256, target.counter)
    car.floor = car.floor.raise_counters({"ecu-1": target.counter})
    return target.name


def ecu_with(sha256, counter):
    return type(ecu())("hw-1", frozenset({"file"}), sha256, counter)


def order(pair, name, **changes):
    """The director asks for this image alone, in the image repository's words but for these."""
    file = copy.deepcopy(pair.image.targets.targets[name])
    file.custom.update(changes, ecus={"ecu-1": {"hardwareId": "hw-1"}})
    pair.director.targets.targets = {name: file}
    pair.custom()["campaign"] = {"id": "campaign-1"}


def publish_director(pair):
    pair.director.publish()
    pair.publish_time()


def refused(car, kind, repository, role="targets", clock=None):
    with pytest.raises(UptaneError) as caught:
        car.check(clock)
    error = caught.value
    assert (error.kind, error.repository, error.role) == (kind, repository, role)


# -- the network or the store, and no key


def test_without_a_key_nothing_of_the_metadata_can_be_changed(pair):
    whole = Car(pair)
    whole.check()
    asked = [path.split("/") for path in whole.requests]
    served = [(repo, name) for repo, name in asked if name in getattr(pair, repo).files]
    assert len(served) == 7, "the time, and three roles of each repository"
    for repository, name in served:
        files = getattr(pair, repository).files
        kept = files[name]
        content = json.loads(kept)
        content["signed"]["more"] = 1
        files[name] = json.dumps(content).encode()
        with pytest.raises(UptaneError):
            Car(pair).check()
        files[name] = kept
    assert Car(pair).check() is not None


def test_without_a_key_an_attacker_can_hold_a_vehicle_where_it_is_until_the_metadata_expires(
    pair, car
):
    frozen = dict(pair.director.files)
    pair.add("app-3", b"third", {"ecu-1": "hw-1"}, counter=3)
    order(pair, "app-3")
    pair.publish()
    pair.director.files = frozen
    assert car.check(NOW + 29 * DAY) is None
    refused(car, Kind.FREEZE, "director", "timestamp", clock=NOW + 30 * DAY)


# -- timestamp and snapshot of one repository


def sign_below_root(repo, targets, version):
    """Snapshot and timestamp for other targets metadata, with the stolen keys of both roles."""
    repo.files[f"{version}.targets.json"] = targets
    repo.snapshot.meta["targets.json"] = repo.meta(version, targets)
    repo.publish_snapshot()
    repo.publish_timestamp()


def test_with_the_directors_snapshot_and_timestamp_keys_older_targets_are_refused(pair):
    old, version = copy.deepcopy(pair.director.targets), pair.director.targets.version
    signed = pair.director.sign("targets", old)
    publish_director(pair)
    car = Car(pair)
    install(car)
    sign_below_root(pair.director, signed, version)
    refused(car, Kind.ROLLBACK, "director", "snapshot")


def test_with_the_directors_snapshot_and_timestamp_keys_another_vehicles_targets_are_refused(
    pair, car
):
    # The director has signed them itself, with the same key and a higher version.
    theirs = copy.deepcopy(pair.director.targets)
    theirs.version += 1
    theirs.unrecognized_fields["custom"]["vehicleId"] = "vehicle-2"
    sign_below_root(pair.director, pair.director.sign("targets", theirs), theirs.version)
    refused(car, Kind.WRONG_VEHICLE, "director")


def test_with_the_directors_snapshot_and_timestamp_keys_no_targets_can_be_made_up(pair, car):
    made_up = copy.deepcopy(pair.director.targets)
    made_up.version += 1
    stranger = pair.director.sign("targets", made_up, [new_signer()])
    sign_below_root(pair.director, stranger, made_up.version)
    refused(car, Kind.BAD_SIGNATURE, "director")


def test_with_the_image_repositorys_snapshot_and_timestamp_keys_older_targets_are_refused(pair):
    old, version = copy.deepcopy(pair.image.targets), pair.image.targets.version
    signed = pair.image.sign("targets", old)
    pair.publish()
    car = Car(pair)
    car.check()
    sign_below_root(pair.image, signed, version)
    publish_director(pair)
    refused(car, Kind.ROLLBACK, "image", "snapshot")


def test_with_the_image_repositorys_snapshot_and_timestamp_keys_releases_cannot_be_mixed(pair):
    """A delegated role of one release beside the top level of another, each signed by its owner."""
    team = pair.image.delegate("team", ["team/*"])
    team.targets["team/nav"] = pair.image_file("team/nav", OLD, 1)
    pair.image.publish()
    old = pair.image.files[f"{team.version}.team.json"]
    version = team.version
    team.targets["team/nav"] = pair.image_file("team/nav", NEW, 2)
    pair.publish()
    car = Car(pair)
    car.check()
    pair.image.snapshot.meta["team.json"] = pair.image.meta(version, old)
    pair.image.publish_snapshot()
    pair.image.publish_timestamp()
    publish_director(pair)
    refused(car, Kind.ROLLBACK, "image", "snapshot")


@pytest.mark.parametrize("repository", ["director", "image"])
def test_with_snapshot_and_timestamp_keys_a_vehicle_can_be_frozen_but_not_beyond_its_targets(
    pair, repository
):
    """They are renewed for ever; what they rest on expires by its own date, of keys not stolen."""
    repo = getattr(pair, repository)
    repo.targets.expires = repo.targets.expires.fromtimestamp(
        NOW + 20 * DAY, repo.targets.expires.tzinfo
    )
    pair.add("app-3", b"third", {"ecu-1": "hw-1"}, counter=3)
    order(pair, "app-3")
    pair.publish()
    for day in (1, 19):
        repo.publish_snapshot()
        repo.publish_timestamp()
        assert Car(pair).check(NOW + day * DAY) is not None
    repo.publish_snapshot()
    repo.publish_timestamp()
    refused(Car(pair), Kind.FREEZE, repository, clock=NOW + 20 * DAY)


# -- all online keys of the director


def test_with_the_directors_keys_no_software_of_ones_own_is_installed(pair, car):
    evil = pair.image_file("app-9", EVIL, 9)
    evil.custom["ecus"] = {"ecu-1": {"hardwareId": "hw-1"}}
    pair.director.targets.targets = {"app-9": evil}
    publish_director(pair)
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_with_the_directors_keys_a_released_name_does_not_get_other_bytes(pair):
    car = Car(pair)
    order(pair, "app-2")
    (file,) = pair.director.targets.targets.values()
    file.hashes["sha256"] = hashlib.sha256(EVIL).hexdigest()
    file.custom["deliveries"][0]["sha256"] = file.hashes["sha256"]
    publish_director(pair)
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_with_the_directors_keys_no_older_release_is_installed(pair, car):
    order(pair, "app-1")
    publish_director(pair)
    refused(car, Kind.ROLLBACK, "director")


def test_with_the_directors_keys_an_older_release_is_not_called_a_newer_one(pair, car):
    order(pair, "app-1", releaseCounter=3)
    publish_director(pair)
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_with_the_directors_keys_no_image_gets_to_hardware_that_it_is_not_for(pair):
    pair.add("big-1", EVIL, {"ecu-2": "hw-2"}, counter=5)
    pair.image.publish()
    car = Car(pair, {"ecu-1": ecu(), "ecu-2": ecu(hardware="hw-2")})
    file = copy.deepcopy(pair.image.targets.targets["big-1"])
    file.custom.update(hardwareIds=["hw-1", "hw-2"], ecus={"ecu-1": {"hardwareId": "hw-1"}})
    pair.director.targets.targets = {"big-1": file}
    publish_director(pair)
    refused(car, Kind.WRONG_HARDWARE, "image")


def test_with_the_directors_keys_no_data_without_end_is_asked_for(pair):
    car = Car(pair)
    order(pair, "app-2")
    (file,) = pair.director.targets.targets.values()
    file.length = 1 << 39
    file.custom["deliveries"][0]["length"] = file.length
    publish_director(pair)
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_with_the_directors_keys_no_delivery_is_slipped_in(pair):
    """Not even one that would be found out once it is unpacked."""
    car = Car(pair)
    order(pair, "app-2")
    (file,) = pair.director.targets.targets.values()
    bomb = {"name": "b", "length": 9, "sha256": "0" * 64, "encoding": "zstd"}
    file.custom["deliveries"].append(bomb)
    publish_director(pair)
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_the_directors_keys_are_enough_to_hold_a_vehicle_at_what_it_has(pair, car):
    """Not protected: the director decides what a vehicle gets, and may say nothing new."""
    for _ in range(3):
        pair.director.publish()
        assert car.check().targets == ()


def test_the_directors_keys_are_enough_to_mix_released_images(pair):
    """Not protected: which releases go together, and under which terms, is the director's word."""
    pair.add("nav-2", b"nav", {"ecu-2": "hw-2"}, counter=2)
    pair.image.publish()
    order(pair, "app-1")
    file = copy.deepcopy(pair.image.targets.targets["nav-2"])
    file.custom["ecus"] = {"ecu-2": {"hardwareId": "hw-2"}}
    pair.director.targets.targets["nav-2"] = file
    pair.custom()["campaign"] = {"id": "attack", "require": [], "groups": []}
    publish_director(pair)
    verified = Car(pair, {"ecu-1": ecu(), "ecu-2": ecu(hardware="hw-2")}).check()
    assert [target.name for target in verified.targets] == ["app-1", "nav-2"]
    assert verified.campaign.require == []


# -- all online keys of the image repository


def test_with_the_image_repositorys_keys_no_software_of_ones_own_is_installed(pair):
    car = Car(pair)
    pair.image.targets.targets["app-9"] = pair.image_file("app-9", EVIL, 9)
    pair.image.publish()
    assert install(car) == "app-2"


def test_with_the_image_repositorys_keys_what_the_director_names_does_not_get_other_bytes(pair):
    car = Car(pair)
    pair.image.targets.targets["app-2"] = pair.image_file("app-2", EVIL, 2)
    pair.image.publish()
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_with_the_image_repositorys_keys_no_other_hardware_gets_it(pair):
    car = Car(pair)
    pair.image.targets.targets["app-2"].custom["hardwareIds"] = ["hw-1", "hw-2"]
    pair.image.publish()
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_with_the_image_repositorys_keys_no_vehicle_goes_back(pair, car):
    """An old image under a new counter is still not what the director has signed."""
    pair.image.targets.targets["app-2"] = pair.image_file("app-2", OLD, 3)
    pair.image.publish()
    publish_director(pair)
    assert car.check().targets == (), "what is installed is all that is asked for"
    car.ecus["ecu-1"] = ecu()
    publish_director(pair)
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_a_stolen_key_of_a_delegated_role_counts_for_its_paths_and_hardware_alone(pair):
    for name, paths, hardware in (("team", ["team/*"], None), ("other", ["app-*"], ["hw-2"])):
        role = pair.image.delegate(name, paths, hardware=hardware)
        role.targets["app-3"] = pair.image_file("app-3", EVIL, 3)
    order_of = pair.image_file("app-3", EVIL, 3)
    order_of.custom["ecus"] = {"ecu-1": {"hardwareId": "hw-1"}}
    pair.director.targets.targets = {"app-3": order_of}
    pair.publish()
    refused(Car(pair), Kind.ARBITRARY_SOFTWARE, "image")


# -- the targets keys of both


def steal_both(pair):
    evil = pair.image_file("app-9", EVIL, 9)
    pair.image.targets.targets["app-9"] = copy.deepcopy(evil)
    evil.custom["ecus"] = {"ecu-1": {"hardwareId": "hw-1"}}
    pair.director.targets.targets = {"app-9": evil}
    pair.publish()


def test_the_keys_of_both_repositories_are_enough_for_arbitrary_software(pair, car):
    """Not protected: this is what the keys of the image repository are kept offline for."""
    steal_both(pair)
    assert install(car) == "app-9"


@pytest.mark.parametrize("repository", ["director", "image"])
def test_one_root_that_takes_its_key_away_ends_what_both_stolen_keys_can_do(pair, car, repository):
    stolen = {role: pair.director.signers[role] for role in ONLINE}
    stolen_image = {role: pair.image.signers[role] for role in ONLINE}
    repo = getattr(pair, repository)
    for role in ONLINE:
        repo.rotate(role)
    pair.director.signers |= stolen
    pair.image.signers |= stolen_image
    steal_both(pair)
    with pytest.raises(UptaneError) as caught:
        car.check()
    error = caught.value
    assert (error.kind, error.repository) == (Kind.BAD_SIGNATURE, repository)


def test_even_with_the_keys_of_both_repositories_no_vehicle_goes_back(pair, car):
    """A higher counter can be signed, a lower one is not taken: what was patched stays patched."""
    order(pair, "app-1")
    pair.publish()
    refused(car, Kind.ROLLBACK, "director")


def test_versions_run_up_with_stolen_keys_are_forgotten_when_a_root_takes_the_keys_away(pair, car):
    """The fast-forward attack, and how a vehicle comes back from it."""
    good = (pair.director.timestamp.version, pair.director.snapshot.version)
    pair.director.timestamp.version = pair.director.snapshot.version = FAST - 1
    pair.director.publish_snapshot()
    pair.director.publish_timestamp()
    car.check()
    pair.director.timestamp.version, pair.director.snapshot.version = good
    publish_director(pair)
    refused(car, Kind.ROLLBACK, "director", "timestamp")
    pair.director.rotate("timestamp")
    pair.director.rotate("snapshot")
    pair.add("app-3", b"third", {"ecu-1": "hw-1"}, counter=3)
    order(pair, "app-3")
    pair.publish()
    assert install(car) == "app-3"


# -- root keys


@pytest.mark.parametrize("repository", ["director", "image"])
def test_the_root_key_of_one_repository_alone_gets_no_software_installed(pair, car, repository):
    """Whoever has it is that repository, with keys of his own; the other one still has a say."""
    repo = getattr(pair, repository)
    for role in ONLINE:
        repo.rotate(role)
    evil = pair.image_file("app-9", EVIL, 9)
    if repository == "director":
        evil.custom["ecus"] = {"ecu-1": {"hardwareId": "hw-1"}}
        pair.director.targets.targets = {"app-9": evil}
        publish_director(pair)
    else:
        pair.image.targets.targets["app-2"] = pair.image_file("app-2", EVIL, 2)
        pair.image.publish()
        car = Car(pair)
        pair.director.publish()
    refused(car, Kind.ARBITRARY_SOFTWARE, "image")


def test_a_stolen_root_key_below_the_threshold_changes_nothing(pair):
    second = new_signer()
    pair.director.root.add_key(second.public_key, "root")
    pair.director.root.roles["root"].threshold = 2
    pair.director.signers["root"].append(second)
    pair.director.publish_root()
    pair.publish()
    car = Car(pair)
    car.check()
    thief = new_signer()
    pair.director.root.add_key(thief.public_key, "targets")
    pair.director.publish_root(pair.director.signers["root"][:1])
    refused(car, Kind.BAD_SIGNATURE, "director", "root")


# -- the time key


def test_with_the_time_key_alone_no_metadata_is_made(pair, car):
    """It signs nothing but the time: by way of it, no role's signature counts."""
    stolen = pair.time_signer
    for role in ONLINE:
        pair.director.signers[role] = [stolen]
    pair.director.publish()
    refused(car, Kind.BAD_SIGNATURE, "director", "timestamp")


def test_with_the_time_key_time_does_not_go_back(pair, car):
    order(pair, "app-2")
    pair.director.files["time.json"] = make_time(pair.time_signer, NOW - DAY, 99)
    car.check(NOW - DAY)
    assert (car.floor.time, car.trust.reading.now) == (NOW, NOW)
    car.server = lambda nonce: make_time(pair.time_signer, NOW - DAY, nonce=nonce)
    car.check(NOW - DAY)
    assert (car.floor.time, car.trust.reading.now) == (NOW, NOW)


def test_with_the_time_key_everything_can_be_made_to_expire_and_nothing_to_be_installed(pair):
    """Not protected but by a new root: updates stop, which is reported, and nothing gets older."""
    car = Car(pair)
    pair.publish_time(5000 * DAY)
    refused(car, Kind.FREEZE, "director", "root")
    assert car.floor.counters == {}
    new = new_signer()
    pair.time_signer, pair.time, pair.sequence = new, NOW, 0
    pair.name_time_keys(new.public_key)
    pair.publish_time()
    assert install(car) == "app-2"


def test_with_a_held_back_time_the_system_clock_still_ends_a_freeze(pair, car):
    """Time key or not: whoever shows the old time again is judged by the clock, up to its cap."""
    order(pair, "app-2")
    pair.director.files["time.json"] = make_time(pair.time_signer, NOW, 99)
    refused(car, Kind.FREEZE, "director", "timestamp", clock=NOW + 30 * DAY)


def test_with_the_time_key_and_the_vehicles_clock_a_freeze_lasts(pair, car):
    """Not protected: nobody in the vehicle knows how late it is then.  It still never goes back."""
    pair.director.files["time.json"] = make_time(pair.time_signer, NOW, 99)
    assert car.check(NOW) is None
    order(pair, "app-1")
    pair.director.publish()
    refused(car, Kind.ROLLBACK, "director")


# -- a repository that was set up by somebody else altogether


@pytest.mark.parametrize("repository", ["director", "image"])
def test_a_repository_with_a_root_of_its_own_is_nobody_to_a_vehicle(pair, car, repository):
    theirs = Pair()
    theirs.add("app-9", EVIL, {"ecu-1": "hw-1"}, counter=9)
    theirs.publish()
    files: dict[str, bytes] = dict(getattr(theirs, repository).files)
    repo: Repo = getattr(pair, repository)
    pair.director.publish()
    order(pair, "app-2")
    repo.files = files
    car.ecus["ecu-1"] = ecu()
    with pytest.raises(UptaneError) as caught:
        car.check()
    assert caught.value.kind in (Kind.BAD_SIGNATURE, Kind.ROLLBACK)
    assert caught.value.repository == repository
    assert VEHICLE not in str(caught.value)
