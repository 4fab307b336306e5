"""Looking for updates: sources, floor and stored metadata together, on a real disk."""

import os
import shutil
import time
from contextlib import suppress

import pytest
from uptane_repos import DAY, NOW, VEHICLE, Pair, ecu, new_signer

from bordnetz.edge.durable import DurableError, LockedError
from bordnetz.ota.floor import FloorError
from bordnetz.ota.refresh import Refresh
from bordnetz.ota.source import MissingError, Source, UnreachableError
from bordnetz.uptane.custom import Campaign
from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.time import Clock, Reading, TimeLimits, make_time
from bordnetz.uptane.trust import Vehicle

LIMITS = TimeLimits()


class Files(Source):
    """Serves a repository; may fail at a file."""

    def __init__(self, repo):
        self.repo = repo
        self.asked = []
        self.broken = ""

    def fetch(self, name, limit):
        self.asked.append(name)
        if self.broken and self.broken in name:
            raise UnreachableError("the network is gone; try again later")
        if name not in self.repo.files:
            raise MissingError(name)
        if len(self.repo.files[name]) > limit:
            raise UptaneError(Kind.ENDLESS_DATA, "too long")
        return self.repo.files[name]


class Cut(BaseException):
    """The process ends here; nothing below catches it."""


def cut_off_at(patch, call, number):
    """Have the process end before the call of this number; gives a list with the count."""
    count = [0]
    real = getattr(os, call)

    def counted(*args, **more):
        count[0] += 1
        if count[0] == number:
            raise Cut
        return real(*args, **more)

    patch.setattr(os, call, counted)
    return count


class Car:
    def __init__(self, pair, state):
        self.pair = pair
        self.state = state
        self.director = Files(pair.director)
        self.image = Files(pair.image)
        self.ecus = {"ecu-1": ecu()}

    def open(self):
        return Refresh(self.state, self.pair.roots, LIMITS)

    def check(self, refresh, clock=None):
        self.director.asked.clear()
        self.image.asked.clear()
        now = self.pair.time if clock is None else clock
        return refresh.check(self.director, self.image, self.vehicle, now)

    @property
    def vehicle(self):
        return Vehicle(VEHICLE, self.ecus)

    def files(self):
        return sorted(path for path in self.state.rglob("*") if path.is_file())


@pytest.fixture
def pair():
    made = Pair()
    made.add("app-1", b"new", {"ecu-1": "hw-1"}, counter=2)
    made.publish()
    return made


@pytest.fixture
def car(pair, tmp_path):
    return Car(pair, tmp_path / "trust")


def test_an_update_is_found_and_nothing_new_after_it_over_a_restart(car):
    with car.open() as refresh:
        verified = car.check(refresh)
        assert verified.campaign == Campaign(id="campaign-1")
        assert car.check(refresh) is None
    with car.open() as refresh:
        assert car.check(refresh) is None
        assert car.image.asked == []
        assert refresh.recheck(car.vehicle, NOW) == verified


class TimeServer(Source):
    """Answers with the time of the test's clock, or not at all."""

    def __init__(self, pair, boot):
        self.pair = pair
        self.boot = boot
        self.silent = ""
        self.asked = []

    def fetch(self, name, limit):
        self.asked.append(name)
        if self.silent:
            raise UnreachableError(self.silent)
        return make_time(self.pair.time_signer, NOW + int(self.boot[0]), nonce=name)


def ask(car, refresh, server, clock):
    return refresh.check(car.director, car.image, car.vehicle, clock, server)


def test_what_a_time_server_has_answered_goes_on_with_a_clock_that_nobody_sets(car, pair):
    boot = [1000.0]
    server = TimeServer(pair, boot)
    with Refresh(car.state, pair.roots, LIMITS, lambda: boot[0]) as refresh:
        wrong = NOW + 9999 * DAY
        verified = ask(car, refresh, server, wrong)
        assert refresh.read(wrong) == Reading(NOW + 1000, Clock.AHEAD, stale=False)
        boot[0] += 2.5
        assert refresh.read(0) == Reading(NOW + 1002, Clock.BEHIND, stale=False)
        assert refresh.recheck(car.vehicle, wrong) == verified
        assert refresh.record.floor.time == NOW + 1000
    with Refresh(car.state, pair.roots, LIMITS, lambda: boot[0]) as refresh:
        assert refresh.read(wrong).stale
        assert refresh.read(0).now == NOW + 1000


def test_a_silent_time_server_is_told_and_the_file_has_to_do(car, pair):
    boot = [1000.0]
    server = TimeServer(pair, boot)
    with Refresh(car.state, pair.roots, LIMITS, lambda: boot[0]) as refresh:
        server.silent = "the connection fails; it is tried again"
        assert ask(car, refresh, server, NOW) is not None
        assert (refresh.answered, refresh.silence) == (False, server.silent)
        assert refresh.record.floor.time == NOW
        server.silent = ""
        assert ask(car, refresh, server, NOW) is None
        assert (refresh.answered, refresh.silence) == (True, None)
        boot[0] += 50
        server.silent = "gone"
        assert ask(car, refresh, server, NOW) is None
        assert refresh.read(0).now == NOW + 1050, "the last answer still holds"
    assert len(set(server.asked)) == 3


def test_a_time_server_that_was_not_come_to_has_not_answered(car, pair):
    with car.open() as refresh:
        car.director.broken = "root"
        with pytest.raises(UnreachableError):
            ask(car, refresh, TimeServer(pair, [0.0]), NOW)
        assert (refresh.answered, refresh.silence) == (False, None)


def test_an_answer_that_is_too_long_is_refused_as_the_time(car, pair):
    class Endless(Source):
        def fetch(self, name, limit):
            raise UptaneError(Kind.ENDLESS_DATA, "too long")

    with car.open() as refresh, pytest.raises(UptaneError) as caught:
        ask(car, refresh, Endless(), NOW)
    error = caught.value
    assert (error.kind, error.repository, error.role) == (Kind.ENDLESS_DATA, "director", "time")


def test_nothing_new_writes_nothing(car, monkeypatch):
    with car.open() as refresh:
        car.check(refresh)
        monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("written"))
        assert car.check(refresh) is None


def test_nothing_new_costs_next_to_nothing(car):
    """The budget is 25 ms; what takes more than that here is no noise."""
    with car.open() as refresh:
        car.check(refresh)
        begin = time.process_time()
        for _ in range(20):
            assert car.check(refresh) is None
        assert (time.process_time() - begin) / 20 < 0.025


def test_the_floor_is_on_the_disk_before_any_metadata(car, monkeypatch):
    made = []
    rename = os.rename

    def watched(old, new, **more):
        made.append(os.fspath(new).rpartition("/")[2])
        rename(old, new, **more)

    with car.open() as refresh:
        monkeypatch.setattr(os, "rename", watched)
        car.check(refresh)
    assert made[0] == "floor.json"
    assert made[-1] == "index.json"


def test_a_floor_that_cannot_be_written_lets_nothing_be_reported(car, monkeypatch):
    with car.open() as refresh:

        def broken(descriptor):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", broken)
            with pytest.raises(DurableError, match="disk is full"):
                car.check(refresh)
        assert car.check(refresh).targets[0].name == "app-1"


def test_lost_metadata_is_fetched_again_and_lets_nothing_older_in(car, pair):
    old = dict(pair.director.files)
    pair.publish()
    with car.open() as refresh:
        car.check(refresh)
    shutil.rmtree(car.state / "metadata")
    new, pair.director.files = pair.director.files, old
    with car.open() as refresh:
        with pytest.raises(UptaneError) as caught:
            car.check(refresh)
        assert caught.value.kind is Kind.ROLLBACK
        pair.director.files = new
        assert car.check(refresh).targets[0].name == "app-1"


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("how", ["changed", "gone"])
@pytest.mark.parametrize("which", range(9))
def test_any_damaged_file_of_the_metadata_is_fetched_again(car, which, how, restart):
    with car.open() as refresh:
        verified = car.check(refresh)
        stored = [path for path in car.files() if path.parent.name == "metadata"]
        assert len(stored) == 9
        before = stored[which].read_bytes()
        stored[which].unlink() if how == "gone" else stored[which].write_bytes(before[:-1] + b"?")
        if not restart:
            # What is found out by looking, the next check mends.
            with suppress(UptaneError):
                refresh.recheck(car.vehicle, NOW)
            car.check(refresh)
            assert refresh.recheck(car.vehicle, NOW) == verified
    with car.open() as refresh:
        car.check(refresh)
        assert refresh.recheck(car.vehicle, NOW) == verified
    assert [path for path in car.files() if path.parent.name == "metadata"] == stored
    assert stored[which].read_bytes() == before


def test_a_lost_floor_stops_everything(car):
    with car.open() as refresh:
        car.check(refresh)
    shutil.rmtree(car.state / "floor")
    with pytest.raises(FloorError, match="is lost"), car.open():
        pass
    # And gives the lock back.
    with pytest.raises(FloorError, match="is lost"), car.open():
        pass


def test_one_at_a_time_has_the_state(car):
    with car.open(), pytest.raises(LockedError), car.open():
        pass
    with car.open():
        pass


def test_a_check_cut_off_by_the_network_goes_on_where_it_can_and_keeps_the_floor(car, pair):
    car.image.broken = "timestamp"
    with car.open() as refresh:
        for _ in range(2):
            with pytest.raises(UnreachableError):
                car.check(refresh)
        assert refresh.record.floor.versions["director"]["targets"] == pair.director.targets.version
        car.image.broken = ""
        assert car.check(refresh).targets[0].name == "app-1"


def test_a_failed_check_leaves_the_stored_metadata_as_it_was_together(car, pair):
    with car.open() as refresh:
        car.check(refresh)
        before = [
            (path.name, path.read_bytes()) for path in car.files() if "floor" not in str(path)
        ]
        pair.director.publish()
        car.image.broken = "timestamp"
        with pytest.raises(UnreachableError):
            car.check(refresh)
    after = [(path.name, path.read_bytes()) for path in car.files() if "floor" not in str(path)]
    assert before == after


def test_new_roots_are_stored_also_by_a_failed_check(car, pair):
    with car.open() as refresh:
        pair.director.publish_root()
        pair.director.files["timestamp.json"] = b"{}"
        with pytest.raises(UptaneError):
            car.check(refresh)
        assert "2.root.json" in car.director.asked
        with pytest.raises(UptaneError):
            car.check(refresh)
        assert "2.root.json" not in car.director.asked


def test_what_no_role_needs_any_more_is_removed(car, pair):
    with car.open() as refresh:
        car.check(refresh)
        count = len(car.files())
        for _ in range(3):
            pair.publish()
            car.check(refresh)
        assert len(car.files()) == count


def test_what_a_crash_left_behind_is_removed(car):
    with car.open() as refresh:
        car.check(refresh)
    names = [path.name for path in car.files()]
    (car.state / "metadata" / ".new-index.json").write_bytes(b"half")
    (car.state / "metadata" / ("0" * 64)).write_bytes(b"never named")
    with car.open():
        pass
    assert [path.name for path in car.files()] == names


@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_wherever_it_is_cut_off_the_floor_does_not_sink_and_the_update_is_found(
    car, pair, call, monkeypatch
):
    with car.open() as refresh:
        car.check(refresh)
        first = refresh.record.floor
    pair.publish(DAY)
    for number in range(1, 100):
        state = car.state.with_name(f"cut-{number}")
        shutil.copytree(car.state, state)
        other = Car(pair, state)
        with monkeypatch.context() as patch:
            count = cut_off_at(patch, call, number)
            with suppress(Cut), other.open() as refresh:
                other.check(refresh)
        with other.open() as refresh:
            assert refresh.record.floor.time >= first.time
            for repository, versions in first.versions.items():
                for role, version in versions.items():
                    assert refresh.record.floor.versions[repository][role] >= version
            # Old or new, but as a whole; and the next check finds what is new, once.
            assert len(refresh.recheck(other.vehicle, pair.time).targets) == 1
            verified = other.check(refresh)
            assert (verified or refresh.recheck(other.vehicle, pair.time)).director_version == (
                pair.director.targets.version
            )
            assert other.check(refresh) is None
        assert len(other.files()) == len(car.files())
        if count[0] < number:
            break
    else:
        pytest.fail("a check that has more than a hundred of these calls")
    assert number > 8


def test_an_endless_file_is_refused_as_whose_it_is(car, pair):
    pair.director.files["timestamp.json"] += b" " * 70_000
    with car.open() as refresh:
        with pytest.raises(UptaneError) as caught:
            car.check(refresh)
        error = caught.value
        assert (error.kind, error.repository, error.role) == (
            Kind.ENDLESS_DATA,
            "director",
            "timestamp",
        )


def test_the_reading_of_the_clock_is_told(car, pair):
    with car.open() as refresh:
        assert refresh.reading is None
        car.check(refresh, clock=0)
        assert refresh.reading.clock is Clock.BEHIND
        car.check(refresh)
        assert refresh.reading.clock is Clock.GOOD
        refresh.recheck(car.vehicle, NOW + 40 * DAY, expired=True)
        assert refresh.reading.clock is Clock.AHEAD


def test_a_recheck_lets_the_campaign_decide_about_expiry(car):
    with car.open() as refresh:
        verified = car.check(refresh)
        with pytest.raises(UptaneError) as caught:
            refresh.recheck(car.vehicle, NOW + 30 * DAY)
        assert caught.value.kind is Kind.FREEZE
        assert refresh.recheck(car.vehicle, NOW + 30 * DAY, expired=True) == verified


def test_a_recheck_knows_the_release_counters_of_now(car):
    with car.open() as refresh:
        car.check(refresh)
        refresh.record.raise_counters({"ecu-1": 3})
        with pytest.raises(UptaneError) as caught:
            refresh.recheck(car.vehicle, NOW)
        assert caught.value.kind is Kind.ROLLBACK


def test_a_recheck_after_a_key_was_revoked_needs_a_check(car, pair):
    with car.open() as refresh:
        car.check(refresh)
        pair.director.rotate("snapshot")
        pair.director.signers["timestamp"] = [new_signer()]
        pair.director.publish()
        with pytest.raises(UptaneError):
            car.check(refresh)
    with car.open() as refresh:
        with pytest.raises(UptaneError) as caught:
            refresh.recheck(car.vehicle, NOW)
        assert caught.value.kind is Kind.MISSING
