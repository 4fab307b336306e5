import shutil
from pathlib import Path

import pytest
from release_help import Client, Place


@pytest.fixture(scope="session")
def new_release(tmp_path_factory) -> Path:
    return Place(tmp_path_factory.mktemp("release") / "fleet").init().folder


@pytest.fixture
def place(new_release: Path, tmp_path: Path) -> Place:
    """A release without vehicles, of a test's own."""
    return Place(shutil.copytree(new_release, tmp_path / "fleet"))


@pytest.fixture
def client(place: Place, tmp_path: Path):
    """Makes a client of ``director/<vehicle>`` or ``image`` that knows the first root."""

    def make(repository: str, version: int = 1) -> Client:
        root = place.root(repository.partition("/")[0], version)
        return Client(place, repository, tmp_path / "clients" / repository / str(version), root)

    return make
