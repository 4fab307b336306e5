"""What is done once at the start, before anything new: pick up what the last end has left behind.

1. The release counters of everything committed go to the floor record.
2. Without a journal, what attempts may have left behind is cleaned up: a target is what its
   installer finds active.
3. What had failed too often is tried once more, unless the process ended in it; then once a boot.
4. Payloads that no attempt waits for are removed.

The attempts themselves go on by their own steps.
"""

from __future__ import annotations

import logging
from pathlib import Path

from bordnetz.errors import BordnetzError
from bordnetz.ota.attempt import Attempt
from bordnetz.ota.forward import LIMIT, count
from bordnetz.ota.installers.installer import Installed, Installer, Job
from bordnetz.ota.surroundings import Shared, Surroundings

log = logging.getLogger(__name__)

NOBODY = "unknown"
"""The attempt that is cleaned up after where the journal is lost."""


def recover(given: Surroundings, shared: Shared) -> None:
    """Do all of it.

    Raises:
        DatabaseError: The journal cannot be read or written.
    """
    count(given, shared)
    clean(given, shared)
    attempts = given.journal.attempts()
    for attempt in attempts:
        if attempt.stuck and (again := retried(attempt, given.boot)) is not None:
            given.journal.save(again)
    keep = [member.target for attempt in attempts for member in attempt.members]
    try:
        given.payloads.sweep(keep)
    except (BordnetzError, OSError) as error:
        log.warning("old payloads are left until the next start: %s", error)


def clean(given: Surroundings, shared: Shared) -> None:
    """Clean up after attempts that a lost journal knew of; where it fails, at some more starts.

    Raises:
        DatabaseError: The journal cannot be read or written.
    """
    journal = given.journal
    if shared.cleaned == journal.set_aside or journal.attempts():
        return
    shared.cleaned = journal.set_aside
    begun = journal.begin_sweep()
    if begun is None:
        return
    if begun >= LIMIT:
        log.error("what attempts may have left behind stays until the next one on its target")
        journal.end_sweep()
        return
    done = True
    for ecu, installer in given.installers.items():
        try:
            _clean_one(ecu, installer)
        except (BordnetzError, OSError) as error:
            log.error("%s: what an attempt may have left cannot be cleaned up: %s", ecu, error)
            done = False
    if done:
        journal.end_sweep()


def retried(attempt: Attempt, boot: str) -> Attempt | None:
    """A stuck attempt that may be tried once more; None: not yet.

    Args:
        attempt: It.
        boot: Names the boot of the machine that we are in.
    """
    died = any(member.gave_up and member.under_way for member in attempt.members)
    if died and attempt.retried_in == boot:
        return None
    members = tuple(member.again(LIMIT - 1) for member in attempt.members)
    return attempt.but(members=members, retried_in=boot)


def _clean_one(ecu: str, installer: Installer) -> None:
    found = installer.probe()
    kind = min(installer.kinds)
    active = found or Installed("", 0, "", 0)
    installer.clean_up(Job(NOBODY, ecu, kind, active, found, Path("/nonexistent")))
