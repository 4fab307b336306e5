"""Azurite, Microsoft's stand-in for Azure Blob Storage: the real server, from npm."""

import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

VERSION = "3.37.0"
FOLDER = Path(__file__).parents[1] / "build" / "azurite"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account that every Azurite has; it is no secret."""


@contextmanager
def azurite(folder: Path):
    """The URL of the account's blob service, while it runs."""
    program = FOLDER / "node_modules/azurite/dist/src/blob/main.js"
    if shutil.which("node") is None or not program.is_file():
        pytest.skip(f"Azurite is not here: npm install --prefix build/azurite azurite@{VERSION}")
    # Any free port; which one it is it says when it listens.
    options = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--location", str(folder)]
    options += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    path = folder / "azurite.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            ["node", str(program), *options],
            stdout=log,
            stderr=log,
            env={**os.environ, "NODE_ENV": "production"},
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"listens on (http://\S+)\n", path.read_text())):
            assert process.poll() is None, path.read_text()
            assert time.monotonic() < deadline, "Azurite does not start"
            time.sleep(0.1)
        yield f"{found[1]}/{ACCOUNT}"
    finally:
        process.terminate()
        process.wait()
