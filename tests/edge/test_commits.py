"""Messages that come together are stored together, and none waits longer than it has to."""

import asyncio
import time

import pytest

from bordnetz.edge.commits import EARLY, Commits
from bordnetz.edge.message import MAX_PACKET, Message, MessageTooLargeError
from bordnetz.edge.outbox import Letter, Outbox, OutboxError

PATIENCE = 60
LONG = 1_000_000.0
"""Seconds that no test can wait."""


class Counted(Outbox):
    """Counts commits."""

    commits = 0

    def put_all(self, letters):
        self.commits += 1
        return super().put_all(letters)


def letter(body=b"x", content=None):
    return Letter(lambda *_: Message("o", body), 5, content)


@pytest.fixture
async def outbox(tmp_path):
    with Counted(tmp_path / "outbox", 1_000_000) as opened:
        yield opened


@pytest.fixture
async def begin(outbox):
    tasks = []

    def start(pause, stored=lambda _: None):
        async def apart(work):
            return work()

        commits = Commits(outbox, apart, pause, stored)
        tasks.append(asyncio.create_task(commits.run()))
        return commits

    yield start
    for task in tasks:
        task.cancel()


async def test_the_first_message_is_stored_at_once_and_what_comes_in_the_pause_after_it(
    outbox, begin
):
    commits = begin(0.5)
    assert await asyncio.wait_for(commits.put(letter(), 1), PATIENCE) == 1
    began = time.monotonic()
    several = asyncio.gather(*(commits.put(letter(), 1) for _ in range(20)))
    assert await asyncio.wait_for(several, PATIENCE) == list(range(2, 22))
    assert time.monotonic() - began >= 0.3
    assert outbox.commits == 2


async def test_many_bytes_do_not_wait(outbox, begin):
    commits = begin(LONG)
    await asyncio.wait_for(commits.put(letter(), 1), PATIENCE)
    several = asyncio.gather(*(commits.put(letter(), EARLY // 4) for _ in range(4)))
    assert await asyncio.wait_for(several, PATIENCE) == [2, 3, 4, 5]
    assert outbox.commits == 2


async def test_what_waits_at_the_end_is_stored(outbox, begin):
    commits = begin(LONG)
    await asyncio.wait_for(commits.put(letter(), 1), PATIENCE)
    last = asyncio.create_task(commits.put(letter(), 1))
    await asyncio.sleep(0)
    await commits.store()
    assert await asyncio.wait_for(last, PATIENCE) == 2


async def test_one_that_cannot_be_stored_costs_the_others_nothing(outbox, begin):
    told = []
    commits = begin(0, told.extend)
    results = await asyncio.wait_for(
        asyncio.gather(
            commits.put(letter(b"d", b"d"), 1),
            commits.put(letter(bytes(MAX_PACKET)), 1),
            commits.put(letter(b"d", b"d"), 1),
            commits.put(letter(), 1),
            return_exceptions=True,
        ),
        PATIENCE,
    )
    assert isinstance(results[1], MessageTooLargeError)
    assert results[0] == results[2] == 1
    assert results[3] is not None
    assert len(told) == 2
    assert outbox.commits == 1


async def test_whoever_gave_up_waiting_has_no_message_stored(outbox, begin):
    commits = begin(LONG)
    await asyncio.wait_for(commits.put(letter(), 1), PATIENCE)
    impatient = asyncio.create_task(commits.put(letter(), 1))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    await commits.store()
    assert len(outbox) == 1


async def test_a_disk_that_fails_is_told_to_all_of_them(outbox, begin, monkeypatch):
    commits = begin(0)

    def broken(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("bordnetz.edge.segments._write", broken)
        several = asyncio.gather(
            *(commits.put(letter(), 1) for _ in range(3)), return_exceptions=True
        )
        assert [type(one) for one in await asyncio.wait_for(several, PATIENCE)] == [OutboxError] * 3
    assert await asyncio.wait_for(commits.put(letter(), 1), PATIENCE) is not None
    assert len(outbox) == 1


async def test_nobody_waits_for_ever_when_the_work_is_cut_off(outbox):
    under_way = asyncio.Event()

    async def apart(work):
        under_way.set()
        await asyncio.Event().wait()

    commits = Commits(outbox, apart, 0, lambda _: None)
    running = asyncio.create_task(commits.run())
    waiting = asyncio.create_task(commits.put(letter(), 1))
    await asyncio.wait_for(under_way.wait(), PATIENCE)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, PATIENCE)
