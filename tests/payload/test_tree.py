"""A folder as a canonical tar: equal trees are equal bytes, and nothing else is taken."""

import io
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bordnetz.payload.entry import FILE, FOLDER, LINK, Entry, padding
from bordnetz.payload.errors import TreeError
from bordnetz.payload.tree import USUAL, Limits, digest, pack, unpack

# A tree in words: a folder is a dictionary, a file (content, executable), a link its target.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\x7f", exclude_categories=["Cc"]),
    min_size=1,
    max_size=130,
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 130)
FILES = st.tuples(st.binary(max_size=1100), st.booleans())
LINKS = st.lists(NAMES, min_size=1, max_size=2).map("/".join)
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        st.one_of(FILES, LINKS),
        lambda inner: st.one_of(inner, st.dictionaries(NAMES, inner, max_size=4)),
        max_leaves=12,
    ),
    max_size=5,
)


def make(folder: Path, tree: dict) -> None:
    folder.mkdir()
    for name, item in tree.items():
        if isinstance(item, dict):
            make(folder / name, item)
        elif isinstance(item, str):
            (folder / name).symlink_to(item)
        else:
            (folder / name).write_bytes(item[0])
            (folder / name).chmod(0o751 if item[1] else 0o604)


def read(folder: Path) -> dict:
    return {
        path.name: (
            str(path.readlink())
            if path.is_symlink()
            else read(path)
            if path.is_dir()
            else (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        )
        for path in folder.iterdir()
    }


def tar(*entries: Entry, content: bytes = b"") -> bytes:
    """A tar of entries that nobody has checked; each file has the same content."""
    data = b""
    for entry in entries:
        data += entry.head()
        if entry.kind == FILE:
            data += content[: entry.size] + bytes(padding(entry.size))
    return data + bytes(1024)


def at(path: str, kind: bytes = FILE, **rest) -> Entry:
    return Entry(kind, tuple(path.encode().split(b"/")), **rest)


@pytest.fixture
def sample(tmp_path) -> Path:
    folder = tmp_path / "sample"
    make(
        folder,
        {
            "b": {"x": (b"x" * 1000, True), "empty": {}},
            "a": (b"", False),
            "b.d": (b"y" * 512, False),
            "link": "b/x",
            "ü" * 60: ("é".encode(), False),
        },
    )
    return folder


# there and back


@settings(max_examples=60)
@given(TREES)
def test_a_tree_comes_back_as_it_was_and_packs_to_the_same_bytes(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("tree")
    make(folder / "old", tree)
    packed = b"".join(pack(folder / "old"))
    unpack(io.BytesIO(packed), folder / "new")
    assert read(folder / "new") == tree
    assert b"".join(pack(folder / "new")) == packed


@settings(max_examples=60)
@given(TREES)
def test_any_tar_reads_it(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("tree")
    make(folder / "old", tree)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pack(folder / "old")))) as archive:
        archive.extractall(folder / "new", filter="tar")
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in archive} <= {(0, 0, "", "", 0)}
    (folder / "new").mkdir(exist_ok=True)
    assert read(folder / "new") == tree


def test_owner_time_and_the_order_of_making_do_not_matter(tmp_path, sample):
    other = tmp_path / "other"
    make(other, dict(reversed(read(sample).items())))
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
    assert digest(other) == digest(sample)


def test_the_bytes_are_these_for_ever(sample):
    # If this fails, deltas against what cars have installed do not fit any more.
    assert digest(sample) == (
        7680,
        "cba3d086f73a913638ea4cf0a852f1fadafa68ccf8b041c3cadf95ec07912511",
    )


def test_two_names_of_one_file_are_two_files(tmp_path):
    make(tmp_path / "one", {"a": (b"x", False), "b": (b"x", False)})
    make(tmp_path / "two", {"a": (b"x", False)})
    (tmp_path / "two" / "b").hardlink_to(tmp_path / "two" / "a")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_what_is_unpacked_has_its_modes_whatever_the_umask(tmp_path, sample):
    before = os.umask(0o077)
    try:
        unpack(io.BytesIO(b"".join(pack(sample))), tmp_path / "new")
    finally:
        os.umask(before)
    modes = [(tmp_path / "new" / name).stat().st_mode & 0o7777 for name in ("", "b", "b/x", "a")]
    assert modes == [0o755, 0o755, 0o755, 0o644]


def test_everything_is_synced_before_it_is_said_to_be_there(tmp_path, sample, monkeypatch):
    synced, sync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda d: (synced.append(Path(f"/proc/self/fd/{d}").readlink()), sync(d))
    )
    new = tmp_path / "new"
    unpack(io.BytesIO(b"".join(pack(sample))), new)
    things = [new, tmp_path, *(p for p in new.rglob("*") if not p.is_symlink())]
    assert sorted(synced) == sorted(things)
    assert synced.index(new / "b" / "x") < synced.index(new / "b") < synced.index(new)


def test_a_large_tree_takes_little_memory(tmp_path):
    make(tmp_path / "old", {str(n): (bytes(1 << 20), False) for n in range(20)})
    with (tmp_path / "tar").open("wb") as file:
        file.writelines(pack(tmp_path / "old"))
    tracemalloc.start()
    with (tmp_path / "tar").open("rb") as file:
        unpack(file, tmp_path / "new")
    digest(tmp_path / "new")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


# what cannot be packed


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "b/../../x", "b/../x", "..", "x\n"])
def test_a_link_that_could_lead_out_is_not_packed(sample, target):
    (sample / "bad").symlink_to(target)
    with pytest.raises(TreeError, match="bad: "):
        digest(sample)


def test_a_link_to_a_neighbour_is_packed(sample):
    (sample / "b" / "good").symlink_to("../a")
    (sample / "b" / "same").symlink_to("..")
    digest(sample)


def test_a_link_that_is_written_in_a_roundabout_way_is_packed_without(tmp_path):
    for name, target in (("one", "./b//x/"), ("two", "b/x")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "l").symlink_to(target)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_what_is_neither_folder_file_nor_link_is_not_packed(sample):
    os.mkfifo(sample / "pipe")
    with pytest.raises(TreeError, match="pipe: is no folder"):
        digest(sample)


def test_names_that_are_not_text_are_not_packed(sample):
    for name in (b"\xff", b"line\nline"):
        path = sample / os.fsdecode(name)
        path.touch()
        with pytest.raises(TreeError, match="rename it"):
            digest(sample)
        path.unlink()


def test_a_tree_that_is_too_large_is_not_packed(sample):
    length, _ = digest(sample)
    assert digest(sample, Limits(entries=7, size=length))
    for limits in (Limits(entries=6), Limits(size=length - 1)):
        with pytest.raises(TreeError, match="more than"):
            digest(sample, limits)


@pytest.mark.parametrize("size", [500, 1500])
def test_a_file_that_changes_while_it_is_packed_is_told(sample, size):
    packing = pack(sample)
    for piece in packing:
        if piece.startswith(b"b/x\0"):
            os.truncate(sample / "b" / "x", size)
            break
    with pytest.raises(TreeError, match="b/x: changes"):
        list(packing)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(TreeError, match="cannot be read"):
        digest(tmp_path / "none")


# what is not unpacked


def refused(data: bytes, folder: Path, limits: Limits = USUAL) -> str:
    with pytest.raises(TreeError) as error:
        unpack(io.BytesIO(data), folder / "new", limits)
    return str(error.value)


@pytest.mark.parametrize(
    "path",
    ["../x", "/x", "a/../x", ".", "..", "a//x", "x\0y", "x\ny", "y" * 256, "a/" * 64 + "x"],
)
def test_a_path_that_leads_elsewhere_is_refused(tmp_path, path):
    assert refused(tar(at("a", FOLDER), at(path)), tmp_path)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("target", ["/etc", "..", "../x", "a/..", "a/../../x", ".", "a//b", "a/"])
def test_a_link_that_leads_out_is_refused(tmp_path, target):
    assert refused(tar(at("a", FOLDER), at("l", LINK, target=target.encode())), tmp_path)


def test_nothing_is_written_through_a_link(tmp_path):
    data = tar(at("a", FOLDER), at("l", LINK, target=b"a"), at("l/x", size=1), content=b"x")
    assert "missing" in refused(data, tmp_path)
    assert not (tmp_path / "new" / "a" / "x").exists()


@pytest.mark.parametrize("kind", [b"1", b"3", b"4", b"6", b"7", b"g", b"L", b"S", b"\0"])
def test_hard_links_devices_and_what_else_a_tar_may_have_are_refused(tmp_path, kind):
    assert "no folder, file or symbolic link" in refused(
        tar(at("a")).replace(b" " + FILE + b"\0", b" " + kind + b"\0", 1), tmp_path
    )


@pytest.mark.parametrize(
    "paths",
    [("a", "a"), ("b", "a"), ("a/x",), ("a.b/", "a/"), ("b/", "b/x", "c", "b/y"), ("é", "a")],
)
def test_a_path_that_comes_twice_too_late_or_without_its_folder_is_refused(tmp_path, paths):
    entries = [at(p.rstrip("/"), FOLDER if p.endswith("/") else FILE) for p in paths]
    assert refused(tar(*entries), tmp_path)


HEADER = tar(at("a", size=3), content=b"abc")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.replace(b"0000644\0", b"0004755\0", 1),
        lambda d: d.replace(b"0000644\0", b"0000600\0", 1),
        lambda d: d[:108] + b"0001750\0" + d[116:],
        lambda d: d[:136] + b"14000000000\0" + d[148:],
        lambda d: d[:265] + b"root" + d[269:],
        lambda d: d.replace(b"ustar\00000", b"ustar  \0", 1),
        lambda d: d[:148] + b"0000000\0" + d[156:],
        lambda d: d[:500] + b"x" + d[501:],
        lambda d: d[:600] + b"x" + d[601:],
        lambda d: d + b"x",
        lambda d: d + bytes(512),
        lambda d: d[:-512],
        lambda d: d[:-1],
        lambda d: d[:1024],
        lambda d: d[:515],
        lambda d: d[:512],
        lambda d: d[:100],
        lambda d: b"",
        lambda d: d[:1024] + bytes(512) + d,
        lambda d: tar(at("a", FOLDER, size=512)),
        lambda d: tar(at("a", LINK)),
        lambda d: tar(at("a", target=b"b")),
    ],
)
def test_what_pack_would_not_have_written_is_refused(tmp_path, change: Callable[[bytes], bytes]):
    assert refused(change(HEADER), tmp_path)


@pytest.mark.parametrize(
    "records",
    [
        b"8 path=a\n",
        b"10 mtime=1\n" + b"8 path=\xc3\n",
        b"011 path=\xc3\xa9\n",
        b"11 path=\xc3\xa9\n11 path=\xc3\xa9\n",
        b"11 path=\xc3\xa9\n9 size=12\n",
        b"9 path=e\n",
        b"",
    ],
)
def test_an_extended_header_has_what_it_needs_and_nothing_else(tmp_path, records):
    good = tar(at("é"))
    block = good[512:1024]
    assert block.rstrip(b"\0") == b"11 path=\xc3\xa9\n"
    bad = records.ljust(512, b"\0")
    assert refused(good[:512] + bad + good[1024:], tmp_path)


def test_an_extended_header_is_bounded_before_it_is_read(tmp_path):
    head = bytearray(tar(at("é"))[:512])
    head[124:136] = b"77777777777\0"
    assert "too long" in refused(bytes(head) + bytes(10_000), tmp_path)


def test_counts_and_bytes_are_bounded(tmp_path):
    data = tar(*(at(f"{n:03}", size=10) for n in range(100)), content=bytes(10))
    assert "more than 99 entries" in refused(data, tmp_path, Limits(entries=99))
    (tmp_path / "second").mkdir()
    limit = Limits(size=len(data) - 1)
    assert "more than" in refused(data, tmp_path / "second", limit)
    unpack(io.BytesIO(data), tmp_path / "third", Limits(100, len(data)))


def test_a_file_that_states_more_than_there_is_takes_no_room(tmp_path):
    data = at("a", size=1 << 30).head() + bytes(2000)
    assert "more than" in refused(data, tmp_path, Limits(size=1 << 30))
    assert not (tmp_path / "new" / "a").exists()


def test_a_folder_with_something_in_it_is_not_touched(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_bytes(b"mine")
    assert "not empty" in refused(HEADER, tmp_path)
    assert read(tmp_path / "new") == {"mine": (b"mine", False)}


@given(st.data())
def test_a_damaged_tar_is_refused_or_the_same_tree(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("tree")
    good = bytearray(
        tar(at("a", FOLDER), at("a/é", size=3), at("l", LINK, target=b"a"), content=b"abc")
    )
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(io.BytesIO(bytes(good)), folder / "new")
    except TreeError:
        return
    assert b"".join(pack(folder / "new")) == bytes(good)
