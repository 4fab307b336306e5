"""Signing keys in files, and public keys as they are handed over."""

import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bordnetz.uptane.keys import SigningKeyError, generate, load, public_key


def pem(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_new_key_signs_and_is_the_same_when_it_is_read_again(tmp_path):
    made = generate(tmp_path / "key.pem")
    read = load("key.pem", tmp_path)
    assert read.public_key == made.public_key
    read.public_key.verify_signature(read.sign(b"data"), b"data")


def test_a_new_key_is_for_its_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        generate(tmp_path / "key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path):
    first = generate(tmp_path / "key.pem").public_key
    with pytest.raises(SigningKeyError, match="never overwritten"):
        generate(tmp_path / "key.pem")
    assert load("key.pem", tmp_path).public_key == first


def test_a_key_is_not_written_through_a_link(tmp_path):
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SigningKeyError):
        generate(tmp_path / "key.pem")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused_and_the_text_says_what_to_do(tmp_path, mode):
    generate(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(mode)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        load("key.pem", tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no private Ed25519 key"),
        (b"\0" * 1_000_000, "no private Ed25519 key"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "no private Ed25519 key"),
        (pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"word")), "is encrypted"),
    ],
    ids=["empty", "zeros", "another kind", "encrypted"],
)
def test_what_is_no_key_of_ours_is_refused_with_a_reason(tmp_path, content, text):
    put(tmp_path / "key.pem", content)
    with pytest.raises(SigningKeyError, match=text):
        load("key.pem", tmp_path)


def test_a_missing_file_and_a_pipe_are_told(tmp_path):
    with pytest.raises(SigningKeyError, match="no such key file"):
        load("key.pem", tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(SigningKeyError, match="no file"):
        load("pipe", tmp_path)


def public_forms(key) -> list[str]:
    public = key.public_key()
    return [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        *(
            [public.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()]
            if isinstance(key, Ed25519PrivateKey)
            else []
        ),
    ]


@pytest.mark.parametrize(
    "key",
    [
        Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["Ed25519", "P-256", "P-384"],
)
def test_a_public_key_has_one_id_in_whichever_form_it_comes(key):
    keys = [public_key(form) for form in public_forms(key)]
    keys += [public_key(json.dumps({**keys[0].to_dict(), "keyid": "0" * 64}))]
    assert len({key.keyid for key in keys}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab" * 31,
        "{}",
        "[" * 100_000,
        '{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":7}}',
        '{"keytype":"ed25519","scheme":"ed25519","keyval":[]}',
        '{"keytype":"rsa","scheme":"rsassa-pss-sha256","keyval":{"public":"x"}}',
        '{"a":' * 3_000,
        *public_forms(ec.generate_private_key(ec.SECP521R1())),
        *public_forms(rsa.generate_private_key(65537, 2048)),
    ],
)
def test_what_is_no_public_key_of_ours_is_refused(text):
    with pytest.raises(SigningKeyError):
        public_key(text)
