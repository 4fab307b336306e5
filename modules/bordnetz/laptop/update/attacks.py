"""What an attacker who holds the store, or the way to it, can try; and what the car must say.

The keys stay with their owners.  With stolen keys, and with metadata that has expired, the rules of
the verification are attacked one by one in the tests.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bordnetz.laptop.update.release import MAPS, Release, replace_folder

OTHER = "another-vehicle"


@dataclass(frozen=True, slots=True)
class Attack:
    """One of them.

    Attributes:
        text: What the attacker does.
        kinds: The words of which the car must use one.
        faults: Of the store.
        tamper: What is done to the store's folder after the update is published.
        held: Days since which the store shows nothing newer; the time server knows how late it is.
    """

    text: str
    kinds: tuple[str, ...]
    faults: tuple[str, ...] = ()
    tamper: Callable[[Release], None] | None = None
    held: int = 0


def _replay(release: Release) -> None:
    """Everything as it was before the last publication."""
    replace_folder(release.folder / "store-before", release.store)


def _mix(release: Release) -> None:
    """The new image metadata is replaced by other metadata under its name."""
    image = release.store / "image"
    newest = max(image.glob("*.targets.json"), key=_version)
    older = release.folder / "store-before" / "image"
    shutil.copyfile(max(older.glob("*.targets.json"), key=_version), newest)


def _swap(release: Release) -> None:
    """Another vehicle's director metadata in the place of ours."""
    director = release.store / "director"
    replace_folder(director / OTHER, director / release.vehicle_id)


def _version(path: Path) -> int:
    return int(path.name.split(".")[0])


ATTACKS = {
    "arbitrarySoftware": Attack(
        "flips a bit of every payload", ("arbitrarySoftware",), ("flip=targets/*",)
    ),
    "endlessData": Attack(
        "answers with data without end", ("endlessData",), ("endless=targets/*",)
    ),
    "slowRetrieval": Attack(
        "lets metadata drip, a byte a second", ("slowRetrieval",), ("slow=image/*",)
    ),
    "freeze": Attack("holds back for 31 days whatever is newer", ("freeze",), held=31),
    "partialBundle": Attack(
        f"holds back the payload for '{MAPS}' of a group",
        ("download",),
        (f"lose=targets/*.{MAPS}-*",),
    ),
    "rollback": Attack("shows the store as it was before", ("rollback",), (), _replay),
    "mixAndMatch": Attack(
        "puts older image metadata under the new one's name", ("mixAndMatch",), (), _mix
    ),
    "wrongVehicle": Attack(
        "shows the director metadata of another vehicle", ("wrongVehicle",), (), _swap
    ),
}
"""By their names on the command line."""
