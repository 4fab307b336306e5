"""One run: everything that is due is signed, for the image repository and for each vehicle.

The number of a run is reserved before anything is signed and is the version of all it signs, so
that no version is ever used twice.  What is due is marked in the database before, and cleared
after everything is on the disk: a run that was cut short is done again by the next one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from bordnetz.release import canonical, catalogue, director, roots
from bordnetz.release.database import DUE_REFRESH, DUE_TARGETS
from bordnetz.release.errors import ReleaseError
from bordnetz.release.progress import Progress, silent
from bordnetz.release.release import Release
from bordnetz.release.signers import Signers
from bordnetz.uptane.time import make_time


@dataclass(frozen=True)
class Signed:
    """What a run signed.

    Attributes:
        version: Of all of it; None: nothing was due.
        vehicles: So many got new metadata.
        refused: So many kept their old targets because of their last manifest.
    """

    version: int | None
    vehicles: int
    refused: int


def sign(
    release: Release,
    signers: Signers,
    now: int,
    *,
    refresh: bool = False,
    everything: bool = False,
    progress: Progress = silent,
) -> Signed:
    """Sign what is due.

    Args:
        release: The release.
        signers: The keys.
        now: Seconds since 1970 UTC.
        refresh: Snapshots, timestamps and the time of all vehicles are due, and targets of which
            a third of their time or less is left.
        everything: All metadata of all vehicles is due.
        progress: Is told how far it is.

    Returns:
        What was signed.

    Raises:
        SigningKeyError: A key cannot be used; nothing was signed.
        ReleaseError: The disk does not take it; what was due still is.
    """
    # Loaded first: a key that is missing must cost no version.
    keys = {
        role: signers.role(f"director/{role}")[0]
        for role in ("targets", "snapshot", "timestamp", "time")
    }
    # What vouches for images is asked for where images are due alone, so that it can be put away.
    image_targets = _image_due(release, now, refresh=refresh, everything=everything)
    for role in (
        ("targets", "snapshot", "timestamp") if image_targets else ("snapshot", "timestamp")
    ):
        signers.role(f"image/{role}")
    run = _begin(release, now, image_targets, refresh=refresh, everything=everything)
    if run is None:
        return Signed(None, 0, 0)
    days = release.settings.days
    terms = director.Terms(
        run,
        canonical.expiry(now + days.targets * roots.DAY),
        canonical.expiry(now + days.snapshot * roots.DAY),
        canonical.expiry(now + days.timestamp * roots.DAY),
    )
    total, refused = release.db.execute(
        "SELECT count(*), count(refused) FROM vehicle WHERE due > 0"
    ).fetchone()
    with release.transaction():
        catalogue.sign(release, signers, run, now, targets=image_targets)
    try:
        release.directors.mkdir(exist_ok=True)
        done = director.sign(
            _due(release),
            _templates(release, terms),
            terms,
            keys,
            make_time(keys["time"], now, run),
            release.directors,
        )
        for count in done:
            progress("vehicles signed", count, total)
    except OSError as error:
        raise ReleaseError(
            f"{error.filename or release.directors}: cannot be written: {error.strerror}; what was "
            "due still is: make room and run `bordnetz release sign` again"
        ) from error
    # One call for all files: they are on the disk before the run is on record as finished.
    os.sync()
    _end(release, run)
    return Signed(run, total, refused)


def _image_due(release: Release, now: int, *, refresh: bool, everything: bool) -> bool:
    """Whether the image repository's targets must be signed."""
    (due,) = release.db.execute("SELECT image_due FROM state").fetchone()
    current = catalogue.current(release)
    if due or everything or "targets" not in current:
        return True
    return refresh and current["targets"][1] <= _soon(release, now)


def _soon(release: Release, now: int) -> int:
    """When targets expire of which a third of their time is left."""
    return now + release.settings.days.targets * roots.DAY // 3


def _begin(
    release: Release, now: int, image_due: bool, *, refresh: bool, everything: bool
) -> int | None:
    """Mark what is due and reserve the run's number; None where nothing is due."""
    days = release.settings.days
    with release.transaction() as db:
        last, finished, keys_changed = db.execute(
            "SELECT run, finished, keys_changed FROM state"
        ).fetchone()
        if refresh or everything:
            _check_clock(release, now)
            db.execute(
                "UPDATE vehicle SET due = max(due, ?) WHERE due < ?",
                (DUE_TARGETS if everything else DUE_REFRESH, DUE_TARGETS),
            )
            db.execute(
                "UPDATE vehicle SET due = ? WHERE targets IN "
                "(SELECT id FROM run WHERE targets_expire <= ?)",
                (DUE_TARGETS, _soon(release, now)),
            )
        vehicles = db.execute("SELECT 1 FROM vehicle WHERE due > 0 LIMIT 1").fetchone()
        due = refresh or everything or image_due or keys_changed or finished < last
        if not due and vehicles is None:
            return None
        _check_clock(release, now)
        db.execute("UPDATE state SET run = ?, image_due = ?", (last + 1, int(image_due)))
        db.execute(
            "INSERT INTO run VALUES (?, ?, ?, ?)",
            (
                last + 1,
                now,
                now + days.targets * roots.DAY,
                now + min(days.snapshot, days.timestamp) * roots.DAY,
            ),
        )
    return int(last) + 1


def _check_clock(release: Release, now: int) -> None:
    (last,) = release.db.execute("SELECT max(time) FROM run").fetchone()
    if last is not None and now < last:
        raise ReleaseError(
            f"the clock says {canonical.expiry(now)}, but something was signed at "
            f"{canonical.expiry(last)}; vehicles would refuse a time that goes back: set the clock"
        )


def _due(release: Release) -> Iterator[director.Vehicle]:
    rows = release.db.execute(
        "SELECT name, model, iif(refused IS NULL, campaign, signed_campaign), targets, due "
        "FROM vehicle WHERE due > 0 ORDER BY id"
    )
    for name, model, campaign, targets, due in rows:
        yield director.Vehicle(
            name, model, campaign, targets, due == DUE_TARGETS or targets is None
        )


def _templates(release: Release, terms: director.Terms) -> director.Templates:
    db = release.db
    return director.Templates(
        terms,
        {key: json.loads(ecus) for key, ecus in db.execute("SELECT id, ecus FROM model")},
        {
            key: director.parse_campaign(settings, targets)
            for key, settings, targets in db.execute("SELECT id, settings, targets FROM campaign")
        },
        catalogue.entries(release),
    )


def _end(release: Release, run: int) -> None:
    with release.transaction() as db:
        # One statement: each touches every row of the fleet.
        db.execute(
            "UPDATE vehicle SET snapshot = :run, due = 0, "
            "targets = iif(due = :all OR targets IS NULL, :run, targets), "
            "signed_campaign = iif((due = :all OR targets IS NULL) AND refused IS NULL, "
            "campaign, signed_campaign) WHERE due > 0",
            {"run": run, "all": DUE_TARGETS},
        )
        db.execute("UPDATE state SET finished = run, image_due = 0, keys_changed = 0")
        # A vehicle's targets are never newer than its snapshot.
        db.execute(
            "DELETE FROM run WHERE id < (SELECT ifnull(min(targets), ?) FROM vehicle)", (run,)
        )
