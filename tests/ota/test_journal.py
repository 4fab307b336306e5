"""The job engine's memory on a real disk."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_installer import NOW, target, wanted

from bordnetz.edge.durable import LockedError
from bordnetz.ota import journal as journal_module
from bordnetz.ota.attempt import Attempt, Failure, Member, Verb
from bordnetz.ota.database import DatabaseError
from bordnetz.ota.journal import Failed, Journal
from bordnetz.ota.states import Result


def attempt(number: int = 1, campaign: str = "autumn", ecus: str = "ab") -> Attempt:
    verified = wanted(*(target(ecu, 2) for ecu in ecus), id=campaign)
    members = tuple(Member(target=one, old=None) for one in verified.targets)
    return Attempt(id=f"{number}", campaign=verified.campaign, members=members)


@pytest.fixture
def path(fast_folder):
    return fast_folder / "journal.db"


@pytest.fixture
def journal(path):
    journal = Journal.open(path)
    yield journal
    journal.close()


def test_attempts_outlive_the_process_in_their_order(path):
    journal = Journal.open(path)
    first, second = attempt(7), attempt(3)
    journal.add([first, second])
    changed = first.put(first.member("a").begin(Verb.STAGE).end(Verb.STAGE, 1.25, "boot"))
    journal.save(changed)
    journal.close()
    journal = Journal.open(path)
    assert journal.attempts() == [changed, second]
    journal.close()


def test_a_new_journal_is_made_in_one_transaction(path, monkeypatch):
    connect, said = sqlite3.connect, []

    def overheard(name, **settings):
        db = connect(name, **settings)
        db.set_trace_callback(said.append)
        return db

    monkeypatch.setattr(sqlite3, "connect", overheard)
    Journal.open(path).close()
    made = [line.split()[0] for line in said[: said.index("COMMIT")]]
    assert made[0] == "BEGIN;"
    assert made.count("CREATE") == journal_module._SCHEMA.count("CREATE TABLE")
    assert not [line for line in said[len(made) :] if line.startswith("CREATE")]


def test_a_closed_attempt_leaves_its_report_alone(journal):
    one = attempt().but(report={"attempt": "1", "result": "succeeded"})
    journal.add([one])
    journal.close_attempt(one)
    assert journal.attempts() == []
    assert journal.report("1") == {"attempt": "1", "result": "succeeded"}
    assert journal.report("2") is None


def test_history_is_bounded_and_the_newest_come_first(journal):
    for number in range(journal_module.KEPT + 20):
        one = attempt(number).but(report={"attempt": str(number)})
        journal.add([one])
        journal.close_attempt(one)
    reports = journal.reports(10_000)
    assert len(reports) == journal_module.KEPT
    assert reports[0] == {"attempt": str(journal_module.KEPT + 19)}
    assert len(journal.reports(5)) == 5


def test_a_failed_version_waits_for_a_higher_counter(journal):
    one = attempt()
    journal.add([one])
    bad = target("a", 2)
    failure = Failure(result=Result.FAILED, kind="install", words="no")
    journal.save(one.fail(failure), failed=Failed(bad, "it smokes"), now=NOW)
    assert "it smokes; it waits for a higher release counter" in journal.failed(bad, NOW + 10**9)
    assert journal.failed(target("a", 1, content=2), NOW) is not None
    assert journal.failed(target("a", 3, content=2), NOW) is None
    assert journal.failed(target("b", 2), NOW) is None
    assert journal.failed(target("a", 2, content=5), NOW) is None


def test_what_is_not_the_versions_fault_waits_longer_each_time(journal):
    one = attempt()
    journal.add([one])
    bad = target("a", 2)
    now = NOW
    for wait in (3600, 7200, 14400, 28800, 57600, 115200, 115200):
        journal.save(one, failed=Failed(bad, "no way", 3600), now=now)
        assert "tried again later" in journal.failed(bad, now)
        assert journal.failed(bad, now + wait - 1) is not None
        assert journal.failed(bad, now + wait) is None
        now += wait


def test_a_clock_that_was_set_back_does_not_prolong_a_wait(journal):
    one = attempt()
    journal.add([one])
    journal.save(one, failed=Failed(target("a", 2), "no way", 3600), now=NOW + 10**8)
    assert journal.failed(target("a", 2), NOW) is None


def test_release_counters_never_sink(journal):
    one = attempt()
    journal.add([one])
    journal.save(one, counters={"a": 5, "b": 1})
    journal.save(one, counters={"a": 3, "b": 2})
    assert journal.counters() == {"a": 5, "b": 2}


def test_cleaning_up_after_a_lost_journal_is_counted_until_it_is_done(journal):
    assert [journal.begin_sweep() for _ in range(3)] == [0, 1, 2]
    journal.end_sweep()
    assert journal.begin_sweep() is None


def test_bytes_of_a_campaign_are_counted_over_all_attempts(journal):
    first, second = attempt(1), attempt(2)
    journal.add([first, second, attempt(3, "winter")])
    journal.save(first, received=100)
    journal.save(second, received=11)
    assert journal.received("autumn") == 111
    assert journal.received("winter") == 0


def test_what_would_grow_for_ever_does_not(journal, monkeypatch):
    monkeypatch.setattr(journal_module, "_REMEMBERED", 10)
    one = attempt()
    journal.add([one])
    for number in range(30):
        journal.keep_consent(f"campaign-{number}", "{}")
        journal.save(one, failed=Failed(target("a", number), "no"), now=NOW)
    assert journal.consent("campaign-29") == "{}"
    assert journal.consent("campaign-3") is None
    assert journal.failed(target("a", 29), NOW) is not None
    assert journal.failed(target("a", 3), NOW) is None


def test_a_journal_has_one_owner(path, journal):
    with pytest.raises(LockedError, match="in use by another process"):
        Journal.open(path)


def test_an_attempt_that_was_not_written_as_a_whole_is_not_there(journal):
    class Cut(BaseException):
        pass

    one = attempt()
    journal.add([one])

    class Counters(dict):
        def items(self):
            yield "a", 1
            raise Cut

    with pytest.raises(Cut):
        journal.save(one.but(committed=True), counters=Counters(a=1))
    assert journal.attempts() == [one]
    assert journal.counters() == {}


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"hello", "foreign"), (b"", "foreign"), (b"SQLite format 3\0" + bytes(4080), "foreign")],
)
def test_a_file_of_something_else_is_moved_aside_untouched(path, content, kind, caplog):
    path.write_bytes(content)
    journal = Journal.open(path)
    assert journal.set_aside == 1
    assert journal.attempts() == []
    assert journal.begin_sweep() == 0
    journal.close()
    assert path.with_name(f"journal.db.{kind}").read_bytes() == content
    assert f"moved to journal.db.{kind}" in caplog.text


def test_the_journal_of_another_version_is_moved_aside_untouched(path):
    Journal.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    content = path.read_bytes()
    journal = Journal.open(path)
    assert journal.set_aside == 1
    journal.close()
    assert path.with_name("journal.db.version-7").read_bytes() == content


def test_an_unreadable_attempt_costs_one_error_and_the_next_call_has_a_new_journal(path):
    journal = Journal.open(path)
    journal.add([attempt()])
    journal.end_sweep()
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE attempt SET body = replace(body, 'autumn', 'winter')")
    db.close()
    journal = Journal.open(path)
    with pytest.raises(DatabaseError, match="moved aside"):
        journal.attempts()
    assert journal.attempts() == []
    assert journal.begin_sweep() == 0
    journal.close()
    assert path.with_name("journal.db.damaged").exists()


def test_damage_is_found_wherever_it_is(path):
    journal = Journal.open(path)
    for number in range(40):
        journal.add([attempt(number)])
    journal.close()
    content = path.read_bytes()
    pick = random.Random(1)
    for _ in range(60):
        broken = bytearray(content)
        start = pick.randrange(100, len(broken) - 600)
        broken[start : start + 500] = pick.randbytes(500)
        path.write_bytes(bytes(broken))
        journal = Journal.open(path)
        try:
            journal.attempts()
        except DatabaseError:
            assert journal.attempts() == []
        journal.add([attempt(99)])
        assert journal.attempts()[-1] == attempt(99)
        journal.close()


def test_damage_that_sqlite_cannot_put_into_words_is_damage_all_the_same(path):
    Journal.open(path).close()
    content = path.read_bytes()
    # The schema's row: type, name, the table's name, page 2, and how it was made.
    row = b"tableattemptattempt\x02CREATE TABLE"
    assert content.count(row) == 1
    path.write_bytes(content.replace(row, b"table\xbd\xfe\xffemptattempt\x02CREATE \xbdABLE"))
    journal = Journal.open(path)
    assert journal.attempts() == []
    assert journal.set_aside == 1
    assert path.with_name("journal.db.damaged").exists()
    journal.close()


def test_a_row_of_another_type_than_the_one_written_is_damage(path):
    journal = Journal.open(path)
    journal.add([attempt()])
    journal.close()
    content = bytearray(path.read_bytes())
    # The body's serial type, which says text, is odd; the even one before says bytes (1.6, 2.1).
    length = len(journal_module._sealed(attempt().model_dump_json()))
    text = 13 + 2 * length
    varint = bytes([0x80 | text >> 7, text & 0x7F])
    assert content.count(varint) == 1
    content[content.index(varint) + 1] -= 1
    path.write_bytes(bytes(content))
    journal = Journal.open(path)
    with pytest.raises(DatabaseError, match="not what was written"):
        journal.attempts()
    assert journal.attempts() == []
    journal.close()


def add_many(journal):
    for more in range(2, 200):
        journal.add([attempt(more)])


@pytest.mark.parametrize("number", range(3))
def test_a_full_disk_is_told_and_nothing_is_lost(journal, number, monkeypatch):
    one = attempt()
    journal.add([one])
    with journal._database.transaction() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
    journal._database._db.execute(f"PRAGMA max_page_count = {pages + number}")
    with pytest.raises(DatabaseError, match="disk is full; free some space"):
        add_many(journal)
    held = len(journal.attempts())
    assert journal.attempts()[0] == one
    journal._database._db.execute("PRAGMA max_page_count = 100000")
    journal.add([attempt(500)])
    assert len(journal.attempts()) == held + 1


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_journal import attempt
from bordnetz.ota.journal import Journal

journal = Journal.open(Path({path!r}))
for number in range(int(sys.argv[1]), 10**9):
    one = attempt(number)
    journal.add([one])
    journal.save(one.but(committed=True), counters={{"a": number}})
    print(number, flush=True)
"""


def test_a_killed_process_loses_nothing_that_was_written(path):
    pick = random.Random(1)
    last = 0
    for _ in range(4):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRITER.format(tests=os.fspath(Path(__file__).parent), path=os.fspath(path)),
                str(last + 2),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(pick.randrange(3, 60))]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.stdout.close()
        process.wait()
        written = [int(line) for line in lines if line.endswith("\n")]
        journal = Journal.open(path)
        assert journal.set_aside == 0
        found = {int(one.id): one.committed for one in journal.attempts()}
        assert all(found[number] for number in written)
        assert journal.counters()["a"] >= written[-1]
        last = max(found)
        journal.close()
