"""What is told of an attempt: its final report, and the line that history keeps of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bordnetz.ota.attempt import Attempt, Member, Verb
from bordnetz.ota.installers.installer import Installed
from bordnetz.ota.states import Result, State

_CURES = {
    Verb.COMMIT: (
        "the new versions are active, but the way back could not be given up; restart the module "
        "to try again, or assign a campaign for all targets of this one"
    ),
    Verb.ROLLBACK: (
        "the targets may not fit together; restart the module to try again, or assign a campaign "
        "for all targets of this one"
    ),
    Verb.CLEAN_UP: "something of the attempt is left on the disk; the next start tries again",
}


def final_report(attempt: Attempt, now: int) -> dict[str, Any]:
    """The final report of an attempt that is at its end.

    Args:
        attempt: It.
        now: Seconds since 1970 UTC.
    """
    failure = attempt.failure
    seconds: defaultdict[str, float] = defaultdict(float)
    for member in attempt.members:
        for verb, spent in member.seconds.items():
            seconds[verb.value] += spent
    report: dict[str, Any] = {
        "attempt": attempt.id,
        "campaign": attempt.campaign.id,
        "result": attempt.result.value,
        "consistent": not attempt.inconsistent,
        "began": attempt.began,
        "ended": now,
        "received": sum(member.received for member in attempt.members),
        "consent": attempt.source or None,
        "seconds": {verb: round(spent, 3) for verb, spent in seconds.items()},
        "targets": {member.ecu: _target(attempt, member) for member in attempt.members},
    }
    if failure is not None:
        report["error"] = {
            "kind": failure.kind,
            "words": failure.words,
            **{
                name: value
                for name in ("ecu", "repository", "role")
                if (value := getattr(failure, name))
            },
        }
    troubles = [
        f"{member.ecu}: {member.gave_up.value}: {member.trouble}; {_CURES[member.gave_up]}"
        for member in attempt.members
        if member.gave_up is not None
    ]
    if troubles:
        report["troubles"] = troubles
    return report


def line(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that a list of many has room for."""
    names = ("attempt", "campaign", "result", "consistent", "began", "ended", "received")
    error = report.get("error") or {}
    return {
        **{name: report.get(name) for name in names},
        "targets": sorted(report.get("targets", {})),
        "error": error.get("kind"),
        "words": error.get("words"),
    }


def standing(reports: Sequence[Mapping[str, Any]]) -> tuple[str, State]:
    """How the last campaign has ended, all its groups taken together.

    Args:
        reports: Final reports, the newest first.

    Returns:
        Its id ("" where there is none), and the worst end of a group.
    """
    campaign = str(reports[0]["campaign"]) if reports else ""
    told: set[str] = set()
    ends: set[State] = set()
    for report in reports:
        targets = set(report["targets"])
        if report["campaign"] == campaign and not targets <= told:
            told |= targets
            ends.add(Result(report["result"]).state)
    worst = (State.FAILED, State.REFUSED, State.CANCELLED, State.SUCCEEDED)
    return campaign, next((state for state in worst if state in ends), State.IDLE)


def _target(attempt: Attempt, member: Member) -> dict[str, Any]:
    if member.gave_up in (Verb.COMMIT, Verb.ROLLBACK):
        active = "unknown"
    else:
        active = "new" if attempt.committed else "old"
    return {
        "active": active,
        "old": _version(member.old),
        "new": _version(member.new),
        "received": member.received,
    }


def _version(installed: Installed | None) -> dict[str, Any] | None:
    if installed is None:
        return None
    return {
        "name": installed.name,
        "counter": installed.counter,
        "sha256": installed.sha256,
    }
