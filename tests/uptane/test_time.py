"""The signed time and the trusted clock."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.time import (
    Attested,
    Clock,
    TimeLimits,
    TrustedTime,
    make_time,
    verify_time,
)

SIGNER = CryptoSigner.generate_ed25519()
OTHER = CryptoSigner.generate_ed25519()

times = st.integers(0, 253_402_300_799)
sequences = st.integers(1, (1 << 53) - 1)
clocks = st.integers(-(1 << 40), 1 << 40)
limits = st.builds(TimeLimits, st.integers(0, 10**9), st.integers(0, 10**9))


@given(times, sequences, st.none() | st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True))
def test_what_is_made_is_verified(time, sequence, nonce):
    data = make_time(SIGNER, time, sequence, nonce)
    keys = [OTHER.public_key, SIGNER.public_key]
    assert verify_time(data, keys) == Attested(time, sequence, nonce)


@pytest.mark.parametrize(
    "signer",
    [
        CryptoSigner.generate_ecdsa(),
        CryptoSigner.generate_rsa(),
    ],
    ids=["ecdsa", "rsa"],
)
def test_other_kinds_of_keys_sign_as_well(signer):
    assert verify_time(make_time(signer, 5, 1), [signer.public_key]) == Attested(5, 1)


def test_the_file_is_small_canonical_json():
    data = make_time(SIGNER, 1_790_000_000, 17)
    assert json.loads(data)["signed"] == {"_type": "time", "time": 1_790_000_000, "sequence": 17}
    assert b" " not in data


@pytest.mark.parametrize(("time", "sequence"), [(-1, 1), (1 << 50, 1), (5, 0), (5, 1 << 53)])
def test_a_time_that_no_car_takes_is_not_made(time, sequence):
    with pytest.raises(ValueError, match=r"time|sequence"):
        make_time(SIGNER, time, sequence)


def refused(data, keys, kind):
    with pytest.raises(UptaneError) as caught:
        verify_time(data, keys)
    assert (caught.value.kind, caught.value.role) == (kind, "time")


def test_a_signature_of_another_key_does_not_count():
    refused(make_time(OTHER, 5, 1), [SIGNER.public_key], Kind.BAD_SIGNATURE)


def test_without_keys_nothing_counts():
    refused(make_time(SIGNER, 5, 1), [], Kind.BAD_SIGNATURE)


def test_another_key_under_the_right_id_does_not_count():
    document = json.loads(make_time(OTHER, 5, 1))
    document["signatures"][0]["keyid"] = SIGNER.public_key.keyid
    refused(json.dumps(document).encode(), [SIGNER.public_key], Kind.BAD_SIGNATURE)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["signed"].update(time=6),
        lambda document: document["signed"].update(sequence=2),
        lambda document: document["signed"].update(nonce="abc"),
        lambda document: document["signatures"][0].update(sig="00" * 64),
        lambda document: document["signatures"][0].update(sig="no hexadecimal"),
        lambda document: document["signatures"][0].update(sig=""),
        lambda document: document["signatures"].clear(),
    ],
)
def test_a_time_changed_after_signing_is_refused(change):
    document = json.loads(make_time(SIGNER, 5, 1))
    change(document)
    refused(json.dumps(document).encode(), [SIGNER.public_key], Kind.BAD_SIGNATURE)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["signed"].update(_type="timestamp"),
        lambda document: document["signed"].update(time=5.0),
        lambda document: document["signed"].update(time="5"),
        lambda document: document["signed"].update(time=True),
        lambda document: document["signed"].update(time=-5),
        lambda document: document["signed"].update(sequence=0),
        lambda document: document["signed"].update(nonce="a b"),
        lambda document: document["signed"].update(more=1),
        lambda document: document["signed"].pop("sequence"),
        lambda document: document.update(more=1),
        lambda document: document.update(signatures={}),
        lambda document: document["signatures"].extend(document["signatures"] * 16),
    ],
)
def test_a_time_of_another_form_is_refused(change):
    document = json.loads(make_time(SIGNER, 5, 1))
    change(document)
    refused(json.dumps(document).encode(), [SIGNER.public_key], Kind.BAD_METADATA)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_nothing_else_happens(data):
    with pytest.raises(UptaneError):
        verify_time(data, [SIGNER.public_key])


# -- trusted time


@given(st.lists(st.tuples(times, sequences), max_size=20))
def test_neither_time_nor_sequence_ever_sinks(offered):
    trusted = TrustedTime()
    for time, sequence in offered:
        before = trusted
        try:
            trusted = trusted.take(Attested(time, sequence))
        except UptaneError as error:
            refusal = error
            assert refusal.kind is Kind.ROLLBACK
            assert sequence <= before.sequence or time < before.time
        else:
            assert trusted == TrustedTime(time, sequence)
        assert trusted.time >= before.time
        assert trusted.sequence >= before.sequence


@given(times, sequences)
def test_the_same_time_may_come_again(time, sequence):
    trusted = TrustedTime(time, sequence)
    assert trusted.take(Attested(time, sequence)) == trusted


@given(times, times, sequences)
def test_two_times_of_one_sequence_are_never_taken_both(time, other, sequence):
    assume(time != other)
    with pytest.raises(UptaneError) as caught:
        TrustedTime(time, sequence).take(Attested(other, sequence))
    assert caught.value.kind is Kind.ROLLBACK


@given(times, clocks, limits)
def test_the_clock_counts_between_the_floor_and_its_cap_and_nowhere_else(floor, clock, limits):
    reading = TrustedTime(floor, 1).read(clock, limits)
    assert floor <= reading.now <= floor + limits.cap
    assert (reading.clock is Clock.GOOD) == (floor <= clock <= floor + limits.cap)
    if reading.clock is Clock.GOOD:
        assert reading.now == clock
    elif reading.clock is Clock.BEHIND:
        assert clock < floor == reading.now
    else:
        assert clock > floor + limits.cap == reading.now


@given(times, clocks, limits)
def test_a_time_is_stale_when_the_clock_says_so_however_far_it_is_off(floor, clock, limits):
    assert TrustedTime(floor, 1).read(clock, limits).stale == (clock > floor + limits.stale)


@given(times, clocks, clocks, limits)
def test_a_later_clock_never_reads_earlier(floor, clock, other, limits):
    trusted = TrustedTime(floor, 1)
    first, second = sorted((clock, other))
    assert trusted.read(first, limits).now <= trusted.read(second, limits).now
