"""Processes of a car (`bench.ota_car`), with no more packages than the car has."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

WITHOUT = ("azure.core", "pkcs11", "snappy", "chardet")
"""Of the extras: loaded by others wherever they are found, 6 MiB that the car's image spares."""

_START = f"""
import sys
sys.modules.update(dict.fromkeys({WITHOUT}))
from bench.ota_car import main
main()
"""


def start(what: str, **arguments: Any) -> subprocess.Popen[bytes]:
    """Start one that does something, and writes to a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", _START, what, json.dumps(arguments)], stdout=subprocess.PIPE
    )


def run(what: str, **arguments: Any) -> dict[str, Any]:
    """Have something done; what it answers.

    Raises:
        CalledProcessError: It has failed, and said why on standard error.
    """
    with start(what, **arguments) as process:
        output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, f"bench.ota_car {what}")
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer
