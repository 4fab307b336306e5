from __future__ import annotations

import asyncio

import pytest

from bordnetz.laptop.hub.faults import FaultError, Faults
from bordnetz.laptop.hub.paths import PathError, parse_patch
from bordnetz.laptop.hub.store import UPSTREAM, Stored
from bordnetz.laptop.hub.topics import Event
from bordnetz.laptop.hub.upstream import Upstream, UpstreamError, UpstreamWriter


def _message(body: bytes, number: int = 1) -> Stored:
    event = Event("batches", {"schema": "1"}, {"outputName": "batches", "connectionModuleId": "a"})
    return Stored(number, UPSTREAM, 0, 9e9, 1234.5, "a", event, body)


def _write(folder, *bodies: bytes) -> UpstreamWriter:
    writer = UpstreamWriter(folder)
    for body in bodies:
        writer.append(_message(body))
    return writer


def test_what_was_written_is_read(tmp_path):
    _write(tmp_path, b"x" * 4096, b"").close()
    upstream = Upstream(tmp_path)
    first, second = upstream.messages()
    assert upstream.body(first) == b"x" * 4096
    assert upstream.body(second) == b""
    assert (first.n, first.module, first.output, first.time) == (1, "a", "batches", 1234.5)
    assert first.metered == 4096 + len("batchesschema1")
    assert (first.blocks, second.blocks) == (2, 1)
    assert (tmp_path / "00000002.bin").read_bytes() == b""


def test_a_writer_continues_behind_a_line_torn_by_a_crash(tmp_path):
    _write(tmp_path, b"one", b"two").close()
    index = tmp_path / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-7])
    (tmp_path / "00000002.bin").write_bytes(b"a body that is longer than the next")
    assert [a.n for a in Upstream(tmp_path).messages()] == [1]
    _write(tmp_path, b"again").close()
    upstream = Upstream(tmp_path)
    assert [upstream.body(a) for a in upstream.messages()] == [b"one", b"again"]


def test_a_body_that_was_changed_is_noticed(tmp_path):
    _write(tmp_path, b"one").close()
    (tmp_path / "00000001.bin").write_bytes(b"on")
    upstream = Upstream(tmp_path)
    (arrival,) = upstream.messages()
    with pytest.raises(UpstreamError, match="2 bytes, the index says 3"):
        upstream.body(arrival)
    (tmp_path / "00000001.bin").unlink()
    with pytest.raises(UpstreamError, match="the index names it"):
        upstream.body(arrival)


def test_a_foreign_line_is_an_error(tmp_path):
    (tmp_path / "index.jsonl").write_text('{"n": 1}\n')
    with pytest.raises(UpstreamError, match="not the hub's"):
        list(Upstream(tmp_path).messages())


async def test_a_reader_follows_what_is_written_later(tmp_path):
    seen = asyncio.Queue()

    async def follow() -> None:
        async for arrival in Upstream(tmp_path).follow(after=1):
            seen.put_nowait(arrival.n)

    task = asyncio.create_task(follow())
    writer = _write(tmp_path, b"1", b"2")
    assert await seen.get() == 2
    writer.append(_message(b"3"))
    assert await seen.get() == 3
    task.cancel()
    writer.close()


def test_a_fault_for_one_module_does_not_strike_another():
    faults = Faults()
    faults.arm("refuse-auth", module="a")
    assert faults.strike("refuse-auth", "a")
    assert not faults.strike("refuse-auth", "b")
    faults.disarm("refuse-auth", "a")
    assert not faults.strike("refuse-auth", "a")


def test_a_counted_fault_strikes_so_often():
    faults = Faults()
    faults.arm("withhold-puback", count=2)
    assert [faults.strike("withhold-puback", "a") for _ in range(3)] == [True, True, False]
    assert list(faults) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nonsense",), "unknown fault"),
        (("slow",), "needs a number"),
        (("go-silent", 5), "takes no value"),
        (("slow", 0), "between 1 and"),
        (("refuse-auth", None, None, 0), "never strike"),
        (("upstream-offline", None, "a"), "whole hub"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(arguments, reason):
    with pytest.raises(FaultError, match=reason):
        Faults().arm(*arguments)
    with pytest.raises(FaultError, match="unknown"):
        Faults().disarm("nonsense")


def test_paths_and_values_make_a_patch(tmp_path):
    file = tmp_path / "part.json"
    file.write_text('{"c": [1, 2]}')
    changes = ["a.b=1", "a.c=true", "a.d=null", "word=two words", f"part=@{file}", "x=a=b"]
    assert parse_patch(changes) == {
        "a": {"b": 1, "c": True, "d": None},
        "word": "two words",
        "part": {"c": [1, 2]},
        "x": "a=b",
    }
    assert parse_patch([f"=@{file}"]) == {"c": [1, 2]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["novalue"], "not path=value"),
        (["a..b=1"], "empty key"),
        (["a=1", "a.b=2"], "leads into the value"),
        (["=5"], "JSON object"),
        (["a=@/nowhere/at/all"], "No such file"),
    ],
)
def test_a_wrong_argument_is_refused(changes, reason):
    with pytest.raises(PathError, match=reason):
        parse_patch(changes)
