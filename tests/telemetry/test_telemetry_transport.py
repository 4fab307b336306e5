"""The pipeline and messages of many frames: values, times, books, changes of configuration."""

import numpy as np
import pytest
import transport_sender as sender
from hypothesis import given, settings
from hypothesis import strategies as st
from telemetry_help import call, eventually, frames
from test_telemetry_pipeline import EPOCH, balanced, read

from bordnetz.batch.message import Resolution, Stamp
from bordnetz.batch.reader import decode_batch
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.checks import Checks
from bordnetz.can.frames import Block, Frames
from bordnetz.can.quality import Assessor
from bordnetz.can.sender import FrameSender
from bordnetz.can.transport.assembler import Assembler
from bordnetz.can.validity import Count, Validity, watch
from bordnetz.can.vehicle import Vehicle
from bordnetz.series import EXTENDED, Quality
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.config import SECOND, Desired
from bordnetz.telemetry.pipeline import QUIET, Pipeline
from bordnetz.telemetry.plan import Plan, Planner
from bordnetz.telemetry.state import State

MAP, ANSWER, ASK = 0xFEE3, 0x7E8, 0x7E0
MAP_ID = EXTENDED | 0x18FEE300
TRUCK = f"""VERSION ""
BS_:
BU_: X
BO_ {MAP_ID | 0xFE} Map: 39 X
 SG_ First : 0|16@1+ (0.125,0) [0|0] "rpm" X
 SG_ Turn : 296|8@1+ (1,0) [0|0] "" X
 SG_ Last : 304|8@1+ (1,-125) [0|0] "%" X
BO_ {ANSWER} Answer: 62 X
 SG_ Service M : 0|8@1+ (1,0) [0|0] "" X
 SG_ Charge m98 : 56|8@1+ (0.5,0) [0|0] "%" X
 SG_ Far m98 : 488|8@1+ (1,0) [0|0] "" X
BO_ 256 Motor: 8 X
 SG_ Count : 0|32@1+ (1,0) [0|0] "" X
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ {MAP_ID | 0xFE} 1000;
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ {MAP_ID | 0xFE} 3;
"""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dbc")
    (folder / "truck.dbc").write_text(TRUCK)
    bus = {"name": "truck", "interface": "unix", "channel": "truck", "dbc": ["truck.dbc"]}
    bus["isotp"] = [{"request": ASK, "response": ANSWER}]
    return Catalogue.load(Vehicle.parse({"name": "t", "bus": [bus]}, folder / "vehicle.toml"))


@pytest.fixture
def work(catalogue):
    return lambda **desired: begin(catalogue, Books(["truck"]), **desired)


def begin(catalogue, books, state=None, checks=None, **desired):
    """A pipeline, its books and its dictionary."""
    config = Desired.model_validate({"collect": [{"match": "*"}], **desired})
    plan = Plan.of(config, catalogue, bytes(32))
    stamp = Stamp(boot=1, resolution=Resolution.MICROSECOND)
    groups = (*plan.table.groups, *(state.table.groups if state else ()))
    made = Pipeline(
        plan.table,
        plan.dictionary,
        config,
        books,
        stamp,
        200,
        state,
        validity=None if checks is None else Validity(catalogue, checks, plan.table.groups),
        assessor=Assessor(catalogue, plan.table.groups),
        assembler=Assembler.compile(catalogue, groups),
    )
    return made, books, plan.dictionary


def block(sent, start=EPOCH, step=SECOND // 100):
    n = len(sent)
    frames = Frames(
        time=start + step * np.arange(n, dtype=np.int64),
        bus=np.zeros(n, np.uint8),
        id=np.array([number for number, _ in sent], np.uint32),
        flags=np.zeros(n, np.uint8),
        length=np.array([len(data) for _, data in sent], np.uint8),
        data=np.frombuffer(b"".join(data.ljust(8, b"\0") for _, data in sent), np.uint8).reshape(
            -1, 8
        ),
    )
    return Block.of(1, frames)


def a_map(first, last, turn=0):
    content = bytes([first & 0xFF, first >> 8]) + bytes(35) + bytes([turn, last])
    return sender.broadcast(MAP, content, 3)


def an_answer(charge, far):
    content = bytes([98, 1, 1, 0, 0, 0, 0, charge]) + bytes(53) + bytes([far])
    return sender.isotp(ANSWER, content, partner=ASK)


def test_messages_of_many_frames_become_samples_at_the_time_of_their_last_frame(work):
    pipeline, books, dictionary = work()
    sent = [*a_map(6400, 225), *an_answer(100, 7)]
    pipeline.take(block(sent), 0.0)
    found = read(pipeline.flush(0.0), dictionary)
    step = SECOND // 100
    whole, answered = EPOCH + step * (len(a_map(0, 0)) - 1), EPOCH + step * (len(sent) - 1)
    assert found == {
        ("truck.Map.First", MAP_ID | 3): ([6400], [whole]),
        ("truck.Map.Turn", MAP_ID | 3): ([0], [whole]),
        ("truck.Map.Last", MAP_ID | 3): ([225], [whole]),
        ("truck.Answer.Service", ANSWER): ([98], [answered]),
        ("truck.Answer.Charge", ANSWER): ([100], [answered]),
        ("truck.Answer.Far", ANSWER): ([7], [answered]),
    }
    page = books.totals()
    # The frame of flow control carries nothing that is asked for.
    assert page["decoded"] == len(sent) - 1
    assert page["notAsked"] == 1
    balanced(books)


def test_frames_of_a_message_are_booked_when_it_is_whole_or_lost(work):
    pipeline, books, _ = work()
    sent = a_map(1, 1)
    pipeline.take(block(sent[:4]), 0.0)
    pipeline.advance(0.1)
    balanced(books)
    assert books.totals()["received"] == 0
    assert pipeline.waiting
    pipeline.take(block(sent[4:], EPOCH + SECOND // 20), 0.2)
    pipeline.flush(0.2)
    balanced(books)
    assert books.totals()["decoded"] == len(sent)
    pipeline.take(block(sent[:4], EPOCH + SECOND), 1.0)
    pipeline.take(block([(0x100, bytes(8))], EPOCH + 9 * SECOND), 9.0)
    pipeline.flush(9.0)
    balanced(books)
    assert books.totals()["dropped"] == {"incomplete": 4}
    assert not pipeline.waiting


def test_the_rest_of_a_message_is_not_waited_for_when_all_buses_are_quiet(work):
    pipeline, books, _ = work()
    pipeline.take(block(a_map(1, 1)[:4]), 100.0)
    pipeline.advance(100.0)
    pipeline.advance(100.0 + QUIET - 1)
    assert pipeline.waiting
    pipeline.advance(100.0 + QUIET)
    assert not pipeline.waiting
    assert books.totals()["dropped"] == {"incomplete": 4}
    balanced(books)


def test_a_message_that_a_shortest_interval_leaves_out_is_not_asked_for_with_all_its_frames(work):
    pipeline, books, dictionary = work(collect=[{"match": "*", "minInterval": 10}])
    pipeline.take(block([*a_map(1, 1), *a_map(2, 2)]), 0.0)
    found = read(pipeline.flush(0.0), dictionary)
    assert found["truck.Map.First", MAP_ID | 3][0] == [1]
    page = books.totals()
    assert page["decoded"] == page["notAsked"] == len(a_map(1, 1))
    balanced(books)


def test_messages_of_many_frames_are_checked_as_one_frame_is(catalogue):
    content = {
        "cycles": True,
        "message": [
            {"name": "truck.Map", "profile": "counter", "counter": "Turn"},
            {"name": "truck.Answer", "profile": "P02", "data_ids": list(range(16))},
        ],
    }
    checks = watch(catalogue, Checks.model_validate(content))
    collect = [{"match": "*", "quality": True}]
    pipeline, _, dictionary = begin(catalogue, Books(["truck"]), None, checks, collect=collect)
    for second, turn in enumerate((1, 2, 4, 4)):
        start = EPOCH + (second + 2 * (second == 3)) * SECOND
        pipeline.take(block([*a_map(0xFFFF, 0, turn), *an_answer(1, 1)], start), 1.0 * second)
        pipeline.advance(1.0 * second)
    validity = pipeline._validity
    names = [one.name for one in validity.messages]
    found = dict(zip(names, validity.counts.T.tolist(), strict=True))
    assert found["truck.Map"][Count.FRAMES] == found["truck.Answer"][Count.FRAMES] == 4
    assert found["truck.Answer"][Count.WRONG_CRC] == 4
    assert found["truck.Map"][Count.MISSING] == 1
    assert found["truck.Map"][Count.REPEATED] == 1
    assert found["truck.Map"][Count.MISSED] == 2
    (draft,) = pipeline.flush(9.0)
    batch = decode_batch(draft.finish(1, 1), dictionary).samples
    firsts = [group.names() for group in batch.groups].index(
        ("truck.Map.First", "truck.Map.Turn", "truck.Map.Last")
    )
    place = int((batch.count * batch.width)[: batch.group.tolist().index(firsts)].sum())
    assert batch.quality is not None
    # 0xFFFF says that the sender has no value; the counter jumped, then stood still.
    assert batch.quality[place : place + 4].tolist() == [
        Quality.NOT_AVAILABLE,
        Quality.NOT_AVAILABLE,
        Quality.NOT_AVAILABLE | Quality.AFTER_LOSS,
        Quality.NOT_AVAILABLE | Quality.REPEATED,
    ]


def test_a_message_too_short_for_its_wanted_signals_is_dropped_with_all_its_frames(work):
    pipeline, books, _ = work(collect=[{"match": "*.Last"}])
    sent = sender.broadcast(MAP, bytes(20), 3)
    pipeline.take(block(sent), 0.0)
    pipeline.flush(0.0)
    assert books.totals()["dropped"] == {"short": len(sent)}
    balanced(books)


def test_a_message_that_is_open_when_the_configuration_changes_goes_on_under_the_new_one(
    catalogue, work
):
    old, books, _ = work(collect=[{"match": "*.First"}])
    sent = a_map(7, 9)
    old.take(block(sent[:4]), 0.0)
    assert old.flush(0.0) == []
    new, _, dictionary = begin(catalogue, books, collect=[{"match": "*.Last"}])
    new.take(old.release(), 0.0)
    assert not old.waiting
    new.take(block(sent[4:], EPOCH + SECOND // 20), 0.1)
    assert read(new.flush(0.1), dictionary)["truck.Map.Last", MAP_ID | 3][0] == [9]
    balanced(books)
    assert books.totals() == {
        "received": len(sent),
        "decoded": len(sent),
        "notAsked": 0,
        "notData": 0,
        "dropped": {},
    }


def test_the_end_books_what_is_open(work):
    pipeline, books, _ = work()
    pipeline.take(block(an_answer(1, 1)[:5]), 0.0)
    pipeline.flush(0.0)
    pipeline.give_up()
    balanced(books)
    # One of them is flow control.
    assert books.totals()["dropped"] == {"incomplete": 4}
    assert books.totals()["received"] == 5


def test_the_state_knows_signals_of_many_frames_that_nobody_collects(catalogue):
    asked = Desired.model_validate({"state": ["*.Charge"]})
    table = Planner(catalogue, bytes(32)).state(asked)
    state = State(table, recorded=True)
    pipeline, books, _ = begin(catalogue, Books(["truck"]), state, collect=[])
    sent = an_answer(101, 1)
    pipeline.take(block(sent), 0.0)
    pipeline.flush(0.0)
    told = state.tell(0.0)
    assert told is not None
    assert told["signals"] == {"truck.Answer.Charge": 50.5}
    assert books.totals()["notAsked"] == len(sent)
    balanced(books)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_books_balance_and_no_whole_message_is_lost_whatever_is_missing(catalogue, data):
    books = Books(["truck"])
    pipeline, _, dictionary = begin(catalogue, books)
    drafts, now, came, whole = [], 0.0, 0, []
    for number in range(data.draw(st.integers(1, 6))):
        sent = data.draw(st.sampled_from([a_map, an_answer]))(number, number)
        parts = [n for n, (one, _) in enumerate(sent) if one != ASK]
        lost = data.draw(st.sampled_from([None, *parts]))
        if lost is None:
            whole.append(number)
        else:
            del sent[lost]
        cut = data.draw(st.integers(0, len(sent)))
        for part in (sent[:cut], sent[cut:]):
            drafts += pipeline.take(block(part, EPOCH + int(now * SECOND)), now)
            came += len(part)
            now += 0.6
            drafts += pipeline.advance(now)
            balanced(books)
    drafts += pipeline.flush(now)
    pipeline.give_up()
    balanced(books)
    assert books.totals()["received"] == came
    found = read(drafts, dictionary)
    last = found.get(("truck.Map.First", MAP_ID | 3), ([], []))[0]
    far = found.get(("truck.Answer.Far", ANSWER), ([], []))[0]
    assert sorted(last + far) == whole


def test_a_running_module_puts_together_what_comes_on_its_buses(deploy, start, car):
    arrives(deploy, start, car, lambda some: car.send(some, bus="truck"))


@pytest.mark.vcan
def test_the_kernel_lets_transport_frames_through_and_nothing_else(deploy, start, car):
    unix = f'interface = "unix"\nchannel = "{car.folder}/truck"'
    text = car.file.read_text()
    assert unix in text
    car.file.write_text(text.replace(unix, 'interface = "socketcan"\nchannel = "vcan1"'))

    def send(some):
        with FrameSender.to_can("vcan1") as bus:
            bus.send(frames(0x123, [bytes(8)] * 9))
            bus.send(some)

    hub = arrives(deploy, start, car, send)
    bus = call(hub, "status")["capture"]["truck"]
    # The group itself, TP.CM, TP.DT, request and response.
    assert (bus["filter"], bus["filters"]) == ("exact", 5)


def arrives(deploy, start, car, send):
    """A message of each protocol comes on the bus ``truck``, and both are decoded."""
    (car.folder / "truck.dbc").write_text(TRUCK)
    isotp = f"[[bus.isotp]]\nrequest = {ASK}\nresponse = {ANSWER}\n"
    car.file.write_text(car.file.read_text() + isotp)
    hub = deploy(collect=[{"match": "truck.Map.Last"}, {"match": "truck.Answer.Far"}])
    start(hub).logged("collecting 2 of ")
    sent = [*a_map(1, 200), *an_answer(1, 55)]
    send(block(sent).classic)
    page = eventually(
        lambda: call(hub, "status")["frames"], lambda page: page["received"] == len(sent)
    )
    # One frame of flow control carries nothing.
    assert (page["decoded"], page["notAsked"]) == (len(sent) - 1, 1)
    shown = {one["name"]: (one["id"], one["value"]) for one in call(hub, "snapshot")["signals"]}
    assert shown == {
        "truck.Map.Last": ("0x18FEE303", 75),
        "truck.Answer.Far": ("0x7E8", 55),
    }
    return hub
