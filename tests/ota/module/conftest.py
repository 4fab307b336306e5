import pytest
from hub_fixtures import start_hub, template
from ota_car import ROUTES, Car, Fleet, Store

__all__ = ["start_hub"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """One for all tests; each gives the car another campaign, and begins with a new car."""
    return Fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "car"
    folder.mkdir()
    return folder


@pytest.fixture
def store(fleet, place):
    """``store(*options)`` serves what is published; again replaces the one before."""
    running = []

    def start(*options):
        for one in running:
            one.close()
        running[:] = [Store(fleet, place / "store", *options)]
        return running[0]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def hub(start_hub, tmp_path):
    desired = {"checkInterval": 10}
    return start_hub(template(tmp_path / "deployment.json", {"ota": desired}, ROUTES))


@pytest.fixture
def drive(fleet, place, hub):
    """``drive(**settings)`` starts the car's module."""
    cars = []

    def start(**settings):
        cars.append(Car(fleet, place, hub, **settings))
        return cars[-1]

    yield start
    for car in cars:
        if car.process.poll() is None:
            car.kill()


@pytest.fixture
def maps(tmp_path):
    """``maps(number)`` is a tree of files."""

    def make(number, size=200_000):
        folder = tmp_path / f"maps-{number}"
        folder.mkdir()
        (folder / "of").write_text(tmp_path.name)
        (folder / "version").write_text(str(number))
        (folder / "tile").write_bytes(number.to_bytes(2, "big") * (size // 2))
        return folder

    return make
