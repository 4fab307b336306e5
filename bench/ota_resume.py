"""Bytes that come again after a kill, as the store's kernel counts them, with TLS and headers.

A download is killed once, somewhere, and started again to its end.  What has come in all, minus
the payload's length, is what the kill has cost: the chunk that was not synced yet, and what had
come but had not been read.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

from bench import ota_process
from bench.ota_release import CountingStore, OneCar
from bench.ota_row import at_most
from bordnetz.uptane.custom import Delivery

LENGTH = 16 << 20
KILLS = 12
_PIECE = 64 << 10
"""Bytes that a download reads at most at once."""
MOST = 1.0
"""MiB."""


def rows(folder: Path) -> list[dict[str, Any]]:
    """The worst and the median of some kills."""
    roots = OneCar(folder).roots
    content = os.urandom(LENGTH)
    sha256 = hashlib.sha256(content).hexdigest()
    delivery = Delivery(name="payload", length=LENGTH, sha256=sha256, encoding="identity")
    path = folder / "published" / "targets" / delivery.path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with CountingStore(folder / "published", folder / "store") as store:
        cost = sorted(
            _killed(store, roots, folder / "car", delivery) - LENGTH for _ in range(KILLS)
        )
    worst = cost[-1] / (1 << 20)
    return [at_most(f"ota: received again after a kill, worst of {KILLS}", worst, "MiB", MOST)]


def _killed(store: CountingStore, roots: Path, place: Path, delivery: Delivery) -> int:
    """Bytes that have come in all."""
    place.mkdir()
    about = {"place": str(place), "roots": str(roots), **store.asked}
    about["delivery"] = delivery.model_dump_json()
    before = store.came
    process = ota_process.start("fetch", **about)
    assert process.stdout is not None
    with process:
        # As soon as so many pieces have come, and then at any moment.
        process.stdout.read(random.randrange(1, LENGTH // _PIECE * 3 // 4))
        time.sleep(random.random() * 0.02)
        process.kill()
    ota_process.run("fetch", **about)
    if (place / delivery.sha256).stat().st_size != delivery.length:
        raise ValueError("it is not there as a whole")
    store.wait()
    shutil.rmtree(place)
    return store.came - before
