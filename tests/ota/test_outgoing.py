"""What the module tells the hub: one final report an attempt, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from bordnetz.edge.outbox import Outbox, OutboxError
from bordnetz.ota.outgoing import Outgoing

REPORT = {"attempt": "1a", "campaign": "autumn", "result": "succeeded", "targets": {"maps": {}}}


class Ends:
    """An outbox that outlives the process, and what the hub has of it."""

    def __init__(self, path):
        self.outbox = Outbox(path, 1 << 20)
        self.fails = False
        self.hub = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.counted = []

    async def put(self, make, priority, *, content=None, needs=None):
        if self.fails:
            raise OutboxError("the disk is full")
        return self.outbox.put(make, priority, content=content, needs=needs)

    def report(self, name, value):
        """Reported properties are not looked at here."""

    def process(self):
        """A new life of the process."""
        edge = SimpleNamespace(put=self.put, report=self.report)
        return Outgoing(edge, self.loop, self.counted.append)

    def leaves(self):
        """The hub takes all that waits, and the disk has it that it did."""
        done = Future()

        def take():
            for entry in self.outbox.take(100):
                self.hub.append(entry.message)
                self.outbox.acknowledge(entry)
            self.outbox.flush()
            done.set_result(None)

        self.loop.call_soon_threadsafe(take)
        done.result(60)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.outbox.close()


@pytest.fixture
def ends(fast_folder):
    ends = Ends(fast_folder / "outbox")
    yield ends
    ends.close()


def test_a_final_report_that_waits_is_not_stored_again_by_another_process(ends):
    ends.process().final(REPORT)
    ends.process().final(REPORT)
    ends.leaves()
    assert [json.loads(one.body)["attempt"] for one in ends.hub] == ["1a"]


def test_a_final_report_that_has_left_is_not_stored_again_by_the_same_process(ends):
    outgoing = ends.process()
    outgoing.final(REPORT)
    ends.leaves()
    # The journal did not take it, so the engine hands it over once more.
    outgoing.final(REPORT)
    ends.leaves()
    assert len(ends.hub) == 1
    assert ends.counted == [REPORT]


def test_a_final_report_that_a_crash_has_leave_twice_has_the_same_name_and_words(ends):
    ends.process().final(REPORT)
    ends.leaves()
    ends.process().final(REPORT)
    ends.leaves()
    first, second = ends.hub
    assert first == second
    assert first.properties["id"] == "final-1a"


def test_a_final_report_that_was_not_stored_is_handed_over_again(ends):
    outgoing = ends.process()
    ends.fails = True
    with pytest.raises(OutboxError):
        outgoing.final(REPORT)
    ends.fails = False
    outgoing.final(REPORT)
    ends.leaves()
    assert len(ends.hub) == 1


def test_every_other_message_has_a_name_of_its_own(ends):
    outgoing = ends.process()
    for word in ("downloading", "waiting", "downloading"):
        outgoing.state({"state": word})
    outgoing.manifest(b"{}")
    outgoing.manifest(b"{}")
    ends.leaves()
    assert len({one.properties["id"] for one in ends.hub}) == len(ends.hub) == 5


def test_idle_is_no_event_and_progress_neither(ends):
    outgoing = ends.process()
    outgoing.state({"state": "idle"})
    outgoing.state({"state": "downloading", "progress": {"received": 1}})
    outgoing.state({"state": "downloading", "progress": {"received": 2}})
    ends.leaves()
    (event,) = [json.loads(one.body) for one in ends.hub]
    assert event == {"event": "state", "state": "downloading"}
