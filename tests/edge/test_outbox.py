"""The outbox' promises, one test or more each; their numbers are those of its docstring."""

import sqlite3
from pathlib import Path

import pytest

from bordnetz.edge.message import MAX_PACKET, Message, MessageTooLargeError
from bordnetz.edge.outbox import Outbox, OutboxError

KIB = 1024
ROOMY = 100 * KIB * KIB


def letter(size: int = 100, output: str = "batches"):
    """Makes a message of so many bytes that carries its own name."""

    def make(outbox: int, sequence: int) -> Message:
        return Message(output, bytes(size), properties={"batch": f"{outbox:016x}-{sequence}"})

    return make


def waiting(outbox: Outbox) -> list[int]:
    """The sequences in the order in which they would leave; the outbox is as before."""
    entries = outbox.take(1_000_000)
    for entry in entries:
        outbox.release(entry)
    return [entry.sequence for entry in entries]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


# 1: on the disk when put returns


def test_a_message_comes_back_as_it_was_put(path):
    message = Message("batches", b"\0\xff" * 30_000, "application/x", "zstd", {"schema": "ü/1"})
    with Outbox(path, ROOMY) as outbox:
        outbox.put(lambda *_: message, 5)
    with Outbox(path, ROOMY) as outbox:
        assert [entry.message for entry in outbox.take(2)] == [message]


def test_the_message_is_made_with_the_name_it_is_stored_under(path):
    with Outbox(path, ROOMY) as outbox:
        sequence = outbox.put(letter(), 5)
        (entry,) = outbox.take(1)
        assert entry.message.properties["batch"] == f"{outbox.id:016x}-{sequence}"
        assert (entry.outbox, entry.sequence) == (outbox.id, sequence)


# 2: it stays until it is acknowledged


def test_a_batch_is_kept_until_the_hub_acknowledges_it(path):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
        (entry,) = outbox.take(1)
        assert outbox.take(1) == []
        outbox.release(entry)
        (entry,) = outbox.take(1)
        outbox.acknowledge(entry)
        assert len(outbox) == 0
        assert outbox.take(1) == []


def test_what_was_being_sent_when_the_module_ended_is_sent_again(path):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
        outbox.take(1)
    with Outbox(path, ROOMY) as outbox:
        assert len(outbox.take(1)) == 1


def test_an_acknowledgement_reaches_the_disk_with_the_next_message(path, tmp_path):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
        (entry,) = outbox.take(1)
        outbox.acknowledge(entry)
        second = outbox.put(letter(), 5)
        copy = tmp_path / "copy.db"
        for end in ("", "-wal"):
            Path(f"{copy}{end}").write_bytes(Path(f"{path}{end}").read_bytes())
    with Outbox(copy, ROOMY) as after_a_crash:
        assert waiting(after_a_crash) == [second]


def test_acknowledging_twice_or_after_a_new_file_harms_nothing(path):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
        (entry,) = outbox.take(1)
        outbox.acknowledge(entry)
        outbox.acknowledge(entry)
    path.unlink()
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
        outbox.acknowledge(entry)
        outbox.release(entry)
        assert len(outbox) == 1


# 3: the budget


def test_the_highest_priority_leaves_first_and_in_it_the_oldest(path):
    with Outbox(path, ROOMY) as outbox:
        for priority in (5, 0, 9, 5, 0):
            outbox.put(letter(), priority)
        assert waiting(outbox) == [2, 5, 1, 4, 3]


def test_a_full_outbox_gives_up_the_oldest_of_the_lowest_priority(path):
    with Outbox(path, 100 * KIB) as outbox:
        for priority in (5, 9, 5, 9):
            outbox.put(letter(20 * KIB), priority)
        for _ in range(3):
            assert outbox.put(letter(20 * KIB), 5) is not None
        assert waiting(outbox) == [3, 5, 6, 7]
        assert outbox.dropped == {("budget", 9): 2, ("budget", 5): 1}
        assert outbox.used <= 100 * KIB


def test_a_full_outbox_refuses_what_is_of_lower_priority_than_all_it_holds(path):
    with Outbox(path, 50 * KIB) as outbox:
        for _ in range(2):
            outbox.put(letter(20 * KIB), 3)
        assert outbox.put(letter(20 * KIB), 4) is None
        assert waiting(outbox) == [1, 2]
        assert outbox.dropped == {("budget", 4): 1}


def test_what_is_larger_than_the_whole_budget_costs_the_others_nothing(path):
    with Outbox(path, 50 * KIB) as outbox:
        outbox.put(letter(20 * KIB), 9)
        assert outbox.put(letter(100 * KIB), 0) is None
        assert waiting(outbox) == [1]


def test_a_message_being_sent_is_not_given_up(path):
    with Outbox(path, 50 * KIB) as outbox:
        for _ in range(2):
            outbox.put(letter(20 * KIB), 9)
        (taken,) = outbox.take(1)
        outbox.put(letter(20 * KIB), 0)
        assert outbox.dropped == {("budget", 9): 1}
        outbox.release(taken)
        assert waiting(outbox) == [3, 1]


def test_a_dictionary_outlives_the_batches_that_name_it(path):
    with Outbox(path, 70 * KIB) as outbox:
        dictionary = outbox.put(letter(20 * KIB), 9, content=b"d")
        first = outbox.put(letter(20 * KIB), 5, needs=b"d")
        second = outbox.put(letter(20 * KIB), 5, needs=b"d")
        assert waiting(outbox) == [second, dictionary]
        assert outbox.dropped == {("budget", 5): 1}
        assert first is not None


def test_a_dictionary_that_no_batch_names_any_more_can_go(path):
    with Outbox(path, 70 * KIB) as outbox:
        outbox.put(letter(20 * KIB), 9, content=b"d")
        outbox.put(letter(20 * KIB), 9, needs=b"d")
        last = outbox.put(letter(60 * KIB), 5)
        assert waiting(outbox) == [last]


def test_a_dictionary_waits_once_however_often_it_is_put(path):
    with Outbox(path, ROOMY) as outbox:
        first = outbox.put(letter(), 5, content=b"d")
        assert outbox.put(letter(), 5, content=b"d") == first
        assert outbox.put(letter(), 5, content=b"e") != first
    with Outbox(path, ROOMY) as outbox:
        assert outbox.put(letter(), 5, content=b"d") == first
        (entry, _) = outbox.take(2)
        outbox.acknowledge(entry)
        assert outbox.put(letter(), 5, content=b"d") != first


@pytest.mark.parametrize("size", [50, 500, 1_300, 1_990, 4_000, 4_100, 65_000, 200_000])
def test_the_file_stays_within_the_budget(path, size):
    budget = KIB * KIB
    with Outbox(path, budget) as outbox:
        while outbox.dropped["budget", 5] < 40:
            outbox.put(letter(size), 5)
        assert outbox.used <= budget
    assert path.stat().st_size < 1.1 * budget


# 4: names


def test_a_sequence_is_never_used_again(path):
    with Outbox(path, ROOMY) as outbox:
        assert outbox.put(letter(), 5) == 1
        for entry in outbox.take(1):
            outbox.acknowledge(entry)
        assert outbox.put(letter(), 5) == 2
        for entry in outbox.take(1):
            outbox.acknowledge(entry)
        outbox.flush()
    with Outbox(path, ROOMY) as outbox:
        assert len(outbox) == 0
        assert outbox.put(letter(), 5) == 3


def test_the_id_belongs_to_the_file(path):
    with Outbox(path, ROOMY) as outbox:
        first = outbox.id
    with Outbox(path, ROOMY) as outbox:
        assert outbox.id == first
    path.unlink()
    with Outbox(path, ROOMY, draw=lambda bits: 2**bits - 1) as outbox:
        assert outbox.id == 2**64 - 1


def test_a_message_that_could_not_be_made_leaves_nothing_behind(path):
    def broken(outbox, sequence):
        raise RuntimeError

    with Outbox(path, ROOMY) as outbox:
        with pytest.raises(RuntimeError):
            outbox.put(broken, 5)
        with pytest.raises(MessageTooLargeError, match="split"):
            outbox.put(letter(MAX_PACKET), 5)
        with pytest.raises(ValueError, match="priority 10"):
            outbox.put(letter(), 10)
        assert len(outbox) == 0
        assert outbox.put(letter(), 5) is not None


# 6: files that are not an outbox


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"hello", "foreign"), (b"", "foreign"), (b"SQLite format 3\0" + bytes(4080), "foreign")],
)
def test_a_file_of_something_else_is_moved_aside_untouched(path, content, kind):
    path.write_bytes(content)
    with Outbox(path, ROOMY) as outbox:
        assert outbox.put(letter(), 5) == 1
        assert outbox.set_aside == 1
    assert path.with_name(f"outbox.db.{kind}").read_bytes() == content


def test_a_foreign_database_is_moved_aside_untouched(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE treasure (gold)")
    db.close()
    content = path.read_bytes()
    with Outbox(path, ROOMY) as outbox:
        assert outbox.put(letter(), 5) == 1
    assert path.with_name("outbox.db.foreign").read_bytes() == content


def test_the_file_of_another_version_is_moved_aside_untouched(path):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    content = path.read_bytes()
    with Outbox(path, ROOMY) as outbox:
        assert len(outbox) == 0
    assert path.with_name("outbox.db.version-7").read_bytes() == content


def test_a_damaged_file_is_moved_aside_when_it_is_opened(path, caplog):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(20 * KIB), 5)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(len(content) - 4096))
    with Outbox(path, ROOMY) as outbox:
        assert outbox.put(letter(), 5) == 1
        assert outbox.set_aside == 1
    assert path.with_name("outbox.db.damaged").exists()
    assert "moved to outbox.db.damaged" in caplog.text


def test_damage_that_sqlite_has_no_words_for_is_damage(path):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
    content = path.read_bytes()
    # A name in the schema, which SQLite's error message quotes, is no text any more.
    place = content.index(b"tablemessagemessage") + len(b"table")
    path.write_bytes(
        content[:place]
        + b"\xff\xfe"
        + content[place + 2 :].replace(b"CREATE TABLE message", b"CREATE \xbdABLE message")
    )
    with Outbox(path, ROOMY) as outbox:
        assert outbox.put(letter(), 5) == 1
        assert outbox.set_aside == 1
    assert path.with_name("outbox.db.damaged").exists()


def test_damage_found_later_costs_one_error_and_the_next_message_is_taken(path):
    with Outbox(path, ROOMY) as outbox:
        for _ in range(50):
            outbox.put(letter(20 * KIB), 5)
        before = outbox.id
    content = bytearray(path.read_bytes())
    # Every overflow page (its first byte belongs to a page number) loses the way to the next one.
    for page in range(4096, len(content), 4096):
        if content[page] == 0:
            content[page : page + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with Outbox(path, ROOMY) as outbox:
        with pytest.raises(OutboxError, match="moved aside"):
            outbox.take(50)
        assert outbox.put(letter(), 5) is not None
        assert outbox.id != before
        assert [entry.outbox for entry in outbox.take(10)] == [outbox.id]
    assert path.with_name("outbox.db.damaged").read_bytes() == bytes(content)


def test_an_outbox_has_one_owner(path):
    with Outbox(path, ROOMY), pytest.raises(OutboxError, match="in use by another process"):
        Outbox(path, ROOMY)
    with Outbox(path, ROOMY):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutboxError, match="No such file"):
        Outbox(tmp_path / "nowhere" / "outbox.db", ROOMY)
