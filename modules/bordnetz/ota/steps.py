"""Which step an attempt takes next: decided from its state alone, done by others.

    obtain all -> stage all -> install all -> activate in order -> reboot? -> verify all
        -> RECORD (from here on the new versions are the valid set)
        -> commit each -> clean up each -> discard payloads -> report -> close

    whatever fails before RECORD:
        -> roll back in reverse order -> reboot? -> clean up each -> discard -> report -> close

Rules:

1. No verb is called before those in front of it have returned, for all members.
2. Only what `stage` may have touched is rolled back and cleaned up.
3. What has failed too often holds up its own member alone; the attempt is reported, but not closed.
4. The report is handed over once, and an attempt is closed only after that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from bordnetz.ota.attempt import Attempt, Verb


class Act(Enum):
    """What a step is."""

    CALL = auto()
    REBOOT = auto()
    RECORD = auto()
    DISCARD = auto()
    REPORT = auto()
    CLOSE = auto()
    STUCK = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next.

    Attributes:
        act: What it is.
        verb: With `Act.CALL`: which.
        ecu: Likewise: on which target.
    """

    act: Act
    verb: Verb | None = None
    ecu: str = ""


_FORWARD = (Verb.OBTAIN, Verb.STAGE, Verb.INSTALL, Verb.ACTIVATE)


def next_step(attempt: Attempt, boot: str, *, discarded: bool = False) -> Step:
    """The step to take.

    Args:
        attempt: As the journal has it.
        boot: Names the boot of the machine that we are in.
        discarded: Whether the payloads are gone already, which is not worth a line in the journal.
    """
    if attempt.committed:
        step = _first(attempt, Verb.COMMIT)
    elif attempt.failure is not None:
        step = _back(attempt, boot)
    else:
        return _forward(attempt, boot)
    return step or _end(attempt, discarded=discarded)


def _forward(attempt: Attempt, boot: str) -> Step:
    for verb in _FORWARD:
        if step := _first(attempt, verb):
            return step
    if any(member.boots.get(Verb.ACTIVATE) == boot for member in attempt.members):
        return Step(Act.REBOOT)
    return _first(attempt, Verb.VERIFY) or Step(Act.RECORD)


def _back(attempt: Attempt, boot: str) -> Step | None:
    waits = False
    for member in reversed(attempt.members):
        if Verb.STAGE not in member.begun or Verb.ROLLBACK in member.done or member.gave_up:
            continue
        if member.boots.get(Verb.ROLLBACK) == boot:
            waits = True
            continue
        return Step(Act.CALL, Verb.ROLLBACK, member.ecu)
    return Step(Act.REBOOT) if waits else None


def _end(attempt: Attempt, *, discarded: bool) -> Step:
    for member in attempt.members:
        touched = Verb.STAGE in member.begun
        if touched and Verb.CLEAN_UP not in member.done and not member.gave_up:
            return Step(Act.CALL, Verb.CLEAN_UP, member.ecu)
    if not discarded and not attempt.inconsistent:
        return Step(Act.DISCARD)
    if not attempt.handed:
        return Step(Act.REPORT)
    return Step(Act.STUCK if attempt.stuck else Act.CLOSE)


def _first(attempt: Attempt, verb: Verb) -> Step | None:
    for member in attempt.members:
        if verb not in member.done and member.gave_up is not verb:
            return Step(Act.CALL, verb, member.ecu)
    return None
