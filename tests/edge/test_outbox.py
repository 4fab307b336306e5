"""The outbox' promises, one test or more each; their numbers are those of its docstring."""

import random
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bordnetz.edge.message import MAX_PACKET, Message, MessageTooLargeError
from bordnetz.edge.outbox import Letter, Outbox, OutboxError
from bordnetz.edge.segment import SIZE, VERSION
from bordnetz.edge.segments import SPARE_SEGMENTS

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
    return tmp_path / "outbox"


def test_only_smaller_ones_are_taken_where_that_is_asked_for(path):
    with Outbox(path, ROOMY) as outbox:
        for size in (100, 4_000, 200, 5_000):
            outbox.put(letter(size), 5)
        small = outbox.take(10, below=4_000)
        assert [len(entry.message.body) for entry in small] == [100, 200]
        (larger,) = outbox.take(1)
        outbox.release(larger)
        assert outbox.take(10, below=larger.size) == []
        assert outbox.take(10, below=larger.size + 1) == [larger]


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
        copy = tmp_path / "copy"
        shutil.copytree(path, copy)
    with Outbox(copy, ROOMY) as after_a_crash:
        assert waiting(after_a_crash) == [second]


def test_acknowledging_twice_or_after_a_new_file_harms_nothing(path):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
        (entry,) = outbox.take(1)
        outbox.acknowledge(entry)
        outbox.acknowledge(entry)
    shutil.rmtree(path)
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
    with Outbox(path, 60 * KIB) as outbox:
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


def on_disk(path: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in path.iterdir())


@pytest.mark.parametrize("size", [50, 500, 4_100, 65_000, 240_000])
def test_the_log_is_a_quarter_longer_than_the_budget_and_four_segments_at_most(path, size):
    budget = 4 * SIZE
    with Outbox(path, budget) as outbox:
        while outbox.dropped["budget", 5] < 40:
            outbox.put_all([Letter(letter(size), 5)] * 20)
        assert outbox.used <= budget
        assert on_disk(path) <= budget * 5 // 4 + SPARE_SEGMENTS * SIZE


def test_a_message_that_nobody_fetches_does_not_make_the_log_longer(path):
    budget = 4 * SIZE
    with Outbox(path, budget) as outbox:
        first = outbox.put(letter(50_000), 9)
        longest = 0
        for _ in range(40):
            outbox.put_all([Letter(letter(200_000), 5)] * 4)
            for entry in outbox.take(4):
                outbox.acknowledge(entry)
            longest = max(longest, on_disk(path))
        assert longest <= budget * 5 // 4 + SPARE_SEGMENTS * SIZE + SIZE
        assert waiting(outbox) == [first]
        outbox.flush()
    with Outbox(path, budget) as outbox:
        assert waiting(outbox) == [first]


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
    shutil.rmtree(path)
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


# 6: files that are damaged, or no outbox


def segments(path: Path) -> list[Path]:
    return sorted(path.glob("*.log"))


def test_a_file_in_the_place_of_the_outbox_is_moved_aside_untouched(path):
    path.write_bytes(b"hello")
    with Outbox(path, ROOMY) as outbox:
        assert outbox.put(letter(), 5) == 1
        assert outbox.set_aside == 1
    assert path.with_name("outbox.foreign").read_bytes() == b"hello"


@pytest.mark.parametrize("content", [b"hello", b"SQLite format 3\0" + bytes(4080)])
def test_a_file_of_something_else_is_moved_aside_untouched_and_costs_the_others_nothing(
    path, content
):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
    (path / "00000000.log").write_bytes(content)
    with Outbox(path, ROOMY) as outbox:
        assert waiting(outbox) == [1]
        assert outbox.set_aside == 1
    assert (path / "00000000.foreign").read_bytes() == content


def test_a_segment_of_another_outbox_is_moved_aside(path, tmp_path):
    with Outbox(path, ROOMY) as outbox:
        outbox.put_all([Letter(letter(200_000), 5)] * 8)
    with Outbox(tmp_path / "other", ROOMY) as outbox:
        outbox.put(letter(), 5)
    shutil.copy(segments(tmp_path / "other")[0], segments(path)[0])
    with Outbox(path, ROOMY) as outbox:
        assert outbox.set_aside == 1
        assert waiting(outbox)[-1] == 8
        assert len({entry.outbox for entry in outbox.take(10)}) == 1


def test_a_file_without_a_header_is_taken_for_one_that_was_being_made(path):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
    (path / "00000002.log").write_bytes(bytes(5_000))
    with Outbox(path, ROOMY) as outbox:
        assert waiting(outbox) == [1]
        assert outbox.set_aside == 0


def test_damage_in_the_middle_costs_the_commit_that_it_hits_alone_and_is_told(path, caplog):
    with Outbox(path, ROOMY) as outbox:
        for _ in range(30):
            outbox.put(letter(100_000), 5)
    for segment in segments(path)[::2]:
        data = bytearray(segment.read_bytes())
        place = data.index(b"\xc0MIT", 300_000)
        data[place + 20] ^= 1
        segment.write_bytes(data)
    hit = len(segments(path)[::2])
    with Outbox(path, ROOMY) as outbox:
        assert outbox.damaged == hit
        assert len(outbox) == 30 - hit
        assert outbox.put(letter(), 5) == 31
        assert len(outbox.take(100)) == 31 - hit
    assert "damaged at byte" in caplog.text


def test_a_message_of_which_the_disk_gives_other_bytes_is_given_up_and_the_others_are_sent(
    path, caplog
):
    with Outbox(path, ROOMY) as outbox:
        for number in range(4):
            outbox.put(lambda o, n, number=number: Message("o", bytes([number]) * 5_000), 5)
    (segment,) = segments(path)
    data = bytearray(segment.read_bytes())
    data[data.index(b"\1" * 5_000) + 100] = 9
    segment.write_bytes(data)
    with Outbox(path, ROOMY) as outbox:
        assert [entry.sequence for entry in outbox.take(10)] == [1, 3, 4]
        assert outbox.dropped == {("damaged", 5): 1}
        assert len(outbox) == 3
    assert "not what was stored" in caplog.text
    with Outbox(path, ROOMY) as outbox:
        assert waiting(outbox) == [1, 3, 4]


@pytest.mark.parametrize("end", ["random", "zeros", "cut"])
def test_what_lies_behind_the_last_commit_is_nothing(path, end):
    with Outbox(path, ROOMY) as outbox:
        for _ in range(5):
            outbox.put(lambda *_: Message("o", b"x" * 5_000), 5)
    (segment,) = segments(path)
    data = segment.read_bytes()
    last = data.rindex(b"\xc0MIT")
    rubbish = {"random": random.Random(1).randbytes(90_000), "zeros": bytes(99_999), "cut": b""}
    segment.write_bytes(data[: last + 3_000] + rubbish[end])
    with Outbox(path, ROOMY) as outbox:
        assert waiting(outbox) == [1, 2, 3, 4]
        assert (outbox.damaged, outbox.set_aside) == (0, 0)
        last = outbox.put(letter(), 5)
    with Outbox(path, ROOMY) as outbox:
        assert waiting(outbox) == [1, 2, 3, 4, last]


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[*HealthCheck])
def test_whatever_is_flipped_in_a_file_costs_messages_but_no_crash_and_no_other_message(data):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "outbox")
        with Outbox(path, ROOMY) as outbox:
            for number in range(6):
                outbox.put(lambda o, n: Message("o", n.to_bytes(2, "big") * 300), number)
            (gone, *_) = outbox.take(1)
            outbox.acknowledge(gone)
        (segment,) = segments(path)
        content = bytearray(segment.read_bytes())
        end = content.rindex(b"\xc0MIT") + 200
        for place in data.draw(st.lists(st.integers(0, end), min_size=1, max_size=20)):
            content[place] ^= data.draw(st.integers(1, 255))
        segment.write_bytes(content)
        with Outbox(path, ROOMY) as outbox:
            for entry in outbox.take(10):
                assert entry.message.body == entry.number.to_bytes(2, "big") * 300
            assert outbox.put(letter(), 5) is not None


# 7: other versions


def of_version(path: Path, version: int) -> None:
    """Makes a segment one of another version; what a later one looks like beyond that is its own
    affair."""
    for segment in segments(path):
        data = bytearray(segment.read_bytes())
        head = struct.calcsize("<16sH6xQQQ")
        data[16:18] = version.to_bytes(2, "little")
        data[head : head + 4] = zlib.crc32(data[:head]).to_bytes(4, "little")
        segment.write_bytes(data)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_an_older_module_sets_a_newer_outbox_aside_untouched_and_starts_a_fresh_one(path):
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
        before = outbox.id
    of_version(path, VERSION + 1)
    found = contents(path)
    for turn in ("", "-0"):
        with Outbox(path, ROOMY) as outbox:
            assert outbox.set_aside == 1
            assert len(outbox) == 0
            assert outbox.id != before
            assert outbox.put(letter(), 5) == 1
        assert contents(path.with_name(f"outbox.version-{VERSION + 1}{turn}")) == found
        # Rolled forward and back once more.
        shutil.rmtree(path)
        shutil.copytree(path.with_name(f"outbox.version-{VERSION + 1}"), path)


def test_the_newer_module_takes_its_outbox_up_again_with_what_the_older_one_has_left(path):
    # What the version before does with it: aside, and a fresh one.
    aside = path.with_name(f"outbox.version-{VERSION}")
    with Outbox(path, ROOMY) as outbox:
        outbox.put(letter(), 5)
        older = outbox.id
    with Outbox(aside, ROOMY) as outbox:
        outbox.put(letter(), 0, content=b"d")
        outbox.put(letter(), 5, needs=b"d")
        newer = outbox.id
    for _ in range(2):
        with Outbox(path, ROOMY) as outbox:
            found = {(e.outbox, e.sequence): e.message for e in outbox.take(10)}
            assert found.keys() == {(newer, 1), (newer, 2), (older, 1)}
            for (owner, sequence), message in found.items():
                assert message.properties == {"batch": f"{owner:016x}-{sequence}"}
            assert outbox.put(letter(), 5, content=b"d") == 1
    assert not path.with_name(f"outbox.version-{VERSION}").exists()


GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("name", ["outbox-1.db", "outbox-1-killed.db"])
def test_the_file_of_version_1_is_taken_over(path, name):
    for file in GOLDEN.glob(f"{name}*"):
        shutil.copy(file, path.with_name(file.name.replace(name, "outbox.db")))
    with Outbox(path, ROOMY) as outbox:
        entries = outbox.take(10)
        assert [(e.outbox, e.sequence, e.priority) for e in entries] == [
            (0x0123456789ABCDEF, sequence, priority)
            for sequence, priority in [(1, 0), (3, 5), (4, 9)]
        ]
        assert entries[0].message == Message(
            "batches",
            b"a dictionary",
            "application/x",
            "zstd",
            {"batch": "0123456789abcdef-1", "schema": "ü/1"},
        )
        assert entries[1].message.body == bytes(range(256)) * 30
        assert outbox.put(letter(), 5, content=b"digest") == 1
        outbox.acknowledge(entries[0])
        assert outbox.set_aside == 0
    assert not list(path.parent.glob("outbox.db*"))
    with Outbox(path, ROOMY) as outbox:
        assert [(e.outbox, e.sequence) for e in outbox.take(10)] == [
            (0x0123456789ABCDEF, 3),
            (0x0123456789ABCDEF, 4),
        ]


def test_what_cannot_be_read_of_a_file_of_version_1_is_moved_aside_and_the_rest_taken_over(path):
    old = path.with_name("outbox.db")
    data = bytearray((GOLDEN / "outbox-1.db").read_bytes())
    # Message 3 goes on in page 4, the last one; the way there leads nowhere now.
    leaf = data.index(bytes(range(256)) * 10) // 4096 * 4096
    place = data.rindex((4).to_bytes(4, "big"), leaf, leaf + 4096)
    data[place : place + 4] = b"\0\0\xff\xff"
    old.write_bytes(data)
    with Outbox(path, ROOMY) as outbox:
        assert [entry.sequence for entry in outbox.take(10)] == [1, 4]
        assert outbox.set_aside == 1
    assert path.with_name("outbox.db.damaged").exists()
    old.write_bytes(b"treasure")
    with Outbox(path, ROOMY) as outbox:
        assert outbox.set_aside == 1
    assert path.with_name("outbox.db.foreign").read_bytes() == b"treasure"


def test_an_outbox_has_one_owner(path):
    with Outbox(path, ROOMY), pytest.raises(OutboxError, match="in use by another process"):
        Outbox(path, ROOMY)
    with Outbox(path, ROOMY):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutboxError, match="No such file"):
        Outbox(tmp_path / "nowhere" / "outbox", ROOMY)
