import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hub_fixtures import start_hub, template
from ordinary_user import user
from telemetry_help import ROUTES, Car, Process

__all__ = ["start_hub", "user"]


@pytest.fixture
def car():
    """A vehicle of two buses; its sockets need a path shorter than pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="bordnetz-"))
    car = Car(folder)
    yield car
    car.close()
    shutil.rmtree(folder)


@pytest.fixture
def deploy(start_hub, tmp_path):
    """``deploy(**desired)`` starts a hub with a telemetry module so configured; again restarts."""

    def begin(**desired):
        modules = {"telemetry": desired}
        return start_hub(template(tmp_path / "deployment.json", modules, ROUTES))

    return begin


@pytest.fixture
def start(tmp_path, car):
    """``start(hub, *arguments, **variables)`` starts telemetry, always on the same state folder."""
    processes = []

    def begin(hub, *arguments, **variables):
        environment = hub.control.env("telemetry") if hub is not None else {}
        processes.append(
            Process(tmp_path / "state", car.file, arguments, {**environment, **variables})
        )
        return processes[-1]

    yield begin
    for process in processes:
        process.end(signal.SIGKILL)
