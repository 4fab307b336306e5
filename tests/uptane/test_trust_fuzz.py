"""Whoever has a key may sign anything: it is refused as an attack or taken, and never a crash."""

import copy
import json
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import MetaFile
from uptane_repos import Car, Pair, ecu

from bordnetz.uptane.errors import UptaneError

PAIR = Pair()
PAIR.image.delegate("supplier", ["brake/*"], hardware=["hw-1"])
PAIR.add("app-1", b"new", {"ecu-1": "hw-1"}, counter=2)
PAIR.add("brake/app-2", b"brake", {"ecu-2": "hw-1"}, counter=2, role="supplier")
PAIR.custom()["campaign"].update(groups=[["ecu-1", "ecu-2"]], after={"ecu-2": ["ecu-1"]})
PAIR.publish()

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["ecu-1", "ecu-2", "hw-1", "targets", "2030-01-01T00:00:00Z", "0" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def places(value, steps=()):
    """Every place in a document."""
    yield steps
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*steps, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*steps, index))


def change(data, document):
    """Replace, remove or repeat one thing somewhere in it."""
    *way, last = data.draw(st.sampled_from([one for one in places(document) if one]))
    inside = document
    for step in way:
        inside = inside[step]
    what = data.draw(st.sampled_from(["replace", "remove", "add", "exchange"]))
    if what == "replace":
        inside[last] = data.draw(values)
    elif what == "remove":
        del inside[last]
    elif what == "exchange":
        others = [one for one in places(document) if one]
        other = document
        for step in data.draw(st.sampled_from(others)):
            other = other[step]
        inside[last] = copy.deepcopy(other)
    elif isinstance(inside, dict):
        inside[data.draw(st.text(max_size=4))] = data.draw(values)
    else:
        inside.append(data.draw(values))


def publish(repo, role, signed):
    """Sign whatever this is by the role's key, and whatever lies above it as well."""
    signatures = []
    with suppress(Exception):
        payload = encode_canonical(signed).encode()
        signatures = [signer.sign(payload).to_dict() for signer in repo.signers[role]]
    content = json.dumps({"signatures": signatures, "signed": signed}).encode()
    if role == "root":
        repo.files[f"{repo.root.version + 1}.root.json"] = content
    elif role == "timestamp":
        repo.files["timestamp.json"] = content
    else:
        version = signed.get("version") if isinstance(signed, dict) else None
        known = version if type(version) is int and 0 < version < 1 << 53 else 9
        repo.files[f"{known}.{role}.json"] = content
        if role == "snapshot":
            repo.timestamp.snapshot_meta = MetaFile.from_data(known, content, ["sha256"])
        else:
            repo.snapshot.meta[f"{role}.json"] = MetaFile.from_data(known, content, ["sha256"])
            repo.publish_snapshot()
        repo.publish_timestamp()


@given(st.data())
@settings(max_examples=60)
def test_anything_signed_by_a_stolen_key_is_taken_or_refused(data):
    pair = copy.deepcopy(PAIR)
    car = Car(pair, {"ecu-1": ecu(), "ecu-2": ecu()})
    if data.draw(st.booleans()):
        car.check()
    repository = data.draw(st.sampled_from(["director", "image"]))
    repo = getattr(pair, repository)
    roles = ["root", "timestamp", "snapshot", "targets"]
    role = data.draw(st.sampled_from([*roles, "targets"] + ["supplier"] * (repository == "image")))
    signed = (repo.root if role == "root" else repo.signed(role)).to_dict()
    if role == "root":
        signed["version"] += 1
    for _ in range(data.draw(st.integers(1, 2))):
        change(data, signed)
    publish(repo, role, signed)
    if repository == "image":
        pair.director.publish()
    with suppress(UptaneError):
        car.check()
    with suppress(UptaneError):
        car.recheck()


@given(st.data())
@settings(max_examples=40)
def test_any_bytes_changed_on_the_way_are_taken_or_refused(data):
    pair = copy.deepcopy(PAIR)
    repo = getattr(pair, data.draw(st.sampled_from(["director", "image"])))
    name = data.draw(st.sampled_from(sorted(repo.files)))
    content = bytearray(repo.files[name])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    repo.files[name] = bytes(content)
    car = Car(pair, {"ecu-1": ecu(), "ecu-2": ecu()})
    try:
        verified = car.check()
    except UptaneError:
        return
    assert verified is not None
    assert [target.ecu for target in verified.targets] == ["ecu-1", "ecu-2"]
    assert verified == Car(PAIR, car.ecus).check()
