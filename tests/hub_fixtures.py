"""Stand-in hubs for the tests of any room.

A room's conftest takes the fixture by ``from hub_fixtures import start_hub``.  `template` writes a
deployment template, `RunningHub` is a hub as its own process, and ``start_hub`` starts as many as
a test wants and ends them all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bordnetz.laptop.hub.control import Control


def template(
    path: Path,
    modules: Mapping[str, Mapping[str, Any]],
    routes: Mapping[str, str | Mapping[str, Any]],
    ttl: int = 7200,
    env: Mapping[str, str] | None = None,
) -> Path:
    """Writes a deployment template: modules with their desired properties, and routes."""
    container = {
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": "example.invalid/image:1"},
    }
    agent = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
        "systemModules": {
            "edgeAgent": {"type": "docker", "settings": container["settings"]},
            "edgeHub": container,
        },
        "modules": {
            name: {**container, "env": {k: {"value": v} for k, v in (env or {}).items()}}
            for name in modules
        },
    }
    hub = {
        "schemaVersion": "1.1",
        "routes": dict(routes),
        "storeAndForwardConfiguration": {"timeToLiveSecs": ttl},
    }
    content = {"$edgeAgent": {"properties.desired": agent}, "$edgeHub": {"properties.desired": hub}}
    twins = {name: {"properties.desired": dict(desired)} for name, desired in modules.items()}
    path.write_text(
        json.dumps({"$schema-template": "4.0.0", "modulesContent": {**content, **twins}})
    )
    return path


class RunningHub:
    """A hub in its own process; ``control`` is the portal's part."""

    def __init__(self, manifest: Path, state: Path, run: Path, address: str | None = None) -> None:
        command = [sys.executable, "-m", "bordnetz", "hub", "run"]
        command += ["--manifest", str(manifest), "--state", str(state)]
        command += ["--address", address] if address else []
        self.state = state
        self.log = state.with_name(state.name + ".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "XDG_RUNTIME_DIR": str(run)},
            )
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            self.process.wait()
            pytest.fail(f"the hub has not started:\n{self.log.read_text()}")
        self.control = Control(state)

    def kill(self) -> None:
        """Ends the process as a power cut would."""
        self._end(self.process.kill)

    def stop(self) -> int:
        """Ends the process by SIGTERM; its exit code."""
        self._end(self.process.terminate)
        return self.process.returncode

    def _end(self, how: Callable[[], None]) -> None:
        if self.process.poll() is None:
            how()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def start_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., RunningHub]]:
    """``start_hub(manifest, name="hub", address=None)`` starts a hub; the same name restarts it."""
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
    monkeypatch.delenv("BORDNETZ_HUB", raising=False)
    hubs: list[RunningHub] = []

    def start(manifest: Path, name: str = "hub", address: str | None = None) -> RunningHub:
        hubs.append(RunningHub(manifest, tmp_path / name, run, address))
        return hubs[-1]

    yield start
    for hub in hubs:
        hub.stop()
