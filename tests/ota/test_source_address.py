"""URLs: what is one, where a name goes, and that nobody sees what is in it."""

import pytest

from bordnetz.ota.address import Address, AddressError
from bordnetz.ota.source import MissingError


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://h/a/b?sig=x%2B", "/a/b/n.json?sig=x%2B"),
        ("https://h/a/b/?sig=x", "/a/b/n.json?sig=x"),
        ("https://h?sig=x", "/n.json?sig=x"),
        ("https://h/", "/n.json"),
        ("https://h:8443/a%20b", "/a%20b/n.json"),
        ("https://[::1]:8443/a", "/a/n.json"),
    ],
)
def test_a_name_goes_behind_the_path_and_before_the_query(url, target):
    assert Address(url).target("n.json") == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/secret",
        "ftp://h/secret",
        "https:///secret",
        "https://h:port/secret",
        "https://h:99999/secret",
        "https://[secret/x",
        "https://user:secret@h/",
        "https://h/secret#x",
        "https://h/sec ret",
        "https://h/secret\n",
        "https://h/sécret",
        "https://h/a/../secret",
        "https://h/\\secret",
        "https://h/" + "secret" * 1000,
    ],
)
def test_what_is_no_url_of_a_folder_is_refused_without_repeating_it(url):
    with pytest.raises(AddressError) as error:
        Address(url)
    assert "secret" not in str(error.value) + repr(error.value.__cause__)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_http_is_good_enough_for_this_machine(host):
    assert Address(f"http://{host}:8000/x").root == f"http://{host}:8000"


@pytest.mark.parametrize("host", ["h", "10.0.0.1", "localhost.h", "127.0.0.1.h", "[::2]"])
def test_http_to_elsewhere_must_be_allowed(host):
    with pytest.raises(AddressError, match="https"):
        Address(f"http://{host}/x")
    assert Address(f"http://{host}/x", plain=True).port == 80


def test_only_scheme_host_and_port_are_seen():
    address = Address("https://h/director/VEHICLE?sig=SECRET")
    for shown in (str(address), repr(address), f"{address}", f"{address!r}", f"{[address]}"):
        assert "https://h:443" in shown
        assert "VEHICLE" not in shown
        assert "SECRET" not in shown


def test_an_object_has_no_dictionary_that_a_dump_would_show():
    assert not hasattr(Address("https://h/?sig=SECRET"), "__dict__")


def test_a_slash_within_a_name_parts_segments_and_everything_else_is_quoted():
    assert Address("https://h/t").target("a b/c?d#e%2f") == "/t/a%20b/c%3Fd%23e%252f"


def test_a_name_that_is_too_long_is_none():
    with pytest.raises(MissingError):
        Address("https://h/t").target("x" * 1025)
