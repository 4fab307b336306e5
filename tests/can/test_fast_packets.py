"""Fast packets of NMEA 2000: put together as a reader of one frame after the other would."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import can
import pytest
import transport_sender as sender
from decode_oracle import by_table
from hypothesis import given, settings
from hypothesis import strategies as st
from test_long_messages import j1939, load
from test_transport import Outcome, frames, payload
from transport_sender import ENGINE

from bordnetz.can.j1939 import Match
from bordnetz.can.table import DecodeTable
from bordnetz.can.transport import assembler as room
from bordnetz.can.transport.assembler import Assembler
from bordnetz.can.transport.fast import Fast, is_fast
from bordnetz.can.transport.packets import REASONS
from bordnetz.series import EXTENDED

POSITION, SATELLITES, HEADING = 129029, 129540, 127250
COMMAND, LISTS, OWN_TO_ONE, OWN = 126208, 126464, 126720, 130816
MS = 1_000_000
LIMIT = 750


def identifier(group: int, source: int = 3, destination: int = 0xFF, priority: int = 3) -> int:
    specific = destination << 8 if group & 0xFF00 < 0xF000 else 0
    return EXTENDED | priority << 26 | group << 8 | specific | source


def packet(content: bytes, sequence: int = 0, group: int = POSITION, **addresses):
    number = identifier(group, **addresses)
    pieces = [bytes([len(content)]) + content[:6]]
    pieces += [content[at : at + 7] for at in range(6, len(content), 7)]
    return [
        (number, bytes([sequence << 5 | place]) + piece.ljust(7, b"\xff"))
        for place, piece in enumerate(pieces)
    ]


def assembler(*groups: int, **change) -> Assembler:
    fast = [(0, group) for group in groups or (POSITION, SATELLITES)]
    return Assembler(**{"buses": 1, "groups": {}, "flows": (), "fast": fast, **change})


@pytest.mark.parametrize("length", [1, 6, 7, 13, 14, 43, 222, 223])
def test_a_message_comes_whole_with_the_time_of_its_last_frame(length):
    sent = packet(payload(length))
    got = Outcome(assembler(), frames(sent))
    assert got.messages == [(identifier(POSITION), payload(length))]
    assert got.times == [(len(sent) - 1) * MS]
    assert got.carried == len(sent)
    assert not got.held
    assert not got.lost()


def test_senders_groups_destinations_and_sequences_run_side_by_side():
    talks = [
        packet(payload(50, 1)),
        packet(payload(51, 2), sequence=1),
        packet(payload(52, 3), source=4),
        packet(payload(53, 4), group=SATELLITES),
        packet(payload(54, 5), group=COMMAND, destination=7),
        packet(payload(55, 6), group=COMMAND, destination=8),
    ]
    mixed = [one[at] for at in range(9) for one in talks if at < len(one)]
    got = Outcome(assembler(POSITION, SATELLITES, COMMAND), frames(mixed))
    assert sorted(got.messages) == sorted(
        (talk[0][0], payload(50 + n, n + 1)) for n, talk in enumerate(talks)
    )
    assert not got.lost()


def test_of_two_buses_only_the_one_that_speaks_it_has_fast_packets():
    both = frames([frame for frame in packet(payload(20)) for _ in range(2)])
    both.bus[1::2] = 1
    got = Outcome(assembler(buses=2), both)
    assert got.messages == [(identifier(POSITION), payload(20))]
    assert got.rest == len(both) / 2


def test_a_lost_frame_costs_its_message_and_no_other():
    lossy = packet(payload(43))
    del lossy[2]
    got = Outcome(assembler(), frames(lossy + packet(payload(43, 2), sequence=1)))
    assert [data for _, data in got.messages] == [payload(43, 2)]
    assert got.lost() == {"sequence": 3, "incomplete": 3}


def test_a_message_that_pauses_too_long_is_over():
    for pause, whole in ((LIMIT, True), (LIMIT + 1, False)):
        rows = [(n * (pause if n == 6 else 0), *one) for n, one in enumerate(packet(payload(43)))]
        rows[-1] = (pause, *rows[-1][1:])
        assert bool(Outcome(assembler(), frames(rows)).messages) is whole


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"\x01", b"\x20\x00" + bytes(6), b"\x20\xe0" + bytes(6), b"\x20\x07\1\2\3"],
)
def test_what_makes_no_sense_is_dropped_as_malformed(content):
    got = Outcome(assembler(), frames([(identifier(POSITION), content)]))
    assert got.lost() == {"malformed": 1}
    assert not got.messages


def test_whoever_only_begins_messages_fills_no_memory_and_is_counted():
    flood = frames(
        [
            (0, *packet(payload(223), n & 7, source=n >> 3 & 0xFF, priority=n >> 11 & 7)[0])
            for n in range(room.MOST_OPEN + 3000)
        ]
    )
    got = Outcome(assembler(), *(flood[at : at + 3000] for at in range(0, len(flood), 3000)))
    assert got.held == room.MOST_OPEN
    assert got.lost() == {"excess": len(flood) - room.MOST_OPEN}


def test_messages_of_one_frame_and_other_groups_are_left_alone():
    block = frames([(identifier(HEADING), payload(8)), (identifier(POSITION) ^ EXTENDED, b"")])
    assert assembler().take(block) is None


def test_a_group_that_also_comes_by_the_transport_protocol_of_j1939_is_put_together_too():
    made = assembler(groups={(0, POSITION): 6})
    got = Outcome(made, frames(sender.broadcast(POSITION, payload(43), ENGINE)))
    assert [data for _, data in got.messages] == [payload(43)]


def test_it_says_which_frames_it_needs():
    assert assembler(COMMAND).claims == {(0, EXTENDED | COMMAND << 8, Match.PGN)}


@pytest.mark.parametrize(
    ("group", "length", "fast"),
    [
        (POSITION, 43, True),
        (HEADING, 8, False),
        (COMMAND, 8, True),
        (LISTS, 8, True),
        (OWN_TO_ONE, 8, True),
        (OWN, 8, True),
        (0xFECA, 60, False),
        (0x1FEFF, 8, False),
        (0x1FEFF, 9, True),
    ],
)
def test_the_group_tells_fast_packets_and_where_it_may_be_either_the_length(group, length, fast):
    assert is_fast(group, length) is fast


# -- from the vehicle file on

FILE = (
    j1939(POSITION, "Position", 51, 'Sid : 0|8@1+ (1,0) [0|0] ""', 'Far : 328|16@1- (1,0) [0|0] ""')
    + j1939(HEADING, "Heading", 8, 'Angle : 8|16@1+ (1,0) [0|0] ""')
    + j1939(COMMAND, "Command", 8, 'Function : 0|8@1+ (1,0) [0|0] ""')
)


def compiled(catalogue, wanted=None):
    table = DecodeTable.compile(catalogue, wanted)
    return table, Assembler.compile(catalogue, table.groups)


def test_a_bus_of_nmea_2000_reads_its_long_messages_from_fast_packets(tmp_path):
    catalogue = load(tmp_path, FILE, nmea2000=True)
    assert not catalogue.problems
    table, made = compiled(catalogue)
    heading = (identifier(HEADING), b"\x07\x34\x12" + bytes(5))
    block = frames([*packet(bytes([9]) + bytes(40) + b"\xfe\xff"), heading])
    taken = made.take(block)
    ((portion, stands),) = taken.messages()
    samples = table.gather(portion, table.match(portion, stands))
    assert by_table(samples, 1) == [{"Sid": 9, "Far": -2}]
    assert len(taken.rest) == 1


def test_only_groups_of_which_something_is_wanted_are_put_together(tmp_path):
    catalogue = load(tmp_path, FILE, nmea2000=True)
    _, made = compiled(catalogue, {"b.Command.Function": 0, "b.Heading.Angle": 0})
    assert (0, EXTENDED | COMMAND << 8, Match.PGN) in made.claims
    assert (0, EXTENDED | POSITION << 8, Match.PGN) not in made.claims
    assert (0, EXTENDED | HEADING << 8, Match.PGN) not in made.claims


def test_without_nmea_2000_nothing_is_a_fast_packet_and_the_doubt_is_told(tmp_path):
    catalogue = load(tmp_path, FILE)
    (problem,) = catalogue.problems
    assert (problem.message, problem.mended) == ("Position", False)
    assert "say 'nmea2000 = true' of the bus in the vehicle file" in problem.reason
    _, made = compiled(catalogue)
    assert made.take(frames(packet(payload(43)))) is None


def test_a_group_that_the_vehicle_file_names_as_isotp_is_that(tmp_path):
    number = identifier(OWN, source=0xFE, priority=6)
    text = f'BO_ {number} Own: 20 X\n SG_ S : 0|8@1+ (1,0) [0|0] "" X\n'
    isotp = [{"response": number & ~EXTENDED}]
    _, made = compiled(load(tmp_path, text, nmea2000=True, isotp=isotp))
    got = Outcome(made, frames(sender.isotp(number, payload(20))))
    assert got.messages == [(number, payload(20))]


def test_the_digest_of_a_catalogue_changes_with_nmea_2000(tmp_path):
    digests = {load(tmp_path, FILE, nmea2000=said).digest for said in (False, True)}
    assert len(digests) == 2
    assert load(tmp_path, FILE).digest in digests


# -- against a reader of one frame after the other


@dataclass
class Reader:
    """Fates of frames and messages by the rules of fast packets: the oracle."""

    groups: set[int]
    fates: dict[int, str] = field(default_factory=dict)
    messages: list[tuple[int, int, bytes]] = field(default_factory=list)
    _open: dict[tuple[int, int], list] = field(default_factory=dict)

    def frame(self, number: int, time: int, arbitration_id: int, data: bytes) -> None:
        group = arbitration_id >> 8 & 0x3FFFF
        if group & 0xFF00 < 0xF000:
            group &= ~0xFF
        if not arbitration_id & EXTENDED or group not in self.groups:
            return
        if len(data) < 2:
            self.fates[number] = "malformed"
            return
        key, place = (arbitration_id, data[0] >> 5), data[0] & 31
        if place == 0:
            total = data[1]
            if not 0 < total <= 223 or len(data) < 2 + min(total, 6):
                self.fates[number] = "malformed"
                return
            self._close(key, "incomplete")
            self._open[key] = [time, total, bytes(data[2:8]), [number]]
        else:
            if key in self._open and time - self._open[key][0] > LIMIT:
                self._close(key, "incomplete")
            if key not in self._open:
                self.fates[number] = "incomplete"
                return
            session = self._open[key]
            session[0] = time
            session[3].append(number)
            if place != len(session[3]) - 1:
                inside = len(session[3]) - 1 <= -(-(session[1] - 6) // 7)
                missing = session[1] - len(session[2])
                short = inside and len(data) - 1 < min(7, missing)
                self._close(key, "malformed" if short else "sequence")
                return
            if len(data) - 1 < min(7, session[1] - len(session[2])):
                self._close(key, "malformed")
                return
            session[2] += bytes(data[1:8])
        _, total, content, _ = self._open[key]
        if len(content) >= total:
            self.messages.append((number, arbitration_id, content[:total]))
            self._close(key, "complete")

    def finish(self) -> None:
        for key in list(self._open):
            self._close(key, "incomplete")

    def _close(self, key: tuple[int, int], fate: str) -> None:
        for number in self._open.pop(key, [0, 0, 0, []])[3]:
            self.fates[number] = fate


def agrees(made: Assembler, groups: set[int], rows, cuts) -> Outcome:
    """That messages, times and books are those of the reader, however frames come in blocks."""
    reader = Reader(groups)
    for number, row in enumerate(rows):
        reader.frame(number, *row)
    reader.finish()
    whole = frames(rows)
    edges = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    got = Outcome(made, *(whole[a:b] for a, b in pairwise(edges)))
    got.give_up()
    assert got.messages == [(one, data) for _, one, data in reader.messages]
    assert got.times == [rows[number][0] * MS for number, _, _ in reader.messages]
    fates = list(reader.fates.values())
    assert got.lost() == {reason: n for reason in REASONS if (n := fates.count(reason))}
    assert got.carried == fates.count("complete")
    assert got.rest + len(fates) == len(rows)
    assert got.held == got.not_asked == 0
    return got


@st.composite
def conversations(draw):
    """Senders talk at once, and frames are lost, repeated, late, cut and made up."""
    talks = [
        packet(
            payload(draw(st.integers(1, 60)), draw(st.integers(0, 99))),
            draw(st.integers(0, 2)),
            draw(st.sampled_from([POSITION, SATELLITES, COMMAND, HEADING])),
            source=draw(st.integers(3, 4)),
        )
        for _ in range(draw(st.integers(1, 6)))
    ]
    rows, now = [], 10_000
    pauses = st.sampled_from([0] * 12 + [1, 1, 700, 800])
    fates = st.sampled_from(["as it is"] * 20 + ["lost", "twice", "cut", "noise"])
    while any(talks):
        number, data = draw(st.sampled_from([talk for talk in talks if talk])).pop(0)
        now += draw(pauses)
        fate = draw(fates)
        if fate == "cut":
            data = data[: draw(st.integers(0, len(data)))]
        elif fate == "noise":
            rows.append((now, number, payload(draw(st.integers(0, 8)), draw(st.integers(0, 99)))))
        rows += [(now, number, data)] * (0 if fate == "lost" else 2 if fate == "twice" else 1)
    return rows


@settings(deadline=None, max_examples=300)
@given(conversations(), st.lists(st.integers(0, 200), max_size=6))
def test_messages_and_books_are_those_of_a_reader_however_frames_come_in_blocks(rows, cuts):
    groups = {POSITION, SATELLITES, COMMAND}
    agrees(assembler(*groups), groups, rows, cuts)


@pytest.mark.shared
def test_all_fast_packets_of_a_real_boat_are_those_of_a_reader(shared):
    with can.LogReader(shared / "logs/boat-nmea2000-300s.log.gz") as log:
        said = [frame for frame in log if frame.is_extended_id]
    start = int(said[0].timestamp * 1000)
    rows = [
        (int(f.timestamp * 1000) - start, EXTENDED | f.arbitration_id, bytes(f.data)) for f in said
    ]
    # By the standard's lists, and by the first frames, all of these and no others.
    groups = {126208, 126464, 126720, 126996, 128275, 129029, 129038, 129039, 129044, 129540}
    groups |= {129542, 129547, 129794, 129809, 129810, 130916, 130934, 130935}
    got = agrees(assembler(*groups), groups, rows, range(0, len(rows), 600))
    assert len(got.messages) > 3_000
    # The recording begins and ends in the middle of what was said.
    assert sum(got.lost().values()) < 20
    lengths = {number >> 8 & 0x3FFFF: len(data) for number, data in got.messages}
    assert (lengths[129029], lengths[126996], lengths[129794]) == (43, 134, 76)


def test_a_look_at_ids_finds_the_groups_of_each_bus():
    sample = frames([(identifier(group), bytes(8)) for group in (POSITION, HEADING, COMMAND)])
    sample.bus[:] = [0, 0, 1]
    assert Fast([(0, POSITION), (1, COMMAND)]).claim(sample).tolist() == [True, False, True]
