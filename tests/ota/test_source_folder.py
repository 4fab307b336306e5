"""A stick is as foreign as a server."""

import os
from pathlib import Path

import pytest

from bordnetz.ota.folder import FolderSource
from bordnetz.ota.source import ChangedError, MissingError, RefusedError, UnreachableError
from bordnetz.uptane.errors import Kind, UptaneError


@pytest.fixture
def stick(tmp_path) -> Path:
    folder = tmp_path / "stick"
    (folder / "image").mkdir(parents=True)
    (folder / "image" / "1.root.json").write_bytes(b"root")
    (tmp_path / "outside").write_bytes(b"outside")
    return folder


def test_a_file_is_read_as_it_lies_there(stick):
    assert FolderSource(stick / "image").fetch("1.root.json", 4) == b"root"
    assert FolderSource(stick).fetch("image/1.root.json", 4) == b"root"


def test_a_stream_begins_anywhere_and_knows_its_file_again(stick):
    source = FolderSource(stick / "image")
    with source.open("1.root.json", 4) as stream:
        tag = stream.tag
        assert (stream.read(2), stream.read(9), stream.read(9)) == (b"ro", b"ot", b"")
    with source.open("1.root.json", 4, 1, tag) as stream:
        assert (stream.offset, stream.length, stream.read(9)) == (1, 4, b"oot")
    (stick / "image" / "1.root.json").write_bytes(b"ROOTS")
    with pytest.raises(ChangedError):
        source.open("1.root.json", 5, 1, tag)


def test_what_is_not_there_is_missing(stick):
    for name in ("2.root.json", "director/1.root.json", "x" * 300):
        with pytest.raises(MissingError):
            FolderSource(stick / "image").fetch(name, 4)


def test_a_stick_that_is_not_plugged_in_is_tried_again(tmp_path):
    with pytest.raises(UnreachableError, match="plugged in"):
        FolderSource(tmp_path / "none").fetch("x", 1)


@pytest.mark.parametrize("name", ["../outside", "image/../../outside", "/etc/passwd", "", "."])
def test_no_name_leads_out_of_the_folder(stick, name):
    with pytest.raises(MissingError):
        FolderSource(stick).fetch(name, 100)


def test_no_link_is_followed(stick, tmp_path):
    (stick / "link").symlink_to(tmp_path / "outside")
    (stick / "inner").symlink_to("image/1.root.json")
    (stick / "folder").symlink_to(tmp_path)
    for name in ("link", "inner", "folder/outside"):
        with pytest.raises(RefusedError, match="link"):
            FolderSource(stick).fetch(name, 100)


def test_nothing_but_files_is_read(stick):
    os.mkfifo(stick / "pipe")
    for name in ("pipe", "image"):
        with pytest.raises(RefusedError, match="not a file"):
            FolderSource(stick).fetch(name, 100)


def test_a_file_longer_than_its_limit_is_endless(stick):
    with pytest.raises(UptaneError) as error:
        FolderSource(stick / "image").fetch("1.root.json", 3)
    assert error.value.kind is Kind.ENDLESS_DATA


def test_a_file_that_grows_while_it_is_read_ends_at_its_limit():
    # This one says that it has no bytes, and has many.
    with pytest.raises(UptaneError) as error:
        FolderSource(Path("/proc/self")).fetch("maps", 100)
    assert error.value.kind is Kind.ENDLESS_DATA


def test_a_file_that_is_cut_while_it_is_read_is_tried_again(stick):
    file = stick / "big"
    file.write_bytes(bytes(1000))
    with FolderSource(stick).open("big", 1000) as stream:
        stream.read(100)
        os.truncate(file, 500)
        stream.read(1000)
        with pytest.raises(UnreachableError, match="500 bytes where it had 1000"):
            stream.read(1000)


def test_a_stick_pulled_out_while_it_is_read_is_tried_again():
    # Reading this file at its beginning is an input/output error, as of a stick that is gone.
    with (
        FolderSource(Path("/proc/self")).open("mem", 100) as stream,
        pytest.raises(UnreachableError, match="still plugged in"),
    ):
        stream.read(10)
