"""Messages of many frames: put together as a state machine would, whatever comes in which block."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import transport_sender as sender
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_model import MS, Model
from transport_sender import ALL, BRAKE, ENGINE, TOOL

from bordnetz.can.frames import Frames
from bordnetz.can.j1939 import Match
from bordnetz.can.transport import assembler as room
from bordnetz.can.transport.assembler import Assembler
from bordnetz.can.transport.isotp import Flow
from bordnetz.can.transport.packets import REASONS
from bordnetz.series import EXTENDED

DM1, CONFIGURATION, OTHER = 0xFECA, 0xFEE3, 0xFEEC
DIRECTED = 0xD900
GROUPS = {(0, DM1): 6, (0, CONFIGURATION): 6, (0, DIRECTED): 6}
REQUEST, RESPONSE, ASIDE, LONG = 0x7E0, 0x7E8, 0x7EA, EXTENDED | 0x18DAF110
PARTNERS = {REQUEST: RESPONSE, RESPONSE: REQUEST}
WANTED = {REQUEST: False, RESPONSE: True, ASIDE: True, LONG: True}
FLOWS = [Flow(0, one, PARTNERS.get(one), False, wanted) for one, wanted in WANTED.items()]


def frames(rows, width=8, start=0):
    """Frames of (id, data), or of (time in ms, id, data); otherwise a millisecond apart."""
    rows = [row if len(row) == 3 else (start + n, *row) for n, row in enumerate(rows)]
    return Frames(
        time=np.array([time for time, _, _ in rows], np.int64) * MS,
        bus=np.zeros(len(rows), np.uint8),
        id=np.array([number for _, number, _ in rows], np.uint32),
        flags=np.zeros(len(rows), np.uint8),
        length=np.array([len(data) for _, _, data in rows], np.uint8),
        data=np.frombuffer(
            b"".join(data.ljust(width, b"\0") for _, _, data in rows), np.uint8
        ).reshape(-1, width),
    )


def assembler(**change):
    return Assembler(**{"buses": 1, "groups": GROUPS, "flows": FLOWS, **change})


class Outcome:
    """Messages and books of an assembler, block by block."""

    def __init__(self, assembler, *blocks):
        self.assembler = assembler
        self.messages = []
        self.times = []
        self.rest = 0
        self.carried = self.not_asked = self.held = 0
        self.dropped = dict.fromkeys(REASONS, 0)
        for block in blocks:
            self.take(block)

    def take(self, block):
        taken = self.assembler.take(block)
        if taken is None:
            self.rest += len(block)
            return
        self.rest += len(taken.rest)
        for messages, stands in taken.messages():
            self.carried += int(stands.sum())
            for row in range(len(messages)):
                data = messages.data[row]
                assert not data[messages.length[row] :].any()
                self.messages.append(
                    (int(messages.id[row]), data[: messages.length[row]].tobytes())
                )
                self.times.append(int(messages.time[row]))
        self._book(taken)

    def give_up(self):
        self._book(self.assembler.give_up())

    def _book(self, taken):
        self.not_asked += int(taken.not_asked.sum())
        self.held += int(taken.held.sum())
        assert self.held >= 0
        for reason, count in taken.dropped.items():
            self.dropped[reason] += int(count.sum())

    def lost(self):
        return {reason: count for reason, count in self.dropped.items() if count}


def payload(length, seed=1):
    return np.random.default_rng(seed).integers(0, 256, length).astype(np.uint8).tobytes()


# -- J1939


@pytest.mark.parametrize("length", [9, 14, 60, 1784, 1785])
def test_a_broadcast_comes_whole_with_the_time_of_its_last_frame(length):
    sent = sender.broadcast(DM1, payload(length), ENGINE)
    got = Outcome(assembler(), frames(sent))
    assert got.messages == [(EXTENDED | 0x18FECA00 | ENGINE, payload(length))]
    assert got.times == [(len(sent) - 1) * MS]
    assert got.carried == len(sent)
    assert not got.held
    assert not got.lost()


def test_a_message_to_one_receiver_carries_both_addresses_and_flow_control_is_not_asked_for():
    sent = sender.directed(DIRECTED, payload(100), ENGINE, TOOL)
    got = Outcome(assembler(), frames(sent))
    assert got.messages == [(EXTENDED | 0x18D90000 | TOOL << 8 | ENGINE, payload(100))]
    control = sum(number & 0xFF == TOOL for number, _ in sent)
    assert got.not_asked == control
    assert got.carried == len(sent) - control


def test_packets_that_the_receiver_asks_for_again_take_their_place():
    start, *packets = sender.broadcast(DIRECTED, payload(30), ENGINE)
    directed = sender.data(payload(30), ENGINE, TOOL)
    start = sender.announce(16, DIRECTED, 30, ENGINE, TOOL)
    again = sender.clear(DIRECTED, 1, 2, TOOL, ENGINE)
    order = [start, directed[0], directed[2], directed[4], again, directed[1], directed[3]]
    got = Outcome(assembler(), frames(order))
    assert [data for _, data in got.messages] == [payload(30)]
    assert len(packets) == len(directed)
    assert not got.lost()


def test_sessions_of_many_sources_and_destinations_run_side_by_side():
    messages = [
        sender.broadcast(DM1, payload(50, 1), ENGINE),
        sender.broadcast(DM1, payload(80, 2), BRAKE),
        sender.directed(DIRECTED, payload(60, 3), ENGINE, TOOL),
        sender.directed(DIRECTED, payload(60, 4), TOOL, ENGINE),
    ]
    mixed = [one[at] for at in range(40) for one in messages if at < len(one)]
    got = Outcome(assembler(), frames(mixed))
    assert sorted(data for _, data in got.messages) == sorted(
        payload(length, seed) for length, seed in ((50, 1), (80, 2), (60, 3), (60, 4))
    )
    assert not got.lost()


def test_of_two_buses_each_has_its_own_sessions():
    one, other = (sender.broadcast(DM1, payload(50, seed), ENGINE) for seed in (1, 2))
    both = frames([frame for pair in zip(one, other, strict=True) for frame in pair])
    both.bus[1::2] = 1
    got = Outcome(assembler(buses=2, groups={(0, DM1): 6, (1, DM1): 3}), both)
    assert got.messages == [
        (EXTENDED | 0x18FECA00, payload(50, 1)),
        (EXTENDED | 0x0CFECA00, payload(50, 2)),
    ]


def test_a_lost_packet_costs_the_broadcast_and_nothing_after_it():
    lossy = sender.broadcast(DM1, payload(50), ENGINE)
    del lossy[3]
    got = Outcome(assembler(), frames(lossy + sender.broadcast(DM1, payload(20), ENGINE)))
    assert [data for _, data in got.messages] == [payload(20)]
    # The announcement and packets up to the one out of order; the others then have no message.
    assert got.lost() == {"sequence": 4, "incomplete": len(lossy) - 4}


def test_a_broadcast_that_pauses_longer_than_t1_is_over():
    sent = [(n * 10, *one) for n, one in enumerate(sender.broadcast(DM1, payload(20), ENGINE))]
    in_time, late = list(sent), list(sent)
    in_time[-1] = (sent[-2][0] + 750, *sent[-1][1:])
    late[-1] = (sent[-2][0] + 751, *sent[-1][1:])
    assert len(Outcome(assembler(), frames(in_time)).messages) == 1
    got = Outcome(assembler(), frames(late))
    assert not got.messages
    assert got.lost() == {"incomplete": len(sent)}


def test_a_receiver_has_until_t2():
    start, *packets = sender.directed(DIRECTED, payload(20), ENGINE, TOOL)
    for pause, whole in ((1250, True), (1251, False)):
        rows = [(0, *start)] + [(pause + n, *one) for n, one in enumerate(packets)]
        assert bool(Outcome(assembler(), frames(rows)).messages) is whole


@pytest.mark.parametrize(("source", "destination"), [(ENGINE, TOOL), (TOOL, ENGINE)])
def test_an_abort_by_either_side_ends_the_message_that_it_names(source, destination):
    sent = sender.directed(DIRECTED, payload(60), ENGINE, TOOL, burst=9)
    other = sender.abort(DM1, source, destination)
    named = sender.abort(DIRECTED, source, destination)
    spared = Outcome(assembler(), frames([*sent[:5], other, *sent[5:]]))
    assert len(spared.messages) == 1
    assert spared.lost() == {"aborted": 1}
    got = Outcome(assembler(), frames([*sent[:5], named]))
    assert not got.messages
    assert got.lost() == {"aborted": 5}
    assert got.not_asked == 1


def test_groups_that_nobody_wants_are_not_asked_for():
    got = Outcome(assembler(), frames(sender.broadcast(OTHER, payload(60), ENGINE)))
    assert not got.messages
    assert not got.lost()
    assert got.not_asked == 10


def test_a_message_that_comes_without_transport_stays_in_order_with_those_that_need_it():
    short = (EXTENDED | 0x18FECA00 | ENGINE, payload(8, 7))
    elsewhere = (EXTENDED | 0x18FECA00 | BRAKE, payload(8, 8))
    long = sender.broadcast(DM1, payload(20), ENGINE)
    got = Outcome(assembler(), frames([short, elsewhere, *long, short]))
    assert [data for _, data in got.messages] == [payload(8, 7), payload(20), payload(8, 7)]
    assert got.rest == 1
    assert got.carried == len(long) + 2


@pytest.mark.parametrize(
    "one",
    [
        sender.announce(32, DM1, 60, ENGINE, TOOL),
        sender.announce(16, DM1, 60, ENGINE, ALL),
        sender.announce(32, DM1, 60, ENGINE, ALL, packets=8),
        sender.announce(32, DM1, 0, ENGINE, ALL),
        sender.announce(32, DM1, 1786, ENGINE, ALL, packets=255),
        sender.connection(ENGINE, ALL, 33, 1, 0, 1, 255, 0xCA, 0xFE, 0),
        sender.connection(ENGINE, ALL, 32, 60, 0),
        (EXTENDED | 0x1CEBFF00, b""),
    ],
)
def test_what_makes_no_sense_is_dropped_as_malformed(one):
    got = Outcome(assembler(), frames([one]))
    assert got.lost() == {"malformed": 1}
    assert not got.messages


# -- ISO-TP


@pytest.mark.parametrize("length", [1, 7, 8, 62, 4095])
def test_an_answer_comes_whole(length):
    got = Outcome(assembler(), frames(sender.isotp(RESPONSE, payload(length), partner=REQUEST)))
    assert got.messages == [(RESPONSE, payload(length))]
    assert not got.lost()


@pytest.mark.parametrize("size", [8, 12, 20, 64])
@pytest.mark.parametrize("length", [1, 7, 8, 18, 62, 63, 400, 4095])
def test_messages_come_whole_in_frames_of_every_length_of_can_fd(size, length):
    sent = sender.isotp(RESPONSE, payload(length), size)
    got = Outcome(assembler(), frames(sent, 64))
    assert got.messages == [(RESPONSE, payload(length))]
    assert got.carried == len(sent)


def test_the_length_byte_stands_before_the_message_where_the_dbc_file_counts_it():
    flow = Flow(0, RESPONSE, None, True, True)
    sent = sender.isotp(RESPONSE, payload(300)) + sender.isotp(RESPONSE, payload(5))
    got = Outcome(assembler(flows=[flow]), frames(sent))
    assert [data for _, data in got.messages] == [
        bytes([300 & 0xFF]) + payload(300),
        b"\x05" + payload(5),
    ]


def test_an_answer_longer_than_the_bound_is_dropped_as_excess():
    got = Outcome(assembler(), frames(sender.isotp(RESPONSE, payload(4096))[:3]))
    assert not got.messages
    assert got.lost() == {"excess": 1, "incomplete": 2}


def test_a_new_first_frame_takes_the_place_of_a_message_that_stopped():
    sent = sender.isotp(RESPONSE, payload(60))
    got = Outcome(assembler(), frames(sent[:4] + sent))
    assert [data for _, data in got.messages] == [payload(60)]
    assert got.lost() == {"incomplete": 4}


def test_a_wrong_sequence_number_costs_the_message():
    sent = sender.isotp(RESPONSE, payload(60))
    sent[3], sent[4] = sent[4], sent[3]
    got = Outcome(assembler(), frames(sent))
    assert not got.messages
    assert got.lost() == {"sequence": 4, "incomplete": len(sent) - 4}


def test_a_receiver_without_room_ends_the_message():
    sent = sender.isotp(RESPONSE, payload(60))
    got = Outcome(assembler(), frames([sent[0], (REQUEST, bytes([0x32, 0, 0])), *sent[1:]]))
    assert not got.messages
    assert got.lost() == {"aborted": 2, "incomplete": len(sent) - 1}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01",
        b"\x08" + payload(7),
        b"\x03\x01",
        b"\x10\x07" + payload(6),
        b"\x10\x10" + payload(5),
        b"\x10\x00\x00\x00\x0f\xff" + payload(2),
        b"\x21",
        b"\x30",
        b"\x33\x00\x00",
        b"\x40" + payload(7),
    ],
)
def test_frames_of_isotp_that_make_no_sense_are_dropped_as_malformed(content):
    got = Outcome(assembler(), frames([(ASIDE, content)]))
    assert got.lost() == {"malformed": 1}


# -- blocks, bounds, books


def test_frames_without_transport_go_through_untouched():
    block = frames([(0x100, payload(8)), (EXTENDED | 0x18FEF100, payload(8))])
    assert assembler().take(block) is None


def test_it_says_which_frames_it_needs():
    claims = assembler().claims
    assert claims == {
        (0, EXTENDED | 0xEC0000, Match.PGN),
        (0, EXTENDED | 0xEB0000, Match.PGN),
        *((0, flow, Match.ID) for flow in WANTED),
    }


def test_open_messages_move_from_one_assembler_to_the_next():
    sent = frames(sender.broadcast(DM1, payload(100), ENGINE))
    first, second = assembler(), assembler()
    assert not Outcome(first, sent[:5]).messages
    classic, fd = first.release()
    assert not first.waiting
    assert not len(fd)
    got = Outcome(second, classic, sent[5:])
    assert [data for _, data in got.messages] == [payload(100)]


def test_whoever_only_begins_messages_fills_no_memory_and_is_counted():
    flood = frames(
        [
            (0, *sender.announce(16, DIRECTED, 1785, n & 0xFF, n >> 8))
            for n in range(room.MOST_OPEN + 5000)
        ]
    )
    got = Outcome(assembler(), *(flood[at : at + 3000] for at in range(0, len(flood), 3000)))
    assert got.held == room.MOST_OPEN
    assert got.lost() == {"excess": len(flood) - room.MOST_OPEN}
    # The youngest are those that are kept.
    last = int(flood.id[-1])
    got.take(frames(sender.data(payload(1785), last & 0xFF, last >> 8 & 0xFF)))
    assert [data for _, data in got.messages] == [payload(1785)]


def test_a_message_that_stops_is_given_up_when_the_bus_goes_on():
    got = Outcome(assembler(), frames(sender.broadcast(DM1, payload(60), ENGINE)[:4]))
    got.take(frames([(1000, 0x100, b"")]))
    assert got.held == 4
    got.take(frames([(1754, 0x100, b"")]))
    assert got.held == 0
    assert got.lost() == {"incomplete": 4}
    assert not got.assembler.waiting


def test_a_clock_that_is_set_back_in_the_middle_of_a_message_costs_nothing():
    sent = [(10_000 + n, *one) for n, one in enumerate(sender.broadcast(DM1, payload(60), ENGINE))]
    back = [(time - 9_000, *one) for time, *one in sent[4:]]
    got = Outcome(assembler(), frames(sent[:4]), frames(back))
    assert [data for _, data in got.messages] == [payload(60)]


def test_transport_frames_that_are_also_decoded_as_they_are_stand_in_one_book():
    sent = sender.broadcast(DM1, payload(60), ENGINE)
    got = Outcome(assembler(raw=[0]), frames(sent[:3]), frames(sent[3:]))
    assert [data for _, data in got.messages] == [payload(60)]
    assert got.rest == len(sent)
    assert got.carried == got.held == got.not_asked == 0


# -- against the state machine


@st.composite
def conversations(draw, width):
    """Senders talk at once, and frames are lost, repeated, late, cut and made up."""
    talks = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(
            st.sampled_from(["broadcast", "directed", "isotp"] if width == 8 else ["isotp"])
        )
        group = draw(st.sampled_from([DM1, CONFIGURATION, DIRECTED, OTHER]))
        source, other = draw(st.sampled_from([(ENGINE, TOOL), (TOOL, ENGINE), (BRAKE, TOOL)]))
        content = payload(draw(st.integers(1, 70)), draw(st.integers(0, 99)))
        if kind == "broadcast":
            talks.append(sender.broadcast(group, content, source))
        elif kind == "directed":
            talks.append(sender.directed(group, content, source, other))
        else:
            one = draw(st.sampled_from(list(WANTED)))
            size = draw(st.sampled_from([8] if width == 8 else [8, 12, 32, 64]))
            talks.append(sender.isotp(one, content, size, PARTNERS.get(one)))
    rows = []
    now = 10_000
    pauses = st.sampled_from([0] * 12 + [1, 1, 700, 800, 1300, 2100])
    fates = st.sampled_from(
        ["as it is"] * 20 + ["lost", "twice", "cut", "abort", "overflow", "noise"]
    )
    while any(talks):
        talk = draw(st.sampled_from([talk for talk in talks if talk]))
        number, data = talk.pop(0)
        now += draw(pauses)
        fate = draw(fates)
        if fate == "cut":
            data = data[: draw(st.integers(0, len(data)))]
        elif fate == "abort" and width == 8:
            rows.append((now, *sender.abort(draw(st.sampled_from([DM1, DIRECTED])), ENGINE, TOOL)))
        elif fate == "overflow":
            rows.append((now, draw(st.sampled_from([REQUEST, RESPONSE])), b"\x32\0\0"))
        elif fate == "noise":
            noise = payload(draw(st.integers(0, 8)), draw(st.integers(0, 99)))
            rows.append((now, draw(st.sampled_from([0x123, number])), noise))
        rows += [(now, number, data)] * (0 if fate == "lost" else 2 if fate == "twice" else 1)
    return rows


def agrees(rows, width, cuts):
    model = Model({group for _, group in GROUPS}, WANTED, PARTNERS)
    for number, (time, arbitration_id, data) in enumerate(rows):
        model.frame(number, time * MS, arbitration_id, data)
    model.finish()
    whole = frames(rows, width)
    edges = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    got = Outcome(assembler(), *(whole[a:b] for a, b in pairwise(edges)))
    got.give_up()
    assert got.messages == [(one, data) for _, one, data in model.messages]
    assert got.times == [rows[number][0] * MS for number, _, _ in model.messages]
    fates = list(model.fates.values())
    assert got.lost() == {reason: n for reason in REASONS if (n := fates.count(reason))}
    assert got.not_asked == fates.count("not asked")
    assert got.carried == fates.count("complete")
    assert got.rest + len(fates) == len(rows)
    assert got.held == 0


@settings(deadline=None, max_examples=300)
@given(conversations(8), st.lists(st.integers(0, 200), max_size=6))
def test_messages_and_books_are_those_of_a_state_machine_however_frames_come_in_blocks(rows, cuts):
    agrees(rows, 8, cuts)


@settings(deadline=None)
@given(conversations(64), st.lists(st.integers(0, 200), max_size=6))
def test_messages_of_can_fd_are_those_of_a_state_machine_too(rows, cuts):
    agrees(rows, 64, cuts)
