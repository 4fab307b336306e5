"""Signing all director metadata of a fleet anew, beside nothing but its signatures.

Process CPU time of one thread, both in one run, round about: every vehicle gets targets, snapshot,
timestamp and time as files on the disk, with the database's work; the peer makes the same three
signatures a vehicle with the bare key of `cryptography`, over messages of the same lengths.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from bordnetz.release import campaigns, fleet, images, signing
from bordnetz.release.release import Release
from bordnetz.release.setup import initialize
from bordnetz.release.signers import Signers
from bordnetz.uptane.custom import Campaign

VEHICLES = 5_000
ROUNDS = 5
MOST_MICROSECONDS = 250
"""A vehicle: 4,000 a second."""
LEAST_SHARE = 0.4
"""Of the raw signing rate."""


def make_release(folder: Path, vehicles: int = VEHICLES) -> None:
    """A release with a fleet of which every vehicle has something assigned."""
    initialize(
        folder, {}, key_folder=folder / "keys", root_keys=1, root_threshold=1, now=int(time.time())
    )
    key = CryptoSigner.generate_ed25519().public_key.keyval["public"]
    ecus = [
        fleet.Ecu(id=name, hardware_id=f"hw-{name}")
        for name in ("head-unit", "dbc", "maps", "gateway")
    ]
    with Release(folder) as release:
        fleet.store(
            release,
            (
                (
                    0,
                    fleet.Row.of(
                        fleet.Vehicle(
                            vehicle=f"car-{number:07}",
                            primary="head-unit",
                            public_key=key,
                            ecus=ecus,
                        )
                    ),
                )
                for number in range(vehicles)
            ),
        )
        for name in ("dbc", "maps"):
            source = folder / name
            source.write_bytes(name.encode() * 100)
            images.add(release, source, name=f"{name}-1", hardware=[f"hw-{name}"])
        campaigns.assign(
            release,
            Campaign(id="spring", groups=[["dbc", "maps"]]),
            [("dbc-1", None), ("maps-1", None)],
            everyone=True,
        )


def rows(vehicles: int = VEHICLES) -> list[dict[str, Any]]:
    """Microseconds of CPU a vehicle, and the share of them that is signing alone."""
    with tempfile.TemporaryDirectory(dir=_build()) as name:
        folder = Path(name, "fleet")
        make_release(folder, vehicles)
        with Release(folder) as release:
            signers = Signers(folder, release.settings)

            def ours() -> None:
                signing.sign(release, signers, int(time.time()), everything=True)

            ours()  # makes the folders, once in a fleet's life
            some = release.directors / "car-0000000"
            lengths = [
                (some / f"{role}.json").stat().st_size
                for role in ("targets", "snapshot", "timestamp")
            ]
            sign = Ed25519PrivateKey.generate().sign
            messages = [bytes(length) for length in lengths]

            def raw() -> None:
                for _ in range(vehicles):
                    for message in messages:
                        sign(message)

            measured = [(cpu(ours), cpu(raw)) for _ in range(ROUNDS)]
    own = statistics.median(own for (own, _), _ in measured) / vehicles * 1e6
    wall = statistics.median(wall for (_, wall), _ in measured) / vehicles * 1e6
    peer = statistics.median(peer for _, (peer, _) in measured) / vehicles * 1e6
    share = statistics.median(peer / own for (own, _), (peer, _) in measured)
    what = f"release: sign a vehicle's metadata anew, with files, of {vehicles:,}"
    return [
        {
            "name": what,
            "value": own,
            "unit": "us/vehicle",
            "ratio": share,
            "budget": MOST_MICROSECONDS,
            "peer": peer,
            "ok": own <= MOST_MICROSECONDS,
        },
        {
            "name": "release: share of that which is signatures alone",
            "value": share,
            "unit": "of 1",
            "ratio": share,
            "budget": LEAST_SHARE,
            "peer": None,
            "ok": share >= LEAST_SHARE,
        },
        {
            "name": "release: the same by the clock on the wall, until all is on the disk",
            "value": wall,
            "unit": "us/vehicle",
            "ratio": None,
            "budget": None,
            "peer": None,
            "ok": True,
        },
    ]


def cpu(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of CPU, and on the wall."""
    start, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - start, time.perf_counter() - wall


def _build() -> Path:
    """On a disk: the temporary folder may be memory."""
    build = Path(__file__).parents[1] / "build"
    build.mkdir(exist_ok=True)
    return build


if __name__ == "__main__":
    for row in rows():
        budget = "" if row["budget"] is None else f" (budget {row['budget']})"
        print(f"{row['name']}: {row['value']:.3f} {row['unit']}{budget}")
