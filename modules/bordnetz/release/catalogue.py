"""The image repository: targets metadata that names every image, and what vouches for it.

Uptane Standard 2.1, "Image repository".  One top-level targets role, no delegations.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from bordnetz.release import canonical, roots
from bordnetz.release.release import Release
from bordnetz.release.signers import Signers


def sign(release: Release, signers: Signers, run: int, now: int, *, targets: bool) -> None:
    """Sign snapshot and timestamp, and the targets where they are due.

    Args:
        release: The release.
        signers: The keys.
        run: Version of what is signed.
        now: Seconds since 1970 UTC.
        targets: Whether the targets are signed too.

    Raises:
        SigningKeyError: A key cannot be used.
    """
    days = release.settings.days
    made: dict[str, tuple[int, int, bytes]] = {}
    if targets:
        expires = now + days.targets * roots.DAY
        signed = {
            "_type": "targets",
            "expires": canonical.expiry(expires),
            "spec_version": canonical.SPEC_VERSION,
            "targets": entries(release),
            "version": run,
        }
        data = roots.sign(signed, signers.role("image/targets"))
        made["targets"] = run, expires, data
    else:
        made["targets"] = current(release)["targets"]
    for role, named in (("snapshot", "targets"), ("timestamp", "snapshot")):
        version, _, data = made[named]
        expires = now + (days.snapshot if role == "snapshot" else days.timestamp) * roots.DAY
        signed = {
            "_type": role,
            "expires": canonical.expiry(expires),
            "meta": {
                f"{named}.json": {
                    "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
                    "length": len(data),
                    "version": version,
                }
            },
            "spec_version": canonical.SPEC_VERSION,
            "version": run,
        }
        data = roots.sign(signed, signers.role(f"image/{role}"))
        made[role] = run, expires, data
    release.db.executemany(
        "INSERT OR REPLACE INTO metadata VALUES (?, ?, ?, ?)",
        [(role, *rest) for role, rest in made.items()],
    )


def current(release: Release) -> dict[str, tuple[int, int, bytes]]:
    """Version, expiry and bytes of each role but root, as last signed."""
    rows = release.db.execute("SELECT role, version, expires, data FROM metadata")
    return {role: (version, expires, data) for role, version, expires, data in rows}


def entries(release: Release) -> dict[str, dict[str, Any]]:
    """The images as they stand in targets metadata, by name."""
    rows = release.db.execute("SELECT name, sha256, length, custom FROM image")
    return {
        name: {"custom": json.loads(custom), "hashes": {"sha256": sha256}, "length": length}
        for name, sha256, length, custom in rows
    }
