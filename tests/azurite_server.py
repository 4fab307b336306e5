"""Azurite, Microsoft's stand-in for Azure Blob Storage: the real server, from npm."""

import os
import shutil
import socket
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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    options += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen(
            ["node", str(program), *options],
            stdout=log,
            stderr=log,
            env={**os.environ, "NODE_ENV": "production"},
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "azurite.log").read_text()
                assert time.monotonic() < deadline, "Azurite does not start"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
    finally:
        process.terminate()
        process.wait()
