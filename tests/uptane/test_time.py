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


nonces = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)


@given(times, sequences)
def test_what_is_made_is_verified(time, sequence):
    data = make_time(SIGNER, time, sequence)
    keys = [OTHER.public_key, SIGNER.public_key]
    assert verify_time(data, keys) == Attested(time, sequence)


@given(times, nonces)
def test_an_answer_that_is_made_is_verified(time, nonce):
    data = make_time(SIGNER, time, nonce=nonce)
    keys = [OTHER.public_key, SIGNER.public_key]
    assert verify_time(data, keys) == Attested(time, nonce=nonce)


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


def test_a_time_is_a_file_or_an_answer_and_not_both():
    for sequence, nonce in ((None, None), (1, "abc")):
        with pytest.raises(ValueError, match="sequence"):
            make_time(SIGNER, 5, sequence, nonce)


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
        lambda document: document["signed"].update(nonce="abc"),
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


@pytest.mark.parametrize("nonce", ["", "a b", "a" * 129, 5, None])
def test_an_answer_with_a_nonce_that_is_none_is_refused(nonce):
    document = json.loads(make_time(SIGNER, 5, nonce="abc"))
    document["signed"]["nonce"] = nonce
    refused(json.dumps(document).encode(), [SIGNER.public_key], Kind.BAD_METADATA)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_nothing_else_happens(data):
    with pytest.raises(UptaneError):
        verify_time(data, [SIGNER.public_key])


# -- trusted time


few = st.integers(1, 5)


@given(st.lists(st.tuples(times | few, sequences | few, st.booleans()), max_size=20))
def test_neither_time_nor_sequence_ever_sinks_whatever_comes_in_turn(offered):
    trusted = TrustedTime()
    for time, sequence, answers in offered:
        before = trusted
        if answers:
            trusted = trusted.take(Attested(time, nonce="abc"), "abc")
            assert trusted == TrustedTime(max(time, before.time), before.sequence)
            continue
        try:
            trusted = trusted.take(Attested(time, sequence))
        except UptaneError as error:
            refusal = error
            assert refusal.kind is Kind.ROLLBACK
            assert sequence < before.sequence or (
                sequence == before.sequence and time > before.time
            )
        else:
            assert trusted == TrustedTime(max(time, before.time), sequence)
        assert trusted.time >= before.time
        assert trusted.sequence >= before.sequence


@given(times, times, sequences)
def test_the_file_that_was_there_before_an_answer_is_still_taken_after_it(file, answer, sequence):
    first = TrustedTime().take(Attested(file, sequence))
    second = first.take(Attested(answer, nonce="abc"), "abc")
    assert second.take(Attested(file, sequence)) == second


@given(nonces, nonces)
def test_an_answer_to_another_question_is_refused(asked, answered):
    assume(asked != answered)
    with pytest.raises(UptaneError) as caught:
        TrustedTime().take(Attested(5, nonce=answered), asked)
    assert caught.value.kind is Kind.ROLLBACK


def test_a_file_is_no_answer_and_an_answer_no_file():
    for attested, asked in ((Attested(5, 1), "abc"), (Attested(5, nonce="abc"), None)):
        with pytest.raises(UptaneError) as caught:
            TrustedTime().take(attested, asked)
        assert caught.value.kind is Kind.ROLLBACK


@given(times, sequences)
def test_the_same_time_may_come_again(time, sequence):
    trusted = TrustedTime(time, sequence)
    assert trusted.take(Attested(time, sequence)) == trusted


@given(times, times, sequences)
def test_a_later_time_of_a_sequence_that_was_there_is_refused(time, other, sequence):
    assume(time < other)
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


@given(times, times, clocks, limits)
def test_what_an_answer_has_told_counts_and_the_clock_does_not(floor, known, clock, limits):
    reading = TrustedTime(floor, 1).read(clock, limits, known)
    assert reading.now == max(floor, known)
    assert not reading.stale
    assert (reading.clock is Clock.GOOD) == (abs(clock - reading.now) <= 60)
    assert (reading.clock is Clock.AHEAD) == (clock > reading.now + 60)


@given(times, clocks, clocks, limits)
def test_a_later_clock_never_reads_earlier(floor, clock, other, limits):
    trusted = TrustedTime(floor, 1)
    first, second = sorted((clock, other))
    assert trusted.read(first, limits).now <= trusted.read(second, limits).now
