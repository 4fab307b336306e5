"""The outbox against a model that is a dictionary, with crashes in between."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Outbox

BUDGET = 120_000
SIZES = st.sampled_from([0, 100, 3_000, 9_000, 30_000, 70_000])
DIGESTS = st.sampled_from([b"a", b"b"])


class OutboxMachine(RuleBasedStateMachine):
    """Knows what was committed and what was acknowledged; the disk may only ever hold more."""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp())
        self.generation = 0
        self.outbox = Outbox(self.path, BUDGET)
        self.id = self.outbox.id
        self.committed = {}
        self.acknowledged = {}
        self.taken = {}
        self.highest = 0

    @property
    def path(self):
        return self.folder / f"{self.generation}"

    def teardown(self):
        if hasattr(self, "outbox"):
            self.outbox.close()
            shutil.rmtree(self.folder)

    @rule(
        size=SIZES,
        priority=st.integers(0, 9),
        content=st.none() | DIGESTS,
        needs=st.none() | DIGESTS,
    )
    def put(self, size, priority, content, needs):
        waiting = next((n for n, m in self.committed.items() if content and m[1] == content), None)
        before = {**self.committed}
        dropped = self.outbox.dropped.copy()
        sequence = self.outbox.put(
            lambda outbox, number: Message(
                "o", bytes(size), properties={"n": f"{outbox}-{number}"}
            ),
            priority,
            content=content,
            needs=needs,
        )
        lost = self.outbox.dropped - dropped
        if waiting is not None:
            assert sequence == waiting
            assert not lost
            return
        if sequence is None:
            assert lost == {("budget", priority): 1}
            return
        assert sequence > self.highest
        self.highest = sequence
        gone = {n for n in before if not self.has(n)}
        assert lost.total() == len(gone)
        for number in gone:
            mine, digest, _ = before[number]
            assert lost["budget", mine] > 0
            assert mine >= priority
            assert number not in self.taken
            # A dictionary goes only with the last of those that need it.
            assert not any(m[2] == digest for n, m in before.items() if digest and n not in gone), (
                "needed"
            )
            assert digest is None or digest != needs
            # Nothing older of the same priority stays, unless it was needed or on its way.
            for other, (theirs, content_of, _) in before.items():
                if theirs == mine and other < number and other not in gone:
                    assert other in self.taken or content_of is not None
            del self.committed[number]
        self.committed[sequence] = (priority, content, needs)

    def has(self, number):
        return number in self.outbox._index

    @rule(limit=st.integers(0, 4))
    def take(self, limit):
        order = sorted((m[0], n) for n, m in self.committed.items() if n not in self.taken)
        entries = self.outbox.take(limit)
        assert [(entry.priority, entry.sequence) for entry in entries] == order[:limit]
        for entry in entries:
            assert entry.message.properties == {"n": f"{self.id}-{entry.sequence}"}
            self.taken[entry.sequence] = entry

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def release(self, data):
        self.outbox.release(self.taken.pop(data.draw(st.sampled_from(sorted(self.taken)))))

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def acknowledge(self, data):
        sequence = data.draw(st.sampled_from(sorted(self.taken)))
        self.outbox.acknowledge(self.taken.pop(sequence))
        self.acknowledged[sequence] = self.committed.pop(sequence)

    @rule()
    def flush(self):
        self.outbox.flush()

    @rule()
    def reopen(self):
        self.outbox.close()
        self.outbox = Outbox(self.path, BUDGET)
        self.taken.clear()

    @rule()
    def crash(self):
        """The process is gone; what it had written is what the next one finds."""
        old = self.path
        self.generation += 1
        shutil.copytree(old, self.path)
        self.outbox.close()
        self.outbox = Outbox(self.path, BUDGET)
        self.taken.clear()
        # Acknowledgements may be lost, and only they.
        for number in set(self.outbox._index) - set(self.committed):
            self.committed[number] = self.acknowledged.pop(number)

    @invariant()
    def holds_what_was_committed(self):
        if hasattr(self, "outbox"):
            assert set(self.outbox._index) == set(self.committed)
            assert self.outbox.id == self.id
            assert self.outbox.used <= BUDGET
            assert len(self.outbox) == len(self.committed)
            assert self.outbox.ready == len(self.committed) - len(self.taken)


OutboxMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, print_blob=True
)
TestOutbox = OutboxMachine.TestCase
