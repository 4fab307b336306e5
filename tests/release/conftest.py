from pathlib import Path

import pytest
from release_help import Client, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A release without vehicles."""
    return Place(tmp_path / "fleet").init()


@pytest.fixture
def client(place: Place, tmp_path: Path):
    """Makes a client of ``director/<vehicle>`` or ``image`` that knows the first root."""

    def make(repository: str, version: int = 1) -> Client:
        root = place.root(repository.partition("/")[0], version)
        return Client(place, repository, tmp_path / "clients" / repository / str(version), root)

    return make
