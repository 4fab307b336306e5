"""Keys that never leave their token, against SoftHSM."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from softhsm_token import LIBRARY, PIN, make_token, uri

from bordnetz.uptane.keys import SigningKeyError, load

SIGN = """
import sys
from bordnetz.errors import BordnetzError
from bordnetz.uptane.keys import load
try:
    signer = load(sys.argv[1])
    signature = signer.sign(b"data")
except BordnetzError as error:
    print(type(error).__name__, error)
else:
    signer.public_key.verify_signature(signature, b"data")
    print("signed", signer.public_key.scheme, signer.public_key.keyid)
"""


@pytest.fixture(scope="module")
def token(tmp_path_factory) -> dict[str, str]:
    return make_token(tmp_path_factory.mktemp("token"), keys=2)


def sign(name: str, environment: dict[str, str]) -> str:
    """In a process of its own, for the library reads its surroundings once."""
    done = subprocess.run(
        [sys.executable, "-c", SIGN, name],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    return done.stdout.strip()


def test_a_token_signs_with_the_pin_from_the_environment(token):
    first = sign(uri(1), {**token, "BORDNETZ_PIN": PIN})
    assert first.startswith("signed ecdsa-sha2-nistp256 ")
    assert sign(uri(2), {**token, "BORDNETZ_PIN": PIN}) != first


def test_a_token_signs_with_the_pin_from_a_file(token, tmp_path):
    (tmp_path / "pin").write_text(f"{PIN}\n")
    assert sign(uri(1, tmp_path / "pin"), token).startswith("signed ")


def test_the_library_may_be_named_by_the_environment(token):
    name = uri(1).partition("?")[0]
    environment = {**token, "BORDNETZ_PIN": PIN, "PYKCS11LIB": str(LIBRARY)}
    assert sign(name, environment).startswith("signed ")


@pytest.mark.parametrize(
    ("name", "environment", "text"),
    [
        (uri(1), {"BORDNETZ_PIN": "0000"}, "PIN correct"),
        (uri(1), {}, "set BORDNETZ_PIN"),
        (uri(1, Path("/nowhere/pin")), {}, "/nowhere/pin: the PIN"),
        (uri(7), {"BORDNETZ_PIN": PIN}, "could not find ECDSA key"),
        (uri(1).replace("fleet", "other"), {"BORDNETZ_PIN": PIN}, "No PKCS#11 token found"),
        (uri(1).replace("softhsm2", "none"), {"BORDNETZ_PIN": PIN}, "the token refuses"),
    ],
)
def test_what_is_wrong_with_a_token_is_told_without_its_pin(token, name, environment, text):
    said = sign(name, {**token, **environment})
    assert said.startswith("SigningKeyError")
    assert text in said
    assert PIN not in said.replace(name, "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pkcs11:", "token and id"),
        ("pkcs11:token=a;id=", "token and id"),
        ("pkcs11:token=a;id=%02?pin-value=1234", "seen by others"),
        ("pkcs11:token=a;id=%02;id=%03?module-path=/x", "each once"),
        ("pkcs11:token=a;object=b", "'object' cannot be used"),
        ("pkcs11:token=a;id=%00%02?module-path=/x", "first is not %00"),
        ("pkcs11:token=a;id=%02", "PYKCS11LIB"),
        ("pkcs11:token=%ff;id=%02?module-path=/x", "UTF-8"),
        ("pkcs11:token=a;id=%02?module-path=/x&pin-source=%7Ccat", "pin-source"),
    ],
)
def test_a_name_that_says_too_little_or_too_much_is_refused(name, text):
    with pytest.raises(SigningKeyError, match=text) as caught:
        load(name, environment={})
    assert "1234" not in str(caught.value)
