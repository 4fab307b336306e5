"""What a drive counts: rates, signals worth showing, the cloud's totals and the account."""

import pytest

from bordnetz.laptop.drive.processes import Usage
from bordnetz.laptop.drive.progress import BusLine, Totals
from bordnetz.laptop.drive.report import Account
from bordnetz.laptop.drive.signals import CHOOSING, SHOWN, Signals, is_housekeeping


def test_a_rate_is_known_at_the_second_look_and_stays_calm():
    bus = BusLine("a", "vcan0")
    bus.update(0, 0, 0.0)
    bus.update(500, 0, 0.5)
    assert bus.rate == pytest.approx(1000)
    bus.update(1100, 0, 1.0)
    assert 1000 < bus.rate < 1100


def test_a_rate_follows_a_change_within_seconds():
    bus = BusLine("a", "vcan0")
    for look in range(60):
        rate = 1000 if look < 30 else 200
        bus.update(bus.frames + rate // 2, 0, look / 2)
    assert bus.rate == pytest.approx(200, rel=0.05)


def test_counts_that_begin_anew_make_no_negative_rate():
    bus = BusLine("a", "vcan0")
    bus.update(0, 0, 0.0)
    bus.update(5000, 0, 0.5)
    bus.update(10, 0, 1.0)
    assert bus.rate >= 0
    assert bus.frames == 10


def reading(name, value, unit="", text=None, sender="100"):
    return {"name": name, "id": sender, "value": value, "text": text, "unit": unit, "age": 0.0}


def chosen(*looks):
    signals = Signals()
    for look in range(CHOOSING):
        signals.take({"signals": looks[min(look, len(looks) - 1)], "more": 0})
    return signals


@pytest.mark.parametrize(
    "name",
    ["VCU_Speed_01_CRC", "VCU_Speed_01_Counter", "CheckSum", "AliveCnt_alive", "SpeedQuality"],
)
def test_signals_that_guard_others_are_known_by_name(name):
    assert is_housekeeping(name)


@pytest.mark.parametrize("name", ["VehicleSpeed", "AccelPedal", "StateOfCharge", "MotorTorque"])
def test_signals_that_people_look_for_guard_nothing(name):
    assert not is_housekeeping(name)


def test_what_people_look_for_comes_first_and_what_moves_follows():
    first = [
        reading("a.M.Ticks", 1, "1"),
        reading("a.M.Counter", 1, "1"),
        reading("a.M.Still", 1, "V"),
        reading("a.M.MotorTorque", 1, "Nm"),
        reading("a.M.VehicleSpeed", 1, "km/h"),
    ]
    later = [dict(row, value=2) if row["name"] != "a.M.Still" else row for row in first]
    names = [signal.name for signal in chosen(first, later).lines]
    assert names[:3] == ["a.M.VehicleSpeed", "a.M.MotorTorque", "a.M.Ticks"]
    assert names.index("a.M.Counter") > names.index("a.M.Still")


def test_no_more_signals_are_followed_than_a_terminal_shows():
    looks = [[reading(f"a.M.S{n}", v, "V") for n in range(500)] for v in (1, 2)]
    signals = chosen(*looks)
    assert len(signals.lines) == SHOWN
    assert len(signals.wanted) == SHOWN


def test_everything_is_asked_for_until_the_choice_is_made():
    signals = Signals()
    assert signals.wanted == ["*"]
    signals.take({"signals": [], "more": 0})
    assert signals.wanted == ["*"]
    assert chosen([reading("a.M.Odd[1]*", 1, "V")]).wanted == ["a.M.Odd[[]1][*]"]


def test_senders_of_one_message_have_curves_of_their_own():
    rows = [reading("t.EEC1.EngineSpeed", v, "rpm", sender=s) for v, s in ((1, "00"), (2, "A7"))]
    lines = chosen(rows).lines
    assert {signal.name for signal in lines} == {f"t.EEC1.EngineSpeed ({s})" for s in ("00", "A7")}
    assert {signal.value for signal in lines} == {1, 2}


def test_an_enumeration_shows_its_text():
    (signal,) = chosen([reading("a.M.GearPosition", 4, text="D")]).lines
    assert (signal.text, signal.value) == ("D", 4)


def test_what_is_no_number_makes_no_curve():
    looks = [[reading("a.M.PackVoltage", value, "V")] for value in (1.0, float("nan"), 2.0)]
    (signal,) = chosen(*looks).lines
    assert set(signal.history) == {1.0, 2.0}


def account(cloud=None, missing=0, sent=10, exits=(), answers=0, **changes):
    page = {"received": 10, "decoded": 7, "notAsked": 2, "notData": 1, "dropped": {}}
    status = {
        "frames": page,
        "buses": {"a": page},
        "samples": {"decoded": 70, "stored": 70, "held": 0, "dropped": {}},
        "outbox": {"messages": 0, "acknowledged": 3},
        "collecting": {"signals": 0},
        "answers": answers,
    }
    for path, value in changes.items():
        section, _, key = path.partition("_")
        status[section] = status[section] | {key: value}
    return Account(status, cloud or Totals(2, 1, 70, 900, 3), missing, sent, exits)


def test_an_account_in_which_all_adds_up_has_no_fault():
    assert account().unsettled() == account().faults() == []


def test_answers_to_the_update_module_are_not_missed_in_the_cloud():
    good = account(missing=2, answers=2, outbox_acknowledged=5)
    assert good.unsettled() == good.faults() == []
    assert account(missing=2, answers=1).unsettled() == [
        "1 messages of the outbox have not arrived"
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"frames_decoded": 6}, "all buses: 10 frames came in, 9 are accounted for"),
        ({"frames_dropped": {"short": 1}}, "all buses: 10 frames came in, 11 are accounted for"),
        ({"sent": 11}, "11 frames were sent, 10 came in"),
        ({"samples_held": 5}, "5 samples are in no batch yet"),
        ({"samples_stored": 71}, "71 samples were stored, 70 arrived"),
        ({"outbox_messages": 2}, "2 messages are not acknowledged"),
        ({"missing": 1}, "1 messages of the outbox have not arrived"),
        ({"cloud": Totals(2, 1, 70, 900, 3, unread=1)}, "1 batches lack their dictionary"),
        ({"collecting_signals": 4}, "telemetry has not told that it stopped collecting"),
    ],
)
def test_what_is_still_on_its_way_is_waited_for(changes, told):
    assert account(**changes).unsettled()[0] == told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"samples_decoded": 71}, "samples do not add up"),
        ({"samples_decoded": 71, "samples_dropped": {"disk": 1}}, "1 samples were dropped"),
        ({"samples_decoded": 69, "samples_stored": 69}, "69 samples were stored, 70 arrived"),
        ({"outbox_acknowledged": 4}, "4 messages were acknowledged, 3 arrived"),
        ({"cloud": Totals(2, 1, 70, 900, 3, damaged=1)}, "1 messages that arrived are damaged"),
        ({"exits": (-9, 70)}, "telemetry ended and was started again, 2 in all (exit code -9, 70)"),
    ],
)
def test_what_is_wrong_for_good_is_told(changes, told):
    assert any(text.startswith(told) for text in account(**changes).faults())


def test_the_report_counts_as_acknowledged_what_the_outbox_let_go():
    usage = {"telemetry": Usage(1.5, 90.0)}
    report = account(outbox_messages=1).report(20.04, 464, usage)
    assert (report["batches"], report["acknowledged"]) == (2, 1)
    assert report["seconds"] == 20.0
    assert report["bytes_per_sample"] == round(900 / 70, 4)
    assert report["block_fill"] == round(900 / 3 / 4096, 4)
    assert report["processes"] == {"telemetry": {"cpu_seconds": 1.5, "rss_mib": 90.0}}


def test_the_report_has_the_books_of_all_buses_and_of_each():
    report = account(frames_dropped={"short": 1}).report(1.0, 464, {})
    books = {"frames": 10, "frames_decoded": 7, "frames_not_asked": 2, "frames_not_data": 1}
    assert report["buses"] == {"a": books | {"frames_dropped": 0, "dropped": {}}}
    assert report | books | {"frames_dropped": 1, "dropped": {"short": 1}} == report
