from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bordnetz.can import cache as cache_module
from bordnetz.can.cache import Cache
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.dbc import parse
from bordnetz.can.errors import CatalogueError
from bordnetz.can.vehicle import Vehicle

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "dbc"
PATH = Path("/car/bus.dbc")
TEXT = """VERSION ""
BU_: X
BO_ 256 Mux: 8 X
 SG_ Selector M : 0|8@1+ (1,0) [0|0] "" X
 SG_ One m1 : 8|16@0- (0.1,-40) [-40|1e3] "°C" X
 SG_ AlsoOne m1 : 24|8@1+ (1,0) [0|0] "" X
 SG_ Two m2M : 8|8@1+ (2,5) [0|0] "" X
 SG_ Late : 60|8@1+ (1,0) [0|0] "" X
BO_ 2147484416 Wide: 16 X
 SG_ Float : 0|32@1- (1,0) [0|0] "V" X
 SG_ Whole : 32|64@1+ (1,0) [0|0] "" X
CM_ SG_ 256 One "a text";
VAL_ 256 Selector 1 "eins" 2 "zwei \\"und\\"" ;
SIG_VALTYPE_ 2147484416 Float : 1;
SG_MUL_VAL_ 256 One Selector 1-3, 7-7;
""".encode("cp1252")


def kept(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_a_kept_file_is_what_parsing_gave_to_the_last_type(tmp_path: Path) -> None:
    files = {PATH: TEXT} | {file: file.read_bytes() for file in (ROOT / "dbc").glob("*.dbc")}
    for path, content in files.items():
        folder = tmp_path / path.name
        first, second = Cache(folder), Cache(folder)
        expected = parse(content, path)
        assert first.parse(content, path) == expected
        assert repr(second.parse(content, path)) == repr(expected)
        assert (first.used, first.parsed) == (0, 1)
        assert (second.used, second.parsed) == (1, 0)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the databases of the real world are not here")
def test_databases_of_the_real_world_are_kept_to_the_last_type(tmp_path: Path) -> None:
    for path in sorted(SHARED.rglob("*.dbc")):
        content = path.read_bytes()
        try:
            expected = parse(content, path)
        except CatalogueError:
            continue
        folder = tmp_path / path.stem
        Cache(folder).parse(content, path)
        assert repr(Cache(folder).parse(content, path)) == repr(expected), path


def test_signals_of_a_branch_share_it_as_before(tmp_path: Path) -> None:
    Cache(tmp_path).parse(TEXT, PATH)
    ((mux, _), _) = Cache(tmp_path).parse(TEXT, PATH)
    plain = [field.branch for field in mux.fields if not field.branch]
    assert len(plain) > 0
    assert len({id(branch) for branch in plain}) == 1


def test_a_kept_file_serves_the_same_content_elsewhere(tmp_path: Path) -> None:
    Cache(tmp_path).parse(TEXT, PATH)
    other = Path("/bundle/other.dbc")
    cache = Cache(tmp_path)
    messages, problems = cache.parse(TEXT, other)
    assert cache.used == 1
    assert {message.file for message in messages} == {other}
    assert {problem.file for problem in problems} == {other}


def test_another_content_is_parsed(tmp_path: Path) -> None:
    Cache(tmp_path).parse(TEXT, PATH)
    cache = Cache(tmp_path)
    (message, _), _ = cache.parse(TEXT.replace(b"Mux", b"Box"), PATH)
    assert message.name == "Box"
    assert (cache.used, cache.parsed, cache.damaged) == (0, 1, 0)


def test_another_version_parses_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cache(tmp_path).parse(TEXT, PATH)
    monkeypatch.setattr(cache_module, "__version__", "999")
    cache_module.digest_of_code.cache_clear()
    try:
        cache = Cache(tmp_path)
        cache.parse(TEXT, PATH)
    finally:
        cache_module.digest_of_code.cache_clear()
    assert (cache.used, cache.parsed, cache.damaged) == (0, 1, 0)


def damages(content: bytes) -> dict[str, bytes]:
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    strange = {
        "no json": b"{",
        "json of something else": b"[]",
        "columns missing": b"{}",
        "columns of unequal length": content[32:].replace(b'"sizes":[', b'"sizes":[9,'),
        "an unknown kind": content[32:].replace(b'"kind":[', b'"kind":[77,'),
        "nested beyond reason": b"[" * 100_000,
    }
    return {
        "empty": b"",
        "cut off": content[: len(content) // 2],
        "a bit flipped": bytes(flipped),
        "longer": content + b" ",
    } | {name: hashlib.sha256(body).digest() + body for name, body in strange.items()}


def test_a_damaged_file_is_counted_parsed_anew_and_replaced(tmp_path: Path) -> None:
    expected = Cache(tmp_path).parse(TEXT, PATH)
    good = kept(tmp_path).read_bytes()
    for name, content in damages(good).items():
        kept(tmp_path).write_bytes(content)
        cache = Cache(tmp_path)
        assert cache.parse(TEXT, PATH) == expected, name
        assert (cache.used, cache.parsed, cache.damaged, cache.failed) == (0, 1, 1, 0), name
        assert kept(tmp_path).read_bytes() == good, name


def test_where_nothing_can_be_kept_parsing_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "folder")
    assert cache.parse(TEXT, PATH) == parse(TEXT, PATH)
    assert (cache.parsed, cache.failed) == (1, 1)


def test_a_file_that_is_no_database_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept")
    for _ in range(2):
        with pytest.raises(CatalogueError, match=r"bus\.dbc: line 1"):
            cache.parse(b"hello", PATH)
    assert cache.parsed == 2
    assert not (tmp_path / "kept").exists()


def test_the_oldest_files_make_room_whatever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Cache(tmp_path).parse(TEXT, PATH)
    size = kept(tmp_path).stat().st_size
    os.utime(kept(tmp_path), (2_000_000, 2_000_000))
    (tmp_path / "left behind").write_bytes(bytes(size))
    os.utime(tmp_path / "left behind", (1_000_000, 1_000_000))
    monkeypatch.setattr(cache_module, "MOST_BYTES", 2 * size + 100)
    Cache(tmp_path).parse(TEXT.replace(b"Mux", b"Box"), PATH)
    assert not (tmp_path / "left behind").exists()
    assert len(list(tmp_path.iterdir())) == 2
    Cache(tmp_path).parse(TEXT.replace(b"Mux", b"Fux"), PATH)
    cache = Cache(tmp_path)
    cache.parse(TEXT.replace(b"Mux", b"Box"), PATH)
    cache.parse(TEXT, PATH)
    assert (cache.used, cache.parsed) == (1, 1)


def test_a_catalogue_from_kept_files_is_the_same(tmp_path: Path) -> None:
    vehicle = Vehicle.load(ROOT / "dbc" / "vehicle.toml")
    expected = Catalogue.load(vehicle)
    assert Catalogue.load(vehicle, Cache(tmp_path).parse) == expected
    cache = Cache(tmp_path)
    assert Catalogue.load(vehicle, cache.parse) == expected
    assert (cache.used, cache.parsed) == (3, 0)
