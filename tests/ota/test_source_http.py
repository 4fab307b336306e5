"""What a server may do to a car that reads from it: very little."""

import logging
import ssl
import tracemalloc

import pytest
from connect_proxy import Proxy
from misbehaving_store import (
    MisbehavingStore,
    chunked,
    cut,
    drip,
    dripping_head,
    endless,
    endless_head,
    header,
    ignore_range,
    length,
    stall,
    status,
    wrong_range,
)

from bordnetz.ota.http import HttpSource
from bordnetz.ota.source import (
    ChangedError,
    MissingError,
    NeedsUrlError,
    RefusedError,
    UnreachableError,
)
from bordnetz.uptane.errors import Kind, UptaneError

KEY = "sv=2024&sig=top%2Fsecret%3D"
CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def store(tmp_path):
    with MisbehavingStore(tmp_path / "store") as store:
        store.put("1.root.json", b"root")
        store.put("big", CONTENT)
        yield store


@pytest.fixture
def source(store):
    with HttpSource(store.url, ca=store.ca) as source:
        yield source


@pytest.fixture
def hasty(store):
    """One that has no patience with a slow server, nor much with a loaded machine."""
    with HttpSource(store.url, ca=store.ca, floor=2000, patience=2) as source:
        yield source


def kind(error) -> Kind:
    return error.value.kind


# reading


def test_a_file_comes_as_it_lies_there(source, store):
    assert source.fetch("1.root.json", 100) == b"root"
    assert source.fetch("big", len(CONTENT)) == CONTENT
    assert source.received > len(CONTENT)


def test_several_files_come_over_one_connection(source, store, monkeypatch):
    accepted = len(store._threads)
    for _ in range(3):
        source.fetch("1.root.json", 100)
    assert len(store._threads) == accepted + 1


def test_an_empty_file_is_empty(source, store):
    store.put("empty", b"")
    assert source.fetch("empty", 0) == b""


def test_a_chunked_answer_is_read(source, store):
    store.always = chunked(1000)
    assert source.fetch("big", len(CONTENT)) == CONTENT


def test_a_stream_can_begin_anywhere(source, store):
    with source.open("big", len(CONTENT), 255_000) as stream:
        assert (stream.offset, stream.length) == (255_000, 256_000)
        assert b"".join(iter(lambda: stream.read(300), b"")) == CONTENT[255_000:]


def test_a_name_with_strange_characters_is_found(source, store):
    store.put("1.rôle ?#%.json", b"odd")
    assert source.fetch("1.rôle ?#%.json", 10) == b"odd"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "", "a//b", ".", "x\n", "a\\b"])
def test_no_name_leads_out_of_the_folder(source, store, name):
    with pytest.raises(MissingError):
        source.fetch(name, 10)
    assert store.requests == []


# the key in the URL


def test_the_name_goes_before_the_key(store):
    store.key = KEY
    with HttpSource(store.url, ca=store.ca) as source:
        assert source.fetch("1.root.json", 10) == b"root"
    assert store.requests[0].target == f"/targets/1.root.json?{KEY}"


@pytest.mark.parametrize(
    "fault",
    [
        status(403),
        status(404),
        status(500),
        status(302, Location="https://example.invalid/?sig=top%2Fsecret%3D"),
        status(400),
        cut(3),
        endless,
        endless_head,
        length(10**9),
        header("Content-Encoding", "gzip"),
        header("Bad Header", "x"),
        drip(0.05),
    ],
)
def test_no_error_or_log_shows_the_key(store, caplog, fault):
    store.key = KEY
    store.always = fault
    caplog.set_level(logging.DEBUG)
    with HttpSource(store.url, ca=store.ca, floor=2000, patience=0.2) as source:
        shown = [repr(source), str(source._address), repr(source._address)]
        for call in (source.fetch, source.open):
            try:
                call("big", 1000 if fault is endless else len(CONTENT))
            except (UnreachableError, MissingError, RefusedError, NeedsUrlError, UptaneError) as e:
                shown += [str(e), repr(e), repr(e.__cause__)]
    shown += [record.getMessage() for record in caplog.records]
    assert len(shown) > 3 or fault.__qualname__.startswith("header")
    assert not [text for text in shown if "secret" in text or "sig=" in text]


def test_no_error_shows_the_key_of_a_store_that_is_not_there(store, caplog):
    caplog.set_level(logging.DEBUG)
    for url in (f"https://127.0.0.1:1/x?{KEY}", f"https://none.invalid/x?{KEY}"):
        with HttpSource(url, ca=store.ca) as source, pytest.raises(UnreachableError) as error:
            source.fetch("x", 1)
        assert "secret" not in str(error.value) + repr(error.value.__cause__) + caplog.text


# what it is told


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (404, MissingError),
        (410, MissingError),
        (401, NeedsUrlError),
        (403, NeedsUrlError),
        (500, UnreachableError),
        (503, UnreachableError),
        (429, UnreachableError),
        (408, UnreachableError),
        (400, RefusedError),
        (409, RefusedError),
        (204, RefusedError),
    ],
)
def test_what_the_server_says_tells_what_to_do(source, store, code, expected):
    store.always = status(code)
    with pytest.raises(expected, match=r"big: .*\(" + str(code)):
        source.fetch("big", len(CONTENT))


def test_a_redirect_is_not_followed(source, store):
    store.always = status(302, Location=f"{store.root}/targets/1.root.json")
    with pytest.raises(RefusedError, match="another place"):
        source.fetch("big", len(CONTENT))
    assert len(store.requests) == 1


def test_a_file_that_was_replaced_is_told_from_the_one_begun(source, store):
    with source.open("big", len(CONTENT)) as stream:
        tag = stream.tag
    with source.open("big", len(CONTENT), 5, tag) as stream:
        assert stream.offset == 5
    store.put("big", CONTENT[::-1])
    with pytest.raises(ChangedError):
        source.open("big", len(CONTENT), 5, tag)


def test_a_weak_tag_is_none(source, store):
    store.tags["/targets/big"] = 'W/"1"'
    with source.open("big", len(CONTENT)) as stream:
        assert stream.tag == ""


def test_a_server_that_knows_no_ranges_begins_at_the_beginning(source, store):
    store.always = ignore_range
    with source.open("big", len(CONTENT), 5) as stream:
        assert stream.offset == 0
        assert stream.read(4) == CONTENT[:4]


def test_another_part_than_the_one_asked_for_is_refused(source, store):
    store.always = wrong_range
    with pytest.raises(ChangedError, match="another part"):
        source.open("big", len(CONTENT), 5)
    with pytest.raises(RefusedError, match="206"):
        source.open("big", len(CONTENT))


@pytest.mark.parametrize(
    "value", ["", "bytes 5-4/256000", "bytes 5-255999/*", "bytes 5-255999/10", "x" * 300]
)
def test_a_part_that_says_nonsense_of_itself_is_refused(source, store, value):
    store.always = header("Content-Range", value)
    with pytest.raises(ChangedError, match="another part"):
        source.open("big", len(CONTENT), 5)


def test_an_encoding_that_was_not_asked_for_is_refused(source, store):
    store.always = header("Content-Encoding", "gzip")
    with pytest.raises(RefusedError, match="compressed"):
        source.fetch("big", len(CONTENT))


# endless, slow, broken


def test_a_file_longer_than_its_limit_is_refused_before_it_is_read(source, store):
    with pytest.raises(UptaneError) as error:
        source.fetch("big", len(CONTENT) - 1)
    assert kind(error) is Kind.ENDLESS_DATA
    assert source.received < 20_000


@pytest.mark.parametrize("fault", [endless, chunked(1000)])
def test_a_file_that_states_no_length_ends_at_its_limit(source, store, fault):
    store.always = fault
    with pytest.raises(UptaneError) as error:
        source.fetch("big", 10_000)
    assert kind(error) is Kind.ENDLESS_DATA
    assert source.received < 10_000 + (1 << 20)


@pytest.mark.parametrize("fault", [endless_head, chunked(1), chunked(1, b";" + b"x" * 1000)])
def test_what_surrounds_a_file_cannot_be_endless_either(source, store, fault):
    store.always = fault
    store.put("small", bytes(40_000))
    tracemalloc.start()
    with pytest.raises(UptaneError) as error:
        source.fetch("small", 40_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kind(error) is Kind.ENDLESS_DATA
    assert source.received < 200_000
    assert peak < 1 << 20


@pytest.mark.parametrize("fault", [drip(0.02), drip(0.02, after=200_000), dripping_head(0.02)])
def test_a_drip_is_too_slow_however_short_the_gaps_and_fast_the_beginning(hasty, store, fault):
    store.always = fault
    with pytest.raises(UptaneError) as error:
        hasty.fetch("big", len(CONTENT))
    assert kind(error) is Kind.SLOW_RETRIEVAL


def test_silence_is_a_reason_to_try_again(store):
    store.always = stall(1000)
    with (
        HttpSource(store.url, ca=store.ca, gap=0.1) as source,
        pytest.raises(UnreachableError, match="in time"),
    ):
        source.fetch("big", len(CONTENT))


@pytest.mark.parametrize("fault", [cut(1000), length(len(CONTENT) + 1)])
def test_an_answer_that_breaks_off_is_a_reason_to_try_again(store, fault):
    store.always = fault
    with (
        HttpSource(store.url, ca=store.ca) as source,
        pytest.raises(UnreachableError, match="breaks off"),
    ):
        # The limit has room for the length that is a lie.
        source.fetch("big", len(CONTENT) + 1)


def test_chunks_without_an_end_break_off(source, store):
    store.always = chunked(1000, end=False)
    with pytest.raises(UnreachableError, match="breaks off"):
        source.fetch("big", len(CONTENT))


def test_after_an_error_the_next_file_comes_all_the_same(hasty, store):
    store.faults = [cut(10), endless, status(500), drip(0.05)]
    for _ in range(4):
        with pytest.raises((UnreachableError, UptaneError)):
            hasty.fetch("big", len(CONTENT))
    assert hasty.fetch("big", len(CONTENT)) == CONTENT


# who answers


def test_a_server_with_a_foreign_certificate_is_not_asked(store):
    with HttpSource(store.url) as source, pytest.raises(UnreachableError, match="certificate"):
        source.fetch("big", len(CONTENT))
    assert store.requests == []


def test_certificates_are_read_again_only_where_they_were_replaced(store, tmp_path, monkeypatch):
    ca = tmp_path / "trusted.pem"
    ca.write_bytes(store.ca.read_bytes())
    with HttpSource(store.url, ca=ca) as source:
        assert source.fetch("1.root.json", 10) == b"root"
    with MisbehavingStore(tmp_path / "other") as other:
        ca.write_bytes(other.ca.read_bytes())
        with HttpSource(store.url, ca=ca) as source, pytest.raises(UnreachableError):
            source.fetch("1.root.json", 10)
    # The system's, some hundred of them, are read once.
    HttpSource("https://example.invalid").close()
    read = []
    load = ssl.SSLContext.load_default_certs
    monkeypatch.setattr(
        ssl.SSLContext, "load_default_certs", lambda *some: (read.append(some), load(*some))
    )
    for _ in range(20):
        HttpSource("https://example.invalid").close()
    assert read == []


def test_certificates_that_cannot_be_read_are_told(store, tmp_path):
    (tmp_path / "empty.pem").touch()
    for name in ("none.pem", "empty.pem"):
        with pytest.raises(UnreachableError, match=name):
            HttpSource(store.url, ca=tmp_path / name)


def test_without_encryption_only_this_very_machine_is_asked(tmp_path):
    with MisbehavingStore(tmp_path, tls=False) as store:
        store.put("x", b"x")
        with HttpSource(store.url) as source:
            assert source.fetch("x", 1) == b"x"


# through a proxy


def test_a_proxy_is_gone_through(store):
    store.key = KEY
    with Proxy() as proxy, HttpSource(store.url, ca=store.ca, proxy=proxy.url) as source:
        assert source.fetch("big", len(CONTENT)) == CONTENT
        assert proxy.asked == [f"127.0.0.1:{store.port}"]


def test_a_proxy_gets_its_password_and_nobody_sees_it(store, caplog):
    caplog.set_level(logging.DEBUG)
    with Proxy() as proxy:
        url = proxy.url.replace("//", "//user:pass%20word@")
        with HttpSource(store.url, ca=store.ca, proxy=url) as source:
            assert source.fetch("1.root.json", 10) == b"root"
        assert proxy.credentials == ["Basic dXNlcjpwYXNzIHdvcmQ="]
        proxy.refuse = True
        with (
            HttpSource(store.url, ca=store.ca, proxy=url) as source,
            pytest.raises(UnreachableError, match="proxy") as error,
        ):
            source.fetch("1.root.json", 10)
        assert "pass" not in str(error.value) + repr(source) + caplog.text
