"""The store on this machine, over real TLS: what an update's downloader can rely on."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from http.client import HTTPSConnection, IncompleteRead
from urllib.parse import urlsplit

import pytest

from bordnetz.laptop.store.command import signed_url
from bordnetz.uptane.keys import generate
from bordnetz.uptane.time import verify_time

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "files" / "deep").mkdir(parents=True)
    (tmp_path / "files" / "deep" / "a.bin").write_bytes(CONTENT)
    (tmp_path / "secret").write_bytes(b"not yours")
    (tmp_path / "files" / "out").symlink_to(tmp_path / "secret")
    return tmp_path


@pytest.fixture
def start(folder):
    running = []

    def start(*options):
        command = [sys.executable, "-m", "bordnetz", "store", "run", str(folder / "files")]
        command += ["--state", str(folder / "state"), *options]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout.readline().startswith("store at https://127.0.0.1:")
        return folder / "state"

    yield start
    for process in running:
        process.terminate()
        assert process.wait() == 0
        process.stdout.close()


def ask(state, path, *, query=None, method="GET", **headers):
    """Status, headers and body of a request, with a signed query unless one is given."""
    parts = urlsplit(signed_url(state, path, 60))
    context = ssl.create_default_context(cafile=str(state / "ca.pem"))
    link = HTTPSConnection(parts.hostname, parts.port, context=context, timeout=60)
    target = f"{parts.path}?{parts.query if query is None else query}"
    link.request(method, target, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = link.getresponse()
    try:
        return answer.status, dict(answer.headers), answer.read()
    finally:
        link.close()


def test_a_file_comes_whole_and_in_parts_under_one_tag(start):
    state = start()
    status, headers, body = ask(state, "deep/a.bin")
    assert (status, body) == (200, CONTENT)
    tag = headers["ETag"]
    status, headers, body = ask(state, "deep/a.bin", Range="bytes=100-", If_Match=tag)
    assert (status, body, headers["ETag"]) == (206, CONTENT[100:], tag)
    assert headers["Content-Range"] == f"bytes 100-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert ask(state, "deep/a.bin", Range="bytes=5-9")[2] == CONTENT[5:10]
    assert ask(state, "deep/a.bin", Range="bytes=5-9", If_Range='"other"')[0] == 200
    assert ask(state, "deep/a.bin", If_Match='"other"')[0] == 412
    assert ask(state, "deep/a.bin", Range=f"bytes={len(CONTENT)}-")[0] == 416
    status, headers, body = ask(state, "deep/a.bin", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(CONTENT)), b"")


@pytest.mark.parametrize("path", ["none", "deep", "../secret", "%2e%2e/secret", "out", ""])
def test_nothing_but_the_files_of_the_folder_is_served(start, path):
    assert ask(start(), path)[0] == 404


def test_a_signature_opens_the_store_until_its_end_and_only_as_it_is(start):
    state = start()
    query = urlsplit(signed_url(state, "", 60)).query
    end = query.split("&")[0]
    later = f"se={int(time.time()) + 9_999}&{query.split('&')[1]}"
    for wrong in ["", end, f"{end}&sig=", later, query + "x"]:
        assert ask(state, "deep/a.bin", query=wrong)[0] == 403
    assert ask(state, "deep/a.bin", query=urlsplit(signed_url(state, "", -1)).query)[0] == 403
    assert ask(state, "deep/a.bin", query=query)[0] == 200


def test_faults_strike_the_files_that_they_name(start):
    state = start("--fault", "forbid=deep/*")
    assert ask(state, "deep/a.bin")[0] == 403
    state = start("--fault", "lose=*.bin")
    assert ask(state, "deep/a.bin")[0] == 404
    state = start("--fault", "flip=*.bin")
    body = ask(state, "deep/a.bin")[2]
    assert sum((a ^ b).bit_count() for a, b in zip(body, CONTENT, strict=True)) == 1
    state = start("--fault", "drop=*.bin")
    with pytest.raises(IncompleteRead):
        ask(state, "deep/a.bin")


def test_a_fault_that_is_none_is_told(folder):
    command = [sys.executable, "-m", "bordnetz", "store", "run", str(folder / "files")]
    done = subprocess.run(
        [*command, "--state", str(folder / "s"), "--fault", "rust=*"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "endless" in done.stderr


@pytest.fixture
def time_key(tmp_path):
    return generate(tmp_path / "time.pem"), str(tmp_path / "time.pem")


def test_a_time_server_signs_the_question_and_what_time_it_is(start, time_key):
    signer, file = time_key
    state = start("--time-key", file, "--time-ahead", "31")
    before = int(time.time())
    status, _, body = ask(state, "time/a-Nonce_1")
    answer = verify_time(body, [signer.public_key])
    assert (status, answer.nonce, answer.sequence) == (200, "a-Nonce_1", None)
    assert before <= answer.time - 31 * 86_400 <= time.time()


def test_a_time_server_answers_no_question_that_is_none_and_nobody_without_a_signature(
    start, time_key
):
    state = start("--time-key", time_key[1], "--fault", "lose=time/lost")
    assert ask(state, "time/")[0] == 400
    assert ask(state, "time/a%20b")[0] == 400
    assert ask(state, "time/" + "a" * 129)[0] == 400
    assert ask(state, "time/abc", query="")[0] == 403
    assert ask(state, "time/lost")[0] == 404


def test_without_a_key_there_is_no_time_server(start):
    assert ask(start(), "time/abc")[0] == 404
