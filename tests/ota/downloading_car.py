"""A car that downloads from a store without waiting, and remembers what it was told."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving_store import MisbehavingStore, cut

from bordnetz.ota.download import Conduct, Downloader
from bordnetz.ota.http import HttpSource
from bordnetz.ota.part import CHUNK
from bordnetz.ota.source import UnreachableError
from bordnetz.uptane.custom import Delivery

CONTENT = random.Random(1).randbytes(3 * CHUNK + 1000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DELIVERY = Delivery(name="app.bin", length=len(CONTENT), sha256=SHA256, encoding="identity")


@pytest.fixture
def store(tmp_path) -> Iterator[MisbehavingStore]:
    with MisbehavingStore(tmp_path / "store") as store:
        store.put(DELIVERY.path, CONTENT)
        yield store


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


class Car:
    """Downloads into a folder.

    Attributes:
        patience: Seconds that bytes may lag behind; on a loaded machine some do.
    """

    patience = 60.0

    def __init__(self, store: MisbehavingStore, folder: Path, **conduct) -> None:
        self.store = store
        self.folder = folder
        self.received: list[int] = []
        self.waits: list[float] = []
        self.conduct = Conduct(**{"sleep": self.waits.append, "draw": lambda: 1.0, **conduct})

    def fetch(self, budget: int | None = None) -> Path:
        source = HttpSource(self.store.url, ca=self.store.ca, floor=20_000, patience=self.patience)
        with source:
            downloader = Downloader(source, self.conduct)
            return downloader.fetch(DELIVERY, self.folder, budget, self.received.append)

    @property
    def cost(self) -> int:
        return sum(self.received)


@pytest.fixture
def car(store, folder) -> Car:
    return Car(store, folder)


def begin(car: Car, count: int) -> None:
    """Have about so many bytes, ended in good order."""
    car.store.faults = [cut(count)]
    with pytest.raises(UnreachableError):
        Car(car.store, car.folder, attempts=1).fetch()
    car.store.requests.clear()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
