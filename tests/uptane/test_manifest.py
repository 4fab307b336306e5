"""The vehicle version manifest: what the car says, and what is refused of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner

from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.manifest import (
    MAX_ATTACKS,
    MAX_BYTES,
    Attack,
    EcuReport,
    Installed,
    claimed,
    make,
    verify,
)

KEY = CryptoSigner.generate_ed25519()
OTHER = CryptoSigner.generate_ed25519()
IMAGE = Installed(name="maps-7.tar", length=5, hashes={"sha256": "ab" * 32}, counter=7)


def report(ecu: str = "head-unit", **changes) -> EcuReport:
    return EcuReport(
        **{"ecu": ecu, "hardware_id": "hu-1", "installed": IMAGE, "time": 9, "sequence": 3}
        | changes
    )


def manifest(**changes) -> bytes:
    return make(
        **{
            "vehicle_id": "car-1",
            "primary": "head-unit",
            "ecus": [report(), report("dbc", installed=None)],
            "time": 9,
            "sequence": 3,
            "signer": KEY,
        }
        | changes
    )


def signed_again(content: dict, signer=KEY) -> bytes:
    """A manifest whose outer signature fits, whatever it says."""
    signature = signer.sign(encode_canonical(content["signed"]).encode())
    content["signatures"] = [signature.to_dict()]
    return json.dumps(content).encode()


def refusal(data: bytes, *keys) -> Kind:
    with pytest.raises(UptaneError) as caught:
        verify(data, [key.public_key for key in keys or (KEY,)])
    return caught.value.kind


def test_a_manifest_says_what_was_put_into_it():
    seen = Attack(kind="rollback", repository="director", role="targets", time=8)
    found = verify(
        manifest(ecus=[report(attacks=[seen])], attacks=[seen, Attack(kind="freeze", time=9)]),
        [KEY.public_key],
    )
    assert (found.vehicle_id, found.primary, found.sequence, found.time) == (
        "car-1",
        "head-unit",
        3,
        9,
    )
    assert [attack.kind for attack in found.attacks] == ["rollback", "freeze"]
    assert found.ecus == [report(attacks=[seen])]


def test_a_manifest_is_canonical_json():
    data = manifest()
    assert encode_canonical(json.loads(data)).encode() == data


def test_of_many_attacks_the_newest_are_told():
    attacks = [Attack(kind="freeze", time=time) for time in range(50)]
    found = verify(manifest(attacks=attacks), [KEY.public_key])
    assert [attack.time for attack in found.attacks] == list(range(50 - MAX_ATTACKS, 50))


def test_a_manifest_tells_whose_it_claims_to_be_before_it_is_verified():
    assert claimed(manifest(vehicle_id="car-9", sequence=7)) == ("car-9", 7)


def test_a_manifest_signed_by_another_key_is_refused():
    assert refusal(manifest(signer=OTHER)) is Kind.BAD_SIGNATURE
    assert refusal(manifest(), OTHER) is Kind.BAD_SIGNATURE


def test_any_of_the_vehicles_keys_may_have_signed():
    assert verify(manifest(), [OTHER.public_key, KEY.public_key]).sequence == 3


def test_a_report_signed_by_another_key_is_refused():
    content = json.loads(manifest())
    content["signed"]["ecus"] = json.loads(manifest(signer=OTHER))["signed"]["ecus"]
    assert refusal(signed_again(content)) is Kind.BAD_SIGNATURE


def test_an_ecu_with_two_reports_is_refused():
    assert refusal(manifest(ecus=[report(), report()])) is Kind.REPEATED_ECU


def test_a_manifest_with_a_changed_byte_is_refused():
    assert refusal(manifest().replace(b'"counter":7', b'"counter":8')) is Kind.BAD_SIGNATURE
    assert refusal(manifest().replace(b'"time":9', b'"time":8')) is Kind.BAD_SIGNATURE


def test_a_manifest_without_signatures_is_refused():
    content = json.loads(manifest())
    content["signatures"] = []
    assert refusal(json.dumps(content).encode()) is Kind.BAD_METADATA


def test_a_key_that_signed_falsely_first_does_not_hide_the_true_signature():
    content = json.loads(manifest())
    true = content["signatures"][0]
    content["signatures"] = [{**true, "sig": "00" * 64}, true]
    assert verify(json.dumps(content).encode(), [KEY.public_key]).vehicle_id == "car-1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"signed":' * 20_000,
        b"9" * 10_000,
        b'{"signatures":[{"keyid":"aa","sig":"bb"}],"signed":{}}',
    ],
)
def test_what_is_no_manifest_is_refused(data):
    assert refusal(data) is Kind.BAD_METADATA


def test_an_endless_manifest_is_refused_before_it_is_parsed():
    assert refusal(manifest() + b" " * MAX_BYTES) is Kind.ENDLESS_DATA


def test_a_manifest_that_no_message_could_carry_is_not_made():
    attacks = [Attack(kind="freeze", repository="director", time=9)] * MAX_ATTACKS
    with pytest.raises(UptaneError, match="than the"):
        manifest(ecus=[report(f"ecu-{number}", attacks=attacks) for number in range(256)])
    assert len(manifest(ecus=[report(f"ecu-{number}") for number in range(256)])) < MAX_BYTES


def nested(depth: int) -> dict:
    value: dict = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def change(path: list, value):
    def changed(content: dict) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return changed


@pytest.mark.parametrize(
    "changed",
    [
        change(["signed", "sequence"], 3.0),
        change(["signed", "sequence"], "3"),
        change(["signed", "sequence"], True),
        change(["signed", "vehicleId"], "../car-1"),
        change(["signed", "more"], 1),
        change(["signed", "_type"], "targets"),
        change(["signed", "ecus"], {}),
        change(["signed", "ecus", 0, "signed", "installed", "hashes"], {}),
        change(["signed", "ecus", 0, "signed", "installed", "name"], "a\nb"),
        change(["signed", "ecus", 0, "signed", "installed"], nested(900)),
        change(["signed", "attacks"], [{"kind": "freeze", "time": 1}] * (MAX_ATTACKS + 1)),
        change(["signed", "attacks"], [{"kind": "it is <b>", "time": 1}]),
        change(["signatures"], [{"keyid": "aa", "sig": "bb"}] * 9),
    ],
)
def test_a_manifest_of_another_form_is_refused_whoever_signed_it(changed):
    content = json.loads(manifest())
    changed(content)
    assert refusal(json.dumps(content).encode()) is Kind.BAD_METADATA


@given(st.integers(0, 2_000), st.binary(min_size=1, max_size=4))
def test_a_damaged_manifest_is_never_more_than_refused(at, junk):
    data = manifest()
    damaged = data[: at % len(data)] + junk + data[at % len(data) + len(junk) :]
    try:
        found = verify(damaged, [KEY.public_key])
    except UptaneError:
        return
    assert found == verify(data, [KEY.public_key])


def test_a_refusal_does_not_repeat_what_was_refused():
    content = json.loads(manifest())
    content["signed"]["vehicleId"] = "secret " * 10
    with pytest.raises(UptaneError) as caught:
        verify(json.dumps(content).encode(), [KEY.public_key])
    assert "secret" not in str(caught.value)
