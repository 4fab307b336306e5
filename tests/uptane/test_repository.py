"""One repository's workflow: what is taken, what is refused, and as which attack."""

import json
from urllib.parse import quote

import pytest
from tuf.api.metadata import Metadata, MetaFile, TargetFile
from uptane_repos import DAY, NOW, Client, Repo, moment, new_signer

from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.repository import MOST_ROLES, MOST_ROOTS, Limits


@pytest.fixture
def repo():
    return Repo()


def refused(client, kind, role, now=NOW):
    with pytest.raises(UptaneError) as caught:
        client.refresh(now)
    assert (caught.value.kind, caught.value.role) == (kind, role)


def newest(repo, role):
    """Name of the file that a client takes."""
    if role == "root":
        return f"{repo.root.version}.root.json"
    return "timestamp.json" if role == "timestamp" else f"{repo.signed(role).version}.{role}.json"


# -- root


def test_roots_are_walked_to_the_last_one(repo):
    for _ in range(3):
        repo.publish_root()
    client = Client(repo)
    client.refresh()
    assert client.requests[:4] == ["2.root.json", "3.root.json", "4.root.json", "5.root.json"]
    assert client.floor["root"] == 4


def test_the_walk_goes_on_from_the_root_that_was_stored(repo):
    client = Client(repo)
    repo.publish_root()
    client.refresh()
    client.refresh()
    assert client.requests[0] == "3.root.json"


def test_a_damaged_stored_root_only_costs_the_way_from_the_factory_s(repo):
    client = Client(repo)
    repo.publish_root()
    client.refresh()
    client.stored["root"] = client.stored["root"].replace(b"1", b"2")
    client.refresh()
    assert client.requests[:2] == ["2.root.json", "3.root.json"]


def test_a_factory_root_newer_than_the_stored_one_is_where_the_walk_begins(repo):
    client = Client(repo)
    client.refresh()
    client.factory = repo.publish_root()
    client.refresh()
    assert client.requests[0] == "3.root.json"


def test_a_factory_root_that_its_own_keys_have_not_signed_is_refused(repo):
    client = Client(repo)
    client.factory = repo.sign("root", repo.root, [new_signer()])
    refused(client, Kind.BAD_SIGNATURE, "root")
    assert client.requests == []


@pytest.mark.parametrize("signed_by", ["old", "new", "neither"])
def test_a_root_not_signed_by_both_the_old_and_the_new_keys_is_refused(repo, signed_by):
    client = Client(repo)
    old, new = repo.signers["root"][0], new_signer()
    repo.root.revoke_key(old.public_key.keyid, "root")
    repo.root.add_key(new.public_key, "root")
    repo.publish_root({"old": [old], "new": [new], "neither": [new_signer()]}[signed_by])
    refused(client, Kind.BAD_SIGNATURE, "root")
    repo.write_root([old, new])
    assert client.refresh()


def test_a_root_signed_by_too_few_of_its_keys_is_refused(repo):
    client = Client(repo)
    second = new_signer()
    repo.root.add_key(second.public_key, "root")
    repo.root.roles["root"].threshold = 2
    repo.publish_root()
    refused(client, Kind.BAD_SIGNATURE, "root")
    repo.write_root([*repo.signers["root"], second])
    assert client.refresh()


def test_two_ids_of_one_key_count_once(repo):
    client = Client(repo)
    signer = repo.signers["timestamp"][0]
    twin = json.loads(json.dumps(signer.public_key.to_dict()))
    alias = type(signer.public_key).from_dict("f" * 64, twin)
    repo.root.add_key(alias, "timestamp")
    repo.root.roles["timestamp"].threshold = 2
    repo.publish_root()
    metadata = Metadata.from_bytes(repo.files["timestamp.json"])
    (signature,) = metadata.signatures.values()
    copied = type(signature)("f" * 64, signature.signature)
    metadata.signatures["f" * 64] = copied
    repo.files["timestamp.json"] = metadata.to_bytes()
    refused(client, Kind.BAD_SIGNATURE, "timestamp")


@pytest.mark.parametrize("version", [1, 3])
def test_a_root_of_another_version_than_its_name_is_refused(repo, version):
    client = Client(repo)
    repo.root.version = version
    repo.files["2.root.json"] = repo.write_root()
    refused(client, Kind.ROLLBACK, "root")


def test_newer_roots_that_are_withheld_are_missed(repo):
    client = Client(repo)
    repo.publish_root()
    client.refresh()
    client.stored = {}
    del repo.files["2.root.json"]
    refused(client, Kind.ROLLBACK, "root")


def test_an_expired_root_on_the_way_is_no_obstacle(repo):
    client = Client(repo)
    repo.root.expires = moment(NOW - DAY)
    repo.publish_root()
    repo.root.expires = moment(NOW + DAY)
    repo.publish_root()
    assert client.refresh()


def test_an_expired_last_root_is_taken_but_nothing_below_it(repo):
    client = Client(repo)
    repo.root.expires = moment(NOW)
    repo.publish_root()
    refused(client, Kind.FREEZE, "root")
    assert client.floor == {"root": 2}
    assert client.stored.keys() == {"root"}
    assert "timestamp.json" not in client.requests


def test_more_roots_than_can_be_meant_end_the_walk_which_goes_on_the_next_time(repo):
    client = Client(repo)
    for _ in range(MOST_ROOTS + 4):
        repo.publish_root()
    refused(client, Kind.ENDLESS_DATA, "root")
    assert client.floor["root"] == MOST_ROOTS + 1
    client.refresh()
    assert client.requests[0] == f"{MOST_ROOTS + 2}.root.json"
    assert client.floor["root"] == MOST_ROOTS + 5


# -- keys taken away: recovery from a fast-forward attack


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_a_key_taken_away_takes_away_the_versions_it_has_set(repo, role):
    client = Client(repo)
    for signed in (repo.timestamp, repo.snapshot, repo.targets):
        signed.version = 1000
    repo.publish()
    client.refresh()
    repo.rotate(role)
    for signed in (repo.timestamp, repo.snapshot, repo.targets):
        signed.version = 2
    repo.publish()
    client.refresh()
    assert client.floor == {"root": 2, "timestamp": 3, "snapshot": 3, "targets": 3}


def test_a_key_taken_away_while_the_stored_metadata_was_lost_counts_all_the_same(repo):
    client = Client(repo)
    repo.timestamp.version = 1000
    repo.publish()
    client.refresh()
    client.stored = {}
    repo.rotate("timestamp")
    repo.timestamp.version = 2
    repo.publish()
    client.refresh()
    assert client.floor["timestamp"] == 3


def test_a_key_taken_away_in_the_factory_s_newer_root_counts_all_the_same(repo):
    client = Client(repo)
    repo.timestamp.version = 1000
    repo.publish()
    client.refresh()
    repo.rotate("timestamp")
    client.factory = repo.files["2.root.json"]
    repo.timestamp.version = 2
    repo.publish()
    client.refresh()
    assert client.floor["timestamp"] == 3


def test_a_key_taken_away_counts_once(repo):
    client = Client(repo)
    repo.rotate("timestamp")
    repo.publish()
    client.refresh()
    old = repo.files["timestamp.json"]
    repo.publish()
    client.refresh()
    for lost in (False, True):
        if lost:
            client.stored = {}
        repo.files["timestamp.json"] = old
        refused(client, Kind.ROLLBACK, "timestamp")


@pytest.mark.parametrize("role", ["root", "targets"])
def test_other_keys_taken_away_take_no_versions_away(repo, role):
    client = Client(repo)
    repo.publish()
    client.refresh()
    repo.rotate(role)
    repo.timestamp.version = 1
    repo.publish_timestamp(bump=False)
    refused(client, Kind.ROLLBACK, "timestamp")


def test_a_key_added_takes_no_versions_away(repo):
    client = Client(repo)
    repo.publish()
    client.refresh()
    repo.root.add_key(new_signer().public_key, "timestamp")
    repo.publish_root()
    repo.timestamp.version = 1
    repo.publish_timestamp(bump=False)
    refused(client, Kind.ROLLBACK, "timestamp")


def test_a_stored_timestamp_of_a_key_taken_away_is_not_used_for_its_equal_version(repo):
    client = Client(repo)
    second = new_signer()
    repo.signers["timestamp"].append(second)
    repo.root.add_key(second.public_key, "timestamp")
    repo.publish_root()
    repo.publish()
    client.refresh()
    # The second key, which stays, has signed what is stored, too.
    first = repo.signers["timestamp"].pop(0)
    repo.root.revoke_key(first.public_key.keyid, "timestamp")
    repo.publish_root()
    repo.publish_snapshot()
    repo.publish_timestamp(bump=False)
    client.refresh()
    assert client.stored["timestamp"] == repo.files["timestamp.json"]


# -- timestamp, snapshot, targets


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_role_signed_by_another_key_is_refused(repo, role):
    repo.signers[role] = [new_signer()]
    repo.publish()
    refused(Client(repo), Kind.BAD_SIGNATURE, role)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_role_that_is_missing_is_refused(repo, role):
    repo.publish()
    del repo.files[newest(repo, role)]
    refused(Client(repo), Kind.MISSING, role)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_role_that_has_expired_is_refused_to_the_second(repo, role):
    repo.signed(role).expires = moment(NOW + 1)
    repo.publish()
    assert Client(repo).refresh(NOW)
    refused(Client(repo), Kind.FREEZE, role, now=NOW + 1)


def test_an_older_timestamp_is_refused(repo):
    client = Client(repo)
    old = repo.files["timestamp.json"]
    repo.publish_timestamp()
    client.refresh()
    repo.files["timestamp.json"] = old
    refused(client, Kind.ROLLBACK, "timestamp")


def test_another_timestamp_of_the_same_version_changes_nothing(repo):
    client = Client(repo)
    client.refresh()
    before = client.stored["timestamp"]
    repo.publish_snapshot()
    repo.publish_timestamp(bump=False)
    client.refresh()
    assert client.stored["timestamp"] == before
    assert client.floor["snapshot"] == 1


def test_an_older_snapshot_is_refused(repo):
    client = Client(repo)
    repo.publish()
    client.refresh()
    repo.snapshot.version = 1
    repo.publish_snapshot(bump=False)
    repo.publish_timestamp()
    refused(client, Kind.ROLLBACK, "timestamp")


def test_an_older_version_of_targets_is_refused(repo):
    client = Client(repo)
    repo.publish()
    client.refresh()
    repo.targets.version = 1
    repo.publish_role("targets", bump=False)
    repo.publish_snapshot()
    repo.publish_timestamp()
    for lost in (False, True):
        if lost:
            client.stored = {}
        refused(client, Kind.ROLLBACK, "snapshot")


def test_a_role_that_the_snapshot_no_longer_names_is_refused(repo):
    client = Client(repo)
    repo.delegate("supplier", ["*"])
    repo.publish()
    client.refresh()
    del repo.snapshot.meta["supplier.json"]
    repo.publish_snapshot()
    repo.publish_timestamp()
    for lost in (False, True):
        if lost:
            client.stored = {}
        refused(client, Kind.ROLLBACK, "snapshot")


def test_a_snapshot_that_names_no_targets_is_refused(repo):
    del repo.snapshot.meta["targets.json"]
    repo.publish_snapshot()
    repo.publish_timestamp()
    refused(Client(repo), Kind.MISSING, "targets")


def test_a_root_that_a_snapshot_names_says_nothing(repo):
    client = Client(repo)
    repo.snapshot.meta["root.json"] = MetaFile(7)
    repo.publish_snapshot()
    repo.publish_timestamp()
    client.refresh()
    assert client.floor["root"] == 1
    del repo.snapshot.meta["root.json"]
    repo.publish_snapshot()
    repo.publish_timestamp()
    assert client.refresh()


@pytest.mark.parametrize(("above", "role"), [("timestamp", "snapshot"), ("snapshot", "targets")])
def test_a_file_that_is_not_the_one_of_the_hash_above_it_is_refused(repo, above, role):
    name = newest(repo, role)
    repo.files[name] = repo.files[name].replace(b'"sig":"', b'"sig" :"', 1)[:-1] + b"}"
    wrong = repo.files[name]
    meta = repo.timestamp.snapshot_meta if above == "timestamp" else repo.snapshot.meta
    one = meta if above == "timestamp" else meta["targets.json"]
    one.length = len(wrong)
    if above == "snapshot":
        repo.publish_snapshot()
    repo.publish_timestamp()
    refused(Client(repo), Kind.MIX_AND_MATCH, role)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_a_role_of_another_version_than_the_one_above_says_is_refused(repo, role):
    repo.hashes = False
    repo.publish()
    named = newest(repo, role)
    repo.signed(role).version += 1
    repo.files[named] = repo.write(role)
    refused(Client(repo), Kind.MIX_AND_MATCH, role)


def test_a_stored_snapshot_of_the_right_version_with_other_hashes_is_fetched_again(repo):
    client = Client(repo)
    client.refresh()
    repo.snapshot.unrecognized_fields["note"] = "made anew"
    repo.publish_snapshot(bump=False)
    repo.publish_timestamp()
    client.refresh()
    assert client.stored["snapshot"] == repo.files["1.snapshot.json"]


def test_stored_files_are_used_where_nothing_has_changed(repo):
    client = Client(repo)
    client.refresh()
    client.refresh()
    assert client.requests == ["2.root.json", "timestamp.json"]


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_damaged_stored_file_is_fetched_again(repo, role):
    client = Client(repo)
    client.refresh()
    client.stored[role] = client.stored[role][:-9]
    client.refresh()
    assert newest(repo, role) in client.requests
    assert client.stored[role] == repo.files[newest(repo, role)]


def test_a_floor_rises_with_each_file_also_where_a_later_one_is_refused(repo):
    client = Client(repo)
    client.refresh()
    repo.signers["snapshot"] = [new_signer()]
    repo.publish()
    refused(client, Kind.BAD_SIGNATURE, "snapshot")
    assert client.floor == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 1}


def test_names_without_versions_are_asked_for_where_the_root_says_so(repo):
    repo.root.consistent_snapshot = False
    repo.publish_root()
    repo.files["snapshot.json"] = repo.files.pop("1.snapshot.json")
    repo.files["targets.json"] = repo.files.pop("1.targets.json")
    assert Client(repo).refresh()


# -- size, nesting, counts, types


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_file_longer_than_its_limit_is_refused(repo, role):
    repo.hashes = False
    repo.publish_root()
    repo.publish()
    client = Client(repo)
    client.limits = Limits(8192, 8192, 8192, 8192)
    assert client.refresh()
    client = Client(repo)
    client.limits = Limits(8192, 8192, 8192, 8192)
    repo.files[newest(repo, role)] += b" " * 8192
    refused(client, Kind.ENDLESS_DATA, role)


def test_the_limit_asked_for_is_the_length_above_where_there_is_one(repo):
    client = Client(repo)
    asked = {}
    answer = client._answer
    client._answer = lambda need: asked.update({need.name: need.limit}) or answer(need)
    client.refresh()
    assert asked["1.snapshot.json"] == len(repo.files["1.snapshot.json"])
    assert asked["1.targets.json"] == len(repo.files["1.targets.json"])


def test_a_length_above_the_limit_does_not_raise_it(repo):
    repo.timestamp.snapshot_meta.length = 1 << 40
    repo.publish_timestamp()
    client = Client(repo)
    asked = {}
    answer = client._answer
    client._answer = lambda need: asked.update({need.name: need.limit}) or answer(need)
    refused(client, Kind.MIX_AND_MATCH, "snapshot")
    assert asked["1.snapshot.json"] == 64 * 1024


def test_all_targets_metadata_together_has_the_limit_of_one(repo):
    repo.hashes = False
    repo.delegate("a", ["*"])
    repo.delegate("b", ["*"])
    repo.publish()
    sizes = [len(repo.files[newest(repo, role)]) for role in ("targets", "a", "b")]
    client = Client(repo)
    client.limits = Limits(targets=sum(sizes))
    assert client.find("nowhere") == [None]
    client = Client(repo)
    client.limits = Limits(targets=sum(sizes) - 1)
    with pytest.raises(UptaneError) as caught:
        client.find("nowhere")
    assert (caught.value.kind, caught.value.role) == (Kind.ENDLESS_DATA, "b")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_metadata_nested_without_end_is_refused_before_it_is_read(repo, opening, closed):
    deep = opening * 5000 + (b"1" + {b"[": b"]"}.get(opening, b"}") * 5000 if closed else b"")
    repo.files["timestamp.json"] = b'{"signed":' + deep + b"}"
    client = Client(repo)
    with pytest.raises(UptaneError, match="nested deeper than 32 levels") as caught:
        client.refresh()
    assert caught.value.kind is Kind.BAD_METADATA


def test_brackets_in_strings_are_no_nesting(repo):
    repo.timestamp.unrecognized_fields["note"] = '[[{"\\' * 100
    repo.timestamp.unrecognized_fields["more"] = "]" * 100
    repo.publish_timestamp()
    assert Client(repo).refresh()


def test_nesting_does_not_hide_behind_brackets_in_strings(repo):
    deep = b'["]]]]]]",' * 5000
    repo.files["timestamp.json"] = deep
    client = Client(repo)
    with pytest.raises(UptaneError, match="nested deeper"):
        client.refresh()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"signed":{},"signatures":[]}',
        b"\xff\xfe",
        b'"' + b'\\"' * 30_000,
        b"1" * 30_000,
        b'{"signatures":[],"signed":{"_type":"timestamp","version":1e999}}',
        b'{"signatures":[{"keyid":[],"sig":""}],"signed":{"_type":"timestamp"}}',
    ],
)
def test_what_is_no_metadata_is_refused(repo, data):
    repo.files["timestamp.json"] = data
    refused(Client(repo), Kind.BAD_METADATA, "timestamp")


@pytest.mark.parametrize(
    ("role", "change"),
    [
        ("timestamp", lambda signed: setattr(signed, "version", 2.0)),
        ("timestamp", lambda signed: setattr(signed, "version", True)),
        ("timestamp", lambda signed: setattr(signed, "version", 1 << 60)),
        ("timestamp", lambda signed: setattr(signed.snapshot_meta, "version", True)),
        ("timestamp", lambda signed: setattr(signed.snapshot_meta, "length", True)),
        ("timestamp", lambda signed: signed.unrecognized_fields.update(note="\ud800")),
        ("snapshot", lambda signed: setattr(signed.meta["targets.json"], "version", True)),
    ],
)
def test_types_that_json_allows_and_we_do_not_are_refused(repo, role, change):
    repo.publish()
    signed = repo.signed(role)
    change(signed)
    raw = json.dumps({"signatures": [], "signed": signed.to_dict()}).encode()
    repo.hashes = False
    if role != "timestamp":
        repo.publish_timestamp()
        repo.timestamp.snapshot_meta = MetaFile(repo.snapshot.version)
        repo.publish_timestamp()
    repo.files[newest(repo, role) if role != "timestamp" else "timestamp.json"] = raw
    refused(Client(repo), Kind.BAD_METADATA, role)


@pytest.mark.parametrize("length", [True, 3.0, 1 << 60])
def test_an_image_whose_length_is_none_is_refused(repo, length):
    name_image(repo, "targets")
    repo.targets.targets["app"].length = length
    raw = {"signatures": [], "signed": repo.targets.to_dict()}
    repo.hashes = False
    repo.publish_snapshot()
    repo.snapshot.meta["targets.json"] = MetaFile(1)
    repo.publish_snapshot()
    repo.publish_timestamp()
    repo.files["1.targets.json"] = json.dumps(raw).encode()
    refused(Client(repo), Kind.BAD_METADATA, "targets")


def test_a_role_whose_name_is_none_is_refused(repo):
    repo.delegate("7", ["*"])
    repo.publish()
    raw = repo.targets.to_dict()
    raw["delegations"]["roles"][0]["name"] = 7
    repo.hashes = False
    repo.snapshot.meta["targets.json"] = MetaFile(2)
    repo.publish_snapshot()
    repo.publish_timestamp()
    content = json.dumps({"signatures": [], "signed": raw}).encode()
    repo.files["2.targets.json"] = content
    refused(Client(repo), Kind.BAD_METADATA, "targets")


def test_metadata_of_another_role_is_refused_whoever_signed_it(repo):
    repo.files["timestamp.json"] = repo.sign("timestamp", repo.targets)
    refused(Client(repo), Kind.BAD_METADATA, "timestamp")


def test_more_signatures_than_can_be_meant_are_refused(repo):
    metadata = json.loads(repo.files["timestamp.json"])
    metadata["signatures"] += [{"keyid": f"{n:064x}", "sig": "00"} for n in range(256)]
    repo.files["timestamp.json"] = json.dumps(metadata).encode()
    refused(Client(repo), Kind.BAD_METADATA, "timestamp")


def test_a_signature_twice_is_refused(repo):
    metadata = json.loads(repo.files["timestamp.json"])
    metadata["signatures"] *= 2
    repo.files["timestamp.json"] = json.dumps(metadata).encode()
    refused(Client(repo), Kind.BAD_METADATA, "timestamp")


def test_a_key_that_is_verified_by_another_program_is_refused(repo):
    raw = json.loads(repo.files["1.root.json"])
    raw["signed"]["version"] = 2
    raw["signed"]["keys"]["0" * 40] = {
        "keytype": "eddsa",
        "scheme": "pgp+eddsa-ed25519",
        "keyval": {"public": "", "private": ""},
    }
    repo.files["2.root.json"] = json.dumps(raw).encode()
    refused(Client(repo), Kind.BAD_METADATA, "root")


def test_more_paths_than_can_be_meant_are_refused(repo):
    repo.delegate("supplier", [f"app-{number}" for number in range(4096)])
    repo.publish()
    refused(Client(repo), Kind.BAD_METADATA, "targets")


# -- delegations


def name_image(repo, role, name="app", payload=b""):
    repo.signed(role).targets[name] = TargetFile.from_data(name, payload or role.encode())


def visited(client):
    return [name.split(".")[1] for name in client.requests]


def test_roles_are_visited_depth_first_in_the_order_of_the_metadata(repo):
    for name, by in [("a", "targets"), ("b", "targets"), ("aa", "a"), ("ab", "a"), ("ba", "b")]:
        repo.delegate(name, ["*"], by)
    repo.publish()
    client = Client(repo)
    assert client.find("nowhere") == [None]
    assert visited(client) == ["a", "aa", "ab", "b", "ba"]


def test_the_first_role_that_names_an_image_is_believed(repo):
    repo.delegate("a", ["*"])
    repo.delegate("b", ["*"])
    name_image(repo, "a", payload=b"first")
    name_image(repo, "b", payload=b"other")
    repo.publish()
    client = Client(repo)
    (found,) = client.find("app")
    assert found.length == 5
    assert found.hashes == TargetFile.from_data("app", b"first").hashes
    assert visited(client) == ["a"]


def test_the_top_level_is_believed_before_any_other(repo):
    repo.delegate("a", ["*"])
    name_image(repo, "a")
    name_image(repo, "targets", payload=b"top")
    repo.publish()
    client = Client(repo)
    assert client.find("app")[0].length == 3
    assert client.requests == []


def test_a_terminating_delegation_ends_the_search(repo):
    repo.delegate("a", ["*"], terminating=True)
    repo.delegate("aa", ["*"], "a")
    repo.delegate("b", ["*"])
    name_image(repo, "b")
    repo.publish()
    client = Client(repo)
    assert client.find("app") == [None]
    assert visited(client) == ["a", "aa"]


def test_a_terminating_delegation_for_other_paths_ends_nothing(repo):
    repo.delegate("a", ["other"], terminating=True)
    repo.delegate("b", ["*"])
    name_image(repo, "b")
    repo.publish()
    assert Client(repo).find("app")[0].length == 1


def test_a_terminating_delegation_for_other_hardware_ends_nothing(repo):
    repo.delegate("a", ["*"], terminating=True, hardware=["hw-2"])
    repo.delegate("b", ["*"], hardware=["hw-1"])
    name_image(repo, "a", payload=b"for hw-2")
    name_image(repo, "b")
    repo.publish()
    assert Client(repo).find("app", hardware="hw-1")[0].length == 1
    assert Client(repo).find("app", hardware="hw-2")[0].length == 8
    assert Client(repo).find("app") == [None]


@pytest.mark.parametrize("hardware", ["hw-1", {"hw-1": 1}, 7, ["hw"]])
def test_a_restriction_to_hardware_that_cannot_be_read_lets_nothing_through(repo, hardware):
    repo.delegate("a", ["*"], hardware=hardware)
    name_image(repo, "a")
    repo.publish()
    assert Client(repo).find("app", hardware="hw-1") == [None]


def test_paths_are_matched_along_the_whole_way(repo):
    repo.delegate("a", ["x/*"])
    repo.delegate("aa", ["*/*"], "a")
    name_image(repo, "aa", "y/app")
    name_image(repo, "aa", "x/app")
    repo.publish()
    assert Client(repo).find("y/app") == [None]
    assert Client(repo).find("x/app")[0].length == 2


def test_roles_that_delegate_to_each_other_are_visited_once(repo):
    repo.delegate("a", ["*"])
    repo.delegate("b", ["*"], "a")
    repo.delegate("a", ["*"], "b")
    repo.publish()
    client = Client(repo)
    assert client.find("nowhere") == [None]
    assert visited(client) == ["a", "b"]


def test_no_more_roles_are_visited_than_can_be_meant(repo):
    for number in range(MOST_ROLES + 5):
        repo.delegate(f"role-{number}", ["*"])
    name_image(repo, f"role-{MOST_ROLES - 1}", "last")
    name_image(repo, f"role-{MOST_ROLES}", "beyond")
    repo.publish()
    assert Client(repo).find("last")[0] is not None
    client = Client(repo)
    assert client.find("beyond") == [None]
    assert len(client.requests) == MOST_ROLES


def test_a_role_reached_from_two_sides_must_be_signed_as_each_of_them_asks(repo):
    repo.delegate("a", ["x/*"])
    repo.delegate("b", ["y/*"])
    repo.delegate("both", ["x/*"], "a")
    repo.delegate("both", ["y/*"], "b")
    name_image(repo, "both", "x/app")
    name_image(repo, "both", "y/app")
    repo.publish()
    assert None not in Client(repo).find("x/app", "y/app")
    # Only the key that the first one knows.
    del repo.signers["both"][1]
    repo.publish()
    assert Client(repo).find("x/app")[0] is not None
    with pytest.raises(UptaneError) as caught:
        Client(repo).find("x/app", "y/app")
    assert (caught.value.kind, caught.value.role) == (Kind.BAD_SIGNATURE, "both")


def test_a_delegated_role_that_the_snapshot_does_not_name_is_not_asked_for(repo):
    repo.delegate("a", ["*"])
    repo.publish()
    del repo.snapshot.meta["a.json"]
    repo.publish_snapshot()
    repo.publish_timestamp()
    client = Client(repo)
    with pytest.raises(UptaneError) as caught:
        client.find("app")
    assert (caught.value.kind, caught.value.role) == (Kind.MISSING, "a")
    assert client.requests == []


@pytest.mark.parametrize("role", ["../a", "/a", "?", "#", "ä/b", "."])
def test_a_role_s_name_is_one_segment_of_an_address(repo, role):
    repo.delegate(role, ["*"])
    repo.publish()
    del repo.files[f"2.{role}.json"]
    client = Client(repo)
    with pytest.raises(UptaneError) as caught:
        client.find("app")
    assert caught.value.kind is Kind.MISSING
    (asked,) = client.requests
    assert asked == f"2.{quote(role, '')}.json"
    assert "/" not in asked


def test_a_file_found_once_is_not_fetched_again_for_the_next_image(repo):
    repo.delegate("a", ["*"])
    name_image(repo, "a", "app-1")
    name_image(repo, "a", "app-2")
    repo.publish()
    client = Client(repo)
    assert None not in client.find("app-1", "app-2")
    assert client.requests == ["2.a.json"]
