"""Our repository workflow and that of `tuf.ngclient` take and refuse alike.

Both follow one repository through a random series of what repositories do, well and badly.  Where
they differ, ours follows the Uptane Standard or is stricter; each such case is a test of its own
here, and the series stay clear of it:

- a snapshot of the stored version with other hashes: ngclient keeps the stored one, we fetch it;
- keys of timestamp or snapshot taken away: ngclient drops the stored files that fail with the new
  keys, we drop both (Uptane: "Timestamp and/or Snapshot keys");
- a threshold raised: ngclient drops the stored files that no longer reach it, we keep the floor;
- stored files lost: ngclient takes any version, our floor is kept apart;
- two ids of one key: ngclient counts two, we one;
- timestamps whose version or type is none, nesting, counts, sizes: ours are bounded.
"""

import logging
import os
import random
import shutil

import pytest
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, TargetFile
from tuf.ngclient import FetcherInterface, Updater
from uptane_repos import DAY, NOW, Client, Repo, moment, new_signer

from bordnetz.uptane.errors import Kind, UptaneError

ROLES = ("timestamp", "snapshot", "targets")


class Fetcher(FetcherInterface):
    """Serves a repository's files to ngclient."""

    def __init__(self, repo):
        self.repo = repo
        self.requests = []

    def _fetch(self, url):
        name = url.removeprefix("memory:///")
        self.requests.append(name)
        if name not in self.repo.files:
            raise DownloadHTTPError("missing", 404)
        return iter([self.repo.files[name]])


class Oracle:
    """tuf.ngclient with its folder."""

    def __init__(self, repo, folder):
        self.folder = folder
        self.fetcher = Fetcher(repo)
        self.factory = repo.files["1.root.json"]

    def updater(self, now=NOW):
        updater = Updater(
            str(self.folder),
            "memory:///",
            fetcher=self.fetcher,
            bootstrap=self.factory,
        )
        updater._trusted_set.reference_time = moment(now)
        return updater

    def refresh(self, now=NOW):
        self.fetcher.requests.clear()
        self.updater(now).refresh()

    def versions(self):
        """What it holds, by role."""
        held = {}
        for role in ("root", *ROLES):
            path = self.folder / f"{role}.json"
            if path.exists():
                held[role] = Metadata.from_file(str(path)).signed.version
        return held


class Both:
    """Our client and the oracle on one repository."""

    def __init__(self, repo, folder):
        self.repo = repo
        self.ours = Client(repo)
        self.theirs = Oracle(repo, folder)

    def agree(self, now=NOW):
        """Refresh both; gives whether they took it."""
        ours = theirs = True
        reasons = []
        try:
            self.ours.refresh(now)
        except UptaneError as error:
            ours = False
            reasons.append(error)
        try:
            self.theirs.refresh(now)
        except (RepositoryError, DownloadHTTPError) as error:
            theirs = False
            reasons.append(error)
        assert ours == theirs, reasons
        held = {
            role: Metadata.from_bytes(data).signed.version
            for role, data in self.ours.stored.items()
            if role in ("root", *ROLES)
        }
        versions = self.theirs.versions()
        # What it no longer trusts, ngclient leaves in its folder until there is something better.
        assert held == versions if ours else held.items() <= versions.items()
        return ours


@pytest.fixture
def repo():
    return Repo()


@pytest.fixture
def both(repo, tmp_path):
    logging.getLogger("tuf").setLevel(logging.ERROR)
    return Both(repo, tmp_path / "oracle")


# What a repository may do, and what somebody in its place may do.  Each is given the repository
# and the choices to make.


def publish(repo, pick):
    repo.publish()


def publish_timestamp(repo, pick):
    repo.publish_timestamp()


def publish_root(repo, pick):
    repo.publish_root()


def rotate_root_or_targets(repo, pick):
    role = pick.choice(["root", "targets"])
    repo.rotate(role)
    if role == "targets":
        repo.publish()


def rotate_timestamp_and_snapshot(repo, pick):
    repo.rotate("timestamp")
    repo.rotate("snapshot")
    repo.publish()


def use_hashes(repo, pick):
    repo.hashes = not repo.hashes
    repo.publish()


def expire(repo, pick):
    role = pick.choice(ROLES)
    signed = repo.signed(role)
    good = signed.expires
    signed.expires = moment(NOW + pick.choice([-DAY, 0, 1]))
    repo.publish()
    signed.expires = good


def expire_root(repo, pick):
    good = repo.root.expires
    repo.root.expires = moment(NOW + pick.choice([-DAY, 0, 1]))
    repo.publish_root()
    repo.root.expires = good


def sign_with_another_key(repo, pick):
    role = pick.choice(ROLES)
    good, repo.signers[role] = repo.signers[role], [new_signer()]
    repo.publish()
    repo.signers[role] = good


def sign_root_with_another_key(repo, pick):
    good = repo.signers["root"]
    second = new_signer()
    repo.publish_root(pick.choice([[second], [], [*good, second]]))
    if pick.random() < 0.8:
        repo.write_root()


def go_back(repo, pick):
    role = pick.choice(ROLES)
    signed = repo.signed(role)
    good = signed.version
    # To a version that no client holds; the one that it does hold is another matter, see below.
    signed.version = pick.choice([1, 2])
    if role == "targets":
        repo.publish_role("targets", bump=False)
        repo.publish_snapshot()
        repo.publish_timestamp()
    elif role == "snapshot":
        repo.publish_snapshot(bump=False)
        repo.publish_timestamp()
    else:
        repo.publish_timestamp(bump=False)
    signed.version = good + 1


def change_the_timestamp_alone(repo, pick):
    repo.publish_snapshot()
    repo.publish_timestamp(bump=False)


def lose(repo, pick):
    names = [f"{repo.signed(role).version}.{role}.json" for role in ("snapshot", "targets")]
    name = pick.choice([*names, "timestamp.json"])
    repo.publish()
    repo.files.pop(name, None)


def leave_out_the_newest(repo, pick):
    repo.publish()
    role = pick.choice(["snapshot", "targets"])
    repo.files.pop(f"{repo.signed(role).version}.{role}.json")


def another_version_than_named(repo, pick):
    role = pick.choice(["snapshot", "targets"])
    repo.publish()
    name = f"{repo.signed(role).version}.{role}.json"
    signed = repo.signed(role)
    signed.version += pick.choice([-1, 1])
    repo.files[name] = repo.sign(role, signed)
    signed.version = max(signed.version, 1) + 2


def spoil(repo, pick):
    repo.publish()
    name = pick.choice(
        ["timestamp.json", *(f"{repo.signed(r).version}.{r}.json" for r in ("snapshot", "targets"))]
    )
    data = bytearray(repo.files[name])
    data[pick.randrange(len(data))] ^= 1 << pick.randrange(7)
    repo.files[name] = bytes(data)


def name_a_role_and_drop_it(repo, pick):
    repo.snapshot.meta["more.json"] = repo.meta(1, b"")
    repo.publish()
    if pick.random() < 0.5:
        del repo.snapshot.meta["more.json"]
        repo.publish_snapshot()
        repo.publish_timestamp()


def replace_targets_by_snapshot(repo, pick):
    repo.publish()
    repo.files["timestamp.json"] = repo.sign("timestamp", repo.snapshot)


def ask_for_more_signatures(repo, pick):
    role = pick.choice(ROLES)
    repo.root.roles[role].threshold = 2
    second = new_signer()
    repo.root.add_key(second.public_key, role)
    repo.signers[role].append(second)
    repo.publish_root()
    repo.publish()


STEPS = (
    publish,
    publish,
    publish,
    publish_timestamp,
    publish_root,
    rotate_root_or_targets,
    rotate_timestamp_and_snapshot,
    use_hashes,
    expire,
    expire_root,
    sign_with_another_key,
    sign_root_with_another_key,
    go_back,
    change_the_timestamp_alone,
    lose,
    leave_out_the_newest,
    another_version_than_named,
    spoil,
    name_a_role_and_drop_it,
    replace_targets_by_snapshot,
    ask_for_more_signatures,
)


@pytest.mark.parametrize("seed", range(int(os.environ.get("ORACLE_SERIES", "16"))))
def test_both_take_and_refuse_alike_through_a_repository_s_life(both, seed):
    pick = random.Random(seed)
    for role in ROLES:
        both.repo.signed(role).version = 10
    both.repo.publish()
    outcomes = set()
    for _ in range(12):
        pick.choice(STEPS)(both.repo, pick)
        outcomes.add(both.agree())
    assert outcomes


DELEGATIONS = ("a", "b", "c", "d", "e")


def random_delegations(repo, pick):
    """A graph of roles, with cycles, and images here and there."""
    for _ in range(pick.randrange(2, 9)):
        by = pick.choice(["targets", "targets", *repo.delegated])
        paths = pick.choice([["*"], ["x/*"], ["y/*"], ["x/*", "y/?"], ["*/app"], []])
        repo.delegate(pick.choice(DELEGATIONS), paths, by, terminating=pick.random() < 0.2)
    for role in ["targets", *repo.delegated]:
        for name in ("app", "x/app", "y/app", "y/b"):
            if pick.random() < 0.2:
                repo.signed(role).targets[name] = TargetFile.from_data(name, role.encode())
    repo.publish()
    if pick.random() < 0.2:
        repo.snapshot.meta.pop(f"{pick.choice(sorted(repo.delegated))}.json")
        repo.publish_snapshot()
        repo.publish_timestamp()
    if pick.random() < 0.2:
        repo.signers[pick.choice(sorted(repo.delegated))].pop()
        repo.publish()


@pytest.mark.parametrize("seed", range(int(os.environ.get("ORACLE_SERIES", "16"))))
def test_both_find_the_same_images_by_the_same_way(both, seed):
    pick = random.Random(seed)
    random_delegations(both.repo, pick)
    for name in ("app", "x/app", "y/app", "y/b", "z"):
        both.ours.stored.clear()
        shutil.rmtree(both.theirs.folder, ignore_errors=True)
        both.theirs.fetcher.requests.clear()
        try:
            (ours,) = both.ours.find(name)
        except UptaneError:
            ours = "refused"
        try:
            updater = both.theirs.updater()
            updater.refresh()
            both.theirs.fetcher.requests.clear()
            theirs = updater.get_targetinfo(name)
        except (RepositoryError, DownloadHTTPError):
            theirs = "refused"
        assert ours == theirs
        assert both.ours.requests == both.theirs.fetcher.requests


# -- where we differ, and why


def test_a_snapshot_made_anew_under_its_version_is_fetched_where_ngclient_keeps_the_old(both):
    both.agree()
    both.repo.snapshot.unrecognized_fields["note"] = "made anew"
    both.repo.publish_snapshot(bump=False)
    both.repo.publish_timestamp()
    assert both.agree()
    new = both.repo.files["1.snapshot.json"]
    assert both.ours.stored["snapshot"] == new
    assert (both.theirs.folder / "snapshot.json").read_bytes() != new


def test_lost_files_let_nothing_older_in_where_ngclient_takes_it(both):
    old = both.repo.files["timestamp.json"]
    both.repo.publish()
    both.agree()
    both.repo.files["timestamp.json"] = old
    shutil.rmtree(both.theirs.folder)
    both.ours.stored.clear()
    both.theirs.refresh()
    with pytest.raises(UptaneError) as caught:
        both.ours.refresh()
    assert caught.value.kind is Kind.ROLLBACK


def test_a_snapshot_key_taken_away_takes_the_timestamp_s_version_where_ngclient_keeps_it(both):
    both.repo.timestamp.version = 100
    both.repo.publish()
    both.agree()
    both.repo.rotate("snapshot")
    both.repo.timestamp.version = 2
    both.repo.publish()
    assert both.ours.refresh()
    with pytest.raises(RepositoryError):
        both.theirs.refresh()


def test_a_threshold_raised_keeps_the_versions_where_ngclient_drops_them(both):
    repo = both.repo
    repo.publish()
    both.agree()
    second = new_signer()
    repo.root.add_key(second.public_key, "timestamp")
    repo.root.roles["timestamp"].threshold = 2
    repo.signers["timestamp"].append(second)
    repo.publish_root()
    repo.timestamp.version = 1
    repo.publish_timestamp(bump=False)
    both.theirs.refresh()
    with pytest.raises(UptaneError) as caught:
        both.ours.refresh()
    assert caught.value.kind is Kind.ROLLBACK


def test_a_number_that_is_none_is_refused_where_ngclient_takes_it(both):
    both.repo.snapshot.version = True
    data = both.repo.sign("snapshot", both.repo.snapshot)
    both.repo.files["1.snapshot.json"] = data
    both.repo.timestamp.snapshot_meta = both.repo.meta(1, data)
    both.repo.publish_timestamp()
    both.theirs.refresh()
    with pytest.raises(UptaneError) as caught:
        both.ours.refresh()
    assert caught.value.kind is Kind.BAD_METADATA
