"""The state machine of an attempt, walked through every way that it can go."""

from __future__ import annotations

from collections import Counter

import pytest
from scripted_installer import target, wanted

from bordnetz.ota.attempt import Attempt, Failure, Member, Verb
from bordnetz.ota.states import Result
from bordnetz.ota.steps import Act, Step, next_step

FORWARD = [Verb.OBTAIN, Verb.STAGE, Verb.INSTALL, Verb.ACTIVATE, Verb.VERIFY]
FAILED = Failure(result=Result.FAILED, kind="install", words="no")


def attempt() -> Attempt:
    verified = wanted(target("a", 2), target("b", 2), groups=[["a", "b"]])
    members = tuple(Member(target=one, old=None) for one in verified.targets)
    return Attempt(id="1", campaign=verified.campaign, members=members)


def outcomes(state: Attempt, step: Step, boot: int):
    """Every way that a step can end: the attempt after it, and the boot."""
    if step.act is Act.REBOOT:
        yield state, boot + 1
        # Or it does not come.
        if not state.failure:
            yield state.fail(FAILED), boot
            return
        for member in state.members:
            if member.boots.get(Verb.ROLLBACK) == f"boot {boot}":
                state = state.put(member.give_up(Verb.ROLLBACK))
        yield state, boot
        return
    if step.act is Act.RECORD:
        yield state.but(committed=True), boot
        return
    if step.act is Act.REPORT:
        yield state.but(handed=True, report={}), boot
        return
    assert step.act is Act.CALL
    member = state.member(step.ecu).begin(step.verb)
    # How often is not what is looked at here.
    member = member.but(tries={}, payload="p" if step.verb is Verb.OBTAIN else member.payload)
    yield state.put(member.end(step.verb, 0)), boot
    if step.verb in FORWARD:
        yield state.put(member.returned("no")).fail(FAILED), boot
    else:
        yield state.put(member.returned("no").give_up(step.verb)), boot
    if step.verb is Verb.ACTIVATE or (step.verb is Verb.ROLLBACK and boot < 3):
        yield state.put(member.end(step.verb, 0, f"boot {boot}")), boot


def walk(start: Attempt):
    """All states that can be reached: state, boot, whether payloads are gone, and the step."""
    seen = set()
    todo = [(start, 1, False)]
    while todo:
        state, boot, discarded = todo.pop()
        key = (state.model_dump_json(), boot, discarded)
        if key in seen:
            continue
        seen.add(key)
        step = next_step(state, f"boot {boot}", discarded=discarded)
        yield state, boot, discarded, step
        if step.act is Act.DISCARD:
            todo.append((state, boot, True))
        elif step.act not in (Act.CLOSE, Act.STUCK):
            todo += [(*after, discarded) for after in outcomes(state, step, boot)]


@pytest.fixture(scope="module")
def ways():
    return list(walk(attempt()))


def test_every_way_comes_to_an_end_of_which_there_are_several_kinds(ways):
    acts = Counter(step.act for *_, step in ways)
    assert acts.keys() == set(Act)
    assert len(ways) > 300


def test_no_verb_is_called_before_those_in_front_of_it_are_done_for_all(ways):
    for state, _, _, step in ways:
        if step.act is Act.CALL and step.verb in FORWARD:
            assert not state.failure
            assert not state.committed
            for earlier in FORWARD[: FORWARD.index(step.verb)]:
                assert all(earlier in member.done for member in state.members)


def test_targets_are_activated_in_order_and_rolled_back_in_reverse(ways):
    for state, boot, _, step in ways:
        first, second = state.members
        if step == Step(Act.CALL, Verb.ACTIVATE, "b"):
            assert Verb.ACTIVATE in first.done
        if step == Step(Act.CALL, Verb.ROLLBACK, "a"):
            back = Verb.ROLLBACK in second.done or Verb.STAGE not in second.begun
            asked = second.boots.get(Verb.ROLLBACK) == f"boot {boot}"
            assert back or second.gave_up or asked


def test_the_new_set_is_valid_only_when_all_of_it_is_verified(ways):
    for state, _, _, step in ways:
        if step.act is Act.RECORD:
            assert all(Verb.VERIFY in member.done for member in state.members)
            assert state.failure is None


def test_nothing_is_verified_before_the_reboot_that_it_needs(ways):
    for state, boot, _, step in ways:
        if step.verb is Verb.VERIFY:
            assert all(
                member.boots.get(Verb.ACTIVATE) != f"boot {boot}" for member in state.members
            )


def test_what_is_committed_is_never_rolled_back_and_what_is_not_never_committed(ways):
    for state, _, _, step in ways:
        if step.verb is Verb.ROLLBACK:
            assert not state.committed
        if step.verb is Verb.COMMIT:
            assert state.committed
        if step.verb is Verb.CLEAN_UP:
            assert state.committed or state.failure


def test_only_what_was_touched_is_rolled_back_and_cleaned_up(ways):
    for state, _, _, step in ways:
        if step.verb in (Verb.ROLLBACK, Verb.CLEAN_UP):
            assert Verb.STAGE in state.member(step.ecu).begun


def test_an_attempt_is_closed_only_when_nothing_is_left_to_do(ways):
    for state, _, _, step in ways:
        if step.act is not Act.CLOSE:
            continue
        assert state.handed
        for member in state.members:
            assert member.gave_up is None
            if Verb.STAGE in member.begun:
                last = Verb.COMMIT if state.committed else Verb.ROLLBACK
                assert {last, Verb.CLEAN_UP} <= member.done


def test_who_is_stuck_is_reported_but_not_closed(ways):
    stuck = [state for state, _, _, step in ways if step.act is Act.STUCK]
    assert stuck
    for state in stuck:
        assert state.handed
        assert state.stuck
        if any(one.gave_up in (Verb.ROLLBACK, Verb.COMMIT) for one in state.members):
            assert state.inconsistent
            assert state.result is Result.FAILED


def test_what_was_given_up_is_done_when_it_is_tried_again():
    stuck = [(state, boot) for state, boot, _, step in walk(attempt()) if step.act is Act.STUCK][
        ::17
    ]
    for state, boot in stuck:
        again = state.but(members=tuple(member.again(4) for member in state.members))
        ends = {step.act for *_, step in walk(again) if step.act in (Act.CLOSE, Act.STUCK)}
        assert Act.CLOSE in ends, (state, boot)
        assert all(step.act is not Act.REPORT for *_, step in walk(again))


def test_a_committed_attempt_cannot_fail():
    with pytest.raises(ValueError, match="committed"):
        attempt().but(committed=True).fail(FAILED)


def test_what_is_written_is_what_is_read(ways):
    for state, *_ in ways[::29]:
        assert Attempt.model_validate_json(state.model_dump_json()) == state
