"""A token of SoftHSM, Debian's software stand-in for hardware that keeps keys."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

LIBRARY = Path("/usr/lib/softhsm/libsofthsm2.so")
LABEL = "fleet keys"
PIN = "8264"


def make_token(folder: Path, keys: int) -> dict[str, str]:
    """A token with P-256 keys whose ids are 1 to ``keys``.

    Returns:
        The environment in which the library finds it.
    """
    if shutil.which("softhsm2-util") is None or not LIBRARY.is_file():
        pytest.skip("SoftHSM is not here (Debian: softhsm2)")
    tokens = folder / "tokens"
    tokens.mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n")
    environment = {"SOFTHSM2_CONF": str(configuration)}
    util(
        environment, "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "918273"
    )
    for number in range(1, keys + 1):
        path = folder / "key.pem"
        path.write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
        )
        label = ["--label", f"key{number}", "--id", f"{number:02x}", "--pin", PIN]
        util(environment, "--import", str(path), "--token", LABEL, *label)
        path.unlink()
    return environment


def uri(number: int, pin_file: Path | None = None) -> str:
    """The name of a key of the token."""
    source = "" if pin_file is None else f"&pin-source=file:{pin_file}"
    return (
        f"pkcs11:token={LABEL.replace(' ', '%20')};id=%{number:02x}?module-path={LIBRARY}{source}"
    )


def util(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run(
        ["softhsm2-util", *arguments],
        check=True,
        capture_output=True,
        env={**os.environ, **environment},
    )
