"""What an agent of the field was seen to do with data on their way to the cloud, and we do not.

AWS IoT FleetWise Edge 1.3.4, built and probed: it forgets its spool when the process ends without
cleaning up, refuses the newest data once its spool is full, and sends a backlog at once and in no
order of priority when the connection returns.
"""

import subprocess
import sys
import time
from pathlib import Path

from link_help import PATIENT, SOON, batch, soon, upstream

from bordnetz.edge.link import HubLink
from bordnetz.edge.message import Message
from bordnetz.edge.metrics import Metrics
from bordnetz.edge.outbox import Outbox
from bordnetz.edge.pace import Pace, Rate
from bordnetz.edge.sender import Sender

KILO = 1_000


def test_what_was_stored_is_there_after_the_process_ended_without_cleaning_up(tmp_path):
    """There 0 of 20 payloads were left."""
    command = [sys.executable, str(Path(__file__).with_name("lone_outbox.py"))]
    with subprocess.Popen(
        [*command, str(tmp_path / "outbox"), str(KILO)], stdout=subprocess.PIPE, text=True
    ) as process:
        stored = {int(process.stdout.readline()) for _ in range(20)}
        process.kill()
    with Outbox(tmp_path / "outbox", 10_000_000) as outbox:
        found = {entry.sequence for entry in outbox.take(1_000)}
    assert found >= stored == set(range(1, 21))


def test_a_full_outbox_keeps_the_newest(tmp_path):
    """There 13 of thirty were kept, and the last 17 refused."""
    with Outbox(tmp_path / "outbox", 20 * KILO) as outbox:
        numbers = [outbox.put(lambda o, n: Message("batches", bytes(KILO)), 5) for _ in range(30)]
        found = [entry.sequence for entry in outbox.take(1_000)]
    assert len(found) > 13
    assert found == numbers[-len(found) :]
    assert outbox.dropped == {("budget", 5): 30 - len(found)}


async def test_a_backlog_leaves_by_priority_and_at_the_pace(hub, ears, tmp_path, monkeypatch):
    """There all of it left at once, as it had come."""
    monkeypatch.setattr("bordnetz.edge.sender.OUTAGE", 0.0)
    with Outbox(tmp_path / "outbox", 10_000_000) as outbox:
        for _ in range(5):
            for priority in (9, 5, 3):
                outbox.put(lambda o, n, p=priority: batch(p, KILO), priority)
        pace = Pace(ceiling=Rate(1e9, 10))
        async with (
            HubLink(ears, PATIENT, SOON) as link,
            Sender(outbox, link, Metrics(), pace=pace) as sender,
        ):
            await soon(link.up())
            start = time.monotonic()
            await soon(sender.drained())
            assert time.monotonic() - start >= 14 / 10 * 0.95
    arrived = [int(arrival.properties["batch"]) for arrival in await upstream(hub, 15)]
    assert arrived == [3] * 5 + [5] * 5 + [9] * 5
