"""A release all of whose keys are on a token, against SoftHSM, by the command line."""

import json
import os
import subprocess
import sys

import pytest
from release_help import CAR_KEY, Client, Place
from softhsm_token import PIN, make_token, uri

from bordnetz.release.settings import ALL_ROLES


@pytest.fixture
def bordnetz(tmp_path):
    token = make_token(tmp_path / "token", keys=len(ALL_ROLES) + 1)

    def run(*arguments: str, pin: str = PIN) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bordnetz", "release", *arguments],
            env={**os.environ, **token, "BORDNETZ_PIN": pin},
            capture_output=True,
            text=True,
        )

    return run


def test_a_release_with_keys_on_a_token_from_its_roots_to_a_rotated_key(bordnetz, tmp_path):
    place = Place(tmp_path / "fleet")
    folder = str(place.folder)
    keys = [f"--key={role}={uri(number)}" for number, role in enumerate(ALL_ROLES, 1)]
    refused = bordnetz("init", folder, *keys, pin="0000")
    assert refused.returncode == 1
    assert "PIN" in refused.stderr
    assert "0000" not in refused.stderr
    (tmp_path / "maps").write_text("roads")
    steps = [
        ["init", folder, *keys],
        [
            *("vehicle", "add", folder, "car-1", "--ecu", "maps:hw-maps"),
            *("--public-key", CAR_KEY.public_key.keyval["public"]),
        ],
        ["add", folder, str(tmp_path / "maps"), "--name", "maps-1", "--hardware", "hw-maps"],
        ["assign", folder, "maps-1", "--campaign", "spring", "--all"],
        ["sign", folder],
        ["publish", folder, "--to", str(place.site)],
    ]
    for step in steps:
        done = bordnetz(*step)
        assert done.returncode == 0, done.stderr
    clients = {
        repository: Client(
            place,
            repository,
            tmp_path / "client" / repository,
            place.root(repository[:8].strip("/")),
        )
        for repository in ("director/car-1", "image")
    }
    assert clients["director/car-1"].targets()["targets"].keys() == {"maps-1"}
    assert clients["image"].download("maps-1") == b"roads"
    root = json.loads(place.root("director"))["signed"]
    assert {key["scheme"] for key in root["keys"].values()} == {"ecdsa-sha2-nistp256"}
    rotated = bordnetz("rotate", folder, "director/root", "--new", uri(len(ALL_ROLES) + 1))
    assert rotated.returncode == 0, rotated.stderr
    assert bordnetz("publish", folder, "--to", str(place.site)).returncode == 0
    clients["director/car-1"].refresh()
    assert not list(place.folder.rglob("*.pem"))
