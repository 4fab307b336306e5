"""The full verification over both repositories: what it finds, remembers and leaves alone."""

import hashlib

import pytest
from uptane_repos import DAY, NOW, Car, Pair, ecu, moment

from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.time import Clock, Reading, make_time


@pytest.fixture
def pair():
    made = Pair()
    made.add("app-1", b"new", {"ecu-1": "hw-1"}, counter=2)
    made.publish()
    return made


def test_what_both_repositories_name_is_verified(pair):
    verified = Car(pair).check()
    assert verified.campaign.id == "campaign-1"
    (target,) = verified.targets
    assert (target.ecu, target.hardware_id) == ("ecu-1", "hw-1")
    assert (target.name, target.length, target.counter, target.kind) == ("app-1", 3, 2, "file")
    assert target.sha256 == hashlib.sha256(b"new").hexdigest()
    assert target.hashes["sha512"] == hashlib.sha512(b"new").hexdigest()
    assert target.deliveries[0].path == f"{target.sha256}.app-1"
    assert verified.director_version == pair.director.targets.version
    assert verified.expires == NOW + 30 * DAY


def test_one_image_for_several_ecus_is_a_target_for_each_by_their_ids(pair):
    pair.add("app-1", b"new", {"ecu-2": "hw-1", "ecu-1": "hw-1"}, counter=2)
    pair.publish()
    car = Car(pair, {"ecu-1": ecu(), "ecu-2": ecu(), "ecu-3": ecu()})
    assert [target.ecu for target in car.check().targets] == ["ecu-1", "ecu-2"]


def test_an_image_named_by_a_delegated_role_is_found(pair):
    pair.image.delegate("supplier", ["brake/*"])
    pair.add("brake/app-2", b"brake", {"ecu-2": "hw-2"}, role="supplier")
    pair.publish()
    car = Car(pair, {"ecu-1": ecu(), "ecu-2": ecu(hardware="hw-2")})
    assert [target.name for target in car.check().targets] == ["app-1", "brake/app-2"]


def test_a_delegation_restricted_to_the_image_s_hardware_is_followed(pair):
    pair.image.delegate("supplier", ["app-2"], hardware=["hw-2"])
    pair.add("app-2", b"brake", {"ecu-2": "hw-2"}, role="supplier")
    pair.publish()
    car = Car(pair, {"ecu-1": ecu(), "ecu-2": ecu(hardware="hw-2")})
    assert [target.ecu for target in car.check().targets] == ["ecu-1", "ecu-2"]


def test_only_roles_that_may_name_a_wanted_image_are_fetched(pair):
    pair.image.delegate("elsewhere", ["other/*"])
    pair.publish()
    car = Car(pair)
    car.check()
    assert "image/1.elsewhere.json" not in car.requests
    assert not any("elsewhere" in request for request in car.requests)


def test_an_unchanged_director_costs_three_requests_and_is_nothing_new(pair):
    car = Car(pair)
    assert car.check() is not None
    assert car.check() is None
    assert car.requests == ["director/2.root.json", "director/time.json", "director/timestamp.json"]


def test_a_timestamp_renewed_over_the_same_snapshot_is_nothing_new(pair):
    car = Car(pair)
    car.check()
    pair.director.publish_timestamp()
    pair.publish_time(DAY)
    assert car.check() is None
    assert car.floor.versions["director"]["timestamp"] == pair.director.timestamp.version
    assert car.floor.time == NOW + DAY


def test_a_snapshot_made_anew_under_its_old_version_is_something_new(pair):
    car = Car(pair)
    car.check()
    pair.director.snapshot.unrecognized_fields["note"] = "of the same length"
    pair.director.publish_snapshot()
    pair.director.publish_timestamp()
    car.check()
    pair.director.snapshot.unrecognized_fields["note"] = "OF THE SAME LENGTH"
    pair.director.publish_snapshot(bump=False)
    pair.director.publish_timestamp()
    assert car.check() is not None


def test_a_new_snapshot_is_looked_into_to_the_end(pair):
    car = Car(pair)
    car.check()
    pair.director.publish()
    assert car.check().targets[0].name == "app-1"


def test_what_a_failed_check_has_not_verified_to_the_end_is_not_taken_for_known(pair):
    gone = pair.image.files.pop("timestamp.json")
    car = Car(pair)
    for _ in range(2):
        with pytest.raises(UptaneError) as caught:
            car.check()
        assert (caught.value.kind, caught.value.repository) == (Kind.MISSING, "image")
    pair.image.files["timestamp.json"] = gone
    assert car.check().targets[0].name == "app-1"


def test_stored_image_metadata_is_not_fetched_again(pair):
    car = Car(pair)
    car.check()
    pair.director.publish()
    car.check()
    assert [one for one in car.requests if one.startswith("image/")] == [
        "image/2.root.json",
        "image/timestamp.json",
    ]


def test_a_director_that_asks_for_nothing_spares_the_image_repository(pair):
    pair.director.targets.targets.clear()
    del pair.custom()["campaign"]
    pair.director.publish()
    car = Car(pair)
    verified = car.check()
    assert (verified.campaign, verified.targets) == (None, ())
    assert not any(request.startswith("image/") for request in car.requests)


def test_a_director_that_asks_for_what_is_installed_spares_the_image_repository(pair):
    car = Car(pair, {"ecu-1": ecu(b"new", counter=2)})
    verified = car.check()
    assert (verified.campaign, verified.targets) == (None, ())
    assert not any(request.startswith("image/") for request in car.requests)


def test_what_is_installed_under_a_lower_release_counter_is_asked_for(pair):
    car = Car(pair, {"ecu-1": ecu(b"new", counter=1)})
    assert car.check().targets[0].counter == 2


def test_of_several_images_those_installed_are_told_as_well(pair):
    pair.add("app-2", b"second", {"ecu-2": "hw-1"})
    pair.publish()
    car = Car(pair, {"ecu-1": ecu(b"new", counter=2), "ecu-2": ecu()})
    assert [target.ecu for target in car.check().targets] == ["ecu-1", "ecu-2"]


def test_what_is_stored_is_verified_again_without_any_request(pair):
    car = Car(pair)
    first = car.check()
    pair.director.files.clear()
    pair.image.files.clear()
    assert car.recheck() == first


def test_a_recheck_before_any_check_says_that_one_is_needed(pair):
    with pytest.raises(UptaneError) as caught:
        Car(pair).recheck()
    assert caught.value.kind is Kind.MISSING


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("repository", ["director", "image"])
def test_a_recheck_finds_what_was_changed_since(pair, repository, role):
    car = Car(pair)
    car.check()
    stored = car.stored[repository]
    stored[role] = stored[role].replace(b'"version":', b'"version":1')
    with pytest.raises(UptaneError):
        car.recheck()


@pytest.mark.parametrize("repository", ["director", "image"])
def test_a_check_that_fails_does_not_take_away_what_was_verified_before(pair, repository):
    car = Car(pair)
    first = car.check()
    pair.publish()
    repo = getattr(pair, repository)
    del repo.files[f"{repo.targets.version}.targets.json"]
    with pytest.raises(UptaneError):
        car.check()
    assert car.floor.versions[repository]["timestamp"] == repo.timestamp.version
    assert car.recheck() == first


def test_a_recheck_refuses_stored_metadata_under_a_root_older_than_the_floor(pair):
    car = Car(pair)
    car.check()
    old = car.stored["director"]["root"]
    pair.director.publish_root()
    car.check()
    car.stored["director"]["root"] = old
    with pytest.raises(UptaneError) as caught:
        car.recheck()
    assert caught.value.kind is Kind.ROLLBACK


def test_expiry_between_check_and_install_is_what_the_campaign_makes_of_it(pair):
    car = Car(pair)
    first = car.check()
    later = NOW + 40 * DAY
    car.limits = type(car.limits)(cap=90 * DAY, stale=60 * DAY)
    with pytest.raises(UptaneError) as caught:
        car.recheck(later)
    assert caught.value.kind is Kind.FREEZE
    assert car.recheck(later, expired=True) == first


@pytest.mark.parametrize("repository", ["director", "image"])
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_recheck_looks_at_the_expiry_of_every_role(pair, repository, role):
    repo = getattr(pair, repository)
    signed = repo.root if role == "root" else repo.signed(role)
    signed.expires = moment(NOW + DAY)
    repo.publish_root()
    pair.publish()
    car = Car(pair)
    first = car.check()
    assert car.recheck(NOW + DAY - 1) == first
    with pytest.raises(UptaneError) as caught:
        car.recheck(NOW + DAY)
    error = caught.value
    assert (error.kind, error.repository, error.role) == (Kind.FREEZE, repository, role)
    assert car.recheck(NOW + DAY, expired=True) == first


def test_a_recheck_with_a_time_grown_too_old_is_refused_also_where_expiry_is_not(pair):
    car = Car(pair)
    car.check()
    with pytest.raises(UptaneError) as caught:
        car.recheck(NOW + 61 * DAY, expired=True)
    assert caught.value.kind is Kind.TIME


def test_a_revoked_key_ends_what_it_had_signed_also_for_a_recheck(pair):
    car = Car(pair)
    car.check()
    pair.director.rotate("timestamp")
    pair.director.files["timestamp.json"] = b"{}"
    with pytest.raises(UptaneError):
        car.check()
    with pytest.raises(UptaneError) as caught:
        car.recheck()
    assert caught.value.kind is Kind.MISSING


def test_a_rotated_key_is_followed(pair):
    car = Car(pair)
    car.check()
    for repo in (pair.director, pair.image):
        for role in ("timestamp", "snapshot", "targets", "root"):
            repo.rotate(role)
    pair.publish()
    assert car.check().targets[0].name == "app-1"
    assert car.floor.versions["director"]["root"] == 5
    assert car.floor.versions["image"]["root"] == 5


def test_a_time_key_taken_away_takes_away_a_time_far_in_the_future(pair):
    car = Car(pair)
    pair.publish_time(5000 * DAY)
    with pytest.raises(UptaneError) as caught:
        car.check(NOW)
    assert caught.value.kind is Kind.FREEZE
    assert car.floor.time == NOW + 5000 * DAY
    new = Pair().time_signer
    pair.time_signer, pair.time, pair.sequence = new, NOW, 0
    pair.name_time_keys(new.public_key)
    pair.publish_time()
    assert car.check(NOW).targets[0].name == "app-1"
    assert (car.floor.time, car.floor.sequence) == (NOW, 1)


def test_a_time_key_taken_away_counts_although_that_check_fails(pair):
    car = Car(pair)
    pair.publish_time(5000 * DAY)
    with pytest.raises(UptaneError):
        car.check(NOW)
    new = Pair().time_signer
    pair.time_signer, pair.time, pair.sequence = new, NOW, 0
    pair.name_time_keys(new.public_key)
    del pair.director.files["time.json"]
    with pytest.raises(UptaneError) as caught:
        car.check(NOW)
    assert (caught.value.kind, caught.value.role) == (Kind.MISSING, "time")
    pair.publish_time()
    assert car.check(NOW).targets[0].name == "app-1"


def test_a_time_server_is_asked_in_place_of_the_file(pair):
    car = Car(pair)
    asked = []

    def answer(nonce):
        asked.append(nonce)
        return make_time(pair.time_signer, NOW + 5, nonce=nonce)

    car.server = answer
    assert car.check(clock=0) is not None
    assert car.requests[:3] == ["director/2.root.json", "time", "director/timestamp.json"]
    assert car.floor.time == NOW + 5
    assert car.trust.reading == Reading(NOW + 5, Clock.BEHIND, stale=False)
    car.check(clock=0)
    assert len(set(asked)) == 2


def test_where_the_time_server_is_silent_the_file_has_to_do(pair):
    car = Car(pair)
    car.server = lambda nonce: None
    assert car.check() is not None
    assert car.requests[1:3] == ["time", "director/time.json"]
    assert (car.floor.time, car.known) == (NOW, None)


def test_after_an_answer_an_older_file_is_taken_and_makes_nothing_older(pair):
    car = Car(pair)
    car.server = lambda nonce: make_time(pair.time_signer, NOW + DAY, nonce=nonce)
    car.check()
    car.server = None
    assert car.check() is None
    assert (car.floor.time, car.floor.sequence) == (NOW + DAY, pair.sequence)


def test_with_an_answer_a_car_whose_clock_is_years_ahead_installs_all_the_same(pair):
    car = Car(pair)
    with pytest.raises(UptaneError) as caught:
        car.check(NOW + 4000 * DAY)
    assert caught.value.kind is Kind.FREEZE
    car.server = lambda nonce: make_time(pair.time_signer, NOW + 5, nonce=nonce)
    verified = car.check(NOW + 4000 * DAY)
    assert verified is not None
    assert car.recheck(NOW + 4000 * DAY) == verified


def test_a_time_key_taken_away_takes_away_what_it_has_answered(pair):
    car = Car(pair)
    car.server = lambda nonce: make_time(pair.time_signer, NOW + 5000 * DAY, nonce=nonce)
    with pytest.raises(UptaneError):
        car.check()
    assert car.known == car.floor.time == NOW + 5000 * DAY
    new = Pair().time_signer
    pair.time_signer, pair.sequence = new, 0
    pair.name_time_keys(new.public_key)
    pair.publish_time()
    car.server = None
    assert car.check() is not None
    assert (car.floor.time, car.known) == (NOW, None)


def test_a_time_key_added_takes_nothing_away(pair):
    car = Car(pair)
    car.check()
    pair.name_time_keys(pair.time_signer.public_key, Pair().time_signer.public_key)
    assert car.check() is None
    assert car.floor.time == NOW


@pytest.mark.parametrize(
    ("clock", "worth", "now"),
    [
        (NOW + DAY, Clock.GOOD, NOW + DAY),
        (0, Clock.BEHIND, NOW),
        (NOW + 31 * DAY, Clock.AHEAD, NOW + 30 * DAY),
    ],
)
def test_the_clock_counts_within_its_limits_and_is_told(pair, clock, worth, now):
    car = Car(pair)
    for repo in (pair.director, pair.image):
        for signed in (repo.timestamp, repo.snapshot, repo.targets):
            signed.expires = signed.expires.replace(year=2040)
    pair.publish()
    assert car.check(clock) is not None
    assert (car.trust.reading.clock, car.trust.reading.now) == (worth, now)


def test_an_update_goes_on_without_a_new_time_where_there_was_one(pair):
    car = Car(pair)
    car.check()
    del pair.director.files["time.json"]
    pair.director.publish()
    assert car.check(NOW + DAY).targets[0].name == "app-1"
    assert car.floor.time == NOW


def test_a_counter_equal_to_the_floor_is_taken_for_the_image_that_is_installed(pair):
    pair.add("app-2", b"second", {"ecu-2": "hw-1"})
    pair.publish()
    car = Car(pair, {"ecu-1": ecu(b"new", counter=2), "ecu-2": ecu()})
    car.floor = car.floor.raise_counters({"ecu-1": 2})
    assert len(car.check().targets) == 2


def test_a_counter_equal_to_the_floor_is_taken_where_nobody_can_tell_what_is_installed(pair):
    car = Car(pair, {"ecu-1": ecu()})
    car.floor = car.floor.raise_counters({"ecu-1": 2})
    assert car.check().targets[0].counter == 2


def test_a_higher_counter_than_that_of_what_is_installed_is_an_update(pair):
    car = Car(pair, {"ecu-1": ecu(b"old", counter=1)})
    car.floor = car.floor.raise_counters({"ecu-1": 1})
    assert car.check().targets[0].counter == 2


def test_verifying_raises_no_release_counter(pair):
    car = Car(pair)
    car.check()
    assert car.floor.counters == {}


def test_groups_and_an_order_that_can_be_kept_are_taken(pair):
    pair.custom()["campaign"].update(
        groups=[["ecu-1", "ecu-2"], ["ecu-3"]], after={"ecu-2": ["ecu-1"], "ecu-3": ["ecu-2"]}
    )
    pair.publish()
    car = Car(pair, {name: ecu() for name in ("ecu-1", "ecu-2", "ecu-3")})
    campaign = car.check().campaign
    assert campaign.groups == [["ecu-1", "ecu-2"], ["ecu-3"]]
